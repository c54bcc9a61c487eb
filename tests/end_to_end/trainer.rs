//! Runs that are evaluated while they train, stop early, are killed, and are trained on from their end.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use autodidact_tests::{Home, wait_for};
use serde_json::Value;

use crate::loop_tiny::LIMIT;

/// A rate at which the loss over other examples soon rises, with a patience of two evaluations.
const CAREFUL: &str = "\
r=2 max_length=96 batch_size=4 learning_rate=0.02 lr_scheduler_type=constant max_steps=400 checkpoint_steps=3 \
validation_split=0.2 eval_steps=4 early_stopping_patience=2 load_best_model_at_end=true save_total_limit=2";

/// Lays the arguments of `autodidact train` out, each option with its `--set`.
fn train<'a>(arguments: &[&'a str], options: &'a str) -> Vec<&'a str> {
    let options = options.split_whitespace();
    let options = options.flat_map(|option| ["--set", option]);
    let start = ["train"].into_iter().chain(arguments.iter().copied());
    start.chain(options).collect()
}

const DATA: [&str; 4] = ["--model", "tiny", "--data", "seeds-en"];

fn checkpoints(home: &Home, run: &str) -> Result<Vec<String>> {
    let all = home.json(&["checkpoint", "list"])?;
    let all = all.as_array().context("a list")?;
    let ids = all
        .iter()
        .filter_map(|checkpoint| checkpoint["id"].as_str());
    let prefix = format!("{run}.");
    let of_run = ids.filter(|id| id.starts_with(&prefix));
    Ok(of_run.map(str::to_string).collect())
}

fn steps(evaluations: &Value) -> Vec<u64> {
    let all = evaluations.as_array().into_iter().flatten();
    all.filter_map(|evaluation| evaluation["step"].as_u64())
        .collect()
}

/// Reads the run's one event file for TensorBoard.
fn curves(home: &Home, run: &str) -> Result<Vec<u8>> {
    let folder = home.path().join("reports").join(run).join("round-1");
    let entries = std::fs::read_dir(&folder).context("read the folder")?;
    let files: Vec<_> = entries.collect::<std::io::Result<_>>()?;
    ensure!(files.len() == 1, "one file a run: {files:?}");
    let name = files[0].file_name();
    let is_known = name.to_string_lossy().starts_with("events.out.tfevents.");
    ensure!(is_known, "{name:?}");
    Ok(std::fs::read(files[0].path())?)
}

/// Counts how often a text stands in a file.
fn count(bytes: &[u8], text: &str) -> usize {
    let windows = bytes.windows(text.len());
    windows.filter(|window| *window == text.as_bytes()).count()
}

#[test]
fn a_run_stops_early_with_its_best_adapter_however_often_it_is_killed() -> Result<()> {
    let straight = Home::new()?;
    {
        let _daemon = straight.serve(&[])?;
        straight.prepare()?;
        let told = straight.run(&train(&[&["careful"][..], &DATA].concat(), CAREFUL))?;
        let told = String::from_utf8_lossy(&told.stderr).into_owned();
        assert!(
            told.contains("evaluation loss") && told.contains("stops here"),
            "{told}"
        );
    }
    let report = straight.report("careful")?;
    let round = &report["rounds"][0];
    let evaluated = steps(&round["eval_losses"]);
    let made = round["losses"].as_array().context("losses")?.len();
    let best = round["adapter_step"].as_u64().context("a step")?;
    assert_eq!(round["stopped_early"], true, "{round}");
    assert!(made < 400 && evaluated.iter().all(|step| step % 4 == 0));
    assert_eq!(
        best + 8,
        *evaluated.last().context("evaluations")?,
        "two without a lower loss"
    );
    let stage = &round["stages"][0];
    assert_eq!(stage["reasons"]["held_out"], 22);
    let curves_of = curves(&straight, "careful")?;
    for (tag, times) in [
        ("train/loss", made),
        ("train/learning_rate", made),
        ("train/grad_norm", made),
        ("train/rss_mb", made),
        ("eval/loss", evaluated.len()),
    ] {
        assert_eq!(count(&curves_of, tag), times, "{tag}");
    }

    let home = Home::new()?;
    {
        let _daemon = home.serve(&[])?;
        home.prepare()?;
    }
    for (kill, fault) in ["checkpoint:2:0", "train:2:9000", "checkpoint:1:300"]
        .iter()
        .enumerate()
    {
        let mut daemon = home.spawn_serve(&[("AUTODIDACT_FAULT", &format!("kill:{fault}"))])?;
        if kill == 0 {
            home.wait_until_answering(&mut daemon)?;
            let arguments = [&["careful", "--detach"][..], &DATA].concat();
            // The kill may take the answer; the submission stands.
            home.run(&train(&arguments, CAREFUL))?;
        }
        ensure!(daemon.ends_within(LIMIT)?, "not killed by {fault}");
    }
    let _daemon = home.serve(&[])?;
    home.wait_until_done("careful", LIMIT)?;
    let killed = home.report("careful")?;
    assert_eq!(killed["adapter_digest"], report["adapter_digest"]);
    for part in ["losses", "eval_losses", "adapter_step", "stopped_early"] {
        assert_eq!(killed["rounds"][0][part], round[part], "{part}");
    }
    assert_eq!(
        checkpoints(&home, "careful")?.len(),
        4,
        "the result, two and the best"
    );
    let curves_of = curves(&home, "careful")?;
    assert_eq!(count(&curves_of, "train/loss"), made, "no step twice");
    assert_eq!(count(&curves_of, "eval/loss"), evaluated.len());
    Ok(())
}

/// Resuming a run, continuing it and starting another from its adapter are three things.
#[test]
fn a_run_is_trained_on_from_its_end() -> Result<()> {
    const OPTIONS: &str = "r=2 max_length=96 batch_size=16 learning_rate=5e-3 lr_scheduler_type=constant warmup_ratio=0";
    let home = Home::new()?;
    let _daemon = home.serve(&[])?;
    home.prepare()?;
    let with = |more: &str| format!("{OPTIONS} {more}");
    home.text(&train(&[&["short"][..], &DATA].concat(), OPTIONS))?;
    home.text(&train(
        &[&["straight"][..], &DATA].concat(),
        &with("epochs=2"),
    ))?;
    assert_eq!(
        checkpoints(&home, "short")?,
        ["short.round-1", "short.round-1.step-7"]
    );
    home.text(&train(&["longer", "--continue", "short"], "epochs=2"))?;
    let straight = home.report("straight")?;
    let longer = home.report("longer")?;
    assert_eq!(longer["adapter_digest"], straight["adapter_digest"]);
    let shown = home.json(&["workflow", "show", "longer"])?;
    let from = autodidact_tests::find_text(&shown, "resume_from_checkpoint");
    assert_eq!(from.as_deref(), Some("short.round-1.step-7"));

    let begun = [&["begun", "--init-adapter", "short.round-1"][..], &DATA].concat();
    home.text(&train(&begun, OPTIONS))?;
    let begun = home.report("begun")?;
    assert_ne!(begun["adapter_digest"], straight["adapter_digest"]);

    let refused = |arguments: &[&str], options: &str, expect: &str| -> Result<()> {
        let output = home.run(&train(arguments, options))?;
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{arguments:?}");
        assert!(message.contains(expect), "{arguments:?}: {message}");
        Ok(())
    };
    refused(&["again", "--continue", "short"], "", "stands at step 7")?;
    refused(
        &["other", "--continue", "short"],
        "epochs=3 r=4",
        "adapter_config",
    )?;
    refused(&["none", "--continue", "shirt"], "", "short")?;
    refused(&["--continue", "short"], "", "NAME")?;
    let none = with("save_total_limit=0");
    home.text(&train(&[&["bare"][..], &DATA].concat(), &none))?;
    refused(
        &["on", "--continue", "bare"],
        "epochs=2",
        "save_total_limit: 0",
    )?;
    // While it runs, it is resumed or waited for.
    let long = with("epochs=900");
    home.text(&train(
        &[&["running", "--detach"][..], &DATA].concat(),
        &long,
    ))?;
    refused(
        &["on", "--continue", "running"],
        "epochs=2",
        "--resume running",
    )?;
    home.text(&["workflow", "pause", "running"])?;
    wait_for("the pause", Duration::from_secs(30), || {
        home.state("running").as_deref() == Some("paused")
    })?;
    home.text(&train(&["--resume", "running", "--detach"], ""))?;
    home.text(&["workflow", "cancel", "running"])?;
    Ok(())
}
