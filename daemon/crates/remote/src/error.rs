//! What goes wrong with a remote model.

use autodidact_domain::PortError;

/// Why a remote model gave no answer. Every text names the model and its server, and never its key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// The server refused the request: settings, key or request must change.
    #[error("{0}")]
    Refused(String),
    /// The server refused the request because its prompt leaves no room in the model's context.
    #[error("{0}")]
    TooLong(String),
    /// The server or the way to it failed, again and again: it may work later.
    #[error("{0}")]
    Failed(String),
    /// The server speaks something else than OpenAI's API.
    #[error("{0}")]
    Malformed(String),
    /// The request asks for what this model cannot do here.
    #[error("{0}")]
    Unsupported(String),
    /// The caller wants no answer any more.
    #[error("interrupted")]
    Interrupted,
    /// The account gave no leave, or could not write a payment down.
    #[error(transparent)]
    Account(PortError),
    /// This process cannot make requests.
    #[error("{0}")]
    Internal(String),
}

impl From<RemoteError> for PortError {
    fn from(error: RemoteError) -> Self {
        match error {
            RemoteError::Refused(text)
            | RemoteError::TooLong(text)
            | RemoteError::Unsupported(text) => Self::Invalid(text),
            RemoteError::Failed(text) | RemoteError::Malformed(text) => Self::Unavailable(text),
            RemoteError::Interrupted => Self::Interrupted,
            RemoteError::Account(error) => error,
            RemoteError::Internal(text) => Self::Internal(text),
        }
    }
}
