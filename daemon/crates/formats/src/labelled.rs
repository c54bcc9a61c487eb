//! Texts with the names of their classes.
//!
//! | field | |
//! |---|---|
//! | `text` | the text |
//! | `label` | the name of its class; a class's number is refused |
//! | `labels` | our own: the names of all classes; may be absent |
//!
//! The task type is `classification` where `task_type` is absent.

use autodidact_domain::{Body, Example, TaskType};
use serde::Serialize;
use serde_json::Value;

use crate::fault::Fault;
use crate::fields::{Fields, required_text, wrong_type};
use crate::format::{Format, Write, held_elsewhere, is_task, to_line};
use crate::metadata::{Metadata, example_of_labels};
use crate::tagged::{has_tags, refuse_label_beside_tags};

pub(crate) const FORMAT: Format = Format {
    name: "labelled",
    fields: "text, label",
    recognises,
    read,
    write: Some(Write::lines(write)),
};

fn recognises(fields: &Fields) -> bool {
    fields.contains_key("text")
        && fields.contains_key("label")
        && !has_tags(fields)
        && !is_task(fields)
}

fn read(fields: &Fields) -> Result<Example, Fault> {
    refuse_label_beside_tags(fields)?;
    let text = required_text(fields, "text")?.to_string();
    let label = label(fields)?.to_string();
    let names = [label.clone()];
    let body = Body::Labelled { text, label };
    example_of_labels(body, &names, TaskType::Classification, fields)
}

fn label(fields: &Fields) -> Result<&str, Fault> {
    match fields.get("label") {
        Some(number @ Value::Number(_)) => Err(wrong_type(
            "the label's name as a string `label`, not its number",
            number,
        )),
        _ => required_text(fields, "label"),
    }
}

/// A record as it is written.
#[derive(Serialize)]
struct Record<'example> {
    text: &'example str,
    label: &'example str,
    #[serde(flatten)]
    metadata: Metadata<'example>,
}

fn write(example: &Example, _position: usize) -> Result<String, &'static str> {
    match &example.body {
        Body::Labelled { text, label } => Ok(to_line(&Record {
            text,
            label,
            metadata: Metadata::of(example),
        })),
        other => Err(held_elsewhere(other)),
    }
}
