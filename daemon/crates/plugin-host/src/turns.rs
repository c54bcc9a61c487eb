//! Turns at components, so that two threads never compile or load the same one at once, and those at others do not wait.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, PoisonError};

use autodidact_domain::Digest;

/// The components that somebody is at.
#[derive(Default)]
pub(crate) struct Turns {
    taken: Mutex<BTreeSet<Digest>>,
    ended: Condvar,
}

/// A turn at a component, which ends when this is dropped.
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    digest: Digest,
}

impl Turns {
    /// Waits until nobody is at a component, and takes a turn at it. Nobody may hold two.
    pub(crate) fn take(&self, digest: Digest) -> Turn<'_> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let free = self
            .ended
            .wait_while(taken, |taken| taken.contains(&digest));
        free.unwrap_or_else(PoisonError::into_inner).insert(digest);
        Turn {
            turns: self,
            digest,
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let taken = self.turns.taken.lock();
        taken
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.digest);
        self.turns.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn those_at_one_component_take_turns_and_those_at_others_do_not_wait() {
        let (turns, digest) = (Turns::default(), Digest::of(b"one"));
        let at_work = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let _turn = turns.take(digest);
                    assert_eq!(at_work.fetch_add(1, Ordering::SeqCst), 0);
                    // Would wait for ever if one turn stood for all.
                    let other = thread::current().id();
                    drop(turns.take(Digest::of(format!("{other:?}").as_bytes())));
                    thread::sleep(Duration::from_millis(2));
                    at_work.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
    }
}
