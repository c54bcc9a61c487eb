//! A client made from the `.proto` files alone submits a workflow and watches it to the end.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use autodidact_tests::{Home, repository};

use crate::workflows::TINY;

/// `AUTODIDACT_TEST_PYTHON` names a Python with grpcio and grpcio-tools; `tests/run.sh` makes one.
#[test]
fn a_python_client_submits_and_watches() -> Result<()> {
    let Ok(python) = std::env::var("AUTODIDACT_TEST_PYTHON") else {
        println!("skipped: AUTODIDACT_TEST_PYTHON is not set");
        return Ok(());
    };
    let home = Home::new()?;
    let _daemon = home.serve(&[])?;
    home.prepare()?;
    let workflow = home.path().join("workflow.yaml");
    std::fs::write(&workflow, TINY.replace("rounds: 2", "rounds: 1"))?;
    let output = Command::new(&python)
        .arg(repository().join("examples/clients/python/submit_and_watch.py"))
        .arg("--socket")
        .arg(home.path().join("run/autodidact.sock"))
        .arg(&workflow)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .with_context(|| format!("run {python}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("done"), "{text}");
    assert_eq!(home.state("tiny-loop").as_deref(), Some("done"));
    Ok(())
}
