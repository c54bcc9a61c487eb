//! Atomic writes within the limits that sled's batches work well in.

use sled::IVec;

use crate::StoreError;
use crate::table::Table;

/// The most writes of one batch: a batch holds a process-wide lock.
const BATCH_ITEMS: usize = 900;
/// The most bytes of one batch.
const BATCH_BYTES: usize = 1 << 20;

/// Gathers writes to one table. As long as they fit, all of them become visible at once with [`BatchWriter::finish`];
/// when they do not, earlier ones are written before, in order, and the caller's last writes decide what counts.
pub(crate) struct BatchWriter<'a> {
    table: &'a Table,
    batch: sled::Batch,
    items: usize,
    bytes: usize,
}

impl<'a> BatchWriter<'a> {
    /// Starts an empty batch.
    pub(crate) fn new(table: &'a Table) -> Self {
        Self {
            table,
            batch: sled::Batch::default(),
            items: 0,
            bytes: 0,
        }
    }

    /// Shows the table written to.
    pub(crate) fn table(&self) -> &'a Table {
        self.table
    }

    /// Sets a key.
    pub(crate) fn insert(&mut self, key: impl Into<IVec>, value: &[u8]) -> Result<(), StoreError> {
        let key = key.into();
        self.reserve(1, key.len() + value.len())?;
        self.items += 1;
        self.bytes += key.len() + value.len();
        self.batch.insert(key, value);
        Ok(())
    }

    /// Removes a key.
    pub(crate) fn remove(&mut self, key: impl Into<IVec>) -> Result<(), StoreError> {
        let key = key.into();
        self.reserve(1, key.len())?;
        self.items += 1;
        self.bytes += key.len();
        self.batch.remove(key);
        Ok(())
    }

    /// Makes sure that the next writes, up to so many, land in one batch together.
    pub(crate) fn reserve(&mut self, items: usize, bytes: usize) -> Result<(), StoreError> {
        if self.items > 0 && (self.items + items > BATCH_ITEMS || self.bytes + bytes > BATCH_BYTES)
        {
            self.apply()?;
        }
        Ok(())
    }

    /// Writes what is gathered.
    pub(crate) fn finish(mut self) -> Result<(), StoreError> {
        self.apply()
    }

    fn apply(&mut self) -> Result<(), StoreError> {
        (self.items, self.bytes) = (0, 0);
        Ok(self.table.0.apply_batch(std::mem::take(&mut self.batch))?)
    }
}
