//! The crate's one error, its variants shaped by what the caller can do.

use std::path::{Path, PathBuf};

use autodidact_domain::PortError;

/// What went wrong in the engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A model file is damaged, cut short or of a kind that is not supported: the user names or fetches another.
    #[error("{}: {part}: expected {expected}, found {found}; {advice}", file.display())]
    ModelFile {
        /// The file or folder.
        file: PathBuf,
        /// The tensor or field.
        part: String,
        /// What should stand there.
        expected: String,
        /// What stands there instead, cut to a readable length.
        found: String,
        /// What to do about it.
        advice: &'static str,
    },
    /// A file could not be read: the user mends its place or its rights.
    #[error("{action} {}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// The verb, such as `read`.
        action: &'static str,
        /// The system's own error.
        source: std::io::Error,
    },
    /// An adapter does not fit the base: the user names the base it was trained on, or another adapter.
    #[error("adapter: {part}: expected {expected}, found {found}")]
    Adapter {
        /// The tensor or field.
        part: String,
        /// What should stand there.
        expected: String,
        /// What stands there instead.
        found: String,
    },
    /// The chat template cannot lay out a conversation: the user changes it or its messages, or prompts with plain text.
    #[error(
        "{}: {field}: expected a template that lays out the conversation, found {found}; give other messages, mend the template, or prompt with plain text",
        file.display()
    )]
    Template {
        /// The file that the template stands in.
        file: PathBuf,
        /// Its field there.
        field: &'static str,
        /// What it did instead, cut to a readable length.
        found: String,
    },
    /// Text could not be turned into tokens or back.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// A request is wrong in itself: the caller mends it.
    #[error("{0}")]
    Invalid(String),
    /// Training gave numbers that are none: the user looks at the examples, or trains more gently.
    #[error("{message}")]
    Diverged {
        /// At which step, and what it gave.
        message: String,
        /// The positions of the step's examples in the request, from 0.
        examples: Vec<u32>,
    },
    /// The work does not fit in the memory there is.
    #[error("{0}")]
    Memory(String),
    /// The device cannot be used: the user chooses another, or another build.
    #[error("device {device}: {reason}")]
    Device {
        /// The device, as the user named it.
        device: String,
        /// Why not, and what to do.
        reason: String,
    },
    /// An operation got a tensor of another shape than it takes; a defect.
    #[error("{operation}: expected shape {expected}, found {found}")]
    Shape {
        /// The operation.
        operation: &'static str,
        /// The shape it takes.
        expected: String,
        /// The shape it got.
        found: String,
    },
    /// The interrupt was raised, and the work stopped at a safe point.
    #[error("interrupted")]
    Interrupted,
    /// A tensor operation failed; a defect, or memory that ran out.
    #[error("tensor operation: {0}")]
    Tensor(#[from] candle_core::Error),
}

impl EngineError {
    /// Makes the error of an adapter that does not fit.
    pub(crate) fn adapter(
        part: impl Into<String>,
        expected: impl ToString,
        found: impl ToString,
    ) -> Self {
        Self::Adapter {
            part: part.into(),
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }

    /// Makes the error of a damaged model file.
    pub(crate) fn damaged(
        file: &Path,
        part: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::ModelFile {
            file: file.to_path_buf(),
            part: part.into(),
            expected: expected.into(),
            found: shorten(found.into()),
            advice: "the file is damaged or cut short: fetch it again",
        }
    }

    /// Makes the error of a model that is whole but of an unsupported kind.
    pub(crate) fn unsupported(
        file: &Path,
        part: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::ModelFile {
            file: file.to_path_buf(),
            part: part.into(),
            expected: expected.into(),
            found: shorten(found.into()),
            advice: "use a model of a supported kind",
        }
    }

    /// Makes the error of a model file whose parts are whole but cannot be used together.
    pub(crate) fn unfit(
        file: &Path,
        part: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
        advice: &'static str,
    ) -> Self {
        Self::ModelFile {
            file: file.to_path_buf(),
            part: part.into(),
            expected: expected.into(),
            found: shorten(found.into()),
            advice,
        }
    }

    /// Makes the error of a chat template that fails on a conversation.
    pub(crate) fn template(file: &Path, field: &'static str, found: impl Into<String>) -> Self {
        Self::Template {
            file: file.to_path_buf(),
            field,
            found: shorten(found.into()),
        }
    }

    /// Makes the error of a failed system call.
    pub(crate) fn io(file: &Path, action: &'static str, source: std::io::Error) -> Self {
        Self::Io {
            file: file.to_path_buf(),
            action,
            source,
        }
    }

    /// Says in which request of a call, counted from 0, the fault lies.
    #[must_use]
    pub fn of_request(self, index: usize) -> Self {
        self.of("request", index)
    }

    /// Says in which of the things that a call gave, counted from 0, the fault lies.
    #[must_use]
    pub(crate) fn of(self, what: &str, index: usize) -> Self {
        match self {
            Self::Invalid(fault) => Self::Invalid(format!("{what} {index}: {fault}")),
            Self::Memory(fault) => Self::Memory(format!("{what} {index}: {fault}")),
            Self::Template { file, field, found } => Self::Template {
                file,
                field,
                found: format!("for {what} {index}: {found}"),
            },
            other => other,
        }
    }
}

/// Cuts text from outside to a length that a person can read.
fn shorten(text: String) -> String {
    const MAX_CHARS: usize = 120;
    if text.chars().count() <= MAX_CHARS {
        return text;
    }
    text.chars().take(MAX_CHARS).chain("…".chars()).collect()
}

impl From<EngineError> for PortError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Interrupted => Self::Interrupted,
            EngineError::Diverged { message, examples } => Self::Diverged { message, examples },
            EngineError::Memory(_) | EngineError::Device { .. } => {
                Self::Unavailable(error.to_string())
            }
            EngineError::Tensor(_) | EngineError::Shape { .. } => Self::Internal(error.to_string()),
            EngineError::ModelFile { .. }
            | EngineError::Io { .. }
            | EngineError::Adapter { .. }
            | EngineError::Template { .. }
            | EngineError::Tokenizer(_)
            | EngineError::Invalid(_) => Self::Invalid(error.to_string()),
        }
    }
}
