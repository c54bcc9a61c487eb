//! The checkpoints: tensors in content-addressed chunks, and a manifest written last.
//!
//! | table, key | value |
//! |---|---|
//! | `checkpoints`, record `'m' id 0` | the manifest |
//! | `checkpoints`, record `'d' id 0` | the draft: every chunk and file that a change in progress is about |
//! | `tensors`, chunk | up to 512 KiB of elements |
//!
//! Each change writes a draft, then content, then the manifest; then it removes what the draft names and no manifest
//! does, and the draft. Wherever a kill falls, the draft that is left leads the next opening to the leftovers.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use autodidact_domain::ports::{Checkpoints, Clock};
use autodidact_domain::preflight::{CheckpointPlan, DiskNeed};
use autodidact_domain::{
    Checkpoint, CheckpointId, CheckpointSummary, NamedTensor, PortError, PortResult,
};

use crate::batch::BatchWriter;
use crate::chunks::Chunks;
use crate::database::{Database, in_log};
use crate::error::not_found;
use crate::guard::contain_port;
use crate::journal::{decode, encode, name_key};
use crate::manifest::{
    Assembler, Bytes, CHUNK_BYTES, Draft, Manifest, TensorSet, byte_count, in_chunks,
};
use crate::table::Table;
use crate::tensor_files::TensorFiles;
use crate::{Options, StoreError, parts};

const MANIFEST: &[u8] = b"m";
const DRAFT: &[u8] = b"d";

/// The checkpoints' port.
pub(crate) struct CheckpointStore {
    database: Arc<Database>,
    table: Table,
    chunks: Chunks,
    files: TensorFiles,
    clock: Arc<dyn Clock>,
    options: Options,
    /// One change at a time.
    changing: Mutex<()>,
}

impl CheckpointStore {
    /// Opens the checkpoints, and sweeps what a kill left.
    pub(crate) fn open(
        database: Arc<Database>,
        files: TensorFiles,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Result<Self, StoreError> {
        let (table, chunks) = (
            database.table("checkpoints")?,
            Chunks::new(database.table("tensors")?),
        );
        let store = Self {
            database,
            table,
            chunks,
            files,
            clock,
            options,
            changing: Mutex::new(()),
        };
        match crate::guard::contain(|| store.sweep_all()) {
            // What cannot be read is reported to whoever reads it; the rest of the store stays usable.
            Err(StoreError::Corrupt(_)) | Ok(()) => Ok(store),
            Err(error) => Err(error),
        }
    }

    /// Tells whether no checkpoint was ever written.
    pub(crate) fn is_empty(database: &Database) -> Result<bool, StoreError> {
        Ok(database.table("checkpoints")?.is_empty() && database.table("tensors")?.is_empty())
    }

    fn manifest(&self, id: &CheckpointId) -> Result<Option<Manifest>, StoreError> {
        let bytes = parts::get(&self.table, &key(MANIFEST, id))?;
        bytes
            .map(|bytes| Manifest::from_bytes(&bytes).map_err(|error| named(id.as_str(), error)))
            .transpose()
    }

    fn manifests(&self) -> impl Iterator<Item = Result<Manifest, StoreError>> + use<> {
        parts::scan(&self.table, MANIFEST).map(|record| {
            let (key, bytes) = record?;
            let id = String::from_utf8_lossy(&key[MANIFEST.len()..key.len() - 1]);
            Manifest::from_bytes(&bytes).map_err(|error| named(&id, error))
        })
    }

    fn sweep_all(&self) -> Result<(), StoreError> {
        let drafts: Vec<_> = parts::scan(&self.table, DRAFT).collect::<Result<_, _>>()?;
        drafts
            .into_iter()
            .try_for_each(|(key, draft)| self.sweep(&key, &decode("a draft", &draft)?))
    }

    fn missing(&self, id: &CheckpointId) -> PortError {
        match self
            .manifests()
            .map(|m| m.map(|m| m.summary.id.to_string()))
            .collect::<Result<Vec<_>, _>>()
        {
            Ok(known) => not_found("checkpoint", id.as_str(), known.into_iter()),
            Err(error) => error.into(),
        }
    }

    fn write(
        &self,
        id: &CheckpointId,
        checkpoint: &Checkpoint,
    ) -> Result<CheckpointSummary, StoreError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let summary = CheckpointSummary {
            id: id.clone(),
            meta: checkpoint.meta.clone(),
            adapter_digest: checkpoint.adapter_digest(),
            size: byte_count(&checkpoint.adapter) + byte_count(&checkpoint.optimizer),
            created_ms: self.clock.now_ms(),
        };
        let manifest = Manifest::describe(summary, checkpoint, self.options.tensor_file_bytes);
        self.finish_draft(id)?;
        // A manifest that is damaged is replaced; what it named is found by no draft, and stays.
        let old = match self.manifest(id) {
            Ok(Some(old)) if old.same_content(&manifest) => return Ok(old.summary),
            Ok(old) => old,
            Err(StoreError::Corrupt(_)) => None,
            Err(error) => return Err(error),
        };
        self.database
            .check_takes(self.takes(&manifest, checkpoint)?)?;
        let mut draft = Draft::default();
        draft.add(&manifest);
        old.iter().for_each(|old| draft.add(old));
        self.put(&key(DRAFT, id), &encode(&draft))?;
        for (set, tensors) in manifest
            .sets
            .iter()
            .zip([&checkpoint.adapter, &checkpoint.optimizer])
        {
            self.write_set(set, tensors)?;
        }
        self.database.sync()?;
        self.put(&key(MANIFEST, id), &manifest.to_bytes())?;
        self.database.sync()?;
        match old {
            Some(_) => self.sweep(&key(DRAFT, id), &draft)?,
            None => self.take(&key(DRAFT, id))?,
        }
        Ok(manifest.summary)
    }

    /// Tells what writing a checkpoint takes of the disk at most. A set that is there takes nothing (a run's last
    /// adapter alone is one), a file its own size, and what goes to the log more.
    fn takes(&self, manifest: &Manifest, checkpoint: &Checkpoint) -> Result<u64, StoreError> {
        let mut taken = 0;
        for (set, tensors) in manifest
            .sets
            .iter()
            .zip([&checkpoint.adapter, &checkpoint.optimizer])
        {
            let bytes = byte_count(tensors);
            taken += match &set.bytes {
                Bytes::File(digest) if self.files.holds(digest) => 0,
                Bytes::File(_) => bytes,
                Bytes::Chunks(digests) if self.chunks.hold_all(digests)? => 0,
                Bytes::Chunks(_) => in_log(bytes),
            };
        }
        Ok(taken)
    }

    fn write_set(&self, set: &TensorSet, tensors: &[NamedTensor]) -> Result<(), StoreError> {
        match &set.bytes {
            Bytes::File(digest) => self.files.write(*digest, tensors),
            Bytes::Chunks(digests) => {
                let (mut digests, mut writer) =
                    (digests.iter(), self.chunks.writer(&self.database));
                in_chunks(tensors, |chunk| {
                    let digest = digests
                        .next()
                        .expect("the set was described from these tensors");
                    writer.put(*digest, chunk)
                })?;
                writer.finish()
            }
        }
    }

    fn read(&self, manifest: &Manifest) -> Result<Checkpoint, StoreError> {
        let [adapter, optimizer] = &manifest.sets;
        let checkpoint = Checkpoint {
            meta: manifest.summary.meta.clone(),
            adapter: self.read_set(adapter)?,
            optimizer: self.read_set(optimizer)?,
        };
        if checkpoint.adapter_digest() != manifest.summary.adapter_digest {
            return Err(StoreError::Corrupt(
                "the adapter does not match its digest".to_string(),
            ));
        }
        Ok(checkpoint)
    }

    fn read_set(&self, set: &TensorSet) -> Result<Vec<NamedTensor>, StoreError> {
        match &set.bytes {
            Bytes::File(digest) => self.files.read(*digest, set),
            Bytes::Chunks(digests) => {
                let mut assembler = Assembler::new(set);
                for digest in digests {
                    let missing =
                        || StoreError::Corrupt(format!("chunk {} is missing", digest.short()));
                    assembler.take(&self.chunks.get(digest)?.ok_or_else(missing)?)?;
                }
                assembler.finish()
            }
        }
    }

    /// Loads a checkpoint; when it changed meanwhile, once more.
    fn load(&self, id: &CheckpointId) -> PortResult<Checkpoint> {
        let mut manifest = self.manifest(id)?.ok_or_else(|| self.missing(id))?;
        loop {
            let read = crate::guard::contain(|| self.read(&manifest));
            if read.is_ok() {
                return Ok(read?);
            }
            match self.manifest(id)? {
                Some(now) if now == manifest => {
                    return Ok(read.map_err(|error| named(id.as_str(), error))?);
                }
                Some(now) => manifest = now,
                None => return Err(self.missing(id)),
            }
        }
    }

    fn remove(&self, id: &CheckpointId) -> Result<(), StoreError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.finish_draft(id)?;
        let mut draft = Draft::default();
        match self.manifest(id) {
            Ok(Some(manifest)) => draft.add(&manifest),
            Ok(None) => return Ok(()),
            // Damaged: it goes all the same.
            Err(StoreError::Corrupt(_)) => {}
            Err(error) => return Err(error),
        }
        self.database.check_removable()?;
        self.put(&key(DRAFT, id), &encode(&draft))?;
        self.take(&key(MANIFEST, id))?;
        self.database.sync()?;
        self.sweep(&key(DRAFT, id), &draft)?;
        self.database.flush()
    }

    /// Finishes a change of this checkpoint that failed half way in this process.
    fn finish_draft(&self, id: &CheckpointId) -> Result<(), StoreError> {
        match parts::get(&self.table, &key(DRAFT, id))? {
            Some(draft) => self.sweep(&key(DRAFT, id), &decode("a draft", &draft)?),
            None => Ok(()),
        }
    }

    /// Removes what a draft names and no manifest does, then the draft.
    fn sweep(&self, draft_key: &[u8], draft: &Draft) -> Result<(), StoreError> {
        let mut chunks: HashSet<_> = draft.chunks.iter().collect();
        let mut files: HashSet<_> = draft.files.iter().collect();
        for manifest in self.manifests() {
            let mut live = Draft::default();
            match manifest {
                Ok(manifest) => live.add(&manifest),
                // What a damaged manifest needs is unknown, and it stays damaged whatever stays beside it.
                Err(StoreError::Corrupt(_)) => continue,
                Err(error) => return Err(error),
            }
            live.chunks.iter().for_each(|digest| {
                chunks.remove(digest);
            });
            live.files.iter().for_each(|digest| {
                files.remove(digest);
            });
        }
        self.chunks
            .remove(&self.database, chunks, CHUNK_BYTES as u64)?;
        files
            .into_iter()
            .try_for_each(|digest| self.files.remove(digest))?;
        self.take(draft_key)
    }

    fn put(&self, key: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        let mut writer = BatchWriter::new(&self.table);
        parts::put(&mut writer, key, bytes)?;
        writer.finish()
    }

    fn take(&self, key: &[u8]) -> Result<(), StoreError> {
        let mut writer = BatchWriter::new(&self.table);
        parts::remove(&mut writer, key)?;
        writer.finish()
    }
}

impl Checkpoints for CheckpointStore {
    /// Another checkpoint under the same id takes the place of the one there, whole or not at all.
    fn save(&self, id: &CheckpointId, checkpoint: &Checkpoint) -> PortResult<CheckpointSummary> {
        contain_port(|| {
            let sound = |tensor: &NamedTensor| {
                let elements = tensor
                    .shape
                    .iter()
                    .try_fold(1usize, |product, size| product.checked_mul(*size));
                elements == Some(tensor.data.len())
            };
            match checkpoint
                .adapter
                .iter()
                .chain(&checkpoint.optimizer)
                .find(|tensor| !sound(tensor))
            {
                Some(tensor) => Err(PortError::Invalid(format!(
                    "tensor {} has shape {:?}, but {} elements",
                    tensor.name,
                    tensor.shape,
                    tensor.data.len()
                ))),
                None => Ok(self.write(id, checkpoint)?),
            }
        })
    }

    fn load(&self, id: &CheckpointId) -> PortResult<Checkpoint> {
        contain_port(|| self.load(id))
    }

    fn get(&self, id: &CheckpointId) -> PortResult<CheckpointSummary> {
        contain_port(|| Ok(self.manifest(id)?.ok_or_else(|| self.missing(id))?.summary))
    }

    fn list(&self) -> PortResult<Vec<CheckpointSummary>> {
        contain_port(|| {
            Ok(self
                .manifests()
                .map(|manifest| Ok(manifest?.summary))
                .collect::<Result<_, StoreError>>()?)
        })
    }

    fn delete(&self, id: &CheckpointId) -> PortResult<()> {
        contain_port(|| Ok(self.remove(id)?))
    }

    fn disk_need(&self, plan: CheckpointPlan) -> PortResult<DiskNeed> {
        // One is written whole before an older one goes; a file goes with its checkpoint, the log keeps some of it. The adapter
        // alone at the end has the digest, and so the place, of one that is there.
        let at_once = plan.written.min(plan.kept.saturating_add(1));
        let sets = [plan.adapter_bytes, plan.optimizer_bytes];
        let (in_files, logged): (Vec<u64>, Vec<u64>) = sets
            .into_iter()
            .partition(|set| *set > self.options.tensor_file_bytes);
        let files = in_files.into_iter().fold(0, u64::saturating_add);
        let held = plan.held.min(at_once);
        let files = files.saturating_mul(at_once.saturating_sub(held).max(1.min(plan.written)));
        let logged = logged.into_iter().fold(0, u64::saturating_add);
        // What it has grown by is spent; another write always takes some room.
        let spent = CheckpointPlan {
            written: held,
            kept: held,
            ..plan
        };
        let next = CheckpointPlan {
            written: 1.min(plan.written),
            kept: 1,
            ..plan
        };
        let log = growth_of_log(logged, plan).saturating_sub(growth_of_log(logged, spent));
        let log = log.max(growth_of_log(logged, next));
        contain_port(|| {
            Ok(DiskNeed {
                bytes: files.saturating_add(log),
                available: Some(self.database.available()?),
            })
        })
    }
}

/// Tells by how much sled's log grows by checkpoints of so many bytes.
///
/// Measured with 5, 10 and 30 MB that sled has time to reclaim (`tests/footprint.rs` holds it to 15%): a write takes about
/// twice what is written; those after the first that goes find most of their room in what is left.
fn growth_of_log(bytes: u64, plan: CheckpointPlan) -> u64 {
    /// Of little, segments that are never quite full are most.
    const OF_A_SMALL_WRITE: f64 = 2.6;
    const OF_A_WRITE: f64 = 1.95;
    const SEGMENTS_OF_A_WRITE: f64 = 4.2e6;
    const OF_ALL_WRITES: f64 = 4.8;
    const SEGMENTS_OF_ALL: f64 = 12.5e6;
    let write =
        |bytes: f64| (OF_A_SMALL_WRITE * bytes).min(OF_A_WRITE * bytes + SEGMENTS_OF_A_WRITE);
    let bytes = bytes as f64;
    let others = plan.kept.saturating_sub(1) as f64;
    let all = OF_ALL_WRITES * bytes + SEGMENTS_OF_ALL.min(OF_A_SMALL_WRITE * bytes);
    let all = all + others * OF_A_WRITE * bytes;
    (plan.written as f64 * write(bytes)).min(all) as u64
}

/// Says which checkpoint is damaged.
fn named(id: &str, error: StoreError) -> StoreError {
    match error {
        StoreError::Corrupt(detail) => StoreError::Corrupt(format!("checkpoint {id}: {detail}")),
        other => other,
    }
}

fn key(kind: &[u8], id: &CheckpointId) -> Vec<u8> {
    [kind, &name_key(id.as_str())].concat()
}

#[cfg(test)]
#[path = "checkpoints_tests.rs"]
mod tests;
