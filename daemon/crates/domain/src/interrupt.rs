//! A flag that long work polls between its smallest units.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Why work should stop at its next safe point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterruptReason {
    /// A person paused the workflow; it stays paused over restarts.
    Pause,
    /// A person cancelled the workflow for good.
    Cancel,
    /// The daemon is going down; the workflow resumes when it is up again.
    Shutdown,
}

/// A shared flag, raised at most to the gravest reason asked for. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicU8>);

impl Interrupt {
    /// Makes a flag that is not raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// Raises the flag; a cancel is never lowered to a pause.
    pub fn raise(&self, reason: InterruptReason) {
        let value = match reason {
            InterruptReason::Pause => 1,
            InterruptReason::Shutdown => 2,
            InterruptReason::Cancel => 3,
        };
        self.0.fetch_max(value, Ordering::SeqCst);
    }

    /// Tells the reason, once raised.
    pub fn reason(&self) -> Option<InterruptReason> {
        match self.0.load(Ordering::SeqCst) {
            0 => None,
            1 => Some(InterruptReason::Pause),
            2 => Some(InterruptReason::Shutdown),
            _ => Some(InterruptReason::Cancel),
        }
    }

    /// Tells whether any reason was given.
    pub fn is_raised(&self) -> bool {
        self.reason().is_some()
    }
}
