//! Built-in plugins of several kinds in one workflow, on a real model: a template that asks, a validator that judges answers.
//!
//! `AUTODIDACT_TEST_MODEL` names a GGUF file of SmolLM2 135M Instruct.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use autodidact_tests::{Home, tell};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(300);

const WORKFLOW: &str = "\
name: plugged
seed: 3
model: smol
seeds: seeds-en
stages:
  generate:
    target: 6
    batch: 6
    max_requests: 24
    max_tokens: 120
    template: plugin
    template_plugin: {name: alpaca, config: {count: 4, demands: {en: [be about animals.]}}}
  filter: {chain: [exact, {plugin: {name: form}}]}
  respond: {max_tokens: 64}
  validate: {chain: [{plugin: {name: structured, on_error: stop}}, {plugin: {name: repetition}}]}
";

#[test]
fn a_template_and_a_validator_run_in_a_workflow() -> Result<()> {
    let Some(model) = std::env::var_os("AUTODIDACT_TEST_MODEL") else {
        tell(
            "not run, since AUTODIDACT_TEST_MODEL is not set: a_template_and_a_validator_run_in_a_workflow",
        );
        return Ok(());
    };
    let home = Home::new()?;
    let daemon = home.serve(&[])?;
    home.prepare()?;
    home.text(&["model", "add", "smol", &model.to_string_lossy()])?;
    home.submit(WORKFLOW)?;
    home.wait_until_done("plugged", LIMIT)?;
    let kept = home.text(&["dataset", "export", "plugged"])?;
    let records: Vec<Value> = kept
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    ensure!(records.len() >= 6, "{kept}");
    let report = home.report("plugged")?;
    let plugins = report["plugins"].as_array().context("plugins")?;
    let mut names: Vec<&str> = plugins.iter().filter_map(|p| p["name"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["alpaca", "form", "repetition", "structured"]);
    // At a wrong place it is refused before anything runs, with what it is.
    let wrong = WORKFLOW
        .replace("name: plugged", "name: wrong")
        .replace("name: form", "name: alpaca");
    let file = home.path().join("wrong.yaml");
    std::fs::write(&file, wrong).context("write workflow")?;
    let output = home.run(&["workflow", "check", &file.to_string_lossy()])?;
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("plugin alpaca is a template"), "{told}");
    ensure!(daemon.terminate()?.success(), "{}", home.log());
    Ok(())
}
