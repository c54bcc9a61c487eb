//! Dataset files: their formats are sniffed from the content, read record by record, and written.
//!
//! A file is UTF-8 text (a byte order mark and CRLF are accepted) in one of three layouts: a JSON array of records, JSON Lines,
//! or JSON values one after another, a single object among them. Its name does not matter. Every record is of one of the
//! formats in [`FORMAT_NAMES`]; each has a file of its own here.

mod alpaca;
mod chat;
mod error;
mod fault;
mod fields;
mod format;
mod labelled;
mod layout;
mod metadata;
mod reader;
mod scan;
mod seeds;
mod tagged;
mod text;

pub use error::WriteError;
pub use format::FORMAT_NAMES;
pub use reader::{MAX_DEPTH, MAX_FAULTS, MAX_FILE_BYTES, MAX_RECORD_BYTES, Reader};
