//! Gated activations (Shazeer 2020): act(gate) · up. SwiGLU has silu(x) = x · σ(x); GeGLU the tanh form of GELU (Hendrycks and
//! Gimpel 2016), which is x · σ(2u) with u = √(2/π) · (x + 0.044715 x³).

use rayon::prelude::*;

use super::vector::{ELEMENTS_PER_TASK, exp, vectorized};
use crate::models::family::Activation;

/// 2 · √(2/π).
const GELU_SLOPE: f32 = 1.595_769;
const GELU_CUBIC: f32 = 0.044_715;

/// Computes the product; all three slices have one length.
pub(crate) fn forward(output: &mut [f32], gate: &[f32], up: &[f32], activation: Activation) {
    match activation {
        Activation::Silu => forward_by(output, gate, up, |x| x),
        Activation::GeluTanh => forward_by(output, gate, up, gelu_argument),
    }
}

/// Replaces `gate` and `up` by their own gradients.
pub(crate) fn backward(
    output_gradient: &[f32],
    gate: &mut [f32],
    up: &mut [f32],
    activation: Activation,
) {
    match activation {
        Activation::Silu => backward_by(output_gradient, gate, up, |x| x, |_| 1.0),
        Activation::GeluTanh => {
            let slope = |x: f32| GELU_SLOPE * (1.0 + 3.0 * GELU_CUBIC * x * x);
            backward_by(output_gradient, gate, up, gelu_argument, slope);
        }
    }
}

#[inline(always)]
fn gelu_argument(x: f32) -> f32 {
    GELU_SLOPE * (x + GELU_CUBIC * x * x * x)
}

/// Computes x · σ(`argument`(x)) · up.
#[inline(always)]
fn forward_by(
    output: &mut [f32],
    gate: &[f32],
    up: &[f32],
    argument: impl Fn(f32) -> f32 + Copy + Send + Sync,
) {
    let chunks = output
        .par_chunks_mut(ELEMENTS_PER_TASK)
        .zip(gate.par_chunks(ELEMENTS_PER_TASK));
    chunks
        .zip(up.par_chunks(ELEMENTS_PER_TASK))
        .for_each(|((output, gate), up)| {
            vectorized(|| {
                for ((y, g), u) in output.iter_mut().zip(gate).zip(up) {
                    *y = g * sigmoid(argument(*g)) * u;
                }
            });
        });
}

/// `slope` is the derivative of `argument`.
#[inline(always)]
fn backward_by(
    output_gradient: &[f32],
    gate: &mut [f32],
    up: &mut [f32],
    argument: impl Fn(f32) -> f32 + Copy + Send + Sync,
    slope: impl Fn(f32) -> f32 + Copy + Send + Sync,
) {
    let chunks = output_gradient
        .par_chunks(ELEMENTS_PER_TASK)
        .zip(gate.par_chunks_mut(ELEMENTS_PER_TASK));
    chunks
        .zip(up.par_chunks_mut(ELEMENTS_PER_TASK))
        .for_each(|((dy, gate), up)| {
            vectorized(|| {
                for ((dy, g), u) in dy.iter().zip(gate).zip(up) {
                    let s = sigmoid(argument(*g));
                    let gate_gradient = dy * *u * s * (1.0 + *g * (1.0 - s) * slope(*g));
                    *u = dy * *g * s;
                    *g = gate_gradient;
                }
            });
        });
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::plain;
    use crate::ops::testing::Operation;

    #[test]
    fn equals_the_plain_path_and_its_finite_differences() {
        check("SwiGLU", Activation::Silu);
        check("GeGLU", Activation::GeluTanh);
    }

    fn check(name: &'static str, activation: Activation) {
        Operation {
            name,
            shapes: &[&[7, 19], &[7, 19]],
            forward: &|values| {
                let mut output = vec![f32::NAN; values[0].len()];
                forward(&mut output, &values[0], &values[1], activation);
                output
            },
            backward: &|values, dy| {
                let (mut gate, mut up) = (values[0].clone(), values[1].clone());
                backward(dy, &mut gate, &mut up, activation);
                vec![gate, up]
            },
            plain: &|tensors| plain::gated(&tensors[0], &tensors[1], activation),
        }
        .check();
    }
}
