//! What links changed in the records that went through them.

use autodidact_domain::verdict::Evidence;
use autodidact_domain::{RuleRef, Verdict};

use super::UNCHECKED;

/// What was done to each record of a batch.
pub(super) struct Corrections(Vec<Option<Correction>>);

struct Correction {
    /// The link that began it.
    rule: RuleRef,
    done: Vec<String>,
}

impl Corrections {
    pub(super) fn none(records: usize) -> Self {
        Self((0..records).map(|_| None).collect())
    }

    /// Notes what a rule did to a record.
    pub(super) fn note(&mut self, record: usize, rule: RuleRef, done: String) {
        let correction = self.0[record].get_or_insert_with(|| Correction {
            rule,
            done: Vec::new(),
        });
        correction.done.push(done);
    }

    /// Tells whether anything was done to a record.
    pub(super) fn has(&self, record: usize) -> bool {
        self.0[record].is_some()
    }

    /// Makes the keep of a record that of one that was corrected, where it was.
    pub(super) fn verdict(&self, record: usize, kept: Verdict) -> Verdict {
        let correction = match &self.0[record] {
            Some(correction) if kept.reason != UNCHECKED => correction,
            _ => return kept,
        };
        Verdict {
            reason: "corrected".to_string(),
            rule: correction.rule.clone(),
            evidence: Evidence {
                note: Some(correction.done.join("; ")),
                ..kept.evidence
            },
            ..kept
        }
    }
}
