//! What a round trains on, and what its evaluations on the way measure.

use std::collections::BTreeMap;

use autodidact_domain::random::Random;
use autodidact_domain::training::shown_labels;
use autodidact_domain::{Body, Example, TrainOptions, WorkflowSpec};

use crate::contamination::{Contamination, Overlap};
use crate::error::FlowError;
use crate::labels::misfit;

/// The examples of a round.
pub(crate) struct Mixed {
    pub(crate) examples: Vec<Example>,
    pub(crate) human: u64,
    pub(crate) generated: u64,
    pub(crate) replayed: u64,
    /// The places of those that overlap a held-out task, which are not trained on.
    pub(super) overlaps: BTreeMap<usize, Overlap>,
}

impl Mixed {
    /// Finds what overlaps the held-out tasks: records that the workflow was given, since what it makes was looked at before.
    pub(crate) fn find_overlaps(&mut self, held_out: Option<&Contamination>) {
        let Some(held_out) = held_out else { return };
        let examples = self.examples.iter().enumerate();
        let found =
            |(place, example): (usize, &Example)| Some((place, held_out.of_record(&example.body)?));
        self.overlaps = examples.filter_map(found).collect();
    }
}

/// Mixes the stated shares of each pool. Only answered examples can be trained on.
pub(crate) fn mix(
    spec: &WorkflowSpec,
    round: u32,
    human: &[Example],
    generated: &[Example],
    earlier: &[Example],
) -> Mixed {
    let mix = spec.mix;
    let draw = |name: &str, pool: &[Example], share: f64| -> Vec<Example> {
        let answered: Vec<&Example> = pool.iter().filter(|e| e.body.is_answered()).collect();
        let count = (answered.len() as f64 * share).round() as usize;
        let mut random = Random::at(spec.seed, &["mix", &round.to_string(), name]);
        let mut chosen = random.sample(answered.len(), count);
        chosen.sort_unstable();
        chosen.into_iter().map(|i| answered[i].clone()).collect()
    };
    let human = draw("human", human, mix.human);
    let generated = draw("generated", generated, mix.generated);
    let replayed = draw("replay", earlier, mix.replay);
    Mixed {
        human: human.len() as u64,
        generated: generated.len() as u64,
        replayed: replayed.len() as u64,
        examples: [human, generated, replayed].concat(),
        overlaps: BTreeMap::new(),
    }
}

/// What is trained on of the mix, some of it held out where a share of it is to be evaluated on.
pub(crate) struct Data<'a> {
    pub(super) mixed: &'a Mixed,
    /// The places in the mix of the examples that are trained on, in order.
    pub(super) trained: Vec<usize>,
    /// What they say.
    pub(crate) bodies: Vec<Body>,
    /// What evaluations measure.
    pub(crate) evaluated: Vec<Body>,
    /// The places of those that the task does not take, each with why.
    pub(super) unfit: BTreeMap<usize, &'static str>,
}

impl<'a> Data<'a> {
    /// Lays a round's examples out; the run's seed decides which are held out.
    ///
    /// # Errors
    /// [`FlowError::Stopped`] where nothing is left to train or to evaluate on.
    pub(crate) fn new(
        spec: &WorkflowSpec,
        round: u32,
        options: &TrainOptions,
        mixed: &'a Mixed,
        eval_dataset: &[Example],
        validation_split: f64,
    ) -> Result<Self, FlowError> {
        if mixed.examples.is_empty() {
            return Err(FlowError::Stopped(
                "there is nothing to train on: the mix of human, generated and replayed examples is empty".to_string(),
            ));
        }
        if mixed.overlaps.len() == mixed.examples.len() {
            return Err(FlowError::Stopped(format!(
                "there is nothing to train on: all {} examples overlap the held-out tasks; hold out other tasks",
                mixed.examples.len()
            )));
        }
        let misfit = |body: &Body| misfit(options.task_type, &options.labels, body);
        let judged = mixed.examples.iter().enumerate();
        let unfit = judged.filter_map(|(place, example)| Some((place, misfit(&example.body)?)));
        let unfit: BTreeMap<usize, &'static str> = unfit.collect();
        let places = (0..mixed.examples.len())
            .filter(|place| !unfit.contains_key(place) && !mixed.overlaps.contains_key(place));
        let places: Vec<usize> = places.collect();
        let total = places.len();
        if total == 0 {
            return Err(FlowError::Stopped(format!(
                "there is nothing to train on: none of the {} examples has what task_type {} takes, with a label of {}",
                mixed.examples.len(),
                options.task_type.name(),
                shown_labels(&options.labels)
            )));
        }
        let count = match validation_split {
            0.0 => 0,
            share => ((total as f64 * share).round() as usize).max(1),
        };
        if count >= total {
            return Err(FlowError::Stopped(format!(
                "stages.train.validation_split: {validation_split} of {total} examples leaves none to train on; give more examples, or name others as stages.train.eval_dataset"
            )));
        }
        let mut random = Random::at(spec.seed, &["validation", &round.to_string()]);
        let mut held_out = random.sample(total, count);
        held_out.sort_unstable();
        let trained = (0..total).filter(|at| held_out.binary_search(at).is_err());
        let trained: Vec<usize> = trained.map(|at| places[at]).collect();
        let body = |place: &usize| mixed.examples[*place].body.clone();
        let others = eval_dataset.iter().map(|example| &example.body);
        let others = others.filter(|body| body.is_answered() && misfit(body).is_none());
        Ok(Self {
            mixed,
            bodies: trained.iter().map(body).collect(),
            evaluated: held_out
                .iter()
                .map(|at| body(&places[*at]))
                .chain(others.cloned())
                .collect(),
            trained,
            unfit,
        })
    }
}
