//! Causal attention within each sequence, several query heads to a key-and-value head, over all positions or the last ones.
//!
//! Scores exist for one block of queries of one group against one block of keys at a time, which stay in a core's caches; the forward
//! takes softmax as it comes (Milakov and Gimelshein 2018), and the backward makes scores again from the saved log-sums (Dao et
//! al. 2022). Blocks that no query sees are passed over, so a layer with a window costs no more than its window.

use std::ops::Range;

use rayon::prelude::*;

use super::gemm::{Matrix, Store, multiply};
use super::rope::{Heads, places};
use super::sequences::Sequences;
use super::vector::{dot, exp, exp_sum, max, scale, vectorized};

/// Query positions whose scores are computed together.
const QUERIES_PER_BLOCK: usize = 64;
/// Keys that they are computed against together.
const KEYS_PER_BLOCK: usize = 128;

/// What attention reads. `queries` and `keys` are in head order and turned, `values` in token order.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    /// `[tokens, heads, head_dim]` in head order.
    pub(crate) queries: &'a [f32],
    /// `[tokens, kv_heads, head_dim]` in head order.
    pub(crate) keys: &'a [f32],
    /// `[tokens, kv_heads, head_dim]` in token order.
    pub(crate) values: &'a [f32],
}

/// The gradients of the inputs, all in head order.
pub(crate) struct Gradients<'a> {
    /// As `Inputs::queries`; overwritten.
    pub(crate) queries: &'a mut [f32],
    /// As `Inputs::keys`; overwritten.
    pub(crate) keys: &'a mut [f32],
    /// As `Inputs::values`, but in head order; overwritten.
    pub(crate) values: &'a mut [f32],
}

/// The shape of the work: `heads` describes the queries, one group a key-and-value head.
#[derive(Clone, Copy)]
pub(crate) struct Attention<'a> {
    /// The query heads.
    pub(crate) heads: Heads,
    /// The sequences.
    pub(crate) sequences: &'a Sequences,
    /// What scores are multiplied by.
    pub(crate) scale: f32,
    /// Positions that a token sees, itself among them.
    pub(crate) window: usize,
}

impl Attention<'_> {
    /// Computes the output in head order, and for each query `[tokens, heads]` in head order the logarithm of the sum
    /// of its exponentiated scores.
    pub(crate) fn forward(&self, output: &mut [f32], log_sums: &mut [f32], inputs: Inputs<'_>) {
        let scalars = Heads {
            head_dim: 1,
            ..self.heads
        };
        let parts = self.heads.split(output, self.sequences).into_par_iter();
        let parts = parts
            .zip(scalars.split(log_sums, self.sequences))
            .zip(places(self.sequences, self.heads.groups));
        parts.for_each(|((output, log_sums), (start, kv_head))| {
            let group = self.group(inputs, start, kv_head, log_sums.len());
            let mut scores = group.score_buffer();
            for block in group.blocks() {
                let output = &mut output[block.range(group.head_dim)];
                let log_sums = &mut log_sums[block.first_row..][..block.rows];
                let mut sums = vec![RowSum::NONE; block.rows];
                for keys in group.key_blocks(&block) {
                    let scores = &mut scores[..block.rows * keys.len()];
                    group.scores(scores, &block, &keys);
                    vectorized(|| {
                        let rows = scores
                            .chunks_exact_mut(keys.len())
                            .zip(output.chunks_exact_mut(group.head_dim));
                        for (row, ((scores, output), sum)) in rows.zip(&mut sums).enumerate() {
                            let visible = group.visible_in(block.position(row), &keys);
                            sum.add(scores, visible, group.scale, output);
                        }
                    });
                    let store = match keys.start == group.first_key(&block) {
                        true => Store::Replace,
                        false => Store::Add,
                    };
                    let scores = Matrix::new(scores, block.rows, keys.len());
                    multiply(output, store, 1.0, scores, group.values(&keys));
                }
                vectorized(|| {
                    let rows = output.chunks_exact_mut(group.head_dim).zip(log_sums);
                    for ((output, log_sum), sum) in rows.zip(&sums) {
                        scale(output, 1.0 / sum.sum);
                        *log_sum = sum.highest + sum.sum.ln();
                    }
                });
            }
        });
    }

    /// Computes the gradients from that of the output (`output_gradient`, in head order), the output (in token order)
    /// and the log-sums.
    pub(crate) fn backward(
        &self,
        gradients: Gradients<'_>,
        output_gradient: &[f32],
        output: &[f32],
        log_sums: &[f32],
        inputs: Inputs<'_>,
    ) {
        let kv_heads = Heads {
            group: 1,
            ..self.heads
        };
        let parts = self
            .heads
            .split(gradients.queries, self.sequences)
            .into_par_iter();
        let parts = parts.zip(kv_heads.split(gradients.keys, self.sequences));
        let parts = parts.zip(kv_heads.split(gradients.values, self.sequences));
        parts
            .zip(places(self.sequences, self.heads.groups))
            .for_each(|(((dq, dk), dv), (start, kv_head))| {
                let rows = dq.len() / self.heads.head_dim;
                let group = self.group(inputs, start, kv_head, rows);
                let log_sums = &log_sums[group.offset..group.offset + rows];
                let output_gradient = &output_gradient[group.offset * group.head_dim..][..dq.len()];
                let (mut weights, mut weight_gradients) =
                    (group.score_buffer(), group.score_buffer());
                dk.fill(0.0);
                dv.fill(0.0);
                for block in group.blocks() {
                    let dy = &output_gradient[block.range(group.head_dim)];
                    let dy_matrix = Matrix::new(dy, block.rows, group.head_dim);
                    let queries = &group.queries[block.range(group.head_dim)];
                    let queries = Matrix::new(queries, block.rows, group.head_dim);
                    let along: Vec<f32> = vectorized(|| {
                        let rows = dy.chunks_exact(group.head_dim).enumerate();
                        rows.map(|(row, dy)| {
                            let row = block.first_row + row;
                            dot(dy, self.output_row(output, start, kv_head, row))
                        })
                        .collect()
                    });
                    for keys in group.key_blocks(&block) {
                        let (weights, gradient) = (
                            &mut weights[..block.rows * keys.len()],
                            &mut weight_gradients[..block.rows * keys.len()],
                        );
                        group.scores(weights, &block, &keys);
                        multiply(
                            gradient,
                            Store::Replace,
                            1.0,
                            dy_matrix,
                            group.values(&keys).transposed(),
                        );
                        vectorized(|| {
                            let rows = weights
                                .chunks_exact_mut(keys.len())
                                .zip(gradient.chunks_exact_mut(keys.len()));
                            for (row, (weights, gradient)) in rows.enumerate() {
                                let visible = group.visible_in(block.position(row), &keys);
                                weights[..visible.start].fill(0.0);
                                weights[visible.end..].fill(0.0);
                                let log_sum = log_sums[block.first_row + row];
                                exp_sum(&mut weights[visible], group.scale, log_sum);
                                for (g, w) in gradient.iter_mut().zip(weights.iter()) {
                                    *g = *w * (*g - along[row]) * group.scale;
                                }
                            }
                        });
                        let weights = Matrix::new(weights, block.rows, keys.len());
                        let gradient = Matrix::new(gradient, block.rows, keys.len());
                        let elements = keys.start * group.head_dim..keys.end * group.head_dim;
                        let store = match keys.start == group.first_key(&block) {
                            true => Store::Replace,
                            false => Store::Add,
                        };
                        let dq = &mut dq[block.range(group.head_dim)];
                        multiply(dq, store, 1.0, gradient, group.keys(&keys));
                        let dk = &mut dk[elements.clone()];
                        multiply(dk, Store::Add, 1.0, gradient.transposed(), queries);
                        let dv = &mut dv[elements];
                        multiply(dv, Store::Add, 1.0, weights.transposed(), dy_matrix);
                    }
                }
            });
    }

    /// Finds the output of one row of a group, `[head_dim]`, in token order.
    #[inline(always)]
    fn output_row<'a>(
        &self,
        output: &'a [f32],
        start: usize,
        kv_head: usize,
        row: usize,
    ) -> &'a [f32] {
        let Heads {
            group, head_dim, ..
        } = self.heads;
        let from =
            (start + row / group) * self.heads.width() + (kv_head * group + row % group) * head_dim;
        &output[from..from + head_dim]
    }

    /// Finds what one sequence and key-and-value head needs; `rows` is the sequence's length times the heads in a group.
    fn group<'a>(
        &self,
        inputs: Inputs<'a>,
        start: usize,
        kv_head: usize,
        rows: usize,
    ) -> Group<'a> {
        let Heads {
            groups,
            group,
            head_dim,
        } = self.heads;
        let length = rows / group;
        let kv_offset = (start * groups + kv_head * length) * head_dim;
        let offset = start * groups * group + kv_head * rows;
        Group {
            queries: &inputs.queries[offset * head_dim..][..rows * head_dim],
            keys: &inputs.keys[kv_offset..][..length * head_dim],
            values: &inputs.values[(start * groups + kv_head) * head_dim..],
            value_stride: groups * head_dim,
            offset,
            length,
            group,
            head_dim,
            scale: self.scale,
            window: self.window,
        }
    }
}

/// One sequence's part of one key-and-value head.
struct Group<'a> {
    queries: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    value_stride: usize,
    /// The first of its rows among all, in head order.
    offset: usize,
    length: usize,
    group: usize,
    head_dim: usize,
    scale: f32,
    window: usize,
}

impl Group<'_> {
    fn blocks(&self) -> impl Iterator<Item = Block> {
        let (length, group) = (self.length, self.group);
        (0..length).step_by(QUERIES_PER_BLOCK).map(move |first| {
            let keys = (first + QUERIES_PER_BLOCK).min(length);
            Block {
                first_row: first * group,
                rows: (keys - first) * group,
                keys,
                group,
            }
        })
    }

    /// Finds where a block's keys begin: at the beginning of the block of the first that any of its queries sees.
    fn first_key(&self, block: &Block) -> usize {
        let first = (block.position(0) + 1).saturating_sub(self.window);
        first / KEYS_PER_BLOCK * KEYS_PER_BLOCK
    }

    /// Lists the blocks of keys that some query of a block sees.
    fn key_blocks(&self, block: &Block) -> impl Iterator<Item = Range<usize>> {
        let end = block.keys;
        let firsts = (self.first_key(block)..end).step_by(KEYS_PER_BLOCK);
        firsts.map(move |first| first..end.min(first + KEYS_PER_BLOCK))
    }

    /// Finds the keys of a block, counted from its beginning, that a query at a position sees.
    #[inline(always)]
    fn visible_in(&self, position: usize, keys: &Range<usize>) -> Range<usize> {
        let start = (position + 1).saturating_sub(self.window);
        let within = |key: usize| key.clamp(keys.start, keys.end) - keys.start;
        within(start)..within(position + 1)
    }

    fn score_buffer(&self) -> Vec<f32> {
        let rows = QUERIES_PER_BLOCK.min(self.length) * self.group;
        vec![0f32; rows * KEYS_PER_BLOCK.min(self.length)]
    }

    /// Computes the products of a block's queries with some keys, `[rows, keys]`, not yet scaled.
    fn scores(&self, scores: &mut [f32], block: &Block, keys: &Range<usize>) {
        let queries = Matrix::new(
            &self.queries[block.range(self.head_dim)],
            block.rows,
            self.head_dim,
        );
        multiply(
            scores,
            Store::Replace,
            1.0,
            queries,
            self.keys(keys).transposed(),
        );
    }

    fn keys(&self, keys: &Range<usize>) -> Matrix<'_> {
        let elements = &self.keys[keys.start * self.head_dim..];
        Matrix::new(elements, keys.len(), self.head_dim)
    }

    fn values(&self, keys: &Range<usize>) -> Matrix<'_> {
        let elements = &self.values[keys.start * self.value_stride..];
        Matrix::strided(elements, keys.len(), self.head_dim, self.value_stride)
    }
}

/// A block of queries.
struct Block {
    first_row: usize,
    rows: usize,
    /// Where the keys that any of them sees end.
    keys: usize,
    group: usize,
}

impl Block {
    /// Finds the position of a row of the block.
    #[inline(always)]
    fn position(&self, row: usize) -> usize {
        (self.first_row + row) / self.group
    }

    fn range(&self, head_dim: usize) -> Range<usize> {
        self.first_row * head_dim..(self.first_row + self.rows) * head_dim
    }
}

/// What is known of a row's softmax so far.
#[derive(Clone, Copy)]
struct RowSum {
    highest: f32,
    /// Of exp(score - highest).
    sum: f32,
}

impl RowSum {
    const NONE: Self = Self {
        highest: f32::NEG_INFINITY,
        sum: 0.0,
    };

    /// Replaces the visible scores by their exponentials, counted from the highest so far, and the others by 0; what stands in the
    /// output is brought to the same count.
    #[inline(always)]
    fn add(&mut self, scores: &mut [f32], visible: Range<usize>, factor: f32, output: &mut [f32]) {
        scores[..visible.start].fill(0.0);
        scores[visible.end..].fill(0.0);
        let visible = &mut scores[visible];
        let highest = max(visible) * factor;
        if highest > self.highest {
            if self.sum > 0.0 {
                let shrunk = exp(self.highest - highest);
                self.sum *= shrunk;
                scale(output, shrunk);
            }
            self.highest = highest;
        }
        self.sum += exp_sum(visible, factor, self.highest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::plain;
    use crate::ops::rope::Turn;
    use crate::ops::testing::Operation;

    fn check(heads: Heads, lengths: &[usize]) {
        for (scale, window) in [(1.0 / (heads.head_dim as f32).sqrt(), usize::MAX), (0.3, 4)] {
            check_masked(heads, lengths, scale, window);
        }
    }

    fn check_masked(heads: Heads, lengths: &[usize], scale: f32, window: usize) {
        let sequences = Sequences::new(lengths.iter().copied());
        let tokens = sequences.tokens();
        let kv_heads = Heads { group: 1, ..heads };
        let attention = Attention {
            heads,
            sequences: &sequences,
            scale,
            window,
        };
        let (wide, narrow) = (tokens * heads.width(), tokens * kv_heads.width());
        // Inputs and outputs in token order on both sides.
        let ordered = |heads: Heads, values: &[f32]| {
            let mut ordered = vec![f32::NAN; values.len()];
            heads.gather(&mut ordered, values, &sequences, Turn::None);
            ordered
        };
        let unordered = |heads: Heads, values: &[f32]| {
            let mut unordered = vec![f32::NAN; values.len()];
            heads.scatter(&mut unordered, values, &sequences, Turn::None);
            unordered
        };
        let forward = |values: &[Vec<f32>]| {
            let (queries, keys) = (ordered(heads, &values[0]), ordered(kv_heads, &values[1]));
            let inputs = Inputs {
                queries: &queries,
                keys: &keys,
                values: &values[2],
            };
            let (mut output, mut log_sums) =
                (vec![f32::NAN; wide], vec![f32::NAN; wide / heads.head_dim]);
            attention.forward(&mut output, &mut log_sums, inputs);
            (unordered(heads, &output), log_sums)
        };
        Operation {
            name: "attention",
            shapes: &[
                &[tokens, heads.width()],
                &[tokens, kv_heads.width()],
                &[tokens, kv_heads.width()],
            ],
            forward: &|values| forward(values).0,
            backward: &|values, dy| {
                let (output, log_sums) = forward(values);
                let (queries, keys) = (ordered(heads, &values[0]), ordered(kv_heads, &values[1]));
                let inputs = Inputs {
                    queries: &queries,
                    keys: &keys,
                    values: &values[2],
                };
                let (mut dq, mut dk, mut dv) = (
                    vec![f32::NAN; wide],
                    vec![f32::NAN; narrow],
                    vec![f32::NAN; narrow],
                );
                let gradients = Gradients {
                    queries: &mut dq,
                    keys: &mut dk,
                    values: &mut dv,
                };
                attention.backward(gradients, &ordered(heads, dy), &output, &log_sums, inputs);
                vec![
                    unordered(heads, &dq),
                    unordered(kv_heads, &dk),
                    unordered(kv_heads, &dv),
                ]
            },
            plain: &|tensors| {
                let [q, k, v] = [&tensors[0], &tensors[1], &tensors[2]];
                plain::attention(q, k, v, &sequences, heads, scale, window)
            },
        }
        .check();
    }

    #[test]
    fn equals_the_plain_path_and_its_finite_differences() {
        check(
            Heads {
                groups: 2,
                group: 3,
                head_dim: 8,
            },
            &[6, 1, 9],
        );
        check(
            Heads {
                groups: 1,
                group: 1,
                head_dim: 4,
            },
            &[3],
        );
        // More than one block of queries.
        check(
            Heads {
                groups: 1,
                group: 2,
                head_dim: 4,
            },
            &[QUERIES_PER_BLOCK + 5, 2],
        );
    }

    #[test]
    fn so_it_does_over_several_blocks_of_keys() {
        let heads = Heads {
            groups: 1,
            group: 2,
            head_dim: 4,
        };
        let lengths = [2 * KEYS_PER_BLOCK + QUERIES_PER_BLOCK + 5, 3];
        for window in [usize::MAX, KEYS_PER_BLOCK + 9, 7] {
            check_masked(heads, &lengths, 0.7, window);
        }
    }
}
