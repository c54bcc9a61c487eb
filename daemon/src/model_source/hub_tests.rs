//! `hf:` sources against a server on this machine that speaks the hub's API.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::*;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const TOKEN: &str = "hf_token_of_a_test";

/// What came: the path, the range asked for, and whether the token came along.
type Requests = Arc<Mutex<Vec<(String, Option<String>, bool)>>>;

/// A hub with the files of a folder as `acme/tiny`, and as `acme/locked` for those with the token. Files lie on another
/// server, to which it redirects; the weights' first answer breaks off in the middle.
struct FakeHub {
    endpoint: String,
    requests: Requests,
}

fn serve(
    answer: impl Fn(&str, Option<&str>, bool) -> Vec<u8> + Send + Sync + 'static,
) -> (String, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let requests = Requests::default();
    let seen = Arc::clone(&requests);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream: TcpStream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let path = line.split(' ').nth(1).unwrap_or("").to_string();
            let (mut range, mut knows) = (None, false);
            loop {
                let mut header = String::new();
                reader.read_line(&mut header).unwrap();
                let header = header.trim_end();
                match header.split_once(": ") {
                    None => break,
                    Some((name, value)) if name.eq_ignore_ascii_case("range") => {
                        range = Some(value.to_string());
                    }
                    Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                        knows = value == format!("Bearer {TOKEN}");
                    }
                    Some(_) => {}
                }
            }
            seen.lock()
                .unwrap()
                .push((path.clone(), range.clone(), knows));
            // One that broke off is written as far as it goes.
            let _ = (&stream).write_all(&answer(&path, range.as_deref(), knows));
        }
    });
    (address, requests)
}

fn reply(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
    );
    [head.as_bytes(), body].concat()
}

impl FakeHub {
    fn start(folder: &Path) -> (Self, Requests) {
        let folder = folder.to_path_buf();
        let mut siblings = Vec::new();
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let size = std::fs::metadata(&path).unwrap().len();
            let mut sibling = serde_json::json!({"rfilename": name, "size": size});
            if name.ends_with(".safetensors") {
                let sha256 = sha256_of(&[path], &Interrupt::new()).unwrap();
                sibling["lfs"] = serde_json::json!({"sha256": sha256, "size": size});
            }
            siblings.push(sibling);
        }
        siblings.push(serde_json::json!({"rfilename": "README.md", "size": 3}));
        let listing = serde_json::json!({"sha": COMMIT, "siblings": siblings}).to_string();
        let broken = Mutex::new(false);
        let (files, asked) = serve(move |path, range, _| {
            let content = std::fs::read(folder.join(path.trim_start_matches('/'))).unwrap();
            if let Some(range) = range {
                let from: usize = range
                    .trim_start_matches("bytes=")
                    .trim_end_matches('-')
                    .parse()
                    .unwrap();
                let place = format!(
                    "content-range: bytes {from}-{}/{}\r\n",
                    content.len() - 1,
                    content.len()
                );
                return reply("206 Partial Content", &place, &content[from..]);
            }
            let mut whole = reply("200 OK", "", &content);
            if path.ends_with(".safetensors")
                && !std::mem::replace(&mut *broken.lock().unwrap(), true)
            {
                whole.truncate(whole.len() - content.len() / 2);
            }
            whole
        });
        let (endpoint, requests) = serve(move |path, _, knows| {
            let is_locked = path.contains("/locked/");
            if is_locked && !knows {
                return reply("401 Unauthorized", "", b"who are you?");
            }
            let listings = ["/api/models/acme/tiny/", "/api/models/acme/locked/"];
            if listings.iter().any(|listing| path.starts_with(listing)) {
                return match path.contains("/revision/main?") {
                    true => reply("200 OK", "", listing.as_bytes()),
                    false => reply("404 Not Found", "", b"{}"),
                };
            }
            match path.rsplit_once(&format!("/resolve/{COMMIT}/")) {
                Some((_, file)) => {
                    reply("302 Found", &format!("location: {files}/{file}\r\n"), b"")
                }
                None => reply("404 Not Found", "", b"{}"),
            }
        });
        (Self { endpoint, requests }, asked)
    }
}

fn fetcher(cache: &Path, endpoint: Option<&str>, token: Option<&str>) -> ModelFetcher {
    let mut fetcher = ModelFetcher::new(cache.to_path_buf());
    fetcher.hub = HubSettings {
        endpoint: endpoint.map(String::from),
        token: token.map(String::from),
    };
    fetcher
}

fn resolve(fetcher: &ModelFetcher, source: &str) -> PortResult<Resolved> {
    fetcher.resolve(source, None, &Interrupt::new(), &mut |_| {})
}

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/tiny")
}

#[test]
fn a_model_is_fetched_whole_over_a_broken_connection_and_then_cached() {
    let (hub, files) = FakeHub::start(&tiny());
    let cache = tempfile::tempdir().unwrap();
    let fetcher = fetcher(cache.path(), Some(&hub.endpoint), Some(TOKEN));
    let name = ModelName::new("m").unwrap();
    let fetch = |source: &str| {
        let mut told = Vec::new();
        let mut tell = |line: &str| told.push(line.to_string());
        fetcher
            .fetch(&name, source, None, &Interrupt::new(), &mut tell)
            .map(|summary| (summary, told))
    };
    let (summary, told) = fetch("hf:acme/tiny").unwrap();
    let local = fetch(&tiny().to_string_lossy()).unwrap().0;
    assert_eq!(
        (&summary.digest, &summary.sha256),
        (&local.digest, &local.sha256)
    );
    assert!(
        told.iter()
            .any(|line| line == "downloading model.safetensors"),
        "{told:?}"
    );
    let names: Vec<_> = std::fs::read_dir(&summary.path).unwrap().collect();
    assert_eq!(
        names.len(),
        std::fs::read_dir(tiny()).unwrap().count(),
        "no README"
    );

    // The token went to the hub and not to where it redirects; the rest of the weights alone was asked for again.
    assert!(
        hub.requests
            .lock()
            .unwrap()
            .iter()
            .all(|(_, _, knows)| *knows)
    );
    let files = files.lock().unwrap();
    assert!(files.iter().all(|(_, _, knows)| !knows), "{files:?}");
    let weights = files
        .iter()
        .filter(|(path, ..)| path.ends_with(".safetensors"));
    let ranges: Vec<_> = weights.map(|(_, range, _)| range.is_some()).collect();
    assert_eq!(ranges, [false, true], "{files:?}");
    drop(files);

    let before = hub.requests.lock().unwrap().len();
    assert_eq!(fetch("hf:acme/tiny").unwrap().0, summary);
    assert_eq!(hub.requests.lock().unwrap().len(), before, "cached");
}

#[test]
fn one_file_is_fetched_alone() {
    let (hub, _) = FakeHub::start(&tiny());
    let cache = tempfile::tempdir().unwrap();
    let fetcher = fetcher(cache.path(), Some(&hub.endpoint), None);
    let resolved = resolve(&fetcher, "hf:acme/tiny@main/config.json").unwrap();
    assert_eq!(
        std::fs::read(resolved.path).unwrap(),
        std::fs::read(tiny().join("config.json")).unwrap()
    );
}

#[test]
fn what_is_wrong_is_said_with_what_to_do() {
    let (hub, _) = FakeHub::start(&tiny());
    let cache = tempfile::tempdir().unwrap();
    let there = fetcher(cache.path(), Some(&hub.endpoint), None);
    for (source, part) in [
        ("hf:acme/locked", "set HF_TOKEN"),
        ("hf:acme/nothing", "spelled right"),
        ("hf:acme/tiny@other", "spelled right"),
        ("hf:acme/tiny/model.gguf", "holds no \"model.gguf\""),
        ("hf:acme", "OWNER/NAME is not one"),
        ("hf:acme/../x", "OWNER/NAME is not one"),
        ("hf:acme/tiny@../x", "not one"),
        ("hf:acme/tiny/../../x", "the file is not one"),
    ] {
        let fault = resolve(&there, source).unwrap_err().to_string();
        assert!(fault.contains(part), "{source}: {fault}");
    }
    assert!(
        resolve(
            &fetcher(cache.path(), Some(&hub.endpoint), Some(TOKEN)),
            "hf:acme/locked"
        )
        .is_ok()
    );
    let nowhere = resolve(&fetcher(cache.path(), None, None), "hf:acme/other").unwrap_err();
    assert!(nowhere.to_string().contains("HF_ENDPOINT"), "{nowhere}");
    let empty = tempfile::tempdir().unwrap();
    std::fs::write(empty.path().join("a.gguf"), "GGUF").unwrap();
    let (hub, _) = FakeHub::start(empty.path());
    let fault = resolve(
        &fetcher(cache.path(), Some(&hub.endpoint), None),
        "hf:acme/tiny/",
    );
    assert!(fault.is_err());
    let cache = tempfile::tempdir().unwrap();
    let fault = resolve(
        &fetcher(cache.path(), Some(&hub.endpoint), None),
        "hf:acme/tiny",
    );
    assert!(
        fault
            .unwrap_err()
            .to_string()
            .contains("name one, as in hf:acme/tiny/FILE.gguf: a.gguf")
    );
}

#[test]
fn an_interrupt_stops_a_fetch() {
    let (hub, _) = FakeHub::start(&tiny());
    let cache = tempfile::tempdir().unwrap();
    let interrupt = Interrupt::new();
    interrupt.raise(autodidact_domain::InterruptReason::Shutdown);
    let fetcher = fetcher(cache.path(), Some(&hub.endpoint), None);
    let stopped = fetcher.resolve("hf:acme/tiny", None, &interrupt, &mut |_| {});
    assert_eq!(stopped, Err(PortError::Interrupted));
}
