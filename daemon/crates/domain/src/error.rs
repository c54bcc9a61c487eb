//! The one error that crosses ports. A part's own, finer error stays inside it; what callers can *do* crosses.

/// What went wrong behind a port, shaped by what the caller can do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// The thing asked for does not exist: the caller names another.
    #[error("{what} {name:?} not found{}", nearest.as_ref().map(|n| format!("; did you mean {n:?}?")).unwrap_or_default())]
    NotFound {
        /// What kind of thing, such as `dataset`.
        what: &'static str,
        /// The name asked for.
        name: String,
        /// The nearest existing name, where one is near.
        nearest: Option<String>,
    },
    /// The thing exists already with other content.
    #[error("{what} {name:?} already exists: {detail}")]
    Exists {
        /// What kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
        /// How the existing one differs, and what to do.
        detail: String,
    },
    /// The input is wrong: the caller mends it.
    #[error("{0}")]
    Invalid(String),
    /// A prompt leaves no room for an answer in the model's context: the caller shortens it.
    #[error("{0}")]
    TooLong(String),
    /// Training gave numbers that are none: the caller looks at the examples, or trains more gently.
    #[error("{message}")]
    Diverged {
        /// At which step, and what it gave.
        message: String,
        /// The positions of the step's examples in the request, from 0.
        examples: Vec<u32>,
    },
    /// The request cannot be met in the present state (a disk that is full, memory that will not suffice).
    #[error("{0}")]
    Unavailable(String),
    /// The work was interrupted at a safe point, and goes on from there when asked again.
    #[error("interrupted")]
    Interrupted,
    /// Stored data does not match its digest or cannot be read back.
    #[error("{0}")]
    Corrupt(String),
    /// Anything else: a defect, or a machine at fault.
    #[error("{0}")]
    Internal(String),
}

/// A port call's result.
pub type PortResult<T> = Result<T, PortError>;
