//! A workflow waits for its reviewers, over restarts and kills, and goes on when they have decided.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use autodidact_tests::{Home, wait_for};
use serde_json::Value;

use crate::loop_tiny::LIMIT;
use crate::workflows::TINY;

const NAME: &str = "looked-at";

/// One round that waits until at least half of it is surely valid: three accepted ones, or more where some are not.
fn workflow(gate: &str) -> String {
    TINY.replace("name: tiny-loop", &format!("name: {NAME}"))
        .replace("rounds: 2", "rounds: 1")
        .replace(
            "  train:\n",
            &format!("  review: {{sample: 1000{gate}}}\n  train:\n"),
        )
}

fn wait_for_review(home: &Home) -> Result<()> {
    wait_for("the wait for a review", LIMIT, || {
        let state = home.state(NAME);
        assert!(
            !matches!(state.as_deref(), Some("done" | "failed")),
            "{state:?}: {}",
            home.log()
        );
        state.as_deref() == Some("waiting")
    })
}

fn undecided(home: &Home) -> Result<Vec<Value>> {
    let next = home.json(&["review", "next", "--workflow", NAME, "--limit", "1000"])?;
    Ok(next["items"].as_array().context("items")?.clone())
}

fn id(item: &Value) -> Result<String> {
    Ok(item["example"]["id"].as_str().context("an id")?.to_string())
}

fn stats(home: &Home) -> Result<Value> {
    let stats = home.json(&["review", "stats", NAME])?;
    Ok(stats["rounds"][0].clone())
}

#[test]
fn a_gate_waits_over_restarts_and_kills_and_opens_by_the_command_line() -> Result<()> {
    let home = Home::new()?;
    let daemon = home.serve(&[])?;
    home.prepare()?;
    home.submit(&workflow(", gate: {share: 0.5}"))?;
    wait_for_review(&home)?;
    let listed = home.text(&["workflow", "list"])?;
    ensure!(
        listed.contains("waiting") && listed.contains("0 of ") && listed.contains("review next"),
        "{listed}"
    );
    let items = undecided(&home)?;
    ensure!(
        items.len() >= 12,
        "all of the round lies there: {}",
        items.len()
    );
    let shown = home.text(&["review", "next"])?;
    ensure!(
        shown.contains("instruction:") && shown.contains(&id(&items[0])?[..12]),
        "{shown}"
    );
    let refused = home.run(&["review", "accept", "0000000000000000"])?;
    ensure!(refused.status.code() == Some(1), "nothing has that id");

    assert!(daemon.terminate()?.success());
    let daemon = home.serve(&[])?;
    wait_for_review(&home)?;
    let (rejected, edited) = (id(&items[0])?, id(&items[1])?);
    home.text(&[
        "review",
        "reject",
        &rejected[..16],
        "--note",
        "no answer at all",
        "--reviewer",
        "anna",
    ])?;
    // What was acknowledged survives a kill.
    daemon.kill()?;
    let daemon = home.serve(&[])?;
    wait_for_review(&home)?;
    let standing = stats(&home)?;
    assert_eq!(
        (&standing["reviewed"], &standing["rejected"]),
        (&1.into(), &1.into())
    );
    assert_eq!(standing["outlook"], "waits");
    let output = "What a person would say.";
    home.text(&[
        "review",
        "edit",
        &edited,
        "--output",
        output,
        "--reviewer",
        "anna",
    ])?;
    for item in &items[2..] {
        if home.state(NAME).as_deref() != Some("waiting") {
            break;
        }
        home.text(&["review", "accept", &id(item)?, "--reviewer", "bo"])?;
    }
    home.wait_until_done(NAME, LIMIT)?;

    let verdicts = home.json(&["workflow", "verdicts", NAME, "--stage", "review"])?;
    let verdicts = verdicts["verdicts"].as_array().context("verdicts")?;
    let of = |id: &str| verdicts.iter().find(|verdict| verdict["record"] == id);
    let dropped = of(&rejected).context("a verdict on the rejected one")?;
    assert_eq!(dropped["reason"], "rejected_by_reviewer");
    assert_eq!(dropped["evidence"]["reviewer"], "anna");
    assert_eq!(dropped["evidence"]["note"], "no answer at all");
    let replaced = of(&edited).context("a verdict on the edited one")?;
    assert_eq!(replaced["reason"], "edited_by_reviewer");
    let report = home.report(NAME)?;
    let stages = report["rounds"][0]["stages"].as_array().context("stages")?;
    let review = stages
        .iter()
        .find(|stage| stage["name"] == "review")
        .context("review")?;
    assert_eq!(review["in"], verdicts.len());
    assert_eq!(review["dropped"], 1);
    let exported = home.text(&["dataset", "export", NAME])?;
    ensure!(exported.contains(output), "the edited form goes on");
    let kept = exported.matches("\"instruction\"").count();
    assert_eq!(kept, verdicts.len() - 1, "and the rejected one does not");
    let log = home.json(&["review", "stats", NAME, "--decisions"])?;
    assert_eq!(log["rounds"][0]["outlook"], "settled");
    let decisions = log["decisions"].as_array().context("decisions")?;
    assert_eq!(decisions[0]["reviewer"], "anna");
    assert!(daemon.terminate()?.success());
    Ok(())
}

#[test]
fn without_a_gate_a_workflow_ends_unreviewed_and_late_decisions_are_kept() -> Result<()> {
    let home = Home::new()?;
    let _daemon = home.serve(&[])?;
    home.prepare()?;
    home.submit(&workflow(""))?;
    home.wait_until_done(NAME, LIMIT)?;
    let asked = [
        "review",
        "next",
        "--workflow",
        NAME,
        "--round",
        "1",
        "--limit",
        "1000",
    ];
    let items = home.json(&asked)?["items"]
        .as_array()
        .context("items")?
        .clone();
    ensure!(!items.is_empty(), "the sample stays to be looked at");
    let said = home.text(&["review", "accept", &id(&items[0])?, "--reviewer", "anna"])?;
    ensure!(said.contains("too late to count"), "{said}");
    let standing = stats(&home)?;
    assert_eq!(standing["outlook"], "settled");
    assert_eq!(standing["reviewed"], 0);
    Ok(())
}

#[test]
fn what_waits_can_be_paused_resumed_and_cancelled() -> Result<()> {
    let home = Home::new()?;
    let _daemon = home.serve(&[])?;
    home.prepare()?;
    home.submit(&workflow(", gate: {share: 0.5}"))?;
    wait_for_review(&home)?;
    home.text(&["workflow", "pause", NAME])?;
    assert_eq!(home.state(NAME).as_deref(), Some("paused"));
    home.text(&["workflow", "resume", NAME])?;
    wait_for_review(&home)?;
    home.text(&["workflow", "cancel", NAME])?;
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(home.state(NAME).as_deref(), Some("cancelled"));
    Ok(())
}
