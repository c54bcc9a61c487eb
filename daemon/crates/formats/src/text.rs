//! Plain text, as TRL's language modelling format has it.
//!
//! | field | |
//! |---|---|
//! | `text` | the text, all of which is learnt |

use autodidact_domain::{Body, Example};
use serde::Serialize;

use crate::fault::{Fault, Reason, describe_keys};
use crate::fields::{Fields, required_text};
use crate::format::{Format, to_line};
use crate::metadata::{Metadata, example_leniently};

pub(crate) const FORMAT: Format = Format {
    name: "text",
    fields: "text",
    recognises,
    read,
    write,
};

/// What is learnt of a record is another thing where these stand beside the text.
const OF_TASKS: [&str; 4] = ["label", "instruction", "instances", "messages"];

fn is_task(fields: &Fields) -> bool {
    OF_TASKS.iter().any(|field| fields.contains_key(*field))
}

fn recognises(fields: &Fields) -> bool {
    fields.contains_key("text") && !is_task(fields)
}

fn read(fields: &Fields) -> Result<Example, Fault> {
    if is_task(fields) {
        let expected = format!("`text` without {}", OF_TASKS.join(", "));
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
        Body::Instruction { .. } | Body::Chat { .. } => {
            Err("it is a task or a talk; alpaca and chat hold these")
        }
    }
}
