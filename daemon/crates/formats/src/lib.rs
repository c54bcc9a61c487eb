//! Dataset files: what they are is sniffed from the content; they are read record by record, and written.
//!
//! A file is read in three steps, each with a table of what it knows; its name does not matter:
//! - its bytes: unpacked (gzip, zstd: `unpack`) and decoded (UTF-8, UTF-16 by its byte order mark, GB18030: `encoding`);
//! - its container (`container`), which takes records out: JSON in any layout, CSV and TSV, Parquet, and the files of two projects
//!   that hold many examples of one task;
//! - the format of each record (`format`), told by its fields.
//!
//! Each container and format has a file of its own here, which says what its fields are. A file's columns may be told by a mapping
//! file beside it (`mapping`).
//!
//! What cannot be read is told by line, with a stable reason, what was expected and what was found. A record's reasons:
//! `missing_field`, `wrong_type`, `empty_field`, `unknown_format`, `duplicate`, `wrong_length`, `label_not_declared`, `too_large`,
//! `bad_json`, `bad_row` (CSV). A file's: `bad_encoding`, `bad_compression`, `bad_yaml`, `bad_parquet`, `bad_mapping`. Of Parquet,
//! lines are rows. What a written format has no place for is `unfit`.

mod alpaca;
mod chat;
mod container;
mod delimited;
mod encoding;
mod error;
mod fault;
mod fields;
mod format;
mod input_target;
mod instructlab;
mod json;
mod labelled;
mod layout;
mod mapping;
mod metadata;
mod natural_instructions;
mod parquet;
mod preference;
mod prompt_completion;
mod question_answer;
mod reader;
mod scan;
mod seeds;
mod sharegpt;
mod tagged;
mod text;
mod unpack;
mod writer;
mod yaml;

pub use error::WriteError;
pub use mapping::{MAPPED_FIELDS, MAPPING_SUFFIXES};
pub use reader::{ListedFile, MAX_DEPTH, MAX_FAULTS, MAX_FILE_BYTES, MAX_RECORD_BYTES, Reader};
pub use writer::FORMAT_NAMES;
