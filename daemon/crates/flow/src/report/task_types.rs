//! The held-out tasks by type, each type with its own measures.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use autodidact_domain::random::derive_seed;
use autodidact_domain::report::{Interval, TaskTypeReport};
use autodidact_domain::{Body, Example, ExampleId, TaskType};
use autodidact_text::{
    chrf, macro_f1, micro_span_f1, normalize, parse_spans, span_f1, tagged_spans, task_type_of,
};

use crate::stages::evaluate::TaskResult;
use crate::statistics::{mean, mean_interval, percentile_interval, wilson_interval};

/// The name under which tasks of no type stand.
const UNKNOWN: &str = "unknown";

/// An answered task beside the task itself, which holds reference and labels.
type Answered<'a> = (&'a TaskResult, &'a Example);

/// Sums results up by task type. Measures come from the answers in the journal and the references in the pinned dataset.
pub(crate) fn by_task_type(
    results: &[TaskResult],
    tasks: &HashMap<ExampleId, &Example>,
    seed: u64,
) -> BTreeMap<String, TaskTypeReport> {
    let mut types: BTreeMap<Option<TaskType>, Vec<Answered<'_>>> = BTreeMap::new();
    for result in results {
        if let Some(&task) = tasks.get(&result.id) {
            let task_type = task_type_of(result.task_type, &task.labels);
            types.entry(task_type).or_default().push((result, task));
        }
    }
    types
        .into_iter()
        .map(|(task_type, answered)| {
            let name = task_type.map_or(UNKNOWN, TaskType::name).to_string();
            let seed = derive_seed(seed, &["metric", &name]);
            let report = summarize_type(task_type, &answered, seed);
            (name, report)
        })
        .collect()
}

fn summarize_type(
    task_type: Option<TaskType>,
    answered: &[Answered<'_>],
    seed: u64,
) -> TaskTypeReport {
    let mut report = TaskTypeReport {
        n: answered.len() as u64,
        succeeded: answered.iter().filter(|(result, _)| result.success).count() as u64,
        ..TaskTypeReport::default()
    };
    let share = wilson_interval(report.succeeded, report.n);
    report.intervals.insert("success_rate".to_string(), share);
    let mut put = |name: &str, (value, interval): (f64, Interval)| {
        report.metrics.insert(name.to_string(), value);
        report.intervals.insert(name.to_string(), interval);
    };
    match task_type {
        Some(TaskType::Classification) => {
            let pairs = label_pairs(answered);
            put("accuracy", accuracy(&pairs));
            put("macro_f1", macro_f1_with_interval(&pairs, seed));
        }
        Some(TaskType::Extraction) if answered.iter().all(is_tagged) => {
            put("accuracy", tag_accuracy(answered));
            put("span_f1", tag_span_f1(answered, seed));
        }
        Some(TaskType::Extraction) => put("span_f1", mean_of(answered, seed, span_score)),
        Some(TaskType::Translation) => put(
            "chrf",
            mean_of(answered, seed, |(result, task)| {
                chrf(&result.answer, &reference(task))
            }),
        ),
        _ => put(
            "rouge_l",
            mean_of(answered, seed, |(result, _)| result.rouge_l),
        ),
    }
    report
}

fn reference(task: &Example) -> Cow<'_, str> {
    task.body.question().1
}

fn mean_of(
    answered: &[Answered<'_>],
    seed: u64,
    score: impl Fn(&Answered<'_>) -> f64,
) -> (f64, Interval) {
    let scores: Vec<f64> = answered.iter().map(score).collect();
    (mean(&scores), mean_interval(&scores, seed))
}

fn span_score((result, task): &Answered<'_>) -> f64 {
    span_f1(&parse_spans(&result.answer), &parse_spans(&reference(task)))
}

fn is_tagged((_, task): &Answered<'_>) -> bool {
    matches!(task.body, Body::Tagged { .. })
}

/// Pairs the tags of an answer with the right ones; words that it gives none have an empty one.
fn tag_pairs<'a>((result, task): &Answered<'a>) -> Vec<(&'a str, &'a str)> {
    let Body::Tagged { tags, .. } = &task.body else {
        return Vec::new();
    };
    let found = result.answer.split_whitespace();
    let found = found.chain(std::iter::repeat(""));
    found.zip(tags.iter().map(String::as_str)).collect()
}

/// The share of words with the right tag.
fn tag_accuracy(answered: &[Answered<'_>]) -> (f64, Interval) {
    let pairs: Vec<(&str, &str)> = answered.iter().flat_map(tag_pairs).collect();
    let right = pairs.iter().filter(|(found, right)| found == right).count();
    (
        right as f64 / pairs.len().max(1) as f64,
        wilson_interval(right as u64, pairs.len() as u64),
    )
}

/// F1 over the entities of all sentences.
fn tag_span_f1(answered: &[Answered<'_>], seed: u64) -> (f64, Interval) {
    let sentences = answered.iter().map(|answered| {
        let (found, right): (Vec<&str>, Vec<&str>) = tag_pairs(answered).into_iter().unzip();
        let found = found
            .into_iter()
            .map(|tag| if tag.is_empty() { "O" } else { tag });
        (tagged_spans(found), tagged_spans(right))
    });
    let sentences: Vec<_> = sentences.collect();
    let resampled = |indices: &mut dyn Iterator<Item = usize>| {
        micro_span_f1(indices.map(|index| &sentences[index]))
    };
    (
        micro_span_f1(&sentences),
        percentile_interval(sentences.len(), seed, resampled),
    )
}

/// Numbers the labels, and pairs each answer's with its reference's; an answer that is no label has none. Case, width and marks
/// around a label do not matter, unless labels differ in nothing else.
fn label_pairs(answered: &[Answered<'_>]) -> Vec<(Option<usize>, usize)> {
    let mut labels: BTreeSet<String> = BTreeSet::new();
    for (_, task) in answered {
        labels.extend(task.labels.iter().cloned());
        labels.insert(reference(task).into_owned());
    }
    let normal: BTreeSet<String> = labels.iter().map(|label| normalize(label)).collect();
    let are_apart = normal.len() == labels.len();
    let key = |label: &str| match are_apart {
        true => normalize(label),
        false => label.trim().to_string(),
    };
    let numbers = labels.iter().map(|label| key(label));
    let numbers: HashMap<String, usize> = numbers.zip(0..).collect();
    let pair = |(result, task): &Answered<'_>| {
        let answer = key(&result.answer);
        let predicted = numbers.get(&answer).copied();
        let right = numbers.get(&key(&reference(task))).copied();
        (
            predicted.filter(|_| !answer.is_empty()),
            right.unwrap_or_default(),
        )
    };
    answered.iter().map(pair).collect()
}

fn accuracy(pairs: &[(Option<usize>, usize)]) -> (f64, Interval) {
    let right = pairs.iter().filter(|(p, r)| *p == Some(*r)).count();
    (
        right as f64 / pairs.len().max(1) as f64,
        wilson_interval(right as u64, pairs.len() as u64),
    )
}

fn macro_f1_with_interval(pairs: &[(Option<usize>, usize)], seed: u64) -> (f64, Interval) {
    let resampled =
        |indices: &mut dyn Iterator<Item = usize>| macro_f1(indices.map(|index| pairs[index]));
    (
        macro_f1(pairs.iter().copied()),
        percentile_interval(pairs.len(), seed, resampled),
    )
}

#[cfg(test)]
mod tests {
    use autodidact_domain::Language;

    use super::*;

    /// Sums up answers to tasks of one type, each (answer, reference).
    fn report(
        task_type: Option<TaskType>,
        labels: &[&str],
        pairs: &[(&str, &str)],
    ) -> BTreeMap<String, TaskTypeReport> {
        let tasks: Vec<Example> = pairs
            .iter()
            .enumerate()
            .map(|(i, (_, reference))| Example {
                task_type,
                labels: labels.iter().map(ToString::to_string).collect(),
                ..Example::human(Body::instruction(&format!("Task {i}."), "", reference))
            })
            .collect();
        let results: Vec<TaskResult> = tasks
            .iter()
            .zip(pairs)
            .map(|(task, (answer, reference))| TaskResult {
                id: task.id,
                language: Language::En,
                task_type,
                answer: answer.to_string(),
                negative_log_likelihood: 1.0,
                tokens: 1,
                rouge_l: autodidact_text::rouge_l(
                    &autodidact_text::tokenize(answer),
                    &autodidact_text::tokenize(reference),
                ),
                success: autodidact_text::succeeds(task_type, &task.labels, answer, reference),
            })
            .collect();
        let by_id = tasks.iter().map(|task| (task.id, task)).collect();
        by_task_type(&results, &by_id, 1)
    }

    #[test]
    fn every_type_has_its_own_measures() {
        let check =
            |task_type, pairs: &[(&str, &str)], name: &str, n: u64, expect: &[(&str, f64)]| {
                let types = report(task_type, &[], pairs);
                let found = &types[name];
                assert_eq!((types.len(), found.n), (1, n));
                let names: Vec<&str> = expect.iter().map(|(name, _)| *name).collect();
                assert_eq!(found.metrics.keys().collect::<Vec<_>>(), names);
                for (metric, value) in expect {
                    let (found, interval) = (found.metrics[*metric], found.intervals[*metric]);
                    assert!((found - value).abs() < 1e-9, "{name} {metric}: {found}");
                    assert!(interval.low <= *value && *value <= interval.high, "{name}");
                }
            };
        // "yes" has one match, one prediction and two references, F1 2/3; "no" has 1; "perhaps" is no label.
        check(
            Some(TaskType::Classification),
            &[("Yes.", "yes"), ("perhaps", "yes"), ("no", "no")],
            "classification",
            3,
            &[
                ("accuracy", 2.0 / 3.0),
                ("macro_f1", (2.0 / 3.0 + 1.0) / 2.0),
            ],
        );
        check(
            Some(TaskType::Extraction),
            &[
                ("Chile, Peru", "Chile; Norway"),
                ("白鹭、田鼠", "白鹭；田鼠"),
            ],
            "extraction",
            2,
            &[("span_f1", 0.75)],
        );
        check(
            Some(TaskType::Translation),
            &[("谢谢您。", "谢谢您。"), ("xyz", "abc")],
            "translation",
            2,
            &[("chrf", 50.0)],
        );
        check(
            Some(TaskType::Conversation),
            &[("one two", "one two"), ("one", "two")],
            "conversation",
            2,
            &[("rouge_l", 0.5)],
        );
        check(None, &[("one", "one")], "unknown", 1, &[("rouge_l", 1.0)]);
    }

    #[test]
    fn declared_labels_make_a_classification_and_count_where_they_are_predicted() {
        let types = report(None, &["yes", "no"], &[("yes", "yes"), ("no", "yes")]);
        let found = &types["classification"];
        assert_eq!((found.n, found.succeeded), (2, 1));
        // "yes": one match, one prediction, two references: 2/3; "no" is declared, predicted and never right: 0.
        assert!((found.metrics["macro_f1"] - 1.0 / 3.0).abs() < 1e-9);
    }
}
