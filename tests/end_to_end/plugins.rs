//! Built-in plugins of several kinds in one workflow, on a real model: a template that asks, a validator that judges answers.
//!
//! `AUTODIDACT_TEST_MODEL` names a GGUF file of SmolLM2 135M Instruct.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use autodidact_tests::{Home, repository, tell};
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

/// `AUTODIDACT_TEST_PYTHON` names a Python with the packages of `tests/requirements.txt`, of which ziglang compiles C.
#[test]
fn a_plugin_in_c_is_built_as_its_page_says_and_judges() -> Result<()> {
    let Ok(python) = std::env::var("AUTODIDACT_TEST_PYTHON") else {
        tell(
            "not run, since AUTODIDACT_TEST_PYTHON is not set: a_plugin_in_c_is_built_as_its_page_says_and_judges",
        );
        return Ok(());
    };
    let home = Home::new()?;
    let page = std::fs::read_to_string(repository().join("examples/plugins/README.md"))?;
    let command = page
        .split('`')
        .find(|part| part.contains("ziglang cc"))
        .context("the page has the command")?;
    let module = home.path().join("shout.wasm");
    let command = command
        .replacen("python", &python, 1)
        .replace("-o shout.wasm", &format!("-o {}", module.display()));
    let built = std::process::Command::new("sh")
        .args(["-c", &command])
        .current_dir(repository())
        .env("ZIG_GLOBAL_CACHE_DIR", home.path().join("zig"))
        .status()
        .context("run the compiler")?;
    ensure!(built.success(), "{command}");

    let daemon = home.serve(&[])?;
    home.prepare()?;
    home.text(&["plugin", "install", &module.to_string_lossy()])?;
    let records = [
        ("Name a river.", None),
        ("Name a river!!!", Some("shouts")),
        ("写一首诗！！", None),
        ("写一首诗！！！！", Some("shouts")),
    ];
    let lines = records.map(|(instruction, _)| {
        serde_json::json!({"instruction": instruction, "instances": []}).to_string()
    });
    let file = home.path().join("records.jsonl");
    std::fs::write(&file, lines.join("\n")).context("write records")?;
    home.text(&["dataset", "import", "records", &file.to_string_lossy()])?;
    let workflow = "name: shouting\nlanguages: [en, zh]\nmodel: tiny\nseeds: records\nstages:\n  filter: {chain: [{plugin: {name: shout-c, on_error: stop}}]}\n";
    home.submit(workflow)?;
    home.wait_until_done("shouting", LIMIT)?;
    let told = home.json(&["workflow", "verdicts", "shouting"])?;
    let verdicts = told["verdicts"].as_array().context("verdicts")?;
    for (instruction, reason) in records {
        let is_one = |v: &&Value| v["text"].as_str().is_some_and(|t| t.contains(instruction));
        let verdict = verdicts.iter().find(is_one).context(instruction)?;
        assert_eq!(verdict["reason"], reason.unwrap_or("kept"), "{verdict}");
    }
    let refused = home.run(&["workflow", "check", &{
        let file = home.path().join("configured.yaml");
        std::fs::write(&file, workflow.replace("on_error: stop", "config: {a: 1}"))?;
        file.to_string_lossy().into_owned()
    }])?;
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("shout-c takes no configuration"), "{told}");
    ensure!(daemon.terminate()?.success(), "{}", home.log());
    Ok(())
}
