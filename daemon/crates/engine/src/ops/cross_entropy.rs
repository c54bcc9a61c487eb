//! The output matrix and the cross-entropy in one, which holds the logits of a few positions over a part of the vocabulary
//! at a time, and computes none that carries no loss.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Error, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::buffers::{Buffer, BufferPool};
use super::gemm::{Matrix, Store, multiply};
use super::pause::Pause;
use super::storage::{Reading, slice};
use super::vector::{dot, exp, exp_sum, max, scale, vectorized};
use crate::models::base::{BaseMatrix, MatrixReading};

/// Positions that one thread takes at a time: enough to make reading the whole matrix for them cheap.
const MAX_POSITIONS_PER_CHUNK: usize = 256;
/// The part of the vocabulary that is taken at a time: its logits stay in a core's caches between the two products.
pub(crate) const VOCABULARY_PER_BLOCK: usize = 8192;

/// Rows of a trained matrix whose gradient one task computes, and positions that it takes at a time.
const TOKENS_PER_TASK: usize = 512;
const POSITIONS_AT_ONCE: usize = 256;

/// Columns whose mean one task takes.
const COLUMNS_PER_TASK: usize = 64;

/// Tells how many logits one thread holds at a time.
pub(crate) fn max_logits(vocabulary: usize) -> usize {
    MAX_POSITIONS_PER_CHUNK * vocabulary.min(VOCABULARY_PER_BLOCK)
}

/// The positions that carry loss.
#[derive(Clone, Debug, Default)]
pub(crate) struct Targets {
    /// The rows of the batch that something is learnt by.
    pub(crate) rows: Vec<u32>,
    /// The next token of each, or its label's number.
    pub(crate) tokens: Vec<u32>,
}

/// The mean cross-entropy in nats of softmax(x·Wᵀ), as a candle operation on x `[tokens, width]` f32; gives a scalar.
///
/// The gradient is computed with the loss, while the logits are there.
pub(crate) struct LinearCrossEntropy {
    /// W `[vocabulary, width]`, frozen.
    head: BaseMatrix,
    targets: Arc<Targets>,
    /// The share of every target that is spread over the whole vocabulary (Szegedy et al. 2016).
    smoothing: f32,
    pool: Arc<BufferPool>,
    /// Whenever every thread is through with a block.
    pause: Pause,
    /// From the forward until the backward takes it.
    kept: Mutex<Option<Kept>>,
}

/// What the backward needs.
struct Kept {
    /// dx of the rows in `targets`, `[positions, width]`.
    gradient: Vec<f32>,
    /// The logarithm of the summed exponentials of each position's logits.
    log_sums: Vec<f32>,
}

impl LinearCrossEntropy {
    /// Makes the operation for one batch.
    pub(crate) fn new(
        head: BaseMatrix,
        targets: Arc<Targets>,
        smoothing: f32,
        pool: Arc<BufferPool>,
        pause: Pause,
    ) -> Self {
        Self {
            head,
            targets,
            smoothing,
            pool,
            pause,
            kept: Mutex::new(None),
        }
    }

    /// Takes a chunk of positions on by a block of the vocabulary, which begins with token `first`.
    ///
    /// Softmax as it comes (Milakov and Gimelshein 2018): sums and gradients count from the highest logit so far.
    fn block(&self, chunk: &mut Chunk<'_>, first: usize, block: Matrix<'_>, capacity: usize) {
        let (rows, width, tokens) = (chunk.rows.len(), block.columns(), block.rows());
        let mut logits = self.pool.take_within(capacity, rows * tokens);
        let inputs = Matrix::new(&chunk.inputs, rows, width);
        multiply(&mut logits, Store::Replace, 1.0, inputs, block.transposed());
        vectorized(|| {
            let gradients = chunk.gradient.chunks_exact_mut(width);
            let of_rows = logits.chunks_exact_mut(tokens).zip(gradients);
            for ((logits, gradient), row) in of_rows.zip(&mut chunk.rows) {
                if let Some(chosen) = row.token.checked_sub(first).and_then(|at| logits.get(at)) {
                    row.chosen = *chosen;
                }
                let highest = max(logits);
                if highest > row.highest {
                    let factor = (row.highest - highest).exp();
                    row.highest = highest;
                    row.sum *= factor;
                    scale(gradient, factor);
                }
                row.sum += exp_sum(logits, 1.0, row.highest);
            }
        });
        let logits = Matrix::new(&logits, rows, tokens);
        multiply(chunk.gradient, Store::Add, 1.0, logits, block);
    }
}

/// Splits the vocabulary into blocks.
fn blocks(vocabulary: usize) -> impl Iterator<Item = Range<usize>> {
    let firsts = (0..vocabulary).step_by(VOCABULARY_PER_BLOCK);
    firsts.map(move |first| first..vocabulary.min(first + VOCABULARY_PER_BLOCK))
}

/// The part of the targets that is spread.
struct Smoothing {
    /// How much of a target.
    share: f32,
    /// The mean of the matrix's rows, `[width]`.
    mean: Vec<f32>,
}

impl Smoothing {
    /// Takes the mean; none where nothing is spread.
    fn new(
        share: f32,
        head: &MatrixReading<'_>,
        (vocabulary, width): (usize, usize),
    ) -> Result<Option<Self>> {
        if share == 0.0 {
            return Ok(None);
        }
        let mut sums = vec![0f64; width];
        for block in blocks(vocabulary) {
            let rows = head.rows(block)?;
            let tasks = sums.par_chunks_mut(COLUMNS_PER_TASK).enumerate();
            tasks.for_each(|(task, sums)| {
                for row in rows.chunks_exact(width) {
                    let part = &row[task * COLUMNS_PER_TASK..][..sums.len()];
                    let columns = sums.iter_mut().zip(part);
                    columns.for_each(|(sum, x)| *sum += f64::from(*x));
                }
            });
        }
        let mean = sums.iter().map(|sum| (sum / vocabulary as f64) as f32);
        Ok(Some(Self {
            share,
            mean: mean.collect(),
        }))
    }
}

/// Some positions on their way through the vocabulary.
struct Chunk<'a> {
    /// `[rows, width]`.
    inputs: Buffer,
    /// `[rows, width]`.
    gradient: &'a mut [f32],
    rows: Vec<Row>,
}

/// What is known of a position's logits so far.
struct Row {
    token: usize,
    chosen: f32,
    highest: f32,
    /// Of exp(logit - highest).
    sum: f32,
}

impl Row {
    fn new(token: u32) -> Self {
        Self {
            token: token as usize,
            chosen: 0.0,
            highest: f32::NEG_INFINITY,
            sum: 0.0,
        }
    }
}

impl Chunk<'_> {
    /// Makes the gradient that of the mean over `positions`; gives the summed loss.
    /// Log-sums go to their places.
    fn finish(
        &mut self,
        log_sums: &mut [f32],
        head: &MatrixReading<'_>,
        smoothing: Option<&Smoothing>,
        positions: usize,
    ) -> Result<f64> {
        let width = self.gradient.len() / self.rows.len();
        let mut loss = 0f64;
        vectorized(|| {
            let inputs = self.inputs.chunks_exact(width);
            let gradients = self.gradient.chunks_exact_mut(width).zip(log_sums);
            for (((gradient, kept), row), input) in gradients.zip(&self.rows).zip(inputs) {
                let log_sum = f64::from(row.sum).ln() + f64::from(row.highest);
                *kept = log_sum as f32;
                let chosen = head.rows(row.token..row.token + 1)?;
                let of_chosen = f64::from(row.chosen);
                let Some(Smoothing { share, mean }) = smoothing else {
                    loss += log_sum - of_chosen;
                    for (gradient, chosen) in gradient.iter_mut().zip(&*chosen) {
                        *gradient = (*gradient / row.sum - chosen) / positions as f32;
                    }
                    continue;
                };
                // The mean of all logits is x times the mean of the matrix's rows.
                let (of_mean, spread) = (f64::from(dot(input, mean)), f64::from(*share));
                loss += log_sum - (1.0 - spread) * of_chosen - spread * of_mean;
                let columns = gradient.iter_mut().zip(&*chosen).zip(mean);
                for ((gradient, chosen), mean) in columns {
                    let target = (1.0 - share) * chosen + share * mean;
                    *gradient = (*gradient / row.sum - target) / positions as f32;
                }
            }
            Ok(loss)
        })
    }
}

impl LinearCrossEntropy {
    /// Computes the mean loss over the positions of x, and keeps what the backward needs.
    fn forward(&self, input: &[f32]) -> Result<f32> {
        let (vocabulary, width) = self.head.dims()?;
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
                "{positions} positions of {} numbers against a vocabulary of {vocabulary}",
                input.len()
            )));
        }
        let head = self.head.reading();
        let mut gradient = vec![0f32; positions * width];
        let mut log_sums = vec![0f32; positions];
        let threads = rayon::current_num_threads();
        let per_chunk = positions_per_chunk(positions, threads);
        let at_once = per_chunk * threads;
        let capacity = max_logits(vocabulary);
        let smoothing = Smoothing::new(self.smoothing, &head, (vocabulary, width))?;
        let mut loss = 0f64;
        for (at, gradient) in gradient.chunks_mut(at_once * width).enumerate() {
            let rows = self.targets.rows[at * at_once..].chunks(per_chunk);
            let tokens = self.targets.tokens[at * at_once..].chunks(per_chunk);
            let of_chunks = gradient.chunks_mut(per_chunk * width).zip(rows.zip(tokens));
            let mut chunks: Vec<Chunk<'_>> = of_chunks
                .map(|(gradient, (rows, tokens))| {
                    let capacity = MAX_POSITIONS_PER_CHUNK * width;
                    let mut inputs = self.pool.take_within(capacity, gradient.len());
                    for (to, row) in inputs.chunks_exact_mut(width).zip(rows) {
                        to.copy_from_slice(&input[*row as usize * width..][..width]);
                    }
                    let rows = tokens.iter().map(|token| Row::new(*token)).collect();
                    Chunk {
                        inputs,
                        gradient,
                        rows,
                    }
                })
                .collect();
            for block in blocks(vocabulary) {
                self.pause.here();
                let first = block.start;
                let rows = head.rows(block)?;
                let block = Matrix::new(&rows, rows.len() / width, width);
                chunks
                    .par_iter_mut()
                    .for_each(|chunk| self.block(chunk, first, block, capacity));
            }
            // In order, so that the sum is always the same.
            let log_sums = log_sums[at * at_once..].chunks_mut(per_chunk);
            for (chunk, log_sums) in chunks.iter_mut().zip(log_sums) {
                loss += chunk.finish(log_sums, &head, smoothing.as_ref(), positions)?;
            }
        }
        let kept = Kept { gradient, log_sums };
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        Ok((loss / positions as f64) as f32)
    }

    fn take(&self) -> Result<Kept> {
        let kept = self.kept.lock();
        let kept = kept.unwrap_or_else(PoisonError::into_inner).take();
        kept.ok_or_else(|| Error::msg("linear-cross-entropy: a second backward"))
    }

    /// Puts the positions' gradients into x's, `[tokens, width]`.
    fn input_gradient(&self, kept: &Kept, input: &Tensor, factor: f32) -> Result<Tensor> {
        let width = input.dim(1)?;
        let mut dx = vec![0f32; input.elem_count()];
        for (from, row) in kept.gradient.chunks_exact(width).zip(&self.targets.rows) {
            for (dx, g) in dx[*row as usize * width..][..width].iter_mut().zip(from) {
                *dx += g * factor;
            }
        }
        Tensor::from_vec(dx, input.shape(), input.device())
    }

    /// Computes the gradient of the matrix, `[vocabulary, width]`: of every position the probabilities less the target, times x.
    /// The probabilities are computed once more, a block of the vocabulary at a time.
    fn head_gradient(&self, kept: &Kept, input: &[f32], factor: f32) -> Result<Vec<f32>> {
        let (vocabulary, width) = self.head.dims()?;
        let targets = &*self.targets;
        let positions = targets.rows.len();
        let (head, smoothing) = (self.head.reading(), self.smoothing);
        let factor = factor / positions as f32;
        let mut gradient = vec![0f32; vocabulary * width];
        let mut taken = self.pool.take(positions, width);
        for (to, row) in taken.chunks_exact_mut(width).zip(&targets.rows) {
            to.copy_from_slice(&input[*row as usize * width..][..width]);
        }
        for block in blocks(vocabulary) {
            self.pause.here();
            let (first, rows) = (block.start, head.rows(block)?);
            let tasks = rows
                .par_chunks(TOKENS_PER_TASK * width)
                .zip(gradient[first * width..].par_chunks_mut(TOKENS_PER_TASK * width));
            tasks.enumerate().for_each(|(task, (rows, gradient))| {
                let tokens = rows.len() / width;
                let first = first + task * TOKENS_PER_TASK;
                let rows = Matrix::new(rows, tokens, width);
                for (at, taken) in taken.chunks(POSITIONS_AT_ONCE * width).enumerate() {
                    let count = taken.len() / width;
                    let x = Matrix::new(taken, count, width);
                    let mut weights = vec![0f32; count * tokens];
                    multiply(&mut weights, Store::Replace, 1.0, x, rows.transposed());
                    let at = at * POSITIONS_AT_ONCE;
                    let known = kept.log_sums[at..].iter().zip(&targets.tokens[at..]);
                    for (weights, (log_sum, token)) in weights.chunks_exact_mut(tokens).zip(known) {
                        vectorized(|| exponentials(weights, *log_sum));
                        if smoothing > 0.0 {
                            let spread = smoothing / vocabulary as f32;
                            weights.iter_mut().for_each(|weight| *weight -= spread);
                        }
                        let chosen = (*token as usize).checked_sub(first);
                        if let Some(chosen) = chosen.and_then(|at| weights.get_mut(at)) {
                            *chosen -= 1.0 - smoothing;
                        }
                    }
                    let weights = Matrix::new(&weights, count, tokens);
                    multiply(gradient, Store::Add, factor, weights.transposed(), x);
                }
            });
        }
        Ok(gradient)
    }
}

impl CustomOp1 for LinearCrossEntropy {
    fn name(&self) -> &'static str {
        "linear-cross-entropy"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let loss = self.forward(slice(storage, layout)?)?;
        Ok((CpuStorage::F32(vec![loss]), Shape::from(())))
    }

    fn bwd(
        &self,
        input: &Tensor,
        _loss: &Tensor,
        loss_gradient: &Tensor,
    ) -> Result<Option<Tensor>> {
        let factor = loss_gradient.to_scalar::<f32>()?;
        let kept = self.take()?;
        self.input_gradient(&kept, input, factor).map(Some)
    }
}

/// The same where the matrix is trained: an operation on x and W, which is the one that [`LinearCrossEntropy`] was made with.
pub(crate) struct TrainedLinearCrossEntropy(pub(crate) LinearCrossEntropy);

impl CustomOp2 for TrainedLinearCrossEntropy {
    fn name(&self) -> &'static str {
        "trained-linear-cross-entropy"
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        layout: &Layout,
        _head: &CpuStorage,
        _of_head: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let loss = self.0.forward(slice(storage, layout)?)?;
        Ok((CpuStorage::F32(vec![loss]), Shape::from(())))
    }

    fn bwd(
        &self,
        input: &Tensor,
        head: &Tensor,
        _loss: &Tensor,
        loss_gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let factor = loss_gradient.to_scalar::<f32>()?;
        let kept = self.0.take()?;
        let dx = self.0.input_gradient(&kept, input, factor)?;
        let reading = Reading::of(input);
        let of_head = self.0.head_gradient(&kept, reading.slice()?, factor)?;
        let of_head = Tensor::from_vec(of_head, head.shape(), head.device())?;
        Ok((Some(dx), Some(of_head)))
    }
}

/// Makes logits the probabilities of softmax.
#[inline(always)]
fn exponentials(logits: &mut [f32], log_sum: f32) {
    for logit in logits {
        *logit = exp(*logit - log_sum);
    }
}

/// Splits positions evenly into as many chunks as there are threads, or a multiple of that.
fn positions_per_chunk(positions: usize, threads: usize) -> usize {
    positions.div_ceil(threads * positions.div_ceil(threads * MAX_POSITIONS_PER_CHUNK))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::plain;
    use crate::ops::testing::{assert_same_gradients, numbers};

    fn check(vocabulary: usize, tokens: usize, rows: Vec<u32>, smoothing: f32) {
        let width = 12;
        let device = candle_core::Device::Cpu;
        let head = Tensor::from_vec(numbers(vocabulary * width, 8), (vocabulary, width), &device)
            .expect("a tensor");
        let targets = Targets {
            tokens: rows
                .iter()
                .map(|row| row * 4001 % vocabulary as u32)
                .collect(),
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
                BaseMatrix::Held(head.clone()),
                targets.clone(),
                smoothing,
                pool.clone(),
                Pause::never(),
            ))? * 2.5
        };
        let plain = |x: &[Tensor]| {
            let smoothing = f64::from(smoothing);
            plain::cross_entropy(&x[0], (&head, None), &row_tensor, &token_tensor, smoothing)? * 2.5
        };
        assert_same_gradients(&[&[tokens, width]], &fused, &plain);
        if vocabulary > VOCABULARY_PER_BLOCK {
            return;
        }
        let trained = |x: &[Tensor]| {
            let operation = LinearCrossEntropy::new(
                BaseMatrix::Held(x[1].clone()),
                targets.clone(),
                smoothing,
                pool.clone(),
                Pause::never(),
            );
            x[0].apply_op2(&x[1], TrainedLinearCrossEntropy(operation))? * 2.5
        };
        let plain = |x: &[Tensor]| {
            let smoothing = f64::from(smoothing);
            plain::cross_entropy(&x[0], (&x[1], None), &row_tensor, &token_tensor, smoothing)? * 2.5
        };
        let shapes: [&[usize]; 2] = [&[tokens, width], &[vocabulary, width]];
        assert_same_gradients(&shapes, &trained, &plain);
    }

    #[test]
    fn equals_the_plain_path_and_its_finite_differences() {
        check(37, 9, vec![0, 3, 4, 8], 0.0);
        check(37, 9, vec![0, 3, 4, 8], 0.1);
        check(37, 4, vec![2], 0.0);
        check(TOKENS_PER_TASK + 30, 9, vec![1, 4, 5], 0.1);
        // Several blocks of the vocabulary.
        check(2 * VOCABULARY_PER_BLOCK + 5, 6, vec![0, 1, 3, 5], 0.0);
        check(2 * VOCABULARY_PER_BLOCK + 5, 6, vec![0, 1, 3, 5], 0.9);
        // Several chunks a thread.
        let at_once = MAX_POSITIONS_PER_CHUNK * rayon::current_num_threads();
        check(37, at_once + 9, (2..at_once as u32 + 9).collect(), 0.0);
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
                BaseMatrix::Held(head.clone()),
                Arc::new(targets),
                0.0,
                BufferPool::new(4),
                Pause::never(),
            ))
        };
        assert!(loss(&[3], &[2]).is_ok());
        assert!(loss(&[3], &[3]).is_err());
        assert!(loss(&[4], &[2]).is_err());
        assert!(loss(&[], &[]).is_err());
    }
}
