//! Tells listeners of events, in order, and never while a lock is held.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use autodidact_domain::Event;

/// Fleeting events wait only while fewer than this many wait already.
const WAITING_FLEETING: usize = 1024;
/// The most events that wait at all. A listener that misses a durable one sees the gap in the sequence numbers, and
/// reads it from the log.
const WAITING: usize = 8192;
/// The most listeners; beyond it the oldest is dropped, which its owner sees as the end of its stream.
const LISTENERS: usize = 1024;

type Listener = Box<dyn FnMut(&Event) -> bool + Send>;

/// The listeners and what they have still to be told.
///
/// Whoever adds an event while nobody tells becomes the one who tells, until nothing waits. So a listener may itself
/// publish, and events come in the order they were added.
#[derive(Default)]
pub(crate) struct Listeners(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: VecDeque<Event>,
    listeners: Vec<Listener>,
    telling: bool,
}

impl Listeners {
    /// Adds a listener.
    pub(crate) fn add(&self, listener: Listener) {
        let oldest = {
            let mut state = self.lock();
            state.listeners.push(listener);
            (state.listeners.len() > LISTENERS).then(|| state.listeners.remove(0))
        };
        // Dropped outside the lock: it may own anything.
        drop(oldest);
    }

    /// Adds an event, to be told by [`Listeners::tell`]. Callers whose order matters hold their own lock meanwhile.
    pub(crate) fn push(&self, event: Event) {
        let mut state = self.lock();
        let room = if event.sequence == 0 {
            WAITING_FLEETING
        } else {
            WAITING
        };
        if state.waiting.len() < room {
            state.waiting.push_back(event);
        }
    }

    /// Tells everything that waits, unless someone is at it.
    pub(crate) fn tell(&self) {
        while let Some((event, mut listeners)) = self.take() {
            listeners.retain_mut(|listener| {
                catch_unwind(AssertUnwindSafe(|| listener(&event))).unwrap_or(false)
            });
            let mut state = self.lock();
            // Those added meanwhile come after those there before.
            listeners.append(&mut state.listeners);
            state.listeners = listeners;
            state.telling = false;
        }
    }

    fn take(&self) -> Option<(Event, Vec<Listener>)> {
        let mut state = self.lock();
        if state.telling {
            return None;
        }
        let event = state.waiting.pop_front()?;
        state.telling = true;
        Some((event, std::mem::take(&mut state.listeners)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use autodidact_domain::EventBody;

    use super::*;

    fn event(sequence: u64) -> Event {
        let body = EventBody::Warning {
            message: String::new(),
        };
        Event {
            sequence,
            time_ms: 0,
            workflow: None,
            body,
        }
    }

    #[test]
    fn a_listener_may_publish_and_order_is_kept() {
        let listeners = Arc::new(Listeners::default());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (inner, log) = (listeners.clone(), heard.clone());
        listeners.add(Box::new(move |event| {
            log.lock().expect("lock").push(event.sequence);
            if event.sequence < 5 {
                inner.push(self::event(event.sequence + 1));
                inner.tell();
            }
            true
        }));
        listeners.push(event(1));
        listeners.tell();
        assert_eq!(*heard.lock().expect("lock"), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_listener_that_ends_or_panics_is_dropped() {
        let listeners = Listeners::default();
        let calls = Arc::new(Mutex::new([0; 3]));
        for (i, end) in [|| false, || panic!("a listener's own fault"), || true]
            .into_iter()
            .enumerate()
        {
            let calls = calls.clone();
            listeners.add(Box::new(move |_| {
                calls.lock().unwrap_or_else(PoisonError::into_inner)[i] += 1;
                end()
            }));
        }
        for _ in 0..3 {
            listeners.push(event(1));
            listeners.tell();
        }
        assert_eq!(
            *calls.lock().unwrap_or_else(PoisonError::into_inner),
            [1, 1, 3]
        );
    }

    #[test]
    fn what_waits_is_bounded() {
        let listeners = Listeners::default();
        for _ in 0..2 * WAITING {
            listeners.push(event(0));
        }
        assert_eq!(listeners.lock().waiting.len(), WAITING_FLEETING);
        for _ in 0..2 * WAITING {
            listeners.push(event(1));
        }
        assert_eq!(listeners.lock().waiting.len(), WAITING);
    }
}
