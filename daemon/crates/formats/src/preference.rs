//! Preferences: a prompt with the answer that people chose and the one that they rejected, as TRL's format has them.
//!
//! | field | |
//! |---|---|
//! | `prompt` | text, or a list of `{role, content}`; may be absent where the answers are whole conversations |
//! | `chosen` | text, or a list of `{role, content}` |
//! | `rejected` | the same |
//!
//! The chosen answer is the example. The rejected one must be there and is not kept: no method here learns from what is wrong,
//! so it has no place in an example.

use autodidact_domain::Example;
use serde_json::Value;

use crate::fault::Fault;
use crate::fields::{Fields, required_list, required_text};
use crate::format::{Format, is_told_as};
use crate::metadata::example_leniently;
use crate::prompt_completion::body;

pub(crate) const FORMAT: Format = Format {
    name: "preference",
    fields: "prompt?, chosen, rejected",
    recognises: |fields| is_told_as("preference", fields),
    read,
    write: None,
};

fn read(fields: &Fields) -> Result<Example, Fault> {
    let body = body(fields, "chosen")?;
    match fields.get("rejected") {
        Some(Value::Array(_)) => required_list(fields, "rejected").map(drop)?,
        _ => required_text(fields, "rejected").map(drop)?,
    }
    Ok(example_leniently(body, fields))
}
