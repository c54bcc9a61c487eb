//! The durable store: journal, workflows, datasets, checkpoints, events, models, reviews and answered requests, on sled.
//!
//! Two databases stand in the store's directory. `journal/` holds what is small and written often; `content/`
//! holds the bytes of datasets and checkpoints, so that rewriting those never slows a journal commit down. The
//! tensors of a set that is too big for sled lie in `tensors/` as files named by their digest.
//!
//! INVARIANT: no value in sled is longer than [`parts::PART_BYTES`]; longer ones would become blob files that are
//! never synced and that leak. Everything long goes through [`parts`].
//!
//! INVARIANT: content comes first, what names it comes last. A list or a draft of what is about to be written (or
//! removed) comes before both, so that after a kill the next opening finds what was left over and removes it.

mod batch;
mod checkpoints;
mod chunks;
mod database;
mod dataset_keys;
mod datasets;
mod error;
mod events;
mod guard;
mod journal;
mod listeners;
mod manifest;
mod models;
mod open;
mod pace;
mod parts;
mod preflight;
mod requests;
mod reviews;
mod schema;
mod spending;
mod table;
mod tensor_files;
mod workflows;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use autodidact_domain::ports;

pub use crate::error::StoreError;
pub use crate::schema::SCHEMA_VERSION;

use crate::database::Database;

/// The limits that a store keeps to.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes that stay free on the disk: a write that would leave less is refused while nothing is harmed yet.
    pub reserve_bytes: u64,
    /// A set of tensors with more bytes than this lies in a file beside sled.
    pub tensor_file_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        // sled stops for good at its first failed write, so room for its own clean-up stays free.
        Self {
            reserve_bytes: 32 << 20,
            tensor_file_bytes: 256 << 20,
        }
    }
}

/// The open store. Its ports stay usable as long as anyone holds them.
pub struct Store {
    directory: PathBuf,
    databases: [Arc<Database>; 2],
    journal: Arc<journal::JournalStore>,
    workflows: Arc<workflows::WorkflowStore>,
    datasets: Arc<datasets::DatasetStore>,
    checkpoints: Arc<checkpoints::CheckpointStore>,
    events: Arc<events::EventStore>,
    models: Arc<models::ModelStore>,
    requests: Arc<requests::RequestStore>,
    spending: Arc<spending::SpendingStore>,
    reviews: Arc<reviews::ReviewStore>,
}

impl Store {
    /// Opens the store in a directory, making it where there is none, and finishes what a kill cut off.
    ///
    /// # Errors
    /// [`StoreError::Locked`] while another process has it open, [`StoreError::Damaged`] when it cannot be read (its
    /// files are moved aside, never deleted), [`StoreError::Newer`] when a later version wrote it.
    pub fn open(directory: &Path, clock: Arc<dyn ports::Clock>) -> Result<Self, StoreError> {
        Self::open_with(directory, clock, Options::default())
    }

    /// Opens the store with other limits than the usual ones.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with(
        directory: &Path,
        clock: Arc<dyn ports::Clock>,
        options: Options,
    ) -> Result<Self, StoreError> {
        open::open(directory, clock, options)
    }

    /// Shows the port to the journal.
    pub fn journal(&self) -> Arc<dyn ports::Journal> {
        self.journal.clone()
    }

    /// Shows the port to the workflows.
    pub fn workflows(&self) -> Arc<dyn ports::Workflows> {
        self.workflows.clone()
    }

    /// Shows the port to the datasets.
    pub fn datasets(&self) -> Arc<dyn ports::Datasets> {
        self.datasets.clone()
    }

    /// Shows the port to the checkpoints.
    pub fn checkpoints(&self) -> Arc<dyn ports::Checkpoints> {
        self.checkpoints.clone()
    }

    /// Shows the port to the events.
    pub fn events(&self) -> Arc<dyn ports::Events> {
        self.events.clone()
    }

    /// Shows the port to the models.
    pub fn models(&self) -> Arc<dyn ports::Models> {
        self.models.clone()
    }

    /// Shows the port to the answered requests.
    pub fn requests(&self) -> Arc<dyn ports::Requests> {
        self.requests.clone()
    }

    /// Shows the port to what workflows have spent.
    pub fn spending(&self) -> Arc<dyn ports::Spending> {
        self.spending.clone()
    }

    /// Shows the port to what people say of examples.
    pub fn reviews(&self) -> Arc<dyn ports::Reviews> {
        self.reviews.clone()
    }

    /// Sums the bytes of every file in the store's directory.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn size_on_disk(&self) -> Result<u64, StoreError> {
        open::directory_bytes(&self.directory)
    }

    /// Returns once everything written so far survives a loss of power.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.databases
            .iter()
            .try_for_each(|database| guard::contain(|| database.sync()))
    }

    /// Flushes, and refuses every later write. The files are let go of when the last port is dropped.
    ///
    /// # Errors
    /// When the disk refuses the flush.
    pub fn close(&self) -> Result<(), StoreError> {
        let flushed = self.flush();
        self.databases.iter().for_each(|database| database.close());
        flushed
    }
}
