//! Plain text, as TRL's language modelling format has it.
//!
//! | field | |
//! |---|---|
//! | `text` | the text, all of which is learnt |

use autodidact_domain::{Body, Example};
use serde::Serialize;

use crate::fault::{Fault, Reason, describe_keys};
use crate::fields::{Fields, required_text};
use crate::format::{Format, OF_TASKS, Write, held_elsewhere, is_task, to_line};
use crate::metadata::{Metadata, example_leniently};
use crate::tagged::has_tags;

pub(crate) const FORMAT: Format = Format {
    name: "text",
    fields: "text",
    recognises,
    read,
    write: Some(Write::lines(write)),
};

fn recognises(fields: &Fields) -> bool {
    fields.contains_key("text") && !has_more(fields)
}

/// Tells whether what is learnt of a record is another thing than its text.
fn has_more(fields: &Fields) -> bool {
    fields.contains_key("label") || has_tags(fields) || is_task(fields)
}

fn read(fields: &Fields) -> Result<Example, Fault> {
    if has_more(fields) {
        let expected = format!(
            "`text` without label, tags of words, {}",
            OF_TASKS.join(", ")
        );
        return Err(Fault::new(
            Reason::UnknownFormat,
            expected,
            describe_keys(fields),
        ));
    }
    let text = required_text(fields, "text")?;
    let text = text.to_string();
    Ok(example_leniently(Body::Text { text }, fields))
}

/// A record as it is written.
#[derive(Serialize)]
struct Record<'example> {
    text: &'example str,
    #[serde(flatten)]
    metadata: Metadata<'example>,
}

fn write(example: &Example, _position: usize) -> Result<String, &'static str> {
    match &example.body {
        Body::Text { text } => Ok(to_line(&Record {
            text,
            metadata: Metadata::of(example),
        })),
        other => Err(held_elsewhere(other)),
    }
}
