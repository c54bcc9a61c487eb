//! A linear layer with what a method trains about it ([`LinearPlan`]); its matrix is frozen, or trained itself.
//!
//! y = x·Wᵀ + b for x `[rows, inputs]`, W `[outputs, inputs]`, b `[outputs]`. Trained may be
//! a low-rank update s·drop(x)·Aᵀ·Bᵀ with A `[rank, inputs]` and B `[outputs, rank]` (LoRA, Hu et al. 2021),
//! the norms of the rows of W + s·B·A (DoRA, Liu et al. 2024), a factor of every column of x or of y (IA3, Liu et al. 2022),
//! W itself and b itself.

use std::sync::Arc;

use rayon::prelude::*;

use super::buffers::{Buffer, BufferPool};
use super::dropout::Dropout;
use super::gemm::{Matrix, Store, multiply, multiply_rows, rows_per_task};
use super::vector::{dot, vectorized};
use crate::methods::{LinearPlan, LowRankPlan};

/// Columns that one task sums: a cache line's worth and more, so that tasks do not share any.
const COLUMNS_PER_TASK: usize = 64;
/// Rows of a matrix whose norms one task takes.
const NORMS_PER_TASK: usize = 32;

/// A matrix `[outputs, inputs]`.
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

/// The matrices of a low-rank update.
struct LowRank<'a> {
    a: Matrix<'a>,
    b: Matrix<'a>,
    plan: &'a LowRankPlan,
}

impl<'a> LowRank<'a> {
    fn of(
        plan: &'a LinearPlan,
        parameters: &'a [f32],
        (inputs, outputs): (usize, usize),
    ) -> Option<Self> {
        let plan = plan.low_rank.as_ref()?;
        Some(Self {
            a: Matrix::new(&parameters[plan.a.clone()], plan.rank, inputs),
            b: Matrix::new(&parameters[plan.b.clone()], outputs, plan.rank),
            plan,
        })
    }
}

/// Computes the norms of the rows of a matrix `[outputs, inputs]` and its update.
pub(crate) fn row_norms(
    weight: &[f32],
    (inputs, outputs): (usize, usize),
    plan: &LinearPlan,
    parameters: &[f32],
) -> Vec<f32> {
    let update = LowRank::of(plan, parameters, (inputs, outputs));
    let mut norms = vec![0f32; outputs];
    let tasks = norms.par_chunks_mut(NORMS_PER_TASK).enumerate();
    tasks.for_each(|(task, norms)| {
        let first = task * NORMS_PER_TASK;
        let mut rows = weight[first * inputs..][..norms.len() * inputs].to_vec();
        if let Some(LowRank { a, b, plan }) = &update {
            let b = b.row_range(first, norms.len());
            multiply(&mut rows, Store::Add, plan.scale, b, *a);
        }
        for (norm, row) in norms.iter_mut().zip(rows.chunks_exact(inputs)) {
            *norm = vectorized(|| dot(row, row)).sqrt();
        }
    });
    norms
}

/// A layer with the numbers of this step.
pub(crate) struct Linear<'a> {
    frozen: Frozen<'a>,
    /// The frozen bias, or the trained one.
    bias: Option<&'a [f32]>,
    plan: &'a LinearPlan,
    /// The slice of the decoder layer.
    parameters: &'a [f32],
    dropout: Option<Dropout>,
    /// The norms of the rows of W and its update, where magnitudes are trained. The gradient takes them for constants
    /// (section 4.3 of DoRA's paper).
    row_norms: Option<Vec<f32>>,
}

impl<'a> Linear<'a> {
    /// Reads the layer's numbers out of the slice of its decoder layer.
    pub(crate) fn new(
        frozen: Frozen<'a>,
        bias: Option<&'a [f32]>,
        plan: &'a LinearPlan,
        parameters: &'a [f32],
        dropout: Option<Dropout>,
    ) -> Self {
        let trained = plan.bias.clone().map(|range| &parameters[range]);
        let widths = (frozen.inputs, frozen.outputs);
        let is_decomposed = plan.magnitude.is_some();
        let row_norms = is_decomposed.then(|| row_norms(frozen.weight, widths, plan, parameters));
        Self {
            frozen,
            bias: trained.or(bias),
            plan,
            parameters,
            dropout,
            row_norms,
        }
    }

    /// Tells whether the backward needs what the forward took.
    pub(crate) fn reads_input(&self) -> bool {
        self.plan.reads_input()
    }

    /// Computes the output `[rows, outputs]`, or adds it to what stands there.
    pub(crate) fn forward(
        &self,
        output: &mut [f32],
        store: Store,
        input: &[f32],
        pool: &Arc<BufferPool>,
    ) {
        let scaled = self.scaled_input(input, pool);
        let input = scaled.as_deref().unwrap_or(input);
        if !self.plan.scales_output() {
            self.product(output, store, input, pool);
            self.add_bias(output);
            return;
        }
        match store {
            Store::Replace => self.scaled_product(output, input, pool),
            Store::Add => {
                let rows = input.len() / self.frozen.inputs;
                let mut product = pool.take(rows, self.frozen.outputs);
                self.scaled_product(&mut product, input, pool);
                each_row(output, self.frozen.outputs, &product, |y, product| {
                    y.iter_mut().zip(product).for_each(|(y, x)| *y += x);
                });
            }
        }
    }

    /// Computes the gradients from that of the output, `output_gradient` `[rows, outputs]`.
    ///
    /// `input_gradient` `[rows, inputs]` is overwritten or added to; those of the trained numbers are overwritten in `gradient`,
    /// laid out as the decoder layer's slice. `input` is what the forward took; it is read where [`Self::reads_input`].
    pub(crate) fn backward(
        &self,
        input_gradient: &mut [f32],
        store: Store,
        output_gradient: &[f32],
        input: &[f32],
        gradient: &mut [f32],
        pool: &Arc<BufferPool>,
    ) {
        let Frozen {
            inputs, outputs, ..
        } = self.frozen;
        let rows = output_gradient.len() / outputs;
        let scaled = match self.reads_input() {
            true => self.scaled_input(input, pool),
            false => None,
        };
        let taken = scaled.as_deref().unwrap_or(input);

        let product_gradient = self.plan.scales_output().then(|| {
            let mut product = pool.take(rows, outputs);
            self.product(&mut product, Store::Replace, taken, pool);
            if let Some(range) = self.plan.output_scale.clone() {
                self.add_bias(&mut product);
                sum_products(&mut gradient[range], output_gradient, &product);
            }
            if let (Some(range), Some(norms)) = (self.plan.magnitude.clone(), &self.row_norms) {
                let magnitudes = &mut gradient[range];
                sum_products(magnitudes, output_gradient, &product);
                magnitudes
                    .iter_mut()
                    .zip(norms)
                    .for_each(|(m, norm)| *m /= norm);
            }
            let factors = self.output_factors();
            each_row(&mut product, outputs, output_gradient, |to, dy| {
                let columns = to.iter_mut().zip(dy).zip(&factors);
                columns.for_each(|((to, dy), factor)| *to = dy * factor);
            });
            product
        });
        let dy = product_gradient.as_deref().unwrap_or(output_gradient);
        if let Some(range) = self.plan.bias.clone() {
            // DoRA leaves the bias outside of its factors.
            let of_bias = match self.plan.output_scale {
                Some(_) => dy,
                None => output_gradient,
            };
            sum_columns(&mut gradient[range], of_bias);
        }

        let Some(range) = self.plan.input_scale.clone() else {
            self.product_backward(input_gradient, store, dy, taken, gradient, pool);
            return;
        };
        let mut taken_gradient = pool.take(rows, inputs);
        self.product_backward(
            &mut taken_gradient,
            Store::Replace,
            dy,
            taken,
            gradient,
            pool,
        );
        sum_products(&mut gradient[range.clone()], &taken_gradient, input);
        let factors = &self.parameters[range];
        each_row(input_gradient, inputs, &taken_gradient, |dx, taken| {
            let columns = dx.iter_mut().zip(taken).zip(factors);
            match store {
                Store::Replace => columns.for_each(|((dx, taken), factor)| *dx = taken * factor),
                Store::Add => columns.for_each(|((dx, taken), factor)| *dx += taken * factor),
            }
        });
    }

    fn low_rank(&self) -> Option<LowRank<'_>> {
        let widths = (self.frozen.inputs, self.frozen.outputs);
        LowRank::of(self.plan, self.parameters, widths)
    }

    /// Multiplies the columns of the input, where that is trained.
    fn scaled_input(&self, input: &[f32], pool: &Arc<BufferPool>) -> Option<Buffer> {
        let factors = &self.parameters[self.plan.input_scale.clone()?];
        let inputs = self.frozen.inputs;
        let mut scaled = pool.take(input.len() / inputs, inputs);
        each_row(&mut scaled, inputs, input, |to, x| {
            let columns = to.iter_mut().zip(x).zip(factors);
            columns.for_each(|((to, x), factor)| *to = x * factor);
        });
        Some(scaled)
    }

    fn add_bias(&self, output: &mut [f32]) {
        if let Some(bias) = self.bias {
            add_to_rows(output, bias);
        }
    }

    /// Computes what the output is multiplied by, a column each.
    fn output_factors(&self) -> Vec<f32> {
        match (
            &self.plan.output_scale,
            &self.plan.magnitude,
            &self.row_norms,
        ) {
            (Some(scale), ..) => self.parameters[scale.clone()].to_vec(),
            (None, Some(magnitude), Some(norms)) => {
                let magnitudes = self.parameters[magnitude.clone()].iter();
                magnitudes.zip(norms).map(|(m, norm)| m / norm).collect()
            }
            _ => vec![1.0; self.frozen.outputs],
        }
    }

    /// Computes the whole output where it is multiplied.
    fn scaled_product(&self, output: &mut [f32], input: &[f32], pool: &Arc<BufferPool>) {
        let is_bias_scaled = self.plan.output_scale.is_some();
        self.product(output, Store::Replace, input, pool);
        if is_bias_scaled {
            self.add_bias(output);
        }
        let factors = self.output_factors();
        let task = rows_per_task(output.len() / factors.len()) * factors.len();
        output.par_chunks_mut(task).for_each(|rows| {
            for row in rows.chunks_exact_mut(factors.len()) {
                row.iter_mut().zip(&factors).for_each(|(y, f)| *y *= f);
            }
        });
        if !is_bias_scaled {
            self.add_bias(output);
        }
    }

    /// Computes x·Wᵀ with its update.
    fn product(&self, output: &mut [f32], store: Store, input: &[f32], pool: &Arc<BufferPool>) {
        let rows = input.len() / self.frozen.inputs;
        let x = Matrix::new(input, rows, self.frozen.inputs);
        multiply_rows(output, store, 1.0, x, self.frozen.matrix().transposed());
        let Some(update) = self.low_rank() else {
            return;
        };
        let masked = self.masked(input, pool);
        let narrow = narrow(masked.as_deref().unwrap_or(input), rows, &update, pool);
        multiply_rows(
            output,
            Store::Add,
            update.plan.scale,
            Matrix::new(&narrow, rows, update.plan.rank),
            update.b.transposed(),
        );
    }

    /// Computes the gradients of [`Self::product`].
    fn product_backward(
        &self,
        input_gradient: &mut [f32],
        store: Store,
        output_gradient: &[f32],
        input: &[f32],
        gradient: &mut [f32],
        pool: &Arc<BufferPool>,
    ) {
        let Frozen {
            inputs, outputs, ..
        } = self.frozen;
        let rows = output_gradient.len() / outputs;
        let dy = Matrix::new(output_gradient, rows, outputs);
        multiply_rows(input_gradient, store, 1.0, dy, self.frozen.matrix());
        if let Some(range) = self.plan.weight.clone() {
            let x = Matrix::new(input, rows, inputs);
            let weight = &mut gradient[range];
            multiply(weight, Store::Replace, 1.0, dy.transposed(), x);
        }
        let Some(update) = self.low_rank() else {
            return;
        };
        let LowRankPlan {
            a, b, rank, scale, ..
        } = update.plan;

        // What lies between A and B, and its gradient: [rows, rank].
        let masked = self.masked(input, pool);
        let input = masked.as_deref().unwrap_or(input);
        let narrow = narrow(input, rows, &update, pool);
        let mut narrow_gradient = pool.take(rows, *rank);
        multiply_rows(&mut narrow_gradient, Store::Replace, *scale, dy, update.b);

        let x = Matrix::new(input, rows, inputs);
        let u = Matrix::new(&narrow, rows, *rank);
        let du = Matrix::new(&narrow_gradient, rows, *rank);
        let (da, db) = gradient[a.start..b.end].split_at_mut(a.len());
        rayon::join(
            || multiply(da, Store::Replace, 1.0, du.transposed(), x),
            || multiply(db, Store::Replace, *scale, dy.transposed(), u),
        );

        match (self.dropout, masked) {
            (Some(dropout), Some(mut masked)) => {
                multiply_rows(&mut masked, Store::Replace, 1.0, du, update.a);
                dropout.backward_add(input_gradient, &masked);
            }
            _ => multiply_rows(input_gradient, Store::Add, 1.0, du, update.a),
        }
    }

    fn masked(&self, input: &[f32], pool: &Arc<BufferPool>) -> Option<Buffer> {
        let dropout = self.dropout?;
        let inputs = self.frozen.inputs;
        let mut masked = pool.take(input.len() / inputs, inputs);
        dropout.forward(&mut masked, input);
        Some(masked)
    }
}

/// Computes x·Aᵀ, `[rows, rank]`.
fn narrow(input: &[f32], rows: usize, update: &LowRank<'_>, pool: &Arc<BufferPool>) -> Buffer {
    let mut narrow = pool.take(rows, update.plan.rank);
    let x = Matrix::new(input, rows, update.a.columns());
    multiply_rows(&mut narrow, Store::Replace, 1.0, x, update.a.transposed());
    narrow
}

/// Adds a vector to every row of a matrix.
pub(super) fn add_to_rows(rows: &mut [f32], vector: &[f32]) {
    let width = vector.len();
    let task = rows_per_task(rows.len() / width) * width;
    rows.par_chunks_mut(task).for_each(|rows| {
        for row in rows.chunks_exact_mut(width) {
            row.iter_mut().zip(vector).for_each(|(y, x)| *y += x);
        }
    });
}

/// Does `work` for every row of one matrix and of another of the same width.
pub(super) fn each_row(
    to: &mut [f32],
    width: usize,
    from: &[f32],
    work: impl Fn(&mut [f32], &[f32]) + Sync,
) {
    let task = rows_per_task(to.len() / width) * width;
    let tasks = to.par_chunks_mut(task).zip(from.par_chunks(task));
    tasks.for_each(|(to, from)| {
        vectorized(|| {
            let rows = to.chunks_exact_mut(width).zip(from.chunks_exact(width));
            rows.for_each(|(to, from)| work(to, from));
        });
    });
}

/// Sums every column of a matrix.
pub(super) fn sum_columns(sums: &mut [f32], rows: &[f32]) {
    let width = sums.len();
    let tasks = sums.par_chunks_mut(COLUMNS_PER_TASK).enumerate();
    tasks.for_each(|(task, sums)| {
        let first = task * COLUMNS_PER_TASK;
        sums.fill(0.0);
        for row in rows.chunks_exact(width) {
            let part = &row[first..][..sums.len()];
            sums.iter_mut().zip(part).for_each(|(sum, x)| *sum += x);
        }
    });
}

/// Sums every column of the elementwise product of two matrices.
fn sum_products(sums: &mut [f32], a: &[f32], b: &[f32]) {
    let width = sums.len();
    let tasks = sums.par_chunks_mut(COLUMNS_PER_TASK).enumerate();
    tasks.for_each(|(task, sums)| {
        let first = task * COLUMNS_PER_TASK;
        sums.fill(0.0);
        for (a, b) in a.chunks_exact(width).zip(b.chunks_exact(width)) {
            let (a, b) = (&a[first..][..sums.len()], &b[first..][..sums.len()]);
            let columns = sums.iter_mut().zip(a).zip(b);
            columns.for_each(|((sum, a), b)| *sum += a * b);
        }
    });
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use candle_core::{Device, Tensor};

    use super::*;
    use crate::ops::plain;
    use crate::ops::testing::{Operation, numbers};

    const INPUTS: usize = 20;
    const OUTPUTS: usize = 12;
    const RANK: usize = 3;

    /// Lays out the named parts one after the other.
    fn plan(parts: &[&str]) -> (LinearPlan, usize) {
        let mut plan = LinearPlan::default();
        let mut end = 0;
        let mut next = |length: usize| -> Range<usize> {
            end += length;
            end - length..end
        };
        for part in parts {
            match *part {
                "low rank" => {
                    plan.low_rank = Some(LowRankPlan {
                        a: next(RANK * INPUTS),
                        b: next(OUTPUTS * RANK),
                        rank: RANK,
                        scale: 1.7,
                        dropout: 0.0,
                    });
                }
                "magnitude" => plan.magnitude = Some(next(OUTPUTS)),
                "output scale" => plan.output_scale = Some(next(OUTPUTS)),
                "input scale" => plan.input_scale = Some(next(INPUTS)),
                "bias" => plan.bias = Some(next(OUTPUTS)),
                other => panic!("{other}"),
            }
        }
        (plan, end)
    }

    fn check(rows: usize, parts: &[&str], dropout: Option<Dropout>, bias: bool, store: Store) {
        let weight = numbers(OUTPUTS * INPUTS, 1);
        let frozen = Frozen {
            weight: &weight,
            inputs: INPUTS,
            outputs: OUTPUTS,
        };
        let bias = bias.then(|| numbers(OUTPUTS, 9));
        let pool = BufferPool::new(rows);
        let (plan, parameters) = plan(parts);
        // The norms that a gradient takes for constants are constants here.
        let norms = std::cell::OnceCell::new();
        let linear = |parameters: &[f32], run: &dyn Fn(&Linear<'_>)| {
            let mut linear = Linear::new(frozen, bias.as_deref(), &plan, parameters, dropout);
            if let Some(of_these) = linear.row_norms.take() {
                linear.row_norms = Some(norms.get_or_init(|| of_these).clone());
            }
            run(&linear);
        };
        let shapes: [&[usize]; 2] = [&[rows, INPUTS], &[parameters]];
        let count = match parameters {
            0 => 1,
            _ => 2,
        };
        let slice = |values: &[Vec<f32>]| values.get(1).cloned().unwrap_or_default();
        Operation {
            name: &format!("linear with {parts:?}"),
            shapes: &shapes[..count],
            forward: &|values| {
                let output = std::cell::RefCell::new(match store {
                    Store::Replace => vec![f32::NAN; rows * OUTPUTS],
                    Store::Add => vec![0.0; rows * OUTPUTS],
                });
                linear(&slice(values), &|linear| {
                    linear.forward(&mut output.borrow_mut(), store, &values[0], &pool);
                });
                output.into_inner()
            },
            backward: &|values, dy| {
                let gradients = std::cell::RefCell::new((
                    match store {
                        Store::Replace => vec![f32::NAN; rows * INPUTS],
                        Store::Add => vec![1.0; rows * INPUTS],
                    },
                    vec![f32::NAN; parameters],
                ));
                linear(&slice(values), &|linear| {
                    let (dx, gradient) = &mut *gradients.borrow_mut();
                    linear.backward(dx, store, dy, &values[0], gradient, &pool);
                });
                let (mut dx, gradient) = gradients.into_inner();
                if store == Store::Add {
                    dx.iter_mut().for_each(|x| *x -= 1.0);
                }
                match parameters {
                    0 => vec![dx],
                    _ => vec![dx, gradient],
                }
            },
            plain: &|tensors| {
                let device = Device::Cpu;
                let weight = Tensor::from_slice(&weight, (OUTPUTS, INPUTS), &device)?;
                let bias = bias.as_deref();
                let bias = bias.map(|bias| Tensor::from_slice(bias, OUTPUTS, &device));
                let bias = bias.transpose()?;
                let none = Tensor::zeros(0, candle_core::DType::F32, &device)?;
                let parameters = tensors.get(1).unwrap_or(&none);
                plain::linear(
                    &tensors[0],
                    &weight,
                    bias.as_ref(),
                    &plan,
                    parameters,
                    dropout,
                )
            },
        }
        .check();
    }

    #[test]
    fn the_update_is_trained_and_the_weight_is_not() {
        check(7, &["low rank"], None, false, Store::Replace);
        check(70, &["low rank"], None, true, Store::Add);
        let dropout = Dropout::new(0.4, 77);
        check(7, &["low rank"], dropout, false, Store::Replace);
    }

    #[test]
    fn a_frozen_layer_alone_passes_the_gradient_on() {
        check(9, &[], None, false, Store::Add);
        check(9, &[], None, true, Store::Replace);
    }

    #[test]
    fn so_are_magnitudes_factors_and_biases() {
        for store in [Store::Replace, Store::Add] {
            for bias in [false, true] {
                check(7, &["low rank", "magnitude"], None, bias, store);
                check(70, &["output scale"], None, bias, store);
                check(7, &["input scale"], None, bias, store);
            }
            check(7, &["bias"], None, true, store);
            check(7, &["low rank", "bias"], None, true, store);
            check(70, &["low rank", "magnitude", "bias"], None, true, store);
            check(7, &["output scale", "bias"], None, true, store);
        }
        let dropout = Dropout::new(0.4, 77);
        check(7, &["low rank", "magnitude"], dropout, true, Store::Replace);
    }
}
