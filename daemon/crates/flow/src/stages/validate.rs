//! validate: answered examples in, those that pass the chain out, corrected where a link corrected them.

use std::collections::BTreeSet;

use autodidact_domain::journal::StageName;
use autodidact_domain::verdict::Evidence;
use autodidact_domain::{Decision, Example, ExampleId, Verdict};
use serde::{Deserialize, Serialize};

use crate::chain::{Chain, ChainRecord, Judgement};
use crate::error::FlowError;
use crate::journaled::{Judged, Outcome, Run};

/// What becomes of an example, as the journal holds it: kept as it is or dropped, or the answer that it goes on with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Fate {
    Kept(bool),
    Corrected { output: String },
}

/// Judges one wave of examples as one step.
pub(crate) fn wave(
    run: &mut Run,
    round: u32,
    chain: &mut Chain,
    examples: Vec<Example>,
) -> Result<Vec<Example>, FlowError> {
    let fates: Vec<Fate> = run.step(round, StageName::Validate, |run, _| {
        let default = run.spec().languages[0];
        let records = examples
            .iter()
            .map(|example| ChainRecord::of_example(example, default))
            .collect();
        let mut outcome = Outcome::new(Vec::with_capacity(examples.len()));
        let judged = chain.judge_and_correct(run, records, &mut outcome)?;
        let mut there: BTreeSet<ExampleId> = examples.iter().map(|example| example.id).collect();
        for (example, judged) in examples.iter().zip(judged) {
            let (fate, verdict) = settle(example, judged, &mut there);
            outcome.value.push(fate);
            outcome.verdicts.push(Judged {
                record: example.id,
                text: example.body.canonical_json(),
                verdict,
            });
        }
        let is_kept = |fate: &&Fate| **fate != Fate::Kept(false);
        outcome.out = outcome.value.iter().filter(is_kept).count() as u64;
        Ok(outcome)
    })?;
    let kept = examples.into_iter().zip(fates);
    Ok(kept
        .filter_map(|(example, fate)| match fate {
            Fate::Kept(kept) => kept.then_some(example),
            Fate::Corrected { output } => example.with_corrected_output(&output),
        })
        .collect())
}

/// Settles what becomes of an example. One that a correction makes equal to another of the wave ends there.
fn settle(
    example: &Example,
    judged: Judgement,
    there: &mut BTreeSet<ExampleId>,
) -> (Fate, Verdict) {
    let Judgement { verdict, corrected } = judged;
    let changed = corrected.map(|output| (example.with_corrected_output(&output), output));
    let (changed, output) = match changed {
        Some((Some(changed), output)) if changed.id != example.id => (changed, output),
        Some((None, _)) => {
            // What has no place for another answer stays as it is, which is said.
            let note = verdict.evidence.note.unwrap_or_default();
            let evidence = Evidence {
                note: Some(format!(
                    "not corrected, having no place for an answer: {note}"
                )),
                ..verdict.evidence
            };
            let kept = Verdict {
                reason: "kept".to_string(),
                evidence,
                ..verdict
            };
            return (Fate::Kept(true), kept);
        }
        _ => {
            let kept = verdict.decision == Decision::Keep;
            let verdict = match verdict.reason.as_str() {
                "corrected" => Verdict::keep("validate"),
                _ => verdict,
            };
            return (Fate::Kept(kept), verdict);
        }
    };
    let evidence = Evidence {
        nearest: Some(changed.id),
        nearest_text: Some(changed.body.canonical_json()),
        ..verdict.evidence
    };
    if !there.insert(changed.id) {
        let drop = Verdict::drop("validate", "duplicate_instance", evidence);
        return (Fate::Kept(false), drop);
    }
    (
        Fate::Corrected { output },
        Verdict {
            evidence,
            ..verdict
        },
    )
}

#[cfg(test)]
mod tests {
    use autodidact_domain::Body;

    use super::*;

    #[test]
    fn the_journal_reads_what_it_held_before_there_were_corrections() {
        let fates: Vec<Fate> = serde_json::from_str(r#"[true, false, {"output": "no"}]"#).unwrap();
        let corrected = Fate::Corrected {
            output: "no".into(),
        };
        assert_eq!(fates, [Fate::Kept(true), Fate::Kept(false), corrected]);
        let text = serde_json::to_string(&fates).unwrap();
        assert_eq!(text, r#"[true,false,{"output":"no"}]"#);
    }

    #[test]
    fn a_correction_into_another_example_is_a_duplicate() {
        let example = |output: &str| Example::human(Body::instruction("Is it?", "It is.", output));
        let mut there = BTreeSet::from([example("Label: no").id, example("yes").id]);
        let corrected = |output: &str| Judgement {
            verdict: Verdict {
                reason: "corrected".into(),
                ..Verdict::keep("checks")
            },
            corrected: Some(output.to_string()),
        };
        let (fate, verdict) = settle(&example("Label: no"), corrected("no"), &mut there);
        let id = example("no").id;
        assert_eq!(
            (verdict.reason.as_str(), verdict.evidence.nearest),
            ("corrected", Some(id))
        );
        assert_eq!(
            fate,
            Fate::Corrected {
                output: "no".into()
            }
        );
        for twin in ["yes", "no"] {
            let (fate, verdict) = settle(&example("Label: no"), corrected(twin), &mut there);
            assert_eq!(
                (fate, verdict.reason.as_str()),
                (Fate::Kept(false), "duplicate_instance")
            );
        }
        let text = Example::human(Body::Text { text: "a".into() });
        let (fate, verdict) = settle(&text, corrected("b"), &mut there);
        assert_eq!((fate, verdict.reason.as_str()), (Fate::Kept(true), "kept"));
        assert!(
            verdict
                .evidence
                .note
                .is_some_and(|note| note.starts_with("not corrected"))
        );
    }
}
