//! generate: prompts of human and generated examples in, candidate instructions out.

mod evolve;
mod items;
mod plan;
mod template;

use std::collections::HashSet;

use autodidact_domain::journal::StageName;
use autodidact_domain::plan::{PromptStyle, PromptTemplate, RoundPlan};
use autodidact_domain::random::{Random, derive_seed};
use autodidact_domain::verdict::Evidence;
use autodidact_domain::workflow::GenerateSpec;
use autodidact_domain::{
    Body, Completion, Digest, Example, ExampleId, FinishReason, GenerateRequest, Language,
    ModelRef, Sampling, TaskType, Verdict,
};
use serde::{Deserialize, Serialize};

use crate::error::FlowError;
use crate::journaled::{Judged, Outcome, Run};
use crate::prompts::line_stops;
use crate::stages::{language_of, prompt_too_long};
#[cfg(test)]
pub(crate) use evolve::request as harder_request;
use items::Item;
pub(crate) use items::parse_items;
use plan::Allotment;
pub(crate) use plan::{first_plan, missing};
pub(crate) use template::{Kind, lay_out, template_of};

/// The examples at the end of a prompt that are of the kind that it asks for: what stands last weighs most.
const OF_THE_KIND: usize = 3;

/// An instruction that a model wrote, not judged yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Candidate {
    pub(crate) instruction: String,
    pub(crate) language: Language,
    /// The examples in its prompt.
    pub(crate) seeds: Vec<ExampleId>,
    /// The form of task that it was asked to be, or that the model says it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) task_type: Option<TaskType>,
    /// What it is about, in the same way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) topic: Option<String>,
    /// Whether it was asked for as a harder version of the one example in its prompt.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_evolved: bool,
}

impl Candidate {
    /// Shows a record of a dataset as if it had been generated.
    pub(crate) fn of_example(example: &Example, default: Language) -> Self {
        Self {
            instruction: example.body.instruction_text().to_string(),
            language: language_of(example, default),
            seeds: Vec::new(),
            task_type: example.task_type,
            topic: example.topic.clone(),
            is_evolved: false,
        }
    }
}

/// What prompts are made from.
pub(crate) struct PromptPool<'a> {
    pub(crate) human: &'a [Example],
    pub(crate) generated: &'a [Example],
    /// The round's own among the generated.
    pub(crate) kept: &'a [Example],
    /// The languages of which examples are missing; prompts take turns between them.
    pub(crate) languages: Vec<Language>,
}

/// What every wave of a round has in common.
pub(crate) struct Generation<'a> {
    pub(crate) spec: &'a GenerateSpec,
    pub(crate) template: &'a PromptTemplate,
    pub(crate) plan: &'a RoundPlan,
    pub(crate) model: &'a ModelRef,
    pub(crate) round: u32,
}

/// What a wave made, and the quotas that its prompts were for, by their places in the plan.
#[derive(Serialize, Deserialize)]
#[serde(from = "JournaledWave")]
pub(crate) struct Wave {
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) quotas: Vec<Option<usize>>,
}

/// A wave as journals have it: earlier daemons knew no quotas.
#[derive(Deserialize)]
#[serde(untagged)]
enum JournaledWave {
    Wave {
        candidates: Vec<Candidate>,
        quotas: Vec<Option<usize>>,
    },
    Candidates(Vec<Candidate>),
}

impl From<JournaledWave> for Wave {
    fn from(wave: JournaledWave) -> Self {
        match wave {
            JournaledWave::Wave { candidates, quotas } => Self { candidates, quotas },
            JournaledWave::Candidates(candidates) => Self {
                candidates,
                quotas: Vec::new(),
            },
        }
    }
}

/// Runs one wave: `count` requests of the round, after those for the quotas `asked`.
pub(crate) fn wave(
    run: &mut Run,
    generation: &Generation<'_>,
    pool: &PromptPool<'_>,
    asked: &[Option<usize>],
    count: u32,
) -> Result<Wave, FlowError> {
    let round = generation.round;
    let mut wave: Wave = run.step(round, StageName::Generate, |run, _| {
        let default = run.spec().languages[0];
        let mut allotment = Allotment::new(generation.plan, asked, pool.kept, default);
        let first = asked.len() as u32;
        let prompts: Vec<BuiltPrompt> = (first..first + count)
            .map(|index| build_prompt(run, generation, pool, &mut allotment, index))
            .collect();
        let requests = prompts.iter().map(|p| p.request.clone()).collect();
        let mut progress = run.token_progress(round, StageName::Generate);
        let started = run.ports.clock.now_ms();
        let completions = run.generate(generation.model, requests, &mut progress)?;
        let mut outcome = Outcome::new(Wave {
            candidates: Vec::new(),
            quotas: prompts.iter().map(|prompt| prompt.quota).collect(),
        });
        outcome.generation_seconds =
            run.ports.clock.now_ms().saturating_sub(started) as f64 / 1000.0;
        for (prompt, completion) in prompts.iter().zip(&completions) {
            outcome.tokens += u64::from(completion.completion_tokens);
            let items = prompt.read(generation.template.style, completion);
            outcome.verdicts.push(judge(completion, items.is_empty()));
            let candidates = items.into_iter().map(|item| prompt.candidate(item));
            outcome.value.candidates.extend(candidates);
        }
        outcome.out = outcome.value.candidates.len() as u64;
        Ok(outcome)
    })?;
    wave.quotas.resize(count as usize, None);
    Ok(wave)
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
    quota: Option<usize>,
    /// What it asks for.
    task_type: Option<TaskType>,
    topic: Option<String>,
    is_evolved: bool,
}

impl BuiltPrompt {
    /// Reads the items that a completion gives.
    fn read(&self, style: PromptStyle, completion: &Completion) -> Vec<Item> {
        if self.is_evolved {
            // A harder version is one line; one that was cut off says half of what it wants.
            let instruction = completion.text.trim();
            let is_whole = !instruction.is_empty() && completion.finish != FinishReason::Length;
            let item = is_whole.then(|| self.asked_for(instruction.to_string()));
            return item.into_iter().collect();
        }
        let items = parse_items(&completion.text, completion.finish, style);
        let is_labelled = self.task_type.is_some() || self.topic.is_some();
        let items = items.into_iter().map(|item| match is_labelled {
            true => item.without_unknown_label(),
            false => item,
        });
        let labelled = |(place, item): (usize, Item)| match style {
            // The first item's label stood in the prompt; the model labels the others as it likes.
            PromptStyle::Continue if place > 0 => item,
            _ if item.task_type.is_some() => item,
            _ => self.asked_for(item.instruction),
        };
        items.enumerate().map(labelled).collect()
    }

    /// Makes an item of the kind that the prompt asks for.
    fn asked_for(&self, instruction: String) -> Item {
        Item {
            instruction,
            task_type: self.task_type,
            topic: self.topic.clone(),
        }
    }

    fn candidate(&self, item: Item) -> Candidate {
        Candidate {
            instruction: item.instruction,
            language: self.language,
            seeds: self.seeds.clone(),
            task_type: item.task_type,
            topic: item.topic,
            is_evolved: self.is_evolved,
        }
    }
}

/// Builds the round's request `index`: the languages in want take turns, and the draw depends on seed, round and index alone.
fn build_prompt(
    run: &Run,
    generation: &Generation<'_>,
    pool: &PromptPool<'_>,
    allotment: &mut Allotment<'_>,
    index: u32,
) -> BuiltPrompt {
    let default = run.spec().languages[0];
    let language = pool.languages[index as usize % pool.languages.len()];
    let round = generation.round.to_string();
    let coordinates = ["generate", &round, &index.to_string()];
    let mut random = Random::at(run.spec().seed, &coordinates);
    let of_language = |examples: &'_ [Example]| -> Vec<usize> {
        (0..examples.len())
            .filter(|i| language_of(&examples[*i], default) == language)
            .collect()
    };
    let sampling = sampling(run, generation, index);
    if is_evolved(generation, index)
        && let Some(prompt) = evolve(
            &mut random,
            generation,
            pool,
            &of_language,
            language,
            &sampling,
        )
    {
        return prompt;
    }
    let quota = allotment.next(language);
    let asked = quota.map(|quota| &generation.plan.quotas[quota]);
    let kind = asked.map(|quota| Kind {
        task_type: quota.task_type,
        topic: quota.topic.as_deref(),
    });
    let mut chosen = draw(&mut random, generation.spec, pool, &of_language);
    if let Some(kind) = kind {
        let human = of_language(pool.human);
        let human: Vec<&Example> = human.iter().map(|i| &pool.human[*i]).collect();
        show_kind(&mut random, &mut chosen, &human, kind);
    }
    let mut seen = HashSet::new();
    chosen.retain(|example| seen.insert(example.id));
    let text = generation
        .template
        .of(language)
        .cloned()
        .unwrap_or_default();
    let sampling = Sampling {
        temperature: asked
            .and_then(|quota| quota.temperature)
            .unwrap_or(generation.plan.temperature),
        stop: text.stop.clone(),
        ..sampling
    };
    let prompt = lay_out(generation.template.style, &text, language, &chosen, kind);
    BuiltPrompt {
        request: GenerateRequest::new(prompt, sampling),
        language,
        seeds: chosen.iter().map(|example| example.id).collect(),
        quota,
        task_type: asked.and_then(|quota| quota.task_type),
        topic: asked.and_then(|quota| quota.topic.clone()),
        is_evolved: false,
    }
}

/// Draws the examples of a prompt: until there are enough generated ones, human examples take their places, as in the reference.
fn draw<'a>(
    random: &mut Random,
    spec: &GenerateSpec,
    pool: &PromptPool<'a>,
    of_language: &impl Fn(&[Example]) -> Vec<usize>,
) -> Vec<&'a Example> {
    let generated = of_language(pool.generated);
    let enough = generated.len() >= spec.generated_examples as usize;
    let generated_count = if enough { spec.generated_examples } else { 0 };
    let human_count = spec.human_examples + spec.generated_examples - generated_count;
    let human = of_language(pool.human);
    let mut chosen: Vec<&Example> = Vec::new();
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
    chosen
}

/// Puts human examples of a kind in the last places, since what stands before the open item shows best what it is to be like.
fn show_kind<'a>(
    random: &mut Random,
    chosen: &mut Vec<&'a Example>,
    human: &[&'a Example],
    kind: Kind<'_>,
) {
    // Few seeds have both type and topic, so the type alone decides where there is one.
    let fits = |example: &&Example| match kind.task_type {
        Some(task_type) => example.task_type == Some(task_type),
        None => example.topic.as_deref() == kind.topic,
    };
    let known: Vec<&Example> = human.iter().filter(|e| fits(e)).copied().collect();
    let places = chosen.len();
    let shown = random.pick(&known, OF_THE_KIND.min(places));
    chosen.retain(|example| !shown.iter().any(|other| other.id == example.id));
    chosen.truncate(places - shown.len());
    chosen.extend(shown);
}

/// Tells whether a request is of the share that asks for harder versions; they lie evenly among the others.
fn is_evolved(generation: &Generation<'_>, index: u32) -> bool {
    let Some(evolve) = &generation.spec.evolve else {
        return false;
    };
    let share = evolve.share_of(generation.round);
    let before = |index: u32| (f64::from(index) * share).floor();
    before(index + 1) > before(index)
}

/// Asks for a harder version of an instruction that was kept, in this round or before; none where there is none yet.
fn evolve(
    random: &mut Random,
    generation: &Generation<'_>,
    pool: &PromptPool<'_>,
    of_language: &impl Fn(&[Example]) -> Vec<usize>,
    language: Language,
    sampling: &Sampling,
) -> Option<BuiltPrompt> {
    let known = of_language(pool.generated);
    let parent = random
        .pick(&known, 1)
        .first()
        .map(|i| &pool.generated[*i])?;
    let sampling = Sampling {
        stop: line_stops(),
        min_tokens: 0,
        ..sampling.clone()
    };
    let prompt = evolve::request(
        generation.template.style,
        language,
        &parent.body.instruction_text(),
    );
    Some(BuiltPrompt {
        request: GenerateRequest::new(prompt, sampling),
        language,
        seeds: vec![parent.id],
        quota: None,
        task_type: parent.task_type,
        topic: parent.topic.clone(),
        is_evolved: true,
    })
}

fn sampling(run: &Run, generation: &Generation<'_>, index: u32) -> Sampling {
    let spec = generation.spec;
    let coordinates = [
        "sample",
        "generate",
        &generation.round.to_string(),
        &index.to_string(),
    ];
    Sampling {
        temperature: generation.plan.temperature,
        top_k: spec.top_k,
        top_p: spec.top_p,
        presence_penalty: spec.presence_penalty,
        max_tokens: spec.max_tokens,
        min_tokens: spec.min_tokens,
        // A list goes on in its next line.
        early_end: match generation.template.style {
            PromptStyle::Continue => "\n".to_string(),
            PromptStyle::Chat => String::new(),
        },
        seed: derive_seed(run.spec().seed, &coordinates),
        ..Sampling::default()
    }
}

/// The id that an instruction has before it is answered.
pub(crate) fn instruction_id(instruction: &str) -> ExampleId {
    Body::instruction(instruction, "", "").id()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wave_of_a_daemon_without_quotas_is_read() {
        let old = r#"[{"instruction": "Say hi.", "language": "en", "seeds": []}]"#;
        let wave: Wave = serde_json::from_str(old).unwrap();
        assert_eq!((wave.candidates.len(), wave.quotas.len()), (1, 0));
        let new = serde_json::to_string(&wave).unwrap();
        let again: Wave = serde_json::from_str(&new).unwrap();
        assert_eq!(again.candidates, wave.candidates);
    }
}
