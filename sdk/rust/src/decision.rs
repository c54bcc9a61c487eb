//! What a filter decides.

use crate::bindings::exports::autodidact::plugin::filter;

/// Keep or drop, with what it rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    drop_reason: Option<&'static str>,
    note: Option<String>,
    score: Option<f64>,
}

impl Decision {
    /// Lets the record go on.
    pub fn keep() -> Self {
        Self {
            drop_reason: None,
            note: None,
            score: None,
        }
    }

    /// Drops the record for a stable reason: snake case, at most 64 bytes, starting with a letter.
    pub fn drop(reason: &'static str) -> Self {
        Self {
            drop_reason: Some(reason),
            note: None,
            score: None,
        }
    }

    /// Adds what the decision rests on, in words for people.
    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// Adds the number that crossed a threshold; it must be finite.
    pub fn with_score(mut self, score: f64) -> Self {
        self.score = Some(score);
        self
    }

    /// Shows the reason of a drop.
    pub fn drop_reason(&self) -> Option<&'static str> {
        self.drop_reason
    }

    /// Shows what the decision rests on.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Shows the number that crossed a threshold.
    pub fn score(&self) -> Option<f64> {
        self.score
    }
}

impl From<Decision> for filter::Decision {
    fn from(decision: Decision) -> Self {
        Self {
            drop_reason: decision.drop_reason.map(str::to_string),
            note: decision.note,
            score: decision.score,
        }
    }
}
