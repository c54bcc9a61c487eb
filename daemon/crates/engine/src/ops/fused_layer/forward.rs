//! The layer's forward.

use candle_core::{Error, Result};
use rayon::prelude::*;

use super::weights::{Norms, ReadWeights};
use super::{FusedLayer, Saved, SavedPart, Wanted, prefix};
use crate::methods::{Norm, Part, Target};
use crate::ops::attention::Inputs;
use crate::ops::bottleneck::Bottleneck;
use crate::ops::buffers::Buffer;
use crate::ops::gemm::Store;
use crate::ops::rope::Turn;
use crate::ops::vector::ELEMENTS_PER_TASK;
use crate::ops::{gated, rms_norm};

/// A forward with what it reads.
struct Forward<'a> {
    op: &'a FusedLayer,
    weights: &'a ReadWeights<'a>,
    norms: Norms<'a>,
    parameters: &'a [f32],
}

impl FusedLayer {
    /// Computes the output, and what the backward needs. With [`Wanted::Saved`] the output is left out as far as it can be.
    pub(super) fn forward(
        &self,
        x: &[f32],
        parameters: &[f32],
        wanted: Wanted,
    ) -> Result<(Vec<f32>, Saved)> {
        let weights = self.layer.weights.read().map_err(Error::wrap)?;
        let weights = ReadWeights::of(&weights);
        let forward = Forward {
            op: self,
            weights: &weights,
            norms: weights.norms(&self.layer, parameters)?,
            parameters,
        };
        forward.run(x, wanted)
    }
}

impl Forward<'_> {
    fn run(&self, x: &[f32], wanted: Wanted) -> Result<(Vec<f32>, Saved)> {
        let layer = &self.op.layer;
        let batch = &*layer.batch;
        let (sequences, heads, kv_heads, pool) =
            (&batch.sequences, batch.heads, batch.kv_heads(), &batch.pool);
        let tokens = sequences.tokens();
        let hidden = x.len() / tokens;
        let turn = Turn::Forward(&layer.rope);

        let mut normed = pool.take(tokens, hidden);
        rms_norm::forward(&mut normed, x, self.norms.of(Norm::Input), batch.epsilon);
        let mut q = self.linear(Target::Q, &normed)?;
        let mut k = self.linear(Target::K, &normed)?;
        let mut unnormed_heads = None;
        let head_norms = [Norm::Queries, Norm::Keys].map(|norm| self.norms.find(norm));
        if let [Some(q_norm), Some(k_norm)] = head_norms {
            let mut normed_q = pool.take(tokens, heads.width());
            rms_norm::forward(&mut normed_q, &q, q_norm, batch.epsilon);
            let mut normed_k = pool.take(tokens, kv_heads.width());
            rms_norm::forward(&mut normed_k, &k, k_norm, batch.epsilon);
            std::mem::swap(&mut q, &mut normed_q);
            std::mem::swap(&mut k, &mut normed_k);
            unnormed_heads = Some([normed_q, normed_k]);
        }
        let mut queries = pool.take(tokens, heads.width());
        heads.gather(&mut queries, &q, sequences, turn);
        let mut keys = pool.take(tokens, kv_heads.width());
        kv_heads.gather(&mut keys, &k, sequences, turn);
        drop((q, k));
        let mut values = self.linear(Target::V, &normed)?;
        if let Some(plan) = layer.plan().prefix() {
            let [of_keys, of_values] =
                [&plan.keys, &plan.values].map(|range| &self.parameters[range.clone()]);
            prefix::write_heads(&mut keys, of_keys, kv_heads, sequences);
            prefix::write_tokens(&mut values, of_values, kv_heads, sequences);
        }

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
            let attention = self.op.attention();
            attention.forward(&mut ordered, &mut log_sums, inputs);
            heads.scatter(&mut attended, &ordered, sequences, Turn::None);
        }
        let mut middle = pool.take(tokens, hidden);
        middle.copy_from_slice(x);
        let attention = self.add_part(&mut middle, Part::Attention, &attended)?;

        let norm = self.norms.of(Norm::FeedForward);
        rms_norm::forward(&mut normed, &middle, norm, batch.epsilon);
        let gate = self.linear(Target::Gate, &normed)?;
        let up = self.linear(Target::Up, &normed)?;
        let (mut output, mut feed_forward) = (Vec::new(), SavedPart::default());
        if wanted == Wanted::Output || self.keeps_output() {
            let mut product = pool.take(tokens, gate.len() / tokens);
            gated::forward(&mut product, &gate, &up, batch.activation);
            output = middle.to_vec();
            feed_forward = self.add_part(&mut output, Part::FeedForward, &product)?;
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
                attention,
                feed_forward,
            },
        ))
    }

    /// Tells whether the backward needs what the feed-forward part gives.
    fn keeps_output(&self) -> bool {
        let plan = self.op.layer.plan();
        self.norms.find(Norm::Output).is_some() || plan.bottleneck(Part::FeedForward).is_some()
    }

    /// Runs one linear layer into a buffer.
    fn linear(&self, target: Target, input: &[f32]) -> Result<Buffer> {
        let batch = &*self.op.layer.batch;
        batch.pause.here();
        let tokens = batch.sequences.tokens();
        let mut output = batch.pool.take(tokens, self.weights.outputs(target)?);
        let linear = self
            .weights
            .linear(target, &self.op.layer, self.parameters)?;
        linear.forward(&mut output, Store::Replace, input, &batch.pool);
        Ok(output)
    }

    /// Adds what a part's last linear layer makes of its input to the residual stream: normed where there is a norm, and with what a
    /// bottleneck makes of it.
    fn add_part(&self, stream: &mut [f32], part: Part, input: &[f32]) -> Result<SavedPart> {
        let layer = &self.op.layer;
        let batch = &*layer.batch;
        let (target, norm) = match part {
            Part::Attention => (Target::O, self.norms.find(Norm::Attention)),
            Part::FeedForward => (Target::Down, self.norms.find(Norm::Output)),
        };
        let plan = layer.plan().bottleneck(part);
        let needs_alone = norm.is_some() || plan.is_some_and(|plan| !plan.reads_stream);
        let (mut saved, mut given) = (SavedPart::default(), None);
        if needs_alone {
            let mut output = self.linear(target, input)?;
            if let Some(norm) = norm {
                let mut normed = batch.pool.take(output.len() / norm.len(), norm.len());
                rms_norm::forward(&mut normed, &output, norm, batch.epsilon);
                std::mem::swap(&mut output, &mut normed);
                saved.unnormed = Some(normed);
            }
            add(stream, &output);
            given = Some(output);
        } else {
            batch.pause.here();
            let linear = self.weights.linear(target, layer, self.parameters)?;
            linear.forward(stream, Store::Add, input, &batch.pool);
        }
        if let Some(plan) = plan {
            let tokens = batch.sequences.tokens();
            let hidden = stream.len() / tokens;
            let taken = match given.filter(|_| !plan.reads_stream) {
                Some(given) => given,
                None => {
                    let mut taken = batch.pool.take(tokens, hidden);
                    taken.copy_from_slice(stream);
                    taken
                }
            };
            let bottleneck = Bottleneck::new(plan, self.parameters, hidden);
            bottleneck.add(stream, &taken, &batch.pool);
            saved.bottleneck = Some(taken);
        }
        Ok(saved)
    }
}

/// Adds one slice to another.
fn add(to: &mut [f32], from: &[f32]) {
    to.par_chunks_mut(ELEMENTS_PER_TASK)
        .zip(from.par_chunks(ELEMENTS_PER_TASK))
        .for_each(|(to, from)| {
            to.iter_mut().zip(from).for_each(|(x, y)| *x += y);
        });
}
