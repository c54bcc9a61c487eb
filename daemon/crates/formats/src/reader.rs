//! Reading and writing whole files.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use autodidact_domain::ports::DatasetReader;
use autodidact_domain::{Example, ExampleId, LineFault, ParsedFile, PortResult, WrittenFile};

use crate::alpaca;
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
        read(bytes, None)
    }

    fn read_mapped(&self, _file_name: &str, bytes: &[u8], mapping: &[u8]) -> ParsedFile {
        read(bytes, Some(mapping))
    }

    fn write(&self, format: &str, examples: &[Example]) -> PortResult<WrittenFile> {
        Ok(writer::write(format, examples)?)
    }
}

/// Every record of a file, in order.
#[derive(Clone, Debug)]
pub struct ListedFile {
    /// The format found, such as `alpaca`.
    pub format: &'static str,
    /// Each record, or why it cannot be read; of a file that is refused as a whole, that alone.
    pub records: Vec<Result<Example, LineFault>>,
}

impl Reader {
    /// Reads every record of a file, for looking at it rather than for learning: one that repeats another is there again, and a
    /// task may lack its output.
    pub fn list(&self, bytes: &[u8], mapping: Option<&[u8]>) -> ListedFile {
        let mut records = Vec::new();
        let format = read_file(bytes, mapping, Answers::MayLack, &mut |line, record| {
            records.push(record.map_err(|fault| fault.on_line(line)));
        });
        let format = name_of(format);
        ListedFile { format, records }
    }
}

fn read(bytes: &[u8], mapping: Option<&[u8]>) -> ParsedFile {
    let mut file = FileInProgress::default();
    let format = read_file(
        bytes,
        mapping,
        Answers::Needed,
        &mut |line, record| match record {
            Ok(example) => file.take(line, example),
            Err(fault) => file.refuse(line, fault),
        },
    );
    ParsedFile {
        format: name_of(format),
        examples: file.examples,
        faults: file.faults,
        refused: file.refused,
    }
}

fn name_of(format: Option<&Format>) -> &'static str {
    format.map_or("unknown", |format| format.name)
}

/// Whether a task without an output can be read where its format has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answers {
    Needed,
    MayLack,
}

/// Takes what was read of each record, and its line.
type Sink<'sink> = &'sink mut dyn FnMut(u64, Result<Example, Fault>);

/// Reads a file's records one after another, and tells its format: that of most records, or of the first one recognised.
fn read_file(
    bytes: &[u8],
    mapping: Option<&[u8]>,
    answers: Answers,
    sink: Sink<'_>,
) -> Option<&'static Format> {
    open(bytes, mapping, answers, sink).unwrap_or_else(|(line, fault)| {
        sink(line, Err(fault));
        None
    })
}

/// Unpacks, decodes and reads; an error is a fault of the file as a whole, with its line.
fn open(
    bytes: &[u8],
    mapping: Option<&[u8]>,
    answers: Answers,
    sink: Sink<'_>,
) -> Result<Option<&'static Format>, (u64, Fault)> {
    let whole = |fault: Fault| (1, fault);
    check_size(bytes).map_err(whole)?;
    let mapping = mapping.map(Mapping::read).transpose()?.unwrap_or_default();
    let bytes = unpack(bytes).map_err(whole)?;
    if bytes.starts_with(PARQUET_MAGIC) {
        return read_content(&Content::Parquet(&bytes), &mapping, answers, sink);
    }
    let text = decode(&bytes)?;
    read_content(&Content::Text(&text), &mapping, answers, sink)
}

fn read_content(
    content: &Content<'_>,
    mapping: &Mapping,
    answers: Answers,
    sink: Sink<'_>,
) -> Result<Option<&'static Format>, (u64, Fault)> {
    let container = container::recognise(content, mapping)
        .ok_or_else(|| (1, unknown_container(content.text(), mapping)))?;
    let mut format = sniff(container, content, mapping);
    let mut is_empty = true;
    for Record { line, fields } in (container.records)(content, mapping) {
        is_empty = false;
        let read = |fields: Fields| match answers {
            Answers::MayLack => alpaca::read_unanswered(&fields)
                .map_or_else(|| read_record(&fields, &mut format), Ok),
            Answers::Needed => read_record(&fields, &mut format),
        };
        sink(line, fields.and_then(read));
    }
    if is_empty {
        let expected = "at least one record";
        let fault = Fault::new(Reason::UnknownFormat, expected, "an empty list");
        return Err((1, fault));
    }
    Ok(format)
}

/// Reads a record by the format that claims it, or else by the file's, whose fault then names the field it lacks.
fn read_record(fields: &Fields, of_file: &mut Option<&'static Format>) -> Result<Example, Fault> {
    let format = format::recognise(fields)
        .or(*of_file)
        .ok_or_else(|| unknown_format(fields))?;
    of_file.get_or_insert(format);
    (format.read)(fields)
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
    examples: Vec<Example>,
    /// The line on which each example's content was first seen.
    first_lines: HashMap<ExampleId, u64>,
    faults: Vec<LineFault>,
    refused: u64,
}

impl FileInProgress {
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
