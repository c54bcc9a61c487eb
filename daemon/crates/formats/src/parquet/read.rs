//! Reading rows.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ::parquet::errors::ParquetError;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::reader::RowIter;
use ::parquet::record::{Field, Row};
use bytes::Bytes;
use serde_json::Value;

use super::MIXED_KEY;
use super::pages::unpacked_bytes;
use crate::container::{Container, Content, Record, Records};
use crate::delimited::is_mixed;
use crate::fault::{Fault, Reason, excerpt};
use crate::fields::Fields;
use crate::json::check_size;
use crate::mapping::Mapping;
use crate::reader::MAX_FILE_BYTES;

pub(crate) const CONTAINER: Container = Container {
    name: "a Parquet file",
    recognises: |content, _| matches!(content, Content::Parquet(_)),
    records,
};

/// What a row counts for beside its texts, in bytes: a file of few bytes can say that it has any number of rows.
const ROW_BYTES: usize = 64;

fn records<'file>(content: &'file Content<'_>, mapping: &'file Mapping) -> Records<'file> {
    let Content::Parquet(bytes) = content else {
        return Box::new(std::iter::empty());
    };
    match Rows::open(bytes, mapping) {
        Ok(rows) => Box::new(rows),
        Err(fault) => {
            let fields = Err(fault);
            Box::new(std::iter::once(Record { line: 1, fields }))
        }
    }
}

struct Rows<'file> {
    rows: RowIter<'static>,
    mapping: &'file Mapping,
    is_mixed: bool,
    /// How many rows were read.
    count: u64,
    /// How much may still be unpacked, in bytes.
    left: usize,
    is_done: bool,
}

impl<'file> Rows<'file> {
    fn open(bytes: &[u8], mapping: &'file Mapping) -> Result<Self, Fault> {
        let open = || SerializedFileReader::new(Bytes::copy_from_slice(bytes));
        let reader = guarded(open)?;
        let metadata = reader.metadata();
        // A negative size makes the library stop by a panic, as some of its own checks do.
        let unpacked = guarded(|| Ok(unpacked_bytes(bytes, metadata)))?;
        if unpacked > MAX_FILE_BYTES as u64 {
            return Err(too_large());
        }
        let schema = metadata.file_metadata().schema();
        let columns = schema.get_fields().iter();
        let columns: Vec<String> = columns.map(|column| column.name().to_string()).collect();
        if columns.is_empty() {
            return Err(bad("a file without columns"));
        }
        mapping.check_columns(&columns)?;
        let fields = columns.iter().filter_map(|column| mapping.field_of(column));
        let pairs = metadata.file_metadata().key_value_metadata();
        let says_mixed = pairs.is_some_and(|pairs| pairs.iter().any(|pair| pair.key == MIXED_KEY));
        Ok(Self {
            is_mixed: says_mixed || is_mixed(fields),
            rows: RowIter::from_file_into(Box::new(reader)),
            mapping,
            count: 0,
            left: MAX_FILE_BYTES,
            is_done: false,
        })
    }

    /// Names a row's fields.
    fn fields(&self, row: Row) -> Fields {
        let fields = row.into_columns().into_iter();
        let fields: Fields = fields.map(|(name, field)| (name, value(field))).collect();
        let mut fields = self.mapping.apply(fields);
        if self.is_mixed {
            fields.retain(|_, value| !value.is_null());
        }
        fields
    }
}

impl Iterator for Rows<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        if self.is_done {
            return None;
        }
        let rows = &mut self.rows;
        let row = match guarded(|| rows.next().transpose()) {
            Ok(None) => return None,
            Ok(Some(row)) => guarded(|| Ok(self.fields(row))),
            Err(fault) => Err(fault),
        };
        self.count += 1;
        let line = self.count;
        let fields = match row {
            Ok(fields) => {
                let bytes = fields.values().map(text_bytes).sum();
                match self.left.checked_sub(bytes + ROW_BYTES) {
                    Some(left) => {
                        self.left = left;
                        check_size(bytes).map(|()| fields)
                    }
                    None => {
                        self.is_done = true;
                        Err(too_large())
                    }
                }
            }
            // What comes after a row that cannot be read is not where it should be.
            Err(fault) => {
                self.is_done = true;
                Err(fault)
            }
        };
        Some(Record { line, fields })
    }
}

/// Does a step of reading. The library means to refuse every bad file, but stops at some by a panic.
fn guarded<T>(step: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, Fault> {
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(outcome) => outcome.map_err(|error| bad(&error.to_string())),
        Err(_) => Err(bad("a structure that makes no sense")),
    }
}

fn bad(found: &str) -> Fault {
    Fault::new(Reason::BadParquet, "a whole Parquet file", excerpt(found))
}

fn too_large() -> Fault {
    let expected = format!(
        "a file of at most {} MiB when it is unpacked",
        MAX_FILE_BYTES >> 20
    );
    Fault::new(Reason::TooLarge, expected, "a Parquet file that holds more")
}

/// Shows a field as JSON.
fn value(field: Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(value) => value.into(),
        Field::Byte(value) => value.into(),
        Field::Short(value) => value.into(),
        Field::Int(value) => value.into(),
        Field::Long(value) => value.into(),
        Field::UByte(value) => value.into(),
        Field::UShort(value) => value.into(),
        Field::UInt(value) => value.into(),
        Field::ULong(value) => value.into(),
        Field::Float(value) => value.into(),
        Field::Double(value) => value.into(),
        Field::Str(text) => text.into(),
        // Old writers do not say that bytes are text.
        Field::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
            Ok(text) => text.into(),
            Err(_) => format!("{} bytes that are no text", bytes.len()).into(),
        },
        Field::Group(row) => {
            let fields = row.into_columns().into_iter();
            Value::Object(fields.map(|(name, field)| (name, value(field))).collect())
        }
        Field::ListInternal(list) => list.elements().iter().cloned().map(value).collect(),
        Field::MapInternal(map) => {
            let entries = map.entries().iter();
            let named = |(key, entry): &(Field, Field)| (key.to_string(), value(entry.clone()));
            Value::Object(entries.map(named).collect())
        }
        other => other.to_string().into(),
    }
}

/// Counts the bytes of all texts in a value.
fn text_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(|item| 1 + text_bytes(item)).sum(),
        Value::Object(fields) => fields.values().map(|field| 1 + text_bytes(field)).sum(),
        _ => 0,
    }
}
