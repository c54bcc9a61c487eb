//! What work takes in memory, told before it begins, so that what will not suffice is refused and not begun.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::EngineError;

/// The memory that a model's further work may take. It changes as others take and give back: whoever uses the model tells.
#[derive(Debug)]
pub(crate) struct Room(AtomicU64);

impl Room {
    /// Takes the bytes that are available; without them nothing is refused.
    pub(crate) fn new(available: Option<u64>) -> Self {
        Self(AtomicU64::new(available.unwrap_or(u64::MAX)))
    }

    pub(crate) fn set(&self, available: Option<u64>) {
        self.0
            .store(available.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Tells the bytes; the most that can be counted where there is no bound.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts something that stays.
    pub(crate) fn take(&self, bytes: u64) {
        let left = match self.bytes() {
            u64::MAX => u64::MAX,
            available => available.saturating_sub(bytes),
        };
        self.0.store(left, Ordering::Relaxed);
    }
}

/// What a piece of work takes.
pub(crate) struct Need<'a> {
    /// Whose need it is: a file, a sequence, training.
    pub(crate) what: String,
    /// What it is made of, in bytes.
    pub(crate) parts: &'a [(&'a str, u64)],
    /// What to do where it is too much.
    pub(crate) advice: &'static str,
}

impl Need<'_> {
    /// Adds the parts up.
    pub(crate) fn bytes(&self) -> u64 {
        let sizes = self.parts.iter().map(|(_, bytes)| *bytes);
        sizes.fold(0, u64::saturating_add)
    }

    /// Refuses what there is no room for.
    ///
    /// # Errors
    /// [`EngineError::Memory`] with the need, its parts and the room.
    pub(crate) fn check(&self, room: u64) -> Result<(), EngineError> {
        let total = self.bytes();
        if total <= room {
            return Ok(());
        }
        let parts = self.parts.iter().filter(|(_, bytes)| *bytes > 0);
        let parts: Vec<String> = parts
            .map(|(name, bytes)| format!("{} of {name}", mebibytes(*bytes)))
            .collect();
        Err(EngineError::Memory(format!(
            "{}: memory: expected a need of at most the {} available, found {} ({}); {}",
            self.what,
            mebibytes(room),
            mebibytes(total),
            parts.join(", "),
            self.advice
        )))
    }
}

fn mebibytes(bytes: u64) -> String {
    let size = bytes as f64 / f64::from(1 << 20);
    match size < 10.0 {
        true => format!("{size:.1} MiB"),
        false => format!("{size:.0} MiB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_told_with_its_parts() {
        let need = Need {
            what: "model.gguf".to_string(),
            parts: &[("weights", 300 << 20), ("nothing", 0), ("caches", 3 << 19)],
            advice: "take less",
        };
        need.check(302 << 20).expect("it fits");
        need.check(u64::MAX).expect("it fits");
        assert_eq!(
            need.check(301 << 20).unwrap_err().to_string(),
            "model.gguf: memory: expected a need of at most the 301 MiB available, found 302 MiB (300 MiB of weights, 1.5 MiB of caches); take less"
        );
        let endless = Need {
            parts: &[("weights", u64::MAX), ("caches", 9)],
            ..need
        };
        assert!(endless.check(u64::MAX - 1).is_err());
    }

    #[test]
    fn room_is_counted_down_where_there_is_a_bound() {
        let room = Room::new(Some(10));
        room.take(4);
        assert_eq!(room.bytes(), 6);
        room.take(9);
        assert_eq!(room.bytes(), 0);
        let endless = Room::new(None);
        endless.take(9);
        assert_eq!(endless.bytes(), u64::MAX);
        endless.set(Some(3));
        assert_eq!(endless.bytes(), 3);
    }
}
