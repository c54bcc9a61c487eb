//! Why the server cannot start or go on.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// What keeps the server from listening, shaped by what a person can do about it.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Another daemon answers on the socket: use it, or stop it first.
    #[error("another daemon answers at {}; use it, or stop it first", .0.display())]
    AlreadyServed(PathBuf),
    /// Something that is no socket stands where the socket should be: move it, or choose another path.
    #[error("{} is not a socket; move it away or choose another socket path", .0.display())]
    NotASocket(PathBuf),
    /// Others can reach into the socket's folder: close it.
    #[error("the socket's folder {} is open to others (mode {mode:o}); run `chmod 700 {}` or choose another", path.display(), path.display())]
    OpenFolder {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file system or network refused.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried, verb and object.
        action: String,
        /// Why it was refused.
        source: io::Error,
    },
    /// A TCP address was asked for without a token: configure one.
    #[error("listening on {0} needs a bearer token")]
    NoToken(SocketAddr),
    /// An address that others can reach was asked for without TLS: configure a certificate, or listen on loopback.
    #[error("{0} is not a loopback address; listening there needs a TLS certificate and key")]
    NoTls(SocketAddr),
    /// The bearer token is unusable: make a longer one.
    #[error("a bearer token takes {min} to {max} visible ASCII characters; make one with `openssl rand -hex 32`", min = crate::auth::MIN_TOKEN_LENGTH, max = crate::auth::MAX_TOKEN_LENGTH)]
    BadToken,
    /// The transport failed: a bad certificate or key, or a listener that broke.
    #[error("{action}: {detail}")]
    Transport {
        /// What was tried, verb and object.
        action: &'static str,
        /// The whole chain of causes.
        detail: String,
    },
}

impl ServerError {
    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }

    pub(crate) fn transport(action: &'static str) -> impl FnOnce(tonic::transport::Error) -> Self {
        move |error| {
            let mut detail = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                detail = format!("{detail}: {cause}");
                source = cause.source();
            }
            Self::Transport { action, detail }
        }
    }
}
