//! What ends a run early.

use autodidact_domain::PortError;

/// Why a run stopped before its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlowError {
    /// A pause, cancel or shutdown was asked for; everything up to the last step is kept.
    #[error("interrupted")]
    Interrupted,
    /// The run cannot go on as it was asked for; a person must change something.
    #[error("{0}")]
    Stopped(String),
    /// People must review first; everything up to the last step is kept, and the run begins again once they have.
    #[error("{0}")]
    Waiting(String),
    /// A person must look at a plugin first; the run is paused, everything up to the last step is kept.
    #[error("{0}")]
    Held(String),
    /// A port failed.
    #[error(transparent)]
    Port(PortError),
    /// A journal entry does not fit the code that reads it.
    #[error(
        "journal entry {key} cannot be read: {detail}; it was written by another version of the daemon"
    )]
    Journal {
        /// The step.
        key: String,
        /// What did not fit.
        detail: String,
    },
}

impl From<PortError> for FlowError {
    fn from(error: PortError) -> Self {
        match error {
            PortError::Interrupted => Self::Interrupted,
            other => Self::Port(other),
        }
    }
}
