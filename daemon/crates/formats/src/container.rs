//! The table of containers: how records lie in a file.

use crate::fault::Fault;
use crate::fields::Fields;
use crate::mapping::Mapping;
use crate::{delimited, instructlab, json, natural_instructions, parquet};

/// A file's content, unpacked and decoded.
pub(crate) enum Content<'bytes> {
    /// Text without a byte order mark.
    Text(&'bytes str),
    /// A file of Parquet's.
    Parquet(&'bytes [u8]),
}

impl<'bytes> Content<'bytes> {
    /// Shows the text; nothing of a file that is none.
    pub(crate) fn text(&self) -> &'bytes str {
        match self {
            Self::Text(text) => text,
            Self::Parquet(_) => "",
        }
    }
}

/// A record, or why there is none.
pub(crate) struct Record {
    /// The line that it starts on, counted from 1; of Parquet, which has no lines, its number.
    pub(crate) line: u64,
    pub(crate) fields: Result<Fields, Fault>,
}

/// The records of a file in order.
pub(crate) type Records<'file> = Box<dyn Iterator<Item = Record> + 'file>;

/// One way for records to lie in a file.
pub(crate) struct Container {
    /// What it is, for people.
    pub(crate) name: &'static str,
    /// Tells whether a file is laid out like this.
    pub(crate) recognises: fn(&Content<'_>, &Mapping) -> bool,
    /// Takes the records out, their fields named as the mapping says.
    pub(crate) records: for<'file> fn(&'file Content<'_>, &'file Mapping) -> Records<'file>,
}

/// Every container; the first that recognises a file reads it.
const CONTAINERS: [&Container; 5] = [
    &parquet::CONTAINER,
    &delimited::CONTAINER,
    &natural_instructions::CONTAINER,
    &json::CONTAINER,
    &instructlab::CONTAINER,
];

/// Finds the container of a file.
pub(crate) fn recognise(content: &Content<'_>, mapping: &Mapping) -> Option<&'static Container> {
    CONTAINERS
        .into_iter()
        .find(|container| (container.recognises)(content, mapping))
}

/// Lists what files may be, for people.
pub(crate) fn names() -> String {
    CONTAINERS.map(|container| container.name).join(", ")
}
