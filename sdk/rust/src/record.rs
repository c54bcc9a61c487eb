//! Records as plugins see them, and how a batch of them crosses.

use std::fmt;

use serde::Deserialize;

/// The texts of a record, as the WIT says.
const FIELDS: usize = 7;

/// One record; texts are empty where there is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record<'a> {
    /// What to do.
    pub instruction: &'a str,
    /// What to do it to.
    pub input: &'a str,
    /// The answer; empty before answers are generated.
    pub output: &'a str,
    /// The ISO 639-1 code of the instruction's language, such as `en` or `zh`.
    pub language: &'a str,
    /// The form of the task, such as `classification` or `open_generation`.
    pub task_type: &'a str,
    /// What it is about.
    pub topic: &'a str,
    /// The labels that a classification may have, one a line.
    pub labels: &'a str,
}

/// A text of a record, as configurations name it: `instruction`, `input` or `output`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// What to do.
    Instruction,
    /// What to do it to.
    Input,
    /// The answer.
    Output,
}

impl Field {
    /// Shows this text of a record.
    pub fn of<'a>(self, record: &Record<'a>) -> &'a str {
        match self {
            Self::Instruction => record.instruction,
            Self::Input => record.input,
            Self::Output => record.output,
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Instruction => "instruction",
            Self::Input => "input",
            Self::Output => "output",
        })
    }
}

/// Reads the records of a batch.
///
/// # Errors
/// Where the batch is not as the WIT says.
pub(crate) fn records<'a>(text: &'a [u8], ends: &[u32]) -> Result<Vec<Record<'a>>, String> {
    let text = as_text(text)?;
    let mut start = 0;
    let mut field = |end: u32| {
        let end = end as usize;
        let field = text.get(start..end);
        start = end;
        field.ok_or_else(|| format!("the batch: no text ends at {end}"))
    };
    let (records, rest) = ends.as_chunks::<FIELDS>();
    if !rest.is_empty() {
        return Err(format!("the batch: {} texts are no records", ends.len()));
    }
    let record = |[
        instruction,
        input,
        output,
        language,
        task_type,
        topic,
        labels,
    ]: &[u32; FIELDS]| {
        Ok(Record {
            instruction: field(*instruction)?,
            input: field(*input)?,
            output: field(*output)?,
            language: field(*language)?,
            task_type: field(*task_type)?,
            topic: field(*topic)?,
            labels: field(*labels)?,
        })
    };
    records.iter().map(record).collect()
}

/// Takes the batch's text, which the host has from texts: in the component it is not looked through once more for what is no UTF-8,
/// which took a sixth of a light filter's time.
#[cfg(target_family = "wasm")]
fn as_text(text: &[u8]) -> Result<&str, String> {
    // SAFETY: the WIT says that it is UTF-8, and who breaks that is the host, which could change this memory anyway.
    Ok(unsafe { std::str::from_utf8_unchecked(text) })
}

#[cfg(not(target_family = "wasm"))]
fn as_text(text: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(text).map_err(|error| format!("the batch: {error}"))
}
