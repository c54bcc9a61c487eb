//! Answers of mutations by request id; the latest ones, so that the table stays bounded.

use std::sync::{Arc, Mutex, PoisonError};

use autodidact_domain::ports::Requests;
use autodidact_domain::{Digest, PortError, PortResult};

use crate::StoreError;
use crate::batch::BatchWriter;
use crate::database::Database;
use crate::guard::contain_port;
use crate::parts;
use crate::table::{Table, number};

/// Answers kept; a client repeats a request within minutes, not after ten thousand others.
pub(crate) const KEPT_ANSWERS: u64 = 10_000;
/// `ORDER number` names the record that was written as that one.
const ORDER: u8 = parts::FIRST_OTHER;
const DIGEST_BYTES: usize = 32;

/// The answered requests' port.
pub(crate) struct RequestStore {
    database: Arc<Database>,
    table: Table,
    /// The number of the next answer.
    next: Mutex<u64>,
    kept: u64,
}

impl RequestStore {
    /// Opens the answers.
    pub(crate) fn open(database: Arc<Database>) -> Result<Self, StoreError> {
        Self::open_keeping(database, KEPT_ANSWERS)
    }

    fn open_keeping(database: Arc<Database>, kept: u64) -> Result<Self, StoreError> {
        let table = database.table("requests")?;
        let next = match table.scan(&[ORDER]).next_back() {
            Some(last) => number(&last?.0[1..])? + 1,
            None => 0,
        };
        Ok(Self {
            database,
            table,
            next: Mutex::new(next),
            kept,
        })
    }

    /// Reads the digest of the request's body, and the answer.
    fn read(&self, key: &Digest) -> Result<Option<(Digest, Vec<u8>)>, StoreError> {
        let Some(mut bytes) = parts::get(&self.table, key.as_bytes())? else {
            return Ok(None);
        };
        let body = *bytes
            .first_chunk::<DIGEST_BYTES>()
            .ok_or_else(|| StoreError::Corrupt("a stored answer is malformed".to_string()))?;
        bytes.drain(..DIGEST_BYTES);
        Ok(Some((Digest::from_bytes(body), bytes)))
    }

    fn write(&self, key: &Digest, body: Digest, answer: &[u8]) -> Result<(), StoreError> {
        self.database.check_writable(answer.len() as u64)?;
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if parts::contains(&self.table, key.as_bytes())? {
            return Ok(());
        }
        let mut writer = BatchWriter::new(&self.table);
        if let Some(oldest) = next.checked_sub(self.kept) {
            let order = order_key(oldest);
            if let Some(old) = self.table.get(&order)? {
                parts::remove(&mut writer, &old)?;
            }
            writer.remove(order)?;
        }
        writer.insert(order_key(*next), key.as_bytes())?;
        parts::put(
            &mut writer,
            key.as_bytes(),
            &[body.as_bytes(), answer].concat(),
        )?;
        writer.finish()?;
        *next += 1;
        self.database.flush()
    }
}

impl Requests for RequestStore {
    fn recall(&self, method: &str, request_id: &str, body: Digest) -> PortResult<Option<Vec<u8>>> {
        contain_port(|| match self.read(&request_key(method, request_id))? {
            Some((known, answer)) if known == body => Ok(Some(answer)),
            Some(_) => Err(PortError::Invalid(format!(
                "request id {request_id:?} was used before with another request: use a new id for a new request"
            ))),
            None => Ok(None),
        })
    }

    fn remember(
        &self,
        method: &str,
        request_id: &str,
        body: Digest,
        answer: &[u8],
    ) -> PortResult<()> {
        contain_port(|| Ok(self.write(&request_key(method, request_id), body, answer)?))
    }
}

fn request_key(method: &str, request_id: &str) -> Digest {
    let length = (method.len() as u64).to_be_bytes();
    Digest::of(&[&length, method.as_bytes(), request_id.as_bytes()].concat())
}

fn order_key(number: u64) -> Vec<u8> {
    [&[ORDER][..], &number.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_answers_are_kept() {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let db = sled::Config::new()
            .path(directory.path())
            .open()
            .expect("a database");
        let database = Arc::new(Database::new(db, directory.path(), 0).expect("a database"));
        let body = Digest::of(b"body");
        for half in [0..6, 6..12] {
            // Opened again half way: the order goes on.
            let store = RequestStore::open_keeping(database.clone(), 5).expect("open");
            for i in half {
                store
                    .remember("m", &i.to_string(), body, &vec![i as u8; 5000])
                    .expect("remember");
            }
        }
        let store = RequestStore::open_keeping(database, 5).expect("open");
        for i in 0..12 {
            let answer = store.recall("m", &i.to_string(), body).expect("recall");
            assert_eq!(answer, (i >= 7).then(|| vec![i as u8; 5000]), "{i}");
        }
        assert_eq!(
            store.table.scan(&[]).count(),
            5 * (1 + 1 + 2),
            "an order, a head and two parts each"
        );
        assert!(matches!(
            store.recall("m", "11", Digest::of(b"other")),
            Err(PortError::Invalid(_))
        ));
        assert_eq!(store.recall("other", "11", body), Ok(None));
    }
}
