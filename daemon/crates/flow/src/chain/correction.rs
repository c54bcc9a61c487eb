//! What links changed in the records that went through them.

use autodidact_domain::verdict::Evidence;
use autodidact_domain::{RuleRef, Verdict};

use super::note;

/// What was done to each record of a batch.
pub(super) struct Corrections(Vec<Option<Correction>>);

struct Correction {
    /// The link that began it.
    rule: &'static str,
    done: Vec<String>,
}

impl Corrections {
    pub(super) fn none(records: usize) -> Self {
        Self((0..records).map(|_| None).collect())
    }

    /// Notes what a rule did to a record.
    pub(super) fn note(&mut self, record: usize, rule: &'static str, done: String) {
        let correction = self.0[record].get_or_insert_with(|| Correction {
            rule,
            done: Vec::new(),
        });
        correction.done.push(done);
    }

    /// Makes the verdict on a record that is kept as it is now; none where nothing was done to it.
    pub(super) fn verdict(&self, record: usize) -> Option<Verdict> {
        let correction = self.0[record].as_ref()?;
        let evidence: Evidence = note(correction.done.join("; "));
        Some(Verdict {
            reason: "corrected".to_string(),
            rule: RuleRef::builtin(correction.rule),
            evidence,
            ..Verdict::keep(correction.rule)
        })
    }
}
