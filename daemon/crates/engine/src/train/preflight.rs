//! What a run takes, from a model's header and the data alone.

use autodidact_domain::TrainOptions;
use autodidact_domain::preflight::{TrainData, TrainNeed};

use super::check_options;
use super::data::TrainingData;
use super::evaluation::unfit;
use super::need::Sizing;
use super::preview::TrainingText;
use crate::engine::VOCABULARY_BYTES;
use crate::methods;
use crate::models::config::ModelConfig;
use crate::models::files::ModelFiles;
use crate::runtime::{Buffers, Decoder};
use crate::{Compute, EngineError, LoadedModel};

/// What computes a run.
#[derive(Clone, Copy, Debug)]
pub struct TrainPlace {
    /// The path that the base generates on, in memory beside the run.
    pub compute: Compute,
    /// How many threads compute.
    pub threads: usize,
    /// The bytes that the base and the run may take together; none is no bound.
    pub available: Option<u64>,
}

impl TrainingText {
    /// Tells what a run takes together with the base, on the processor. Without data it is the most that any takes.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] when the options are wrong, or no example has a response; what encoding them gives.
    pub fn need(
        &self,
        options: &TrainOptions,
        data: Option<TrainData<'_>>,
        place: TrainPlace,
    ) -> Result<TrainNeed, EngineError> {
        let max_length = sequence_tokens(options, &self.config)?;
        let (files, config) = (&self.files, &self.config);
        let Some(data) = data else {
            return need_of(files, config, options, Tokens::default(), place);
        };
        let encode = |body: &_| self.encode(body, options.task_type, &options.labels);
        let trained = TrainingData::encode(data.examples, &encode, max_length)?;
        let evaluated = match options.eval_steps {
            0 => Vec::new(),
            _ => TrainingData::encode(data.evaluated, &encode, max_length)
                .map_err(unfit)?
                .lengths(),
        };
        let tokens = Tokens {
            lengths: Some(&trained.lengths()),
            evaluated: &evaluated,
            seed: data.seed,
        };
        need_of(files, config, options, tokens, place)
    }
}

impl LoadedModel {
    /// Tells what a run on sequences of so many tokens takes, the base included.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] when the options are wrong.
    pub fn train_need(
        &self,
        options: &TrainOptions,
        lengths: &[usize],
    ) -> Result<TrainNeed, EngineError> {
        let place = TrainPlace {
            compute: self.compute,
            threads: self.team.threads(),
            available: None,
        };
        let tokens = Tokens {
            lengths: Some(lengths),
            ..Tokens::default()
        };
        need_of(&self.files, &self.config, options, tokens, place)
    }
}

/// Tells the tokens that a sequence of a run may have, those that a method puts before it apart.
fn sequence_tokens(options: &TrainOptions, config: &ModelConfig) -> Result<usize, EngineError> {
    let recipe = methods::from_options(options, config)?;
    let room = config.context_length - recipe.plan().virtual_tokens();
    Ok((options.max_length as usize).min(room))
}

/// What is known of the data: the tokens of each example, and what decides their order.
#[derive(Clone, Copy, Default)]
struct Tokens<'a> {
    lengths: Option<&'a [usize]>,
    evaluated: &'a [usize],
    seed: u64,
}

fn need_of(
    files: &ModelFiles,
    config: &ModelConfig,
    options: &TrainOptions,
    tokens: Tokens<'_>,
    place: TrainPlace,
) -> Result<TrainNeed, EngineError> {
    check_options(options)?;
    let beside = [
        (
            "weights that generate",
            Decoder::bytes_needed(files, config, place.compute) as u64,
        ),
        ("vocabulary", (config.vocab_size * VOCABULARY_BYTES) as u64),
        ("activations", Buffers::bytes_needed(config) as u64),
    ];
    let sizing = Sizing {
        config,
        lengths: tokens.lengths,
        evaluated: tokens.evaluated,
        max_length: sequence_tokens(options, config)?,
        seed: tokens.seed,
        threads: place.threads,
        weights_in_f32: files.parameters() * size_of::<f32>() as u64,
        beside: &beside,
    };
    sizing.need(options, place.available)
}
