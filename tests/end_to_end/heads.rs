//! Heads of labels by the real binary: trained, cut and gone on with, used, and taken to other tools and back.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use autodidact_tests::{Home, repository, tiny_model, wait_for};
use serde_json::{Value, json};

use crate::bad_input::refused;
use crate::training::import;

const LIMIT: Duration = Duration::from_secs(120);

fn example(name: &str) -> PathBuf {
    repository().join(format!("examples/data/{name}.jsonl"))
}

/// The example's own workflow on the small model, with checkpoints close together.
fn workflow(name: &str, run: &str) -> String {
    let task = match name {
        "token-classification" => "TOKEN_CLS",
        _ => "SEQ_CLS",
    };
    format!(
        "name: {run}\nseed: 3\nlanguages: [en, zh]\nmodel: tiny\nseeds: {name}-train\nheld_out: {name}-heldout\nstages:\n  train: {{task_type: {task}, method: lora, learning_rate: 1.0e-2, epochs: 12, batch_size: 8, checkpoint_steps: 3, validation_split: 0.1, eval_steps: 4}}\n  evaluate: {{batch: 8}}\n"
    )
}

fn prepare(home: &Home) -> Result<()> {
    home.text(&["model", "add", "tiny", &tiny_model().to_string_lossy()])?;
    for name in ["sequence-classification", "token-classification"] {
        for part in ["train", "heldout"] {
            let dataset = format!("{name}-{part}");
            home.text(&[
                "dataset",
                "import",
                &dataset,
                &example(&dataset).to_string_lossy(),
            ])?;
        }
    }
    Ok(())
}

#[test]
fn a_run_that_was_killed_ends_with_the_same_head_and_the_same_labels() -> Result<()> {
    let straight = Home::new()?;
    let _daemon = straight.serve(&[])?;
    prepare(&straight)?;
    let cut = Home::new()?;
    cut.serve(&[]).and_then(|daemon| {
        prepare(&cut)?;
        daemon.terminate()
    })?;
    for name in ["sequence-classification", "token-classification"] {
        straight.submit(&workflow(name, name))?;
        straight.wait_until_done(name, LIMIT)?;
        for (kill, fault) in [
            "evaluate:2:0",
            "checkpoint:2:0",
            "train:2:500",
            "evaluate:2:100",
        ]
        .iter()
        .enumerate()
        {
            let fault = format!("kill:{fault}");
            let mut daemon = cut.spawn_serve(&[("AUTODIDACT_FAULT", &fault)])?;
            if kill == 0 {
                cut.wait_until_answering(&mut daemon)?;
                // The kill may take the answer; the submission stands.
                let submitted = cut.submit(&workflow(name, name));
                ensure!(
                    submitted.is_ok() || daemon.ends_within(LIMIT)?,
                    "not submitted"
                );
            }
            ensure!(daemon.ends_within(LIMIT)?, "{name}: not killed by {fault}");
        }
        let daemon = cut.serve(&[])?;
        cut.wait_until_done(name, LIMIT)?;
        let [straight_report, cut_report] = [&straight, &cut].map(|home| home.report(name));
        let (expected, found) = (straight_report?, cut_report?);
        for part in ["adapter_digest", "evaluations"] {
            assert_eq!(found[part], expected[part], "{name}: {part}");
        }
        // What the base was measured with is gone.
        for home in [&straight, &cut] {
            let all = home.json(&["checkpoint", "list"])?.to_string();
            assert!(!all.contains(".round-0"), "{all}");
        }
        daemon.terminate()?;
    }
    Ok(())
}

#[test]
fn labels_come_with_probabilities_and_words_with_tags() -> Result<()> {
    let home = Home::new()?;
    let _daemon = home.serve(&[])?;
    prepare(&home)?;
    for name in ["sequence-classification", "token-classification"] {
        home.submit(&workflow(name, name))?;
        home.wait_until_done(name, LIMIT)?;
    }
    let shown = home.json(&["workflow", "show", "sequence-classification"])?;
    assert_eq!(
        shown["workflow"]["pinned"]["labels"],
        json!(["negative", "positive"]),
        "{shown}"
    );
    let classify = |adapter: &str, texts: &[&str]| {
        let command = ["model", "classify", "tiny", "--adapter", adapter];
        home.json(&[&command[..], texts].concat())
    };
    let texts = ["The soup was cold.", "服务很好。"];
    let told = classify("sequence-classification.round-1", &texts)?;
    assert_eq!(told["task_type"], "SEQ_CLS");
    for (text, result) in texts
        .iter()
        .zip(told["results"].as_array().context("results")?)
    {
        assert_eq!(result["text"], *text);
        let of = |label: &str| result["probabilities"][label].as_f64().unwrap_or(f64::NAN);
        assert!(
            (of("negative") + of("positive") - 1.0).abs() < 1e-5,
            "{result}"
        );
        let best = if of("positive") > of("negative") {
            "positive"
        } else {
            "negative"
        };
        assert_eq!(result["label"], best);
    }
    // A text's label does not depend on those beside it.
    let alone = classify("sequence-classification.round-1", &texts[1..])?;
    assert_eq!(alone["results"][0], told["results"][1]);
    let told = classify("token-classification.round-1", &["Ada Byron went to Bern."])?;
    let words = told["results"][0]["words"].as_array().context("words")?;
    let written: Vec<&str> = words
        .iter()
        .filter_map(|word| word["word"].as_str())
        .collect();
    assert_eq!(written, ["Ada", "Byron", "went", "to", "Bern", "."]);

    // PEFT's files, with the labels' names beside them, come back as the same adapter.
    let folder = home.path().join("exported");
    let out = folder.to_string_lossy().into_owned();
    let export = [
        "model",
        "export",
        "tiny",
        "--adapter",
        "token-classification.round-1",
    ];
    home.text(&[&export[..], &["--format", "peft", "--out", &out]].concat())?;
    let labels: Value = serde_json::from_slice(&std::fs::read(folder.join("labels.json"))?)?;
    assert_eq!(labels["id2label"]["0"], "B-DATE");
    home.text(&["model", "import", "tiny", &out, "--as", "again"])?;
    let again = classify("again", &["Ada Byron went to Bern."])?;
    assert_eq!(again["results"], told["results"]);
    let whole = home.path().join("whole").to_string_lossy().into_owned();
    home.text(&[&export[..], &["--format", "safetensors", "--out", &whole]].concat())?;

    for (arguments, expected) in [
        (
            vec![
                "model",
                "generate",
                "tiny",
                "--adapter",
                "again",
                "--prompt",
                "Hi",
            ],
            "gives labels (TOKEN_CLS)",
        ),
        (
            vec!["model", "classify", "tiny", "--adapter", "nobody", "Hi"],
            "nobody",
        ),
        (
            vec![
                "model",
                "export",
                "tiny",
                "--adapter",
                "again",
                "--format",
                "gguf-f16",
                "--out",
                "x",
            ],
            "expected safetensors",
        ),
    ] {
        let told = refused(&home, &arguments)?;
        assert!(
            told.to_string().contains(expected),
            "{expected:?} is missing in {told}"
        );
    }
    Ok(())
}

#[test]
fn what_a_preview_of_a_task_marks_is_what_gets_a_label() -> Result<()> {
    let home = Home::new()?;
    let _daemon = home.serve(&[])?;
    prepare(&home)?;
    let preview = |dataset: &str, task: &str| {
        let command = [
            "dataset", "preview", dataset, "--model", "tiny", "--limit", "1",
        ];
        home.text(&[&command[..], &["--task-type", task]].concat())
    };
    let told = preview("sequence-classification-train", "SEQ_CLS")?;
    assert!(told.contains("{+.[positive]+}"), "{told}");
    assert!(told.contains("56 of 56 records are trained on"), "{told}");
    let told = preview("token-classification-train", "TOKEN_CLS")?;
    assert!(told.contains("[I-PER]+}"), "{told}");
    let told = preview("token-classification-train", "SEQ_CLS")?;
    assert!(told.contains("expected a text with a label"), "{told}");
    Ok(())
}

#[test]
fn labels_outside_of_the_declared_ones_are_refused_with_the_nearest_and_nothing_is_lost()
-> Result<()> {
    let home = Home::new()?;
    let _daemon = home.serve(&[])?;
    prepare(&home)?;
    let record = |text: &str, label: &str| json!({"text": text, "label": label}).to_string();
    import(
        &home,
        "reviews",
        &[
            record("It broke.", "negative"),
            record("It works.", "postive"),
            record("Fine.", "positive"),
        ],
    )?;
    let train = |name: &str, data: &str, sets: &[&str]| {
        let mut command = vec!["train", name, "--model", "tiny", "--data", data];
        for set in sets {
            command.extend(["--set", set]);
        }
        command.into_iter().map(String::from).collect::<Vec<_>>()
    };
    let fails = |command: Vec<String>, parts: &[&str]| {
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let told = refused(&home, &command)?.to_string();
        for part in parts {
            assert!(told.contains(part), "{part:?} is missing in {told}");
        }
        Ok::<_, anyhow::Error>(())
    };
    fails(
        train(
            "a",
            "reviews",
            &["task_type=SEQ_CLS", "labels=[negative, positive]"],
        ),
        &[
            "stages.train.labels",
            "1 of the 3 records of seeds (dataset reviews)",
            "record 2",
            "postive",
            "positive",
        ],
    )?;
    fails(
        train("a", "reviews", &["labels=[negative, positive]"]),
        &["task_type SEQ_CLS or TOKEN_CLS beside them"],
    )?;
    fails(
        train("a", "reviews", &["task_type=TOKEN_CLS"]),
        &[
            "none of its 3 records is one that task_type TOKEN_CLS takes",
            "ner_tags",
        ],
    )?;
    import(&home, "one", &[record("It broke.", "negative")])?;
    fails(
        train("a", "one", &["task_type=SEQ_CLS"]),
        &["at least two labels"],
    )?;
    let answer = "a river, a lake and a hill ".repeat(12);
    import(
        &home,
        "answers",
        &[record("It broke.", &answer), record("It works.", "yes")],
    )?;
    fails(
        train("a", "answers", &["task_type=SEQ_CLS"]),
        &["these seem to be answers", "at most 1000 labels"],
    )?;
    assert_eq!(
        home.json(&["workflow", "list"])?,
        json!([]),
        "nothing was begun"
    );
    // Declared or corrected, it is trained.
    let command = train(
        "b",
        "reviews",
        &["task_type=SEQ_CLS", "labels=[negative, positive, postive]"],
    );
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    home.text(&command)?;
    let shown = home.json(&["checkpoint", "show", "b.round-1"])?;
    assert!(shown.to_string().contains("postive"), "{shown}");
    // A record that names its own labels and has none of them does not come in.
    let file = home.path().join("strange.jsonl");
    std::fs::write(
        &file,
        r#"{"text": "So so.", "label": "neutral", "labels": ["negative", "positive"]}"#,
    )?;
    let told = home.run(&["dataset", "import", "strange", &file.to_string_lossy()])?;
    let told = String::from_utf8_lossy(&[told.stdout, told.stderr].concat()).into_owned();
    assert!(told.contains("label_not_declared"), "{told}");
    Ok(())
}

#[test]
fn a_dataset_that_comes_later_brings_its_labels() -> Result<()> {
    let home = Home::new()?;
    let _daemon = home.serve(&[])?;
    prepare(&home)?;
    let bound = workflow("sequence-classification", "bound")
        .replace("seeds: sequence-classification-train", "seeds: fresh")
        + "on_drop: fresh\n";
    home.submit(&bound)?;
    assert_eq!(home.state("bound").as_deref(), Some("pending"));
    let folder = home.path().join("inbox/fresh");
    std::fs::create_dir_all(&folder)?;
    let mut records = std::fs::read_to_string(example("sequence-classification-train"))?;
    for _ in 0..8 {
        records += "{\"text\": \"It came on a Monday.\", \"label\": \"neutral\"}\n";
    }
    std::fs::write(folder.join("reviews.jsonl"), records)?;
    wait_for("the bound run", LIMIT, || home.state("bound-v1").is_some())?;
    home.wait_until_done("bound-v1", LIMIT)?;
    let shown = home.json(&["workflow", "show", "bound-v1"])?;
    assert_eq!(
        shown["workflow"]["pinned"]["labels"],
        json!(["negative", "neutral", "positive"]),
        "{shown}"
    );
    Ok(())
}
