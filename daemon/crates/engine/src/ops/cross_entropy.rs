//! The output matrix and the cross-entropy in one, which holds the logits of a few positions at a time and computes
//! none that carries no loss.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, Error, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::buffers::BufferPool;
use super::gemm::{Matrix, Store, multiply};
use super::storage::{Reading, slice};
use super::vector::{exp_sum, max, scale, vectorized};

/// Positions whose logits one thread holds at a time: enough to make reading the whole matrix for them cheap.
pub(crate) const MAX_POSITIONS_PER_CHUNK: usize = 128;

/// The positions that carry loss.
#[derive(Clone, Debug, Default)]
pub(crate) struct Targets {
    /// The rows of the batch whose next token is part of a response.
    pub(crate) rows: Vec<u32>,
    /// Those next tokens.
    pub(crate) tokens: Vec<u32>,
}

/// The mean cross-entropy in nats of softmax(x·Wᵀ), as a candle operation on x `[tokens, width]` f32; gives a scalar.
///
/// The gradient is computed with the loss, while the logits are there.
pub(crate) struct LinearCrossEntropy {
    /// W `[vocabulary, width]` f32 on the CPU, frozen.
    head: Tensor,
    targets: Arc<Targets>,
    pool: Arc<BufferPool>,
    /// dx of the rows in `targets`, `[positions, width]`, from the forward until the backward takes it.
    gradient: Mutex<Option<Vec<f32>>>,
}

impl LinearCrossEntropy {
    /// Makes the operation for one batch.
    pub(crate) fn new(head: Tensor, targets: Arc<Targets>, pool: Arc<BufferPool>) -> Self {
        Self {
            head,
            targets,
            pool,
            gradient: Mutex::new(None),
        }
    }

    /// Computes the summed loss of some positions and their rows' gradient of the mean over `positions`.
    ///
    /// `gradient` `[rows, width]` comes in as the rows' inputs.
    fn chunk(
        &self,
        gradient: &mut [f32],
        tokens: &[u32],
        head: Matrix<'_>,
        vocabulary: usize,
        positions: usize,
    ) -> f64 {
        let (rows, width) = (tokens.len(), gradient.len() / tokens.len());
        let mut logits = self
            .pool
            .take_within(MAX_POSITIONS_PER_CHUNK * vocabulary, rows * vocabulary);
        multiply(
            &mut logits,
            Store::Replace,
            1.0,
            Matrix::new(gradient, rows, width),
            head.transposed(),
        );
        let mut loss = 0f64;
        vectorized(|| {
            for (logits, token) in logits.chunks_exact_mut(vocabulary).zip(tokens) {
                let token = *token as usize;
                let highest = max(logits);
                let chosen = logits[token];
                let sum = exp_sum(logits, 1.0, highest);
                loss += f64::from(sum).ln() + f64::from(highest) - f64::from(chosen);
                scale(logits, 1.0 / sum);
                logits[token] -= 1.0;
            }
        });
        multiply(
            gradient,
            Store::Replace,
            1.0 / positions as f32,
            Matrix::new(&logits, rows, vocabulary),
            head,
        );
        loss
    }
}

impl CustomOp1 for LinearCrossEntropy {
    fn name(&self) -> &'static str {
        "linear-cross-entropy"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let input = slice(storage, layout)?;
        let (vocabulary, width) = self.head.dims2()?;
        let positions = self.targets.rows.len();
        let in_range = self
            .targets
            .rows
            .iter()
            .all(|row| (*row as usize) < input.len() / width)
            && self
                .targets
                .tokens
                .iter()
                .all(|token| (*token as usize) < vocabulary);
        if positions == 0 || positions != self.targets.tokens.len() || !in_range {
            return Err(Error::msg(format!(
                "{positions} positions of {:?} against a vocabulary of {vocabulary}",
                layout.shape()
            )));
        }
        let head = Reading::of(&self.head);
        let head = Matrix::new(head.slice()?, vocabulary, width);
        let mut gradient = vec![0f32; positions * width];
        for (to, row) in gradient.chunks_exact_mut(width).zip(&self.targets.rows) {
            to.copy_from_slice(&input[*row as usize * width..][..width]);
        }
        let per_chunk = positions_per_chunk(positions);
        let chunks = gradient
            .par_chunks_mut(per_chunk * width)
            .zip(self.targets.tokens.par_chunks(per_chunk));
        // Collected first, so that the sum is taken in order.
        let losses: Vec<f64> = chunks
            .map(|(gradient, tokens)| self.chunk(gradient, tokens, head, vocabulary, positions))
            .collect();
        let loss = losses.iter().sum::<f64>() / positions as f64;
        *self.gradient.lock().unwrap_or_else(PoisonError::into_inner) = Some(gradient);
        Ok((CpuStorage::F32(vec![loss as f32]), Shape::from(())))
    }

    fn bwd(
        &self,
        input: &Tensor,
        _loss: &Tensor,
        loss_gradient: &Tensor,
    ) -> Result<Option<Tensor>> {
        let gradient = self
            .gradient
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let gradient =
            gradient.ok_or_else(|| Error::msg("linear-cross-entropy: a second backward"))?;
        let factor = loss_gradient.to_scalar::<f32>()?;
        let width = input.dim(1)?;
        let mut dx = vec![0f32; input.elem_count()];
        for (from, row) in gradient.chunks_exact(width).zip(&self.targets.rows) {
            for (dx, g) in dx[*row as usize * width..][..width].iter_mut().zip(from) {
                *dx += g * factor;
            }
        }
        Tensor::from_vec(dx, input.shape(), input.device()).map(Some)
    }
}

/// Splits positions evenly into as many chunks as there are threads, or a multiple of that.
fn positions_per_chunk(positions: usize) -> usize {
    let threads = rayon::current_num_threads();
    positions.div_ceil(threads * positions.div_ceil(threads * MAX_POSITIONS_PER_CHUNK))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::plain;
    use crate::ops::testing::{assert_same_gradients, numbers};

    fn check(tokens: usize, rows: Vec<u32>) {
        let (vocabulary, width) = (37, 12);
        let device = candle_core::Device::Cpu;
        let head = Tensor::from_vec(numbers(vocabulary * width, 8), (vocabulary, width), &device)
            .expect("a tensor");
        let targets = Targets {
            tokens: rows.iter().map(|row| row * 5 % vocabulary as u32).collect(),
            rows,
        };
        let pool = BufferPool::new(tokens);
        let (row_tensor, token_tensor) = (
            Tensor::new(&targets.rows[..], &device).expect("rows"),
            Tensor::new(&targets.tokens[..], &device).expect("tokens"),
        );
        let targets = Arc::new(targets);
        let fused = |x: &[Tensor]| {
            // A factor that the backward must carry on.
            x[0].apply_op1(LinearCrossEntropy::new(
                head.clone(),
                targets.clone(),
                pool.clone(),
            ))? * 2.5
        };
        let plain =
            |x: &[Tensor]| plain::cross_entropy(&x[0], &head, &row_tensor, &token_tensor)? * 2.5;
        assert_same_gradients(&[&[tokens, width]], &fused, &plain);
    }

    #[test]
    fn equals_the_plain_path_and_its_finite_differences() {
        check(9, vec![0, 3, 4, 8]);
        check(4, vec![2]);
        // Several chunks a thread.
        check(
            2 * MAX_POSITIONS_PER_CHUNK * rayon::current_num_threads(),
            (0..MAX_POSITIONS_PER_CHUNK as u32 + 7).collect(),
        );
    }

    #[test]
    fn a_target_outside_the_vocabulary_is_refused() {
        let device = candle_core::Device::Cpu;
        let head = Tensor::zeros((3, 2), candle_core::DType::F32, &device).expect("a tensor");
        let x = Tensor::zeros((4, 2), candle_core::DType::F32, &device).expect("a tensor");
        let loss = |rows: &[u32], tokens: &[u32]| {
            let targets = Targets {
                rows: rows.to_vec(),
                tokens: tokens.to_vec(),
            };
            x.apply_op1(LinearCrossEntropy::new(
                head.clone(),
                Arc::new(targets),
                BufferPool::new(4),
            ))
        };
        assert!(loss(&[3], &[2]).is_ok());
        assert!(loss(&[3], &[3]).is_err());
        assert!(loss(&[4], &[2]).is_err());
        assert!(loss(&[], &[]).is_err());
    }
}
