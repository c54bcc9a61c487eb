//! The journal: steps with their results, and verdicts in the order they were made.
//!
//! | key | value |
//! |---|---|
//! | record `workflow 0 'r' step` | a step's result, as JSON |
//! | record `workflow 0 'v' position` | a verdict, as JSON |
//! | `STEP workflow 0 step` | nothing for an intent; positions of its verdicts (first, count) once committed |
//! | `COUNT workflow 0 round stage` | verdicts kept and dropped |
//! | `NEXT workflow 0` | the position of the next verdict |
//!
//! A commit writes records first and the last three last, in one batch, together with everything else when that
//! fits. What lies at or beyond `NEXT`, or under a step that is not committed, counts for nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use autodidact_domain::journal::{RecordedVerdict, StageName};
use autodidact_domain::ports::Journal;
use autodidact_domain::{Decision, PortError, PortResult, StepKey, StepRecord, WorkflowName};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::StoreError;
use crate::batch::BatchWriter;
use crate::database::Database;
use crate::guard::contain_port;
use crate::parts;
use crate::table::{Table, number};

const STEP: u8 = parts::FIRST_OTHER;
const COUNT: u8 = parts::FIRST_OTHER + 1;
const NEXT: u8 = parts::FIRST_OTHER + 2;

/// The journal's port.
pub(crate) struct JournalStore {
    database: Arc<Database>,
    table: Table,
    /// Commits read positions and counts and write them back: one at a time.
    committing: Mutex<()>,
}

impl JournalStore {
    /// Opens the journal.
    pub(crate) fn open(database: Arc<Database>) -> Result<Self, StoreError> {
        let table = database.table("journal")?;
        Ok(Self {
            database,
            table,
            committing: Mutex::new(()),
        })
    }

    fn read_steps(&self, workflow: &WorkflowName) -> Result<Vec<StepRecord>, StoreError> {
        let prefix = [&[STEP], name_key(workflow.as_str()).as_slice()].concat();
        let mut steps = Vec::new();
        for pair in self.table.scan(&prefix) {
            let (key, marker) = pair?;
            let key = step_of(workflow, &key[prefix.len()..])?;
            let result = match marker.is_empty() {
                true => None,
                false => Some(self.read_result(&key)?),
            };
            steps.push(StepRecord { key, result });
        }
        Ok(steps)
    }

    fn read_result(&self, key: &StepKey) -> Result<serde_json::Value, StoreError> {
        let bytes = parts::get(&self.table, &result_key(key))?
            .ok_or_else(|| StoreError::Corrupt(format!("step {key} has lost its result")))?;
        decode("a step's result", &bytes)
    }

    fn begin(&self, key: &StepKey) -> Result<(), StoreError> {
        let _committing = self
            .committing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let marker = marker_key(key);
        if self.table.get(&marker)?.is_none() {
            self.database.check_writable(0)?;
            self.table.insert(&marker, &[])?;
        }
        self.database.flush()
    }

    fn commit(
        &self,
        key: &StepKey,
        result: &serde_json::Value,
        verdicts: &[RecordedVerdict],
    ) -> PortResult<()> {
        let _committing = self
            .committing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let result = encode(result);
        let verdict_bytes: Vec<Vec<u8>> = verdicts.iter().map(encode).collect();
        let size = result.len() + verdict_bytes.iter().map(Vec::len).sum::<usize>();
        self.database.check_writable(size as u64)?;
        let marker = self.table.get(&marker_key(key)).map_err(PortError::from)?;
        if let Some(marker) = marker.filter(|marker| !marker.is_empty()) {
            self.check_same_verdicts(key, &marker, &verdict_bytes)?;
            return Ok(self.replace_result(key, &result)?);
        }
        Ok(self.write_step(key, &result, verdicts, &verdict_bytes)?)
    }

    fn write_step(
        &self,
        key: &StepKey,
        result: &[u8],
        verdicts: &[RecordedVerdict],
        verdict_bytes: &[Vec<u8>],
    ) -> Result<(), StoreError> {
        let workflow = &key.workflow;
        let first = self.next(workflow)?;
        let mut writer = BatchWriter::new(&self.table);
        let leftovers = verdict_key(workflow, first);
        parts::remove_from(&mut writer, &verdict_prefix(workflow), &leftovers)?;
        // Applied on its own, so that what follows reads a clean table.
        writer.finish()?;

        let mut writer = BatchWriter::new(&self.table);
        parts::put(&mut writer, &result_key(key), result)?;
        for (position, bytes) in (first..).zip(verdict_bytes) {
            parts::put_new(&mut writer, &verdict_key(workflow, position), bytes)?;
        }
        let count = verdicts.len() as u64;
        let counts = self.raised_counts(workflow, verdicts)?;
        // The commit itself: from here on, everything in one batch. No key is longer than 128 bytes.
        writer.reserve(counts.len() + 2, (counts.len() + 2) * 128)?;
        for (key, (kept, dropped)) in counts {
            writer.insert(key, &pair(kept, dropped))?;
        }
        writer.insert(next_key(workflow), &(first + count).to_be_bytes())?;
        writer.insert(marker_key(key), &pair(first, count))?;
        writer.finish()?;
        self.database.sync()
    }

    /// Counts as they will be with these verdicts among them.
    fn raised_counts(
        &self,
        workflow: &WorkflowName,
        verdicts: &[RecordedVerdict],
    ) -> Result<BTreeMap<Vec<u8>, (u64, u64)>, StoreError> {
        let mut counts = BTreeMap::new();
        for verdict in verdicts {
            let key = count_key(workflow, verdict.round, verdict.stage);
            if !counts.contains_key(&key) {
                counts.insert(key.clone(), self.counts(&key)?);
            }
            let (kept, dropped) = counts.get_mut(&key).expect("inserted just above");
            match verdict.verdict.decision {
                Decision::Keep => *kept += 1,
                Decision::Drop => *dropped += 1,
            }
        }
        Ok(counts)
    }

    /// A step that ran again gives the same verdicts; others would falsify counts that people may have read.
    fn check_same_verdicts(
        &self,
        key: &StepKey,
        marker: &[u8],
        verdicts: &[Vec<u8>],
    ) -> PortResult<()> {
        let (first, count) = unpair(marker)?;
        let mut same = count == verdicts.len() as u64;
        for (position, bytes) in (first..first.saturating_add(count)).zip(verdicts) {
            same = same
                && parts::get(&self.table, &verdict_key(&key.workflow, position))?.as_ref()
                    == Some(bytes);
        }
        if same {
            return Ok(());
        }
        Err(PortError::Exists {
            what: "step",
            name: key.to_string(),
            detail: "it is committed with other verdicts; the journal never changes those"
                .to_string(),
        })
    }

    fn replace_result(&self, key: &StepKey, result: &[u8]) -> Result<(), StoreError> {
        if parts::get(&self.table, &result_key(key))?.as_deref() != Some(result) {
            let mut writer = BatchWriter::new(&self.table);
            parts::put(&mut writer, &result_key(key), result)?;
            writer.finish()?;
        }
        self.database.sync()
    }

    fn read_verdicts(
        &self,
        workflow: &WorkflowName,
        from: u64,
        limit: usize,
    ) -> Result<Vec<RecordedVerdict>, StoreError> {
        let end = self.next(workflow)?.min(from.saturating_add(limit as u64));
        let mut verdicts = Vec::new();
        if from >= end {
            return Ok(verdicts);
        }
        let wanted = (end - from) as usize;
        for record in parts::scan_from(
            &self.table,
            &verdict_prefix(workflow),
            &verdict_key(workflow, from),
        )
        .take(wanted)
        {
            verdicts.push(decode("a verdict", &record?.1)?);
        }
        if verdicts.len() != wanted {
            return Err(StoreError::Corrupt(format!(
                "workflow {workflow} has lost verdicts"
            )));
        }
        Ok(verdicts)
    }

    fn next(&self, workflow: &WorkflowName) -> Result<u64, StoreError> {
        self.table
            .get(&next_key(workflow))?
            .map_or(Ok(0), |bytes| number(&bytes))
    }

    fn counts(&self, key: &[u8]) -> Result<(u64, u64), StoreError> {
        self.table
            .get(key)?
            .map_or(Ok((0, 0)), |bytes| unpair(&bytes))
    }
}

impl Journal for JournalStore {
    fn steps(&self, workflow: &WorkflowName) -> PortResult<Vec<StepRecord>> {
        contain_port(|| Ok(self.read_steps(workflow)?))
    }

    fn begin(&self, key: &StepKey) -> PortResult<()> {
        contain_port(|| Ok(self.begin(key)?))
    }

    fn commit(
        &self,
        key: &StepKey,
        result: serde_json::Value,
        verdicts: &[RecordedVerdict],
    ) -> PortResult<()> {
        contain_port(|| self.commit(key, &result, verdicts))
    }

    fn verdicts(
        &self,
        workflow: &WorkflowName,
        from: u64,
        limit: usize,
    ) -> PortResult<Vec<RecordedVerdict>> {
        contain_port(|| Ok(self.read_verdicts(workflow, from, limit)?))
    }

    fn verdict_counts(
        &self,
        workflow: &WorkflowName,
        round: u32,
        stage: StageName,
    ) -> PortResult<(u64, u64)> {
        contain_port(|| Ok(self.counts(&count_key(workflow, round, stage))?))
    }
}

/// Writes a value as JSON.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("the domain's types have text keys and no failing serialisers")
}

/// Reads a value from JSON.
pub(crate) fn decode<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes)
        .map_err(|error| StoreError::Corrupt(format!("{what} cannot be read: {error}")))
}

/// A name as a key that is no prefix of another name's: names hold no zero byte.
pub(crate) fn name_key(name: &str) -> Vec<u8> {
    [name.as_bytes(), &[0]].concat()
}

fn pair(a: u64, b: u64) -> [u8; 16] {
    (u128::from(a) << 64 | u128::from(b)).to_be_bytes()
}

fn unpair(bytes: &[u8]) -> Result<(u64, u64), StoreError> {
    Ok((number(bytes)?, number(bytes.get(8..).unwrap_or_default())?))
}

fn step_key(key: &StepKey) -> Vec<u8> {
    [
        &key.round.to_be_bytes()[..],
        &[stage_code(key.stage)],
        &key.index.to_be_bytes(),
    ]
    .concat()
}

fn step_of(workflow: &WorkflowName, bytes: &[u8]) -> Result<StepKey, StoreError> {
    let parse = || {
        let round = u32::from_be_bytes(*bytes.first_chunk()?);
        let stage = StageName::ALL
            .iter()
            .find(|(stage, _)| Some(&stage_code(*stage)) == bytes.get(4))?
            .0;
        let index = u32::from_be_bytes(*bytes.get(5..)?.first_chunk()?);
        Some(StepKey {
            workflow: workflow.clone(),
            round,
            stage,
            index,
        })
    };
    parse().ok_or_else(|| StoreError::Corrupt("a step's key is malformed".to_string()))
}

/// A stage's place in keys. The codes are stored: they never change, and gaps are left for the stages in between.
fn stage_code(stage: StageName) -> u8 {
    match stage {
        StageName::Generate => 10,
        StageName::Filter => 20,
        StageName::Respond => 30,
        StageName::Validate => 40,
        StageName::Review => 50,
        StageName::Train => 60,
        StageName::Evaluate => 70,
        StageName::Promote => 80,
        StageName::Adapt => 90,
    }
}

fn marker_key(key: &StepKey) -> Vec<u8> {
    [
        &[STEP],
        name_key(key.workflow.as_str()).as_slice(),
        &step_key(key),
    ]
    .concat()
}

fn result_key(key: &StepKey) -> Vec<u8> {
    [
        name_key(key.workflow.as_str()).as_slice(),
        b"r",
        &step_key(key),
    ]
    .concat()
}

fn verdict_prefix(workflow: &WorkflowName) -> Vec<u8> {
    [name_key(workflow.as_str()).as_slice(), b"v"].concat()
}

fn verdict_key(workflow: &WorkflowName, position: u64) -> Vec<u8> {
    [verdict_prefix(workflow).as_slice(), &position.to_be_bytes()].concat()
}

fn count_key(workflow: &WorkflowName, round: u32, stage: StageName) -> Vec<u8> {
    [
        &[COUNT],
        name_key(workflow.as_str()).as_slice(),
        &round.to_be_bytes(),
        &[stage_code(stage)],
    ]
    .concat()
}

fn next_key(workflow: &WorkflowName) -> Vec<u8> {
    [&[NEXT], name_key(workflow.as_str()).as_slice()].concat()
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
