//! The layer's backward.

use candle_core::{Error, Result};

use super::weights::{Norms, ReadWeights};
use super::{FusedLayer, Saved, prefix};
use crate::methods::{Norm, Part, Target};
use crate::ops::attention::{Gradients, Inputs};
use crate::ops::bottleneck::Bottleneck;
use crate::ops::buffers::Buffer;
use crate::ops::gemm::Store;
use crate::ops::rope::Turn;
use crate::ops::{gated, rms_norm};

/// A backward with what it reads, and the gradient of what the layer takes beside x.
struct Backward<'a> {
    op: &'a FusedLayer,
    weights: &'a ReadWeights<'a>,
    norms: Norms<'a>,
    parameters: &'a [f32],
    gradient: Vec<f32>,
    tokens: usize,
}

impl FusedLayer {
    /// Computes the gradients of the parameters and, where wanted, of x.
    pub(super) fn backward(
        &self,
        x: &[f32],
        parameters: &[f32],
        dy: &[f32],
        saved: Saved,
    ) -> Result<(Option<Vec<f32>>, Vec<f32>)> {
        let weights = self.layer.weights.read().map_err(Error::wrap)?;
        let weights = ReadWeights::of(&weights);
        let mut backward = Backward {
            op: self,
            weights: &weights,
            norms: weights.norms(&self.layer, parameters)?,
            parameters,
            gradient: vec![0f32; parameters.len()],
            tokens: self.layer.batch.sequences.tokens(),
        };
        let dx = backward.run(x, dy, saved)?;
        Ok((dx, backward.gradient))
    }
}

impl Backward<'_> {
    fn run(&mut self, x: &[f32], dy: &[f32], saved: Saved) -> Result<Option<Vec<f32>>> {
        let op = self.op;
        let batch = &*op.layer.batch;
        let (sequences, heads, kv_heads, pool) =
            (&batch.sequences, batch.heads, batch.kv_heads(), &batch.pool);
        let tokens = self.tokens;
        let hidden = x.len() / tokens;
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
            attention,
            feed_forward,
        } = saved;

        // The feed-forward part.
        let (mut normed, mut normed_gradient) =
            (pool.take(tokens, hidden), pool.take(tokens, hidden));
        let given = self.before_bottleneck(Part::FeedForward, dy, feed_forward.bottleneck);
        {
            let width = gate.len() / tokens;
            let mut product = pool.take(tokens, width);
            if op.layer.plan().linear(Target::Down).reads_input() {
                gated::forward(&mut product, &gate, &up, batch.activation);
            }
            let mut product_gradient = pool.take(tokens, width);
            let dy = given.as_deref().unwrap_or(dy);
            let before = self.before_norm(Norm::Output, dy, feed_forward.unnormed.as_ref());
            self.linear(
                Target::Down,
                &mut product_gradient,
                Store::Replace,
                before.as_deref().unwrap_or(dy),
                &product,
            )?;
            gated::backward(&product_gradient, &mut gate, &mut up, batch.activation);
        }
        let norm = self.norms.of(Norm::FeedForward);
        rms_norm::forward(&mut normed, &middle, norm, batch.epsilon);
        let replace = Store::Replace;
        self.linear(Target::Gate, &mut normed_gradient, replace, &gate, &normed)?;
        self.linear(Target::Up, &mut normed_gradient, Store::Add, &up, &normed)?;
        drop((gate, up));
        let mut middle_gradient = match given {
            Some(given) if self.reads_stream(Part::FeedForward) => given.to_vec(),
            _ => dy.to_vec(),
        };
        self.norm(
            Norm::FeedForward,
            &mut middle_gradient,
            Store::Add,
            &normed_gradient,
            &middle,
        );

        // Attention.
        let mut token_order = pool.take(tokens, heads.width());
        let given = self.before_bottleneck(Part::Attention, &middle_gradient, attention.bottleneck);
        {
            let dy = given.as_deref().unwrap_or(&middle_gradient);
            let before = self.before_norm(Norm::Attention, dy, attention.unnormed.as_ref());
            self.linear(
                Target::O,
                &mut token_order,
                Store::Replace,
                before.as_deref().unwrap_or(dy),
                &attended,
            )?;
        }
        if let Some(given) = given.filter(|_| self.reads_stream(Part::Attention)) {
            middle_gradient.copy_from_slice(&given);
        }
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
        op.attention()
            .backward(gradients, &output_gradient, &attended, &log_sums, inputs);
        if let Some(plan) = op.layer.plan().prefix() {
            for (range, rows) in [(&plan.keys, &mut dk), (&plan.values, &mut dv)] {
                let gradient = &mut self.gradient[range.clone()];
                prefix::take_heads(gradient, rows, kv_heads, sequences);
            }
        }

        let norm = self.norms.of(Norm::Input);
        rms_norm::forward(&mut normed, x, norm, batch.epsilon);
        let turn = Turn::Backward(&op.layer.rope);
        let unnormed = |place: usize| unnormed_heads.as_ref().map(|heads| &heads[place]);
        heads.scatter(&mut token_order, &dq, sequences, turn);
        let before = self.before_norm(Norm::Queries, &token_order, unnormed(0));
        let dq = before.as_deref().unwrap_or(&token_order);
        self.linear(Target::Q, &mut normed_gradient, replace, dq, &normed)?;
        let mut token_order = pool.take(tokens, kv_heads.width());
        kv_heads.scatter(&mut token_order, &dk, sequences, turn);
        let before = self.before_norm(Norm::Keys, &token_order, unnormed(1));
        let dk = before.as_deref().unwrap_or(&token_order);
        self.linear(Target::K, &mut normed_gradient, Store::Add, dk, &normed)?;
        kv_heads.scatter(&mut token_order, &dv, sequences, Turn::None);
        let dv = &token_order;
        self.linear(Target::V, &mut normed_gradient, Store::Add, dv, &normed)?;
        if !op.layer.wants_input_gradient {
            self.norm_weight(Norm::Input, &normed_gradient, x);
            return Ok(None);
        }
        self.norm(
            Norm::Input,
            &mut middle_gradient,
            Store::Add,
            &normed_gradient,
            x,
        );
        Ok(Some(middle_gradient))
    }

    fn linear(
        &mut self,
        target: Target,
        input_gradient: &mut [f32],
        store: Store,
        output_gradient: &[f32],
        input: &[f32],
    ) -> Result<()> {
        let layer = &self.op.layer;
        layer.batch.pause.here();
        let linear = self.weights.linear(target, layer, self.parameters)?;
        linear.backward(
            input_gradient,
            store,
            output_gradient,
            input,
            &mut self.gradient,
            &layer.batch.pool,
        );
        Ok(())
    }

    /// Takes a gradient back through a norm, whose own is computed where it is trained.
    fn norm(
        &mut self,
        norm: Norm,
        input_gradient: &mut [f32],
        store: Store,
        output_gradient: &[f32],
        input: &[f32],
    ) {
        self.norm_weight(norm, output_gradient, input);
        rms_norm::backward(
            input_gradient,
            store,
            output_gradient,
            input,
            self.norms.of(norm),
            self.op.layer.batch.epsilon,
        );
    }

    fn norm_weight(&mut self, norm: Norm, output_gradient: &[f32], input: &[f32]) {
        let layer = &self.op.layer;
        if let Some(range) = layer.plan().norm(norm) {
            let gradient = &mut self.gradient[range.clone()];
            rms_norm::weight_gradient(gradient, output_gradient, input, layer.batch.epsilon);
        }
    }

    /// Takes a gradient back through a norm that only some families have; none where this one has none.
    fn before_norm(
        &mut self,
        norm: Norm,
        gradient: &[f32],
        input: Option<&Buffer>,
    ) -> Option<Buffer> {
        let input = input?;
        let width = gradient.len() / self.tokens;
        let mut before = self.op.layer.batch.pool.take(self.tokens, width);
        self.norm(norm, &mut before, Store::Replace, gradient, input);
        Some(before)
    }

    /// Takes the residual stream's gradient back to what a part gives, where a bottleneck follows it; it is that of the stream
    /// too where the bottleneck reads that.
    fn before_bottleneck(
        &mut self,
        part: Part,
        gradient: &[f32],
        taken: Option<Buffer>,
    ) -> Option<Buffer> {
        let layer = &self.op.layer;
        let (plan, taken) = (layer.plan().bottleneck(part)?, taken?);
        let hidden = gradient.len() / self.tokens;
        let mut given = layer.batch.pool.take(self.tokens, hidden);
        given.copy_from_slice(gradient);
        let bottleneck = Bottleneck::new(plan, self.parameters, hidden);
        bottleneck.backward(
            &mut given,
            gradient,
            &taken,
            &mut self.gradient,
            &layer.batch.pool,
        );
        Some(given)
    }

    fn reads_stream(&self, part: Part) -> bool {
        let plan = self.op.layer.plan().bottleneck(part);
        plan.is_some_and(|plan| plan.reads_stream)
    }
}
