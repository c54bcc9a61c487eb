//! What can go wrong with plugins, and what the caller can do about it.

use std::io;
use std::path::{Path, PathBuf};

use autodidact_domain::capability::NotAsked;
use autodidact_domain::{Digest, PortError};

/// An error of the plugin host.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// The component cannot be used: its author mends it.
    #[error("component refused: {0}")]
    Refused(String),
    /// No plugin has this name: the caller names another.
    #[error("plugin {name:?} not found")]
    NotFound {
        /// The name asked for.
        name: String,
        /// The nearest name there is.
        nearest: Option<String>,
    },
    /// No component has this digest: it was removed, or never installed here.
    #[error("no plugin component {0} is installed")]
    UnknownDigest(Digest),
    /// Another plugin has the name.
    #[error("plugin {name:?} exists: {detail}")]
    Exists {
        /// The name.
        name: String,
        /// What to do.
        detail: String,
    },
    /// A built-in plugin cannot be removed.
    #[error("plugin {0:?} comes with the daemon and cannot be removed; disable it instead")]
    Builtin(String),
    /// A person granted what the plugin does not ask for.
    #[error(transparent)]
    NotAsked(#[from] NotAsked),
    /// What a person grants with it cannot be granted, so a component was not installed.
    #[error("{0}; nothing was installed")]
    NotInstalled(Box<PluginError>),
    /// Reading files was granted without any.
    #[error(
        "plugin {0:?} would have no file to read: `autodidact plugin grant {0} data --file NAME=PATH` gives it one, once it is installed"
    )]
    NoFiles(String),
    /// Files were given without leave to read them.
    #[error("plugin {0:?} may not read files: grant it data together with them")]
    NoData(String),
    /// A file cannot be given to plugins.
    #[error("{0}")]
    DataFile(String),
    /// The plugin does not accept the configuration: the person who wrote it mends it.
    #[error("configuration of plugin {name:?}: {message}")]
    Config {
        /// The plugin.
        name: String,
        /// What the plugin or the host says.
        message: String,
    },
    /// A file is damaged.
    #[error("{}: {detail}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        detail: String,
    },
    /// The disk refuses.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried: verb alone.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The runtime could not be set up on this machine.
    #[error("start the plugin runtime: {0}")]
    Runtime(String),
}

impl PluginError {
    /// Makes a function that says what was tried with a path when an I/O error came.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

impl From<PluginError> for PortError {
    fn from(error: PluginError) -> Self {
        let message = error.to_string();
        match error {
            PluginError::NotFound { name, nearest } => Self::NotFound {
                what: "plugin",
                name,
                nearest,
            },
            PluginError::UnknownDigest(digest) => Self::NotFound {
                what: "plugin component",
                name: digest.to_string(),
                nearest: None,
            },
            PluginError::Exists { name, detail } => Self::Exists {
                what: "plugin",
                name,
                detail,
            },
            PluginError::Refused(_)
            | PluginError::Builtin(_)
            | PluginError::NotAsked(_)
            | PluginError::NotInstalled(_)
            | PluginError::NoFiles(_)
            | PluginError::NoData(_)
            | PluginError::DataFile(_)
            | PluginError::Config { .. } => Self::Invalid(message),
            PluginError::Corrupt { .. } => Self::Corrupt(message),
            PluginError::Io { .. } => Self::Unavailable(message),
            PluginError::Runtime(_) => Self::Internal(message),
        }
    }
}
