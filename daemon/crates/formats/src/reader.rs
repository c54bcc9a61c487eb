//! Reading and writing whole files.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use autodidact_domain::ports::DatasetReader;
use autodidact_domain::{Example, ExampleId, LineFault, ParsedFile, PortResult};
use serde_json::Value;

use crate::WriteError;
use crate::fault::{Fault, Reason, describe_keys, excerpt};
use crate::fields::{Fields, object};
use crate::format::{self, FORMATS, Format};
use crate::layout::{Chunk, Records, looks_like_json};

/// The largest file that is read, in bytes (1 GiB).
pub const MAX_FILE_BYTES: usize = 1 << 30;
/// The largest record that is taken, in bytes (1 MiB): above any model's context, below a message's limit of 4 MiB.
pub const MAX_RECORD_BYTES: usize = 1 << 20;
/// The deepest nesting of brackets in a record; the formats themselves need four.
pub const MAX_DEPTH: usize = 64;
/// How many faults of a file are kept; the others are only counted.
pub const MAX_FAULTS: usize = 1000;
/// How many records decide on the file's format.
const SNIFFED_RECORDS: usize = 100;

/// Reads and writes dataset files. The content alone decides how a file is read; its name does not matter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reader;

impl DatasetReader for Reader {
    fn read(&self, _file_name: &str, bytes: &[u8]) -> ParsedFile {
        let mut file = FileInProgress::default();
        match decode(bytes) {
            Ok(text) => file.read(text),
            Err((line, fault)) => file.refuse(line, fault),
        }
        file.finish()
    }

    fn write(&self, format: &str, examples: &[Example]) -> PortResult<Vec<u8>> {
        Ok(write(format, examples)?)
    }
}

/// Writes examples as JSON Lines of the named format.
fn write(format: &str, examples: &[Example]) -> Result<Vec<u8>, WriteError> {
    let unknown = || WriteError::UnknownFormat(excerpt(format));
    let format = format::by_name(format).ok_or_else(unknown)?;
    let mut bytes = Vec::new();
    for (index, example) in examples.iter().enumerate() {
        let position = index + 1;
        let unfit = |detail| WriteError::Unfit {
            format: format.name,
            position,
            detail,
        };
        let line = (format.write)(example, position).map_err(unfit)?;
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
    }
    Ok(bytes)
}

/// Checks size and encoding; a fault comes with its line.
fn decode(bytes: &[u8]) -> Result<&str, (u64, Fault)> {
    if bytes.len() > MAX_FILE_BYTES {
        let expected = format!("a file of at most {} MiB", MAX_FILE_BYTES >> 20);
        return Err((
            1,
            Fault::new(
                Reason::TooLarge,
                expected,
                format!("{} MiB", bytes.len() >> 20),
            ),
        ));
    }
    let foreign = |found: &str| Err((1, Fault::new(Reason::BadEncoding, "UTF-8 text", found)));
    match bytes {
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => return foreign("UTF-16, by its byte order mark"),
        [0x1F, 0x8B, ..] => return foreign("gzip-compressed data"),
        [0x28, 0xB5, 0x2F, 0xFD, ..] => return foreign("zstd-compressed data"),
        [b'P', b'A', b'R', b'1', ..] => return foreign("a Parquet file"),
        [b'{' | b'[', 0, ..] | [0, b'{' | b'[', ..] => {
            return foreign("UTF-16 without a byte order mark");
        }
        _ => {}
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count() as u64;
        let byte = bytes[error.valid_up_to()];
        let found = format!(
            "byte 0x{byte:02X} at offset {}, as in GB18030 or Latin-1 text",
            error.valid_up_to()
        );
        (line, Fault::new(Reason::BadEncoding, "UTF-8 text", found))
    })?;
    Ok(text.strip_prefix('\u{FEFF}').unwrap_or(text))
}

/// What was read so far.
#[derive(Default)]
struct FileInProgress {
    /// The format of most records, or of the first one recognised.
    format: Option<&'static Format>,
    examples: Vec<Example>,
    /// The line on which each example's content was first seen.
    first_lines: HashMap<ExampleId, u64>,
    faults: Vec<LineFault>,
    refused: u64,
}

impl FileInProgress {
    fn read(&mut self, text: &str) {
        if !looks_like_json(text) {
            let first_line = text.trim_start().lines().next().unwrap_or("");
            let found = if first_line.is_empty() {
                "an empty file".to_string()
            } else {
                excerpt(first_line)
            };
            return self.refuse(
                1,
                Fault::new(
                    Reason::UnknownFormat,
                    "a JSON list, a JSON object or JSON Lines",
                    found,
                ),
            );
        }
        self.format = sniff(text);
        for record in Records::new(text) {
            match record.content.and_then(|chunk| self.read_record(chunk)) {
                Ok(example) => self.take(record.line, example),
                Err(fault) => self.refuse(record.line, fault),
            }
        }
        if self.examples.is_empty() && self.refused == 0 {
            self.refuse(
                1,
                Fault::new(
                    Reason::UnknownFormat,
                    "at least one record",
                    "an empty list",
                ),
            );
        }
    }

    /// Reads a record by the format that claims it, or else by the file's, whose fault then names the field it lacks.
    fn read_record(&mut self, chunk: Chunk<'_>) -> Result<Example, Fault> {
        let value = parse(chunk)?;
        let fields = object(&value, "an object for each record")?;
        let format = format::recognise(fields)
            .or(self.format)
            .ok_or_else(|| unknown_format(fields))?;
        self.format.get_or_insert(format);
        (format.read)(fields)
    }

    fn take(&mut self, line: u64, example: Example) {
        match self.first_lines.entry(example.id) {
            Entry::Vacant(entry) => {
                entry.insert(line);
                self.examples.push(example);
            }
            Entry::Occupied(entry) => {
                let found = format!("the same content as the record on line {}", entry.get());
                self.refuse(
                    line,
                    Fault::new(Reason::Duplicate, "each record once", found),
                );
            }
        }
    }

    fn refuse(&mut self, line: u64, fault: Fault) {
        self.refused += 1;
        if self.faults.len() < MAX_FAULTS {
            let Fault {
                reason,
                expected,
                found,
            } = fault;
            self.faults.push(LineFault {
                line,
                reason: reason.code().to_string(),
                expected,
                found,
            });
        }
    }

    fn finish(self) -> ParsedFile {
        ParsedFile {
            format: self.format.map_or("unknown", |format| format.name),
            examples: self.examples,
            faults: self.faults,
            refused: self.refused,
        }
    }
}

/// Finds the format that claims most of the first records; of equal ones, the first in the table.
fn sniff(text: &str) -> Option<&'static Format> {
    let mut votes = [0usize; FORMATS.len()];
    for record in Records::new(text).take(SNIFFED_RECORDS) {
        let Some(Value::Object(fields)) = record.content.ok().and_then(|chunk| parse(chunk).ok())
        else {
            continue;
        };
        for (vote, format) in votes.iter_mut().zip(FORMATS) {
            *vote += usize::from((format.recognises)(&fields));
        }
    }
    let most = votes.into_iter().max().filter(|&most| most > 0)?;
    FORMATS
        .into_iter()
        .zip(votes)
        .find(|(_, vote)| *vote == most)
        .map(|(format, _)| format)
}

fn parse(chunk: Chunk<'_>) -> Result<Value, Fault> {
    let Chunk { text, depth } = chunk;
    if text.len() > MAX_RECORD_BYTES {
        let expected = format!("a record of at most {} KiB", MAX_RECORD_BYTES >> 10);
        return Err(Fault::new(
            Reason::TooLarge,
            expected,
            format!("{} KiB", text.len() >> 10),
        ));
    }
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

fn unknown_format(fields: &Fields) -> Fault {
    let known: Vec<String> = FORMATS
        .iter()
        .map(|format| format!("{} ({})", format.name, format.fields))
        .collect();
    Fault::new(
        Reason::UnknownFormat,
        format!("the fields of {}", known.join(" or ")),
        describe_keys(fields),
    )
}
