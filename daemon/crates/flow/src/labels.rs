//! The labels of a task with a head: declared, an earlier adapter's, or those of the data.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};

use autodidact_domain::ports::Ports;
use autodidact_domain::training::{MAX_LABELS, shown_labels};
use autodidact_domain::workflow::Pinned;
use autodidact_domain::{
    Body, CheckpointSummary, ClassifyInput, DatasetSummary, Example, TrainTask, WorkflowSpec,
};

use crate::run::read_dataset;
use crate::spec::{Fault, nearest_name};

/// The longest label that is found in data, in bytes.
const MAX_LABEL_BYTES: usize = 256;

/// An example is of another kind than the task takes.
pub(crate) const OTHER_KIND: &str = "other_kind";
/// An example has a label that is none of the task's.
pub(crate) const OTHER_LABEL: &str = "label_not_declared";

/// Lists what an example is to be given by a head: a text's label, or its words' tags; none where the task does not take it.
pub(crate) fn labels_of(task: TrainTask, body: &Body) -> Option<Vec<&str>> {
    match (task, body) {
        (TrainTask::SequenceClassification, body) => Some(vec![body.labelled()?.1]),
        (TrainTask::TokenClassification, Body::Tagged { tags, .. }) => {
            Some(tags.iter().map(String::as_str).collect())
        }
        _ => None,
    }
}

/// Shows what of an example a head is given.
pub(crate) fn input_of(task: TrainTask, body: &Body) -> Option<ClassifyInput> {
    match (task, body) {
        (TrainTask::SequenceClassification, body) => {
            Some(ClassifyInput::Text(body.labelled()?.0.into_owned()))
        }
        (TrainTask::TokenClassification, Body::Tagged { tokens, .. }) => {
            Some(ClassifyInput::Words(tokens.clone()))
        }
        _ => None,
    }
}

/// Tells why a task leaves an example out, where it does.
pub(crate) fn misfit(task: TrainTask, labels: &[String], body: &Body) -> Option<&'static str> {
    if !task.has_head() {
        return None;
    }
    match labels_of(task, body) {
        None => Some(OTHER_KIND),
        Some(found) => {
            let is_known = |label: &&str| labels.iter().any(|known| known == label);
            (!found.iter().all(is_known)).then_some(OTHER_LABEL)
        }
    }
}

/// What a workflow's labels are found in: a field of its file, and the dataset that it names.
type Source<'a> = (&'static str, Option<&'a DatasetSummary>);

/// Names what labels are found in by the fields of a workflow's file.
pub(crate) fn sources<'a>(
    seeds: Option<&'a DatasetSummary>,
    held_out: Option<&'a DatasetSummary>,
    eval_dataset: Option<&'a DatasetSummary>,
) -> [Source<'a>; 3] {
    [
        ("seeds", seeds),
        ("held_out", held_out),
        ("stages.train.eval_dataset", eval_dataset),
    ]
}

/// Finds the labels of a workflow's task; none where it has no head.
///
/// Where they are declared, or an adapter that the run begins with has them, every label of the data must be one of them. Else they
/// are those of the data, in the order of their code points.
///
/// # Errors
/// A fault for every dataset that holds others, or nothing that the task takes.
pub(crate) fn resolve(
    ports: &Ports,
    spec: &WorkflowSpec,
    sources: [Source<'_>; 3],
    start: Option<&CheckpointSummary>,
) -> Result<Vec<String>, Vec<Fault>> {
    let Some(train) = &spec.stages.train else {
        return Ok(Vec::new());
    };
    let task = train.options.task_type;
    if !task.has_head() {
        return Ok(Vec::new());
    }
    let mut declared = train.options.labels.clone();
    let of_start = start.and_then(|start| start.meta.adapter_config["labels"].as_array());
    if let (true, Some(names)) = (declared.is_empty(), of_start) {
        let names = names.iter().filter_map(|name| name.as_str());
        declared = names.map(String::from).collect();
    }
    let (mut collected, mut faults) = (BTreeSet::new(), Vec::new());
    for (path, summary) in sources {
        let Some(summary) = summary else { continue };
        let examples = match read_dataset(ports, Some(summary)) {
            Ok(examples) => examples,
            Err(error) => {
                faults.push(fault(
                    path,
                    format!("it cannot be read: {error}"),
                    "",
                    summary,
                ));
                continue;
            }
        };
        faults.extend(look_at(task, &declared, &examples, path, summary));
        let found = examples.iter();
        let found = found.filter_map(|example| labels_of(task, &example.body));
        collected.extend(found.flatten().map(String::from));
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    match declared.is_empty() {
        true => checked(collected),
        false => Ok(declared),
    }
}

/// Refuses what can hardly be labels.
fn checked(collected: BTreeSet<String>) -> Result<Vec<String>, Vec<Fault>> {
    let longest = collected.iter().max_by_key(|label| label.len());
    let bytes = longest.map_or(0, String::len);
    if collected.len() <= MAX_LABELS && bytes <= MAX_LABEL_BYTES {
        return Ok(collected.into_iter().collect());
    }
    let start: String = longest.map_or(String::new(), |label| label.chars().take(60).collect());
    Err(vec![Fault {
        path: "stages.train.labels".into(),
        message: format!(
            "the data has {} different labels, the longest of {bytes} bytes: {start:?}; these seem to be answers",
            collected.len()
        ),
        expected: format!("at most {MAX_LABELS} labels of at most {MAX_LABEL_BYTES} bytes"),
        found: format!("{} labels", collected.len()),
        ..Fault::default()
    }])
}

/// Finds the labels of a workflow whose datasets are pinned; there have to be two of them where it trains a head.
///
/// # Errors
/// As [`resolve`].
pub(crate) fn of_pinned(
    ports: &Ports,
    spec: &WorkflowSpec,
    pinned: &Pinned,
    start: Option<&CheckpointSummary>,
) -> Result<Vec<String>, Vec<Fault>> {
    let sources = sources(
        pinned.seeds.as_ref(),
        pinned.held_out.as_ref(),
        pinned.eval_dataset.as_ref(),
    );
    let labels = resolve(ports, spec, sources, start)?;
    match too_few(spec, pinned.seeds.as_ref(), &labels) {
        Some(fault) => Err(vec![fault]),
        None => Ok(labels),
    }
}

/// Finds the fault of a task with a head that has nothing to tell apart. A dataset that is still to come is looked at then.
pub(crate) fn too_few(
    spec: &WorkflowSpec,
    seeds: Option<&DatasetSummary>,
    labels: &[String],
) -> Option<Fault> {
    let train = spec.stages.train.as_ref()?;
    let trains_head = train.options.task_type.has_head() && seeds.is_some();
    (trains_head && labels.len() < 2).then(|| Fault {
        path: "stages.train.labels".into(),
        message: "there is nothing to tell apart".into(),
        expected: "at least two labels, declared or in the data".into(),
        found: match labels.first() {
            Some(label) => format!("{label:?} alone"),
            None => "none".into(),
        },
        ..Fault::default()
    })
}

/// Says what is wrong in one line.
pub(crate) fn told(faults: &[Fault]) -> String {
    let faults: Vec<String> = faults.iter().map(Fault::to_string).collect();
    faults.join("; ")
}

/// Looks for examples that do not fit the task, or labels that are not declared.
fn look_at(
    task: TrainTask,
    declared: &[String],
    examples: &[Example],
    path: &'static str,
    summary: &DatasetSummary,
) -> Option<Fault> {
    if !examples
        .iter()
        .any(|example| labels_of(task, &example.body).is_some())
    {
        let expected = match task {
            TrainTask::TokenClassification => "records of words with a tag each (tokens, ner_tags)",
            _ => "records of a text and its label, or instructions with a label as their answer",
        };
        let message = format!(
            "none of its {} records is one that task_type {} takes",
            examples.len(),
            task.name()
        );
        return Some(fault(path, message, expected, summary));
    }
    if declared.is_empty() {
        return None;
    }
    let known: HashSet<&str> = declared.iter().map(String::as_str).collect();
    let strange = examples.iter().enumerate().filter_map(|(place, example)| {
        let labels = labels_of(task, &example.body)?;
        let label = labels.into_iter().find(|label| !known.contains(label))?;
        Some((place, example, label))
    });
    let strange: Vec<(usize, &Example, &str)> = strange.collect();
    let (place, example, label) = strange.first()?;
    let text: Cow<'_, str> = example.body.instruction_text();
    let text: String = text.chars().take(40).collect();
    Some(Fault {
        nearest: nearest_name(label, declared.iter().map(String::as_str)),
        ..fault(
            "stages.train.labels",
            format!(
                "{} of the {} records of {} (dataset {}) have a label that is not declared, the first of them record {} ({} {text:?}) with {label:?}; correct them, or declare it",
                strange.len(),
                examples.len(),
                path,
                summary.name,
                place + 1,
                example.id.short(),
            ),
            &format!("one of {}", shown_labels(declared)),
            summary,
        )
    })
}

fn fault(path: &str, message: String, expected: &str, summary: &DatasetSummary) -> Fault {
    Fault {
        path: path.to_string(),
        message,
        expected: expected.to_string(),
        found: format!("{:?}", summary.name.as_str()),
        ..Fault::default()
    }
}
