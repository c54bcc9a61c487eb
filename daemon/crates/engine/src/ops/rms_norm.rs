//! RMSNorm (Zhang & Sennrich 2019): y = w · x / sqrt(mean(x²) + epsilon).

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::gemm::{Store, rows_per_task};
use super::storage::{Reading, slice};
use super::vector::{dot, vectorized};

/// Columns that one task sums.
const COLUMNS_PER_TASK: usize = 64;

/// Computes `output` `[rows, width]` from `input` `[rows, width]` and `weight` `[width]`.
pub(crate) fn forward(output: &mut [f32], input: &[f32], weight: &[f32], epsilon: f32) {
    let width = weight.len();
    let task = rows_per_task(input.len() / width) * width;
    output
        .par_chunks_mut(task)
        .zip(input.par_chunks(task))
        .for_each(|(output, input)| {
            vectorized(|| {
                for (y, x) in output
                    .chunks_exact_mut(width)
                    .zip(input.chunks_exact(width))
                {
                    let factor = inverse_norm(x, epsilon);
                    for ((y, x), w) in y.iter_mut().zip(x).zip(weight) {
                        *y = w * (x * factor);
                    }
                }
            });
        });
}

/// Computes the input's gradient `[rows, width]`, or adds it to what stands there.
pub(crate) fn backward(
    input_gradient: &mut [f32],
    store: Store,
    output_gradient: &[f32],
    input: &[f32],
    weight: &[f32],
    epsilon: f32,
) {
    let width = weight.len();
    let task = rows_per_task(input.len() / width) * width;
    let chunks = input_gradient
        .par_chunks_mut(task)
        .zip(output_gradient.par_chunks(task))
        .zip(input.par_chunks(task));
    chunks.for_each(|((dx, dy), x)| {
        let mut weighted = vec![0f32; width];
        vectorized(|| {
            let rows = dx
                .chunks_exact_mut(width)
                .zip(dy.chunks_exact(width))
                .zip(x.chunks_exact(width));
            for ((dx, dy), x) in rows {
                for ((g, dy), w) in weighted.iter_mut().zip(dy).zip(weight) {
                    *g = dy * w;
                }
                let factor = inverse_norm(x, epsilon);
                let along = dot(&weighted, x) * factor * factor * factor / width as f32;
                let kept = if store == Store::Add { 1.0 } else { 0.0 };
                if store == Store::Replace {
                    dx.fill(0.0);
                }
                for ((dx, g), x) in dx.iter_mut().zip(&weighted).zip(x) {
                    *dx = *dx * kept + (g * factor - x * along);
                }
            }
        });
    });
}

/// Computes the weight's gradient `[width]`: the sums of dy · x / sqrt(mean(x²) + epsilon) over the rows.
pub(crate) fn weight_gradient(
    gradient: &mut [f32],
    output_gradient: &[f32],
    input: &[f32],
    epsilon: f32,
) {
    let width = gradient.len();
    let factors: Vec<f32> = input
        .par_chunks_exact(width)
        .map(|x| vectorized(|| inverse_norm(x, epsilon)))
        .collect();
    let tasks = gradient.par_chunks_mut(COLUMNS_PER_TASK).enumerate();
    tasks.for_each(|(task, sums)| {
        let first = task * COLUMNS_PER_TASK;
        sums.fill(0.0);
        let rows = output_gradient
            .chunks_exact(width)
            .zip(input.chunks_exact(width));
        for ((dy, x), factor) in rows.zip(&factors) {
            let (dy, x) = (&dy[first..][..sums.len()], &x[first..][..sums.len()]);
            let columns = sums.iter_mut().zip(dy).zip(x);
            columns.for_each(|((sum, dy), x)| *sum += dy * x * factor);
        }
    });
}

/// Computes 1 / sqrt(mean(x²) + epsilon).
#[inline(always)]
fn inverse_norm(x: &[f32], epsilon: f32) -> f32 {
    1.0 / (dot(x, x) / x.len() as f32 + epsilon).sqrt()
}

/// RMSNorm as a candle operation on x `[rows, width]` f32.
pub(crate) struct RmsNorm {
    /// The frozen weight, `[width]` f32 on the CPU.
    pub(crate) weight: Tensor,
    /// What is added to the mean square.
    pub(crate) epsilon: f32,
}

impl CustomOp1 for RmsNorm {
    fn name(&self) -> &'static str {
        "frozen-rms-norm"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let input = slice(storage, layout)?;
        let weight = Reading::of(&self.weight);
        let mut output = vec![0f32; input.len()];
        forward(&mut output, input, weight.slice()?, self.epsilon);
        Ok((CpuStorage::F32(output), layout.shape().clone()))
    }

    fn bwd(
        &self,
        input: &Tensor,
        _output: &Tensor,
        output_gradient: &Tensor,
    ) -> Result<Option<Tensor>> {
        let output_gradient = output_gradient.contiguous()?;
        let (x, dy, weight) = (
            Reading::of(input),
            Reading::of(&output_gradient),
            Reading::of(&self.weight),
        );
        let mut dx = vec![0f32; input.elem_count()];
        backward(
            &mut dx,
            Store::Replace,
            dy.slice()?,
            x.slice()?,
            weight.slice()?,
            self.epsilon,
        );
        Tensor::from_vec(dx, input.shape(), input.device()).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::plain;
    use crate::ops::testing::{Operation, numbers};

    #[test]
    fn equals_the_plain_path_and_its_finite_differences() {
        let (rows, width) = (11, 20);
        let weight = numbers(width, 5);
        for store in [Store::Replace, Store::Add] {
            let base = if store == Store::Add { 0.5 } else { 0.0 };
            Operation {
                name: "rms norm",
                shapes: &[&[rows, width]],
                forward: &|values| {
                    let mut output = vec![f32::NAN; rows * width];
                    forward(&mut output, &values[0], &weight, 1e-5);
                    output
                },
                backward: &|values, dy| {
                    let mut dx =
                        vec![if store == Store::Add { base } else { f32::NAN }; rows * width];
                    backward(&mut dx, store, dy, &values[0], &weight, 1e-5);
                    vec![dx.iter().map(|x| x - base).collect()]
                },
                plain: &|tensors| {
                    let weight = Tensor::from_slice(&weight, width, tensors[0].device())?;
                    plain::rms_norm(&tensors[0], &weight, 1e-5)
                },
            }
            .check();
        }
    }

    #[test]
    fn the_candle_operation_has_a_gradient() {
        let (rows, width) = (5, 12);
        let weight = Tensor::from_vec(numbers(width, 6), width, &candle_core::Device::Cpu)
            .expect("a tensor");
        let fused = |x: &Tensor| {
            x.apply_op1(RmsNorm {
                weight: weight.clone(),
                epsilon: 1e-5,
            })
        };
        let plain = |x: &Tensor| plain::rms_norm(x, &weight, 1e-5);
        crate::ops::testing::assert_same_gradients(&[&[rows, width]], &|t| fused(&t[0]), &|t| {
            plain(&t[0])
        });
    }
}
