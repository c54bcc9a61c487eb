//! Fine-tuning by hand: what would be trained on, and what becomes of what was trained.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use autodidact_tests::{Home, repository, tell, tiny_model, wait_for};
use serde_json::Value;

use crate::bad_input::refused;

/// Writes a dataset of one record a line, and imports it.
pub(crate) fn import(home: &Home, name: &str, lines: &[String]) -> Result<()> {
    let file = home.path().join(format!("{name}.jsonl"));
    std::fs::write(&file, lines.join("\n")).context("write a dataset")?;
    home.text(&["dataset", "import", name, &file.to_string_lossy()])?;
    Ok(())
}

#[test]
fn a_preview_shows_what_a_run_trains_on() -> Result<()> {
    let home = Home::new()?;
    let _daemon = home.serve(&[])?;
    home.prepare()?;
    let talk = r#"{"messages": [{"role": "user", "content": "Name a bird."}, {"role": "assistant", "content": "An owl."}, {"role": "user", "content": "Another?"}, {"role": "assistant", "content": "A wren."}]}"#;
    let long = format!(
        r#"{{"instruction": "Say this back: {}", "output": "so"}}"#,
        "one two three ".repeat(60)
    );
    let text = r#"{"text": "苍鹭站在水中。"}"#;
    import(&home, "mine", &[talk.into(), long, text.into()])?;
    let preview = [
        "dataset",
        "preview",
        "mine",
        "--model",
        "tiny",
        "--max-length",
        "64",
    ];
    let told = home.text(&preview)?;
    for part in [
        "{+An owl.<|im_end|>+}",
        "{+A wren.<|im_end|>+}",
        "<|im_start|>user\nName a bird.<|im_end|>",
        "record 1: 64 tokens, 0 with loss, ",
        "refused, no_label_token: expected an answer within max_length = 64 tokens",
        "水中。<|im_end|>+}",
        "mine@1: 2 of 3 records are trained on, refused 1 no_label_token",
    ] {
        assert!(told.contains(part), "{part:?} is missing in {told}");
    }
    assert!(
        !told.contains("\u{1b}["),
        "no terminal, no colours: {told:?}"
    );

    let shown = home.json(&[&preview[..], &["--offset", "2", "--limit", "1"]].concat())?;
    assert_eq!(
        shown["records"].as_array().map(Vec::len),
        Some(1),
        "{shown}"
    );
    assert_eq!(shown["records"][0]["index"], 2, "{shown}");
    assert_eq!(shown["totals"]["records"], 3, "{shown}");
    // What is told of records is what a run then counts.
    let run = home.run(&[
        "train",
        "two",
        "--model",
        "tiny",
        "--data",
        "mine",
        "--set",
        "max_length=64",
    ])?;
    let told = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(run.status.success(), "{told}");
    for part in [
        "training takes ",
        "MiB of disk",
        "1 steps",
        "1 of 3 examples were cut at max_length = 64 tokens",
    ] {
        assert!(told.contains(part), "{part:?} is missing in {told}");
    }
    let report = home.json(&["workflow", "report", "two"])?;
    let stage = &report["rounds"][0]["stages"][0];
    assert_eq!(stage["name"], "train", "{report}");
    assert_eq!(
        (&stage["kept"], &stage["dropped"]),
        (&2.into(), &1.into()),
        "{report}"
    );
    assert_eq!(stage["reasons"]["no_label_token"], 1, "{report}");

    let output = home.run(&["dataset", "preview", "mine", "--model", "tinny"])?;
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("tiny"), "the nearest name: {told}");
    Ok(())
}

/// Copies the tiny model, with another number in its weights.
fn another_model(home: &Home) -> Result<PathBuf> {
    let folder = home.path().join("another");
    std::fs::create_dir_all(&folder).context("make a folder")?;
    for entry in std::fs::read_dir(tiny_model()).context("read the model's folder")? {
        let entry = entry?;
        std::fs::copy(entry.path(), folder.join(entry.file_name())).context("copy")?;
    }
    let weights = folder.join("model.safetensors");
    let mut bytes = std::fs::read(&weights).context("read weights")?;
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    std::fs::write(&weights, bytes).context("write weights")?;
    Ok(folder)
}

/// What a model says with an adapter.
fn says(home: &Home, adapter: &str) -> Result<Value> {
    let ask = ["model", "generate", "tiny", "--prompt", "Name a bird."];
    let told = home.json(&[&ask[..], &["--max-tokens", "24", "--adapter", adapter]].concat())?;
    Ok(told["completion"].clone())
}

#[test]
fn a_name_serves_what_was_promoted_last_and_outlives_the_runs_checkpoints() -> Result<()> {
    let home = Home::new()?;
    let _daemon = home.serve(&[])?;
    home.prepare()?;
    let train = |name: &str, model: &str, more: &[&str]| {
        let run = ["train", name, "--model", model, "--data", "seeds-en"];
        home.text(
            &[
                &run[..],
                &["--set", "max_length=96", "--set", "learning_rate=0.01"],
                more,
            ]
            .concat(),
        )
    };
    train(
        "long",
        "tiny",
        &[
            "--set",
            "epochs=20",
            "--set",
            "checkpoint_steps=1",
            "--detach",
        ],
    )?;
    let promote = |id: &str, name: &str| home.json(&["checkpoint", "promote", id, "--as", name]);
    // A run lets go of a checkpoint with its next one, so the one that was seen may be gone.
    let mut middle = String::new();
    wait_for(
        "a checkpoint in the middle",
        Duration::from_secs(60),
        || {
            let all = home.json(&["checkpoint", "list"]).unwrap_or_default();
            let ids = all.as_array().into_iter().flatten();
            let ids = ids.filter_map(|checkpoint| checkpoint["id"].as_str());
            let Some(id) = ids.into_iter().find(|id| id.contains(".step-")) else {
                return false;
            };
            middle = id.to_string();
            promote(id, "helper").is_ok()
        },
    )?;
    home.wait_until_done("long", Duration::from_secs(120))?;
    let error = refused(&home, &["checkpoint", "show", &middle])?;
    assert_eq!(error["reason"], "NOT_FOUND", "{error}");
    let shown = home.json(&["checkpoint", "show", "helper"])?;
    assert_eq!(shown["promoted_from"], middle.as_str(), "{shown}");
    let in_the_middle = says(&home, "helper")?;
    assert_ne!(in_the_middle, says(&home, "long.round-1")?);

    // The run's own name is the default, and says what the run's adapter says.
    let told = home.text(&["checkpoint", "promote", "long.round-1"])?;
    assert!(told.starts_with("long serves long.round-1: "), "{told}");
    assert_eq!(says(&home, "long")?, says(&home, "long.round-1")?);
    let answer = promote("long.round-1", "helper")?;
    assert_eq!(answer["replaced"], middle.as_str(), "{answer}");
    assert_eq!(says(&home, "helper")?, says(&home, "long.round-1")?);
    let model = home.json(&["model", "show", "tiny"])?;
    assert_eq!(
        model["promoted_adapters"],
        serde_json::json!(["helper", "long"])
    );
    assert!(
        home.text(&["model", "show", "tiny"])?
            .contains("helper, long")
    );

    let error = refused(&home, &["checkpoint", "promote", "long.round-11"])?;
    assert_eq!(error["nearest"], "long.round-1", "{error}");
    for (id, name, part) in [
        ("helper", "", "expected one, since helper is of no run"),
        ("helper", "a.round-1", "which workflows give to theirs"),
    ] {
        let error = refused(&home, &["checkpoint", "promote", id, "--as", name])?;
        let message = error["message"].as_str().unwrap_or_default();
        assert!(message.contains(part), "{error}");
    }

    // Another base's adapter does not take the name, nor does one whose base has changed.
    let another = another_model(&home)?.display().to_string();
    home.text(&["model", "add", "other", &another])?;
    train("short", "other", &[])?;
    let error = refused(
        &home,
        &["checkpoint", "promote", "short.round-1", "--as", "helper"],
    )?;
    let message = error["message"].as_str().unwrap_or_default();
    assert!(message.contains("it serves an adapter of tiny, and short.round-1 is one of other"));
    home.text(&["model", "remove", "tiny"])?;
    home.text(&["model", "add", "tiny", &another])?;
    let error = refused(&home, &["checkpoint", "promote", "long.round-1"])?;
    let message = error["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("of other weights under that name"),
        "{message}"
    );
    Ok(())
}

/// What `bench train` was told a run would take, against what the process took at most. Opt-in: it wants the real models.
#[test]
fn what_a_run_is_told_to_take_of_memory_is_what_it_takes() -> Result<()> {
    let settings: [(&str, &[&str]); 4] = [
        ("AUTODIDACT_TEST_MODEL", &["--batch", "4", "--seq", "256"]),
        (
            "AUTODIDACT_TEST_MODEL",
            &["--batch", "4", "--seq", "256", "--checkpointing"],
        ),
        (
            "AUTODIDACT_TEST_MODEL",
            &[
                "--method",
                "qlora",
                "--batch",
                "4",
                "--seq",
                "256",
                "--checkpointing",
            ],
        ),
        (
            "AUTODIDACT_TEST_GEMMA",
            &["--method", "qlora", "--batch", "1", "--seq", "512"],
        ),
    ];
    let fits = |(told, taken): &(f64, f64)| (told / taken - 1.0).abs() <= 0.15;
    let home = Home::new()?;
    for (variable, arguments) in settings {
        let Some(model) = std::env::var_os(variable) else {
            tell(&format!(
                "without {variable}, {arguments:?} is not measured"
            ));
            continue;
        };
        let model = model.to_string_lossy().into_owned();
        let bench = ["bench", "train", "--model", &model, "--steps", "2"];
        // Beside other work threads free later what they are done with, up to a fifth more at once: one run of three has to fit.
        let mut found = Vec::new();
        for _ in 0..3 {
            let figures = home.json(&[&bench[..], arguments].concat())?;
            let number = |key: &str| figures[key].as_f64().unwrap_or(0.0);
            let (told, taken) = (number("preflight_mb"), number("peak_rss_mb"));
            tell(&format!("{arguments:?}: told {told} MiB, taken {taken}"));
            found.push((told, taken));
            if fits(&(told, taken)) {
                break;
            }
        }
        assert!(found.iter().any(fits), "{arguments:?}: {found:?}");
    }
    Ok(())
}

/// What the daemon told that full fine-tuning takes, against what it took: in one stretch, and in several with the best of them
/// taken at the end, where a checkpoint is three times the model. Opt-in: it wants a real model.
#[test]
fn full_fine_tuning_by_the_daemon_takes_what_it_told() -> Result<()> {
    let variable = "AUTODIDACT_TEST_MODEL";
    let Some(model) = std::env::var_os(variable) else {
        tell(&format!(
            "without {variable}, the daemon's memory is not measured"
        ));
        return Ok(());
    };
    let seeds = repository().join("examples/data/seeds-en.jsonl");
    let several = [
        "checkpoint_steps=1",
        "eval_steps=2",
        "validation_split=0.05",
        "load_best_model_at_end=true",
        // It overshoots, so the best is not the last.
        "learning_rate=1e-2",
    ];
    for stretches in [&["checkpoint_steps=8"][..], &several] {
        let home = Home::new()?;
        let daemon = home.serve(&[])?;
        home.text(&["model", "add", "smollm2", &model.to_string_lossy()])?;
        home.text(&["dataset", "import", "seeds", &seeds.to_string_lossy()])?;
        let mut train = vec!["train", "full", "--model", "smollm2", "--data", "seeds"];
        train.extend(["--method", "full"]);
        for option in [&["max_steps=4", "batch_size=2", "max_length=64"], stretches].concat() {
            train.extend(["--set", option]);
        }
        let need = home.json(&[&train[..], &["--dry-run"]].concat())?;
        let bytes = need["memory_bytes"].as_f64().context("a need")?;
        let told = bytes / f64::from(1 << 20);
        home.text(&train)?;
        let taken = daemon.peak_memory_mib()?;
        tell(&format!(
            "full, {stretches:?}: told {told:.0} MiB, taken {taken:.0}"
        ));
        assert!(
            (told / taken - 1.0).abs() <= 0.15,
            "{stretches:?}: told {told} MiB, taken {taken}"
        );
    }
    Ok(())
}
