//! Files dropped into watched folders become dataset versions, and start the workflows bound to them.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use autodidact_tests::{Home, wait_for};
use serde_json::{Value, json};

use crate::workflows::TINY;

const LIMIT: Duration = Duration::from_secs(30);

fn alpaca(count: usize) -> String {
    let lines = (0..count).map(|i| {
        json!({"instruction": format!("Name the number that follows {i}."), "input": "", "output": format!("{}", i + 1)})
            .to_string()
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn report(file: &Path) -> Result<Value> {
    let path = format!("{}.report.json", file.display());
    wait_for(&path, LIMIT, || Path::new(&path).exists())?;
    Ok(serde_json::from_str(&std::fs::read_to_string(&path)?)?)
}

fn versions(home: &Home, dataset: &str) -> u64 {
    let shown = home.json(&["dataset", "show", dataset]).ok();
    shown.and_then(|v| find_number(&v, "version")).unwrap_or(0)
}

fn find_number(value: &Value, key: &str) -> Option<u64> {
    match value {
        Value::Object(map) => map
            .get(key)
            .and_then(Value::as_u64)
            .or_else(|| map.values().find_map(|v| find_number(v, key))),
        Value::Array(items) => items.iter().find_map(|v| find_number(v, key)),
        _ => None,
    }
}

#[test]
fn a_dropped_file_becomes_a_version_however_it_arrives() -> Result<()> {
    let home = Home::new()?;
    let elsewhere = tempfile::tempdir()?;
    let watched = format!("field-notes={}", elsewhere.path().display());
    let _daemon = home.serve(&[("AUTODIDACT_INBOX", &watched)])?;
    let inbox = home.path().join("inbox");

    // Alpaca, written at once into a new dataset's folder.
    std::fs::create_dir_all(inbox.join("numbers"))?;
    let file = inbox.join("numbers/a.jsonl");
    std::fs::write(&file, alpaca(5))?;
    let told = report(&file)?;
    assert_eq!(
        (told["accepted"].as_u64(), told["dataset"].as_str()),
        (Some(5), Some("numbers@1")),
        "{told}"
    );

    // The same content again, under another name, is the same version.
    let copy = inbox.join("numbers/b.json");
    std::fs::write(&copy, alpaca(5))?;
    assert_eq!(report(&copy)?["dataset"], "numbers@1");
    assert_eq!(versions(&home, "numbers"), 1);

    // Written slowly: nothing is read before the end.
    let slow = inbox.join("numbers/slow.jsonl");
    let mut writer = File::create(&slow)?;
    for line in alpaca(9).lines() {
        writeln!(writer, "{line}")?;
        writer.flush()?;
        std::thread::sleep(Duration::from_millis(250));
    }
    drop(writer);
    assert_eq!(report(&slow)?["accepted"], 9);
    assert_eq!(versions(&home, "numbers"), 2);

    // Renamed into place, in the folder configured elsewhere; chat messages.
    let messages = json!({"messages": [{"role": "user", "content": "Say hi."}, {"role": "assistant", "content": "Hi."}]});
    let hidden = elsewhere.path().join(".chat.tmp");
    std::fs::write(&hidden, messages.to_string())?;
    let renamed = elsewhere.path().join("chat.json");
    std::fs::rename(&hidden, &renamed)?;
    assert_eq!(report(&renamed)?["dataset"], "field-notes@1");

    // Self-Instruct seeds.
    std::fs::create_dir_all(inbox.join("tasks"))?;
    let seeds = inbox.join("tasks/seeds.jsonl");
    std::fs::copy(
        autodidact_tests::repository().join("examples/data/seeds-zh.jsonl"),
        &seeds,
    )?;
    assert_eq!(report(&seeds)?["accepted"], 110);

    // A bad file gets its report with lines, and no version.
    let bad = inbox.join("numbers/bad.jsonl");
    std::fs::write(
        &bad,
        "{\"instruction\": \"Do it.\", \"output\": \"Done.\"}\n{broken\n{\"question\": 1}\n",
    )?;
    let told = report(&bad)?;
    assert_eq!(told["refused"], 2, "{told}");
    let lines: Vec<u64> = told["errors"]
        .as_array()
        .context("errors")?
        .iter()
        .filter_map(|e| e["line"].as_u64())
        .collect();
    assert_eq!(lines, [2, 3]);
    assert!(file.exists() && bad.exists(), "files stay where they are");
    Ok(())
}

#[test]
fn a_dropped_file_starts_the_workflow_bound_to_it() -> Result<()> {
    let home = Home::new()?;
    let _daemon = home.serve(&[])?;
    home.prepare()?;
    let bound = TINY
        .replace("name: tiny-loop", "name: bound")
        .replace("rounds: 2", "rounds: 1")
        + "on_drop: fresh\n";
    home.submit(&bound.replace("seeds: seeds-en\n", "seeds: fresh\n"))?;
    assert_eq!(home.state("bound").as_deref(), Some("pending"));
    let folder = home.path().join("inbox/fresh");
    std::fs::create_dir_all(&folder)?;
    std::fs::copy(
        autodidact_tests::repository().join("examples/data/seeds-en.jsonl"),
        folder.join("seeds.jsonl"),
    )?;
    wait_for("the bound run", LIMIT, || home.state("bound-v1").is_some())?;
    home.wait_until_done("bound-v1", crate::loop_tiny::LIMIT)?;
    Ok(())
}

/// `AUTODIDACT_TEST_SEEDS=FILE` names the 175 seed tasks of the Self-Instruct paper.
#[test]
fn the_papers_seed_tasks_serve_as_seeds() -> Result<()> {
    let Ok(file) = std::env::var("AUTODIDACT_TEST_SEEDS") else {
        println!("skipped: AUTODIDACT_TEST_SEEDS is not set");
        return Ok(());
    };
    let home = Home::new()?;
    let _daemon = home.serve(&[])?;
    home.prepare()?;
    let folder = home.path().join("inbox/paper");
    std::fs::create_dir_all(&folder)?;
    let dropped = folder.join("seed_tasks.jsonl");
    std::fs::copy(&file, &dropped).with_context(|| format!("copy {file}"))?;
    let told = report(&dropped)?;
    assert_eq!(
        (told["accepted"].as_u64(), told["refused"].as_u64()),
        (Some(175), Some(0)),
        "{told}"
    );
    home.submit(
        &TINY
            .replace("seeds: seeds-en", "seeds: paper")
            .replace("rounds: 2", "rounds: 1"),
    )?;
    home.wait_until_done("tiny-loop", crate::loop_tiny::LIMIT)?;
    Ok(())
}

#[test]
fn a_daemon_with_nothing_to_do_rests() -> Result<()> {
    let home = Home::new()?;
    let daemon = home.serve(&[])?;
    let file = home.path().join("inbox/rest/a.jsonl");
    std::fs::create_dir_all(file.parent().context("a folder")?)?;
    std::fs::write(&file, alpaca(3))?;
    assert_eq!(report(&file)?["accepted"], 3);
    // Scans go on, and must not wake each other.
    let before = daemon.cpu_time()?;
    std::thread::sleep(Duration::from_secs(4));
    let used = daemon.cpu_time()? - before;
    assert!(used < Duration::from_millis(400), "{used:?} in 4 s of rest");
    daemon.terminate()?;
    Ok(())
}
