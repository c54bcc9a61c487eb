//! OpenAI's own client finds its interface beside gRPC: on the Unix socket, and over TLS with the token.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use autodidact_tests::{Home, find_text, repository};

use crate::loop_tiny::LIMIT;
use crate::workflows::TINY;

const TOKEN: &str = "a-token-that-nobody-guesses-0123";

/// `AUTODIDACT_TEST_PYTHON` names a Python with openai; `tests/run.sh` makes one.
#[test]
fn openais_client_is_answered() -> Result<()> {
    let Ok(python) = std::env::var("AUTODIDACT_TEST_PYTHON") else {
        println!("skipped: AUTODIDACT_TEST_PYTHON is not set");
        return Ok(());
    };
    let home = Home::new()?;
    let certified = rcgen::generate_simple_self_signed(["localhost".to_string()])?;
    let config = "[tcp]\naddress = \"127.0.0.1:0\"\ntoken_file = \"token\"\ntls_certificate = \"cert.pem\"\ntls_key = \"key.pem\"\n";
    for (name, text) in [
        ("cert.pem", certified.cert.pem()),
        ("key.pem", certified.signing_key.serialize_pem()),
        ("token", TOKEN.to_string()),
        ("autodidact.toml", config.to_string()),
    ] {
        std::fs::write(home.path().join(name), text).context(name)?;
    }
    let _daemon = home.serve(&[])?;
    home.prepare()?;
    let encoder = repository().join("tests/golden/encoder/bert");
    home.text(&["model", "add", "encoder", &encoder.to_string_lossy()])?;
    home.submit(&TINY.replace("rounds: 2", "rounds: 1"))?;
    home.wait_until_done("tiny-loop", LIMIT)?;
    let checkpoints = home.json(&["checkpoint", "list"])?;
    let adapter = find_text(&checkpoints, "id").context("a checkpoint")?;
    let info = home.json(&["system", "info"])?.to_string();
    let (_, rest) = info
        .split_once("https://127.0.0.1:")
        .context("an address")?;
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();

    let output = Command::new(&python)
        .arg(repository().join("tests/end_to_end/openai_client.py"))
        .arg(home.path().join("run/autodidact.sock"))
        .arg(format!("localhost:{port}"))
        .arg(home.path().join("cert.pem"))
        .args([TOKEN, "tiny", &adapter, "encoder"])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .with_context(|| format!("run {python}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success() && text.contains("all answered"),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
