//! Writing whole files: a format of records, all kinds of records as JSON Lines, or Parquet.

use autodidact_domain::{Body, Example, WrittenFile};

use crate::WriteError;
use crate::fault::{Fault, Reason, excerpt};
use crate::format::{FORMATS, Layout, Write};
use crate::reader::MAX_FAULTS;
use crate::{alpaca, chat, labelled, parquet, seeds, sharegpt, tagged, text};

/// A form that files are written in.
struct Writer {
    /// The name that `--format` uses.
    name: &'static str,
    form: Form,
}

enum Form {
    /// Every record in the format of its own kind, as JSON Lines.
    Own,
    /// Every record in one format.
    Of(Write),
    /// Columns of Parquet.
    Parquet,
}

/// The names of the forms that can be written: first `jsonl`, which holds records of all kinds.
pub const FORMAT_NAMES: [&str; 9] = [
    "jsonl",
    alpaca::FORMAT.name,
    seeds::FORMAT.name,
    chat::FORMAT.name,
    sharegpt::FORMAT.name,
    text::FORMAT.name,
    labelled::FORMAT.name,
    tagged::FORMAT.name,
    "parquet",
];

fn by_name(name: &str) -> Option<Writer> {
    let name = FORMAT_NAMES.into_iter().find(|known| *known == name)?;
    let form = match name {
        "jsonl" => Form::Own,
        "parquet" => Form::Parquet,
        _ => Form::Of(FORMATS.iter().find(|format| format.name == name)?.write?),
    };
    Some(Writer { name, form })
}

/// Writes the examples that a form holds, and tells of those that it does not.
pub(crate) fn write(form: &str, examples: &[Example]) -> Result<WrittenFile, WriteError> {
    let unknown = || WriteError::UnknownFormat(excerpt(form));
    let writer = by_name(form).ok_or_else(unknown)?;
    let mut file = WrittenFile::default();
    let mut unfit: Option<WriteError> = None;
    let mut refuse = |position: usize, detail: &'static str, file: &mut WrittenFile| {
        let format = writer.name;
        unfit.get_or_insert(WriteError::Unfit {
            format,
            position,
            detail,
        });
        file.refused += 1;
        if file.faults.len() < MAX_FAULTS {
            let expected = format!("a record that {format} can hold");
            let fault = Fault::new(Reason::Unfit, expected, detail);
            file.faults.push(fault.on_line(position as u64));
        }
    };
    let numbered = examples.iter().zip(1..);
    match writer.form {
        Form::Own => {
            let own = Write::lines(|example, position| {
                let format = own(example)?;
                (format.record)(example, position)
            });
            write_records(own, numbered, &mut file, &mut refuse);
        }
        Form::Of(write) => write_records(write, numbered, &mut file, &mut refuse),
        Form::Parquet => {
            let mut held = Vec::with_capacity(examples.len());
            for (example, position) in numbered {
                match own(example) {
                    Ok(_) => held.push(example),
                    Err(detail) => refuse(position, detail, &mut file),
                }
            }
            file.written = held.len() as u64;
            file.bytes = parquet::write(&held);
        }
    }
    match unfit {
        Some(unfit) if file.written == 0 => Err(unfit),
        _ => Ok(file),
    }
}

fn write_records<'example>(
    write: Write,
    examples: impl Iterator<Item = (&'example Example, usize)>,
    file: &mut WrittenFile,
    refuse: &mut impl FnMut(usize, &'static str, &mut WrittenFile),
) {
    let (first, between, last): (&[u8], &[u8], &[u8]) = match write.layout {
        Layout::Lines => (b"", b"\n", b"\n"),
        Layout::List => (b"[", b",\n", b"]\n"),
    };
    file.bytes.extend_from_slice(first);
    for (example, position) in examples {
        match (write.record)(example, position) {
            Ok(line) => {
                if file.written > 0 {
                    file.bytes.extend_from_slice(between);
                }
                file.bytes.extend_from_slice(line.as_bytes());
                file.written += 1;
            }
            Err(detail) => refuse(position, detail, file),
        }
    }
    if file.written > 0 || write.layout == Layout::List {
        file.bytes.extend_from_slice(last);
    }
}

/// Picks the format of a record's own kind, which holds all of it.
fn own(example: &Example) -> Result<Write, &'static str> {
    let format = match &example.body {
        Body::Instruction {
            output: Some(_), ..
        } => alpaca::FORMAT,
        Body::Instruction { input: Some(_), .. } => return Err(seeds::INPUT_ALONE),
        Body::Instruction { .. } => seeds::FORMAT,
        Body::Chat { .. } => chat::FORMAT,
        Body::Text { .. } => text::FORMAT,
        Body::Labelled { .. } => labelled::FORMAT,
        Body::Tagged { .. } => tagged::FORMAT,
    };
    Ok(format.write.expect("these formats are written"))
}
