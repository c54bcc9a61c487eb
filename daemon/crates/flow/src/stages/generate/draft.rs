//! Drafts: what each prompt of a wave shows and asks for, drawn from the pool.

use std::collections::HashSet;

use autodidact_domain::random::{Random, derive_seed};
use autodidact_domain::workflow::GenerateSpec;
use autodidact_domain::{Example, Language, Sampling};

use super::plan::Allotment;
use super::{Candidate, Generation, Item, Kind, PromptPool};
use crate::journaled::Run;
use crate::stages::language_of;

/// The examples at the end of a prompt that are of the kind that it asks for: what stands last weighs most.
const OF_THE_KIND: usize = 3;

/// A prompt that is not written yet.
pub(crate) struct Draft<'a> {
    pub(crate) language: Language,
    pub(crate) content: Content<'a>,
    /// The quota that it is for, by its place in the plan.
    pub(crate) quota: Option<usize>,
    /// What it asks for; of a harder version the kind of the task that is made harder.
    pub(crate) kind: Kind<'a>,
    /// How the model is to go on; what stops it is the template's to say.
    pub(crate) sampling: Sampling,
}

/// What a prompt is made of.
pub(crate) enum Content<'a> {
    /// New instructions, after the like of these.
    Examples(Vec<&'a Example>),
    /// A harder version of this one.
    Harder(&'a Example),
}

impl Draft<'_> {
    pub(crate) fn is_evolved(&self) -> bool {
        matches!(self.content, Content::Harder(_))
    }

    /// Makes a candidate of an item that the model wrote.
    pub(crate) fn candidate(&self, item: Item) -> Candidate {
        let shown = match &self.content {
            Content::Examples(examples) => &examples[..],
            Content::Harder(parent) => std::slice::from_ref(parent),
        };
        Candidate {
            instruction: item.instruction,
            language: self.language,
            seeds: shown.iter().map(|example| example.id).collect(),
            task_type: item.task_type,
            topic: item.topic,
            is_evolved: self.is_evolved(),
        }
    }
}

/// Drafts the round's prompt `index`: the languages in want take turns, and the draw depends on seed, round and index alone.
pub(super) fn draft<'a>(
    run: &Run,
    generation: &Generation<'a>,
    pool: &PromptPool<'a>,
    allotment: &mut Allotment<'_>,
    index: u32,
) -> Draft<'a> {
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
        && let Some(parent) = random.pick(&of_language(pool.generated), 1).first()
    {
        let parent = &pool.generated[*parent];
        return Draft {
            language,
            content: Content::Harder(parent),
            quota: None,
            kind: Kind {
                task_type: parent.task_type,
                topic: parent.topic.as_deref(),
            },
            sampling: Sampling {
                min_tokens: 0,
                ..sampling
            },
        };
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
    Draft {
        language,
        content: Content::Examples(chosen),
        quota,
        kind: kind.unwrap_or_default(),
        sampling: Sampling {
            temperature: asked
                .and_then(|quota| quota.temperature)
                .unwrap_or(sampling.temperature),
            ..sampling
        },
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
        seed: derive_seed(run.spec().seed, &coordinates),
        ..Sampling::default()
    }
}
