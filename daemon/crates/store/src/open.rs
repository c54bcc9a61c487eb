//! Opening: the lock, damage, the schema, and what a kill left unfinished.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use autodidact_domain::ports::Clock;

use crate::checkpoints::CheckpointStore;
use crate::database::Database;
use crate::datasets::DatasetStore;
use crate::events::EventStore;
use crate::journal::JournalStore;
use crate::models::ModelStore;
use crate::requests::RequestStore;
use crate::reviews::ReviewStore;
use crate::spending::SpendingStore;
use crate::tensor_files::TensorFiles;
use crate::workflows::WorkflowStore;
use crate::{Options, Store, StoreError, guard, preflight, schema};

/// Everything that the store keeps in its directory; nothing else there is touched.
const JOURNAL: &str = "journal";
const CONTENT: &str = "content";
const TENSORS: &str = "tensors";

/// The page caches. Journal records are read once, at a restart; content is read from end to end.
const JOURNAL_CACHE_BYTES: u64 = 16 << 20;
const CONTENT_CACHE_BYTES: u64 = 64 << 20;

/// How long to wait for the lock: sled's threads hold it for a moment after a store of this process was dropped.
const LOCK_WAIT: Duration = Duration::from_secs(3);

/// Opens the store; see [`Store::open`].
pub(crate) fn open(
    directory: &Path,
    clock: Arc<dyn Clock>,
    options: Options,
) -> Result<Store, StoreError> {
    fs::create_dir_all(directory).map_err(|source| {
        StoreError::io(format!("make the folder {}", directory.display()), source)
    })?;
    match guard::contain(|| assemble(directory, clock.clone(), options)) {
        Err(StoreError::Corrupt(detail)) => {
            let moved_to = move_aside(directory, clock.now_ms())?;
            Err(StoreError::Damaged {
                directory: directory.to_path_buf(),
                moved_to,
                detail,
            })
        }
        result => result,
    }
}

fn assemble(
    directory: &Path,
    clock: Arc<dyn Clock>,
    options: Options,
) -> Result<Store, StoreError> {
    let reserve = options.reserve_bytes;
    let journal = open_database(&directory.join(JOURNAL), JOURNAL_CACHE_BYTES, reserve)?;
    let content = open_database(&directory.join(CONTENT), CONTENT_CACHE_BYTES, reserve)?;
    check_whole(directory, &journal, &content)?;
    schema::upgrade(&journal.database, &content.database)?;
    let (journal, content) = (Arc::new(journal.database), Arc::new(content.database));
    let files = TensorFiles::open(&directory.join(TENSORS))?;
    // The directories' own entries.
    sync_directory(directory)?;
    Ok(Store {
        directory: directory.to_path_buf(),
        journal: Arc::new(JournalStore::open(journal.clone())?),
        workflows: Arc::new(WorkflowStore::open(journal.clone(), clock.clone())?),
        datasets: Arc::new(DatasetStore::open(content.clone(), clock.clone())?),
        checkpoints: Arc::new(CheckpointStore::open(
            content.clone(),
            files,
            clock.clone(),
            options,
        )?),
        events: Arc::new(EventStore::open(journal.clone(), clock.clone())?),
        models: Arc::new(ModelStore::open(journal.clone())?),
        requests: Arc::new(RequestStore::open(journal.clone())?),
        spending: Arc::new(SpendingStore::open(journal.clone())?),
        reviews: Arc::new(ReviewStore::open(journal.clone())?),
        databases: [journal, content],
    })
}

struct Opened {
    database: Database,
    /// Whether a log file with something in it stood there before.
    existed: bool,
}

fn open_database(
    directory: &Path,
    cache_bytes: u64,
    reserve_bytes: u64,
) -> Result<Opened, StoreError> {
    let log = directory.join("db");
    let existed = fs::metadata(&log).is_ok_and(|log| log.len() > 0);
    let patience = Instant::now() + LOCK_WAIT;
    let db = loop {
        match preflight::check_log(&log).and_then(|()| open_sled(directory, cache_bytes)) {
            Err(StoreError::Locked { .. }) if Instant::now() < patience => {
                thread::sleep(Duration::from_millis(50))
            }
            result => break result?,
        }
    };
    Ok(Opened {
        database: Database::new(db, directory, reserve_bytes)?,
        existed,
    })
}

fn open_sled(directory: &Path, cache_bytes: u64) -> Result<sled::Db, StoreError> {
    sled::Config::new()
        .path(directory)
        .cache_capacity(cache_bytes)
        .open()
        .map_err(|error| opening_error(directory, error))
}

/// Tells damage from what a person can mend in place (permissions, a full disk).
fn opening_error(directory: &Path, error: sled::Error) -> StoreError {
    match error {
        // sled has no error of its own for a lock that is held, only this text.
        sled::Error::Io(source) if source.to_string().contains("could not acquire lock") => {
            StoreError::Locked {
                directory: directory.to_path_buf(),
            }
        }
        sled::Error::Io(source)
            if matches!(
                source.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData
            ) =>
        {
            StoreError::Corrupt(format!("{} is cut short: {source}", directory.display()))
        }
        sled::Error::Io(source) => StoreError::io(
            format!("open the database in {}", directory.display()),
            source,
        ),
        sled::Error::Corruption { .. } => {
            StoreError::Corrupt(format!("{} fails its checksums", directory.display()))
        }
        sled::Error::ReportableBug(text) => StoreError::Corrupt(text),
        // The store always asks for the same parameters: others stand in a `conf` that was damaged, or that another
        // version of sled wrote, which is no damage.
        sled::Error::Unsupported(text) if !text.contains("pagecache version") => {
            StoreError::Corrupt(text)
        }
        other => other.into(),
    }
}

/// Refuses half a store. A log that lost its beginning, and a folder that was removed and made anew, both show in the
/// missing schema version.
fn check_whole(directory: &Path, journal: &Opened, content: &Opened) -> Result<(), StoreError> {
    let (missing, detail) = match [
        schema::version(&journal.database)?,
        schema::version(&content.database)?,
    ] {
        [Some(_), None] => (content, "the folder `content` was removed"),
        // The first opening writes the content's version first; a kill right after it leaves an empty store.
        [None, Some(_)] if !content_is_empty(&content.database)? => {
            (journal, "the folder `journal` was removed")
        }
        _ => return Ok(()),
    };
    if missing.existed {
        return Err(StoreError::Corrupt(
            "the schema version is gone".to_string(),
        ));
    }
    Err(StoreError::Incomplete {
        directory: directory.to_path_buf(),
        detail,
    })
}

fn content_is_empty(content: &Database) -> Result<bool, StoreError> {
    Ok(DatasetStore::is_empty(content)? && CheckpointStore::is_empty(content)?)
}

/// Moves the store's own folders into a new one beside them, named by the time.
fn move_aside(directory: &Path, now_ms: u64) -> Result<PathBuf, StoreError> {
    let name = format!("damaged-{}", utc_text(now_ms));
    let target = (0..1000)
        .map(|n| {
            directory.join(if n == 0 {
                name.clone()
            } else {
                format!("{name}-{n}")
            })
        })
        .find(|path| !path.exists())
        .unwrap_or_else(|| directory.join(&name));
    let failed = |source| {
        StoreError::io(
            format!("move the damaged store to {}", target.display()),
            source,
        )
    };
    fs::create_dir(&target).map_err(failed)?;
    for folder in [JOURNAL, CONTENT, TENSORS] {
        let path = directory.join(folder);
        if path.exists() {
            fs::rename(&path, target.join(folder)).map_err(failed)?;
        }
    }
    sync_directory(directory)?;
    Ok(target)
}

/// Makes a directory's entries durable.
pub(crate) fn sync_directory(directory: &Path) -> Result<(), StoreError> {
    File::open(directory)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| {
            StoreError::io(format!("sync the folder {}", directory.display()), source)
        })
}

/// Sums the bytes of all files below a directory.
pub(crate) fn directory_bytes(directory: &Path) -> Result<u64, StoreError> {
    let failed =
        |source| StoreError::io(format!("list the folder {}", directory.display()), source);
    let mut bytes = 0;
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes += directory_bytes(&entry.path())?,
            Ok(metadata) => bytes += metadata.len(),
            // A file that went away between listing and measuring holds nothing.
            Err(source) if source.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(failed(source)),
        }
    }
    Ok(bytes)
}

/// Writes a time as `20261123T192512Z`. The date follows Howard Hinnant's `civil_from_days`.
fn utc_text(ms: u64) -> String {
    let (days, seconds) = (ms / 86_400_000, ms / 1000 % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        for (ms, text) in [
            (0, "19700101T000000Z"),
            (951_782_400_000, "20000229T000000Z"),
            (1_795_461_912_345, "20261123T192512Z"),
            (4_102_444_799_000, "20991231T235959Z"),
        ] {
            assert_eq!(utc_text(ms), text);
        }
    }
}
