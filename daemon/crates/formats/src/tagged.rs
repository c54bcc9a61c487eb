//! Sentences in words, each with a tag, as named entities and parts of speech are told in the datasets of Hugging Face.
//!
//! | field | |
//! |---|---|
//! | `tokens` | a list of words, at least one; none is blank or has white space at its ends |
//! | `ner_tags` or `tags` | a list of as many names, without white space; a dataset's numbers are refused |
//! | `labels` | our own: the names of all tags; may be absent |
//!
//! The task type is `extraction` where `task_type` is absent.

use autodidact_domain::{Body, Example, TaskType};
use serde::Serialize;
use serde_json::Value;

use crate::fault::{Fault, Reason, describe, describe_keys};
use crate::fields::{Fields, optional_list, required_list, wrong_type};
use crate::format::{Format, Write, held_elsewhere, is_task, to_line};
use crate::metadata::{Metadata, example_of_labels};

pub(crate) const FORMAT: Format = Format {
    name: "tagged",
    fields: "tokens, ner_tags or tags",
    recognises,
    read,
    write: Some(Write::lines(write)),
};

/// Where tags may stand; writers take the first.
const TAGS: [&str; 2] = ["ner_tags", "tags"];

/// Tells whether words and tags stand in a record. Elsewhere `tokens` may be a count, and `tags` may describe a text.
pub(crate) fn has_tags(fields: &Fields) -> bool {
    fields.get("tokens").is_some_and(Value::is_array)
        && TAGS.iter().any(|field| fields.contains_key(*field))
}

/// Refuses a text with both a label and tags of words: either could be what is learnt.
pub(crate) fn refuse_label_beside_tags(fields: &Fields) -> Result<(), Fault> {
    let is_labelled = fields.contains_key("text") && fields.contains_key("label");
    if !is_labelled || !has_tags(fields) {
        return Ok(());
    }
    Err(Fault::new(
        Reason::UnknownFormat,
        "either `text` and `label`, or `tokens` and tags",
        describe_keys(fields),
    ))
}

fn recognises(fields: &Fields) -> bool {
    let may_have_text = has_tags(fields) && !fields.contains_key("label");
    fields.contains_key("tokens")
        && !is_task(fields)
        && (may_have_text || !fields.contains_key("text"))
}

fn read(fields: &Fields) -> Result<Example, Fault> {
    refuse_label_beside_tags(fields)?;
    let tokens = words(required_list(fields, "tokens")?)?;
    let tags = tags(fields, tokens.len())?;
    let names = tags.clone();
    let body = Body::Tagged { tokens, tags };
    example_of_labels(body, &names, TaskType::Extraction, fields)
}

fn words(items: &[Value]) -> Result<Vec<String>, Fault> {
    if items.is_empty() {
        return Err(Fault::new(
            Reason::EmptyField,
            "words in `tokens`",
            "an empty list",
        ));
    }
    items.iter().map(word).collect()
}

fn word(item: &Value) -> Result<String, Fault> {
    let Value::String(word) = item else {
        return Err(wrong_type("texts in the list `tokens`", item));
    };
    if word.trim().is_empty() {
        return Err(Fault::new(
            Reason::EmptyField,
            "text in every word of `tokens`",
            describe(item),
        ));
    }
    if word.trim() != word {
        return Err(wrong_type(
            "words without white space at their ends in `tokens`",
            item,
        ));
    }
    Ok(word.clone())
}

/// Takes the tags of so many words.
fn tags(fields: &Fields, words: usize) -> Result<Vec<String>, Fault> {
    let [first, second] = TAGS;
    let (name, items) = match (
        optional_list(fields, first)?,
        optional_list(fields, second)?,
    ) {
        (Some(items), None) => (first, items),
        (None, Some(items)) => (second, items),
        (None, None) => (first, required_list(fields, first)?),
        (Some(_), Some(_)) => {
            let expected = format!("either `{first}` or `{second}`");
            return Err(Fault::new(Reason::UnknownFormat, expected, "both"));
        }
    };
    if items.len() != words {
        return Err(Fault::new(
            Reason::WrongLength,
            format!("a tag in `{name}` for each of {words} words"),
            format!("a list of {} items", items.len()),
        ));
    }
    items.iter().map(|item| tag(name, item)).collect()
}

fn tag(field: &str, item: &Value) -> Result<String, Fault> {
    match item {
        Value::String(tag) if tag.is_empty() => Err(Fault::new(
            Reason::EmptyField,
            format!("a name for every tag in `{field}`"),
            "an empty string",
        )),
        Value::String(tag) if tag.contains(char::is_whitespace) => Err(wrong_type(
            format!("names without white space in `{field}`"),
            item,
        )),
        Value::String(tag) => Ok(tag.clone()),
        Value::Number(_) => Err(wrong_type(
            format!(
                "names in `{field}`, not numbers: those that the dataset's ClassLabel gives them"
            ),
            item,
        )),
        _ => Err(wrong_type(format!("names in the list `{field}`"), item)),
    }
}

/// A record as it is written.
#[derive(Serialize)]
struct Record<'example> {
    tokens: &'example [String],
    ner_tags: &'example [String],
    #[serde(flatten)]
    metadata: Metadata<'example>,
}

fn write(example: &Example, _position: usize) -> Result<String, &'static str> {
    match &example.body {
        Body::Tagged { tokens, tags } => Ok(to_line(&Record {
            tokens,
            ner_tags: tags,
            metadata: Metadata::of(example),
        })),
        other => Err(held_elsewhere(other)),
    }
}
