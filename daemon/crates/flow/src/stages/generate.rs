//! generate: prompts of human and generated examples in, candidate instructions out.

use std::borrow::Cow;
use std::collections::HashSet;

use autodidact_domain::journal::StageName;
use autodidact_domain::random::{Random, derive_seed};
use autodidact_domain::verdict::Evidence;
use autodidact_domain::workflow::GenerateSpec;
use autodidact_domain::{
    Body, Completion, Digest, Example, ExampleId, GenerateRequest, Language, ModelRef, Sampling,
    TaskType, Verdict,
};
use serde::{Deserialize, Serialize};

use crate::error::FlowError;
use crate::journaled::{Judged, Outcome, Run};
use crate::prompts;
use crate::stages::{language_of, prompt_too_long};

/// An instruction that a model wrote, not judged yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Candidate {
    pub(crate) instruction: String,
    pub(crate) language: Language,
    /// The examples in its prompt.
    pub(crate) seeds: Vec<ExampleId>,
    /// The type of task that it was asked for or is known to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) task_type: Option<TaskType>,
}

/// What prompts are made from.
pub(crate) struct PromptPool<'a> {
    pub(crate) human: &'a [Example],
    pub(crate) generated: &'a [Example],
}

/// Runs one wave: requests `first..first + count` of the round.
pub(crate) fn wave(
    run: &mut Run,
    round: u32,
    spec: &GenerateSpec,
    model: &ModelRef,
    pool: &PromptPool<'_>,
    first: u32,
    count: u32,
) -> Result<Vec<Candidate>, FlowError> {
    run.step(round, StageName::Generate, |run, _| {
        let prompts: Vec<BuiltPrompt> = (first..first + count)
            .map(|i| build_prompt(run, round, spec, pool, i))
            .collect();
        let requests = prompts.iter().map(|p| p.request.clone()).collect();
        let mut progress = run.token_progress(round, StageName::Generate);
        let started = run.ports.clock.now_ms();
        let completions = run.generate(model, requests, &mut progress)?;
        let mut outcome = Outcome::new(Vec::new());
        outcome.generation_seconds =
            run.ports.clock.now_ms().saturating_sub(started) as f64 / 1000.0;
        for (prompt, completion) in prompts.iter().zip(&completions) {
            outcome.tokens += u64::from(completion.completion_tokens);
            let instructions = prompts::parse_instruction_list(&completion.text, completion.finish);
            outcome
                .verdicts
                .push(judge(completion, instructions.is_empty()));
            outcome
                .value
                .extend(instructions.into_iter().map(|instruction| Candidate {
                    instruction,
                    language: prompt.language,
                    seeds: prompt.seeds.clone(),
                    task_type: None,
                }));
        }
        outcome.out = outcome.value.len() as u64;
        Ok(outcome)
    })
}

fn judge(completion: &Completion, unparsable: bool) -> Judged {
    let text = &completion.text;
    let verdict = if let Some(drop) = prompt_too_long("generate", completion) {
        drop
    } else if unparsable {
        Verdict::drop(
            "generate",
            "unparsable",
            Evidence {
                note: Some("no list item in it".into()),
                ..Evidence::default()
            },
        )
    } else {
        Verdict::keep("generate")
    };
    Judged {
        record: Digest::of(text.as_bytes()),
        text: text.clone(),
        verdict,
    }
}

struct BuiltPrompt {
    request: GenerateRequest,
    language: Language,
    seeds: Vec<ExampleId>,
}

/// Builds the round's request `index`: languages take turns, and the draw depends on seed, round and index alone.
fn build_prompt(
    run: &Run,
    round: u32,
    spec: &GenerateSpec,
    pool: &PromptPool<'_>,
    index: u32,
) -> BuiltPrompt {
    let languages = &run.spec().languages;
    let language = languages[index as usize % languages.len()];
    let coordinates = ["generate", &round.to_string(), &index.to_string()];
    let mut random = Random::at(run.spec().seed, &coordinates);
    let of_language = |examples: &'_ [Example]| -> Vec<usize> {
        (0..examples.len())
            .filter(|i| language_of(&examples[*i], languages[0]) == language)
            .collect()
    };
    let generated = of_language(pool.generated);
    let enough = generated.len() >= spec.generated_examples as usize;
    let generated_count = if enough { spec.generated_examples } else { 0 };
    // Until there are enough generated ones, human examples take their places, as in the reference.
    let human_count = spec.human_examples + spec.generated_examples - generated_count;
    let mut chosen: Vec<&Example> = Vec::new();
    let human = of_language(pool.human);
    chosen.extend(
        random
            .sample(human.len(), human_count as usize)
            .iter()
            .map(|i| &pool.human[human[*i]]),
    );
    chosen.extend(
        random
            .sample(generated.len(), generated_count as usize)
            .iter()
            .map(|i| &pool.generated[generated[*i]]),
    );
    random.shuffle(&mut chosen);
    let mut seen = HashSet::new();
    chosen.retain(|example| seen.insert(example.id));
    let texts = chosen.iter().map(|example| example.body.instruction_text());
    let texts: Vec<Cow<'_, str>> = texts.collect();
    let texts: Vec<&str> = texts.iter().map(|text| &**text).collect();
    let sampling = Sampling {
        temperature: spec.temperature,
        top_k: spec.top_k,
        top_p: spec.top_p,
        presence_penalty: spec.presence_penalty,
        max_tokens: spec.max_tokens,
        stop: prompts::instruction_list_stops(),
        seed: derive_seed(
            run.spec().seed,
            &["sample", "generate", &round.to_string(), &index.to_string()],
        ),
        ..Sampling::default()
    };
    BuiltPrompt {
        request: GenerateRequest::new(prompts::instruction_list(language, &texts), sampling),
        language,
        seeds: chosen.iter().map(|example| example.id).collect(),
    }
}

/// The id that an instruction has before it is answered.
pub(crate) fn instruction_id(instruction: &str) -> ExampleId {
    Body::instruction(instruction, "", "").id()
}
