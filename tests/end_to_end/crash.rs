//! kill -9 at random moments, at least three inside each kind of work: the run always ends as an undisturbed one.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use autodidact_domain::random::Random;
use autodidact_tests::Home;

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

/// The most that a kill waits after the work began, by place, in microseconds; about what one step takes.
fn longest_delay_us(place: &str) -> usize {
    match place {
        "filter" => 3_000,
        "checkpoint" => 4_000,
        "train" => 150_000,
        _ => 300_000,
    }
}

/// One run with `kills`; each is (place, which time it is reached, delay).
fn disturbed(seed: u64, places: &[&str], expect: &Digests) -> Result<()> {
    let home = Home::new()?;
    let mut random = Random::at(seed, &["crash"]);
    let daemon = home.serve(&[])?;
    home.prepare()?;
    daemon.terminate()?;
    let mut submitted = false;
    for (i, place) in places.iter().enumerate() {
        let fault = if *place == "random" {
            String::new()
        } else {
            format!(
                "kill:{place}:{}:{}",
                1 + random.below(2),
                random.below(longest_delay_us(place))
            )
        };
        let environment = if fault.is_empty() {
            vec![]
        } else {
            vec![("AUTODIDACT_FAULT", fault.as_str())]
        };
        let mut daemon = home.serve(&environment)?;
        if !submitted {
            home.submit(&workflow())?;
            submitted = true;
        }
        if fault.is_empty() {
            std::thread::sleep(Duration::from_millis(random.below(2500) as u64));
            daemon.kill()?;
        } else {
            let started = Instant::now();
            while !daemon.has_ended()? {
                if home.state("tiny-loop").as_deref() == Some("done") {
                    println!("seed {seed} kill {i} at {fault}: the run ended before");
                    break;
                }
                ensure!(
                    started.elapsed() < LIMIT,
                    "neither killed nor done: {}",
                    home.log()
                );
                std::thread::sleep(Duration::from_millis(30));
            }
        }
    }
    let _daemon = home.serve(&[])?;
    home.wait_until_done("tiny-loop", LIMIT)?;
    let positions: Vec<String> = home
        .log()
        .lines()
        .filter(|l| l.contains("resumes at"))
        .map(str::to_string)
        .collect();
    println!(
        "seed {seed}: {} kills\n  {}",
        places.len(),
        positions.join("\n  ")
    );
    ensure!(
        digests(&home)? == *expect,
        "seed {seed}: other digests after kills {places:?}:\n{:#?}\n{expect:#?}",
        digests(&home)?
    );
    Ok(())
}

#[test]
fn twenty_kills_over_five_runs_change_nothing() -> Result<()> {
    let expect = undisturbed()?;
    let runs: [[&str; 4]; 5] = [
        ["generate", "filter", "respond", "train"],
        ["filter", "evaluate", "checkpoint", "random"],
        ["respond", "generate", "checkpoint", "train"],
        ["evaluate", "filter", "train", "checkpoint"],
        ["evaluate", "generate", "respond", "random"],
    ];
    for place in PLACES {
        assert!(
            runs.iter().flatten().filter(|p| **p == place).count() >= 3,
            "{place}"
        );
    }
    for (seed, places) in runs.iter().enumerate() {
        disturbed(seed as u64, places, &expect)?;
    }
    Ok(())
}

/// `AUTODIDACT_TEST_KILLS=200` asks for as many kills, four a run.
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
    for run in 0..kills.div_ceil(4) {
        let mut random = Random::at(run as u64, &["places"]);
        let places: Vec<&str> = (0..4)
            .map(|_| match random.below(PLACES.len() + 1) {
                i if i < PLACES.len() => PLACES[i],
                _ => "random",
            })
            .collect();
        disturbed(1000 + run as u64, &places, &expect)?;
    }
    Ok(())
}
