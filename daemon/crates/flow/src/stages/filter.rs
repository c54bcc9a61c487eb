//! filter: candidate instructions in, those that pass the chain out.

use autodidact_domain::journal::StageName;
use autodidact_domain::{Decision, Example};

use crate::chain::{Chain, ChainRecord};
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
    let kept = judge(run, round, chain, &candidates)?;
    Ok(candidates
        .into_iter()
        .zip(kept)
        .filter_map(|(candidate, kept)| kept.then_some(candidate))
        .collect())
}

/// Tells for each candidate whether it is kept. On replay the chain is told what it kept then.
fn judge(
    run: &mut Run,
    round: u32,
    chain: &mut Chain,
    candidates: &[Candidate],
) -> Result<Vec<bool>, FlowError> {
    let replayed = run.will_replay(round, StageName::Filter);
    let kept: Vec<bool> = run.step(round, StageName::Filter, |run, _| {
        let records: Vec<ChainRecord> = candidates.iter().map(to_record).collect();
        let mut outcome = Outcome::new(Vec::with_capacity(records.len()));
        let verdicts = chain.judge(run, &records, &mut outcome)?;
        for (record, verdict) in records.into_iter().zip(verdicts) {
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
            chain.remember(
                instruction_id(&candidate.instruction),
                &candidate.instruction,
            );
        }
    }
    Ok(kept)
}

fn to_record(candidate: &Candidate) -> ChainRecord {
    let instruction = &candidate.instruction;
    ChainRecord::of_instruction(instruction_id(instruction), instruction, candidate.language)
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
        .map(|example| Candidate {
            instruction: example.body.instruction_text().to_string(),
            language: language_of(example, default),
            seeds: Vec::new(),
            task_type: example.task_type,
        })
        .collect();
    let kept = self::judge(run, round, chain, &candidates)?;
    Ok(wave
        .iter()
        .zip(kept)
        .filter(|(_, kept)| *kept)
        .map(|(example, _)| example.clone())
        .collect())
}
