//! What a watcher still has to hear, in bounded memory.
//!
//! A listener of the event log must not block, and a watcher may be slow. So a feed keeps no queue: of durable events it
//! notes only that there are new ones (the watcher reads them from the store, at its own pace), and of fleeting ones it
//! keeps the newest of each kind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use autodidact_domain::ports::Events;
use autodidact_domain::{Event, EventBody, WorkflowName};
use tokio::sync::Notify;

/// The most kinds of fleeting events kept; a kind is a workflow's stage in a round.
const MAX_KINDS: usize = 256;

/// Whether a watcher hears of progress inside steps.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Fleeting {
    Heard,
    LeftOut,
}

/// News for one watcher. Dropping it ends its listener at the next event.
pub(crate) struct Feed {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    news: Mutex<News>,
    wake: Notify,
}

/// What came since the watcher last looked.
#[derive(Default)]
pub(crate) struct News {
    /// Whether the store has new durable events.
    pub(crate) durable: bool,
    fleeting: BTreeMap<Kind, Event>,
    closed: bool,
}

impl News {
    /// Takes the newest fleeting event of each kind.
    pub(crate) fn into_fleeting(self) -> impl Iterator<Item = Event> {
        self.fleeting.into_values()
    }
}

/// Events of one kind replace each other: workflow, sort, round, stage.
type Kind = (Option<WorkflowName>, u8, u32, u8);

fn kind(event: &Event) -> Kind {
    let (sort, round, stage) = match &event.body {
        EventBody::Stage(progress) => (0, progress.round, progress.stage as u8),
        EventBody::Training { round, .. } => (1, *round, 0),
        _ => (2, 0, 0),
    };
    (event.workflow.clone(), sort, round, stage)
}

impl Feed {
    /// Listens from now on, to one workflow's events or to all.
    pub(crate) fn open(
        events: &dyn Events,
        workflow: Option<WorkflowName>,
        fleeting: Fleeting,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let listening = Arc::clone(&shared);
        events.listen(Box::new(move |event| {
            let concerns = workflow.is_none() || event.workflow == workflow;
            listening.hear(event, concerns, fleeting)
        }));
        Self { shared }
    }

    /// Waits for news.
    ///
    /// # Cancel safety
    /// News that came while nobody waited is kept, so nothing is lost.
    pub(crate) async fn wait(&self) {
        self.shared.wake.notified().await;
    }

    /// Takes the news.
    pub(crate) fn take(&self) -> News {
        std::mem::take(&mut *self.shared.news())
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.shared.news().closed = true;
    }
}

impl Shared {
    fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an event; tells whether the listener is still wanted.
    fn hear(&self, event: &Event, concerns: bool, wanted: Fleeting) -> bool {
        let mut news = self.news();
        if news.closed {
            return false;
        }
        if !concerns {
            return true;
        }
        if event.sequence > 0 {
            news.durable = true;
            // What was fleeting about the same thing is out of date.
            news.fleeting.remove(&kind(event));
        } else if wanted == Fleeting::Heard {
            let kind = kind(event);
            if news.fleeting.len() < MAX_KINDS || news.fleeting.contains_key(&kind) {
                news.fleeting.insert(kind, event.clone());
            }
        } else {
            return true;
        }
        drop(news);
        self.wake.notify_one();
        true
    }
}

#[cfg(test)]
mod tests {
    use autodidact_domain::StageProgress;
    use autodidact_domain::journal::StageName;

    use super::*;

    fn progress(sequence: u64, round: u32, done: u64) -> Event {
        let body = EventBody::Stage(StageProgress {
            round,
            stage: StageName::Generate,
            done,
            total: 10,
            kept: 0,
            dropped: 0,
            reasons: BTreeMap::new(),
            tokens: 0,
            finished: false,
        });
        Event {
            sequence,
            time_ms: 0,
            workflow: None,
            body,
        }
    }

    fn heard(shared: &Shared) -> Vec<Event> {
        std::mem::take(&mut *shared.news())
            .into_fleeting()
            .collect()
    }

    #[test]
    fn the_newest_of_a_kind_stands_for_all() {
        let shared = Shared::default();
        for done in 0..1000 {
            assert!(shared.hear(&progress(0, 1, done), true, Fleeting::Heard));
        }
        assert_eq!(heard(&shared), [progress(0, 1, 999)]);
        assert!(heard(&shared).is_empty());
    }

    #[test]
    fn kinds_are_bounded() {
        let shared = Shared::default();
        for round in 0..10_000 {
            shared.hear(&progress(0, round, 1), true, Fleeting::Heard);
        }
        assert_eq!(heard(&shared).len(), MAX_KINDS);
    }

    #[test]
    fn a_durable_event_outdates_fleeting_ones() {
        let shared = Shared::default();
        shared.hear(&progress(0, 1, 5), true, Fleeting::Heard);
        shared.hear(&progress(7, 1, 6), true, Fleeting::Heard);
        let news = std::mem::take(&mut *shared.news());
        assert!(news.durable);
        assert_eq!(news.into_fleeting().count(), 0);
    }

    #[test]
    fn what_is_not_wanted_is_not_kept() {
        let shared = Shared::default();
        shared.hear(&progress(0, 1, 5), true, Fleeting::LeftOut);
        shared.hear(&progress(0, 1, 5), false, Fleeting::Heard);
        shared.hear(&progress(3, 1, 5), false, Fleeting::Heard);
        let news = std::mem::take(&mut *shared.news());
        assert!(!news.durable);
        assert_eq!(news.into_fleeting().count(), 0);
        shared.news().closed = true;
        assert!(!shared.hear(&progress(3, 1, 5), true, Fleeting::Heard));
    }
}
