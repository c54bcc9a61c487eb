//! validate: answered examples in, those that pass the chain out.

use autodidact_domain::journal::StageName;
use autodidact_domain::{Decision, Example};

use crate::chain::{Chain, ChainRecord};
use crate::error::FlowError;
use crate::journaled::{Judged, Outcome, Run};
use crate::stages::language_of;

/// Judges one wave of examples as one step.
pub(crate) fn wave(
    run: &mut Run,
    round: u32,
    chain: &mut Chain,
    examples: Vec<Example>,
) -> Result<Vec<Example>, FlowError> {
    let kept: Vec<bool> = run.step(round, StageName::Validate, |run, _| {
        let default = run.spec().languages[0];
        let records: Vec<ChainRecord> = examples
            .iter()
            .map(|example| ChainRecord {
                id: example.id,
                instruction: example.body.instruction_text().to_string(),
                input: example.body.input_text().to_string(),
                output: example.body.output_text().to_string(),
                language: language_of(example, default),
                task_type: example.task_type,
                topic: example.topic.clone(),
            })
            .collect();
        let mut outcome = Outcome::new(Vec::with_capacity(records.len()));
        let verdicts = chain.judge(run, &records, &mut outcome)?;
        for (example, verdict) in examples.iter().zip(verdicts) {
            outcome.value.push(verdict.decision == Decision::Keep);
            outcome.verdicts.push(Judged {
                record: example.id,
                text: example.body.canonical_json(),
                verdict,
            });
        }
        outcome.out = outcome.value.iter().filter(|kept| **kept).count() as u64;
        Ok(outcome)
    })?;
    Ok(examples
        .into_iter()
        .zip(kept)
        .filter_map(|(example, kept)| kept.then_some(example))
        .collect())
}
