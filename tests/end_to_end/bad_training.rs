//! Training that cannot be is refused with why and what to do, and nothing is lost.

use std::time::Duration;

use anyhow::{Context, Result};
use autodidact_tests::{Home, repository};
use serde_json::Value;

use crate::bad_input::refused;
use crate::training::import;

const LIMIT: Duration = Duration::from_secs(120);

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    }
}

/// Runs of one dataset, in large batches.
fn train<'a>(name: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let run = [
        "train",
        name,
        "--model",
        "tiny",
        "--data",
        "seeds-en",
        "--set",
        "max_length=160",
    ];
    [&run[..], more].concat()
}

#[test]
fn a_run_that_will_not_fit_names_what_would_and_goes_on_when_there_is_room() -> Result<()> {
    let home = Home::new()?;
    let daemon = home.serve(&[])?;
    home.prepare()?;
    let large = ["--set", "batch_size=96", "--set", "checkpoint_steps=1"];
    let told = home.json(&train("large", &[&large[..], &["--dry-run"]].concat()))?;
    let needed = number(&told["memory_bytes"]).context("a need")?;
    assert!(told.get("refusal").is_none(), "{told}");
    assert_eq!(number(&told["steps"]), Some(2), "{told}");
    assert!(
        number(&told["disk_bytes"]) > number(&told["checkpoint_bytes"]),
        "{told}"
    );
    let all = home.json(&["workflow", "list"])?;
    assert_eq!(all, serde_json::json!([]), "a dry run starts nothing");

    // With two thirds of it, each option that is named makes it fit, and really does.
    daemon.terminate()?;
    let limit = ((needed * 2 / 3) >> 20).to_string();
    let daemon = home.serve(&[("AUTODIDACT_LIMITS_MEMORY_MIB", &limit)])?;
    let dry = fails(
        &home,
        &train("large", &[&large[..], &["--dry-run"]].concat()),
    )?;
    let error = fails(&home, &train("large", &large))?;
    for error in [&dry, &error] {
        for part in [
            "training on batches of up to ",
            "memory: expected a need of at most the ",
            &format!("(limits.memory_mib is {limit})"),
            " of states",
            "it fits with batch_size ",
            "gradient_checkpointing true",
        ] {
            assert!(error.contains(part), "{part:?} is missing in {error}");
        }
    }
    assert!(error.contains("large is failed"), "{error}");
    assert!(
        error.contains("`workflow resume large` tries again"),
        "{error}"
    );
    let (_, advice) = error.split_once("it fits with ").context("advice")?;
    let advice = advice.split(';').next().unwrap_or_default();
    let mut tried = 0;
    for relief in advice.split(", or with ") {
        let (changes, _) = relief.split_once(" (").context("a size")?;
        let mut wanted = vec!["--set".to_string(), "checkpoint_steps=1".to_string()];
        if !changes.contains("batch_size") {
            wanted.extend(["--set".to_string(), "batch_size=96".to_string()]);
        }
        for change in changes.split(" and ") {
            match change.strip_prefix("method ") {
                Some(method) => wanted.extend(["--method".to_string(), method.to_string()]),
                None => wanted.extend(["--set".to_string(), change.replace(' ', "=")]),
            }
        }
        let name = format!("relief-{tried}");
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        home.text(&train(&name, &wanted))
            .with_context(|| format!("with {relief}"))?;
        tried += 1;
    }
    assert!(tried >= 2, "{advice}");

    // With room the run that was refused goes on.
    daemon.terminate()?;
    let _daemon = home.serve(&[])?;
    assert_eq!(home.state("large").as_deref(), Some("failed"));
    home.text(&["train", "--resume", "large"])?;
    home.wait_until_done("large", LIMIT)?;
    let text = home.text(&["checkpoint", "list"])?;
    assert!(text.contains("large.round-1"), "{text}");
    Ok(())
}

/// Runs a command that must fail with exit code 1, and reads what it tells of that.
fn fails(home: &Home, arguments: &[&str]) -> Result<String> {
    let output = home.run(arguments)?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
    Ok(text)
}

#[test]
fn options_that_mean_nothing_are_refused_before_a_run_is_there() -> Result<()> {
    let home = Home::new()?;
    let _daemon = home.serve(&[])?;
    home.prepare()?;
    for (option, parts) in [
        // Target modules that match nothing, with the nearest names.
        (
            "target_modules=q_prj",
            ["unknown linear layer", r#""nearest":"q_proj""#],
        ),
        (
            "target_modules=layers.9.self_attn.q_proj",
            ["no linear layer is meant by", r#"did you mean "q_proj""#],
        ),
        (
            "r=0",
            [
                "stages.train.r: out of range (found 0)",
                "a whole number from 1",
            ],
        ),
    ] {
        let error = refused(&home, &train("wrong", &["--set", option]))?;
        for part in parts {
            assert!(
                error.to_string().replace("\\\"", "\"").contains(part),
                "{option}: {error}"
            );
        }
    }
    assert_eq!(home.json(&["workflow", "list"])?, serde_json::json!([]));
    Ok(())
}

#[test]
fn a_dataset_whose_every_record_is_refused_is_told_with_why_and_the_run_is_kept() -> Result<()> {
    let home = Home::new()?;
    let _daemon = home.serve(&[])?;
    home.prepare()?;
    let record = |i: usize| {
        format!(
            r#"{{"instruction": "Number {i}: {}", "output": "so"}}"#,
            "one two three ".repeat(30 + i)
        )
    };
    import(&home, "long", &(0..5).map(record).collect::<Vec<_>>())?;
    let run = [
        "train", "hopeless", "--model", "tiny", "--data", "long", "--set",
    ];
    let error = fails(&home, &[&run[..], &["max_length=48"]].concat())?;
    for part in [
        "hopeless is failed",
        "all 5 were refused (no_label_token)",
        "5 begin to answer beyond max_length = 48 tokens, the nearest with token ",
        "raise max_length",
        "`workflow resume hopeless` tries again",
    ] {
        assert!(error.contains(part), "{part:?} is missing in {error}");
    }
    // It stands where it failed, and can be resumed; the data is there.
    assert_eq!(home.state("hopeless").as_deref(), Some("failed"));
    home.text(&["workflow", "resume", "hopeless"])?;
    autodidact_tests::wait_for("the same end", LIMIT, || {
        home.state("hopeless").as_deref() == Some("failed")
    })?;
    home.text(&[
        "train",
        "hopeful",
        "--model",
        "tiny",
        "--data",
        "long",
        "--set",
        "max_length=900",
    ])?;
    Ok(())
}

#[test]
fn an_adapter_for_another_base_is_refused_by_its_first_tensor_that_differs() -> Result<()> {
    let home = Home::new()?;
    let _daemon = home.serve(&[])?;
    home.prepare()?;
    let other = repository().join("tests/golden/families/qwen2");
    home.text(&["model", "add", "other", &other.to_string_lossy()])?;
    home.text(&train("mine", &["--set", "epochs=1"]))?;
    let on_other = [
        "train",
        "second",
        "--model",
        "other",
        "--data",
        "seeds-en",
        "--init-adapter",
        "mine.round-1",
    ];
    let submitted = refused(&home, &on_other)?;
    let asked = refused(
        &home,
        &[
            "model",
            "generate",
            "other",
            "--prompt",
            "Hi.",
            "--adapter",
            "mine.round-1",
        ],
    )?;
    for error in [&submitted, &asked] {
        for part in [
            "layers.0.self_attn.q_proj.lora_A.weight: expected shape [8, ",
            " on this base",
            "of an adapter of tiny",
        ] {
            assert!(
                error.to_string().contains(part),
                "{part:?} is missing in {error}"
            );
        }
    }
    assert!(
        home.json(&["workflow", "show", "second"]).is_err(),
        "nothing was started"
    );
    Ok(())
}
