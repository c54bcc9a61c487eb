//! Built-in plugins of several kinds in one workflow, on a real model: a template that asks, a validator that judges answers.
//!
//! `AUTODIDACT_TEST_MODEL` names a GGUF file of SmolLM2 135M Instruct.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use autodidact_tests::{Daemon, Home, compile_c, python_for, repository, tell};
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
    let Some(python) = python_for("a_plugin_in_c_is_built_as_its_page_says_and_judges") else {
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
    home.import_instructions("records", records.map(|(instruction, _)| instruction))?;
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

const MARKED: &str = "\
name: marked
model: smol
seeds: records
languages: [en, zh]
stages:
  filter: {chain: [{plugin: {name: rubric, TERMS}}]}
";

/// Waits until a workflow is in a state; gives what it says.
fn wait_for(home: &Home, workflow: &str, state: &str) -> Result<String> {
    let started = std::time::Instant::now();
    loop {
        let shown = home.json(&["workflow", "show", workflow])?;
        let shown = &shown["workflow"];
        let message = shown["message"].as_str().unwrap_or_default().to_string();
        if shown["state"] == state {
            return Ok(message);
        }
        ensure!(
            started.elapsed() < LIMIT,
            "{workflow} is {shown}: {}",
            home.log()
        );
        ensure!(shown["state"] != "failed", "{message}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_rubric_asks_the_model_where_it_is_granted_within_its_budget() -> Result<()> {
    let Some(model) = std::env::var_os("AUTODIDACT_TEST_MODEL") else {
        tell(
            "not run, since AUTODIDACT_TEST_MODEL is not set: a_rubric_asks_the_model_where_it_is_granted_within_its_budget",
        );
        return Ok(());
    };
    let home = Home::new()?;
    let daemon = home.serve(&[])?;
    home.text(&["model", "add", "smol", &model.to_string_lossy()])?;
    let records = [
        "Name a river.",
        "Write a short poem about a quiet street.",
        "写一句关于春天的话。",
        "List three colours.",
        "什么是彩虹？",
        "Translate the word sea into French.",
    ];
    home.import_instructions("records", records)?;

    // Without a grant it is refused before anything runs, with what to do.
    let workflow = home.path().join("marked.yaml");
    std::fs::write(&workflow, MARKED.replace("TERMS", "least: 1"))?;
    let refused = home.run(&["workflow", "check", &workflow.to_string_lossy()])?;
    assert_eq!(refused.status.code(), Some(1));
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        told.contains("autodidact plugin grant rubric generate"),
        "{told}"
    );

    // Granted in the workflow it gives every record a mark, with what it rests on.
    home.submit(&MARKED.replace("TERMS", "grant: [generate], least: 1"))?;
    home.wait_until_done("marked", LIMIT)?;
    let told = home.json(&["workflow", "verdicts", "marked"])?;
    let verdicts = told["verdicts"].as_array().context("verdicts")?;
    assert_eq!(verdicts.len(), records.len());
    for verdict in verdicts {
        let (score, note) = (&verdict["evidence"]["score"], &verdict["evidence"]["note"]);
        assert!(
            score.as_f64().is_some_and(|s| (1.0..=5.0).contains(&s)),
            "{verdict}"
        );
        assert!(
            note.as_str().is_some_and(|n| n.starts_with("clear ")),
            "{verdict}"
        );
    }
    let report = home.report("marked")?;
    let uses = &report["plugins"][0]["uses"];
    assert_eq!(uses["completions"], 2 * records.len(), "{uses}");
    let tokens = uses["tokens"].as_u64().context("tokens")?;
    assert!(tokens > 200, "{uses}");

    // A budget is not passed. What it has no tokens for fails; that many failures hold the workflow, and name the reason.
    let terms = "grant: [generate], max_tokens: 150, max_failures: 2, least: 1";
    home.submit(&MARKED.replace("TERMS", terms).replace("marked", "short"))?;
    let message = wait_for(&home, "short", "paused")?;
    assert!(
        message.contains("plugin rubric 0.1.0 is in quarantine"),
        "{message}"
    );
    assert!(
        message.contains("the budget of 150 tokens has"),
        "{message}"
    );
    let listed = home.text(&["plugin", "list"])?;
    let line = listed.lines().find(|line| line.starts_with("rubric"));
    assert!(
        line.is_some_and(|line| line.contains("quarantine")),
        "{listed}"
    );
    home.text(&["plugin", "enable", "rubric"])?;
    home.text(&["workflow", "resume", "short"])?;
    home.wait_until_done("short", LIMIT)?;
    // It was asked about every record then, and what the budget had no tokens for says so.
    let told = home.json(&["workflow", "verdicts", "short"])?;
    for verdict in told["verdicts"].as_array().context("verdicts")? {
        let note = verdict["evidence"]["note"].as_str().unwrap_or_default();
        let is_asked = note.starts_with("clear ") || note.contains("the budget of 150 tokens");
        assert!(is_asked, "{verdict}");
    }
    let shown = home.text(&["plugin", "show", "rubric"])?;
    assert!(shown.contains("asks for       generate"), "{shown}");
    let used = shown
        .lines()
        .find(|line| line.starts_with("used so far"))
        .context("uses")?;
    assert!(
        used.contains("completions") && used.contains("refusals"),
        "{used}"
    );

    // Granted for all workflows none has to say it, and a test shows what it would do.
    home.text(&[
        "plugin",
        "grant",
        "rubric",
        "generate",
        "--max-tokens",
        "9000",
    ])?;
    let check = home.run(&["workflow", "check", &workflow.to_string_lossy()])?;
    assert!(
        check.status.success(),
        "{}",
        String::from_utf8_lossy(&check.stderr)
    );
    let test = home.text(&[
        "plugin",
        "test",
        "rubric",
        "--dataset",
        "records",
        "--model",
        "smol",
        "--limit",
        "2",
    ])?;
    assert!(
        test.contains("scored") && test.contains("4 completions"),
        "{test}"
    );
    let output = home.run(&["plugin", "test", "rubric", "--dataset", "records"])?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("name one (--model)"), "{told}");
    ensure!(daemon.terminate()?.success(), "{}", home.log());
    Ok(())
}

#[test]
fn a_plugin_comes_from_an_address_with_its_digest() -> Result<()> {
    let Some(python) = python_for("a_plugin_comes_from_an_address_with_its_digest") else {
        return Ok(());
    };
    let home = Home::new()?;
    let module = home.path().join("shout.wasm");
    let source = repository().join("examples/plugins/c/shout.c");
    compile_c(&python, &source, &module, &[])?;
    let bytes = std::fs::read(&module)?;
    let printed = std::process::Command::new("sha256sum")
        .arg(&module)
        .output()?;
    let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
    let digest = printed.split(' ').next().context("its digest")?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = format!("http://{}/shout.wasm", listener.local_addr()?);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                bytes.len()
            );
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(&bytes);
        }
    });
    let daemon = home.serve(&[])?;
    let refused = |arguments: &[&str]| -> Result<String> {
        let output = home.run(&[&["plugin", "install"], arguments].concat())?;
        ensure!(!output.status.success(), "{arguments:?}");
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let without = refused(&[&address])?;
    assert!(without.contains("an address needs --sha256"), "{without}");
    let wrong = "0".repeat(64);
    let other = refused(&[&address, "--sha256", &wrong])?;
    assert!(other.contains("nothing was installed"), "{other}");
    let far = refused(&["http://192.0.2.1/x.wasm", "--sha256", &wrong])?;
    assert!(far.contains("is not https"), "{far}");
    let is_listed = || -> Result<bool> {
        let listed = home.text(&["plugin", "list"])?;
        Ok(listed.contains("shout-c"))
    };
    assert!(!is_listed()?);
    let shown = home.text(&["plugin", "install", &address, "--sha256", digest])?;
    assert!(shown.contains("name           shout-c"), "{shown}");
    assert!(is_listed()?);
    ensure!(daemon.terminate()?.success(), "{}", home.log());
    Ok(())
}

/// Does as the first letter of an instruction says: loops for ever, recurses, grabs memory in steps or at once, traps, gives an answer
/// that is none or far too long, or none at all for its batch.
const HOSTILE: &str = r#"
#define AD_NAME "hostile"
#define AD_VERSION "1.0.0"
#define AD_CONFIG_SCHEMA ""
#define AD_FILTER
#define AD_WHOLE_BATCHES
#include "autodidact_plugin.h"

static volatile uint32_t never;
static uint32_t deeper(uint32_t depth) { return never ? depth : deeper(depth + 1) + never; }

static ad_decision ad_decide(const ad_record *record) {
    char letter = record->instruction.length ? record->instruction.bytes[0] : 0;
    if (letter == 'L') while (!never) {}
    if (letter == 'R') never = deeper(0);
    if (letter == 'M') {
        __SIZE_TYPE__ first = __builtin_wasm_memory_size(0), page = first;
        while (__builtin_wasm_memory_grow(0, 1) != (__SIZE_TYPE__)-1) page++;
        // What is not written to is not the machine's memory.
        for (__SIZE_TYPE__ at = first << 16; at < page << 16; at += 4096) *(volatile char *)at = 1;
    }
    if (letter == 'G') __builtin_wasm_memory_grow(0, 60000);
    if (letter == 'M' || letter == 'G' || letter == 'T') __builtin_trap();
    if (letter == 'B') return ad_drop_for("Not A Code", ad_text_of("why"), 1);
    if (letter == 'H') {
        __SIZE_TYPE__ page = __builtin_wasm_memory_grow(0, 130);
        ad_text note = {(const char *)(page << 16), 130 << 16};
        return ad_drop_for("huge", note, 1);
    }
    return ad_keep();
}

static bool ad_decide_all(const ad_record *records, uint32_t length, ad_decision *decisions, ad_text *error) {
    for (uint32_t r = 0; r < length; r++) {
        if (records[r].instruction.length && records[r].instruction.bytes[0] == 'E') {
            *error = ad_text_of("it will not");
            return false;
        }
        decisions[r] = ad_decide(records + r);
    }
    return true;
}

static bool ad_configure(ad_text config, ad_text *error) { return ad_read_config(config, NULL, 0, error); }
"#;

#[test]
fn a_hostile_plugin_loses_its_own_records_and_nothing_else() -> Result<()> {
    let Some(python) = python_for("a_hostile_plugin_loses_its_own_records_and_nothing_else") else {
        return Ok(());
    };
    let home = Home::new()?;
    // Short times, so that the test is short.
    std::fs::write(
        home.path().join("autodidact.toml"),
        "[plugins.hostile]\nmemory_mib = 16\ncall_ms = 200\nrecord_ms = 1\n",
    )?;
    let daemon = home.serve(&[])?;
    home.prepare()?;
    // A recursion is to stay one.
    let stays = ["-fno-optimize-sibling-calls"];
    home.install_c(&python, "hostile", HOSTILE, &stays)?;
    let records = [
        ("Keep this record.", None),
        ("Loop here.", Some("took longer than")),
        ("Recurse here.", Some("call stack exhausted")),
        ("More memory.", Some("wanted more than 16 MiB of memory")),
        ("Trap here.", Some("unreachable")),
        (
            "Grab memory at once.",
            Some("wanted more than 16 MiB of memory"),
        ),
        ("Bad reason here.", Some("no reason code")),
        ("Huge output here.", Some("gave back more than 4096 KiB")),
        ("Error for the batch.", Some("it will not")),
        ("Keep that record too.", None),
    ];
    home.import_instructions("records", records.map(|(instruction, _)| instruction))?;
    let workflow = "name: harmed\nmodel: tiny\nseeds: records\nlanguages: [en]\nstages:\n  filter: {chain: [{plugin: {name: hostile}}, {plugin: {name: length}}]}\n";
    home.submit(workflow)?;
    home.wait_until_done("harmed", LIMIT)?;
    let told = home.json(&["workflow", "verdicts", "harmed"])?;
    let verdicts = told["verdicts"].as_array().context("verdicts")?;
    assert_eq!(verdicts.len(), records.len());
    for (instruction, failure) in records {
        let is_one = |v: &&Value| v["text"].as_str().is_some_and(|t| t.contains(instruction));
        let verdict = verdicts.iter().find(is_one).context(instruction)?;
        let note = verdict["evidence"]["note"].as_str().unwrap_or_default();
        match failure {
            None => assert_eq!(verdict["reason"], "kept", "{verdict}"),
            Some(why) => {
                assert_eq!(verdict["reason"], "plugin_error", "{verdict}");
                assert_eq!(verdict["rule"]["name"], "hostile", "{verdict}");
                assert!(note.contains(why), "{verdict}");
            }
        }
    }
    // The report counts it, the command line shows it, and the daemon answers.
    let report = home.report("harmed")?.to_string();
    assert!(report.contains("plugin_error"), "{report}");
    let listed = home.text(&["workflow", "verdicts", "harmed", "--dropped"])?;
    assert!(listed.contains("call stack exhausted"), "{listed}");
    assert!(
        home.text(&["plugin", "test", "length", "--dataset", "records"])?
            .contains("kept")
    );

    // Who watches is told at once.
    let file = home.path().join("watched.yaml");
    std::fs::write(&file, workflow.replace("harmed", "watched"))?;
    let watched = home.run(&[
        "workflow",
        "submit",
        &file.to_string_lossy(),
        "--watch",
        "--json",
    ])?;
    let told = String::from_utf8_lossy(&watched.stdout).into_owned();
    let warning = told.lines().find(|line| line.contains("failed on 8 of 10"));
    let warning = warning.with_context(|| format!("no warning: {told}"))?;
    assert!(warning.contains("plugin hostile"), "{warning}");
    for why in records.iter().filter_map(|(_, failure)| *failure) {
        assert!(warning.contains(why), "{why}: {warning}");
    }

    // Its memory comes back: these are some 240 grabs of 16 MiB.
    home.import_instructions("grabs", (0..32).map(|i| format!("More memory {i}.")))?;
    let before = daemon.peak_memory_mib()?;
    for _ in 0..4 {
        home.text(&["plugin", "test", "hostile", "--dataset", "grabs"])?;
    }
    let grown = daemon.peak_memory_mib()? - before;
    assert!(grown < 200.0, "{grown} MiB more");

    // Killed while the plugin does its worst, it comes out the same.
    let undisturbed = outcome(&home, "harmed")?;
    home.submit(&workflow.replace("harmed", "killed"))?;
    let daemon = kill_at_work(&home, daemon, "killed", [50, 150, 300])?;
    home.wait_until_done("killed", LIMIT)?;
    assert_eq!(outcome(&home, "killed")?, undisturbed);
    ensure!(daemon.terminate()?.success(), "{}", home.log());
    Ok(())
}

/// Asks how likely an answer is to each record's instruction.
const MEASURES: &str = r#"
#define AD_NAME "measures"
#define AD_VERSION "1.0.0"
#define AD_CONFIG_SCHEMA ""
#define AD_CAPABILITIES AD_USES_SCORE
#define AD_FILTER
#define AD_WHOLE_BATCHES
#include "autodidact_plugin.h"
#include "autodidact_host.h"

static bool ad_configure(ad_text config, ad_text *error) { return ad_read_config(config, NULL, 0, error); }

static bool ad_decide_all(const ad_record *records, uint32_t length, ad_decision *decisions, ad_text *error) {
    (void)decisions;
    ad_continuation *continuations = ad_take(4, length * sizeof *continuations);
    for (uint32_t r = 0; r < length; r++) {
        continuations[r].prompt = ad_question(records[r].instruction);
        continuations[r].text = ad_text_of("Yes.");
    }
    return ad_measure(continuations, length, error) != NULL;
}
"#;

#[test]
fn a_text_that_no_context_holds_fails_its_own_record() -> Result<()> {
    let Some(python) = python_for("a_text_that_no_context_holds_fails_its_own_record") else {
        return Ok(());
    };
    let home = Home::new()?;
    let daemon = home.serve(&[])?;
    home.prepare()?;
    home.install_c(&python, "measures", MEASURES, &[])?;
    let long = "Name a river and another one. ".repeat(20_000);
    home.import_instructions("records", ["Name a river.", &long, "List three colours."])?;
    home.submit("name: long\nmodel: tiny\nseeds: records\nlanguages: [en]\nstages:\n  filter: {chain: [{plugin: {name: measures, grant: [score], max_tokens: 10000000}}]}\n")?;
    home.wait_until_done("long", LIMIT)?;
    let told = home.json(&["workflow", "verdicts", "long"])?;
    let verdicts = told["verdicts"].as_array().context("verdicts")?;
    assert_eq!(verdicts.len(), 3);
    for verdict in verdicts {
        let is_long = verdict["text"].as_str().is_some_and(|t| t.len() > 1000);
        let expected = if is_long { "plugin_error" } else { "kept" };
        assert_eq!(verdict["reason"], expected, "{}", verdict["evidence"]);
        let note = verdict["evidence"]["note"].as_str().unwrap_or_default();
        assert_eq!(note.contains("the context holds"), is_long, "{note}");
    }
    ensure!(daemon.terminate()?.success(), "{}", home.log());
    Ok(())
}

/// Tells what came of a workflow: its dataset, and every verdict without its place and time.
fn outcome(home: &Home, workflow: &str) -> Result<(String, Vec<Value>)> {
    let told = home.json(&["workflow", "verdicts", workflow])?;
    let verdicts = told["verdicts"].as_array().context("verdicts")?;
    let parts = ["text", "reason", "rule", "evidence"];
    let judged = verdicts.iter().map(|v| parts.map(|part| v[part].clone()));
    let judged = judged.map(Value::from_iter).collect();
    Ok((home.text(&["dataset", "export", workflow])?, judged))
}

/// Kills the daemon so many milliseconds after it began, several times, of which the workflow was at work in one at least.
fn kill_at_work(
    home: &Home,
    mut daemon: Daemon,
    workflow: &str,
    delays_ms: [u64; 3],
) -> Result<Daemon> {
    let mut at_work = 0;
    for delay_ms in delays_ms {
        std::thread::sleep(Duration::from_millis(delay_ms));
        at_work += usize::from(home.state(workflow).as_deref() == Some("running"));
        daemon.kill()?;
        daemon = home.serve(&[])?;
    }
    ensure!(at_work > 0, "it was done before it was killed");
    Ok(daemon)
}

/// Drops every seventh record that it has seen, against its contract, and takes its time.
const REMEMBERING: &str = r#"
#define AD_NAME "remembering"
#define AD_VERSION "1.0.0"
#define AD_CONFIG_SCHEMA ""
#define AD_FILTER
#include "autodidact_plugin.h"

static uint32_t seen;
static volatile uint32_t turns;

static ad_decision ad_decide(const ad_record *record) {
    (void)record;
    for (turns = 0; turns < 2000000; turns++) {}
    seen++;
    return seen % 7 ? ad_keep() : ad_drop("seventh");
}

static bool ad_configure(ad_text config, ad_text *error) { return ad_read_config(config, NULL, 0, error); }
"#;

/// What a plugin remembers decides nothing that a kill could change.
#[test]
fn a_plugin_that_remembers_comes_out_the_same_after_a_kill() -> Result<()> {
    let Some(python) = python_for("a_plugin_that_remembers_comes_out_the_same_after_a_kill") else {
        return Ok(());
    };
    let home = Home::new()?;
    let daemon = home.serve(&[])?;
    home.prepare()?;
    home.install_c(&python, "remembering", REMEMBERING, &[])?;
    // Several waves, of a length that is no multiple of seven.
    let instructions = (0..400).map(|i| format!("Write down the number {i}."));
    home.import_instructions("records", instructions)?;
    let workflow = "name: whole\nmodel: tiny\nseeds: records\nlanguages: [en]\nstages:\n  filter: {chain: [{plugin: {name: remembering}}]}\n";
    home.submit(workflow)?;
    home.wait_until_done("whole", LIMIT)?;
    let undisturbed = outcome(&home, "whole")?;
    let dropped = undisturbed.1.iter().filter(|judged| judged[1] == "seventh");
    // Nine of each wave of 64, and two of the last 16.
    assert_eq!((undisturbed.1.len(), dropped.count()), (400, 6 * 9 + 2));
    home.submit(&workflow.replace("whole", "killed"))?;
    let daemon = kill_at_work(&home, daemon, "killed", [300, 500, 400])?;
    home.wait_until_done("killed", LIMIT)?;
    assert_eq!(outcome(&home, "killed")?, undisturbed);
    ensure!(daemon.terminate()?.success(), "{}", home.log());
    Ok(())
}

/// Waiting for a model ends at its bound, whatever it is asked for. `AUTODIDACT_TEST_MODEL` names a GGUF file of SmolLM2 135M Instruct.
#[test]
fn a_plugin_that_waits_too_long_is_ended() -> Result<()> {
    let test = "a_plugin_that_waits_too_long_is_ended";
    let variables = ["AUTODIDACT_TEST_PYTHON", "AUTODIDACT_TEST_MODEL"];
    let [Ok(python), Ok(model)] = variables.map(std::env::var) else {
        tell(&format!(
            "not run, since {variables:?} are not both set: {test}"
        ));
        return Ok(());
    };
    let home = Home::new()?;
    let settings = home.path().join("autodidact.toml");
    std::fs::write(&settings, "[plugins.waits]\nwait_s = 1\n")?;
    let daemon = home.serve(&[])?;
    home.text(&["model", "add", "smol", &model])?;
    home.install_c(&python, "waits", include_str!("guests/waits.c"), &[])?;
    let grant = ["plugin", "grant", "waits", "generate", "embed", "score"];
    home.text(&[&grant[..], &["--max-tokens", "100000000"]].concat())?;
    home.import_instructions("records", ["Generate.", "Embed.", "Score.", "Keep."])?;
    let started = Instant::now();
    let asked = ["plugin", "test", "waits", "--dataset", "records", "--json"];
    let told = home.text(&[&asked[..], &["--model", "smol"]].concat())?;
    // Six times a second; all of it would take minutes.
    let took = started.elapsed();
    ensure!(took < Duration::from_secs(40), "{took:?}: {told}");
    for line in told.lines() {
        let message: Value = serde_json::from_str(line)?;
        let Some(record) = message.get("record") else {
            continue;
        };
        let note = record["note"].as_str().unwrap_or_default();
        match record["text"].as_str() {
            Some("Keep.") => assert_eq!(record["verdict"], "kept", "{record}"),
            _ => ensure!(
                note.contains("waited longer than 1000 ms for the model"),
                "{record}"
            ),
        }
    }
    ensure!(daemon.terminate()?.success(), "{}", home.log());
    Ok(())
}
