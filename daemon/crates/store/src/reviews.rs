//! What is laid before people, and what they say of it.
//!
//! | key | value |
//! |---|---|
//! | record `workflow 0 round 'i' position` | an example that lies there, as JSON |
//! | record `workflow 0 round 'd' position` | a decision, as JSON; nothing is ever replaced |
//! | `ROUND workflow 0 round` | how many examples the round kept and how many decisions count, each with 1 added; 0 is not known yet |

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use autodidact_domain::ports::Reviews;
use autodidact_domain::{
    PortError, PortResult, ReviewDecision, ReviewItem, ReviewRound, WorkflowName,
};
use serde::de::DeserializeOwned;

use crate::StoreError;
use crate::batch::BatchWriter;
use crate::database::Database;
use crate::guard::contain_port;
use crate::journal::{decode, encode, name_key};
use crate::parts;
use crate::table::{Table, number};

const ROUND: u8 = parts::FIRST_OTHER;
const ITEM: u8 = b'i';
const DECISION: u8 = b'd';

/// The reviews' port.
pub(crate) struct ReviewStore {
    database: Arc<Database>,
    table: Table,
    /// Changes read what is there and write beside it: one at a time.
    changing: Mutex<()>,
}

/// What is known of a round beside its items and decisions.
#[derive(Clone, Copy, Default, PartialEq)]
struct Head {
    examples: Option<u64>,
    settled: Option<u64>,
}

impl ReviewStore {
    /// Opens the reviews.
    pub(crate) fn open(database: Arc<Database>) -> Result<Self, StoreError> {
        let table = database.table("reviews")?;
        Ok(Self {
            database,
            table,
            changing: Mutex::new(()),
        })
    }

    fn alone(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn head(&self, workflow: &WorkflowName, round: u32) -> Result<Option<Head>, StoreError> {
        let Some(bytes) = self.table.get(&head_key(workflow, round))? else {
            return Ok(None);
        };
        let field = |bytes: &[u8]| Ok::<_, StoreError>(number(bytes)?.checked_sub(1));
        Ok(Some(Head {
            examples: field(&bytes)?,
            settled: field(bytes.get(8..).unwrap_or_default())?,
        }))
    }

    fn read(&self, workflow: &WorkflowName, round: u32) -> Result<ReviewRound, StoreError> {
        let head = self.head(workflow, round)?.unwrap_or_default();
        Ok(ReviewRound {
            examples: head.examples,
            items: self.records(workflow, round, ITEM, "an example under review")?,
            decisions: self.records(workflow, round, DECISION, "a reviewer's decision")?,
            settled: head.settled,
        })
    }

    fn records<T: DeserializeOwned>(
        &self,
        workflow: &WorkflowName,
        round: u32,
        kind: u8,
        what: &str,
    ) -> Result<Vec<T>, StoreError> {
        parts::scan(&self.table, &prefix(workflow, round, kind))
            .map(|record| decode(what, &record?.1))
            .collect()
    }

    fn change_head(
        &self,
        workflow: &WorkflowName,
        round: u32,
        change: impl FnOnce(&mut Head),
    ) -> Result<(), StoreError> {
        let before = self.head(workflow, round)?;
        let mut head = before.unwrap_or_default();
        change(&mut head);
        if before != Some(head) {
            self.database.check_writable(16)?;
            let field = |value: Option<u64>| value.map_or(0, |value| value + 1).to_be_bytes();
            let bytes = [field(head.examples), field(head.settled)].concat();
            self.table.insert(&head_key(workflow, round), &bytes)?;
        }
        self.database.sync()
    }

    fn write(&self, key: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        self.database.check_writable(bytes.len() as u64)?;
        let mut writer = BatchWriter::new(&self.table);
        parts::put(&mut writer, key, bytes)?;
        writer.finish()
    }

    fn lay(
        &self,
        workflow: &WorkflowName,
        round: u32,
        items: &[ReviewItem],
    ) -> Result<u64, StoreError> {
        let _alone = self.alone();
        let lying: Vec<ReviewItem> =
            self.records(workflow, round, ITEM, "an example under review")?;
        let mut known: BTreeSet<_> = lying.iter().map(|item| item.example.id).collect();
        let mut position = lying.len() as u64;
        for item in items {
            if known.insert(item.example.id) {
                let key = record_key(workflow, round, ITEM, position);
                self.write(&key, &encode(item))?;
                position += 1;
            }
        }
        self.change_head(workflow, round, |_| {})?;
        Ok(position - lying.len() as u64)
    }

    fn decide(
        &self,
        workflow: &WorkflowName,
        round: u32,
        decision: &ReviewDecision,
    ) -> PortResult<ReviewDecision> {
        let _alone = self.alone();
        let review = self.read(workflow, round)?;
        let lies_there = |item: &ReviewItem| item.example.id == decision.record;
        if !review.items.iter().any(lies_there) {
            return Err(PortError::NotFound {
                what: "example under review",
                name: decision.record.to_string(),
                nearest: None,
            });
        }
        let mut earlier = review.decisions.iter().rev();
        let last = earlier.find(|other| other.record == decision.record);
        if let Some(last) = last.filter(|last| last.says_what(decision)) {
            self.database.sync()?;
            return Ok(last.clone());
        }
        let position = review.decisions.len() as u64;
        let key = record_key(workflow, round, DECISION, position);
        self.write(&key, &encode(decision))?;
        self.database.sync()?;
        Ok(decision.clone())
    }

    fn settle(
        &self,
        workflow: &WorkflowName,
        round: u32,
        counted: u64,
    ) -> Result<ReviewRound, StoreError> {
        let _alone = self.alone();
        let mut review = self.read(workflow, round)?;
        let settled = review.settled.unwrap_or(counted);
        self.change_head(workflow, round, |head| head.settled = Some(settled))?;
        review.settled = Some(settled);
        Ok(review)
    }

    fn list(
        &self,
        workflow: Option<&WorkflowName>,
    ) -> Result<Vec<(WorkflowName, u32)>, StoreError> {
        let mut prefix = vec![ROUND];
        prefix.extend(
            workflow
                .map(|name| name_key(name.as_str()))
                .unwrap_or_default(),
        );
        let rounds = self.table.scan(&prefix).map(|pair| round_of(&pair?.0));
        rounds.collect()
    }
}

impl Reviews for ReviewStore {
    fn lay(&self, workflow: &WorkflowName, round: u32, items: &[ReviewItem]) -> PortResult<u64> {
        contain_port(|| Ok(self.lay(workflow, round, items)?))
    }

    fn complete(&self, workflow: &WorkflowName, round: u32, examples: u64) -> PortResult<()> {
        contain_port(|| {
            let _alone = self.alone();
            Ok(self.change_head(workflow, round, |head| head.examples = Some(examples))?)
        })
    }

    fn get(&self, workflow: &WorkflowName, round: u32) -> PortResult<ReviewRound> {
        contain_port(|| Ok(self.read(workflow, round)?))
    }

    fn rounds(&self, workflow: Option<&WorkflowName>) -> PortResult<Vec<(WorkflowName, u32)>> {
        contain_port(|| Ok(self.list(workflow)?))
    }

    fn decide(
        &self,
        workflow: &WorkflowName,
        round: u32,
        decision: &ReviewDecision,
    ) -> PortResult<ReviewDecision> {
        contain_port(|| self.decide(workflow, round, decision))
    }

    fn settle(&self, workflow: &WorkflowName, round: u32, counted: u64) -> PortResult<ReviewRound> {
        contain_port(|| Ok(self.settle(workflow, round, counted)?))
    }
}

fn prefix(workflow: &WorkflowName, round: u32, kind: u8) -> Vec<u8> {
    [
        name_key(workflow.as_str()).as_slice(),
        &round.to_be_bytes(),
        &[kind],
    ]
    .concat()
}

fn record_key(workflow: &WorkflowName, round: u32, kind: u8, position: u64) -> Vec<u8> {
    [
        prefix(workflow, round, kind).as_slice(),
        &position.to_be_bytes(),
    ]
    .concat()
}

fn head_key(workflow: &WorkflowName, round: u32) -> Vec<u8> {
    [
        &[ROUND],
        name_key(workflow.as_str()).as_slice(),
        &round.to_be_bytes(),
    ]
    .concat()
}

fn round_of(key: &[u8]) -> Result<(WorkflowName, u32), StoreError> {
    let parse = || {
        let (name, round) = key.get(1..)?.split_at_checked(key.len().checked_sub(5)?)?;
        let name = std::str::from_utf8(name.strip_suffix(&[0])?).ok()?;
        let round = u32::from_be_bytes(*round.first_chunk()?);
        Some((WorkflowName::new(name).ok()?, round))
    };
    parse().ok_or_else(|| StoreError::Corrupt("a review's key is malformed".to_string()))
}

#[cfg(test)]
mod tests {
    use autodidact_domain::review::{Ruling, SampledFor};
    use autodidact_domain::{Body, Example};

    use super::*;

    fn item(instruction: &str) -> ReviewItem {
        ReviewItem {
            example: Example::human(Body::instruction(instruction, "", "Yes.")),
            why: SampledFor::Random,
            passed: Vec::new(),
        }
    }

    fn decision(item: &ReviewItem, ruling: Ruling, time_ms: u64) -> ReviewDecision {
        ReviewDecision {
            record: item.example.id,
            ruling,
            reviewer: "anna".into(),
            note: String::new(),
            time_ms,
        }
    }

    #[test]
    fn a_decision_outlives_the_store_and_later_ones_count_until_the_round_is_settled() {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let db = sled::Config::new()
            .path(directory.path())
            .open()
            .expect("a database");
        let database = Arc::new(Database::new(db, directory.path(), 0).expect("a database"));
        let open = || ReviewStore::open(database.clone()).expect("open");
        let name = |text: &str| WorkflowName::new(text).expect("a name");
        let (loop_, other) = (name("loop"), name("loop-2"));
        let (one, two) = (item("One?"), item(&"Two? ".repeat(2000)));
        let store: &dyn Reviews = &open();
        assert_eq!(store.lay(&loop_, 1, std::slice::from_ref(&one)), Ok(1));
        assert_eq!(store.lay(&loop_, 1, &[one.clone(), two.clone()]), Ok(1));
        assert_eq!(store.lay(&loop_, 1, std::slice::from_ref(&two)), Ok(0));
        assert_eq!(store.lay(&other, 3, std::slice::from_ref(&two)), Ok(1));
        let accept = decision(&one, Ruling::Accept, 5);
        assert_eq!(store.decide(&loop_, 1, &accept), Ok(accept.clone()));
        // Said once more, it is the same decision, made when it was made.
        let again = decision(&one, Ruling::Accept, 6);
        assert_eq!(store.decide(&loop_, 1, &again), Ok(accept.clone()));
        let reject = decision(&one, Ruling::Reject, 7);
        store.decide(&loop_, 1, &reject).expect("decide");

        let store: &dyn Reviews = &open();
        store.complete(&loop_, 1, 9).expect("complete");
        let settled = store.settle(&loop_, 1, 2).expect("settle");
        assert_eq!(settled.in_force()[&one.example.id], &reject);
        let late = decision(&two, Ruling::Accept, 8);
        store.decide(&loop_, 1, &late).expect("a late one is kept");

        let store: &dyn Reviews = &open();
        let review = store.settle(&loop_, 1, 3).expect("settle");
        assert_eq!(store.get(&loop_, 1), Ok(review.clone()));
        assert_eq!((review.examples, review.settled), (Some(9), Some(2)));
        assert_eq!(review.decisions, [accept, reject, late]);
        assert_eq!(review.items, [one, two.clone()]);
        assert_eq!(review.in_force().len(), 1);

        let missing = decision(&item("Three?"), Ruling::Accept, 9);
        let refused = store.decide(&loop_, 1, &missing);
        assert!(
            matches!(refused, Err(PortError::NotFound { .. })),
            "{refused:?}"
        );
        let both = vec![(loop_.clone(), 1), (other.clone(), 3)];
        assert_eq!(store.rounds(None), Ok(both));
        assert_eq!(store.rounds(Some(&other)), Ok(vec![(other, 3)]));
        assert_eq!(store.get(&loop_, 2), Ok(ReviewRound::default()));
    }
}
