//! respond: kept instructions in, examples with input and answer out.

mod asker;
mod classify;
mod input_first;
mod instances;
mod labels;

use autodidact_domain::example::{Example, Lineage, Origin};
use autodidact_domain::journal::StageName;
use autodidact_domain::workflow::RespondSpec;
use autodidact_domain::{Body, ModelRef, TaskType};

use crate::error::FlowError;
use crate::journaled::{Judged, Outcome, Run};
use crate::stages::generate::{Candidate, instruction_id};
use instances::Settled;

pub(crate) use asker::{Asker, Question};
pub(crate) use instances::{Instance, settle};
pub(crate) use labels::LabelShares;

/// Whom a wave asks, and what it knows of before.
pub(crate) struct Answerer<'a> {
    pub(crate) spec: &'a RespondSpec,
    pub(crate) model: &'a ModelRef,
    /// The examples that people wrote, which the prompts show.
    pub(crate) human: &'a [Example],
    /// The labels of what was kept so far.
    pub(crate) shares: LabelShares,
}

/// Answers candidates in batches, a step each. `first` is the number of candidates that the round answered before.
pub(crate) fn wave(
    run: &mut Run,
    round: u32,
    mut answerer: Answerer<'_>,
    candidates: &[Candidate],
    first: usize,
) -> Result<Vec<Example>, FlowError> {
    let mut examples = Vec::new();
    let total = (first + candidates.len()) as u64;
    let size = answerer.spec.batch as usize;
    for (i, batch) in candidates.chunks(size).enumerate() {
        let batch_first = first + i * size;
        run.progress(round, StageName::Respond, batch_first as u64, total);
        let made = answer_batch(run, round, &answerer, batch, batch_first)?;
        // Only what a step gave counts, so that a replayed one counts the same.
        answerer.shares.add(&made);
        examples.extend(made);
    }
    run.progress(round, StageName::Respond, total, total);
    Ok(examples)
}

fn answer_batch(
    run: &mut Run,
    round: u32,
    answerer: &Answerer<'_>,
    batch: &[Candidate],
    first: usize,
) -> Result<Vec<Example>, FlowError> {
    let Answerer {
        spec,
        model,
        human,
        shares,
    } = answerer;
    run.step(round, StageName::Respond, |run, _| {
        let mut asker = Asker {
            run,
            round,
            spec,
            human,
            model,
            progress: Box::new(run.token_progress(round, StageName::Respond)),
            tokens: 0,
        };
        let started = run.ports.clock.now_ms();
        let places: Vec<Place<'_>> = batch
            .iter()
            .enumerate()
            .map(|(i, candidate)| Place {
                candidate,
                index: first + i,
            })
            .collect();
        let (labelled, open): (Vec<Place<'_>>, Vec<Place<'_>>) = match spec.classify {
            true => classify::split(&mut asker, places)?,
            false => (Vec::new(), places),
        };
        let mut answered = classify::answer(&mut asker, labelled, &mut shares.clone())?;
        answered.extend(input_first::answer(&mut asker, open)?);
        answered.sort_by_key(|answered| answered.place.index);
        let mut outcome = Outcome::new(Vec::new());
        outcome.tokens = asker.tokens;
        outcome.generation_seconds =
            run.ports.clock.now_ms().saturating_sub(started) as f64 / 1000.0;
        for answered in answered {
            let Answered {
                place,
                mut instances,
                task_type,
                labels,
            } = answered;
            let candidate = place.candidate;
            let make = |instance: &Instance| {
                let output = instance.output.as_deref().unwrap_or_default();
                let mut example = to_example(round, model, candidate, &instance.input, output);
                // What was asked for as a classification and is none, as the model says, is of no known type.
                let is_refuted = |own: &TaskType| spec.classify && *own == TaskType::Classification;
                let own = example.task_type.filter(|own| !is_refuted(own));
                example.task_type = task_type.or(own);
                example.labels.clone_from(&labels);
                example
            };
            if let Some(held_out) = run.contamination.as_ref() {
                // With its input it may be a held-out task that the instruction alone was not.
                for instance in instances.iter_mut().filter(|one| one.output.is_some()) {
                    let overlap = held_out.of_record(&make(instance).body);
                    instance.overlap = overlap.map(|overlap| overlap.verdict());
                }
            }
            let Settled { kept, verdict } = settle(&instances);
            outcome.verdicts.push(Judged {
                record: instruction_id(&candidate.instruction),
                text: candidate.instruction.clone(),
                verdict,
            });
            let kept = kept.iter().map(|i| make(&instances[*i]));
            outcome.value.extend(kept);
        }
        outcome.out = outcome.value.len() as u64;
        Ok(outcome)
    })
}

/// A candidate with its number in the round, which its draws depend on.
#[derive(Clone, Copy)]
struct Place<'a> {
    candidate: &'a Candidate,
    index: usize,
}

impl<'a> Place<'a> {
    fn question(self, input: &'a str) -> Question<'a> {
        Question {
            language: self.candidate.language,
            instruction: &self.candidate.instruction,
            input,
            task_type: self.candidate.task_type,
        }
    }
}

/// Names what is drawn for an instance; the first has the bare name.
fn purpose(name: &str, instance: usize) -> String {
    match instance {
        0 => name.to_string(),
        instance => format!("{name} {instance}"),
    }
}

/// What became of a candidate.
struct Answered<'a> {
    place: Place<'a>,
    instances: Vec<Instance>,
    task_type: Option<TaskType>,
    /// The labels of a classification, where they are known.
    labels: Vec<String>,
}

pub(crate) fn to_example(
    round: u32,
    model: &ModelRef,
    candidate: &Candidate,
    input: &str,
    output: &str,
) -> Example {
    let body = Body::instruction(&candidate.instruction, input, output);
    Example {
        id: body.id(),
        body,
        language: Some(candidate.language),
        task_type: candidate.task_type,
        topic: candidate.topic.clone(),
        labels: Vec::new(),
        lineage: Lineage {
            origin: Origin::Generated,
            round: Some(round),
            seeds: candidate.seeds.clone(),
            model: Some(model.model.clone()),
            adapter: model.adapter.clone(),
            edited_from: None,
            corrected_from: None,
        },
    }
}
