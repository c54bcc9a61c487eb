//! `autodidact plugin`, as people use it: it says what happened, and what to do where something did not.

use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use autodidact_tests::{Home, python_for, repository, wait_for};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(120);

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The example in C, which asks for nothing.
fn shout() -> Result<String> {
    let file = repository().join("examples/plugins/c/shout.c");
    std::fs::read_to_string(file).context("read the example")
}

/// A dataset with an answer to mend, a broken one, and one that would steer a terminal.
fn import_answers(home: &Home) -> Result<()> {
    let records = [
        ("Give me JSON.", "```json\n{\"a\": 1}"),
        ("Give me more JSON.", "```json\n{\"a\": }\n```"),
        ("Turn \u{202e} this \u{1b}[31m red.", "No."),
    ];
    let lines = records.map(|(instruction, output)| {
        serde_json::json!({"instruction": instruction, "output": output}).to_string()
    });
    let file = home.path().join("answers.jsonl");
    std::fs::write(&file, lines.join("\n"))?;
    home.text(&["dataset", "import", "answers", &file.to_string_lossy()])?;
    Ok(())
}

#[test]
fn a_test_shows_what_a_plugin_would_do() -> Result<()> {
    let home = Home::new()?;
    let daemon = home.serve(&[])?;
    home.prepare()?;
    import_answers(&home)?;
    let asked = ["plugin", "test", "structured", "--dataset", "answers"];
    let shown = home.text(&asked)?;
    for expected in [
        "bad_json   1        33.3%",
        "  - ```json {\"a\": 1}\n  + ```json {\"a\": 1} ```",
        "its last block is closed",
        "Turn \\u{202e} this \\u{1b}[31m red.",
    ] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    for (figure, unit) in [("time a record", "us"), ("peak memory", "B")] {
        let line = shown.lines().find(|line| line.contains(figure));
        let line = line.with_context(|| format!("{figure}: {shown}"))?;
        assert!(line.contains(unit), "{line}");
        assert!(line.contains(|c: char| ('1'..='9').contains(&c)), "{line}");
    }
    // What lacks a grant is told how to get it.
    let output = home.run(&["plugin", "test", "rubric", "--dataset", "answers"])?;
    assert!(
        told(&output).contains("add --grant generate --model MODEL"),
        "{}",
        told(&output)
    );
    // A template's prompts are put to a model, and what it says is read.
    let asked = [
        "plugin",
        "test",
        "alpaca",
        "--dataset",
        "seeds-en",
        "--json",
    ];
    let limited = [&asked[..], &["--limit", "12", "--model", "tiny"]].concat();
    let shown = home.text(&limited)?;
    let read = shown.lines().filter(|line| line.contains("\"parsed\""));
    assert_eq!(read.count(), 4, "{shown}");
    for (wrong, expected) in [
        (&["--limit", "0"][..], "0 is not in 1..=100000"),
        (&["--kind", "filer"], "possible values: filter, template"),
        (&["--plugin-config", "[1]"], "expected an object such as"),
        (&["--grant", "everything"], "possible values: log, generate"),
    ] {
        let output = home.run(&[&asked[..], wrong].concat())?;
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        let told = told(&output);
        assert!(
            told.contains(expected) && !told.contains("TestPluginHeader"),
            "{told}"
        );
    }
    ensure!(daemon.terminate()?.success(), "{}", home.log());
    Ok(())
}

#[test]
fn a_command_says_what_happened_and_changes_nothing_where_it_is_refused() -> Result<()> {
    let name = "a_command_says_what_happened_and_changes_nothing_where_it_is_refused";
    let Some(python) = python_for(name) else {
        return Ok(());
    };
    let home = Home::new()?;
    let daemon = home.serve(&[])?;
    home.prepare()?;
    let asks = include_str!("guests/asks.c");
    let module = home.install_c(&python, "asks-c", asks, &[])?;
    let module = module.to_string_lossy().into_owned();
    let again = home.text(&["plugin", "install", &module])?;
    for expected in [
        "asks-c 0.1.0 was installed already",
        "`autodidact plugin grant asks-c log generate embed score data --file NAME=PATH`",
    ] {
        assert!(again.contains(expected), "{again}");
    }
    // What `sha256sum` prints is what `--sha256` takes.
    let shown = home.json(&["plugin", "show", "asks-c"])?;
    let sha256 = shown["sha256"].as_str().context("sha256")?;
    home.text(&["plugin", "install", &module, "--sha256", sha256])?;

    home.text(&["plugin", "remove", "asks-c"])?;
    let grant = |grant| home.run(&["plugin", "install", &module, "--grant", grant]);
    let granted = grant("log,generate")?;
    assert!(granted.status.success(), "{}", told(&granted));
    let shown = home.json(&["plugin", "show", "asks-c"])?;
    let expected = serde_json::json!(["log", "generate"]);
    assert_eq!(shown["granted"]["capabilities"], expected, "{shown}");
    // Granted what it does not ask for, it is not installed.
    let module = home.install_c(&python, "shout", &shout()?, &[])?;
    home.text(&["plugin", "remove", "shout-c"])?;
    let module = module.to_string_lossy();
    let refused = home.run(&["plugin", "install", &module, "--grant", "log"])?;
    let why = "plugin shout-c does not ask for log; it asks for nothing; nothing was installed";
    assert!(told(&refused).contains(why), "{}", told(&refused));
    assert!(!home.text(&["plugin", "list"])?.contains("shout-c"));

    let refused = home.run(&["plugin", "new", "form", "--lang", "c"])?;
    assert!(told(&refused).contains("comes with the daemon"));
    let refused = home.run(&["plugin", "grant", "rubric", "--revoke", "embed"])?;
    assert!(told(&refused).contains("does not ask for embed"));
    ensure!(daemon.terminate()?.success(), "{}", home.log());
    Ok(())
}

#[test]
fn a_disabled_plugin_is_kept_from_new_workflows_alone() -> Result<()> {
    let home = Home::new()?;
    let daemon = home.serve(&[])?;
    home.prepare()?;
    home.import_instructions("records", ["Turn \u{202e} this \u{1b}[31m red.", "No."])?;
    let workflow = |name: &str, more: &str| {
        format!(
            "name: {name}\nmodel: tiny\nseeds: records\nlanguages: [en]\n{more}stages:\n  filter: {{chain: [{{plugin: {{name: length}}}}]}}\n"
        )
    };
    // It waits for a file, bound to the plugin.
    home.submit(&workflow("waits", "on_drop: records\n"))?;
    let shown = home.text(&["plugin", "disable", "length"])?;
    assert_eq!(
        shown.trim_end(),
        "length is disabled: no new workflow may use it; these were submitted with it and go on: waits"
    );
    let file = home.path().join("new.yaml");
    std::fs::write(&file, workflow("new", ""))?;
    let refused = home.run(&["workflow", "submit", &file.to_string_lossy()])?;
    assert!(told(&refused).contains("`autodidact plugin enable length`"));
    home.import_instructions("records", ["Name three rivers.", "No."])?;
    let run = "waits-v2";
    wait_for("the bound run", LIMIT, || home.state(run).is_some())?;
    home.wait_until_done(run, LIMIT)?;
    let verdicts = home.json(&["workflow", "verdicts", run])?;
    let too_short = |v: &&Value| v["rule"]["name"] == "length";
    let found = verdicts["verdicts"].as_array().context("verdicts")?;
    assert_eq!(found.iter().filter(too_short).count(), 1, "{verdicts}");
    home.text(&["plugin", "enable", "length"])?;
    home.submit(&workflow("new", ""))?;
    home.wait_until_done("new", LIMIT)?;
    ensure!(daemon.terminate()?.success(), "{}", home.log());
    Ok(())
}

/// A registry of an earlier daemon may have somebody's plugin under a name that now comes with the daemon.
#[test]
fn a_daemon_starts_where_somebody_s_plugin_has_the_name_of_its_own() -> Result<()> {
    let Some(python) =
        python_for("a_daemon_starts_where_somebody_s_plugin_has_the_name_of_its_own")
    else {
        return Ok(());
    };
    let home = Home::new()?;
    let daemon = home.serve(&[])?;
    home.install_c(&python, "shout", &shout()?, &[])?;
    ensure!(daemon.terminate()?.success(), "{}", home.log());
    let path = home.path().join("plugin-store/registry.json");
    let mut registry: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    let theirs = registry["plugins"]["shout-c"].clone();
    let digest = theirs["in_force"].as_str().context("digest")?.to_string();
    registry["plugins"]["length"] = theirs;
    registry["components"][&digest]["name"] = "length".into();
    let plugins = registry["plugins"].as_object_mut().context("plugins")?;
    plugins.remove("shout-c").context("shout-c")?;
    std::fs::write(&path, registry.to_string())?;

    let daemon = home.serve(&[])?;
    let from = |name: &str| -> Result<Value> {
        Ok(home.json(&["plugin", "show", name])?["builtin"].clone())
    };
    assert_eq!(from("length")?, false, "theirs stays");
    let log = home.log();
    assert!(
        log.contains("the built-in plugin length stays away"),
        "{log}"
    );
    home.text(&["plugin", "remove", "length"])?;
    ensure!(daemon.terminate()?.success(), "{}", home.log());
    let daemon = home.serve(&[])?;
    assert_eq!(from("length")?, true, "ours comes once theirs is removed");
    ensure!(daemon.terminate()?.success(), "{}", home.log());
    Ok(())
}

/// Writes two hundred lines to its log for every record.
const CHATTY: &str = r#"
#define AD_NAME "chatty"
#define AD_VERSION "1.0.0"
#define AD_CONFIG_SCHEMA ""
#define AD_CAPABILITIES AD_USES_LOG
#define AD_FILTER
#include "autodidact_plugin.h"
#include "autodidact_host.h"

static bool ad_configure(ad_text config, ad_text *error) { return ad_read_config(config, NULL, 0, error); }

static ad_decision ad_decide(const ad_record *record) {
    (void)record;
    for (int i = 0; i < 200; i++) ad_log(AD_INFO, ad_text_of("and another thing"));
    return ad_keep();
}
"#;

#[test]
fn a_plugin_cannot_fill_the_log() -> Result<()> {
    let Some(python) = python_for("a_plugin_cannot_fill_the_log") else {
        return Ok(());
    };
    let home = Home::new()?;
    let settings = "[plugins.chatty]\nlog_lines = 100000\n";
    std::fs::write(home.path().join("autodidact.toml"), settings)?;
    let daemon = home.serve(&[])?;
    home.prepare()?;
    home.install_c(&python, "chatty", CHATTY, &[])?;
    home.text(&["plugin", "grant", "chatty", "log"])?;
    home.import_instructions("records", (0..300).map(|i| format!("Say {i}.")))?;
    home.submit("name: loud\nmodel: tiny\nseeds: records\nlanguages: [en]\nstages:\n  filter: {chain: [{plugin: {name: chatty}}]}\n")?;
    home.wait_until_done("loud", LIMIT)?;
    let uses = home.json(&["plugin", "show", "chatty"])?["uses"].clone();
    assert_eq!(uses["log_lines"], 10_000, "{uses}");
    let written = home.log().matches("and another thing").count();
    // Lines are fleeting: a full channel loses some, and none is told twice.
    assert!((100..=10_000).contains(&written), "{written} lines");
    ensure!(daemon.terminate()?.success(), "{}", home.log());
    Ok(())
}

/// Takes some tenths of a second for every record.
const SLOW: &str = r#"
#define AD_NAME "slow"
#define AD_VERSION "1.0.0"
#define AD_CONFIG_SCHEMA ""
#define AD_FILTER
#include "autodidact_plugin.h"

static bool ad_configure(ad_text config, ad_text *error) { return ad_read_config(config, NULL, 0, error); }

static ad_decision ad_decide(const ad_record *record) {
    (void)record;
    for (volatile uint32_t i = 0; i < 200000000; i++) {}
    return ad_keep();
}
"#;

#[test]
fn a_long_test_says_how_far_it_is_and_can_be_ended() -> Result<()> {
    let Some(python) = python_for("a_long_test_says_how_far_it_is_and_can_be_ended") else {
        return Ok(());
    };
    let home = Home::new()?;
    let settings = "[plugins.slow]\ncall_ms = 60000\nrecord_ms = 60000\n";
    std::fs::write(home.path().join("autodidact.toml"), settings)?;
    let daemon = home.serve(&[])?;
    home.install_c(&python, "slow", SLOW, &[])?;
    home.import_instructions("records", (0..3000).map(|i| format!("Say {i}.")))?;
    // Minutes of work, of which a first part is seen.
    let test = home.spawn(&["plugin", "test", "slow", "--dataset", "records"])?;
    wait_for("a line on how far it is", LIMIT, || {
        home.log().contains(" so far")
    })?;
    let log = home.log();
    let line = log.lines().find(|line| line.contains(" so far"));
    assert!(line.is_some_and(|l| l.contains("asked about ")), "{log}");
    test.terminate()?;
    // Nobody waits for the rest, so the daemon does not do it.
    wait_for("a daemon at rest", LIMIT, || {
        let spent = || daemon.cpu_time().unwrap_or_default();
        let before = spent();
        std::thread::sleep(Duration::from_secs(1));
        spent() - before < Duration::from_millis(300)
    })?;
    ensure!(daemon.terminate()?.success(), "{}", home.log());
    Ok(())
}
