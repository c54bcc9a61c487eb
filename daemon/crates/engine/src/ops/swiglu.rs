//! SwiGLU (Shazeer 2020): silu(gate) · up, where silu(x) = x / (1 + e⁻ˣ).

use rayon::prelude::*;

use super::vector::{ELEMENTS_PER_TASK, exp, vectorized};

/// Computes the product; all three slices have one length.
pub(crate) fn forward(output: &mut [f32], gate: &[f32], up: &[f32]) {
    let chunks = output
        .par_chunks_mut(ELEMENTS_PER_TASK)
        .zip(gate.par_chunks(ELEMENTS_PER_TASK));
    chunks
        .zip(up.par_chunks(ELEMENTS_PER_TASK))
        .for_each(|((output, gate), up)| {
            vectorized(|| {
                for ((y, g), u) in output.iter_mut().zip(gate).zip(up) {
                    *y = g * sigmoid(*g) * u;
                }
            });
        });
}

/// Replaces `gate` and `up` by their own gradients.
pub(crate) fn backward(output_gradient: &[f32], gate: &mut [f32], up: &mut [f32]) {
    let chunks = output_gradient
        .par_chunks(ELEMENTS_PER_TASK)
        .zip(gate.par_chunks_mut(ELEMENTS_PER_TASK));
    chunks
        .zip(up.par_chunks_mut(ELEMENTS_PER_TASK))
        .for_each(|((dy, gate), up)| {
            vectorized(|| {
                for ((dy, g), u) in dy.iter().zip(gate).zip(up) {
                    let s = sigmoid(*g);
                    let gate_gradient = dy * *u * s * (1.0 + *g * (1.0 - s));
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
        Operation {
            name: "SwiGLU",
            shapes: &[&[7, 19], &[7, 19]],
            forward: &|values| {
                let mut output = vec![f32::NAN; values[0].len()];
                forward(&mut output, &values[0], &values[1]);
                output
            },
            backward: &|values, dy| {
                let (mut gate, mut up) = (values[0].clone(), values[1].clone());
                backward(dy, &mut gate, &mut up);
                vec![gate, up]
            },
            plain: &|tensors| plain::swiglu(&tensors[0], &tensors[1]),
        }
        .check();
    }
}
