//! What can go wrong, shaped by what a person or the caller can do about it.

use std::io;
use std::path::PathBuf;

use autodidact_domain::PortError;

/// Why the store could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the store open.
    #[error(
        "another process holds the store in {}: stop the other daemon, or name another data directory",
        directory.display()
    )]
    Locked {
        /// The database's directory.
        directory: PathBuf,
    },
    /// The store cannot be read; its files were moved aside.
    #[error(
        "the store in {} is damaged ({detail}). Nothing was deleted: its files now lie in {}. \
         Put a backup in their old place, or start again to begin with an empty store",
        directory.display(), moved_to.display()
    )]
    Damaged {
        /// Where the store was.
        directory: PathBuf,
        /// Where its files are now.
        moved_to: PathBuf,
        /// What was found.
        detail: String,
    },
    /// One of the store's two databases is missing.
    #[error("the store in {} is not whole: {detail}. Put it back from a backup", directory.display())]
    Incomplete {
        /// The store's directory.
        directory: PathBuf,
        /// What is missing.
        detail: &'static str,
    },
    /// A later version of this program wrote the store.
    #[error(
        "the store has schema version {found}, and this program knows only versions up to {supported}: \
         use the version that wrote it, or a later one"
    )]
    Newer {
        /// The version found.
        found: u32,
        /// The newest version known here.
        supported: u32,
    },
    /// No migration leads from the store's version to the present one.
    #[error(
        "the store has schema version {found}, from which no migration exists: put a backup in its place"
    )]
    NoMigration {
        /// The version found.
        found: u32,
    },
    /// The disk is full, or nearly so.
    #[error(
        "the disk that holds the store is full ({detail}): free some space, then try again (restart the daemon if \
         it goes on failing); what was acknowledged is kept"
    )]
    Full {
        /// What was found.
        detail: String,
    },
    /// The store was closed; the daemon is shutting down.
    #[error("the store is closed: the daemon is shutting down")]
    Closed,
    /// Stored data cannot be read back as it was written.
    #[error(
        "stored data is damaged: {0}; restore it from a backup, or delete it and make it again"
    )]
    Corrupt(String),
    /// The file system failed.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried, as verb and object.
        action: String,
        /// What the system said.
        source: io::Error,
    },
    /// The database refused; a defect.
    #[error("the database failed: {0}")]
    Database(String),
}

impl StoreError {
    /// Wraps a failure of the file system; a full disk becomes [`StoreError::Full`].
    pub(crate) fn io(action: impl Into<String>, source: io::Error) -> Self {
        if is_full(source.kind()) {
            return Self::Full {
                detail: source.to_string(),
            };
        }
        Self::Io {
            action: action.into(),
            source,
        }
    }
}

/// A file size limit and a quota are a full disk to whoever hits them.
fn is_full(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

impl From<sled::Error> for StoreError {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(source) => Self::io("read or write the database", source),
            sled::Error::Corruption { .. } => {
                Self::Corrupt("a page of the database fails its checksum".to_string())
            }
            other => Self::Database(other.to_string()),
        }
    }
}

impl From<StoreError> for PortError {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::Full { .. } | StoreError::Closed | StoreError::Locked { .. } => {
                Self::Unavailable(message)
            }
            StoreError::Corrupt(_) | StoreError::Damaged { .. } => Self::Corrupt(message),
            _ => Self::Internal(message),
        }
    }
}

/// Says that a name is unknown, with the nearest known one where one is near.
pub(crate) fn not_found(
    what: &'static str,
    name: &str,
    known: impl Iterator<Item = String>,
) -> PortError {
    // Jaro-Winkler above 0.8: a slip or two in a name of usual length.
    let nearest = known
        .map(|candidate| (strsim::jaro_winkler(&candidate, name), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate);
    PortError::NotFound {
        what,
        name: name.to_string(),
        nearest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_apart() {
        for code in [28, 122, 27] {
            let error = StoreError::from(sled::Error::Io(io::Error::from_raw_os_error(code)));
            assert!(matches!(error, StoreError::Full { .. }), "{code}: {error}");
            assert!(matches!(PortError::from(error), PortError::Unavailable(_)));
        }
        let other = StoreError::from(sled::Error::Io(io::Error::from_raw_os_error(5)));
        assert!(matches!(other, StoreError::Io { .. }));
    }

    #[test]
    fn a_slip_in_a_name_is_helped() {
        let known = || ["seeds-en", "held-out"].into_iter().map(String::from);
        let nearest = |name| match not_found("dataset", name, known()) {
            PortError::NotFound { nearest, .. } => nearest,
            other => panic!("{other}"),
        };
        assert_eq!(nearest("seed-en").as_deref(), Some("seeds-en"));
        assert_eq!(nearest("qqq"), None);
    }
}
