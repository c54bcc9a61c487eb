//! Lines that people labelled (`tests/labelled/REASON.LANGUAGE.jsonl`), through the rules that ask a model, by real models.
//!
//! `AUTODIDACT_TEST_GEMMA` names a GGUF file of Gemma 3 270M, `AUTODIDACT_TEST_EMBEDDER` the folder of all-MiniLM-L6-v2. A model
//! is no person: of each file's lines a share that was measured has to be decided as people did, and the test prints which are not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use autodidact_tests::{Home, repository};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(300);
/// The fewest lines of a file.
const LINES: usize = 20;

/// A file of lines, the rule that they go through, and what is made of them.
struct Case {
    reason: &'static str,
    language: &'static str,
    /// The stage with its chain.
    stage: &'static str,
    /// The least share of the lines that is decided as people did.
    least: f64,
}

const CASES: [Case; 10] = [
    // The bounds of embedding, perplexity and the greatest difficulty are those that the project's seeds give.
    Case {
        reason: "embedding_duplicate",
        language: "en",
        stage: "filter: {chain: [{embedding: {threshold: 0.722, model: minilm}}]}",
        least: 0.9,
    },
    Case {
        reason: "embedding_duplicate",
        language: "zh",
        stage: "filter: {chain: [{embedding: {threshold: 0.653, model: gemma}}]}",
        least: 0.75,
    },
    Case {
        reason: "ungrammatical",
        language: "en",
        stage: "filter: {chain: [{perplexity: {most: 608, model: gemma}}]}",
        least: 0.8,
    },
    Case {
        reason: "ungrammatical",
        language: "zh",
        stage: "filter: {chain: [{perplexity: {most: 3987, model: gemma}}]}",
        least: 0.75,
    },
    Case {
        reason: "misaligned",
        language: "en",
        stage: "validate: {chain: [{difficulty: {most: 0.85, model: gemma}}]}",
        least: 0.75,
    },
    Case {
        reason: "misaligned",
        language: "zh",
        stage: "validate: {chain: [{difficulty: {most: 0.85, model: gemma}}]}",
        least: 0.75,
    },
    Case {
        reason: "too_easy",
        language: "en",
        stage: "validate: {chain: [{difficulty: {least: 0.3, most: 10, model: gemma}}]}",
        least: 0.9,
    },
    Case {
        reason: "too_easy",
        language: "zh",
        stage: "validate: {chain: [{difficulty: {least: 0.3, most: 10, model: gemma}}]}",
        least: 0.9,
    },
    Case {
        reason: "less_diverse",
        language: "en",
        stage: "filter: {chain: [{diversity: {share: 0.5, max_task_type_share: 1, max_topic_share: 1}}]}",
        least: 0.8,
    },
    Case {
        reason: "less_diverse",
        language: "zh",
        stage: "filter: {chain: [{diversity: {share: 0.5, max_task_type_share: 1, max_topic_share: 1}}]}",
        least: 0.8,
    },
];

fn read(path: &str) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(repository().join(path)).context(path.to_string())?;
    let lines = text.lines().map(serde_json::from_str);
    Ok(lines.collect::<Result<_, _>>()?)
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn record(instruction: &Value, instances: &[Value]) -> Value {
    json!({"instruction": instruction, "instances": instances})
}

/// The records that a case's workflow filters: what lines are compared with first, then the lines, each once.
fn records(case: &Case, lines: &[Value]) -> Result<Vec<Value>> {
    let mut records = Vec::new();
    if case.reason == "embedding_duplicate" {
        // A generator's vectors are seen in the frame of many texts.
        for seed in read(&format!("examples/data/seeds-{}.jsonl", case.language))? {
            records.push(record(&seed["instruction"], &[]));
        }
        let earlier = lines
            .iter()
            .flat_map(|line| line["earlier"].as_array().into_iter().flatten());
        records.extend(earlier.map(|text| record(text, &[])));
    }
    records.extend(lines.iter().map(|line| match line["output"].is_string() {
        true => {
            let input = text_of(&line["input"]);
            record(
                &line["instruction"],
                &[json!({"input": input, "output": line["output"]})],
            )
        }
        false => record(&line["instruction"], &[]),
    }));
    let mut seen = BTreeSet::new();
    records.retain(|record| seen.insert(record.to_string()));
    Ok(records)
}

/// Finds the instructions that the workflow dropped for the case's reason.
fn dropped(home: &Home, case: &Case, name: &str) -> Result<BTreeSet<String>> {
    let arguments = ["workflow", "verdicts", name, "--reason", case.reason];
    let answer = home.json(&arguments)?;
    let verdicts = answer["verdicts"].as_array().context("verdicts")?;
    let instruction = |verdict: &Value| {
        let text = text_of(&verdict["text"]);
        let body = serde_json::from_str::<Value>(text).ok();
        let of_body = body.and_then(|body| body["instruction"].as_str().map(str::to_string));
        of_body.unwrap_or_else(|| text.to_string())
    };
    Ok(verdicts.iter().map(instruction).collect())
}

/// The lines that are decided otherwise than people did.
fn misses(lines: &[Value], dropped: &BTreeSet<String>) -> Vec<String> {
    let is_dropped = |line: &Value| dropped.contains(text_of(&line["instruction"]));
    let mut groups: BTreeMap<u64, Vec<&Value>> = BTreeMap::new();
    let mut misses = Vec::new();
    for line in lines {
        match line["group"].as_u64() {
            Some(group) => groups.entry(group).or_default().push(line),
            None if line["drop"] == is_dropped(line) => {}
            None => misses.push(line.to_string()),
        }
    }
    // Of what says the same one is kept, whichever.
    for group in groups.values() {
        let kept = group.iter().filter(|line| !is_dropped(line)).count();
        if kept != 1 {
            let told = group
                .iter()
                .map(|line| format!("{kept} of {}: {line}", group.len()));
            misses.extend(told);
        }
    }
    misses
}

#[test]
fn rules_that_ask_a_model_decide_labelled_lines_as_people_did() -> Result<()> {
    let models = ["AUTODIDACT_TEST_GEMMA", "AUTODIDACT_TEST_EMBEDDER"].map(std::env::var);
    let [Ok(gemma), Ok(embedder)] = models else {
        println!("skipped: AUTODIDACT_TEST_GEMMA and AUTODIDACT_TEST_EMBEDDER are not both set");
        return Ok(());
    };
    let home = Home::new()?;
    let daemon = home.serve(&[])?;
    home.text(&["model", "add", "gemma", &gemma])?;
    home.text(&["model", "add", "minilm", &embedder])?;
    let mut faults = Vec::new();
    for (number, case) in CASES.iter().enumerate() {
        let Case {
            reason,
            language,
            stage,
            least,
        } = case;
        let lines = read(&format!("tests/labelled/{reason}.{language}.jsonl"))?;
        ensure!(lines.len() >= LINES, "{reason}.{language}");
        let records = records(case, &lines)?;
        let text: String = records.iter().map(|record| format!("{record}\n")).collect();
        let name = format!("case-{number}");
        let file = home.path().join(format!("{name}.jsonl"));
        std::fs::write(&file, text).context("write the lines")?;
        home.text(&["dataset", "import", &name, &file.to_string_lossy()])?;
        home.submit(&format!(
            "name: {name}\nlanguages: [{language}]\nmodel: gemma\nseeds: {name}\nstages:\n  {stage}\n"
        ))?;
        home.wait_until_done(&name, LIMIT)?;
        let misses = misses(&lines, &dropped(&home, case, &name)?);
        let share = 1.0 - misses.len() as f64 / lines.len() as f64;
        println!(
            "{reason}.{language}: {share:.2} of {} as people did",
            lines.len()
        );
        misses.iter().for_each(|miss| println!("  {miss}"));
        if share < *least {
            faults.push(format!("{reason}.{language}: {share:.2}, at least {least}"));
        }
    }
    assert!(faults.is_empty(), "{faults:?}");
    ensure!(daemon.terminate()?.success(), "{}", home.log());
    Ok(())
}
