//! The whole loop on the small model: what it reports is what it stored.

use std::time::Duration;

use anyhow::{Context, Result};
use autodidact_tests::{Home, find_text};
use serde_json::Value;

use crate::workflows::{STAGES, TINY};

pub(crate) const LIMIT: Duration = Duration::from_secs(240);

fn number(value: &Value, key: &str) -> u64 {
    value[key]
        .as_u64()
        .unwrap_or_else(|| panic!("{key} is no count in {value}"))
}

#[test]
fn the_loop_runs_and_its_report_adds_up() -> Result<()> {
    let home = Home::new()?;
    let daemon = home.serve(&[])?;
    home.prepare()?;
    home.submit(TINY)?;
    home.wait_until_done("tiny-loop", LIMIT)?;
    let report = home.report("tiny-loop")?;
    assert_eq!(report["workflow"], "tiny-loop");
    assert_eq!(report["state"], "done");
    assert!(
        report["dataset_digest"]
            .as_str()
            .is_some_and(|d| d.len() == 64),
        "{report}"
    );
    let rounds = report["rounds"].as_array().context("rounds")?;
    assert_eq!(rounds.len(), 2);
    for round in rounds {
        let stages = round["stages"].as_array().context("stages")?;
        let names: Vec<&str> = stages.iter().filter_map(|s| s["name"].as_str()).collect();
        assert_eq!(names, STAGES);
        for stage in stages {
            assert_eq!(
                number(stage, "in"),
                number(stage, "kept") + number(stage, "dropped"),
                "{stage}"
            );
            let reasons: u64 = stage["reasons"]
                .as_object()
                .context("reasons")?
                .values()
                .filter_map(Value::as_u64)
                .sum();
            assert_eq!(number(stage, "dropped"), reasons, "{stage}");
            assert_eq!(
                number(stage, "in"),
                stored_verdicts(&home, number(round, "round"), stage)?,
                "{stage}"
            );
        }
        assert!(number(&stages[3], "kept") >= 12);
    }
    let evaluations = report["evaluations"].as_array().context("evaluations")?;
    let models: Vec<&str> = evaluations
        .iter()
        .filter_map(|e| e["model"].as_str())
        .collect();
    assert_eq!(models, ["base", "round-1", "round-2"]);
    for evaluation in evaluations {
        assert_eq!(number(evaluation, "n"), 108);
        let loss = &evaluation["intervals"]["heldout_loss"];
        assert!(
            loss["low"].as_f64() <= evaluation["heldout_loss"].as_f64(),
            "{evaluation}"
        );
    }
    let shown: Value = home.json(&["workflow", "report", "tiny-loop"])?;
    assert_eq!(shown, report, "the command shows the file's report");
    let dataset = report["dataset"]
        .as_str()
        .context("dataset")?
        .split('@')
        .next()
        .unwrap_or_default()
        .to_string();
    assert_eq!(
        find_text(&home.json(&["dataset", "show", &dataset])?, "digest").as_deref(),
        report["dataset_digest"].as_str()
    );
    assert!(
        daemon.terminate()?.success(),
        "SIGTERM ends the daemon well"
    );
    let log = home.log();
    let loud: Vec<&str> = log
        .lines()
        .filter(|l| l.contains(" ERROR ") || l.contains(" WARN "))
        .collect();
    assert!(loud.is_empty(), "unexpected log lines: {loud:#?}");
    Ok(())
}

/// Counts the verdicts that the store holds for a stage, page by page.
fn stored_verdicts(home: &Home, round: u64, stage: &Value) -> Result<u64> {
    let name = stage["name"].as_str().context("stage name")?;
    let round = round.to_string();
    let listed = home.json(&[
        "workflow",
        "verdicts",
        "tiny-loop",
        "--round",
        &round,
        "--stage",
        name,
    ])?;
    let count = listed["verdicts"].as_array().context("verdicts")?.len();
    Ok(count as u64)
}

#[test]
fn pause_holds_resume_goes_on_and_cancel_ends() -> Result<()> {
    let home = Home::new()?;
    let daemon = home.serve(&[])?;
    home.prepare()?;
    home.submit(TINY)?;
    home.text(&["workflow", "pause", "tiny-loop"])?;
    assert_eq!(home.state("tiny-loop").as_deref(), Some("paused"));
    assert!(daemon.terminate()?.success());
    let _daemon = home.serve(&[])?;
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(
        home.state("tiny-loop").as_deref(),
        Some("paused"),
        "a pause outlives the daemon"
    );
    home.text(&["workflow", "resume", "tiny-loop"])?;
    home.wait_until_done("tiny-loop", LIMIT)?;

    home.submit(&TINY.replace("name: tiny-loop", "name: other"))?;
    home.text(&["workflow", "cancel", "other"])?;
    assert_eq!(home.state("other").as_deref(), Some("cancelled"));
    let resumed = home.run(&["workflow", "resume", "other"])?;
    assert_eq!(
        resumed.status.code(),
        Some(1),
        "a cancelled workflow stays so"
    );
    Ok(())
}
