//! The project's own seeds and held-out tasks keep their promises.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use autodidact_tests::repository;
use serde_json::Value;

fn tasks(name: &str) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(repository().join(format!("examples/data/{name}.jsonl")))?;
    text.lines()
        .map(|line| serde_json::from_str(line).context("read task"))
        .collect()
}

fn instruction(task: &Value) -> &str {
    task["instruction"].as_str().unwrap_or_default()
}

#[test]
fn there_are_enough_of_every_type_and_none_is_near_a_held_out_one() -> Result<()> {
    for language in ["en", "zh"] {
        let (seeds, held_out) = (
            tasks(&format!("seeds-{language}"))?,
            tasks(&format!("heldout-{language}"))?,
        );
        assert!(seeds.len() >= 100 && held_out.len() >= 100, "{language}");
        for set in [&seeds, &held_out] {
            let mut types: BTreeMap<&str, usize> = BTreeMap::new();
            for task in set {
                *types
                    .entry(task["task_type"].as_str().context("task_type")?)
                    .or_default() += 1;
                let output = task["instances"][0]["output"].as_str().context("output")?;
                if let Some(labels) = task["labels"].as_array() {
                    assert!(labels.iter().any(|label| label == output), "{task}");
                }
            }
            assert_eq!(types.len(), 9, "{language}: {types:?}");
        }
        assert!(
            seeds
                .iter()
                .filter(|task| task["is_classification"] == true)
                .count()
                >= 20,
            "{language}"
        );
        let seed_tokens: Vec<Vec<String>> = seeds
            .iter()
            .map(|s| autodidact_text::tokenize(instruction(s)))
            .collect();
        for task in &held_out {
            let tokens = autodidact_text::tokenize(instruction(task));
            let nearest = seed_tokens
                .iter()
                .map(|seed| autodidact_text::rouge_l(&tokens, seed))
                .fold(0.0, f64::max);
            assert!(nearest <= 0.5, "{task} is too near a seed: {nearest}");
        }
    }
    Ok(())
}
