//! Content-addressed chunks: each one stored once, under its BLAKE3 digest, and checked whenever it is read.

use std::collections::HashSet;

use autodidact_domain::Digest;

use crate::StoreError;
use crate::batch::BatchWriter;
use crate::database::Database;
use crate::parts;
use crate::table::Table;

/// The chunks of one table. Who refers to them is their owner's knowledge; see [`Chunks::remove`].
pub(crate) struct Chunks(Table);

impl Chunks {
    /// Wraps a table that holds nothing else.
    pub(crate) fn new(table: Table) -> Self {
        Self(table)
    }

    /// Starts writing many chunks.
    pub(crate) fn writer<'a>(&'a self, database: &'a Database) -> ChunkWriter<'a> {
        ChunkWriter {
            table: &self.0,
            database,
            batch: BatchWriter::new(&self.0),
            staged: HashSet::new(),
        }
    }

    /// Reads a chunk and checks it against its digest; none where it is missing.
    pub(crate) fn get(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(bytes) = parts::get(&self.0, digest.as_bytes())? else {
            return Ok(None);
        };
        if Digest::of(&bytes) != *digest {
            return Err(StoreError::Corrupt(format!(
                "chunk {} does not match its digest",
                digest.short()
            )));
        }
        Ok(Some(bytes))
    }

    /// Tells whether chunks are all there, without checking them.
    pub(crate) fn hold_all(&self, digests: &[Digest]) -> Result<bool, StoreError> {
        for digest in digests {
            if !parts::contains(&self.0, digest.as_bytes())? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Removes chunks, and parts of them that an unfinished write left. The caller knows that nobody refers to them.
    pub(crate) fn remove<'d>(
        &self,
        database: &Database,
        digests: impl IntoIterator<Item = &'d Digest>,
        expected_bytes: u64,
    ) -> Result<(), StoreError> {
        let mut batch = BatchWriter::new(&self.0);
        for digest in digests {
            // Removing rewrites pages too, though fewer bytes than writing does.
            database.pace(expected_bytes / 3)?;
            parts::remove(&mut batch, digest.as_bytes())?;
        }
        batch.finish()
    }

    #[cfg(test)]
    pub(crate) fn table(&self) -> &Table {
        &self.0
    }
}

/// Writes chunks that are not there yet.
pub(crate) struct ChunkWriter<'a> {
    table: &'a Table,
    database: &'a Database,
    batch: BatchWriter<'a>,
    /// What was written through this writer, so that a repeated chunk is not staged twice.
    staged: HashSet<Digest>,
}

impl ChunkWriter<'_> {
    /// Writes a chunk under its digest, unless it stands there whole. One that stands there damaged is written over.
    pub(crate) fn put(&mut self, digest: Digest, bytes: &[u8]) -> Result<(), StoreError> {
        if !self.staged.insert(digest) {
            return Ok(());
        }
        let key = digest.as_bytes();
        match parts::get(self.table, key) {
            Ok(Some(present)) if present == bytes => return Ok(()),
            Ok(None) => {}
            Ok(Some(_)) | Err(StoreError::Corrupt(_)) => parts::remove(&mut self.batch, key)?,
            Err(error) => return Err(error),
        }
        self.database.pace(bytes.len() as u64)?;
        parts::put_new(&mut self.batch, key, bytes)
    }

    /// Writes what is still gathered.
    pub(crate) fn finish(self) -> Result<(), StoreError> {
        self.batch.finish()
    }
}
