//! Lines that people labelled (`tests/labelled/REASON.LANGUAGE.jsonl`), through the built-in plugins, and through the rules that ask a
//! model, by real models.
//!
//! `AUTODIDACT_TEST_GEMMA` names a GGUF file of Gemma 3 270M, `AUTODIDACT_TEST_EMBEDDER` the folder of all-MiniLM-L6-v2. A model
//! is no person: of each file's lines a share that was measured has to be decided as people did, and the test prints which are not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use autodidact_tests::{Home, repository, tiny_model};
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
        stage: "filter: {chain: [{embedding: {threshold: 0.69, model: minilm}}]}",
        least: 0.8,
    },
    Case {
        reason: "embedding_duplicate",
        language: "zh",
        stage: "filter: {chain: [{embedding: {threshold: 0.615, model: gemma}}]}",
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
        least: 0.9,
    },
    Case {
        reason: "misaligned",
        language: "zh",
        stage: "validate: {chain: [{difficulty: {most: 0.85, model: gemma}}]}",
        least: 0.9,
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

fn line_record(line: &Value) -> Value {
    if !line["output"].is_string() {
        return record(&line["instruction"], &[]);
    }
    let input = text_of(&line["input"]);
    let instance = json!({"input": input, "output": line["output"]});
    record(&line["instruction"], &[instance])
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
    records.extend(lines.iter().map(line_record));
    let mut seen = BTreeSet::new();
    records.retain(|record| seen.insert(record.to_string()));
    Ok(records)
}

/// Lets a workflow of one stage judge records; gives the instructions that it dropped, each with the reason.
fn judge(
    home: &Home,
    name: &str,
    (language, model, stage): (&str, &str, &str),
    records: &[Value],
) -> Result<BTreeMap<String, String>> {
    let text: String = records.iter().map(|record| format!("{record}\n")).collect();
    let file = home.path().join(format!("{name}.jsonl"));
    std::fs::write(&file, text).context("write the lines")?;
    home.text(&["dataset", "import", name, &file.to_string_lossy()])?;
    home.submit(&format!(
        "name: {name}\nlanguages: [{language}]\nmodel: {model}\nseeds: {name}\nstages:\n  {stage}\n"
    ))?;
    home.wait_until_done(name, LIMIT)?;
    let answer = home.json(&["workflow", "verdicts", name, "--dropped"])?;
    let verdicts = answer["verdicts"].as_array().context("verdicts")?;
    let dropped = |verdict: &Value| {
        let text = text_of(&verdict["text"]);
        let body = serde_json::from_str::<Value>(text).ok();
        let of_body = body.and_then(|body| body["instruction"].as_str().map(str::to_string));
        let instruction = of_body.unwrap_or_else(|| text.to_string());
        (instruction, text_of(&verdict["reason"]).to_string())
    };
    Ok(verdicts.iter().map(dropped).collect())
}

/// The lines that are decided otherwise than people did, each with what became of it.
fn misses(reason: &str, lines: &[Value], dropped: &BTreeMap<String, String>) -> Vec<String> {
    let found = |line: &Value| {
        dropped
            .get(text_of(&line["instruction"]))
            .map(String::as_str)
    };
    let is_dropped = |line: &Value| found(line).is_some();
    let mut groups: BTreeMap<u64, Vec<&Value>> = BTreeMap::new();
    let mut misses = Vec::new();
    for line in lines {
        let expect = (line["drop"] == true).then_some(reason);
        match line["group"].as_u64() {
            Some(group) => groups.entry(group).or_default().push(line),
            None if found(line) == expect => {}
            None => misses.push(format!("{:?}: {line}", found(line))),
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
        let name = format!("case-{number}");
        let dropped = judge(&home, &name, (language, "gemma", stage), &records)?;
        let misses = misses(reason, &lines, &dropped);
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

/// The codes of the built-in plugins, each plugin with its stage.
const PLUGINS: [(&str, &str, &[&str]); 8] = [
    (
        "blocked",
        "validate: {chain: [{plugin: {name: blocked}}]}",
        &["blocked_word"],
    ),
    (
        "language",
        "validate: {chain: [{plugin: {name: language}}]}",
        &["wrong_language"],
    ),
    (
        "language-strict",
        "validate: {chain: [{plugin: {name: language, config: {least_share: 0.8}}}]}",
        &["mixed_language"],
    ),
    (
        "form",
        "filter: {chain: [{plugin: {name: form}}]}",
        &[
            "template_marker",
            "several_lines",
            "list_number",
            "starts_with_punctuation",
            "starts_lower_case",
            "unbalanced_brackets",
            "unbalanced_quotes",
            "ends_with_colon",
            "cut_sentence",
        ],
    ),
    (
        "repetition",
        "validate: {chain: [{plugin: {name: repetition}}]}",
        &[
            "repeated_sentence",
            "repeated_run",
            "repeated_ngrams",
            "output_copies_instruction",
        ],
    ),
    (
        "structured",
        "validate: {chain: [{plugin: {name: structured}}]}",
        &["bad_json", "unbalanced_code", "empty_block"],
    ),
    (
        "structured-strict",
        "validate: {chain: [{plugin: {name: structured, config: {close: false}}}]}",
        &["unclosed_block"],
    ),
    (
        "structured-json",
        "validate: {chain: [{plugin: {name: structured, config: {require_json: true}}}]}",
        &["not_json"],
    ),
];

#[test]
fn built_in_plugins_decide_labelled_lines_as_people_did() -> Result<()> {
    let home = Home::new()?;
    let daemon = home.serve(&[])?;
    home.text(&["model", "add", "tiny", &tiny_model().to_string_lossy()])?;
    let mut faults = Vec::new();
    for (plugin, stage, codes) in PLUGINS {
        for language in ["en", "zh"] {
            let mut files = Vec::new();
            for code in codes {
                // Chinese has no cases.
                if (*code, language) != ("starts_lower_case", "zh") {
                    let lines = read(&format!("tests/labelled/{code}.{language}.jsonl"))?;
                    ensure!(lines.len() >= LINES, "{code}.{language}");
                    files.push((*code, lines));
                }
            }
            let mut seen = BTreeSet::new();
            let lines = files.iter().flat_map(|(_, lines)| lines);
            let records: Vec<Value> = lines
                .map(line_record)
                .filter(|record| seen.insert(record.to_string()))
                .collect();
            let name = format!("{plugin}-{language}");
            let dropped = judge(&home, &name, (language, "tiny", stage), &records)?;
            for (code, lines) in &files {
                let misses = misses(code, lines, &dropped).into_iter();
                faults.extend(misses.map(|miss| format!("{code}.{language}: {miss}")));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    ensure!(daemon.terminate()?.success(), "{}", home.log());
    Ok(())
}
