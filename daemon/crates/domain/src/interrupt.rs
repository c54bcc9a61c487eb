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
pub struct Interrupt {
    own: Arc<AtomicU8>,
    /// The flag of what this work is part of.
    whole: Option<Arc<Interrupt>>,
}

impl Interrupt {
    /// Makes a flag that is not raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a flag for a part of the work: it is raised with this one, but this one not with it.
    #[must_use]
    pub fn of_part(&self) -> Self {
        Self {
            own: Arc::default(),
            whole: Some(Arc::new(self.clone())),
        }
    }

    /// Raises the flag; a cancel is never lowered to a pause.
    pub fn raise(&self, reason: InterruptReason) {
        let value = match reason {
            InterruptReason::Pause => 1,
            InterruptReason::Shutdown => 2,
            InterruptReason::Cancel => 3,
        };
        self.own.fetch_max(value, Ordering::SeqCst);
    }

    /// Tells the reason, once raised.
    pub fn reason(&self) -> Option<InterruptReason> {
        match self.raised() {
            0 => None,
            1 => Some(InterruptReason::Pause),
            2 => Some(InterruptReason::Shutdown),
            _ => Some(InterruptReason::Cancel),
        }
    }

    fn raised(&self) -> u8 {
        let whole = self.whole.as_ref().map_or(0, |whole| whole.raised());
        self.own.load(Ordering::SeqCst).max(whole)
    }

    /// Tells whether any reason was given.
    pub fn is_raised(&self) -> bool {
        self.reason().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_interrupted_with_the_whole_and_not_the_other_way_round() {
        let whole = Interrupt::new();
        let part = whole.of_part();
        part.raise(InterruptReason::Cancel);
        assert_eq!((part.is_raised(), whole.is_raised()), (true, false));
        let part = whole.of_part().of_part();
        whole.raise(InterruptReason::Pause);
        assert_eq!(part.reason(), Some(InterruptReason::Pause));
    }
}
