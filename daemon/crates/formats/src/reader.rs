//! Reading and writing whole files.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use autodidact_domain::ports::DatasetReader;
use autodidact_domain::{Example, ExampleId, LineFault, ParsedFile, PortResult, WrittenFile};

use crate::container::{self, Container, Content, Record};
use crate::encoding::decode;
use crate::fault::{Fault, Reason, describe_keys, excerpt};
use crate::fields::Fields;
use crate::format::{self, FORMATS, Format};
use crate::mapping::Mapping;
use crate::unpack::unpack;
use crate::writer;

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
        read_file(bytes, None)
    }

    fn read_mapped(&self, _file_name: &str, bytes: &[u8], mapping: &[u8]) -> ParsedFile {
        read_file(bytes, Some(mapping))
    }

    fn write(&self, format: &str, examples: &[Example]) -> PortResult<WrittenFile> {
        Ok(writer::write(format, examples)?)
    }
}

fn read_file(bytes: &[u8], mapping: Option<&[u8]>) -> ParsedFile {
    let mut file = FileInProgress::default();
    if let Err((line, fault)) = file.open(bytes, mapping) {
        file.refuse(line, fault);
    }
    file.finish()
}

fn check_size(bytes: &[u8]) -> Result<(), Fault> {
    if bytes.len() <= MAX_FILE_BYTES {
        return Ok(());
    }
    Err(Fault::new(
        Reason::TooLarge,
        format!("a file of at most {} MiB", MAX_FILE_BYTES >> 20),
        format!("{} MiB", bytes.len() >> 20),
    ))
}

/// The first bytes of every Parquet file.
const PARQUET_MAGIC: &[u8] = b"PAR1";

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
    /// Unpacks, decodes and reads; an error is a fault of the file as a whole, with its line.
    fn open(&mut self, bytes: &[u8], mapping: Option<&[u8]>) -> Result<(), (u64, Fault)> {
        let whole = |fault: Fault| (1, fault);
        check_size(bytes).map_err(whole)?;
        let mapping = mapping.map(Mapping::read).transpose()?.unwrap_or_default();
        let bytes = unpack(bytes).map_err(whole)?;
        if bytes.starts_with(PARQUET_MAGIC) {
            return self.read(&Content::Parquet(&bytes), &mapping);
        }
        let text = decode(&bytes)?;
        self.read(&Content::Text(&text), &mapping)
    }

    fn read(&mut self, content: &Content<'_>, mapping: &Mapping) -> Result<(), (u64, Fault)> {
        let container = container::recognise(content, mapping)
            .ok_or_else(|| (1, unknown_container(content.text(), mapping)))?;
        self.format = sniff(container, content, mapping);
        for Record { line, fields } in (container.records)(content, mapping) {
            match fields.and_then(|fields| self.read_record(&fields)) {
                Ok(example) => self.take(line, example),
                Err(fault) => self.refuse(line, fault),
            }
        }
        if self.examples.is_empty() && self.refused == 0 {
            let expected = "at least one record";
            let fault = Fault::new(Reason::UnknownFormat, expected, "an empty list");
            return Err((1, fault));
        }
        Ok(())
    }

    /// Reads a record by the format that claims it, or else by the file's, whose fault then names the field it lacks.
    fn read_record(&mut self, fields: &Fields) -> Result<Example, Fault> {
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
            self.faults.push(fault.on_line(line));
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
fn sniff(
    container: &Container,
    content: &Content<'_>,
    mapping: &Mapping,
) -> Option<&'static Format> {
    let mut votes = [0usize; FORMATS.len()];
    for record in (container.records)(content, mapping).take(SNIFFED_RECORDS) {
        let Ok(fields) = record.fields else {
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

fn unknown_container(text: &str, mapping: &Mapping) -> Fault {
    let first_line = text.trim_start().lines().next().unwrap_or("");
    let found = match first_line {
        "" => "an empty file".to_string(),
        line => excerpt(line),
    };
    let hint = match *mapping == Mapping::default() {
        true => "; a mapping file beside it can say which column is which",
        false => " that the mapping file makes fields of a format",
    };
    Fault::new(
        Reason::UnknownFormat,
        format!("{}{hint}", container::names()),
        found,
    )
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
