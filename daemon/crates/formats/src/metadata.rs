//! What records may say about themselves beside their content, the same in every format.
//!
//! The fields are `task_type` (a name of [`TaskType::ALL`]), `topic` (text), `labels` (a list of texts) and `language` (`en` or
//! `zh`; found by script where it is absent). Writers add them where they are known.

use autodidact_domain::{Body, Example, Language, TaskType};
use autodidact_text::detect_language;
use serde::Serialize;

use crate::fault::{Fault, Reason, excerpt};
use crate::fields::{Fields, optional_list, optional_text, wrong_type};

/// Makes an example of a record whose format includes these fields: a wrong one refuses the record.
pub(crate) fn example_strictly(body: Body, fields: &Fields) -> Result<Example, Fault> {
    Ok(describe(
        body,
        task_type(fields)?,
        topic(fields)?,
        labels(fields)?,
        language(fields)?,
    ))
}

/// Makes an example of a record of a foreign format: fields of the same names that mean something else are ignored.
pub(crate) fn example_leniently(body: Body, fields: &Fields) -> Example {
    describe(
        body,
        task_type(fields).unwrap_or_default(),
        topic(fields).unwrap_or_default(),
        labels(fields).unwrap_or_default(),
        language(fields).unwrap_or_default(),
    )
}

/// Makes an example of a record that is labelled by these names, the task of which is known by its format. It is read as one of
/// a foreign format, save that labels that are declared must hold its own.
pub(crate) fn example_of_labels(
    body: Body,
    names: &[String],
    task_type: TaskType,
    fields: &Fields,
) -> Result<Example, Fault> {
    let declared = labels(fields)?;
    let missing = names.iter().find(|name| !declared.contains(name));
    if let (Some(name), false) = (missing, declared.is_empty()) {
        return Err(Fault::new(
            Reason::LabelNotDeclared,
            format!("one of `labels`, {}", excerpt(&declared.join(", "))),
            format!("{:?}", excerpt(name)),
        ));
    }
    let mut example = example_leniently(body, fields);
    example.task_type.get_or_insert(task_type);
    Ok(example)
}

fn describe(
    body: Body,
    task_type: Option<TaskType>,
    topic: Option<String>,
    labels: Vec<String>,
    language: Option<Language>,
) -> Example {
    let language = language.or_else(|| detect_language(&body.instruction_text()));
    Example {
        language,
        task_type,
        topic,
        labels,
        ..Example::human(body)
    }
}

fn task_type(fields: &Fields) -> Result<Option<TaskType>, Fault> {
    let Some(name) = optional_text(fields, "task_type")? else {
        return Ok(None);
    };
    let unknown = || {
        let names: Vec<&str> = TaskType::ALL.iter().map(|(_, name)| *name).collect();
        wrong_type(
            format!("one of {} in `task_type`", names.join(", ")),
            &name.into(),
        )
    };
    TaskType::from_name(name).map(Some).ok_or_else(unknown)
}

fn topic(fields: &Fields) -> Result<Option<String>, Fault> {
    Ok(optional_text(fields, "topic")?
        .filter(|topic| !topic.trim().is_empty())
        .map(str::to_string))
}

fn labels(fields: &Fields) -> Result<Vec<String>, Fault> {
    let items = optional_list(fields, "labels")?.unwrap_or_default();
    let label = |item: &serde_json::Value| match item.as_str() {
        Some(label) if !label.trim().is_empty() => Ok(label.to_string()),
        _ => Err(wrong_type("texts in the list `labels`", item)),
    };
    items.iter().map(label).collect()
}

fn language(fields: &Fields) -> Result<Option<Language>, Fault> {
    let Some(code) = optional_text(fields, "language")? else {
        return Ok(None);
    };
    Language::from_code(code)
        .map(Some)
        .ok_or_else(|| wrong_type("`en` or `zh` in `language`", &code.into()))
}

/// The fields as writers add them.
#[derive(Serialize)]
pub(crate) struct Metadata<'example> {
    #[serde(skip_serializing_if = "Option::is_none")]
    task_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'example str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    labels: &'example [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<&'static str>,
}

impl<'example> Metadata<'example> {
    pub(crate) fn of(example: &'example Example) -> Self {
        Self {
            task_type: example.task_type.map(TaskType::name),
            topic: example.topic.as_deref(),
            labels: &example.labels,
            language: example.language.map(Language::code),
        }
    }
}
