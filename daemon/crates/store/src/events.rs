//! The event log: the latest durable events by sequence number.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use autodidact_domain::ports::{Clock, Events};
use autodidact_domain::{Event, EventBody, PortResult, WorkflowName};

use crate::StoreError;
use crate::batch::BatchWriter;
use crate::database::Database;
use crate::guard::contain_port;
use crate::journal::{decode, encode};
use crate::listeners::Listeners;
use crate::parts;
use crate::table::{Table, number};

/// Durable events kept; older ones are removed as new ones come.
const KEPT_EVENTS: u64 = 100_000;

/// The events' port.
pub(crate) struct EventStore {
    database: Arc<Database>,
    table: Table,
    clock: Arc<dyn Clock>,
    /// The last sequence number given out; only [`EventStore::write`] changes it, under `publishing`.
    last: AtomicU64,
    publishing: Mutex<()>,
    listeners: Listeners,
    kept: u64,
}

impl EventStore {
    /// Opens the log.
    pub(crate) fn open(database: Arc<Database>, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        Self::open_keeping(database, clock, KEPT_EVENTS)
    }

    fn open_keeping(
        database: Arc<Database>,
        clock: Arc<dyn Clock>,
        kept: u64,
    ) -> Result<Self, StoreError> {
        let table = database.table("events")?;
        let last = match parts::scan(&table, b"").next_back() {
            Some(event) => number(&event?.0)?,
            None => 0,
        };
        let (publishing, listeners) = (Mutex::new(()), Listeners::default());
        Ok(Self {
            database,
            table,
            clock,
            last: AtomicU64::new(last),
            publishing,
            listeners,
            kept,
        })
    }

    fn event(&self, sequence: u64, workflow: Option<&WorkflowName>, body: EventBody) -> Event {
        Event {
            sequence,
            time_ms: self.clock.now_ms(),
            workflow: workflow.cloned(),
            body,
        }
    }

    fn write(&self, workflow: Option<&WorkflowName>, body: EventBody) -> Result<Event, StoreError> {
        let _publishing = self
            .publishing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let sequence = self.last.load(Ordering::Acquire) + 1;
        let event = self.event(sequence, workflow, body);
        let bytes = encode(&event);
        self.database.check_writable(bytes.len() as u64)?;
        let mut writer = BatchWriter::new(&self.table);
        parts::put(&mut writer, &sequence.to_be_bytes(), &bytes)?;
        if let Some(old) = sequence.checked_sub(self.kept) {
            parts::remove(&mut writer, &old.to_be_bytes())?;
        }
        writer.finish()?;
        // Nobody hears of a number that a kill could make somebody else's.
        self.database.flush()?;
        self.last.store(sequence, Ordering::Release);
        self.listeners.push(event.clone());
        Ok(event)
    }

    fn read_after(
        &self,
        sequence: u64,
        workflow: Option<&WorkflowName>,
        limit: usize,
    ) -> Result<Vec<Event>, StoreError> {
        let Some(from) = sequence.checked_add(1) else {
            return Ok(Vec::new());
        };
        let mut events = Vec::new();
        for record in parts::scan_from(&self.table, b"", &from.to_be_bytes()) {
            if events.len() >= limit {
                break;
            }
            let event: Event = decode("an event", &record?.1)?;
            if workflow.is_none() || event.workflow.as_ref() == workflow {
                events.push(event);
            }
        }
        Ok(events)
    }
}

impl Events for EventStore {
    fn publish(&self, workflow: Option<&WorkflowName>, body: EventBody) -> PortResult<Event> {
        let event = contain_port(|| Ok(self.write(workflow, body)?))?;
        self.listeners.tell();
        Ok(event)
    }

    fn tell(&self, workflow: Option<&WorkflowName>, body: EventBody) {
        self.listeners.push(self.event(0, workflow, body));
        self.listeners.tell();
    }

    fn after(
        &self,
        sequence: u64,
        workflow: Option<&WorkflowName>,
        limit: usize,
    ) -> PortResult<Vec<Event>> {
        contain_port(|| Ok(self.read_after(sequence, workflow, limit)?))
    }

    fn last_sequence(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }

    fn listen(&self, listener: Box<dyn FnMut(&Event) -> bool + Send>) {
        self.listeners.add(listener);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Epoch;

    impl Clock for Epoch {
        fn now_ms(&self) -> u64 {
            0
        }

        fn peak_rss_mb(&self) -> u64 {
            0
        }
        fn rss_mb(&self) -> u64 {
            0
        }
    }

    #[test]
    fn numbers_go_on_after_a_restart_and_only_the_latest_events_stay() {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let db = sled::Config::new()
            .path(directory.path())
            .open()
            .expect("a database");
        let database = Arc::new(Database::new(db, directory.path(), 0).expect("a database"));
        let workflow = WorkflowName::new("w").expect("a name");
        for restart in 0..3 {
            let events =
                EventStore::open_keeping(database.clone(), Arc::new(Epoch), 7).expect("open");
            assert_eq!(events.last_sequence(), restart * 5);
            for i in 0..5 {
                let body = EventBody::Warning {
                    message: "x".repeat(i * 2000),
                };
                events
                    .publish((i == 4).then_some(&workflow), body)
                    .expect("publish");
            }
        }
        let events = EventStore::open_keeping(database, Arc::new(Epoch), 7).expect("open");
        let numbers = |after, workflow, limit| -> Vec<u64> {
            events
                .after(after, workflow, limit)
                .expect("after")
                .iter()
                .map(|e| e.sequence)
                .collect()
        };
        assert_eq!(numbers(0, None, 100), [9, 10, 11, 12, 13, 14, 15]);
        assert_eq!(numbers(12, None, 2), [13, 14]);
        assert_eq!(numbers(0, Some(&workflow), 100), [10, 15]);
        assert!(numbers(u64::MAX, None, 9).is_empty());
    }
}
