//! Parquet: a record a row, its columns the fields of a format (or of a mapping file).
//!
//! Columns are text, lists of text, or lists of groups of text; what is of another type is shown as text. A row that lacks a value
//! has null there. Only where columns of several kinds of records stand side by side is it no field at all, so that a row is of the
//! kind whose columns it fills.
//!
//! Any file of records can be written, each kind by the fields of its own format: tasks by Alpaca's, or by those of seeds without an
//! instance where they have no answer, talks by `messages`, the others by theirs. Lists are of three levels, as the format's
//! specification has them.

mod pages;
mod read;
mod write;

pub(crate) use read::CONTAINER;
pub(crate) use write::write;

/// The key under which a file says that nulls are no fields, since its records are of several kinds.
const MIXED_KEY: &str = "autodidact.nulls_are_absent";
