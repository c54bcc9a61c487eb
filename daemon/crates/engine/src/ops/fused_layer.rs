//! The decoder layer by our kernels, as one candle operation with its own backward.
//!
//! Between forward and backward it keeps what cannot be made again cheaply: q, k, v, the attention output and its
//! log-sums, the middle of the residual stream, gate and up; for SmolLM2-135M about 21 KB a token and layer.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp2, Error, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::attention::{Attention, Gradients, Inputs};
use super::buffers::Buffer;
use super::decoder_layer::DecoderLayer;
use super::gemm::Store;
use super::linear::{Frozen, Linear};
use super::rope::Turn;
use super::storage::{Reading, slice};
use super::vector::ELEMENTS_PER_TASK;
use super::{gated, rms_norm};
use crate::methods::Target;
use crate::models::weights::LayerWeights;

/// The weights of a layer while they are read.
struct ReadWeights<'a> {
    input_norm: Reading<'a>,
    attention_norm: Option<Reading<'a>>,
    feed_forward_norm: Reading<'a>,
    output_norm: Option<Reading<'a>>,
    head_norms: Option<[Reading<'a>; 2]>,
    /// Of q, k and v.
    biases: Option<[Reading<'a>; 3]>,
    linear: [(Reading<'a>, &'a Tensor); Target::ALL.len()],
}

impl<'a> ReadWeights<'a> {
    fn of(weights: &'a LayerWeights) -> Self {
        // In the order of `Target::ALL`.
        let linear = [
            &weights.q_proj,
            &weights.k_proj,
            &weights.v_proj,
            &weights.o_proj,
            &weights.gate_proj,
            &weights.up_proj,
            &weights.down_proj,
        ];
        Self {
            input_norm: Reading::of(&weights.input_norm),
            attention_norm: weights.attention_norm.as_ref().map(Reading::of),
            feed_forward_norm: Reading::of(&weights.feed_forward_norm),
            output_norm: weights.output_norm.as_ref().map(Reading::of),
            head_norms: weights
                .head_norms
                .as_ref()
                .map(|norms| norms.each_ref().map(Reading::of)),
            biases: weights
                .qkv_bias
                .as_ref()
                .map(|biases| biases.each_ref().map(Reading::of)),
            linear: linear.map(|tensor| (Reading::of(tensor), tensor)),
        }
    }

    /// Shows a linear layer as it is in this step.
    fn linear<'b>(
        &'b self,
        target: Target,
        layer: &'b DecoderLayer,
        parameters: &'b [f32],
    ) -> Result<Linear<'b>> {
        let (reading, tensor) = &self.linear[target as usize];
        let (outputs, inputs) = tensor.dims2()?;
        let frozen = Frozen {
            weight: reading.slice()?,
            inputs,
            outputs,
        };
        let biases = self.biases.as_ref();
        let bias = biases.and_then(|biases| biases.get(target as usize));
        let bias = bias.map(Reading::slice).transpose()?;
        let plan = layer.plan().linear(target);
        let dropout = layer.dropout(target);
        Ok(Linear::new(frozen, bias, plan, parameters, dropout))
    }

    /// Tells the width of what a linear layer gives.
    fn outputs(&self, target: Target) -> Result<usize> {
        Ok(self.linear[target as usize].1.dims2()?.0)
    }
}

/// What the backward needs beside x.
struct Saved {
    /// In head order, turned.
    queries: Buffer,
    /// In head order, turned.
    keys: Buffer,
    /// In token order.
    values: Buffer,
    /// In token order.
    attended: Buffer,
    /// In head order, `[tokens, heads]`.
    log_sums: Buffer,
    /// The residual stream between attention and the feed-forward part.
    middle: Buffer,
    gate: Buffer,
    up: Buffer,
    /// Where the family norms their heads: q and k before that, in token order.
    unnormed_heads: Option<[Buffer; 2]>,
    /// Where the family norms it: what attention gives before that.
    attention_output: Option<Buffer>,
    /// Where the family norms it: what the feed-forward part gives before that.
    feed_forward_output: Option<Buffer>,
}

/// What a forward is run for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Output,
    /// What the backward needs, once more.
    Saved,
}

/// The layer with what it keeps between forward and backward: nothing where it is made again for the backward (gradient
/// checkpointing, Chen et al. 2016).
pub(super) struct FusedLayer {
    layer: DecoderLayer,
    saved: Mutex<Option<Saved>>,
}

impl FusedLayer {
    /// Wraps a layer that has not run yet.
    pub(super) fn new(layer: DecoderLayer) -> Self {
        Self {
            layer,
            saved: Mutex::new(None),
        }
    }

    fn attention(&self) -> Attention<'_> {
        let batch = &*self.layer.batch;
        Attention {
            heads: batch.heads,
            sequences: &batch.sequences,
            scale: batch.attention_scale,
            window: self.layer.window,
        }
    }

    /// Runs one linear layer into a buffer.
    fn linear(
        &self,
        target: Target,
        input: &[f32],
        weights: &ReadWeights<'_>,
        parameters: &[f32],
    ) -> Result<Buffer> {
        let batch = &*self.layer.batch;
        batch.pause.here();
        let tokens = batch.sequences.tokens();
        let mut output = batch.pool.take(tokens, weights.outputs(target)?);
        let linear = weights.linear(target, &self.layer, parameters)?;
        linear.forward(&mut output, Store::Replace, input, &batch.pool);
        Ok(output)
    }

    /// Computes the output, and what the backward needs. With [`Wanted::Saved`] the output is left out as far as it can be.
    fn forward(&self, x: &[f32], parameters: &[f32], wanted: Wanted) -> Result<(Vec<f32>, Saved)> {
        let batch = &*self.layer.batch;
        let (sequences, heads, kv_heads, pool) =
            (&batch.sequences, batch.heads, batch.kv_heads(), &batch.pool);
        let tokens = sequences.tokens();
        let hidden = x.len() / tokens;
        let weights = self.layer.weights.read().map_err(Error::wrap)?;
        let weights = ReadWeights::of(&weights);
        let linear = |target, input: &[f32]| self.linear(target, input, &weights, parameters);
        let turn = Turn::Forward(&self.layer.rope);

        let mut normed = pool.take(tokens, hidden);
        rms_norm::forward(&mut normed, x, weights.input_norm.slice()?, batch.epsilon);
        let (mut q, mut k) = (linear(Target::Q, &normed)?, linear(Target::K, &normed)?);
        let mut unnormed_heads = None;
        if let Some([q_norm, k_norm]) = &weights.head_norms {
            let mut normed_q = pool.take(tokens, heads.width());
            rms_norm::forward(&mut normed_q, &q, q_norm.slice()?, batch.epsilon);
            let mut normed_k = pool.take(tokens, kv_heads.width());
            rms_norm::forward(&mut normed_k, &k, k_norm.slice()?, batch.epsilon);
            std::mem::swap(&mut q, &mut normed_q);
            std::mem::swap(&mut k, &mut normed_k);
            unnormed_heads = Some([normed_q, normed_k]);
        }
        let mut queries = pool.take(tokens, heads.width());
        heads.gather(&mut queries, &q, sequences, turn);
        let mut keys = pool.take(tokens, kv_heads.width());
        kv_heads.gather(&mut keys, &k, sequences, turn);
        drop((q, k));
        let values = linear(Target::V, &normed)?;

        let mut log_sums = pool.take(tokens, heads.groups * heads.group);
        let mut attended = pool.take(tokens, heads.width());
        {
            batch.pause.here();
            let mut ordered = pool.take(tokens, heads.width());
            let inputs = Inputs {
                queries: &queries,
                keys: &keys,
                values: &values,
            };
            self.attention()
                .forward(&mut ordered, &mut log_sums, inputs);
            heads.scatter(&mut attended, &ordered, sequences, Turn::None);
        }
        let mut middle = pool.take(tokens, hidden);
        middle.copy_from_slice(x);
        let attention_output = self.add_part(
            &mut middle,
            Target::O,
            &attended,
            weights.attention_norm.as_ref(),
            &weights,
            parameters,
        )?;

        rms_norm::forward(
            &mut normed,
            &middle,
            weights.feed_forward_norm.slice()?,
            batch.epsilon,
        );
        let (gate, up) = (linear(Target::Gate, &normed)?, linear(Target::Up, &normed)?);
        let (mut output, mut feed_forward_output) = (Vec::new(), None);
        let norm = weights.output_norm.as_ref();
        if wanted == Wanted::Output || norm.is_some() {
            let mut product = pool.take(tokens, gate.len() / tokens);
            gated::forward(&mut product, &gate, &up, batch.activation);
            output = middle.to_vec();
            let target = Target::Down;
            feed_forward_output =
                self.add_part(&mut output, target, &product, norm, &weights, parameters)?;
        }
        Ok((
            output,
            Saved {
                queries,
                keys,
                values,
                attended,
                log_sums,
                middle,
                gate,
                up,
                unnormed_heads,
                attention_output,
                feed_forward_output,
            },
        ))
    }

    /// Adds what a linear layer makes of its input to the residual stream, normed where there is a norm; gives back what
    /// was normed.
    fn add_part(
        &self,
        stream: &mut [f32],
        target: Target,
        input: &[f32],
        norm: Option<&Reading<'_>>,
        weights: &ReadWeights<'_>,
        parameters: &[f32],
    ) -> Result<Option<Buffer>> {
        let batch = &*self.layer.batch;
        let Some(norm) = norm else {
            batch.pause.here();
            let linear = weights.linear(target, &self.layer, parameters)?;
            linear.forward(stream, Store::Add, input, &batch.pool);
            return Ok(None);
        };
        let output = self.linear(target, input, weights, parameters)?;
        let norm = norm.slice()?;
        let mut normed = batch.pool.take(output.len() / norm.len(), norm.len());
        rms_norm::forward(&mut normed, &output, norm, batch.epsilon);
        stream
            .par_chunks_mut(ELEMENTS_PER_TASK)
            .zip(normed.par_chunks(ELEMENTS_PER_TASK))
            .for_each(|(stream, normed)| {
                stream.iter_mut().zip(normed).for_each(|(x, y)| *x += y);
            });
        Ok(Some(output))
    }

    /// Takes a gradient back through a norm that only some families have; none where this one has none.
    fn before_norm(
        &self,
        gradient: &[f32],
        input: Option<&Buffer>,
        norm: Option<&Reading<'_>>,
    ) -> Result<Option<Buffer>> {
        let (Some(input), Some(norm)) = (input, norm) else {
            return Ok(None);
        };
        let batch = &*self.layer.batch;
        let (norm, tokens) = (norm.slice()?, batch.sequences.tokens());
        let mut before = batch.pool.take(tokens, gradient.len() / tokens);
        rms_norm::backward(
            &mut before,
            Store::Replace,
            gradient,
            input,
            norm,
            batch.epsilon,
        );
        Ok(Some(before))
    }

    /// Computes the gradients of the parameters and, where wanted, of x.
    fn backward(
        &self,
        x: &[f32],
        parameters: &[f32],
        dy: &[f32],
        saved: Saved,
    ) -> Result<(Option<Vec<f32>>, Vec<f32>)> {
        let batch = &*self.layer.batch;
        let (sequences, heads, kv_heads, pool) =
            (&batch.sequences, batch.heads, batch.kv_heads(), &batch.pool);
        let tokens = sequences.tokens();
        let hidden = x.len() / tokens;
        let weights = self.layer.weights.read().map_err(Error::wrap)?;
        let weights = ReadWeights::of(&weights);
        let Saved {
            queries,
            keys,
            values,
            attended,
            log_sums,
            middle,
            mut gate,
            mut up,
            unnormed_heads,
            attention_output,
            feed_forward_output,
        } = saved;
        let mut gradient = vec![0f32; parameters.len()];
        let mut linear_backward = |target, dx: &mut [f32], store, dy: &[f32], input: &[f32]| {
            batch.pause.here();
            let linear = weights.linear(target, &self.layer, parameters)?;
            linear.backward(dx, store, dy, input, &mut gradient, pool);
            Ok::<_, Error>(())
        };

        // The feed-forward part.
        let (mut normed, mut normed_gradient) =
            (pool.take(tokens, hidden), pool.take(tokens, hidden));
        {
            let width = gate.len() / tokens;
            let mut product = pool.take(tokens, width);
            if self.layer.plan().linear(Target::Down).reads_input() {
                gated::forward(&mut product, &gate, &up, batch.activation);
            }
            let mut product_gradient = pool.take(tokens, width);
            let norm = weights.output_norm.as_ref();
            let before = self.before_norm(dy, feed_forward_output.as_ref(), norm)?;
            linear_backward(
                Target::Down,
                &mut product_gradient,
                Store::Replace,
                before.as_deref().unwrap_or(dy),
                &product,
            )?;
            gated::backward(&product_gradient, &mut gate, &mut up, batch.activation);
        }
        rms_norm::forward(
            &mut normed,
            &middle,
            weights.feed_forward_norm.slice()?,
            batch.epsilon,
        );
        linear_backward(
            Target::Gate,
            &mut normed_gradient,
            Store::Replace,
            &gate,
            &normed,
        )?;
        linear_backward(Target::Up, &mut normed_gradient, Store::Add, &up, &normed)?;
        drop((gate, up));
        let mut middle_gradient = dy.to_vec();
        let norm = weights.feed_forward_norm.slice()?;
        rms_norm::backward(
            &mut middle_gradient,
            Store::Add,
            &normed_gradient,
            &middle,
            norm,
            batch.epsilon,
        );

        // Attention.
        let mut token_order = pool.take(tokens, heads.width());
        let norm = weights.attention_norm.as_ref();
        let before = self.before_norm(&middle_gradient, attention_output.as_ref(), norm)?;
        linear_backward(
            Target::O,
            &mut token_order,
            Store::Replace,
            before.as_deref().unwrap_or(&middle_gradient),
            &attended,
        )?;
        drop(before);
        let mut output_gradient = pool.take(tokens, heads.width());
        heads.gather(&mut output_gradient, &token_order, sequences, Turn::None);
        let (mut dq, mut dk, mut dv) = (
            pool.take(tokens, heads.width()),
            pool.take(tokens, kv_heads.width()),
            pool.take(tokens, kv_heads.width()),
        );
        let inputs = Inputs {
            queries: &queries,
            keys: &keys,
            values: &values,
        };
        let gradients = Gradients {
            queries: &mut dq,
            keys: &mut dk,
            values: &mut dv,
        };
        batch.pause.here();
        self.attention()
            .backward(gradients, &output_gradient, &attended, &log_sums, inputs);

        rms_norm::forward(&mut normed, x, weights.input_norm.slice()?, batch.epsilon);
        let turn = Turn::Backward(&self.layer.rope);
        let head_norm = |place: usize| weights.head_norms.as_ref().map(|norms| &norms[place]);
        let unnormed = |place: usize| unnormed_heads.as_ref().map(|heads| &heads[place]);
        heads.scatter(&mut token_order, &dq, sequences, turn);
        let before = self.before_norm(&token_order, unnormed(0), head_norm(0))?;
        linear_backward(
            Target::Q,
            &mut normed_gradient,
            Store::Replace,
            before.as_deref().unwrap_or(&token_order),
            &normed,
        )?;
        let mut token_order = pool.take(tokens, kv_heads.width());
        kv_heads.scatter(&mut token_order, &dk, sequences, turn);
        let before = self.before_norm(&token_order, unnormed(1), head_norm(1))?;
        linear_backward(
            Target::K,
            &mut normed_gradient,
            Store::Add,
            before.as_deref().unwrap_or(&token_order),
            &normed,
        )?;
        kv_heads.scatter(&mut token_order, &dv, sequences, Turn::None);
        linear_backward(
            Target::V,
            &mut normed_gradient,
            Store::Add,
            &token_order,
            &normed,
        )?;
        if !self.layer.wants_input_gradient {
            return Ok((None, gradient));
        }
        let norm = weights.input_norm.slice()?;
        rms_norm::backward(
            &mut middle_gradient,
            Store::Add,
            &normed_gradient,
            x,
            norm,
            batch.epsilon,
        );
        Ok((Some(middle_gradient), gradient))
    }
}

impl CustomOp2 for FusedLayer {
    fn name(&self) -> &'static str {
        "decoder-layer"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        parameters: &CpuStorage,
        layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (tokens, _) = x_layout.shape().dims2()?;
        let plan = self.layer.plan();
        if tokens != self.layer.batch.sequences.tokens()
            || layout.shape().elem_count() != plan.parameters()
        {
            return Err(Error::msg(format!(
                "decoder-layer: expected {} tokens and {} parameters, found {x_layout:?} and {layout:?}",
                self.layer.batch.sequences.tokens(),
                plan.parameters()
            )));
        }
        let (x, parameters) = (slice(x, x_layout)?, slice(parameters, layout)?);
        let (output, saved) = self.forward(x, parameters, Wanted::Output)?;
        if !self.layer.batch.is_checkpointing {
            *self.saved.lock().unwrap_or_else(PoisonError::into_inner) = Some(saved);
        }
        Ok((CpuStorage::F32(output), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        parameters: &Tensor,
        _output: &Tensor,
        output_gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let saved = self
            .saved
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let output_gradient = output_gradient.contiguous()?;
        let (x_values, values, dy) = (
            Reading::of(x),
            Reading::of(parameters),
            Reading::of(&output_gradient),
        );
        let (x_values, values) = (x_values.slice()?, values.slice()?);
        let saved = match saved {
            Some(saved) => saved,
            None if self.layer.batch.is_checkpointing => {
                self.forward(x_values, values, Wanted::Saved)?.1
            }
            None => return Err(Error::msg("decoder-layer: a second backward")),
        };
        let (dx, gradient) = self.backward(x_values, values, dy.slice()?, saved)?;
        let dx = dx
            .map(|dx| Tensor::from_vec(dx, x.shape(), x.device()))
            .transpose()?;
        let gradient = Tensor::from_vec(gradient, parameters.shape(), parameters.device())?;
        Ok((dx, Some(gradient)))
    }
}
