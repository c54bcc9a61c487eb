//! kill -9 at random moments, at least three inside each kind of work: the run always ends as an undisturbed one.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use autodidact_domain::random::Random;
use autodidact_tests::{Home, tell};

use crate::loop_tiny::LIMIT;
use crate::workflows::TINY;

/// The digests that must not depend on kills.
#[derive(Debug, PartialEq)]
struct Digests {
    dataset: String,
    adapter: String,
    rounds: String,
}

fn digests(home: &Home) -> Result<Digests> {
    let mut report = home.report("tiny-loop")?;
    let text = |key: &str| {
        report[key]
            .as_str()
            .map(str::to_string)
            .with_context(|| format!("{key} in the report"))
    };
    let (dataset, adapter) = (text("dataset_digest")?, text("adapter_digest")?);
    let rounds = report["rounds"].as_array_mut().context("rounds")?;
    for round in rounds.iter_mut() {
        for stage in round["stages"].as_array_mut().context("stages")? {
            stage["seconds"] = 0.into();
        }
    }
    Ok(Digests {
        dataset,
        adapter,
        rounds: serde_json::to_string(rounds)?,
    })
}

/// The workflow without its gate, so that every round's adapter counts.
fn workflow() -> String {
    TINY.replace("  promote:\n    min_diversity: 0.1\n", "")
}

fn undisturbed() -> Result<Digests> {
    let home = Home::new()?;
    let _daemon = home.serve(&[])?;
    home.prepare()?;
    home.submit(&workflow())?;
    home.wait_until_done("tiny-loop", LIMIT)?;
    digests(&home)
}

/// Where a kill is meant to hit. The daemon kills itself there with SIGKILL, a random time after the work began.
const PLACES: [&str; 6] = [
    "generate",
    "filter",
    "respond",
    "train",
    "evaluate",
    "checkpoint",
];

/// The most that a kill waits after the work began, by place, in microseconds; well below what one step takes.
fn longest_delay_us(place: &str) -> usize {
    match place {
        "filter" => 300,
        "checkpoint" => 1_000,
        _ => 20_000,
    }
}

/// Runs the workflow with a kill at each place in turn, and tells the places that were really hit.
fn disturbed(seed: u64, places: &[&str], expect: &Digests) -> Result<Vec<String>> {
    let home = Home::new()?;
    let mut random = Random::at(seed, &["crash"]);
    let daemon = home.serve(&[])?;
    home.prepare()?;
    daemon.terminate()?;
    let mut hit = Vec::new();
    for (i, place) in places.iter().enumerate() {
        let fault = format!("kill:{place}:1:{}", random.below(longest_delay_us(place)));
        let environment = if *place == "random" {
            vec![]
        } else {
            vec![("AUTODIDACT_FAULT", fault.as_str())]
        };
        let mut daemon = home.spawn_serve(&environment)?;
        if i == 0 {
            home.wait_until_answering(&mut daemon)?;
            // The first step begins before the answer is sent, so the kill may take the answer; the submission stands.
            if let Err(error) = home.submit(&workflow()) {
                ensure!(daemon.ends_within(LIMIT)?, "{error:#}");
            }
        }
        if *place == "random" {
            std::thread::sleep(Duration::from_millis(random.below(2500) as u64));
            daemon.kill()?;
            hit.push("random".to_string());
            continue;
        }
        let started = Instant::now();
        while !daemon.has_ended()? {
            if home.state("tiny-loop").as_deref() == Some("done") {
                tell(&format!(
                    "seed {seed} kill {i} at {fault}: the run ended before"
                ));
                break;
            }
            ensure!(
                started.elapsed() < LIMIT,
                "neither killed nor done: {}",
                home.log()
            );
            std::thread::sleep(Duration::from_millis(30));
        }
        drop(daemon);
        let position = home.position_of_resumption()?;
        tell(&format!("seed {seed} kill {i} at {fault}: {position}"));
        let stage = if *place == "checkpoint" {
            "train"
        } else {
            place
        };
        if position.contains(&format!("/{stage}/")) {
            hit.push((*place).to_string());
        }
    }
    let _daemon = home.serve(&[])?;
    home.wait_until_done("tiny-loop", LIMIT)?;
    let found = digests(&home)?;
    ensure!(
        found == *expect,
        "seed {seed}: other digests after kills {places:?}:\n{found:#?}\n{expect:#?}"
    );
    Ok(hit)
}

#[test]
fn twenty_kills_over_five_runs_change_nothing() -> Result<()> {
    let expect = undisturbed()?;
    // In the order in which a run comes to them, so that each is reached; later names stand for later rounds.
    let runs: [&[&str]; 5] = [
        &["generate", "filter", "respond", "train", "checkpoint"],
        &["evaluate", "generate", "train", "evaluate", "filter"],
        &["filter", "respond", "checkpoint", "evaluate", "generate"],
        &["generate", "respond", "train", "evaluate", "respond"],
        &["filter", "train", "checkpoint", "checkpoint", "random"],
    ];
    let mut hits = Vec::new();
    for (seed, places) in runs.iter().enumerate() {
        hits.extend(disturbed(seed as u64, places, &expect)?);
    }
    println!("{} kills hit: {hits:?}", hits.len());
    assert!(hits.len() >= 20, "{hits:?}");
    for place in PLACES {
        assert!(
            hits.iter().filter(|hit| *hit == place).count() >= 3,
            "fewer than 3 kills inside {place}: {hits:?}"
        );
    }
    Ok(())
}

/// `AUTODIDACT_TEST_KILLS=200` asks for as many kills, four a run at most: one whose place the run never came to is made up for.
#[test]
fn many_kills_change_nothing() -> Result<()> {
    let Some(kills) = std::env::var("AUTODIDACT_TEST_KILLS")
        .ok()
        .and_then(|text| text.parse::<usize>().ok())
    else {
        println!("skipped: AUTODIDACT_TEST_KILLS is not set");
        return Ok(());
    };
    let expect = undisturbed()?;
    let mut hits = 0;
    for run in 0.. {
        if hits >= kills {
            break;
        }
        let mut random = Random::at(run, &["places"]);
        let places: Vec<&str> = (0..4)
            .map(|_| match random.below(PLACES.len() + 1) {
                i if i < PLACES.len() => PLACES[i],
                _ => "random",
            })
            .collect();
        hits += disturbed(1000 + run, &places, &expect)?.len();
    }
    println!("{hits} kills hit");
    Ok(())
}
