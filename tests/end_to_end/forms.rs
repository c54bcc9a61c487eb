//! Answers, marks and decisions of a given form, on the small model.

use anyhow::{Context, Result, ensure};
use autodidact_tests::{Home, find_text};
use serde_json::Value;

use crate::loop_tiny::LIMIT;

/// Instructions without answers, which the workflow marks, sorts and answers in JSON.
const OPEN: [&str; 6] = [
    "Name three birds that live near water.",
    "Tell whether the review is positive or negative.",
    "Write a short note to a neighbour about the noise.",
    "Which season comes after the summer?",
    "Give two reasons to learn how to cook.",
    "List four things to take on a long walk.",
];

const WORKFLOW: &str = "\
name: in-form
seed: 5
model: tiny
seeds: open
stages:
  filter:
    chain:
      - score: {least: 1}
  respond:
    classify: true
    max_tokens: 64
    constraint:
      json_schema:
        type: object
        properties:
          word: {type: string, minLength: 1, maxLength: 6}
          mark: {enum: [good, bad]}
        required: [word, mark]
        additionalProperties: false
";

#[test]
fn a_workflow_marks_sorts_and_answers_in_form() -> Result<()> {
    let home = Home::new()?;
    let daemon = home.serve(&[])?;
    home.prepare()?;
    let lines: String = OPEN
        .iter()
        .map(|text| {
            format!(
                "{}\n",
                serde_json::json!({"instruction": text, "instances": []})
            )
        })
        .collect();
    let file = home.path().join("open.jsonl");
    std::fs::write(&file, lines).context("write the instructions")?;
    home.text(&["dataset", "import", "open", &file.to_string_lossy()])?;
    home.submit(WORKFLOW)?;
    home.wait_until_done("in-form", LIMIT)?;
    let report = home.report("in-form")?;
    let stages = report["rounds"][0]["stages"].as_array().context("stages")?;
    // The constraint leaves the judge no other answer than a mark, and every mark is at least 1.
    assert_eq!(
        (&stages[0]["name"], &stages[0]["kept"]),
        (&"filter".into(), &6.into())
    );
    assert_eq!(
        (&stages[1]["name"], &stages[1]["in"]),
        (&"respond".into(), &6.into())
    );
    let kept = stages[1]["kept"].as_u64().context("kept")?;
    ensure!(kept > 0, "no answer was whole: {report}");
    let out = home.path().join("kept.jsonl");
    home.text(&[
        "dataset",
        "export",
        "in-form",
        "--out",
        &out.to_string_lossy(),
    ])?;
    let text = std::fs::read_to_string(&out).context("read the export")?;
    assert_eq!(text.lines().count() as u64, kept);
    for line in text.lines() {
        let record: Value = serde_json::from_str(line)?;
        let answer = find_text(&record, "output").context("output")?;
        let answer: Value = serde_json::from_str(&answer).with_context(|| answer.clone())?;
        let names: Vec<&String> = answer.as_object().context("an object")?.keys().collect();
        assert_eq!(names, ["word", "mark"], "{answer}");
        assert!(["good", "bad"].contains(&answer["mark"].as_str().unwrap_or("?")));
    }
    ensure!(daemon.terminate()?.success(), "{}", home.log());
    Ok(())
}

/// Classifications that people wrote, which the prompts show.
const SORTED: [[&str; 3]; 3] = [
    [
        "Tell whether the review is good or bad.",
        "I slept badly in that hotel.",
        "bad",
    ],
    ["Tell whether the number is even or odd.", "16", "even"],
    ["Is this a fruit or a vegetable?", "carrot", "vegetable"],
];

/// `AUTODIDACT_TEST_GEMMA` names a GGUF file of Gemma 3 270M: smaller models take nothing for a classification.
#[test]
fn what_asks_for_a_label_gets_the_label_first_and_then_an_input() -> Result<()> {
    let Ok(model) = std::env::var("AUTODIDACT_TEST_GEMMA") else {
        println!("skipped: AUTODIDACT_TEST_GEMMA is not set");
        return Ok(());
    };
    let home = Home::new()?;
    let daemon = home.serve(&[])?;
    home.text(&["model", "add", "gemma", &model])?;
    let sorted = SORTED.map(|[instruction, input, output]| {
        let instances = [serde_json::json!({"input": input, "output": output})];
        serde_json::json!({"instruction": instruction, "is_classification": true, "instances": instances})
    });
    let open = OPEN.map(|text| serde_json::json!({"instruction": text, "instances": []}));
    let lines = sorted.iter().chain(&open).map(|seed| format!("{seed}\n"));
    let file = home.path().join("open.jsonl");
    std::fs::write(&file, lines.collect::<String>()).context("write the instructions")?;
    home.text(&["dataset", "import", "open", &file.to_string_lossy()])?;
    let respond = "respond: {classify: true, max_tokens: 48}";
    home.submit(&format!(
        "name: sorted\nseed: 5\nmodel: gemma\nseeds: open\nstages:\n  {respond}\n"
    ))?;
    home.wait_until_done("sorted", LIMIT)?;
    let out = home.path().join("kept.jsonl");
    let out = out.to_string_lossy();
    home.text(&["dataset", "export", "sorted", "--out", &out])?;
    let text = std::fs::read_to_string(&*out).context("read the export")?;
    let records = text.lines().map(serde_json::from_str::<Value>);
    let records = records.collect::<Result<Vec<_>, _>>()?;
    let is_human = |record: &&Value| SORTED.iter().any(|seed| record["instruction"] == seed[0]);
    let is_label = |record: &&Value| record["task_type"] == "classification";
    let made: Vec<&Value> = records.iter().filter(|record| !is_human(record)).collect();
    let labelled: Vec<&&Value> = made.iter().filter(|record| is_label(record)).collect();
    println!("{text}");
    ensure!(
        !labelled.is_empty() && labelled.len() < made.len(),
        "{text}"
    );
    let review = |record: &&Value| record["instruction"] == OPEN[1];
    ensure!(labelled.iter().any(|record| review(record)), "{text}");
    for record in labelled {
        let label = record["output"].as_str().context("a label")?;
        assert!(!label.is_empty() && !label.contains('\n'), "{record}");
        assert!(
            record["input"]
                .as_str()
                .is_some_and(|input| !input.is_empty()),
            "{record}"
        );
    }
    ensure!(daemon.terminate()?.success(), "{}", home.log());
    Ok(())
}

#[test]
fn a_schema_that_cannot_be_met_is_refused_at_submission_with_its_line() -> Result<()> {
    let home = Home::new()?;
    let daemon = home.serve(&[])?;
    home.prepare()?;
    let yaml = WORKFLOW
        .replace("seeds: open", "seeds: seeds-en")
        .replace("type: string, minLength: 1", "type: strin, minLength: 1");
    let file = home.path().join("wrong.yaml");
    std::fs::write(&file, yaml).context("write workflow")?;
    let output = home.run(&["workflow", "check", &file.to_string_lossy(), "--json"])?;
    assert_eq!(output.status.code(), Some(1));
    let error: Value = serde_json::from_slice(&output.stderr)?;
    let text = error.to_string();
    for expected in ["stages.respond.constraint.json_schema", "strin"] {
        assert!(text.contains(expected), "{text}");
    }
    assert_eq!(error["error"]["line"], 13, "{text}");
    ensure!(daemon.terminate()?.success(), "{}", home.log());
    Ok(())
}
