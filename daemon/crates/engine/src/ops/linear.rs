//! A frozen linear layer, with a low-rank update where it has one (LoRA, Hu et al. 2021).
//!
//! y = x·Wᵀ + s·drop(x)·Aᵀ·Bᵀ with x `[rows, inputs]`, W `[outputs, inputs]`, A `[rank, inputs]`, B `[outputs, rank]`.

use std::sync::Arc;

use super::buffers::BufferPool;
use super::dropout::Dropout;
use super::gemm::{Matrix, Store, multiply, multiply_rows};

/// A frozen matrix `[outputs, inputs]`.
#[derive(Clone, Copy)]
pub(crate) struct Frozen<'a> {
    /// The elements, row-major.
    pub(crate) weight: &'a [f32],
    /// The width of the input.
    pub(crate) inputs: usize,
    /// The width of the output.
    pub(crate) outputs: usize,
}

impl<'a> Frozen<'a> {
    fn matrix(&self) -> Matrix<'a> {
        Matrix::new(self.weight, self.outputs, self.inputs)
    }
}

/// The update of one linear layer.
#[derive(Clone, Copy)]
pub(crate) struct LowRank<'a> {
    /// A `[rank, inputs]`.
    pub(crate) a: &'a [f32],
    /// B `[outputs, rank]`.
    pub(crate) b: &'a [f32],
    /// The rank.
    pub(crate) rank: usize,
    /// s, which multiplies the update.
    pub(crate) scale: f32,
    /// Zeroes elements of the update's input.
    pub(crate) dropout: Option<Dropout>,
}

/// The gradients of an update.
pub(crate) struct LowRankGradient<'a> {
    /// dA `[rank, inputs]`, overwritten.
    pub(crate) a: &'a mut [f32],
    /// dB `[outputs, rank]`, overwritten.
    pub(crate) b: &'a mut [f32],
}

/// Computes the output `[rows, outputs]`, or adds it to what stands there.
pub(crate) fn forward(
    output: &mut [f32],
    store: Store,
    input: &[f32],
    frozen: Frozen<'_>,
    update: Option<&LowRank<'_>>,
    pool: &Arc<BufferPool>,
) {
    let rows = input.len() / frozen.inputs;
    multiply_rows(
        output,
        store,
        1.0,
        Matrix::new(input, rows, frozen.inputs),
        frozen.matrix().transposed(),
    );
    let Some(update) = update else { return };
    let masked = update.dropout.map(|dropout| {
        let mut masked = pool.take(rows, frozen.inputs);
        dropout.forward(&mut masked, input);
        masked
    });
    let narrow = narrow(
        masked.as_deref().unwrap_or(input),
        rows,
        frozen,
        update,
        pool,
    );
    let b = Matrix::new(update.b, frozen.outputs, update.rank);
    multiply_rows(
        output,
        Store::Add,
        update.scale,
        Matrix::new(&narrow, rows, update.rank),
        b.transposed(),
    );
}

/// Computes the gradients from that of the output, `output_gradient` `[rows, outputs]`.
///
/// `input_gradient` `[rows, inputs]` is overwritten or added to. `update` comes with the input that the forward took.
pub(crate) fn backward(
    input_gradient: &mut [f32],
    store: Store,
    output_gradient: &[f32],
    frozen: Frozen<'_>,
    update: Option<(&LowRank<'_>, LowRankGradient<'_>, &[f32])>,
    pool: &Arc<BufferPool>,
) {
    let rows = output_gradient.len() / frozen.outputs;
    let dy = Matrix::new(output_gradient, rows, frozen.outputs);
    multiply_rows(input_gradient, store, 1.0, dy, frozen.matrix());
    let Some((update, gradient, input)) = update else {
        return;
    };
    let rank = update.rank;

    // What lies between A and B, and its gradient: [rows, rank].
    let masked = update.dropout.map(|dropout| {
        let mut masked = pool.take(rows, frozen.inputs);
        dropout.forward(&mut masked, input);
        masked
    });
    let input = masked.as_deref().unwrap_or(input);
    let narrow = narrow(input, rows, frozen, update, pool);
    let mut narrow_gradient = pool.take(rows, rank);
    multiply_rows(
        &mut narrow_gradient,
        Store::Replace,
        update.scale,
        dy,
        Matrix::new(update.b, frozen.outputs, rank),
    );

    let x = Matrix::new(input, rows, frozen.inputs);
    let (u, du) = (
        Matrix::new(&narrow, rows, rank),
        Matrix::new(&narrow_gradient, rows, rank),
    );
    rayon::join(
        || multiply(gradient.a, Store::Replace, 1.0, du.transposed(), x),
        || multiply(gradient.b, Store::Replace, update.scale, dy.transposed(), u),
    );

    let a = Matrix::new(update.a, rank, frozen.inputs);
    match (update.dropout, masked) {
        (Some(dropout), Some(mut masked)) => {
            multiply_rows(&mut masked, Store::Replace, 1.0, du, a);
            dropout.backward_add(input_gradient, &masked);
        }
        _ => multiply_rows(input_gradient, Store::Add, 1.0, du, a),
    }
}

/// Computes x·Aᵀ, `[rows, rank]`.
fn narrow(
    input: &[f32],
    rows: usize,
    frozen: Frozen<'_>,
    update: &LowRank<'_>,
    pool: &Arc<BufferPool>,
) -> super::buffers::Buffer {
    let mut narrow = pool.take(rows, update.rank);
    let a = Matrix::new(update.a, update.rank, frozen.inputs);
    multiply_rows(
        &mut narrow,
        Store::Replace,
        1.0,
        Matrix::new(input, rows, frozen.inputs),
        a.transposed(),
    );
    narrow
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::plain;
    use crate::ops::testing::{Operation, numbers};

    fn check(rows: usize, dropout: Option<Dropout>) {
        let (inputs, outputs, rank, scale) = (20, 12, 3, 1.7);
        let weight = numbers(outputs * inputs, 1);
        let frozen = Frozen {
            weight: &weight,
            inputs,
            outputs,
        };
        let pool = BufferPool::new(rows);
        let update = |values: &[Vec<f32>]| (values[1].clone(), values[2].clone());
        Operation {
            name: "linear with a low-rank update",
            shapes: &[&[rows, inputs], &[rank, inputs], &[outputs, rank]],
            forward: &|values| {
                let (a, b) = update(values);
                let update = LowRank {
                    a: &a,
                    b: &b,
                    rank,
                    scale,
                    dropout,
                };
                let mut output = vec![f32::NAN; rows * outputs];
                forward(
                    &mut output,
                    Store::Replace,
                    &values[0],
                    frozen,
                    Some(&update),
                    &pool,
                );
                output
            },
            backward: &|values, dy| {
                let (a, b) = update(values);
                let update = LowRank {
                    a: &a,
                    b: &b,
                    rank,
                    scale,
                    dropout,
                };
                let (mut da, mut db) = (vec![f32::NAN; a.len()], vec![f32::NAN; b.len()]);
                let mut dx = vec![f32::NAN; rows * inputs];
                let gradient = LowRankGradient {
                    a: &mut da,
                    b: &mut db,
                };
                backward(
                    &mut dx,
                    Store::Replace,
                    dy,
                    frozen,
                    Some((&update, gradient, &values[0])),
                    &pool,
                );
                vec![dx, da, db]
            },
            plain: &|tensors| {
                let weight = candle_core::Tensor::from_slice(
                    &weight,
                    (outputs, inputs),
                    tensors[0].device(),
                )?;
                let update = plain::LowRank {
                    a: &tensors[1],
                    b: &tensors[2],
                    scale: f64::from(scale),
                    dropout,
                };
                plain::linear(&tensors[0], &weight, Some(&update))
            },
        }
        .check();
    }

    #[test]
    fn the_update_is_trained_and_the_weight_is_not() {
        check(7, None);
        check(70, None);
        check(7, Dropout::new(0.4, 77));
    }

    #[test]
    fn a_frozen_layer_alone_passes_the_gradient_on() {
        let (rows, inputs, outputs) = (9, 14, 10);
        let weight = numbers(outputs * inputs, 3);
        let frozen = Frozen {
            weight: &weight,
            inputs,
            outputs,
        };
        let pool = BufferPool::new(rows);
        Operation {
            name: "frozen linear",
            shapes: &[&[rows, inputs]],
            forward: &|values| {
                let mut output = vec![f32::NAN; rows * outputs];
                forward(&mut output, Store::Replace, &values[0], frozen, None, &pool);
                output
            },
            backward: &|_, dy| {
                let mut dx = vec![1f32; rows * inputs];
                backward(&mut dx, Store::Add, dy, frozen, None, &pool);
                vec![dx.iter().map(|x| x - 1.0).collect()]
            },
            plain: &|tensors| {
                let weight = candle_core::Tensor::from_slice(
                    &weight,
                    (outputs, inputs),
                    tensors[0].device(),
                )?;
                plain::linear(&tensors[0], &weight, None)
            },
        }
        .check();
    }
}
