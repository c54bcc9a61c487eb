//! Inputs with their targets, as datasets for sequence to sequence models have them.
//!
//! | field | |
//! |---|---|
//! | `input` | text: the whole of what is asked |
//! | `target` | text |

use autodidact_domain::{Body, Example};

use crate::fault::Fault;
use crate::fields::{Fields, required_text};
use crate::format::{Format, is_told_as};
use crate::metadata::example_leniently;

pub(crate) const FORMAT: Format = Format {
    name: "input-target",
    fields: "input, target",
    recognises: |fields| is_told_as("input-target", fields),
    read,
    write: None,
};

fn read(fields: &Fields) -> Result<Example, Fault> {
    let input = required_text(fields, "input")?;
    let target = required_text(fields, "target")?;
    Ok(example_leniently(
        Body::instruction(input, "", target),
        fields,
    ))
}
