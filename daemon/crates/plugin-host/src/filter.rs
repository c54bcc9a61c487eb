//! Batches: what fails is asked again in halves, and every decision is checked.

use autodidact_domain::FilterRecord;
use autodidact_domain::plugin::FilterDecision;

use crate::bindings;
use crate::sandbox::{Failure, Sandbox};

/// The longest reason code, in bytes, as the WIT says.
const MAX_REASON_BYTES: usize = 64;
/// After this many single records that ran over their time, batches that run over are not searched any more: the
/// plugin is at fault, not a record, and each search costs many deadlines.
const MAX_OVERRUNS: usize = 3;

/// A record's decision, or why there is none.
pub(crate) type Outcome = Result<FilterDecision, String>;

/// Calls the filter of an instance with a batch.
type CallFilter<'a> = dyn Fn(&mut Sandbox, &[bindings::FilterRecord]) -> Result<Vec<bindings::Decision>, Failure>
    + 'a;

/// One run of a filter over records: the instance in use, and how it is replaced.
pub(crate) struct Run<'a> {
    /// The instance; none before the first call and after one that lost it.
    pub(crate) sandbox: Option<Sandbox>,
    /// Makes another.
    pub(crate) make: &'a dyn Fn() -> Result<Sandbox, Failure>,
    /// Calls the filter.
    pub(crate) call: &'a CallFilter<'a>,
    /// The longest note in bytes.
    pub(crate) note_bytes: usize,
    /// The single records so far that ran over.
    pub(crate) overruns: usize,
}

impl Run<'_> {
    /// Judges a batch, giving one outcome a record, in order.
    pub(crate) fn judge(&mut self, batch: &[bindings::FilterRecord], outcomes: &mut Vec<Outcome>) {
        let failure = match self.ask(batch) {
            Ok(decisions) => {
                outcomes.extend(
                    decisions
                        .into_iter()
                        .map(|decision| checked(decision, self.note_bytes)),
                );
                return;
            }
            Err(failure) => failure,
        };
        let overrun = matches!(failure, Failure::Overrun(_));
        if batch.len() <= 1 || overrun && self.overruns >= MAX_OVERRUNS {
            self.overruns += usize::from(overrun);
            let text = failure.into_text();
            outcomes.extend(batch.iter().map(|_| Err(text.clone())));
            return;
        }
        let (first, second) = batch.split_at(batch.len() / 2);
        self.judge(first, outcomes);
        self.judge(second, outcomes);
    }

    fn ask(
        &mut self,
        batch: &[bindings::FilterRecord],
    ) -> Result<Vec<bindings::Decision>, Failure> {
        let mut sandbox = match self.sandbox.take() {
            Some(sandbox) => sandbox,
            None => (self.make)()?,
        };
        let result = (self.call)(&mut sandbox, batch);
        if matches!(result, Ok(_) | Err(Failure::Refused(_))) {
            self.sandbox = Some(sandbox);
        }
        result
    }
}

/// Lays records out for the guest.
pub(crate) fn to_guest(records: &[FilterRecord]) -> Vec<bindings::FilterRecord> {
    let to_guest = |record: &FilterRecord| bindings::FilterRecord {
        instruction: record.instruction.clone(),
        input: record.input.clone(),
        output: record.output.clone(),
        language: record.language.clone(),
    };
    records.iter().map(to_guest).collect()
}

/// Checks a decision: the reason is a code, the note short, the score a number that can be written down.
fn checked(decision: bindings::Decision, note_bytes: usize) -> Outcome {
    if let Some(reason) = &decision.drop_reason
        && !is_reason_code(reason)
    {
        let shown: String = reason.chars().take(80).collect();
        return Err(format!(
            "gave {shown:?}, which is no reason code in snake case of at most {MAX_REASON_BYTES} bytes"
        ));
    }
    Ok(FilterDecision {
        drop_reason: decision.drop_reason,
        note: decision.note.map(|note| cut(note, note_bytes)),
        score: decision.score.filter(|score| score.is_finite()),
    })
}

/// Tells whether a text is a reason code; `kept` is the host's own word.
fn is_reason_code(text: &str) -> bool {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.len() <= MAX_REASON_BYTES
        && text.chars().all(good)
        && text != "kept"
}

/// Cuts a text to so many bytes, between characters, with `…` where something was cut.
fn cut(mut text: String, max_bytes: usize) -> String {
    if text.len() > max_bytes {
        text.truncate(text.floor_char_boundary(max_bytes.saturating_sub('…'.len_utf8())));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(
        reason: Option<&str>,
        note: Option<&str>,
        score: Option<f64>,
    ) -> bindings::Decision {
        bindings::Decision {
            drop_reason: reason.map(Into::into),
            note: note.map(Into::into),
            score,
        }
    }

    #[test]
    fn reasons_are_codes() {
        for good in ["a", "bad_form", "x2", &"a".repeat(64)] {
            assert_eq!(
                checked(decision(Some(good), None, None), 9)
                    .unwrap()
                    .drop_reason
                    .as_deref(),
                Some(good)
            );
        }
        for bad in [
            "",
            "Bad",
            "bad form",
            "_bad",
            "2x",
            "坏",
            "kept",
            "bad-form",
            &"a".repeat(65),
        ] {
            assert!(
                checked(decision(Some(bad), None, None), 9).is_err(),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn notes_are_cut_between_characters() {
        assert_eq!(cut("abcdef".into(), 6), "abcdef");
        assert_eq!(cut("abcdefg".into(), 6), "abc…");
        assert_eq!(cut("汉字汉字".into(), 9), "汉字…");
        assert_eq!(cut("汉字汉字".into(), 8), "汉…");
    }

    #[test]
    fn scores_are_finite() {
        for bad in [f64::NAN, f64::INFINITY] {
            assert_eq!(
                checked(decision(None, None, Some(bad)), 9).unwrap().score,
                None
            );
        }
        assert_eq!(
            checked(decision(None, None, Some(0.5)), 9).unwrap().score,
            Some(0.5)
        );
    }
}
