//! The decoder with its updates: from a batch to the loss and its gradient.

use std::ops::Range;
use std::sync::Arc;

use autodidact_domain::random::Random;
use candle_core::{DType, Device, Tensor, Var};

use super::data::{Before, EncodedExample, PackedBatch};
use super::parameters::Parameters;
use crate::EngineError;
use crate::methods::{LayerPlan, Part, Plan, VirtualTokens};
use crate::models::base::{BaseMatrix, BaseWeights};
use crate::models::config::ModelConfig;
use crate::ops::buffers::BufferPool;
use crate::ops::cross_entropy::{
    LinearCrossEntropy, TrainedLinearCrossEntropy, VOCABULARY_PER_BLOCK, max_logits,
};
use crate::ops::decoder_layer::{Batch, DecoderLayer};
use crate::ops::gemm::{Matrix, Store, multiply};
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

    /// Does something within the threads that compute.
    pub(super) fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.threads.install(work)
    }

    /// Computes the mean loss of a batch in nats a response token, and the gradient of every slice of trainable numbers, on the
    /// processor.
    ///
    /// `dropout_seed` decides the masks and the noise of this step.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] when a token is outside the vocabulary.
    pub(super) fn backward(
        &self,
        parameters: &Parameters,
        batch: &PackedBatch,
        dropout_seed: u64,
    ) -> Result<(f64, Vec<Tensor>), EngineError> {
        let is_fused = matches!(self.weights.device(), Device::Cpu);
        let variables = parameters.on(self.weights.device())?;
        let parameters = tensors(&variables);
        self.threads.install(|| {
            let loss = match is_fused {
                true => self.fused_loss(&parameters, batch, dropout_seed)?,
                false => self.plain_loss(&parameters, batch, dropout_seed)?,
            };
            gradients(&loss, &variables)
        })
    }

    /// Computes the same of numbers and as numbers.
    #[cfg(test)]
    pub(crate) fn loss_and_gradients(
        &self,
        parameters: &[Vec<f32>],
        batch: &PackedBatch,
        dropout_seed: u64,
    ) -> Result<(f64, Vec<Vec<f32>>), EngineError> {
        let parameters = Parameters::new(parameters.to_vec())?;
        values(self.backward(&parameters, batch, dropout_seed)?)
    }

    /// Computes the logits of every token of a text, `[tokens * vocabulary]` or `[tokens * labels]` by a head of labels, by the
    /// operations of training on the processor.
    ///
    /// # Errors
    /// As [`Self::loss_and_gradients`].
    pub(crate) fn logits(
        &self,
        parameters: &[Vec<f32>],
        ids: &[u32],
    ) -> Result<Vec<f32>, EngineError> {
        // A text's last token is a target alone.
        let ids: Vec<u32> = ids.iter().chain(ids.last()).copied().collect();
        let flags = vec![true; ids.len()];
        let example = EncodedExample::of_responses(ids, flags);
        let batch = PackedBatch::new(&[example], Before::default());
        let variables = self.variables(parameters)?;
        self.threads.install(|| {
            let step = self.step(&tensors(&variables))?;
            let x = self.fused_states(&step, &batch, 0)?;
            if let Some((head, bias)) = &step.classifier {
                let logits = x.matmul(&head.t()?)?;
                let logits = match bias {
                    Some(bias) => logits.broadcast_add(bias)?,
                    None => logits,
                };
                return Ok(logits.flatten_all()?.to_vec1()?);
            }
            let (tokens, width) = x.dims2()?;
            let x = x.flatten_all()?.to_vec1::<f32>()?;
            let head = match &step.head {
                Some(head) => BaseMatrix::Held(head.clone()),
                None => self.weights.head(),
            };
            let (vocabulary, _) = head.dims()?;
            let reading = head.reading();
            let mut logits = vec![0f32; tokens * vocabulary];
            for first in (0..vocabulary).step_by(VOCABULARY_PER_BLOCK) {
                let count = VOCABULARY_PER_BLOCK.min(vocabulary - first);
                let rows = reading.rows(first..first + count)?;
                let mut block = vec![0f32; tokens * count];
                let (x, rows) = (
                    Matrix::new(&x, tokens, width),
                    Matrix::new(&rows, count, width),
                );
                multiply(&mut block, Store::Replace, 1.0, x, rows.transposed());
                for (all, block) in logits.chunks_exact_mut(vocabulary).zip(block.chunks(count)) {
                    all[first..first + count].copy_from_slice(block);
                }
            }
            Ok(logits)
        })
    }

    /// Computes the mean loss of a batch alone, in nats a response token, and keeps nothing for a backward.
    ///
    /// # Errors
    /// As [`TrainableModel::loss_and_gradients`].
    pub(crate) fn loss(
        &self,
        parameters: &Parameters,
        batch: &PackedBatch,
    ) -> Result<f64, EngineError> {
        let device = self.weights.device();
        let variables = parameters.on(device)?;
        let parameters: Vec<Tensor> = variables.iter().map(Var::as_detached_tensor).collect();
        let loss = self.threads.install(|| match device {
            Device::Cpu => self.fused_loss(&parameters, batch, 0),
            _ => self.plain_loss(&parameters, batch, 0),
        })?;
        Ok(f64::from(loss.to_vec0::<f32>()?))
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
        values(gradients(
            &self.plain_loss(&tensors(&variables), batch, dropout_seed)?,
            &variables,
        )?)
    }

    fn variables(&self, parameters: &[Vec<f32>]) -> Result<Vec<Var>, EngineError> {
        Ok(Parameters::new(parameters.to_vec())?.on(self.weights.device())?)
    }

    /// Computes the loss by our kernels.
    fn fused_loss(
        &self,
        parameters: &[Tensor],
        batch: &PackedBatch,
        dropout_seed: u64,
    ) -> Result<Tensor, EngineError> {
        let step = self.step(parameters)?;
        let x = self.fused_states(&step, batch, dropout_seed)?;
        if let Some(classifier) = &step.classifier {
            return self.plain_cross_entropy(&x, classifier, batch);
        }
        let operation = |head| {
            LinearCrossEntropy::new(
                head,
                Arc::new(batch.targets.clone()),
                self.label_smoothing,
                self.pool.clone(),
                self.pause.clone(),
            )
        };
        Ok(match &step.head {
            Some(head) => {
                let operation = operation(BaseMatrix::Held(head.clone()));
                x.apply_op2(head, TrainedLinearCrossEntropy(operation))?
            }
            None => x.apply_op1(operation(self.weights.head()))?,
        })
    }

    /// Computes what the output matrix takes, `[tokens, hidden]`.
    fn fused_states(
        &self,
        step: &Step,
        batch: &PackedBatch,
        dropout_seed: u64,
    ) -> Result<Tensor, EngineError> {
        let mut x = self.embed(step, batch, dropout_seed)?;
        for (layer, parameters) in self.layers(batch, dropout_seed).zip(&step.layers) {
            x = layer.fused(&x, parameters)?;
        }
        let epsilon = self.config.rms_norm_eps;
        Ok(match &step.last_norm {
            Some(weight) => plain::rms_norm(&x, weight, epsilon)?,
            None => x.apply_op1(RmsNorm {
                weight: self.weights.norm().clone(),
                epsilon,
            })?,
        })
    }

    /// Computes the loss by candle's own operations, on any device.
    fn plain_loss(
        &self,
        parameters: &[Tensor],
        batch: &PackedBatch,
        dropout_seed: u64,
    ) -> Result<Tensor, EngineError> {
        let step = self.step(parameters)?;
        let mut x = self.embed(&step, batch, dropout_seed)?;
        for (layer, parameters) in self.layers(batch, dropout_seed).zip(&step.layers) {
            self.pause.here();
            x = layer.plain(&x, parameters)?;
        }
        let norm = step.last_norm.as_ref().unwrap_or(self.weights.norm());
        let x = plain::rms_norm(&x, norm, self.config.rms_norm_eps)?;
        match (&step.classifier, &step.head) {
            (Some(classifier), _) => self.plain_cross_entropy(&x, classifier, batch),
            (None, Some(head)) => self.plain_cross_entropy(&x, &(head.clone(), None), batch),
            (None, None) => {
                let head = self.weights.head().whole()?;
                self.plain_cross_entropy(&x, &(head, None), batch)
            }
        }
    }

    /// Computes the mean loss of a batch's targets by candle's own operations. A head of labels has few numbers, so it needs no
    /// kernel.
    fn plain_cross_entropy(
        &self,
        x: &Tensor,
        (head, bias): &(Tensor, Option<Tensor>),
        batch: &PackedBatch,
    ) -> Result<Tensor, EngineError> {
        let rows = Tensor::new(&batch.targets.rows[..], x.device())?;
        let tokens = Tensor::new(&batch.targets.tokens[..], x.device())?;
        let smoothing = f64::from(self.label_smoothing);
        let head = (head, bias.as_ref());
        Ok(plain::cross_entropy(x, head, &rows, &tokens, smoothing)?)
    }

    /// Views the trained numbers as what a step takes.
    fn step(&self, parameters: &[Tensor]) -> Result<Step, EngineError> {
        let outside = parameters.last().ok_or_else(|| {
            EngineError::Invalid("expected a slice for every layer and one more".into())
        })?;
        let plan = self.plan.outside();
        let (vocabulary, hidden) = (self.config.vocab_size, self.config.hidden_size);
        let part = |range: &Range<usize>| outside.narrow(0, range.start, range.len());
        let matrix = |range: &Range<usize>| part(range)?.reshape((vocabulary, hidden));
        let last_norm = plan.last_norm().map(|range| {
            let weight = part(range)?;
            weight + f64::from(self.plan.norm_offset())
        });
        let embedding = plan.embedding().map(matrix).transpose()?;
        let head = match plan.head() == plan.embedding() {
            true => embedding.clone(),
            false => plan.head().map(matrix).transpose()?,
        };
        let classifier = plan.classifier().map(|classifier| {
            let weight = part(&classifier.weight)?.reshape((classifier.labels, hidden))?;
            let bias = classifier.bias.as_ref().map(part).transpose()?;
            Ok::<_, candle_core::Error>((weight, bias))
        });
        let mut step = Step {
            layers: parameters[..self.config.layers].to_vec(),
            before: None,
            embedding,
            last_norm: last_norm.transpose()?,
            head,
            classifier: classifier.transpose()?,
        };
        match plan.virtual_tokens() {
            None => {}
            Some(VirtualTokens::Prompt { count, rows }) => {
                step.before = Some(part(rows)?.reshape((*count, hidden))?);
            }
            Some(VirtualTokens::Prefix { count, encoder }) => {
                let device = outside.device();
                step.before = Some(Tensor::zeros((*count, hidden), DType::F32, device)?);
                let table = encoder.table(outside, *count)?;
                let parts = 2 * self.config.layers;
                let table = table.reshape((*count, parts, ()))?;
                for (index, layer) in step.layers.iter_mut().enumerate() {
                    let part = |part: usize| table.narrow(1, part, 1)?.flatten_all();
                    let (keys, values) = (part(2 * index)?, part(2 * index + 1)?);
                    *layer = Tensor::cat(&[layer.clone(), keys, values], 0)?;
                }
            }
        }
        Ok(step)
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
        let outside = self.plan.outside();
        let is_prompt = matches!(outside.virtual_tokens(), Some(VirtualTokens::Prompt { .. }));
        let wants_embeddings = is_prompt || outside.embedding().is_some();
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
                wants_input_gradient: index > 0 || wants_embeddings,
            }
        })
    }

    /// Looks the tokens' embeddings up, `[tokens, hidden]`, scaled where the family does that, with noise where it is asked
    /// for and what stands before every sequence.
    fn embed(&self, step: &Step, batch: &PackedBatch, seed: u64) -> Result<Tensor, EngineError> {
        let before = step.before.as_ref();
        let Some(before) = before else {
            return self.embeddings(step, batch.sequences.ranges(), &batch.ids, seed);
        };
        let (count, vocabulary) = (before.dim(0)?, self.config.vocab_size as u32);
        let is_real = |id: &&u32| **id < vocabulary;
        let ids: Vec<u32> = batch.ids.iter().filter(is_real).copied().collect();
        let mut ends = 0;
        let ranges = batch.sequences.ranges().map(|range| {
            let start = ends;
            ends += range.len() - count;
            start..ends
        });
        let rows = self.embeddings(step, ranges, &ids, seed)?;
        let mut parts = Vec::new();
        let mut at = 0;
        for range in batch.sequences.ranges() {
            let length = range.len() - count;
            parts.push(before.clone());
            parts.push(rows.narrow(0, at, length)?);
            at += length;
        }
        Ok(Tensor::cat(&parts, 0)?)
    }

    /// Computes what goes into the first layer, with nothing trained.
    #[cfg(test)]
    pub(super) fn first_states(
        &self,
        batch: &PackedBatch,
        seed: u64,
    ) -> Result<Tensor, EngineError> {
        let variables = self.variables(&self.plan.drawn(1, self.weights))?;
        self.embed(&self.step(&tensors(&variables))?, batch, seed)
    }

    /// Looks up the embeddings of sequences that lie at some ranges of rows.
    fn embeddings(
        &self,
        step: &Step,
        ranges: impl Iterator<Item = Range<usize>>,
        ids: &[u32],
        seed: u64,
    ) -> Result<Tensor, EngineError> {
        let vocabulary = self.config.vocab_size;
        if let Some(id) = ids.iter().find(|id| **id as usize >= vocabulary) {
            return Err(EngineError::Invalid(format!(
                "token {id} is outside the vocabulary of {vocabulary}"
            )));
        }
        let mut rows = match &step.embedding {
            Some(embedding) => embedding.index_select(&Tensor::new(ids, embedding.device())?, 0)?,
            None => self.weights.embeddings(ids)?,
        };
        if let Some(scale) = self.config.variant.embedding_scale {
            rows = (rows * f64::from(scale))?;
        }
        if self.noise_alpha == 0.0 {
            return Ok(rows);
        }
        let hidden = self.config.hidden_size;
        let mut random = Random::at(seed, &["neftune"]);
        let mut noise = Vec::with_capacity(ids.len() * hidden);
        for range in ranges {
            let numbers = range.len() * hidden;
            let bound = f64::from(self.noise_alpha) / (numbers as f64).sqrt();
            let draws = (0..numbers).map(|_| (random.next_f64() * 2.0 - 1.0) * bound);
            noise.extend(draws.map(|draw| draw as f32));
        }
        Ok((&rows + Tensor::from_vec(noise, rows.shape(), rows.device())?)?)
    }
}

/// The trained numbers as a step takes them.
struct Step {
    /// What every layer takes.
    layers: Vec<Tensor>,
    /// What stands before every sequence's embeddings, `[virtual tokens, hidden]`.
    before: Option<Tensor>,
    /// Where they are trained: `[vocab_size, hidden]`, `[hidden]`, `[vocab_size, hidden]`.
    embedding: Option<Tensor>,
    last_norm: Option<Tensor>,
    head: Option<Tensor>,
    /// A head of labels: weight `[labels, hidden]` and bias `[labels]`.
    classifier: Option<(Tensor, Option<Tensor>)>,
}

/// Tells the bytes of what a step keeps of a batch's tokens from forward to backward, and of what a layer works with.
pub(super) fn state_bytes(
    config: &ModelConfig,
    plan: &Plan,
    tokens: usize,
    is_checkpointing: bool,
) -> u64 {
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
    // What a bottleneck takes.
    let bottlenecks = |layer: &LayerPlan| {
        let parts = Part::ALL.into_iter();
        parts
            .filter(|part| layer.bottleneck(*part).is_some())
            .count()
    };
    kept += hidden * plan.layers().iter().map(bottlenecks).max().unwrap_or(0);
    // The same again with gradients, for the layer at work.
    let working = 3 * kept;
    let widths = match is_checkpointing {
        // What goes into every layer, and the layer at work.
        true => config.layers * hidden + kept + working,
        false => config.layers * kept + working,
    };
    (tokens * widths * size_of::<f32>()) as u64
}

/// Tells the bytes of the logits that the threads hold at once; those of a head of labels are few.
pub(super) fn logit_bytes(config: &ModelConfig, plan: &Plan, threads: usize) -> u64 {
    if plan.outside().classifier().is_some() {
        return 0;
    }
    let logits = threads.max(1) * max_logits(config.vocab_size);
    (logits * size_of::<f32>()) as u64
}

fn tensors(variables: &[Var]) -> Vec<Tensor> {
    let tensors = variables
        .iter()
        .map(|variable| variable.as_tensor().clone());
    tensors.collect()
}

/// Reads gradients as numbers.
#[cfg(test)]
fn values((loss, gradients): (f64, Vec<Tensor>)) -> Result<(f64, Vec<Vec<f32>>), EngineError> {
    let values = gradients.iter().map(Tensor::to_vec1);
    Ok((loss, values.collect::<Result<_, _>>()?))
}

/// Runs autograd; gives the loss and the gradient of every variable, contiguous and on the processor.
fn gradients(loss: &Tensor, variables: &[Var]) -> Result<(f64, Vec<Tensor>), EngineError> {
    let mut gradients = loss.backward()?;
    let gradients = variables
        .iter()
        .map(|variable| match gradients.remove(variable.as_tensor()) {
            Some(gradient) => gradient.to_device(&Device::Cpu)?.contiguous(),
            // A layer of which nothing is trained, or what is outside of them.
            None if variable.elem_count() == 0 => Tensor::zeros(0, DType::F32, &Device::Cpu),
            None => Err(candle_core::Error::msg(
                "trained numbers without a gradient",
            )),
        })
        .collect::<Result<Vec<Tensor>, _>>()?;
    Ok((f64::from(loss.to_vec0::<f32>()?), gradients))
}
