//! Plugins that are put into the data directory's folder: installed, replaced while a workflow runs, refused with a reason.
//!
//! `AUTODIDACT_TEST_PYTHON` names a Python with the packages of `tests/requirements.txt`, of which ziglang compiles C.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use autodidact_client::{Client, Target, v1};
use autodidact_tests::{Home, compile_c, python_for, repository, wait_for};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(120);
/// After which no more events of the past are expected.
const SILENCE: Duration = Duration::from_millis(500);
/// The records of the workflow during which a version changes.
const RECORDS: usize = 40_000;

/// Builds the example in C as a version.
fn build(python: &str, folder: &Path, version: &str) -> Result<PathBuf> {
    let source = std::fs::read_to_string(repository().join("examples/plugins/c/shout.c"))?;
    let changed = source.replace("\"0.1.0\"", &format!("\"{version}\""));
    ensure!(changed.contains(version), "the example has a version");
    let (file, module) = (
        folder.join("shout.c"),
        folder.join(format!("shout-{version}.wasm")),
    );
    std::fs::write(&file, changed)?;
    compile_c(python, &file, &module, &[])?;
    Ok(module)
}

/// Writes instructions of which every fiftieth shouts.
fn some_shout(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|i| {
        let marks = if i % 50 == 0 { "!!!" } else { "." };
        format!("Say number {i}{marks}")
    })
}

/// Puts a file into the folder as people do, and waits for the report on that content.
fn put(home: &Home, name: &str, bytes: &[u8], is_ours: impl Fn(&Value) -> bool) -> Result<Value> {
    let folder = home.path().join("plugins");
    let unfinished = folder.join(format!("{name}.tmp"));
    std::fs::write(&unfinished, bytes)?;
    std::fs::rename(&unfinished, folder.join(name))?;
    let started = Instant::now();
    loop {
        let report = std::fs::read(folder.join(format!("{name}.report.json"))).unwrap_or_default();
        let report: Value = serde_json::from_slice(&report).unwrap_or_default();
        if is_ours(&report) {
            return Ok(report);
        }
        ensure!(
            started.elapsed() < LIMIT,
            "no report on {name}: {}",
            home.log()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Reads the events of files that were refused, from the first one on: their names, and why.
fn refusals(home: &Home) -> Result<Vec<(String, String)>> {
    let socket = home.path().join("run/autodidact.sock");
    let runtime = tokio::runtime::Runtime::new().context("start a runtime")?;
    runtime.block_on(async {
        let client = Client::connect(&Target::Unix(socket)).await?;
        let request = v1::WatchEventsRequest {
            resume_after: Some(0),
            durable_only: true,
            ..Default::default()
        };
        let mut events = client.events().watch(request).await?.into_inner();
        let mut refused = Vec::new();
        // They come at once, and then there is silence.
        while let Ok(message) = tokio::time::timeout(SILENCE, events.message()).await {
            let Some(v1::watch_events_response::Message::Event(event)) =
                message?.and_then(|message| message.message)
            else {
                continue;
            };
            if let Some(v1::event::Body::FileRefused(found)) = event.body {
                refused.push((found.file, found.message));
            }
        }
        Ok(refused)
    })
}

#[test]
fn a_new_version_takes_over_between_batches_and_a_bad_one_changes_nothing() -> Result<()> {
    let Some(python) =
        python_for("a_new_version_takes_over_between_batches_and_a_bad_one_changes_nothing")
    else {
        return Ok(());
    };
    let work = tempfile::tempdir()?;
    let first = std::fs::read(build(&python, work.path(), "0.1.0")?)?;
    let second = std::fs::read(build(&python, work.path(), "0.2.0")?)?;
    let home = Home::new()?;
    // An earlier daemon kept its own files where people put theirs now; they move, and nothing is lost.
    let (before, now) = (
        home.path().join("plugins"),
        home.path().join("plugin-store"),
    );
    std::fs::create_dir(&before)?;
    let registry = "{\"format\": 1, \"plugins\": {}, \"components\": {}}";
    std::fs::write(before.join("registry.json"), registry)?;
    let daemon = home.serve(&[])?;
    ensure!(now.join("registry.json").exists() && !before.join("registry.json").exists());
    home.prepare()?;
    let of_version =
        |version: &'static str| move |report: &Value| report["plugin"]["version"] == version;
    let report = put(&home, "shout.wasm", &first, of_version("0.1.0"))?;
    assert_eq!(report["plugin"]["name"], "shout-c", "{report}");
    let version = || -> Result<String> {
        let shown = home.json(&["plugin", "show", "shout-c"])?;
        let found = shown["version"]
            .as_str()
            .or(shown["plugin"]["version"].as_str());
        Ok(found.context("version")?.to_string())
    };
    assert_eq!(version()?, "0.1.0");

    // A file that is none changes nothing, and says why.
    let refused = |report: &Value| report["refused"].is_string();
    let report = put(&home, "broken.wasm", b"\0asm\x01\0\0\0 and more", refused)?;
    assert_eq!(report["plugin"], Value::Null, "{report}");
    assert_eq!(version()?, "0.1.0");
    // Nor does one of a gigabyte, which is not read into memory.
    let large = home.path().join("plugins/large.wasm");
    std::fs::File::create(home.path().join("large"))?.set_len(1 << 30)?;
    let sent = home.run(&[
        "plugin",
        "install",
        &home.path().join("large").to_string_lossy(),
    ])?;
    let told = String::from_utf8_lossy(&sent.stderr).into_owned();
    assert!(told.contains("a plugin has at most"), "{told}");
    std::fs::rename(home.path().join("large"), &large)?;
    let report = put(&home, "small.wasm", b"no module", refused)?;
    assert_eq!(
        report["refused"],
        "component refused: it is not a WebAssembly component or module"
    );
    let started = Instant::now();
    let beside = large.with_file_name("large.wasm.report.json");
    while !beside.exists() {
        ensure!(
            started.elapsed() < LIMIT,
            "no report on the large one: {}",
            home.log()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    let report = std::fs::read_to_string(&beside)?;
    assert!(
        report.contains("it has 1073741824 bytes; at most"),
        "{report}"
    );
    // Who watches was told the same.
    let told = refusals(&home)?;
    let files = ["broken.wasm", "small.wasm", "large.wasm"];
    for (file, why) in files.into_iter().zip(["", "not a WebAssembly", "at most"]) {
        let is_told = |(of, message): &(String, String)| of == file && message.contains(why);
        ensure!(told.iter().any(is_told), "{file}: {told:?}");
    }
    // Two workflows at work: one stays on its version, one takes what is there.
    home.import_instructions("records", some_shout(RECORDS))?;
    for (name, terms) in [("stays", ""), ("follows", ", follow: true")] {
        home.submit(&format!(
            "name: {name}\nmodel: tiny\nseeds: records\nlanguages: [en]\nstages:\n  filter: {{chain: [{{plugin: {{name: shout-c{terms}}}}}]}}\n"
        ))?;
    }
    // Both have judged some records, and wait for the new version between two batches.
    for name in ["stays", "follows"] {
        let started = Instant::now();
        let judged = || home.json(&["workflow", "verdicts", name, "--dropped"]);
        while judged()?["verdicts"].as_array().is_none_or(Vec::is_empty) {
            ensure!(
                started.elapsed() < LIMIT,
                "{name} judges nothing: {}",
                home.log()
            );
        }
        home.text(&["workflow", "pause", name])?;
    }
    put(&home, "shout.wasm", &second, of_version("0.2.0"))?;
    assert_eq!(version()?, "0.2.0");
    for name in ["stays", "follows"] {
        home.text(&["workflow", "resume", name])?;
        home.wait_until_done(name, LIMIT)?;
        let told = home.json(&["workflow", "verdicts", name, "--dropped"])?;
        let dropped = told["verdicts"].as_array().context("verdicts")?;
        assert_eq!(dropped.len(), RECORDS / 50, "{name}");
        let versions = dropped.iter().filter_map(|v| v["rule"]["version"].as_str());
        let mut versions: Vec<&str> = versions.collect();
        versions.dedup();
        match name {
            "stays" => assert_eq!(versions, ["0.1.0"]),
            _ => assert_eq!(versions, ["0.1.0", "0.2.0"]),
        }
        let (rule, evidence) = (&dropped[0]["rule"], &dropped[0]["evidence"]);
        assert!(
            rule["config_digest"].is_string() && rule["digest"].is_string(),
            "{rule}"
        );
        assert_eq!(evidence["score"], 3.0, "{evidence}");
        let note = evidence["note"].as_str().unwrap_or_default();
        assert_eq!(note, "exclamation marks, counted in the score");
    }
    // After a restart nothing is installed twice, and what was removed stays so.
    home.text(&["plugin", "remove", "shout-c"])?;
    ensure!(daemon.terminate()?.success(), "{}", home.log());
    let daemon = home.serve(&[])?;
    std::thread::sleep(Duration::from_secs(3));
    assert!(!home.text(&["plugin", "list"])?.contains("shout-c"));
    ensure!(daemon.terminate()?.success(), "{}", home.log());
    Ok(())
}

/// Whatever is installed meanwhile: every record has one verdict, of one of the versions, and none goes on unchecked.
#[test]
fn two_versions_that_swap_a_thousand_times_under_load_lose_no_record() -> Result<()> {
    let name = "two_versions_that_swap_a_thousand_times_under_load_lose_no_record";
    let Some(python) = python_for(name) else {
        return Ok(());
    };
    let work = tempfile::tempdir()?;
    let version =
        |version| -> Result<Vec<u8>> { Ok(std::fs::read(build(&python, work.path(), version)?)?) };
    let modules = [version("0.1.0")?, version("0.2.0")?];
    let home = Home::new()?;
    let daemon = home.serve(&[])?;
    home.prepare()?;
    home.import_instructions("records", some_shout(RECORDS))?;
    let first = work.path().join("shout-0.1.0.wasm");
    let told = home.text(&["plugin", "install", &first.to_string_lossy()])?;
    assert!(told.starts_with("shout-c 0.1.0 is installed\n"), "{told}");

    let runtime = tokio::runtime::Runtime::new().context("start a runtime")?;
    let socket = home.path().join("run/autodidact.sock");
    let client = runtime.block_on(Client::connect(&Target::Unix(socket)))?;
    let (started, mut swaps, mut workflows) = (Instant::now(), 0, 0);
    while swaps < 1000 {
        workflows += 1;
        home.submit(&format!("name: swapped-{workflows}\nmodel: tiny\nseeds: records\nlanguages: [en]\nstages:\n  filter: {{chain: [{{plugin: {{name: shout-c, follow: true}}}}]}}\n"))?;
        let workflow = format!("swapped-{workflows}");
        while home.state(&workflow).as_deref() != Some("done") {
            for _ in 0..20 {
                swaps += 1;
                let module = modules[swaps % 2].clone();
                let installed = runtime.block_on(client.install_plugin(module, &[], ""))?;
                let versions = [installed.before, installed.plugin].map(|p| p.map(|p| p.version));
                assert_ne!(versions[0], versions[1], "swap {swaps}");
            }
            ensure!(started.elapsed() < LIMIT, "not done: {}", home.log());
        }
        check_swapped(&home, &workflow)?;
    }
    ensure!(daemon.terminate()?.success(), "{}", home.log());
    Ok(())
}

/// Every record of a workflow has its verdict, and what was dropped says by which version.
fn check_swapped(home: &Home, workflow: &str) -> Result<()> {
    let told = home.json(&["workflow", "verdicts", workflow])?;
    let verdicts = told["verdicts"].as_array().context("verdicts")?;
    assert_eq!(verdicts.len(), RECORDS);
    let dropped = verdicts.iter().filter(|v| v["decision"] == "drop");
    let mut by_version = std::collections::BTreeMap::new();
    for verdict in dropped {
        assert_eq!(verdict["reason"], "shouts", "{verdict}");
        let version = verdict["rule"]["version"].as_str().context("version")?;
        *by_version.entry(version.to_string()).or_insert(0) += 1;
    }
    assert_eq!(by_version.values().sum::<usize>(), RECORDS / 50);
    assert_eq!(by_version.len(), 2, "{by_version:?}");
    // The report has both, with what each dropped.
    let report = home.report(workflow)?;
    for plugin in report["plugins"].as_array().context("plugins")? {
        let version = plugin["version"].as_str().context("version")?;
        assert_eq!(plugin["dropped"], by_version[version], "{plugin}");
        assert_eq!(plugin["failures"], 0, "{plugin}");
    }
    Ok(())
}

#[test]
fn a_file_that_cannot_be_taken_now_is_told_of_once_and_taken_later() -> Result<()> {
    let name = "a_file_that_cannot_be_taken_now_is_told_of_once_and_taken_later";
    let Some(python) = python_for(name) else {
        return Ok(());
    };
    let work = tempfile::tempdir()?;
    let component = std::fs::read(build(&python, work.path(), "0.1.0")?)?;
    let home = Home::new()?;
    let daemon = home.serve(&[])?;
    // Where its report belongs stands a folder.
    let folder = home.path().join("plugins");
    let stands = folder.join("shout.wasm.report.json");
    std::fs::create_dir_all(stands.join("in the way"))?;
    std::fs::write(folder.join("shout.wasm"), &component)?;
    let told = || {
        let log = home.log();
        log.matches("is tried again until it can be taken").count()
    };
    wait_for("it is told of", LIMIT, || told() > 0)?;
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(told(), 1, "{}", home.log());
    std::fs::remove_dir_all(&stands)?;
    wait_for("it is taken", LIMIT, || stands.is_file())?;
    let report: Value = serde_json::from_slice(&std::fs::read(&stands)?)?;
    assert_eq!(report["plugin"]["name"], "shout-c", "{report}");
    ensure!(daemon.terminate()?.success(), "{}", home.log());
    Ok(())
}
