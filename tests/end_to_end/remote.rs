//! A model on a server: a small one that answers from its prompts stands for anybody's.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use autodidact_tests::{Daemon, Home};
use serde_json::{Value, json};

use crate::workflows::TINY;

const LIMIT: Duration = Duration::from_secs(240);
const KEY: &str = "sk-end-to-end-secret";

/// A server that speaks as much of the API as the loop and an embedder need, knows no constraints, and counts words as tokens.
struct Server {
    url: String,
    requests: Arc<AtomicU64>,
    paths: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("listen")?;
        let server = Self {
            url: format!("http://{}/v1", listener.local_addr().context("address")?),
            requests: Arc::default(),
            paths: Arc::default(),
        };
        let (requests, paths) = (Arc::clone(&server.requests), Arc::clone(&server.paths));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (requests, paths) = (Arc::clone(&requests), Arc::clone(&paths));
                std::thread::spawn(move || {
                    // A daemon that was killed hears no answer.
                    let _ = answer(&stream, &requests, &paths);
                });
            }
        });
        Ok(server)
    }
}

fn answer(stream: &TcpStream, requests: &AtomicU64, paths: &Mutex<Vec<String>>) -> Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).context("a path")?.to_string();
    let (mut length, mut authorized) = (0, false);
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        match name.to_lowercase().as_str() {
            "content-length" => length = value.trim().parse()?,
            "authorization" => authorized = value.trim() == format!("Bearer {KEY}"),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body: Value = serde_json::from_slice(&body)?;
    let number = requests.fetch_add(1, Ordering::SeqCst);
    paths
        .lock()
        .expect("no test panics while it holds the lock")
        .push(path.clone());
    if !authorized {
        return reply(
            stream,
            401,
            "application/json",
            r#"{"error": {"message": "who are you?"}}"#,
        );
    }
    // Now and then it has too much to do, as servers have.
    if number % 7 == 3 {
        return reply(
            stream,
            503,
            "application/json",
            r#"{"error": {"message": "busy"}}"#,
        );
    }
    if path.ends_with("/embeddings") {
        let texts = body["input"].as_array().context("texts")?;
        let vector = |(index, text): (usize, &Value)| {
            let count = |letter| text.as_str().unwrap_or("").matches(letter).count() as f64 + 0.5;
            let embedding = ['a', 'e', 'i', 'o'].map(count);
            json!({"index": index, "embedding": embedding})
        };
        let data: Vec<Value> = texts.iter().enumerate().map(vector).collect();
        let whole = json!({"data": data, "usage": {"prompt_tokens": texts.len()}});
        return reply(stream, 200, "application/json", &whole.to_string());
    }
    let free = ["guided_choice", "response_format"]
        .iter()
        .all(|name| body.get(name).is_none());
    ensure!(free, "a constraint that the server does not know: {body}");
    let turns = body["messages"].as_array();
    let prompt = turns
        .and_then(|turns| turns.last())
        .map_or(&body["prompt"], |turn| &turn["content"]);
    let prompt = prompt.as_str().context("a prompt")?;
    let text = if prompt.trim_end().ends_with("Input:") {
        " <noinput>".to_string()
    } else if prompt.starts_with("Come up with a series") {
        instructions(number, prompt.lines().count())
    } else if prompt.ends_with("Answer with one digit from 1 to 5.") {
        format!("Mark: {}.", 2 + number % 4)
    } else {
        let words: Vec<&str> = prompt.split_whitespace().take(12).collect();
        format!(
            "About \"{}\" there is this to say in answer {number}.",
            words.join(" ")
        )
    };
    let usage = json!({"prompt_tokens": prompt.split_whitespace().count(), "completion_tokens": text.split_whitespace().count()});
    if body["stream"] == true {
        let events = [
            json!({"choices": [{"delta": {"content": text}, "finish_reason": null}]}),
            json!({"choices": [{"delta": {}, "finish_reason": "stop"}]}),
            json!({"choices": [], "usage": usage}),
        ];
        let mut stream_text: String = events
            .iter()
            .map(|event| format!("data: {event}\n\n"))
            .collect();
        stream_text.push_str("data: [DONE]\n\n");
        return reply(stream, 200, "text/event-stream", &stream_text);
    }
    let choice = json!({"index": 0, "message": {"role": "assistant", "content": text}, "text": text, "finish_reason": "stop"});
    let whole = json!({"choices": [choice], "usage": usage}).to_string();
    reply(stream, 200, "application/json", &whole)
}

/// Continues a list whose last line is a number with a full stop.
fn instructions(number: u64, lines: usize) -> String {
    const ASKED: [&str; 4] = [
        "Describe how a visitor would notice",
        "Give one reason why people enjoy",
        "Explain to a child what is known about",
        "Write a short poem that praises",
    ];
    const ABOUT: [&str; 6] = [
        "old stone bridges over rivers",
        "bread that was baked this morning",
        "trains crossing the snowy plain",
        "gardens behind a village school",
        "songs that sailors used to sing",
        "clocks without any hands left",
    ];
    let item = |index: u64| {
        let index = index as usize;
        let (asked, about) = (ASKED[index / 6 % 4], ABOUT[index % 6]);
        format!(" {asked} {about}.")
    };
    let next = lines - 1;
    format!(
        "{}\n{next}.{}\n{}.",
        item(number * 2),
        item(number * 2 + 1),
        next + 1
    )
}

fn reply(mut stream: &TcpStream, status: u16, kind: &str, body: &str) -> Result<()> {
    write!(
        stream,
        "HTTP/1.1 {status} Status\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    Ok(())
}

/// Starts a server and a daemon that knows its model as `teacher`, the key in a file; `more` ends the configuration.
fn start(more: &str) -> Result<(Server, Home, Daemon)> {
    let (server, home) = (Server::start()?, Home::new()?);
    std::fs::write(home.path().join("teacher.key"), format!("{KEY}\n")).context("write the key")?;
    let url = &server.url;
    let text = format!(
        "[remote_models.teacher]\nbase_url = {url:?}\nmodel = \"some-model\"\napi = \"both\"\nkey_file = \"teacher.key\"\n\
         retry_base_ms = 10\nprompt_price = 1000.0\ncompletion_price = 2000\n{more}"
    );
    std::fs::write(home.path().join("autodidact.toml"), text).context("write the configuration")?;
    let daemon = home.serve(&[])?;
    home.prepare()?;
    Ok((server, home, daemon))
}

#[test]
fn a_workflow_with_a_remote_answerer_runs_to_its_end() -> Result<()> {
    let (server, home, daemon) = start("")?;
    let dumped = home.text(&["serve", "--dump-config"])?;
    assert!(
        dumped.contains("[remote_models.teacher]") && !dumped.contains(KEY),
        "{dumped}"
    );

    let models = home.text(&["model", "list"])?;
    assert!(
        models.contains(&format!("remote:{}", server.url)),
        "{models}"
    );
    let spoken = home.text(&["model", "generate", "teacher", "--prompt", "Name a river."])?;
    assert!(spoken.contains("About \"Name a river.\""), "{spoken}");
    let removed = home.run(&["model", "remove", "teacher"])?;
    assert!(!removed.status.success());
    assert!(String::from_utf8_lossy(&removed.stderr).contains("[remote_models.teacher]"));

    let yaml = TINY
        .replace(
            "    max_tokens: 48\n",
            "    max_tokens: 48\n    model: teacher\n",
        )
        .replace("rounds: 2", "rounds: 1\nspending_cap: 1000");
    home.submit(&yaml)?;
    home.wait_until_done("tiny-loop", LIMIT)?;
    let report = home.report("tiny-loop")?;
    let used = report["remote_models"]
        .as_array()
        .context("remote_models")?;
    assert_eq!(used.len(), 1, "{used:?}");
    assert_eq!(used[0]["stage"], "respond");
    assert_eq!(used[0]["model"], "teacher");
    assert_eq!(used[0]["source"], format!("remote:{}", server.url));
    let number = |key: &str| used[0][key].as_f64().unwrap_or_default();
    assert!(
        number("requests") > 0.0 && number("uncounted") == 0.0,
        "{used:?}"
    );
    let cost = number("prompt_tokens") / 1e3 + number("completion_tokens") / 500.0;
    assert!(
        (number("cost") - cost).abs() < 1e-6,
        "{used:?} should cost {cost}"
    );
    let markdown = home.path().join("reports/tiny-loop/report.md");
    let markdown = std::fs::read_to_string(markdown).context("read the report")?;
    assert!(markdown.contains("| respond | teacher |"), "{markdown}");
    let outputs = report["examples"].to_string();
    assert!(outputs.contains("there is this to say"), "{outputs}");
    let paths = server.paths.lock().unwrap().clone();
    for path in ["/v1/chat/completions", "/v1/completions"] {
        assert!(paths.iter().any(|p| p == path), "{path} in {paths:?}");
    }

    assert!(daemon.terminate()?.success());
    let log = home.log();
    assert!(!log.contains(KEY), "the key is in the log");
    let loud: Vec<&str> = log
        .lines()
        .filter(|line| line.contains(" ERROR ") || line.contains(" WARN "))
        .collect();
    assert!(loud.is_empty(), "unexpected log lines: {loud:#?}");
    Ok(())
}

/// The judge's server is set to no constraints, as most are: its marks are read from what it says.
#[test]
fn a_workflow_with_a_remote_generator_and_judge_runs_to_its_end() -> Result<()> {
    let (_, home, daemon) = start("")?;
    let yaml = TINY
        .replace("rounds: 2", "rounds: 1")
        .replace("    target: 12\n", "    target: 5\n    model: teacher\n")
        .replace(
            "      - plugin: {name: form}\n",
            "      - score: {least: 3, model: teacher}\n",
        )
        .replace(
            "      - plugin: {name: repetition}\n",
            "      - score: {least: 3, model: teacher}\n",
        )
        .replace(
            "    max_tokens: 48\n",
            "    max_tokens: 48\n    model: teacher\n",
        );
    home.submit(&yaml)?;
    home.wait_until_done("tiny-loop", LIMIT)?;
    let report = home.report("tiny-loop")?;
    let used = report["remote_models"].as_array().context("used")?;
    let mut stages: Vec<&str> = used
        .iter()
        .filter_map(|used| used["stage"].as_str())
        .collect();
    stages.sort_unstable();
    assert_eq!(stages, ["filter", "generate", "respond", "validate"]);
    for stage in ["filter", "validate"] {
        let listed = home.json(&["workflow", "verdicts", "tiny-loop", "--stage", stage])?;
        let listed = listed.to_string();
        assert!(listed.contains("low_score"), "{stage}: {listed}");
        assert!(!listed.contains("no_score"), "{stage}: {listed}");
    }
    ensure!(daemon.terminate()?.success(), "{}", home.log());
    Ok(())
}

#[test]
fn an_embedder_on_a_server_is_named_or_chosen_by_language() -> Result<()> {
    let (server, home, daemon) = start("[embedders]\nen = \"teacher\"\n")?;
    for arguments in [
        &["model", "embed", "teacher", "an oak", "a boat"][..],
        &[
            "model",
            "embed",
            "tiny",
            "an oak",
            "a boat",
            "--language",
            "en",
        ][..],
    ] {
        let embedded = home.json(arguments)?;
        assert_eq!(embedded["model"], "teacher", "{embedded}");
        let text = embedded.to_string();
        ensure!(text.contains("an oak") && text.contains("a boat"), "{text}");
    }
    let paths = server.paths.lock().unwrap().clone();
    assert!(
        paths.iter().all(|path| path == "/v1/embeddings"),
        "{paths:?}"
    );
    ensure!(daemon.terminate()?.success(), "{}", home.log());
    Ok(())
}

#[test]
fn a_cap_ends_a_workflow_and_a_restart_does_not_spend_again() -> Result<()> {
    let (server, home, daemon) = start("")?;
    let yaml = TINY
        .replace(
            "    max_tokens: 48\n",
            "    max_tokens: 48\n    model: teacher\n",
        )
        .replace("rounds: 2", "rounds: 1\nspending_cap: 1.5");
    home.submit(&yaml)?;
    let failed = || home.state("tiny-loop").as_deref() == Some("failed");
    autodidact_tests::wait_for("the cap", LIMIT, failed)?;
    let shown = home.text(&["workflow", "show", "tiny-loop"])?;
    assert!(shown.contains("of spending_cap 1.5 is spent"), "{shown}");
    let requests = server.requests.load(Ordering::SeqCst);
    assert!(requests > 0);
    daemon.kill()?;
    let _daemon = home.serve(&[])?;
    home.text(&["workflow", "resume", "tiny-loop"])?;
    autodidact_tests::wait_for("the cap again", LIMIT, failed)?;
    let more = server.requests.load(Ordering::SeqCst) - requests;
    assert!(more <= 2, "{more} requests more than {requests}");
    Ok(())
}

#[test]
fn keys_that_are_missing_keep_the_daemon_from_starting() -> Result<()> {
    let home = Home::new()?;
    let text = "[remote_models.teacher]\nbase_url = \"http://127.0.0.1:1/v1\"\nmodel = \"m\"\nkey_env = \"NO_SUCH_KEY\"\n";
    std::fs::write(home.path().join("autodidact.toml"), text).context("write the configuration")?;
    let refused = home.run(&["serve"])?;
    assert_eq!(refused.status.code(), Some(1));
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        message.contains("[remote_models.teacher] key_env NO_SUCH_KEY"),
        "{message}"
    );
    Ok(())
}
