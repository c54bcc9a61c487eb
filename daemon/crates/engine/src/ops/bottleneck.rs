//! A bottleneck adapter: U(z) = act(z · Dᵀ + d) · Uᵀ + u for z `[rows, hidden]`, D `[width, hidden]`, U `[hidden, width]` (Houlsby et
//! al. 2019).

use std::sync::Arc;

use rayon::prelude::*;

use super::buffers::{Buffer, BufferPool};
use super::gemm::{Matrix, Store, multiply, multiply_rows};
use super::linear::{add_to_rows, each_row, sum_columns};
use crate::methods::{BottleneckPlan, NonLinearity};

/// Numbers that one task takes through the activation.
const ELEMENTS_PER_TASK: usize = 1 << 14;

/// A bottleneck with the numbers of this step.
pub(crate) struct Bottleneck<'a> {
    plan: &'a BottleneckPlan,
    down: Matrix<'a>,
    down_bias: &'a [f32],
    up: Matrix<'a>,
    up_bias: &'a [f32],
    hidden: usize,
}

impl<'a> Bottleneck<'a> {
    /// Reads its numbers out of the slice of its decoder layer.
    pub(crate) fn new(plan: &'a BottleneckPlan, parameters: &'a [f32], hidden: usize) -> Self {
        let part = |range: &std::ops::Range<usize>| &parameters[range.clone()];
        Self {
            plan,
            down: Matrix::new(part(&plan.down), plan.width, hidden),
            down_bias: part(&plan.down_bias),
            up: Matrix::new(part(&plan.up), hidden, plan.width),
            up_bias: part(&plan.up_bias),
            hidden,
        }
    }

    /// Adds U(z) to `[rows, hidden]`.
    pub(crate) fn add(&self, to: &mut [f32], z: &[f32], pool: &Arc<BufferPool>) {
        let mut inner = self.inner(z, pool);
        self.activate(&mut inner);
        let rows = z.len() / self.hidden;
        let inner = Matrix::new(&inner, rows, self.plan.width);
        multiply_rows(to, Store::Add, 1.0, inner, self.up.transposed());
        add_to_rows(to, self.up_bias);
    }

    /// Adds z's gradient to `[rows, hidden]`, from that of what was added; those of the numbers are overwritten in `gradient`.
    pub(crate) fn backward(
        &self,
        z_gradient: &mut [f32],
        added_gradient: &[f32],
        z: &[f32],
        gradient: &mut [f32],
        pool: &Arc<BufferPool>,
    ) {
        let (rows, width) = (z.len() / self.hidden, self.plan.width);
        let before = self.inner(z, pool);
        let mut active = pool.take(rows, width);
        active.copy_from_slice(&before);
        self.activate(&mut active);
        let dy = Matrix::new(added_gradient, rows, self.hidden);
        let active = Matrix::new(&active, rows, width);
        multiply(
            &mut gradient[self.plan.up.clone()],
            Store::Replace,
            1.0,
            dy.transposed(),
            active,
        );
        sum_columns(&mut gradient[self.plan.up_bias.clone()], added_gradient);

        let mut inner_gradient = pool.take(rows, width);
        multiply_rows(&mut inner_gradient, Store::Replace, 1.0, dy, self.up);
        let non_linearity = self.plan.non_linearity;
        each_row(&mut inner_gradient, width, &before, |to, before| {
            let numbers = to.iter_mut().zip(before);
            numbers.for_each(|(to, x)| *to *= slope(non_linearity, *x));
        });
        let du = Matrix::new(&inner_gradient, rows, width);
        let x = Matrix::new(z, rows, self.hidden);
        multiply(
            &mut gradient[self.plan.down.clone()],
            Store::Replace,
            1.0,
            du.transposed(),
            x,
        );
        sum_columns(&mut gradient[self.plan.down_bias.clone()], &inner_gradient);
        multiply_rows(z_gradient, Store::Add, 1.0, du, self.down);
    }

    /// Computes what the activation takes, `[rows, width]`.
    fn inner(&self, z: &[f32], pool: &Arc<BufferPool>) -> Buffer {
        let rows = z.len() / self.hidden;
        let mut inner = pool.take(rows, self.plan.width);
        let x = Matrix::new(z, rows, self.hidden);
        multiply_rows(&mut inner, Store::Replace, 1.0, x, self.down.transposed());
        add_to_rows(&mut inner, self.down_bias);
        inner
    }

    fn activate(&self, inner: &mut [f32]) {
        let non_linearity = self.plan.non_linearity;
        inner.par_chunks_mut(ELEMENTS_PER_TASK).for_each(|part| {
            part.iter_mut()
                .for_each(|x| *x = activated(non_linearity, *x));
        });
    }
}

/// Applies the activation to a number.
pub(crate) fn activated(non_linearity: NonLinearity, x: f32) -> f32 {
    match non_linearity {
        NonLinearity::Relu => x.max(0.0),
        NonLinearity::Swish => x * sigmoid(x),
    }
}

fn slope(non_linearity: NonLinearity, x: f32) -> f32 {
    match non_linearity {
        NonLinearity::Relu => f32::from(u8::from(x > 0.0)),
        NonLinearity::Swish => {
            let sigmoid = sigmoid(x);
            sigmoid * (1.0 + x * (1.0 - sigmoid))
        }
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}
