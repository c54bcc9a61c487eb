//! respond: kept instructions in, examples with input and answer out.

use autodidact_domain::example::{Example, Lineage, Origin};
use autodidact_domain::journal::StageName;
use autodidact_domain::random::{Random, derive_seed};
use autodidact_domain::verdict::Evidence;
use autodidact_domain::workflow::RespondSpec;
use autodidact_domain::{Body, Completion, GenerateRequest, ModelRef, Prompt, Sampling, Verdict};

use crate::error::FlowError;
use crate::journaled::{Judged, Outcome, Run};
use crate::prompts;
use crate::stages::generate::{Candidate, instruction_id};
use crate::stages::language_of;

/// Examples with input that an input prompt shows, and examples without.
const SHOWN_WITH_INPUT: usize = 3;
const SHOWN_WITHOUT_INPUT: usize = 2;

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
        let mut progress = run.token_progress(round, StageName::Respond);
        let started = run.ports.clock.now_ms();
        let mut generate = |requests: Vec<GenerateRequest>| -> Result<Vec<Completion>, FlowError> {
            run.generate(model, requests, &mut progress)
        };
        let asked = batch
            .iter()
            .enumerate()
            .map(|(i, c)| input_request(run, round, spec, human, c, first + i))
            .collect();
        let inputs = generate(asked)?;
        let parsed: Vec<Option<String>> = inputs
            .iter()
            .map(|completion| prompts::parse_input(&completion.text))
            .collect();
        let asked = batch
            .iter()
            .zip(&parsed)
            .enumerate()
            .map(|(i, (candidate, input))| {
                answer_request(run, round, spec, candidate, input.as_deref(), first + i)
            })
            .collect();
        let answers = generate(asked)?;
        let mut outcome = Outcome::new(Vec::new());
        outcome.generation_seconds =
            run.ports.clock.now_ms().saturating_sub(started) as f64 / 1000.0;
        outcome.tokens = inputs
            .iter()
            .chain(&answers)
            .map(|c| u64::from(c.completion_tokens))
            .sum();
        for ((candidate, input), answer) in batch.iter().zip(parsed).zip(&answers) {
            let output = prompts::parse_answer(&answer.text, answer.finish);
            outcome
                .verdicts
                .push(judge(candidate, output.is_some(), answer));
            if let Some(output) = output {
                outcome.value.push(to_example(
                    round,
                    model,
                    candidate,
                    input.as_deref().unwrap_or(""),
                    &output,
                ));
            }
        }
        outcome.out = outcome.value.len() as u64;
        Ok(outcome)
    })
}

fn judge(candidate: &Candidate, answered: bool, answer: &Completion) -> Judged {
    let verdict = if answered {
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
        task_type: None,
        topic: None,
        labels: Vec::new(),
        lineage: Lineage {
            origin: Origin::Generated,
            round: Some(round),
            seeds: candidate.seeds.clone(),
            model: Some(model.model.clone()),
            adapter: model.adapter.clone(),
        },
    }
}

/// Asks for the input that an instruction needs, or that it needs none, shown by human examples of both kinds.
fn input_request(
    run: &Run,
    round: u32,
    spec: &RespondSpec,
    human: &[Example],
    candidate: &Candidate,
    index: usize,
) -> GenerateRequest {
    let coordinates = [round.to_string(), index.to_string()];
    let mut random = Random::at(
        run.spec().seed,
        &["input", &coordinates[0], &coordinates[1]],
    );
    let default = run.spec().languages[0];
    let (with, without): (Vec<&Example>, Vec<&Example>) = human
        .iter()
        .filter(|example| language_of(example, default) == candidate.language)
        .partition(|example| !example.body.input_text().is_empty());
    let mut shown: Vec<&Example> = random
        .sample(with.len(), SHOWN_WITH_INPUT)
        .iter()
        .map(|i| with[*i])
        .collect();
    shown.extend(
        random
            .sample(without.len(), SHOWN_WITHOUT_INPUT)
            .iter()
            .map(|i| without[*i]),
    );
    random.shuffle(&mut shown);
    GenerateRequest::new(
        prompts::input_request(candidate.language, &shown, &candidate.instruction),
        Sampling {
            temperature: spec.input_temperature,
            top_p: spec.top_p,
            max_tokens: spec.max_input_tokens,
            stop: prompts::input_request_stops(),
            seed: derive_seed(
                run.spec().seed,
                &["sample", "input", &coordinates[0], &coordinates[1]],
            ),
            ..Sampling::default()
        },
    )
}

fn answer_request(
    run: &Run,
    round: u32,
    spec: &RespondSpec,
    candidate: &Candidate,
    input: Option<&str>,
    index: usize,
) -> GenerateRequest {
    let prompt: Prompt = prompts::answer_request(&candidate.instruction, input.unwrap_or(""));
    let seed = derive_seed(
        run.spec().seed,
        &["sample", "answer", &round.to_string(), &index.to_string()],
    );
    GenerateRequest::new(
        prompt,
        Sampling {
            temperature: spec.temperature,
            top_p: spec.top_p,
            repetition_penalty: spec.repetition_penalty,
            max_tokens: spec.max_tokens,
            seed,
            ..Sampling::default()
        },
    )
}
