//! One sled database with what sled does not do itself: real syncs, room kept free, writes refused once closed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::StoreError;
use crate::pace::Pace;
use crate::table::Table;

/// Tells what a write of so many bytes takes of the disk at most: sled's log takes up to three times as much until it
/// reclaims the rest.
pub(crate) fn in_log(bytes: u64) -> u64 {
    bytes.saturating_mul(3)
}

/// An open database.
pub(crate) struct Database {
    db: sled::Db,
    directory: PathBuf,
    /// The log file and its directory, held open to be synced: sled's flush starts the writes (`sync_file_range`)
    /// without making the file's length durable.
    synced: [File; 2],
    reserve_bytes: u64,
    closed: AtomicBool,
    pace: Pace,
}

impl Database {
    /// Wraps a database that stands in a directory.
    pub(crate) fn new(
        db: sled::Db,
        directory: &Path,
        reserve_bytes: u64,
    ) -> Result<Self, StoreError> {
        let open = |path: &Path| {
            File::open(path)
                .map_err(|source| StoreError::io(format!("open {}", path.display()), source))
        };
        let synced = [open(&directory.join("db"))?, open(directory)?];
        let closed = AtomicBool::new(false);
        Ok(Self {
            db,
            directory: directory.to_path_buf(),
            synced,
            reserve_bytes,
            closed,
            pace: Pace::new(),
        })
    }

    /// Opens a table, making it where there is none.
    pub(crate) fn table(&self, name: &str) -> Result<Table, StoreError> {
        Ok(Table(self.db.open_tree(name)?))
    }

    /// Checks, before a write of so many bytes, that the store is open and that the disk has room.
    pub(crate) fn check_writable(&self, bytes: u64) -> Result<(), StoreError> {
        self.check_takes(in_log(bytes))
    }

    /// Checks, before a write that takes so much of the disk, that the store is open and that the disk has room.
    pub(crate) fn check_takes(&self, bytes: u64) -> Result<(), StoreError> {
        self.check_room(bytes.saturating_add(self.reserve_bytes))
    }

    /// Checks, before a removal, that the store is open. Removing writes little and frees much, so it may go into
    /// what others must leave free.
    pub(crate) fn check_removable(&self) -> Result<(), StoreError> {
        self.check_room(self.reserve_bytes / 4)
    }

    fn check_room(&self, needed: u64) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::Closed);
        }
        let free = self.free()?;
        if free < needed {
            let (free, needed) = (free >> 20, needed.div_ceil(1 << 20));
            return Err(StoreError::Full {
                detail: format!("{free} MiB are free, {needed} MiB are needed"),
            });
        }
        Ok(())
    }

    fn free(&self) -> Result<u64, StoreError> {
        fs4::available_space(&self.directory).map_err(|source| {
            StoreError::io(
                format!("measure the disk of {}", self.directory.display()),
                source,
            )
        })
    }

    /// Tells the bytes that writes may take of the disk.
    pub(crate) fn available(&self) -> Result<u64, StoreError> {
        Ok(self.free()?.saturating_sub(self.reserve_bytes))
    }

    /// Returns once everything written survives a kill of this process.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        self.db.flush()?;
        Ok(())
    }

    /// Returns once everything written survives a loss of power.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        self.flush()?;
        for file in &self.synced {
            file.sync_all()
                .map_err(|source| StoreError::io("sync the database to disk", source))?;
        }
        Ok(())
    }

    /// Waits before a write of so many bytes of content, at the pace of reclaiming.
    pub(crate) fn pace(&self, bytes: u64) -> Result<(), StoreError> {
        if self.pace.wait(bytes) {
            self.sync()
        } else {
            Ok(())
        }
    }

    /// Refuses every later write.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }
}
