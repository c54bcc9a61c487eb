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
    the_page_is_self_contained(&home)?;
    examples_know_where_they_come_from(&home, &report)?;
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

/// Looks at the report as a page: in the folder as from the daemon, with nothing to be loaded, in both languages.
fn the_page_is_self_contained(home: &Home) -> Result<()> {
    let file = home.path().join("reports/tiny-loop/report.html");
    let page = std::fs::read_to_string(file).context("read report.html")?;
    let shown = home.text(&["workflow", "report", "tiny-loop", "--html"])?;
    assert_eq!(shown.trim_end(), page.trim_end());
    assert!(page.starts_with("<!DOCTYPE html>\n<html lang=\"en\">"));
    assert!(page.contains("default-src 'none'; style-src 'sha256-"));
    for loading in [
        "<script", "<link", "<img", "<iframe", " src=", "url(", "@import",
    ] {
        assert!(!page.contains(loading), "{loading} in the page");
    }
    let links = page.matches("href=").count();
    assert_eq!(links, page.matches("href=\"#section-").count());
    for told in [
        "<svg ",
        "Held-out tasks",
        "Dropped records",
        "Cost by stage",
        "Kept examples",
    ] {
        assert!(page.contains(told), "{told} is missing");
    }
    let chinese = ["--format", "html", "--language", "zh"];
    let chinese = home.text(&[&["workflow", "report", "tiny-loop"], &chinese[..]].concat())?;
    assert!(chinese.contains("<html lang=\"zh\">") && chinese.contains("留出任务"));
    let markdown = home.text(&["workflow", "report", "tiny-loop", "--language", "zh"])?;
    assert!(
        markdown.contains("## 第 2 轮") && !markdown.contains("## Round"),
        "{markdown}"
    );
    Ok(())
}

/// Follows kept and dropped records back to what they were made from.
fn examples_know_where_they_come_from(home: &Home, report: &Value) -> Result<()> {
    let seeds = home.json(&["dataset", "show", "seeds-en", "--records", "1000"])?;
    let records = seeds["records"].as_array().context("records")?;
    let seed_texts: Vec<&str> = records
        .iter()
        .filter_map(|record| record["instruction"]["instruction"].as_str())
        .collect();
    let dataset = report["dataset"].as_str().context("dataset")?;
    let (dataset, _) = dataset.split_once('@').context("a version")?;
    let kept = home.json(&["dataset", "show", dataset, "--records", "1000"])?;
    let kept = kept["records"].as_array().context("records")?;
    assert!(kept.len() >= 24);
    for example in [&kept[0], &kept[kept.len() - 1]] {
        let id = example["id"].as_str().context("id")?;
        let found = home.json(&["workflow", "lineage", "tiny-loop", &id[..12]])?;
        assert_eq!(found["record"], id);
        assert_eq!(found["standing"], "kept");
        assert_eq!(found["example"], *example);
        let prompt = found["prompt"].as_array().context("prompt")?;
        assert!(prompt.len() >= 6, "{prompt:?}");
        for seed in prompt.iter().filter(|seed| seed["origin"] == "human") {
            let text = seed["text"].as_str().context("text")?;
            assert!(seed_texts.contains(&text), "{text:?} is no seed");
        }
        let decided = found["verdicts"].as_array().context("verdicts")?;
        let stages: Vec<&str> = decided.iter().filter_map(|v| v["stage"].as_str()).collect();
        for stage in ["generate", "filter", "respond", "validate", "train"] {
            assert!(stages.contains(&stage), "{stage} in {stages:?}");
        }
        let round = &example["lineage"]["round"];
        let training = found["training"].as_array().context("training")?;
        assert_eq!(training[0]["round"], *round);
        assert_eq!(training[0]["adapter"], format!("tiny-loop.round-{round}"));
        let told = home.text(&["workflow", "lineage", "tiny-loop", id])?;
        for part in [
            "standing    kept",
            "In its prompt stood",
            "Training runs that had it",
        ] {
            assert!(told.contains(part), "{part} is missing of {told}");
        }
    }
    let groups = report["dropped"].as_array().context("dropped")?;
    assert!(!groups.is_empty());
    for group in groups {
        let shown = group["examples"].as_array().context("examples")?;
        assert!((1..=3).contains(&shown.len()), "{group}");
        let record = shown[0]["record"].as_str().context("record")?;
        let found = home.json(&["workflow", "lineage", "tiny-loop", record])?;
        let decided = found["verdicts"].as_array().context("verdicts")?;
        let is_it = |verdict: &&Value| {
            verdict["stage"] == group["stage"] && verdict["reason"] == group["reason"]
        };
        assert!(decided.iter().any(|v| is_it(&v)), "{group} in {decided:?}");
    }
    let nobody = home.run(&["workflow", "lineage", "tiny-loop", "nobody"])?;
    assert_eq!(nobody.status.code(), Some(1));
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

#[test]
fn two_runs_are_compared_on_the_tasks_they_share() -> Result<()> {
    let home = Home::new()?;
    let daemon = home.serve(&[])?;
    home.prepare()?;
    let short = TINY
        .replace("rounds: 2", "rounds: 1")
        .replace("name: tiny-loop", "name: one");
    home.submit(&short)?;
    let early = home.run(&["workflow", "compare", "one", "one"])?;
    assert_eq!(early.status.code(), Some(1), "it is not done yet");
    home.submit(
        &short
            .replace("name: one", "name: two")
            .replace("  r: 4", "  r: 8"),
    )?;
    home.wait_until_done("one", LIMIT)?;
    home.wait_until_done("two", LIMIT)?;
    let compared = home.json(&["workflow", "compare", "one", "two"])?;
    let settings = compared["settings"].as_array().context("settings")?;
    let fields: Vec<&str> = settings
        .iter()
        .filter_map(|s| s["field"].as_str())
        .collect();
    assert_eq!(fields, ["stages.train.r"], "{settings:?}");
    assert_eq!(
        (&settings[0]["a"], &settings[0]["b"]),
        (&"4".into(), &"8".into())
    );
    let funnel = compared["funnel"].as_array().context("funnel")?;
    assert_eq!(funnel.len(), STAGES.len());
    for row in &funnel[..4] {
        // Nothing but training differs.
        assert_eq!(row["a"], row["b"], "{row}");
    }
    let evaluations = compared["evaluations"].as_array().context("evaluations")?;
    for (evaluation, model) in evaluations.iter().zip(["base", "round-1"]) {
        assert_eq!(evaluation["model_a"], model);
        for measure in evaluation["measures"].as_array().context("measures")? {
            assert_eq!(measure["pairs"], 108, "{measure}");
            assert_eq!(measure["note"], "");
            let (low, high) = (&measure["interval"]["low"], &measure["interval"]["high"]);
            let difference = measure["difference"].as_f64().context("difference")?;
            assert!(low.as_f64() <= Some(difference) && Some(difference) <= high.as_f64());
            let is_base = model == "base";
            assert!(!is_base || difference == 0.0, "{measure}");
        }
    }
    let report = home.report("two")?;
    let loss = report["evaluations"][1]["heldout_loss"].as_f64();
    let told = evaluations[1]["measures"][0]["b"].as_f64();
    assert_eq!(told, loss, "the same figure as in the report");
    let text = home.text(&["workflow", "compare", "one", "two"])?;
    for part in [
        "Settings that differ",
        "stages.train.r",
        "On the held-out tasks",
    ] {
        assert!(text.contains(part), "{part} is missing of {text}");
    }
    assert!(daemon.terminate()?.success());
    Ok(())
}
