//! What plugins say of records.

use std::borrow::Cow;

use crate::bindings::{filter, scorer, validator};

/// Keep or drop, with what it rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    drop_reason: Option<Cow<'static, str>>,
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
    pub fn drop(reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            drop_reason: Some(reason.into()),
            note: None,
            score: None,
        }
    }

    /// Adds what the decision rests on, in words for people.
    #[must_use]
    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// Adds the number that crossed a threshold; it must be finite.
    #[must_use]
    pub fn with_score(mut self, score: f64) -> Self {
        self.score = Some(score);
        self
    }

    /// Shows the reason of a drop.
    pub fn drop_reason(&self) -> Option<&str> {
        self.drop_reason.as_deref()
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
            drop_reason: decision.drop_reason.map(Cow::into_owned),
            note: decision.note,
            score: decision.score,
        }
    }
}

/// What becomes of an answered record.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It goes on as it is.
    Accept,
    /// It goes on with another answer; the first one is kept beside it.
    Correct {
        /// The answer to go on with.
        output: String,
        /// What was wrong, in words for people.
        note: Option<String>,
    },
    /// It goes, for the decision's reason.
    Drop(Decision),
}

impl Outcome {
    /// Drops the record for a stable reason, with what it rests on in words for people.
    pub fn drop(reason: impl Into<Cow<'static, str>>, note: impl Into<String>) -> Self {
        Self::Drop(Decision::drop(reason).with_note(note))
    }
}

impl From<Outcome> for validator::Outcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Accept => Self::Accept,
            Outcome::Correct { output, note } => {
                Self::Correct(validator::Correction { output, note })
            }
            Outcome::Drop(decision) => match decision.drop_reason {
                None => Self::Accept,
                Some(reason) => Self::Drop(validator::Fault {
                    reason: reason.into_owned(),
                    note: decision.note,
                    score: decision.score,
                }),
            },
        }
    }
}

/// What a record is worth.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Score {
    /// None where it cannot be told. Must be finite.
    pub value: Option<f64>,
    /// What it rests on, in words for people.
    pub note: Option<String>,
}

impl Score {
    /// Makes a score without a note.
    pub fn of(value: f64) -> Self {
        Self {
            value: Some(value),
            note: None,
        }
    }

    /// Says why there is none.
    pub fn none(note: impl Into<String>) -> Self {
        Self {
            value: None,
            note: Some(note.into()),
        }
    }
}

impl From<Score> for scorer::Scored {
    fn from(score: Score) -> Self {
        Self {
            value: score.value,
            note: score.note,
        }
    }
}
