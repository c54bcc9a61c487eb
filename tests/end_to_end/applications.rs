//! What fine-tuning is for: the workflows of `examples/workflows` as they are, run on the small model, which learns from each.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use autodidact_tests::{Home, repository, tell, tiny_model};
use autodidact_text::NearDuplicateIndex;
use serde_json::Value;

/// An example of an application: its files' name, its tasks' type, and how much better a model gets by it.
struct Application {
    name: &'static str,
    task_type: &'static str,
    /// The type's own measure, and the least that the adapter must be above the base by it, in each language.
    metric: &'static str,
    least_gain: f64,
}

const APPLICATIONS: [Application; 9] = [
    application("classification", "classification", "macro_f1", 0.3),
    application("few-shot", "classification", "macro_f1", 0.3),
    application("entities", "extraction", "span_f1", 0.05),
    application("sequence-classification", "classification", "macro_f1", 0.3),
    application("token-classification", "extraction", "span_f1", 0.3),
    application("translation", "translation", "chrf", 10.0),
    application("summarisation", "rewriting", "rouge_l", 0.1),
    application("domain-text", "question_answering", "rouge_l", 0.05),
    application("dialogue", "conversation", "rouge_l", 0.2),
];

const fn application(
    name: &'static str,
    task_type: &'static str,
    metric: &'static str,
    least_gain: f64,
) -> Application {
    Application {
        name,
        task_type,
        metric,
        least_gain,
    }
}

/// The lines of a workflow that the small model takes otherwise. It knows no Chinese at all and little else: it trains all
/// of its weights, in more steps.
const FOR_TINY: [(&str, Option<&str>); 5] = [
    ("model", Some("tiny")),
    ("method", Some("full")),
    ("target_modules", None),
    ("epochs", Some("16")),
    ("batch_size", Some("4")),
];

const LIMIT: Duration = Duration::from_secs(120);

fn read_workflow(name: &str) -> Result<String> {
    let path = repository().join(format!("examples/workflows/{name}.yaml"));
    std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

/// Puts another value on the line of a field, or leaves the line out.
fn with(workflow: &str, field: &str, value: Option<&str>) -> Result<String> {
    let mut found = 0;
    let lines = workflow.lines().map(|line| {
        let start = line.trim_start();
        let indent = &line[..line.len() - start.len()];
        match start.split_once(':') {
            Some((name, _)) if name == field => {
                found += 1;
                value.map_or(String::new(), |value| format!("{indent}{field}: {value}\n"))
            }
            _ => format!("{line}\n"),
        }
    });
    let changed = lines.collect();
    ensure!(found == 1, "{found} lines of {field} in {workflow}");
    Ok(changed)
}

/// Runs an application's workflow on the small model, and holds the adapter to what it must have learnt.
fn learns(name: &str) -> Result<()> {
    let application = APPLICATIONS.iter().find(|a| a.name == name);
    let application = application.context("an application")?;
    let home = Home::new()?;
    let _daemon = home.serve(&[])?;
    home.text(&["model", "add", "tiny", &tiny_model().to_string_lossy()])?;
    for part in ["train", "heldout"] {
        let dataset = format!("{name}-{part}");
        let file = repository().join(format!("examples/data/{dataset}.jsonl"));
        home.text(&["dataset", "import", &dataset, &file.to_string_lossy()])?;
    }
    let mut workflow = read_workflow(name)?;
    // Larger steps than the example's, save for a label a text: 56 of them are soon known by heart.
    let learning_rate = match name {
        "sequence-classification" => "1.0e-3",
        _ => "3.0e-3",
    };
    for (field, value) in FOR_TINY {
        workflow = with(&workflow, field, value)?;
    }
    workflow = with(&workflow, "learning_rate", Some(learning_rate))?;
    home.submit(&workflow)?;
    home.wait_until_done(name, LIMIT)?;
    let report = home.report(name)?;
    for language in ["en", "zh"] {
        beats_the_base(application, &report, language)?;
    }
    let shown = home.text(&["workflow", "report", name])?;
    let row = format!("| round-1 | zh | {} |", application.task_type);
    assert!(shown.contains(&row), "{row:?} is missing in\n{shown}");
    Ok(())
}

fn beats_the_base(application: &Application, report: &Value, language: &str) -> Result<()> {
    let find = |model: &str| {
        let mut all = report["evaluations"].as_array().into_iter().flatten();
        all.find(|e| e["model"] == model && e["language"] == language)
            .with_context(|| format!("the evaluation of {model} in {language}"))
    };
    let (base, tuned) = (find("base")?, find("round-1")?);
    let loss = |evaluation: &Value| evaluation["heldout_loss"].as_f64().context("a loss");
    let measured = |evaluation: &Value| {
        evaluation["task_types"][application.task_type]["metrics"][application.metric]
            .as_f64()
            .with_context(|| format!("{} of {evaluation}", application.metric))
    };
    let (loss_before, loss_after) = (loss(base)?, loss(tuned)?);
    let (before, after) = (measured(base)?, measured(tuned)?);
    tell(&format!(
        "{} {language}: {} {before:.3} to {after:.3}, loss {loss_before:.3} to {loss_after:.3}",
        application.name, application.metric
    ));
    assert!(
        loss_after < 0.8 * loss_before,
        "{} {language}: held-out loss {loss_before} to {loss_after}",
        application.name
    );
    assert!(
        after >= before + application.least_gain,
        "{} {language}: {} {before} to {after}",
        application.name,
        application.metric
    );
    Ok(())
}

#[test]
fn classification() -> Result<()> {
    learns("classification")
}

#[test]
fn few_shot() -> Result<()> {
    learns("few-shot")
}

#[test]
fn entities() -> Result<()> {
    learns("entities")
}

#[test]
fn sequence_classification() -> Result<()> {
    learns("sequence-classification")
}

#[test]
fn token_classification() -> Result<()> {
    learns("token-classification")
}

#[test]
fn translation() -> Result<()> {
    learns("translation")
}

#[test]
fn summarisation() -> Result<()> {
    learns("summarisation")
}

#[test]
fn domain_text() -> Result<()> {
    learns("domain-text")
}

#[test]
fn dialogue() -> Result<()> {
    learns("dialogue")
}

#[test]
fn every_example_workflow_is_right() -> Result<()> {
    let home = Home::new()?;
    let _daemon = home.serve(&[])?;
    for model in ["smollm2-135m-instruct", "gemma-3-270m"] {
        home.text(&["model", "add", model, &tiny_model().to_string_lossy()])?;
    }
    for entry in std::fs::read_dir(repository().join("examples/data"))? {
        let path = entry?.path();
        let name = path.file_stem().context("a name")?.to_string_lossy();
        home.text(&["dataset", "import", &name, &path.to_string_lossy()])?;
    }
    // The loop in both languages takes its data from the files of both, one after the other.
    for name in ["seeds", "heldout"] {
        let part = |language: &str| {
            let file = format!("examples/data/{name}-{language}.jsonl");
            std::fs::read_to_string(repository().join(file))
        };
        let both = home.path().join(format!("{name}-both.jsonl"));
        std::fs::write(&both, part("en")? + &part("zh")?)?;
        let dataset = format!("{name}-both");
        home.text(&["dataset", "import", &dataset, &both.to_string_lossy()])?;
    }
    let mut checked = 0;
    for entry in std::fs::read_dir(repository().join("examples/workflows"))? {
        home.text(&["workflow", "check", &entry?.path().to_string_lossy()])?;
        checked += 1;
    }
    assert!(checked >= APPLICATIONS.len() + 2, "{checked} workflows");
    Ok(())
}

fn read_records(dataset: &str) -> Result<Vec<Value>> {
    let path = repository().join(format!("examples/data/{dataset}.jsonl"));
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).context("read a record"))
        .collect()
}

/// Finds what sets a record apart: its input, its instruction where it has none, or what the user says.
fn asked(record: &Value) -> String {
    if let Some(messages) = record["messages"].as_array() {
        let said = messages.iter().filter(|message| message["role"] == "user");
        let said: Vec<&str> = said.filter_map(|m| m["content"].as_str()).collect();
        return said.join("\n");
    }
    if let Some(tokens) = record["tokens"].as_array() {
        let tokens: Vec<&str> = tokens.iter().filter_map(Value::as_str).collect();
        return tokens.join(" ");
    }
    if let Some(text) = record["text"].as_str() {
        return text.to_string();
    }
    let input = record["instances"][0]["input"].as_str();
    let input = input.filter(|input| !input.is_empty());
    input
        .or(record["instruction"].as_str())
        .unwrap_or_default()
        .to_string()
}

#[test]
fn held_out_records_are_new_and_both_languages_count_equally() -> Result<()> {
    for Application { name, .. } in APPLICATIONS {
        let (train, held_out) = (
            read_records(&format!("{name}-train"))?,
            read_records(&format!("{name}-heldout"))?,
        );
        for (records, sizes) in [(&train, 24..=48), (&held_out, 12..=16)] {
            let of = |language: &str| records.iter().filter(|r| r["language"] == language).count();
            assert_eq!(of("en"), of("zh"), "{name}");
            assert!(sizes.contains(&of("en")), "{name}: {}", of("en"));
        }
        // The loop's own threshold; among the training records only the same one twice would be wrong.
        let mut seen = NearDuplicateIndex::new(0.7);
        for record in &train {
            seen.add(&asked(record));
        }
        let mut distinct: Vec<String> = train.iter().map(asked).collect();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), train.len(), "{name} has a record twice");
        for record in &held_out {
            let nearest = seen.nearest(&asked(record));
            assert!(nearest.is_none(), "{name}: {record} is near {nearest:?}");
        }
    }
    Ok(())
}

#[test]
fn few_shot_has_sixteen_examples_a_label() -> Result<()> {
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for record in read_records("few-shot-train")? {
        let label = record["instances"][0]["output"].clone();
        let declared = record["labels"].as_array().context("labels")?;
        assert!(declared.len() == 3 && declared.contains(&label), "{record}");
        let key = (record["language"].to_string(), label.to_string());
        *counts.entry(key).or_default() += 1;
    }
    assert_eq!(counts.len(), 6, "{counts:?}");
    assert!(counts.values().all(|count| *count == 16), "{counts:?}");
    Ok(())
}
