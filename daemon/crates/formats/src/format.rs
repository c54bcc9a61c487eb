//! The table of formats.

use autodidact_domain::Example;

use crate::fault::Fault;
use crate::fields::Fields;
use crate::{alpaca, chat, seeds, text};

/// One dataset format.
pub(crate) struct Format {
    /// The name that reports and `--format` use.
    pub(crate) name: &'static str,
    /// Its tell-tale fields, for people.
    pub(crate) fields: &'static str,
    /// Tells whether a record's fields point to this format. At most one format claims a record.
    pub(crate) recognises: fn(&Fields) -> bool,
    /// Reads a record.
    pub(crate) read: fn(&Fields) -> Result<Example, Fault>,
    /// Writes a record as one line of JSON without the line end; the number counts from 1. The error says what the format
    /// has no place for.
    pub(crate) write: fn(&Example, usize) -> Result<String, &'static str>,
}

/// Every format.
pub(crate) const FORMATS: [&Format; 4] = [
    &alpaca::FORMAT,
    &seeds::FORMAT,
    &chat::FORMAT,
    &text::FORMAT,
];

/// The names of the formats that can be read and written.
pub const FORMAT_NAMES: [&str; 4] = [
    alpaca::FORMAT.name,
    seeds::FORMAT.name,
    chat::FORMAT.name,
    text::FORMAT.name,
];

/// What a format of tasks and talks says of a plain text.
pub(crate) const IS_TEXT: &str = "it is a plain text; `text` holds these";

/// Finds a format by name.
pub(crate) fn by_name(name: &str) -> Option<&'static Format> {
    FORMATS.into_iter().find(|format| format.name == name)
}

/// Finds the format that claims a record.
pub(crate) fn recognise(fields: &Fields) -> Option<&'static Format> {
    FORMATS
        .into_iter()
        .find(|format| (format.recognises)(fields))
}

/// Serialises a record to one line.
pub(crate) fn to_line(record: &impl serde::Serialize) -> String {
    serde_json::to_string(record).expect("strings, lists and flags always serialise")
}
