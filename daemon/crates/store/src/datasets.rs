//! The datasets: examples stored once each by digest, and versions as ordered lists of digests.
//!
//! | table, key | value |
//! |---|---|
//! | `datasets`, record `name 0 version` | the version's summary, written last |
//! | `datasets`, `LIST name 0 version part` | up to 128 digests of its examples, in order, written first |
//! | `datasets`, `SOURCE name 0 digest` | the version made from the file with this digest |
//! | `datasets`, `LAST name 0` | the last version number given out; it outlives the dataset, so none comes twice |
//! | `examples`, chunk | an example's JSON |
//!
//! A list without a summary is a version that a kill cut off, or that was deleted: the sweep removes those of its
//! examples that no other version lists, and then the list.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use autodidact_domain::ports::{Clock, Datasets};
use autodidact_domain::{DatasetName, DatasetSummary, Digest, Example, PortError, PortResult};

use crate::StoreError;
use crate::batch::BatchWriter;
use crate::chunks::Chunks;
use crate::database::Database;
use crate::dataset_keys::{
    DIGEST_BYTES, LIST, LIST_DIGESTS, SOURCE, digests, last_key, list, list_key, short_number,
    source_key, version_key,
};
use crate::error::not_found;
use crate::guard::contain_port;
use crate::journal::{decode, encode, name_key};
use crate::parts;
use crate::table::Table;

/// Digests that a sweep holds in memory at once (8 MiB); more are done in turns.
const SWEEP_DIGESTS: usize = 1 << 18;
/// What removing an example is paced as.
const EXAMPLE_BYTES: u64 = 1024;

/// The datasets' port.
pub(crate) struct DatasetStore {
    database: Arc<Database>,
    table: Table,
    examples: Chunks,
    clock: Arc<dyn Clock>,
    /// One writer at a time. Readers need no lock: a version never changes.
    writing: Mutex<()>,
}

impl DatasetStore {
    /// Opens the datasets, and sweeps what a kill left.
    pub(crate) fn open(database: Arc<Database>, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let (table, examples) = (
            database.table("datasets")?,
            Chunks::new(database.table("examples")?),
        );
        let store = Self {
            database,
            table,
            examples,
            clock,
            writing: Mutex::new(()),
        };
        match crate::guard::contain(|| store.sweep()) {
            // What cannot be read is reported to whoever reads it; the rest of the store stays usable.
            Err(StoreError::Corrupt(_)) | Ok(()) => Ok(store),
            Err(error) => Err(error),
        }
    }

    /// Tells whether no dataset was ever written.
    pub(crate) fn is_empty(database: &Database) -> Result<bool, StoreError> {
        Ok(database.table("datasets")?.is_empty() && database.table("examples")?.is_empty())
    }

    fn newest(&self, name: &DatasetName) -> Result<Option<DatasetSummary>, StoreError> {
        let newest = parts::scan(&self.table, &name_key(name.as_str())).next_back();
        newest
            .map(|record| decode("a dataset's summary", &record?.1))
            .transpose()
    }

    fn version(
        &self,
        name: &DatasetName,
        version: u32,
    ) -> Result<Option<DatasetSummary>, StoreError> {
        let record = parts::get(&self.table, &version_key(name, version))?;
        record
            .map(|bytes| decode("a dataset's summary", &bytes))
            .transpose()
    }

    fn newest_of_all(&self) -> Result<Vec<DatasetSummary>, StoreError> {
        let mut newest: Vec<DatasetSummary> = Vec::new();
        for record in parts::scan(&self.table, b"") {
            let summary: DatasetSummary = decode("a dataset's summary", &record?.1)?;
            match newest.last_mut() {
                Some(last) if last.name == summary.name => *last = summary,
                _ => newest.push(summary),
            }
        }
        Ok(newest)
    }

    fn missing(&self, name: &DatasetName, version: Option<u32>) -> PortError {
        let known = match self.newest_of_all() {
            Ok(known) => known,
            Err(error) => return error.into(),
        };
        match (version, known.iter().find(|summary| summary.name == *name)) {
            (Some(version), Some(newest)) => PortError::NotFound {
                what: "dataset version",
                name: format!("{name}@{version}"),
                nearest: Some(format!("{name}@{}", newest.version)),
            },
            _ => not_found(
                "dataset",
                name.as_str(),
                known.iter().map(|summary| summary.name.to_string()),
            ),
        }
    }

    fn write(
        &self,
        name: &DatasetName,
        examples: &[Example],
        source: &str,
        source_digest: Option<Digest>,
    ) -> Result<DatasetSummary, StoreError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let listed = list(examples);
        if let Some(newest) = self
            .newest(name)?
            .filter(|newest| newest.digest == listed.digest)
        {
            self.note_source(name, source_digest, newest.version)?;
            return Ok(newest);
        }
        self.database
            .check_writable(listed.bytes + (listed.examples.len() * DIGEST_BYTES) as u64)?;
        let version = self.last_version(name)? + 1;
        if self.list_parts(name, version).next().is_some() {
            // An earlier attempt in this process failed half way.
            self.sweep()?;
        }
        let summary = DatasetSummary {
            name: name.clone(),
            version,
            digest: listed.digest,
            records: listed.examples.len() as u64,
            created_ms: self.clock.now_ms(),
            source: source.to_string(),
            source_digest,
        };
        self.write_list(name, version, &listed.examples)?;
        self.write_examples(examples, &listed.examples)?;
        self.database.sync()?;
        self.write_summary(&summary)?;
        Ok(summary)
    }

    fn write_list(
        &self,
        name: &DatasetName,
        version: u32,
        digests: &[Digest],
    ) -> Result<(), StoreError> {
        let mut writer = BatchWriter::new(&self.table);
        for (part, digests) in digests.chunks(LIST_DIGESTS).enumerate() {
            let bytes: Vec<u8> = digests
                .iter()
                .flat_map(|digest| *digest.as_bytes())
                .collect();
            writer.insert(list_key(name, version, part as u32), &bytes)?;
        }
        writer.finish()
    }

    fn write_examples(&self, examples: &[Example], digests: &[Digest]) -> Result<(), StoreError> {
        let mut writer = self.examples.writer(&self.database);
        for (example, digest) in examples.iter().zip(digests) {
            writer.put(*digest, &encode(example))?;
        }
        writer.finish()
    }

    fn write_summary(&self, summary: &DatasetSummary) -> Result<(), StoreError> {
        let mut writer = BatchWriter::new(&self.table);
        parts::put(
            &mut writer,
            &version_key(&summary.name, summary.version),
            &encode(summary),
        )?;
        writer.insert(last_key(&summary.name), &summary.version.to_be_bytes())?;
        if let Some(digest) = summary.source_digest {
            writer.insert(
                source_key(&summary.name, digest),
                &summary.version.to_be_bytes(),
            )?;
        }
        writer.finish()?;
        self.database.sync()
    }

    /// Notes that a file led to a version which another one had made already.
    fn note_source(
        &self,
        name: &DatasetName,
        digest: Option<Digest>,
        version: u32,
    ) -> Result<(), StoreError> {
        let Some(digest) = digest else { return Ok(()) };
        let key = source_key(name, digest);
        if self.table.get(&key)?.as_deref() == Some(&version.to_be_bytes()) {
            return Ok(());
        }
        self.database.check_writable(0)?;
        self.table.insert(&key, &version.to_be_bytes())?;
        self.database.sync()
    }

    fn last_version(&self, name: &DatasetName) -> Result<u32, StoreError> {
        self.table
            .get(&last_key(name))?
            .map_or(Ok(0), |bytes| short_number(&bytes))
    }

    fn read_records(
        &self,
        name: &DatasetName,
        version: u32,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Example>, StoreError> {
        let (skipped_parts, skipped) = (
            from / LIST_DIGESTS as u64,
            (from % LIST_DIGESTS as u64) as usize,
        );
        let Ok(first_part) = u32::try_from(skipped_parts) else {
            return Ok(Vec::new());
        };
        let range = list_key(name, version, first_part)..=list_key(name, version, u32::MAX);
        let mut examples = Vec::new();
        let mut skipped = skipped;
        for pair in self.table.range(range) {
            let (_, list) = pair?;
            for digest in digests(&list).skip(std::mem::take(&mut skipped)) {
                if examples.len() >= limit {
                    return Ok(examples);
                }
                let bytes = self.examples.get(&digest)?.ok_or_else(|| {
                    StoreError::Corrupt(format!(
                        "dataset {name}@{version} has lost example {}",
                        digest.short()
                    ))
                })?;
                examples.push(decode("an example", &bytes)?);
            }
        }
        Ok(examples)
    }

    fn remove(&self, name: &DatasetName) -> Result<(), StoreError> {
        self.database.check_removable()?;
        let mut writer = BatchWriter::new(&self.table);
        for pair in self
            .table
            .scan(&[&[SOURCE], name_key(name.as_str()).as_slice()].concat())
        {
            writer.remove(pair?.0)?;
        }
        // In order: should there be too many for one batch, the newest version goes last.
        for record in parts::scan(&self.table, &name_key(name.as_str())) {
            parts::remove(&mut writer, &record?.0)?;
        }
        writer.finish()?;
        self.database.sync()?;
        self.sweep()
    }

    /// Removes every list that has no summary, with the examples that only such lists name.
    fn sweep(&self) -> Result<(), StoreError> {
        let (mut live, mut dead) = (Vec::new(), Vec::new());
        let mut from = vec![LIST];
        while let Some(pair) = self.table.range(from..vec![LIST + 1]).next() {
            let key = pair?.0;
            // Without the leading LIST and the part's number.
            let version_key = key[1..key.len() - 4].to_vec();
            from = [&[LIST], version_key.as_slice(), &[u8::MAX; 5]].concat();
            let group = if parts::contains(&self.table, &version_key)? {
                &mut live
            } else {
                &mut dead
            };
            group.push([&[LIST], version_key.as_slice()].concat());
        }
        let mut candidates = HashSet::new();
        for list in dead.iter().flat_map(|list| self.table.scan(list)) {
            candidates.extend(digests(&list?.1));
            if candidates.len() >= SWEEP_DIGESTS {
                self.sweep_examples(std::mem::take(&mut candidates), &live)?;
            }
        }
        self.sweep_examples(candidates, &live)?;
        let mut writer = BatchWriter::new(&self.table);
        for list in dead.iter().flat_map(|list| self.table.scan(list)) {
            writer.remove(list?.0)?;
        }
        writer.finish()
    }

    fn sweep_examples(
        &self,
        mut candidates: HashSet<Digest>,
        live: &[Vec<u8>],
    ) -> Result<(), StoreError> {
        for list in live.iter().flat_map(|list| self.table.scan(list)) {
            if candidates.is_empty() {
                break;
            }
            for digest in digests(&list?.1) {
                candidates.remove(&digest);
            }
        }
        self.examples
            .remove(&self.database, &candidates, EXAMPLE_BYTES)
    }

    fn list_parts(
        &self,
        name: &DatasetName,
        version: u32,
    ) -> impl Iterator<Item = Result<crate::table::Pair, StoreError>> + use<> {
        self.table
            .range(list_key(name, version, 0)..=list_key(name, version, u32::MAX))
    }
}

impl Datasets for DatasetStore {
    fn put(
        &self,
        name: &DatasetName,
        examples: &[Example],
        source: &str,
        source_digest: Option<Digest>,
    ) -> PortResult<DatasetSummary> {
        contain_port(|| Ok(self.write(name, examples, source, source_digest)?))
    }

    fn get(&self, name: &DatasetName, version: Option<u32>) -> PortResult<DatasetSummary> {
        contain_port(|| {
            let found = match version {
                Some(version) => self.version(name, version)?,
                None => self.newest(name)?,
            };
            found.ok_or_else(|| self.missing(name, version))
        })
    }

    fn list(&self) -> PortResult<Vec<DatasetSummary>> {
        contain_port(|| Ok(self.newest_of_all()?))
    }

    fn records(
        &self,
        name: &DatasetName,
        version: u32,
        from: u64,
        limit: usize,
    ) -> PortResult<Vec<Example>> {
        contain_port(|| {
            if self.version(name, version)?.is_none() {
                return Err(self.missing(name, Some(version)));
            }
            let read = self.read_records(name, version, from, limit);
            // A version deleted while it was read is not damage.
            if read.is_err() && self.version(name, version)?.is_none() {
                return Err(self.missing(name, Some(version)));
            }
            Ok(read?)
        })
    }

    fn by_source_digest(
        &self,
        name: &DatasetName,
        source_digest: Digest,
    ) -> PortResult<Option<DatasetSummary>> {
        contain_port(|| match self.table.get(&source_key(name, source_digest))? {
            Some(version) => Ok(self.version(name, short_number(&version)?)?),
            None => Ok(None),
        })
    }

    fn delete(&self, name: &DatasetName) -> PortResult<()> {
        contain_port(|| {
            let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            if self.newest(name)?.is_none() {
                return Err(self.missing(name, None));
            }
            Ok(self.remove(name)?)
        })
    }
}

#[cfg(test)]
#[path = "datasets_tests.rs"]
mod tests;
