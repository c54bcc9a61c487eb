//! What a run takes of memory beside the model that generates, and which other options would take less.

use autodidact_domain::preflight::{NeedPart, Relief, TrainNeed};
use autodidact_domain::training::keeps_base_quantised;
use autodidact_domain::{BaseDtype, TrainOptions};

use super::data::Order;
use super::model;
use crate::EngineError;
use crate::methods;
use crate::models::base::BaseWeights;
use crate::models::config::ModelConfig;
use crate::ops::cross_entropy::VOCABULARY_PER_BLOCK;

/// What decides a need, apart from the options.
pub(super) struct Sizing<'a> {
    pub(super) config: &'a ModelConfig,
    /// The tokens that are computed of each example; none where the data is not known yet.
    pub(super) lengths: Option<&'a [usize]>,
    /// The longest sequence in tokens, for data that is not known.
    pub(super) max_length: usize,
    /// The tokens that are computed of each example of evaluations, in their order.
    pub(super) evaluated: &'a [usize],
    /// The seed of the run.
    pub(super) seed: u64,
    pub(super) threads: usize,
    /// What the weights take in f32, in bytes.
    pub(super) weights_in_f32: u64,
    /// What is taken whatever the options are.
    pub(super) beside: &'a [(&'a str, u64)],
}

impl Sizing<'_> {
    /// Counts the tokens of the largest batch of the run, with so many virtual ones before each sequence.
    pub(super) fn tokens_at_once(&self, options: &TrainOptions, before: usize) -> usize {
        let batch_size = options.batch_size as usize;
        let Some(lengths) = self.lengths else {
            return batch_size.saturating_mul(self.max_length + before);
        };
        let at_a_step = batch_size.saturating_mul(options.gradient_accumulation_steps as usize);
        let order = Order::of(options, self.seed, lengths);
        let largest_of = |epoch: usize| {
            let epoch = order.epoch(epoch);
            let steps = epoch.chunks(at_a_step.max(1));
            let batches = steps.flat_map(|step| step.chunks(batch_size.max(1)));
            let tokens =
                batches.map(|batch| batch.iter().map(|index| before + lengths[*index]).sum());
            tokens.max().unwrap_or(0)
        };
        // Epochs differ in order alone; the largest batch of many is soon that of all.
        const EPOCHS_LOOKED_AT: usize = 64;
        let epochs = match options.max_steps {
            0 => options.epochs as usize,
            steps => (steps as usize).div_ceil(order.steps_per_epoch().max(1)),
        };
        let epochs = 0..epochs.min(EPOCHS_LOOKED_AT);
        epochs.map(largest_of).max().unwrap_or(0)
    }

    /// Counts the tokens of the largest batch of evaluations.
    fn evaluated_at_once(&self, options: &TrainOptions, before: usize) -> usize {
        let batches = self.evaluated.chunks(options.batch_size.max(1) as usize);
        let tokens = batches.map(|batch| batch.iter().map(|length| before + length).sum());
        tokens.max().unwrap_or(0)
    }

    /// Lists what the run takes at its peak.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] when the options do not fit the model.
    pub(super) fn parts(&self, options: &TrainOptions) -> Result<Vec<NeedPart>, EngineError> {
        let recipe = methods::from_options(options, self.config)?;
        let numbers = (recipe.plan().parameters() * size_of::<f32>()) as u64;
        let before = recipe.plan().virtual_tokens();
        let tokens = self.tokens_at_once(options, before);
        let states = model::state_bytes(
            self.config,
            recipe.plan(),
            tokens,
            options.gradient_checkpointing,
        );
        // An evaluation keeps a layer's states at a time.
        let evaluated = self.evaluated_at_once(options, before);
        let evaluated = model::state_bytes(self.config, recipe.plan(), evaluated, true);
        let states = states.max(evaluated);
        // On SmolLM2 the need was 3% above what is counted, less where states are made again.
        let margin = match options.gradient_checkpointing {
            true => 40,
            false => 20,
        };
        let is_stored = keeps_base_quantised(&options.method);
        let working = BaseWeights::working_bytes_of(self.config, VOCABULARY_PER_BLOCK);
        let [held, rounded, working] = match options.dtype {
            _ if is_stored => [0, 0, working],
            BaseDtype::BFloat16 => [0, self.weights_in_f32 / 2, working],
            BaseDtype::Float32 => [self.weights_in_f32, 0, 0],
        };
        // The numbers, their two moments and gradients, which are added up where a step has several batches. Of what is outside of the
        // layers, candle's autograd holds seven gradients while it adds them up (as measured), when it is through with the states.
        let copies = match options.gradient_accumulation_steps {
            0 | 1 => 4,
            _ => 5,
        };
        let outside = recipe
            .plan()
            .slices()
            .last()
            .map_or(0, |slice| slice.parameters());
        let outside = (7 * outside * size_of::<f32>()) as u64;
        let outside = outside.saturating_sub(states);
        let of_run = [
            ("weights in f32", held),
            ("weights in bf16", rounded),
            ("weights at work", working),
            ("states", states + states / margin),
            (
                "logits",
                model::logit_bytes(self.config, recipe.plan(), self.threads),
            ),
            ("adapter and optimizer", copies * numbers + outside),
        ];
        let parts = self.beside.iter().chain(&of_run);
        let parts = parts.filter(|(_, bytes)| *bytes > 0);
        let part = |(name, bytes): &(&str, u64)| NeedPart {
            name: name.to_string(),
            bytes: *bytes,
        };
        Ok(parts.map(part).collect())
    }

    fn bytes(&self, options: &TrainOptions) -> Option<u64> {
        let parts = self.parts(options).ok()?;
        Some(parts.iter().map(|part| part.bytes).sum())
    }

    /// Tells the need within what is available, with what would make it fit where it does not.
    ///
    /// # Errors
    /// As [`Sizing::parts`].
    pub(super) fn need(
        &self,
        options: &TrainOptions,
        available: Option<u64>,
    ) -> Result<TrainNeed, EngineError> {
        let recipe = methods::from_options(options, self.config)?;
        let numbers = (recipe.plan().parameters() * size_of::<f32>()) as u64;
        let mut need = TrainNeed {
            tokens_at_once: self.tokens_at_once(options, recipe.plan().virtual_tokens()) as u64,
            steps: self.lengths.map(|lengths| {
                let at_a_step =
                    u64::from(options.batch_size) * u64::from(options.gradient_accumulation_steps);
                match options.max_steps {
                    0 => {
                        (lengths.len() as u64).div_ceil(at_a_step.max(1))
                            * u64::from(options.epochs)
                    }
                    steps => u64::from(steps),
                }
            }),
            memory: self.parts(options)?,
            memory_available: available,
            adapter_bytes: numbers,
            // Two moments of every number.
            optimizer_bytes: 2 * numbers,
            ..TrainNeed::default()
        };
        if let Some(room) = available.filter(|room| need.memory_bytes() > *room) {
            (need.reliefs, need.least) = self.reliefs(options, room);
        }
        Ok(need)
    }

    /// Tries the options that take less: each alone, then together, until something fits. Tells also the least that all of them
    /// together come to.
    fn reliefs(&self, options: &TrainOptions, room: u64) -> (Vec<Relief>, Option<Relief>) {
        let batches = Change::smaller_batches(options);
        let [checkpointing, rounded, qlora] =
            [Change::Checkpointing, Change::Rounded, Change::Qlora];
        let each = [checkpointing, rounded, qlora].map(|change| vec![change]);
        let alone: Vec<Relief> = [batches.clone()]
            .into_iter()
            .chain(each)
            .filter_map(|choices| {
                let tried = choices
                    .into_iter()
                    .map(|choice| self.relief(options, &[choice]));
                tried.flatten().find(|relief| relief.memory_bytes <= room)
            })
            .collect();
        if !alone.is_empty() {
            return (alone, None);
        }
        let with = |others: &[Change]| -> Vec<Vec<Change>> {
            let batches = batches.iter().map(|batch| [others, &[*batch]].concat());
            batches.collect()
        };
        let together = with(&[checkpointing])
            .into_iter()
            .chain([vec![rounded, checkpointing], vec![qlora, checkpointing]])
            .chain(with(&[rounded, checkpointing]))
            .chain(with(&[qlora]))
            .chain(with(&[qlora, checkpointing]));
        let tried: Vec<Relief> = together
            .filter_map(|changes| self.relief(options, &changes))
            .collect();
        let first = tried.iter().find(|relief| relief.memory_bytes <= room);
        let least = tried.iter().min_by_key(|relief| relief.memory_bytes);
        (first.cloned().into_iter().collect(), least.cloned())
    }

    /// Tells what a run takes with changed options; none where they cannot be changed so.
    fn relief(&self, options: &TrainOptions, changes: &[Change]) -> Option<Relief> {
        let mut changed = options.clone();
        let mut told = Vec::new();
        for change in changes {
            told.extend(change.make(&mut changed)?);
        }
        Some(Relief {
            changes: told,
            memory_bytes: self.bytes(&changed)?,
        })
    }
}

/// A change of options that takes less memory and trains as much.
#[derive(Clone, Copy)]
enum Change {
    /// So many sequences at once, and as many more batches a step.
    Batch(u32),
    Checkpointing,
    /// The frozen weights in bf16.
    Rounded,
    Qlora,
}

impl Change {
    /// Lists the divisors of the batch, the largest first, so that the same examples make a step.
    fn smaller_batches(options: &TrainOptions) -> Vec<Self> {
        let size = options.batch_size;
        let divisors = (1..size).rev().filter(|part| size.is_multiple_of(*part));
        divisors.map(Self::Batch).collect()
    }

    /// Changes the options and tells how; none where there is nothing to change.
    fn make(self, options: &mut TrainOptions) -> Option<Vec<String>> {
        match self {
            Self::Batch(size) => {
                options.gradient_accumulation_steps *= options.batch_size / size;
                options.batch_size = size;
                let steps = options.gradient_accumulation_steps;
                Some(vec![
                    format!("batch_size {size}"),
                    format!("gradient_accumulation_steps {steps}"),
                ])
            }
            Self::Checkpointing if options.gradient_checkpointing => None,
            Self::Checkpointing => {
                options.gradient_checkpointing = true;
                Some(vec!["gradient_checkpointing true".into()])
            }
            Self::Rounded if options.dtype == BaseDtype::BFloat16 => None,
            Self::Rounded => {
                options.dtype = BaseDtype::BFloat16;
                Some(vec![format!("dtype {}", options.dtype.name())])
            }
            Self::Qlora if options.method == "lora" => {
                let dtype = std::mem::take(&mut options.dtype);
                options.method = "qlora".into();
                let mut told = vec!["method qlora".to_string()];
                if dtype != BaseDtype::Float32 {
                    told.push(format!("dtype {}", BaseDtype::Float32.name()));
                }
                Some(told)
            }
            Self::Qlora => None,
        }
    }
}
