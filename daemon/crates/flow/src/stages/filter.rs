//! filter: candidate instructions in, those that pass the chain out.

use autodidact_domain::journal::StageName;
use autodidact_domain::workflow::Calibration;
use autodidact_domain::{Decision, Example, Language};

use crate::chain::{Chain, ChainRecord};
use crate::contamination::Overlap;
use crate::error::FlowError;
use crate::journaled::{Judged, Outcome, Run};
use crate::stages::generate::{Candidate, instruction_id};
use crate::stages::language_of;

/// Judges one wave of candidates as one step.
pub(crate) fn wave(
    run: &mut Run,
    round: u32,
    chain: &mut Chain,
    candidates: Vec<Candidate>,
) -> Result<Vec<Candidate>, FlowError> {
    let overlaps = |run: &Run| -> Vec<Option<Overlap>> {
        let held_out = run.contamination.as_ref();
        let overlap = |candidate: &Candidate| held_out?.of_instruction(&candidate.instruction);
        candidates.iter().map(overlap).collect()
    };
    let kept = judge(run, round, chain, &candidates, overlaps)?;
    Ok(candidates
        .into_iter()
        .zip(kept)
        .filter_map(|(candidate, kept)| kept.then_some(candidate))
        .collect())
}

/// Tells for each candidate whether it is kept: first of all it must overlap no held-out task, then the chain decides. On replay
/// the chain is told what it kept then.
fn judge(
    run: &mut Run,
    round: u32,
    chain: &mut Chain,
    candidates: &[Candidate],
    overlaps: impl FnOnce(&Run) -> Vec<Option<Overlap>>,
) -> Result<Vec<bool>, FlowError> {
    let replayed = run.will_replay(round, StageName::Filter);
    let kept: Vec<bool> = run.step(round, StageName::Filter, |run, _| {
        let records: Vec<ChainRecord> = candidates.iter().map(to_record).collect();
        let overlaps = overlaps(run);
        let mut outcome = Outcome::new(Vec::with_capacity(records.len()));
        let apart = records.iter().zip(&overlaps);
        let apart = apart.filter(|(_, overlap)| overlap.is_none());
        let apart: Vec<ChainRecord> = apart.map(|(record, _)| record.clone()).collect();
        let mut judged = chain.judge(run, &apart, &mut outcome)?.into_iter();
        for (record, overlap) in records.into_iter().zip(overlaps) {
            let verdict = match overlap {
                Some(overlap) => overlap.verdict(),
                None => judged
                    .next()
                    .expect("the chain judges every record that it is given"),
            };
            outcome.value.push(verdict.decision == Decision::Keep);
            outcome.verdicts.push(Judged {
                record: record.id,
                text: record.instruction,
                verdict,
            });
        }
        outcome.out = outcome.value.iter().filter(|kept| **kept).count() as u64;
        Ok(outcome)
    })?;
    if replayed {
        for (candidate, _) in candidates.iter().zip(&kept).filter(|(_, kept)| **kept) {
            chain.remember(&to_record(candidate));
        }
    }
    Ok(kept)
}

fn to_record(candidate: &Candidate) -> ChainRecord {
    ChainRecord {
        task_type: candidate.task_type,
        topic: candidate.topic.clone(),
        ..ChainRecord::instruction(
            instruction_id(&candidate.instruction),
            &candidate.instruction,
            candidate.language,
        )
    }
}

/// Shows an example as the chain sees its instruction.
pub(crate) fn seed_record(example: &Example, default: Language) -> ChainRecord {
    ChainRecord {
        task_type: example.task_type,
        topic: example.topic.clone(),
        ..ChainRecord::instruction(
            example.id,
            &example.body.instruction_text(),
            language_of(example, default),
        )
    }
}

/// Measures the bounds of a stage's chain on the seeds, once a workflow, as a step.
pub(crate) fn calibrate(
    run: &mut Run,
    stage: StageName,
    chain: &mut Chain,
    seeds: &[ChainRecord],
) -> Result<Vec<Calibration>, FlowError> {
    let bounds: Vec<Calibration> = run.step(1, stage, |run, _| {
        Ok(Outcome::new(chain.measure(run, seeds)?))
    })?;
    chain.calibrate(run, &bounds, seeds)?;
    Ok(bounds)
}

/// Judges records of a dataset, which keep what is known about them.
pub(crate) fn dataset_wave(
    run: &mut Run,
    round: u32,
    chain: &mut Chain,
    wave: &[Example],
) -> Result<Vec<Example>, FlowError> {
    let default = run.spec().languages[0];
    let candidates: Vec<Candidate> = wave
        .iter()
        .map(|example| Candidate::of_example(example, default))
        .collect();
    let overlaps = |run: &Run| -> Vec<Option<Overlap>> {
        let held_out = run.contamination.as_ref();
        let overlap = |example: &Example| held_out?.of_record(&example.body);
        wave.iter().map(overlap).collect()
    };
    let kept = judge(run, round, chain, &candidates, overlaps)?;
    Ok(wave
        .iter()
        .zip(kept)
        .filter(|(_, kept)| *kept)
        .map(|(example, _)| example.clone())
        .collect())
}
