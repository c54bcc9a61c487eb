//! Why examples could not be written.

use autodidact_domain::PortError;

use crate::writer::FORMAT_NAMES;

/// Why [`crate::Reader`] could not write a dataset; either way the caller names another format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// No format has this name.
    #[error("unknown dataset format {0:?}: expected one of {known}", known = FORMAT_NAMES.join(", "))]
    UnknownFormat(String),
    /// No example can be written: the first says something that the format has no place for.
    #[error("record {position} cannot be written as {format}: {detail}")]
    Unfit {
        /// The format asked for.
        format: &'static str,
        /// Which example, counted from 1.
        position: usize,
        /// What the format lacks, and which format has it.
        detail: &'static str,
    },
}

impl From<WriteError> for PortError {
    fn from(error: WriteError) -> Self {
        Self::Invalid(error.to_string())
    }
}
