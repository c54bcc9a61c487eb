//! JSON: a list of records, JSON Lines, or values one after another, whatever the file is called.

use serde_json::Value;

use crate::container::{Container, Content, Record, Records};
use crate::fault::{Fault, Reason};
use crate::fields::{Fields, object};
use crate::layout::{self, Chunk, RawRecord, looks_like_json};
use crate::mapping::Mapping;
use crate::reader::{MAX_DEPTH, MAX_RECORD_BYTES};

pub(crate) const CONTAINER: Container = Container {
    name: "a JSON list, a JSON object or JSON Lines",
    recognises: |content, _| looks_like_json(content.text()),
    records,
};

fn records<'file>(content: &'file Content<'_>, mapping: &'file Mapping) -> Records<'file> {
    let records = layout::Records::new(content.text());
    Box::new(records.map(|RawRecord { line, content }| {
        let fields = content.and_then(parse_object);
        let fields = fields.map(|fields| mapping.apply(fields));
        Record { line, fields }
    }))
}

/// Parses a record, within the bounds on its size and depth.
pub(crate) fn parse_object(chunk: Chunk<'_>) -> Result<Fields, Fault> {
    match parse(chunk)? {
        Value::Object(fields) => Ok(fields),
        other => object(&other, "an object for each record").cloned(),
    }
}

/// Refuses a record that is larger than any is taken.
pub(crate) fn check_size(bytes: usize) -> Result<(), Fault> {
    if bytes <= MAX_RECORD_BYTES {
        return Ok(());
    }
    Err(Fault::new(
        Reason::TooLarge,
        format!("a record of at most {} KiB", MAX_RECORD_BYTES >> 10),
        format!("{} KiB", bytes >> 10),
    ))
}

fn parse(chunk: Chunk<'_>) -> Result<Value, Fault> {
    let Chunk { text, depth } = chunk;
    check_size(text.len())?;
    if depth > MAX_DEPTH {
        let expected = format!("at most {MAX_DEPTH} levels of nesting");
        return Err(Fault::new(
            Reason::TooLarge,
            expected,
            format!("{depth} levels"),
        ));
    }
    serde_json::from_str(text).map_err(|error| {
        let message = error.to_string();
        let message = message
            .rsplit_once(" at line ")
            .map_or(message.as_str(), |(message, _)| message);
        let found = format!(
            "{message}, at line {} and column {} of the record",
            error.line(),
            error.column()
        );
        Fault::new(Reason::BadJson, "a JSON object", found)
    })
}
