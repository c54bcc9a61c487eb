//! Task files of Super-NaturalInstructions: one JSON object a task, with many examples of it.
//!
//! | field | |
//! |---|---|
//! | `Definition` | what to do, as text or a list of texts of which the first counts |
//! | `Instances` | a list of `{input, output}`; `input` may be absent, null or empty, `output` is a text or a list of right answers, of which the first that says something counts |
//! | `Positive Examples`, `Negative Examples` | passed over: they explain the definition to people and prompts, the negative ones by what is wrong |
//!
//! Every instance is an example of its own: the definition is its instruction.

use autodidact_domain::{Body, Example};
use serde_json::Value;

use crate::container::{Container, Content, Record, Records};
use crate::fault::{Fault, Reason};
use crate::fields::{Fields, optional_text, required_text, wrong_type};
use crate::format::{Format, is_told_as};
use crate::json::parse_object;
use crate::layout::{self, RawRecord};
use crate::mapping::Mapping;
use crate::metadata::example_leniently;
use crate::scan::{Entry, entries};

/// A task file as a container of records, each with the task's definition.
pub(crate) const CONTAINER: Container = Container {
    name: "a Super-NaturalInstructions task file",
    recognises: |content, _| task(content.text()).is_some(),
    records,
};

pub(crate) const FORMAT: Format = Format {
    name: "natural-instructions",
    fields: "Definition, input?, output",
    recognises: |fields| is_told_as("natural-instructions", fields),
    read,
    write: None,
};

/// Where a task file's parts lie.
struct Task<'text> {
    definition: Entry<'text>,
    /// Where the list of instances starts.
    instances: usize,
}

fn task(text: &str) -> Option<Task<'_>> {
    let (mut definition, mut instances) = (None, None);
    for entry in entries(text) {
        match entry.key {
            "Definition" => definition = Some(entry),
            "Instances" if text[entry.value..].starts_with('[') => instances = Some(entry),
            _ => {}
        }
    }
    Some(Task {
        definition: definition?,
        instances: instances?.value,
    })
}

fn records<'file>(content: &'file Content<'_>, mapping: &'file Mapping) -> Records<'file> {
    let text = content.text();
    let Some(task) = task(text) else {
        return Box::new(std::iter::empty());
    };
    let definition =
        serde_json::from_str::<Value>(&text[task.definition.value..task.definition.end]);
    let definition = definition.unwrap_or_default();
    let records = layout::Records::of_list(text, task.instances);
    Box::new(records.map(move |RawRecord { line, content }| {
        let fields = content.and_then(parse_object).map(|instance| {
            let mut fields = mapping.apply(instance);
            fields.insert("Definition".to_string(), definition.clone());
            fields
        });
        Record { line, fields }
    }))
}

fn read(fields: &Fields) -> Result<Example, Fault> {
    let instruction = first_text(fields, "Definition")?;
    let input = optional_text(fields, "input")?.unwrap_or("");
    let output = first_text(fields, "output")?;
    Ok(example_leniently(
        Body::instruction(instruction, input, output),
        fields,
    ))
}

/// A text, or the first of a list that says something.
fn first_text<'fields>(fields: &'fields Fields, name: &str) -> Result<&'fields str, Fault> {
    let Some(Value::Array(items)) = fields.get(name) else {
        return required_text(fields, name);
    };
    if let Some(other) = items.iter().find(|item| !item.is_string()) {
        return Err(wrong_type(format!("texts in the list `{name}`"), other));
    }
    let mut texts = items.iter().filter_map(Value::as_str);
    texts.find(|text| !text.trim().is_empty()).ok_or_else(|| {
        Fault::new(
            Reason::EmptyField,
            format!("a text in the list `{name}`"),
            format!("a list of {} items that say nothing", items.len()),
        )
    })
}
