//! The decoder layer by our kernels, as one candle operation with its own backward.
//!
//! Between forward and backward it keeps what cannot be made again cheaply: q, k, v, the attention output and its
//! log-sums, the middle of the residual stream, gate and up; for SmolLM2-135M about 21 KB a token and layer.

mod backward;
mod forward;
mod prefix;
mod weights;

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp2, Error, Layout, Result, Shape, Tensor};

use super::attention::Attention;
use super::buffers::Buffer;
use super::decoder_layer::DecoderLayer;
use super::storage::{Reading, slice};

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
    /// Where the family norms its heads: q and k before that, in token order.
    unnormed_heads: Option<[Buffer; 2]>,
    attention: SavedPart,
    feed_forward: SavedPart,
}

/// What the backward needs of what a part of the layer gives.
#[derive(Default)]
struct SavedPart {
    /// Where the family norms it: what it gives before that.
    unnormed: Option<Buffer>,
    /// Where a bottleneck follows: what that takes.
    bottleneck: Option<Buffer>,
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
            || layout.shape().elem_count() != plan.taken()
        {
            return Err(Error::msg(format!(
                "decoder-layer: expected {} tokens and {} parameters, found {x_layout:?} and {layout:?}",
                self.layer.batch.sequences.tokens(),
                plan.taken()
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
