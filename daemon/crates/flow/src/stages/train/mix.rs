//! What a round trains on, and what its evaluations on the way measure.

use autodidact_domain::random::Random;
use autodidact_domain::{Example, Message, WorkflowSpec};

use crate::error::FlowError;

/// The examples of a round.
pub(crate) struct Mixed {
    pub(crate) examples: Vec<Example>,
    pub(crate) human: u64,
    pub(crate) generated: u64,
    pub(crate) replayed: u64,
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
    }
}

/// The mix as conversations, some of them held out of training where a share of it is to be evaluated on.
pub(crate) struct Data<'a> {
    pub(super) mixed: &'a Mixed,
    /// The places in the mix of the examples that are trained on, in order.
    pub(super) trained: Vec<usize>,
    /// Their conversations.
    pub(crate) conversations: Vec<Vec<Message>>,
    /// The conversations that evaluations measure.
    pub(super) evaluated: Vec<Vec<Message>>,
}

impl<'a> Data<'a> {
    /// Lays a round's examples out; the run's seed decides which are held out.
    ///
    /// # Errors
    /// [`FlowError::Stopped`] where nothing is left to train or to evaluate on.
    pub(crate) fn new(
        spec: &WorkflowSpec,
        round: u32,
        mixed: &'a Mixed,
        eval_dataset: &[Example],
        validation_split: f64,
    ) -> Result<Self, FlowError> {
        let total = mixed.examples.len();
        if total == 0 {
            return Err(FlowError::Stopped(
                "there is nothing to train on: the mix of human, generated and replayed examples is empty".to_string(),
            ));
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
        let trained = (0..total).filter(|place| held_out.binary_search(place).is_err());
        let trained: Vec<usize> = trained.collect();
        let messages = |place: &usize| mixed.examples[*place].body.to_messages();
        let others = eval_dataset.iter().filter(|e| e.body.is_answered());
        Ok(Self {
            mixed,
            conversations: trained.iter().map(messages).collect(),
            evaluated: held_out
                .iter()
                .map(messages)
                .chain(others.map(|example| example.body.to_messages()))
                .collect(),
            trained,
        })
    }
}
