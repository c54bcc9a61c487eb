//! The examples of `examples/plugins`, built by the commands of their page, judge alike.
//!
//! `AUTODIDACT_TEST_PYTHON` names a Python with the packages of `tests/requirements.txt`; JavaScript and AssemblyScript need npm on the
//! PATH.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use autodidact_tests::{Home, repository, tell};
use serde_json::Value;

use super::languages::{must, tools_of};

/// The page's row of a language, cell by cell.
fn row(language: &str) -> Result<Vec<String>> {
    let page = std::fs::read_to_string(repository().join("examples/plugins/README.md"))?;
    let start = format!("| {language} |");
    let row = page.lines().find(|line| line.starts_with(&start));
    let cells = row.with_context(|| format!("a row of {language}"))?;
    Ok(cells.split(" | ").map(str::to_string).collect())
}

/// Copies a folder of the repository.
fn copy(folder: &str, to: &Path) -> Result<()> {
    let source = repository().join(folder);
    let target = to.join(folder);
    std::fs::create_dir_all(target.parent().context("its parent")?)?;
    let copied = Command::new("cp")
        .arg("-r")
        .args([&source, &target])
        .status();
    ensure!(copied.context("run cp")?.success(), "{folder}");
    Ok(())
}

fn check(language: &str, tools: &str) -> Result<()> {
    let environment = match tools_of(tools)? {
        Ok(environment) => environment,
        Err(missing) => {
            tell(&format!("not run, since {missing}: the_example_in_{tools}"));
            return Ok(());
        }
    };
    let work = tempfile::tempdir()?;
    copy("sdk", work.path())?;
    copy("examples/plugins", work.path())?;
    let shell = |command: &str| -> Result<String> {
        let shell = Command::new("sh")
            .args(["-ec", command])
            .current_dir(work.path())
            .envs(environment.iter().cloned())
            .output();
        must(shell.context("run sh")?, command)
    };
    let row = row(language)?;
    let in_ticks = |cell: &str| cell.split('`').nth(1).map(str::to_string);
    let (command, tried) = (in_ticks(&row[2]).context("a command")?, &row[3]);
    if let Some(package) = tried.trim().strip_suffix(" of npm") {
        let (name, version) = package.split_once(' ').context("its version")?;
        shell(&format!(
            "npm install --no-audit --no-fund {name}@{version}"
        ))?;
    }
    shell(&command)?;

    let home = Home::new()?;
    let daemon = home.serve(&[])?;
    home.prepare()?;
    let instructions = [
        ("Name a river.", "kept"),
        ("Name a river!!!", "shouts"),
        ("写一首诗！！", "kept"),
        ("写一首诗！!！", "shouts"),
    ];
    home.import_instructions("records", instructions.map(|(text, _)| text))?;
    let component = work.path().join("shout.wasm");
    let component = component.to_string_lossy().into_owned();
    let test = [
        "plugin",
        "test",
        &component,
        "--dataset",
        "records",
        "--json",
    ];
    let told = home.text(&test)?;
    let messages = told.lines().map(serde_json::from_str);
    let messages: Vec<Value> = messages.collect::<Result<_, _>>()?;
    let records = messages.iter().filter_map(|message| message.get("record"));
    let judged: Vec<_> = records
        .map(|record| (record["text"].as_str(), record["verdict"].as_str()))
        .collect();
    let expected = instructions.map(|(text, verdict)| (Some(text), Some(verdict)));
    assert_eq!(judged, expected, "{told}");
    // What it costs is measured beside the same filter in native Rust, and they decide alike.
    let bench = [
        "bench",
        "plugin",
        "--records",
        "200",
        "--runs",
        "1",
        "--json",
    ];
    let printed = home.text(&[&bench[..], &["--plugin", &component]].concat())?;
    for row in [("\"shout\"", "\"native\""), ("\"shout-", "\"component\"")] {
        let is_row = |line: &str| line.contains(row.0) && line.contains(row.1);
        assert!(printed.lines().any(is_row), "{row:?}: {printed}");
    }
    ensure!(daemon.terminate()?.success(), "{}", home.log());
    Ok(())
}

#[test]
fn the_example_in_zig() -> Result<()> {
    check("Zig", "zig")
}

#[test]
fn the_example_in_assemblyscript() -> Result<()> {
    check("AssemblyScript", "assemblyscript")
}

#[test]
fn the_example_in_python() -> Result<()> {
    check("Python", "python")
}

#[test]
fn the_example_in_javascript() -> Result<()> {
    check("JavaScript", "javascript")
}
