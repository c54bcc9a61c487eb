//! The decoder with its updates: from a batch to the loss and its gradient.

use std::sync::Arc;

use autodidact_domain::random::Random;
use candle_core::{Device, Tensor, Var};

use super::data::PackedBatch;
use crate::EngineError;
use crate::methods::Plan;
use crate::models::base::{BaseMatrix, BaseWeights};
use crate::models::config::ModelConfig;
use crate::ops::buffers::BufferPool;
use crate::ops::cross_entropy::{LinearCrossEntropy, max_logits};
use crate::ops::decoder_layer::{Batch, DecoderLayer};
use crate::ops::pause::Pause;
use crate::ops::plain;
use crate::ops::rms_norm::RmsNorm;
use crate::ops::rope::RopeTables;

/// A frozen model with what a method trains about it.
pub(crate) struct TrainableModel<'a> {
    config: &'a ModelConfig,
    weights: &'a BaseWeights,
    plan: Arc<Plan>,
    rope: Arc<RopeTables>,
    /// Of layers with a window, where theirs differ.
    local_rope: Option<Arc<RopeTables>>,
    pool: Arc<BufferPool>,
    threads: rayon::ThreadPool,
    pause: Pause,
    noise_alpha: f32,
    is_checkpointing: bool,
    label_smoothing: f32,
}

impl<'a> TrainableModel<'a> {
    /// Prepares a model for batches of up to `max_tokens` in sequences of up to `max_length`, with threads of its own.
    ///
    /// # Errors
    /// [`EngineError::Memory`] when the threads cannot be started.
    pub(crate) fn new(
        config: &'a ModelConfig,
        weights: &'a BaseWeights,
        plan: Arc<Plan>,
        max_tokens: usize,
        max_length: usize,
        threads: usize,
    ) -> Result<Self, EngineError> {
        let tables = |window| {
            let frequencies = config.rope_frequencies(window);
            Arc::new(RopeTables::new(max_length, &frequencies))
        };
        let local = config.variant.window.as_ref();
        let local = local.filter(|window| window.rope_theta.is_some());
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .build();
        let threads = threads
            .map_err(|error| EngineError::Memory(format!("start training threads: {error}")))?;
        Ok(Self {
            config,
            weights,
            plan,
            rope: tables(None),
            local_rope: local.map(|window| tables(Some(window))),
            pool: BufferPool::new(max_tokens),
            threads,
            pause: Pause::never(),
            noise_alpha: 0.0,
            is_checkpointing: false,
            label_smoothing: 0.0,
        })
    }

    /// Lets others use the device between the operations of a step.
    pub(crate) fn pausing(self, pause: Pause) -> Self {
        Self { pause, ..self }
    }

    /// Adds noise to the embeddings of every batch (NEFTune, Jain et al. 2023): uniform within alpha over the root of a
    /// sequence's numbers.
    pub(crate) fn noising(self, noise_alpha: f32) -> Self {
        Self {
            noise_alpha,
            ..self
        }
    }

    /// Makes a layer's inner states again for the backward instead of keeping them (gradient checkpointing, Chen et al. 2016):
    /// the same numbers bit for bit, with less memory and about a third more time.
    pub(crate) fn checkpointing(self, is_checkpointing: bool) -> Self {
        Self {
            is_checkpointing,
            ..self
        }
    }

    /// Trains on targets of which a share is spread over the whole vocabulary (Szegedy et al. 2016).
    pub(crate) fn smoothing(self, label_smoothing: f32) -> Self {
        Self {
            label_smoothing,
            ..self
        }
    }

    /// Computes the mean loss of a batch in nats a response token, and the gradient of every layer's trainable numbers.
    ///
    /// `dropout_seed` decides the masks and the noise of this step.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] when a token is outside the vocabulary.
    pub(crate) fn loss_and_gradients(
        &self,
        parameters: &[Vec<f32>],
        batch: &PackedBatch,
        dropout_seed: u64,
    ) -> Result<(f64, Vec<Vec<f32>>), EngineError> {
        let is_fused = matches!(self.weights.device(), Device::Cpu);
        let variables = self.variables(parameters)?;
        self.threads.install(|| {
            let loss = match is_fused {
                true => self.fused_loss(&variables, batch, dropout_seed)?,
                false => self.plain_loss(&variables, batch, dropout_seed)?,
            };
            gradients(&loss, &variables)
        })
    }

    /// Computes the same by candle's own operations.
    #[cfg(test)]
    pub(crate) fn plain_loss_and_gradients(
        &self,
        parameters: &[Vec<f32>],
        batch: &PackedBatch,
        dropout_seed: u64,
    ) -> Result<(f64, Vec<Vec<f32>>), EngineError> {
        let variables = self.variables(parameters)?;
        gradients(
            &self.plain_loss(&variables, batch, dropout_seed)?,
            &variables,
        )
    }

    fn variables(&self, parameters: &[Vec<f32>]) -> Result<Vec<Var>, EngineError> {
        let device = self.weights.device();
        let variables = parameters
            .iter()
            .map(|values| Var::from_slice(values, values.len(), device));
        Ok(variables.collect::<Result<_, _>>()?)
    }

    /// Computes the loss by our kernels.
    fn fused_loss(
        &self,
        parameters: &[Var],
        batch: &PackedBatch,
        dropout_seed: u64,
    ) -> Result<Tensor, EngineError> {
        let mut x = self.embed(batch, dropout_seed)?;
        for (layer, parameters) in self.layers(batch, dropout_seed).zip(parameters) {
            x = layer.fused(&x, parameters)?;
        }
        let x = x.apply_op1(RmsNorm {
            weight: self.weights.norm().clone(),
            epsilon: self.config.rms_norm_eps,
        })?;
        let targets = Arc::new(batch.targets.clone());
        Ok(x.apply_op1(LinearCrossEntropy::new(
            self.head(),
            targets,
            self.label_smoothing,
            self.pool.clone(),
            self.pause.clone(),
        ))?)
    }

    /// Computes the loss by candle's own operations, on any device.
    fn plain_loss(
        &self,
        parameters: &[Var],
        batch: &PackedBatch,
        dropout_seed: u64,
    ) -> Result<Tensor, EngineError> {
        let mut x = self.embed(batch, dropout_seed)?;
        for (layer, parameters) in self.layers(batch, dropout_seed).zip(parameters) {
            self.pause.here();
            x = layer.plain(&x, parameters)?;
        }
        let x = plain::rms_norm(&x, self.weights.norm(), self.config.rms_norm_eps)?;
        let rows = Tensor::new(&batch.targets.rows[..], x.device())?;
        let tokens = Tensor::new(&batch.targets.tokens[..], x.device())?;
        let smoothing = f64::from(self.label_smoothing);
        Ok(plain::cross_entropy(
            &x,
            &self.head().whole()?,
            &rows,
            &tokens,
            smoothing,
        )?)
    }

    /// Describes every layer on a batch, from the input up.
    fn layers(&self, batch: &PackedBatch, dropout_seed: u64) -> impl Iterator<Item = DecoderLayer> {
        let sequences = batch.sequences.clone();
        let (plan, pool) = (self.plan.clone(), self.pool.clone());
        let batch = Batch::new(
            self.config,
            sequences,
            plan,
            pool,
            self.pause.clone(),
            self.is_checkpointing,
        );
        let batch = Arc::new(batch);
        let mut random = Random::from_seed(dropout_seed);
        (0..self.config.layers).map(move |index| {
            let window = self.config.window_of(index);
            let local_rope = self.local_rope.as_ref().filter(|_| window.is_some());
            DecoderLayer {
                index,
                weights: self.weights.layer(index),
                batch: batch.clone(),
                rope: local_rope.unwrap_or(&self.rope).clone(),
                window: window.map_or(usize::MAX, |window| window.positions),
                dropout_key: random.next_u64(),
                wants_input_gradient: index > 0,
            }
        })
    }

    fn head(&self) -> BaseMatrix {
        self.weights.head()
    }

    /// Looks the tokens' embeddings up, `[tokens, hidden]`, scaled where the family does that, with noise where it is asked
    /// for.
    pub(super) fn embed(&self, batch: &PackedBatch, seed: u64) -> Result<Tensor, EngineError> {
        let rows = self.embeddings(&batch.ids)?;
        if self.noise_alpha == 0.0 {
            return Ok(rows);
        }
        let hidden = self.config.hidden_size;
        let mut random = Random::at(seed, &["neftune"]);
        let mut noise = Vec::with_capacity(batch.ids.len() * hidden);
        for range in batch.sequences.ranges() {
            let numbers = range.len() * hidden;
            let bound = f64::from(self.noise_alpha) / (numbers as f64).sqrt();
            let draws = (0..numbers).map(|_| (random.next_f64() * 2.0 - 1.0) * bound);
            noise.extend(draws.map(|draw| draw as f32));
        }
        Ok((&rows + Tensor::from_vec(noise, rows.shape(), rows.device())?)?)
    }

    fn embeddings(&self, ids: &[u32]) -> Result<Tensor, EngineError> {
        let vocabulary = self.config.vocab_size;
        if let Some(id) = ids.iter().find(|id| **id as usize >= vocabulary) {
            return Err(EngineError::Invalid(format!(
                "token {id} is outside the vocabulary of {vocabulary}"
            )));
        }
        let rows = self.weights.embeddings(ids)?;
        match self.config.variant.embedding_scale {
            Some(scale) => Ok((rows * f64::from(scale))?),
            None => Ok(rows),
        }
    }
}

/// Tells the bytes of what a step keeps of a batch's tokens from forward to backward, and of what a layer works with.
pub(super) fn state_bytes(config: &ModelConfig, tokens: usize, is_checkpointing: bool) -> u64 {
    let (queries, keys) = (
        config.heads * config.head_dim,
        config.kv_heads * config.head_dim,
    );
    let (hidden, feed_forward) = (config.hidden_size, config.intermediate_size);
    let variant = &config.variant;
    // Queries and what attention gives, keys and values, log-sums; the stream in the middle and at the end; gate and up.
    let mut kept = 2 * queries + 2 * keys + config.heads + 2 * hidden + 2 * feed_forward;
    if variant.qk_norm {
        kept += queries + keys;
    }
    if variant.sandwich_norms {
        kept += 2 * hidden;
    }
    // The same again with gradients, for the layer at work.
    let working = 3 * kept;
    let widths = match is_checkpointing {
        // What goes into every layer, and the layer at work.
        true => config.layers * hidden + kept + working,
        false => config.layers * kept + working,
    };
    (tokens * widths * size_of::<f32>()) as u64
}

/// Tells the bytes of the logits that the threads hold at once.
pub(super) fn logit_bytes(config: &ModelConfig, threads: usize) -> u64 {
    let logits = threads.max(1) * max_logits(config.vocab_size);
    (logits * size_of::<f32>()) as u64
}

/// Runs autograd; gives the loss and the gradient of every variable.
fn gradients(loss: &Tensor, variables: &[Var]) -> Result<(f64, Vec<Vec<f32>>), EngineError> {
    let mut gradients = loss.backward()?;
    let gradients = variables
        .iter()
        .map(|variable| match gradients.remove(variable.as_tensor()) {
            Some(gradient) => gradient.to_vec1(),
            // A layer of which nothing is trained.
            None if variable.elem_count() == 0 => Ok(Vec::new()),
            None => Err(candle_core::Error::msg(
                "a decoder layer without a gradient",
            )),
        })
        .collect::<Result<Vec<Vec<f32>>, _>>()?;
    Ok((f64::from(loss.to_vec0::<f32>()?), gradients))
}
