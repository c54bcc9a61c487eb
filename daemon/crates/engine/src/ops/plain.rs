//! The same operations out of candle's own, for devices that have no kernel of ours, and as the measure of ours.
//!
//! Only operations with a backward are used: candle's own `rms_norm`, `softmax_last_dim` and `rope` have none and would
//! end gradients silently. The gradients of frozen weights are computed here and thrown away.

use std::ops::Range;

use candle_core::{D, Result, Tensor};

use super::dropout::Dropout;
use super::rope::{Heads, RopeTables};
use super::sequences::Sequences;
use crate::methods::{BottleneckPlan, LinearPlan, NonLinearity};
use crate::models::family::Activation;

/// Computes x·Wᵀ + b with what is trained about the layer (`linear.rs`); x `[rows, inputs]`, W `[outputs, inputs]`,
/// b `[outputs]`, `parameters` the slice of the decoder layer.
pub(crate) fn linear(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    plan: &LinearPlan,
    parameters: &Tensor,
    dropout: Option<Dropout>,
) -> Result<Tensor> {
    let (outputs, inputs) = weight.dims2()?;
    let part = |range: &Range<usize>| parameters.narrow(0, range.start, range.len());
    let trained = plan.weight.as_ref().map(&part).transpose()?;
    let trained = trained.map(|weight| weight.reshape((outputs, inputs)));
    let trained = trained.transpose()?;
    let weight = trained.as_ref().unwrap_or(weight);
    let scaled = plan.input_scale.as_ref().map(&part).transpose()?;
    let x = &match scaled {
        Some(scale) => x.broadcast_mul(&scale)?,
        None => x.clone(),
    };
    let mut y = x.matmul(&weight.t()?)?;
    let mut whole = weight.clone();
    if let Some(update) = &plan.low_rank {
        let a = part(&update.a)?.reshape((update.rank, inputs))?;
        let b = part(&update.b)?.reshape((outputs, update.rank))?;
        let scale = f64::from(update.scale);
        let masked = match dropout {
            None => x.clone(),
            Some(dropout) => {
                let mask = (0..x.elem_count()).map(|index| dropout.factor(index));
                let mask: Vec<f32> = mask.collect();
                x.mul(&Tensor::from_vec(mask, x.shape(), x.device())?)?
            }
        };
        y = (y + (masked.matmul(&a.t()?)?.matmul(&b.t()?)? * scale)?)?;
        if plan.magnitude.is_some() {
            whole = (whole + (b.matmul(&a)? * scale)?)?;
        }
    }
    if let Some(magnitude) = &plan.magnitude {
        let norms = whole.detach().sqr()?.sum(1)?.sqrt()?;
        y = y.broadcast_mul(&part(magnitude)?.div(&norms)?)?;
    }
    let trained = plan.bias.as_ref().map(&part).transpose()?;
    if let Some(bias) = trained.as_ref().or(bias) {
        y = y.broadcast_add(bias)?;
    }
    match &plan.output_scale {
        Some(scale) => y.broadcast_mul(&part(scale)?),
        None => Ok(y),
    }
}

/// Computes RMSNorm of x `[rows, width]`.
pub(crate) fn rms_norm(x: &Tensor, weight: &Tensor, epsilon: f32) -> Result<Tensor> {
    let mean_square = x.sqr()?.mean_keepdim(D::Minus1)?;
    x.broadcast_div(&(mean_square + f64::from(epsilon))?.sqrt()?)?
        .broadcast_mul(weight)
}

/// Computes act(gate) · up.
pub(crate) fn gated(gate: &Tensor, up: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::Silu => gate.silu()?.mul(up),
        Activation::GeluTanh => gate.gelu()?.mul(up),
    }
}

/// Puts a prefix `[prefix * width]` in the place of every sequence's first rows; x `[tokens, width]`.
pub(crate) fn with_prefix(x: &Tensor, prefix: &Tensor, sequences: &Sequences) -> Result<Tensor> {
    let (_, width) = x.dims2()?;
    let prefix = prefix.reshape(((), width))?;
    let count = prefix.dim(0)?;
    let mut parts = Vec::new();
    for range in sequences.ranges() {
        parts.push(prefix.clone());
        if range.len() > count {
            parts.push(x.narrow(0, range.start + count, range.len() - count)?);
        }
    }
    Tensor::cat(&parts, 0)
}

/// Computes what a bottleneck makes of z `[tokens, hidden]` (`bottleneck.rs`).
pub(crate) fn bottleneck(z: &Tensor, plan: &BottleneckPlan, parameters: &Tensor) -> Result<Tensor> {
    let (_, hidden) = z.dims2()?;
    let part = |range: &Range<usize>| parameters.narrow(0, range.start, range.len());
    let down = part(&plan.down)?.reshape((plan.width, hidden))?;
    let inner = z.matmul(&down.t()?)?;
    let inner = inner.broadcast_add(&part(&plan.down_bias)?)?;
    let inner = match plan.non_linearity {
        NonLinearity::Relu => inner.relu()?,
        NonLinearity::Swish => inner.silu()?,
    };
    let up = part(&plan.up)?.reshape((hidden, plan.width))?;
    inner.matmul(&up.t()?)?.broadcast_add(&part(&plan.up_bias)?)
}

/// Turns every head of x `[tokens, heads * head_dim]` by its position in its sequence.
pub(crate) fn rope(
    x: &Tensor,
    sequences: &Sequences,
    head_dim: usize,
    tables: &RopeTables,
) -> Result<Tensor> {
    let (tokens, width) = x.dims2()?;
    let half = head_dim / 2;
    let (mut cos, mut sin) = (
        Vec::with_capacity(tokens * half),
        Vec::with_capacity(tokens * half),
    );
    for position in sequences.ranges().flat_map(|range| 0..range.len()) {
        let (cosines, sines) = tables.at(position);
        cos.extend_from_slice(cosines);
        sin.extend_from_slice(sines);
    }
    let cos = Tensor::from_vec(cos, (tokens, 1, half), x.device())?;
    let sin = Tensor::from_vec(sin, (tokens, 1, half), x.device())?;
    let x = x.reshape((tokens, width / head_dim, head_dim))?;
    let (low, high) = (x.narrow(2, 0, half)?, x.narrow(2, half, half)?);
    let turned_low = (low.broadcast_mul(&cos)? - high.broadcast_mul(&sin)?)?;
    let turned_high = (high.broadcast_mul(&cos)? + low.broadcast_mul(&sin)?)?;
    Tensor::cat(&[turned_low, turned_high], 2)?.reshape((tokens, width))
}

/// Computes causal attention within each sequence, over the last `window` positions; q, k and v are `[tokens, heads * head_dim]` of their own heads.
pub(crate) fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    sequences: &Sequences,
    heads: Heads,
    scale: f32,
    window: usize,
) -> Result<Tensor> {
    let Heads {
        groups,
        group,
        head_dim,
    } = heads;
    let mut outputs = Vec::new();
    for range in sequences.ranges() {
        let length = range.len();
        let part = |x: &Tensor, heads: usize| {
            x.narrow(0, range.start, length)?
                .reshape((length, heads, head_dim))?
                .transpose(0, 1)?
                .contiguous()
        };
        // A group's query heads see the same keys and values: [groups, group * length, head_dim].
        let q = part(q, groups * group)?.reshape((groups, group * length, head_dim))?;
        let (k, v) = (part(k, groups)?, part(v, groups)?);
        let scores = (q.matmul(&k.transpose(1, 2)?.contiguous()?)? * f64::from(scale))?;
        let mask: Vec<f32> = (0..group * length)
            .flat_map(|row| {
                (0..length).map(move |key| {
                    if key <= row % length && row % length - key < window {
                        0.0
                    } else {
                        f32::NEG_INFINITY
                    }
                })
            })
            .collect();
        let mask = Tensor::from_vec(mask, (1, group * length, length), q.device())?;
        let weights = softmax(&scores.broadcast_add(&mask)?)?;
        let output = weights
            .matmul(&v)?
            .reshape((groups * group, length, head_dim))?;
        outputs.push(output.transpose(0, 1)?.reshape((length, heads.width()))?);
    }
    Tensor::cat(&outputs, 0)
}

/// Computes the mean cross-entropy of x·Wᵀ at some rows against their targets, in nats; x `[tokens, width]`,
/// W `[vocabulary, width]`, `rows` and `targets` u32 `[positions]`; a share `smoothing` of a target is spread over the
/// vocabulary.
pub(crate) fn cross_entropy(
    x: &Tensor,
    (head, bias): (&Tensor, Option<&Tensor>),
    rows: &Tensor,
    targets: &Tensor,
    smoothing: f64,
) -> Result<Tensor> {
    let mut logits = x.index_select(rows, 0)?.matmul(&head.t()?)?;
    if let Some(bias) = bias {
        logits = logits.broadcast_add(bias)?;
    }
    let shifted = logits.broadcast_sub(&logits.max_keepdim(1)?.detach())?;
    let log_sums = shifted.exp()?.sum_keepdim(1)?.log()?;
    let chosen = shifted.gather(&targets.unsqueeze(1)?, 1)?;
    if smoothing == 0.0 {
        return (log_sums - chosen)?.mean_all();
    }
    let spread = (shifted.mean_keepdim(1)? * smoothing)?;
    let chosen = ((chosen * (1.0 - smoothing))? + spread)?;
    (log_sums - chosen)?.mean_all()
}

fn softmax(x: &Tensor) -> Result<Tensor> {
    let exponents = x
        .broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?
        .exp()?;
    exponents.broadcast_div(&exponents.sum_keepdim(D::Minus1)?)
}
