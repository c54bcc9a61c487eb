//! Holds writers of content back to the speed at which sled reclaims what they replace.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes a second. sled's flusher wakes twice a second and moves live pages out of half-empty segments for at most
/// half of that time; a writer that outruns it makes the file grow instead. Measured with 30 MB checkpoints written
/// and deleted in turn, on a loaded machine with two cores: unpaced, the file reached 70 to 130 MB, depending on the
/// disk; at this rate 65 to 97 MB.
const BYTES_A_SECOND: f64 = (80 << 20) as f64;
/// What may be written at once before the pace is felt.
const BURST: Duration = Duration::from_millis(125);
/// Bytes after which a writer waits for the disk, so that the flusher's own sync never has much to wait for.
const BYTES_A_SYNC: u64 = 8 << 20;

/// A leaky bucket of written bytes.
pub(crate) struct Pace(Mutex<State>);

struct State {
    /// When all that was written so far is paid for.
    paid: Instant,
    unsynced: u64,
}

impl Pace {
    /// Starts with nothing written.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State {
            paid: Instant::now(),
            unsynced: 0,
        }))
    }

    /// Waits until so many bytes may be written; tells whether a sync is due first.
    pub(crate) fn wait(&self, bytes: u64) -> bool {
        let (wait, sync) = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .add(bytes, Instant::now());
        if !wait.is_zero() {
            thread::sleep(wait);
        }
        sync
    }
}

impl State {
    fn add(&mut self, bytes: u64, now: Instant) -> (Duration, bool) {
        let wait = self.paid.saturating_duration_since(now + BURST);
        self.paid = self.paid.max(now) + Duration::from_secs_f64(bytes as f64 / BYTES_A_SECOND);
        self.unsynced += bytes;
        let sync = self.unsynced >= BYTES_A_SYNC;
        if sync {
            self.unsynced = 0;
        }
        (wait, sync)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_more_is_not() {
        let now = Instant::now();
        let mut state = State {
            paid: now,
            unsynced: 0,
        };
        assert_eq!(state.add(4 << 20, now), (Duration::ZERO, false));
        assert_eq!(
            state.add(16 << 20, now),
            (Duration::ZERO, true),
            "what was written before is within the burst"
        );
        assert_eq!(
            state.add(0, now),
            (Duration::from_millis(125), false),
            "20 MiB take 250 ms, less the burst"
        );
        assert_eq!(
            state.add(0, now + Duration::from_secs(1)),
            (Duration::ZERO, false)
        );
    }
}
