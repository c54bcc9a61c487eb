//! respond: kept instructions in, examples with input and answer out.

mod classify;
mod input_first;

use autodidact_domain::example::{Example, Lineage, Origin};
use autodidact_domain::journal::StageName;
use autodidact_domain::random::{Random, derive_seed};
use autodidact_domain::verdict::Evidence;
use autodidact_domain::workflow::{BASE_MODEL_EXAMPLES, ConstraintSpec, RespondSpec};
use autodidact_domain::{
    Body, ChatLayout, Completion, Constraint, FinishReason, GenerateRequest, Language, ModelRef,
    TaskType, Verdict,
};

use crate::error::FlowError;
use crate::journaled::{Judged, Outcome, Run};
use crate::stages::generate::{Candidate, instruction_id};
use crate::stages::{language_of, prompt_too_long};

/// Answers candidates in batches, a step each. `first` is the number of candidates that the round answered before.
pub(crate) fn wave(
    run: &mut Run,
    round: u32,
    spec: &RespondSpec,
    model: &ModelRef,
    human: &[Example],
    candidates: &[Candidate],
    first: usize,
) -> Result<Vec<Example>, FlowError> {
    let mut examples = Vec::new();
    let total = (first + candidates.len()) as u64;
    for (i, batch) in candidates.chunks(spec.batch as usize).enumerate() {
        let batch_first = first + i * spec.batch as usize;
        run.progress(round, StageName::Respond, batch_first as u64, total);
        examples.extend(answer_batch(
            run,
            round,
            spec,
            model,
            human,
            batch,
            batch_first,
        )?);
    }
    run.progress(round, StageName::Respond, total, total);
    Ok(examples)
}

fn answer_batch(
    run: &mut Run,
    round: u32,
    spec: &RespondSpec,
    model: &ModelRef,
    human: &[Example],
    batch: &[Candidate],
    first: usize,
) -> Result<Vec<Example>, FlowError> {
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
        let mut answered = classify::answer(&mut asker, labelled)?;
        answered.extend(input_first::answer(&mut asker, open)?);
        answered.sort_by_key(|answered| answered.place.index);
        let mut outcome = Outcome::new(Vec::new());
        outcome.tokens = asker.tokens;
        outcome.generation_seconds =
            run.ports.clock.now_ms().saturating_sub(started) as f64 / 1000.0;
        for answered in answered {
            let Answered {
                place,
                input,
                output,
                completion,
                task_type,
            } = answered;
            let mut judged = judge(place.candidate, output.is_some(), &completion);
            if let Some(output) = output {
                let mut example = to_example(round, model, place.candidate, &input, &output);
                // What was asked for as a classification and is none, as the model says, is of no known type.
                let is_refuted = |own: &TaskType| spec.classify && *own == TaskType::Classification;
                let own = example.task_type.filter(|own| !is_refuted(own));
                example.task_type = task_type.or(own);
                // With its input it may be a held-out task that the instruction alone was not.
                let held_out = run.contamination.as_ref();
                match held_out.and_then(|held_out| held_out.of_record(&example.body)) {
                    Some(overlap) => judged.verdict = overlap.verdict(),
                    None => outcome.value.push(example),
                }
            }
            outcome.verdicts.push(judged);
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

/// What became of a candidate.
struct Answered<'a> {
    place: Place<'a>,
    input: String,
    /// The answer, where there is a whole one.
    output: Option<String>,
    /// What it was read from, or the one before that its prompt left no room for.
    completion: Completion,
    task_type: Option<TaskType>,
}

impl Answered<'_> {
    /// Takes the answer away where another completion that belongs to it had no room: half an example is none.
    fn unless_without_room(self, other: Completion) -> Self {
        match other.finish {
            FinishReason::NoRoom => Self {
                output: None,
                completion: other,
                ..self
            },
            _ => self,
        }
    }
}

/// What asking needs: whom, with which options, shown by which examples.
struct Asker<'a> {
    run: &'a Run,
    round: u32,
    spec: &'a RespondSpec,
    human: &'a [Example],
    model: &'a ModelRef,
    progress: Box<dyn FnMut(u64)>,
    tokens: u64,
}

impl Asker<'_> {
    fn generate(&mut self, requests: Vec<GenerateRequest>) -> Result<Vec<Completion>, FlowError> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let completions = self
            .run
            .generate(self.model, requests, &mut *self.progress)?;
        let tokens = completions.iter().map(|c| u64::from(c.completion_tokens));
        self.tokens += tokens.sum::<u64>();
        Ok(completions)
    }

    /// Begins what is drawn for one purpose at one place.
    fn random(&self, purpose: &str, index: usize) -> Random {
        let coordinates = [purpose, &self.round.to_string(), &index.to_string()];
        Random::at(self.run.spec().seed, &coordinates)
    }

    /// Gives the sampling seed for one purpose at one place.
    fn seed(&self, purpose: &str, index: usize) -> u64 {
        let coordinates = [
            "sample",
            purpose,
            &self.round.to_string(),
            &index.to_string(),
        ];
        derive_seed(self.run.spec().seed, &coordinates)
    }

    /// Lists the human examples of a language.
    fn human(&self, language: Language) -> impl Iterator<Item = &Example> {
        let default = self.run.spec().languages[0];
        self.human
            .iter()
            .filter(move |example| language_of(example, default) == language)
    }

    /// Tells how many examples the model sees answered first.
    fn examples(&self) -> Result<u32, FlowError> {
        if let Some(count) = self.spec.examples {
            return Ok(count);
        }
        let own = &self.run.workflow.pinned.model;
        let layout = match self.model.model == own.name {
            true => own.details.chat_layout,
            false => {
                self.run
                    .ports
                    .models
                    .get(&self.model.model)?
                    .details
                    .chat_layout
            }
        };
        Ok(match layout {
            ChatLayout::Alpaca => BASE_MODEL_EXAMPLES,
            ChatLayout::Template | ChatLayout::None => 0,
        })
    }

    /// Reads the form that answers have.
    fn constraint(&self) -> Result<Option<Constraint>, FlowError> {
        let form = self.spec.constraint.as_ref();
        let form = form.map(ConstraintSpec::constraint).transpose();
        form.map_err(|fault| FlowError::Stopped(format!("stages.respond.constraint: {fault}")))
    }
}

/// Judges what became of a candidate; `answer` is what its answer was read from, or the first for which there was no room.
fn judge(candidate: &Candidate, answered: bool, answer: &Completion) -> Judged {
    let verdict = if let Some(drop) = prompt_too_long("respond", answer) {
        drop
    } else if answered {
        Verdict::keep("respond")
    } else if answer.text.trim().is_empty() {
        Verdict::drop("respond", "no_answer", Evidence::default())
    } else {
        let note = Some(format!(
            "no whole sentence in {} tokens",
            answer.completion_tokens
        ));
        Verdict::drop(
            "respond",
            "truncated",
            Evidence {
                note,
                ..Evidence::default()
            },
        )
    };
    Judged {
        record: instruction_id(&candidate.instruction),
        text: candidate.instruction.clone(),
        verdict,
    }
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
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_whose_input_had_no_room_is_none() {
        let candidate = Candidate {
            instruction: "Sum the text up.".to_string(),
            language: Language::En,
            seeds: Vec::new(),
            task_type: None,
            topic: None,
            is_evolved: false,
        };
        let completion = |finish, text: &str| Completion {
            text: text.to_string(),
            finish,
            prompt_tokens: 2000,
            completion_tokens: 0,
            logprobs: Vec::new(),
        };
        let answered = |input| {
            Answered {
                place: Place {
                    candidate: &candidate,
                    index: 0,
                },
                input: String::new(),
                output: Some("It is short.".to_string()),
                completion: completion(FinishReason::Eos, "It is short."),
                task_type: None,
            }
            .unless_without_room(input)
        };
        let reason = |answered: Answered<'_>| {
            let is_answered = answered.output.is_some();
            let verdict = judge(&candidate, is_answered, &answered.completion).verdict;
            (is_answered, verdict.reason)
        };
        let whole = reason(answered(completion(FinishReason::Stop, " a text")));
        assert_eq!(whole, (true, "kept".to_string()));
        let without = answered(completion(FinishReason::NoRoom, ""));
        let judged = judge(&candidate, true, &without.completion).verdict;
        let note = judged.evidence.note.unwrap_or_default();
        assert!(note.contains("2000 tokens"), "{note}");
        assert_eq!(reason(without), (false, "prompt_too_long".to_string()));
    }
}
