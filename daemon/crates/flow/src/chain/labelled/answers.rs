//! Answers that people labelled, and those of the tasks that come with the project, through the checks as workflows run them.

use std::path::Path;

use autodidact_domain::workflow::{Check, ChecksSpec, ConsistencySpec};
use autodidact_domain::{Body, Completion, FinishReason, Language, TaskType, Verdict};
use serde::Deserialize;

use super::{Labelled, check, folder, lines};
use crate::chain::consistency::{self, Judgement};
use crate::chain::correction::Corrections;
use crate::chain::{ChainRecord, checks};
use crate::stages::respond::{Instance, settle};

/// A line of `tests/labelled/REASON.LANGUAGE.jsonl`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    instruction: String,
    #[serde(default)]
    input: String,
    #[serde(default)]
    output: String,
    #[serde(default)]
    task_type: Option<TaskType>,
    #[serde(default)]
    labels: Vec<String>,
    /// What it is corrected into, where it is.
    #[serde(default)]
    corrected: Option<String>,
    /// What the model answered again.
    #[serde(default)]
    answers: Vec<String>,
    /// The instances of the instruction, the last of which is looked at where single ones are dropped.
    #[serde(default)]
    instances: Vec<Pair>,
    drop: bool,
}

impl Labelled for Line {
    fn is_one(&self) -> bool {
        self.drop || self.corrected.is_some()
    }

    fn shown(&self) -> String {
        format!("{} | {} | {}", self.instruction, self.input, self.output)
    }
}

#[derive(Deserialize)]
struct Pair {
    input: String,
    output: String,
}

/// The reasons of this file's lines.
pub(super) fn reasons() -> Vec<&'static str> {
    let others = [
        "corrected",
        "inconsistent",
        "conflicting_outputs",
        "duplicate_instance",
    ];
    Check::ALL
        .iter()
        .map(|check| check.code())
        .chain(others)
        .collect()
}

fn record(line: &Line, language: Language) -> ChainRecord {
    let id = Body::instruction(&line.instruction, &line.input, &line.output).id();
    ChainRecord {
        input: line.input.clone(),
        output: line.output.clone(),
        task_type: line.task_type,
        labels: line.labels.clone(),
        ..ChainRecord::instruction(id, &line.instruction, language)
    }
}

/// Checks a record; gives the drop, and the answer as the checks leave it.
fn checked(record: ChainRecord) -> (Option<Verdict>, String) {
    let mut records = [record];
    let mut corrections = Corrections::none(1);
    let spec = ChecksSpec::default();
    let before = records[0].output.clone();
    let drops = checks::judge(&spec, &mut records, &[true], &mut corrections);
    let is_changed = records[0].output != before;
    assert_eq!(
        corrections.has(0),
        is_changed,
        "what is changed is noted: {before:?}"
    );
    let [record] = records;
    (drops.into_iter().next().flatten(), record.output)
}

/// Settles instances; gives the instruction's verdict, and whether the last instance is kept.
fn settle_pairs(pairs: &[Pair]) -> (Verdict, bool) {
    let told = |pair: &Pair| {
        let completion = Completion {
            text: pair.output.clone(),
            finish: FinishReason::Eos,
            prompt_tokens: 1,
            completion_tokens: 1,
            logprobs: Vec::new(),
        };
        Instance::new(pair.input.clone(), Some(pair.output.clone()), completion)
    };
    let instances: Vec<Instance> = pairs.iter().map(told).collect();
    let settled = settle(&instances);
    let last = instances
        .len()
        .checked_sub(1)
        .expect("a line has instances");
    (settled.verdict, settled.kept.contains(&last))
}

/// Tells where a line is decided otherwise than people did.
fn miss(reason: &str, language: Language, line: &Line) -> Option<String> {
    let found = match reason {
        "inconsistent" => {
            let record = record(line, language);
            match consistency::compare(&ConsistencySpec::default(), &record, &line.answers) {
                Judgement::Drop(verdict) => Some(verdict.reason),
                Judgement::Agrees | Judgement::Replace { .. } => None,
            }
        }
        "conflicting_outputs" => {
            let (verdict, _) = settle_pairs(&line.instances);
            Some(verdict.reason).filter(|reason| reason != "kept")
        }
        "duplicate_instance" => {
            let (verdict, is_kept) = settle_pairs(&line.instances);
            let note = verdict.evidence.note.unwrap_or_default();
            let is_told = note.ends_with(reason);
            (!is_kept && is_told).then(|| reason.to_string())
        }
        _ => {
            let (drop, output) = checked(record(line, language));
            let expect = line.corrected.as_ref().unwrap_or(&line.output);
            if reason == "corrected" && drop.is_none() && output != *expect {
                return Some(format!("corrected into {output:?}, not {expect:?}"));
            }
            drop.map(|verdict| verdict.reason)
        }
    };
    let expect = line.drop.then(|| reason.to_string());
    (found != expect).then(|| format!("{found:?}, not {expect:?}"))
}

#[test]
fn labelled_answers_are_decided_as_people_did() {
    check(reasons().into_iter(), miss);
}

/// What people wrote stays as it is, every answer of it.
#[test]
fn answers_of_the_example_tasks_are_neither_dropped_nor_corrected() {
    let mut changed = Vec::new();
    for (name, language) in [("en", Language::En), ("zh", Language::Zh)] {
        for part in ["seeds", "heldout"] {
            let path = format!("../../../examples/data/{part}-{name}.jsonl");
            for task in lines(&folder(&path)) {
                let text =
                    |value: &serde_json::Value| value.as_str().unwrap_or_default().to_string();
                let labels = task["labels"].as_array().into_iter().flatten();
                let labels: Vec<String> = labels.map(text).collect();
                let name = task["task_type"].as_str().expect("a task has a type");
                for instance in task["instances"].as_array().expect("a task has instances") {
                    // With its labels, and as a model would have written it.
                    for labels in [labels.clone(), Vec::new()] {
                        let line = Line {
                            instruction: text(&task["instruction"]),
                            input: text(&instance["input"]),
                            output: text(&instance["output"]),
                            task_type: TaskType::from_name(name),
                            labels,
                            corrected: None,
                            answers: Vec::new(),
                            instances: Vec::new(),
                            drop: false,
                        };
                        let (drop, output) = checked(record(&line, language));
                        if drop.is_some() || output != line.output {
                            changed.push(format!("{}: {drop:?} {output:?}", line.instruction));
                        }
                    }
                }
            }
        }
    }
    assert!(Path::new(&folder("tests/labelled")).is_dir());
    assert!(changed.is_empty(), "{changed:#?}");
}

#[test]
fn without_corrections_a_wrong_form_drops_and_a_mere_difference_stays() {
    let decide = |output: &str, spec: &ChecksSpec| {
        let line = Line {
            instruction: "Rate the review.".into(),
            input: "Lovely!".into(),
            output: output.into(),
            task_type: Some(TaskType::Classification),
            labels: vec!["positive".into(), "negative".into()],
            corrected: None,
            answers: Vec::new(),
            instances: Vec::new(),
            drop: false,
        };
        let mut records = [record(&line, Language::En)];
        let mut corrections = Corrections::none(1);
        let drops = checks::judge(spec, &mut records, &[true], &mut corrections);
        assert_eq!(records[0].output, output);
        drops[0].as_ref().map(|drop| drop.reason.clone())
    };
    let strict = ChecksSpec {
        correct: false,
        except: Vec::new(),
    };
    assert_eq!(decide("Positive.", &strict), None);
    assert_eq!(
        decide("Label: positive", &strict).as_deref(),
        Some("label_not_in_set")
    );
    let lax = ChecksSpec {
        correct: false,
        except: vec![Check::LabelNotInSet],
    };
    assert_eq!(decide("Label: positive", &lax), None);
}

#[test]
fn most_answers_replace_a_short_one_and_say_so() {
    let line = |output: &str, labels: &[&str]| Line {
        instruction: "What is 17 + 25?".into(),
        input: String::new(),
        output: output.into(),
        task_type: None,
        labels: labels.iter().map(ToString::to_string).collect(),
        corrected: None,
        answers: Vec::new(),
        instances: Vec::new(),
        drop: false,
    };
    let compare = |output: &str, labels: &[&str], answers: &[&str], spec: &ConsistencySpec| {
        let record = record(&line(output, labels), Language::En);
        let answers: Vec<String> = answers.iter().map(ToString::to_string).collect();
        consistency::compare(spec, &record, &answers)
    };
    let spec = ConsistencySpec::default();
    let Judgement::Replace { output, done } = compare("41", &[], &["42", "42.", "41"], &spec)
    else {
        panic!("two of three say otherwise");
    };
    assert_eq!(output, "42");
    assert!(done.contains("\"41\"") && done.contains("0.33"), "{done}");
    // A label that is none of the set replaces nothing.
    let found = compare(
        "yes",
        &["yes", "no"],
        &["perhaps", "perhaps", "perhaps"],
        &spec,
    );
    assert!(matches!(found, Judgement::Drop(_)));
    let strict = ConsistencySpec {
        correct: false,
        ..spec
    };
    let Judgement::Drop(verdict) = compare("41", &[], &["42", "42.", "41"], &strict) else {
        panic!("nothing may be replaced");
    };
    assert_eq!(verdict.reason, "inconsistent");
    let note = verdict.evidence.note.unwrap_or_default();
    assert!(note.contains("\"42.\""), "{note}");
}
