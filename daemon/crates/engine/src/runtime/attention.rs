//! Causal attention over a sequence's cache, for one key-value head and a few query rows at a time.

#![expect(
    unsafe_code,
    reason = "reads caches and writes outputs that tasks share at disjoint places"
)]

use super::cache::SharedCache;
use crate::kernels::lanes::LANES;
use crate::kernels::{Isa, SharedMut, multiply_one_tile, softmax};

/// Query rows that one pass takes: as many as the matrix kernel keeps in registers.
const ROWS: usize = 16;

/// What attention of one sequence's tokens takes.
pub(crate) struct Attention<'a> {
    pub(crate) isa: Isa,
    pub(crate) layer: usize,
    pub(crate) head_dim: usize,
    /// What scores are multiplied by.
    pub(crate) scale: f32,
    /// The last positions that a token sees, itself among them.
    pub(crate) window: usize,
    /// Query heads to a key-value head.
    pub(crate) group: usize,
    pub(crate) cache: &'a SharedCache,
    /// `[tokens, qkv_stride]`, of the whole batch; a row begins with its queries.
    pub(crate) queries: &'a [f32],
    pub(crate) query_stride: usize,
    /// `[tokens, heads * head_dim]`, of the whole batch.
    pub(crate) out: SharedMut<f32>,
    pub(crate) out_stride: usize,
}

/// Working memory of one task.
#[derive(Default)]
pub(crate) struct Scratch {
    queries: Vec<f32>,
    scores: Vec<f32>,
    mixed: Vec<f32>,
}

impl Attention<'_> {
    /// Attends with `count` tokens from `first` in the batch, which stand at `position` on in their sequence.
    ///
    /// # Safety
    /// The cache holds every position up to the last token's and nothing writes it; nothing else uses these tokens'
    /// outputs of this head.
    pub(crate) unsafe fn head(
        &self,
        head: usize,
        first: usize,
        count: usize,
        position: usize,
        scratch: &mut Scratch,
    ) {
        let rows = count * self.group;
        for from in (0..rows).step_by(ROWS) {
            // SAFETY: a part of what the contract covers.
            unsafe { self.rows(head, first, position, from..rows.min(from + ROWS), scratch) };
        }
    }

    /// Row r is query head `r % group` of token `r / group`.
    unsafe fn rows(
        &self,
        head: usize,
        first: usize,
        position: usize,
        rows: std::ops::Range<usize>,
        scratch: &mut Scratch,
    ) {
        let (count, head_dim) = (rows.len(), self.head_dim);
        let place = |row: usize| {
            (
                first + row / self.group,
                (head * self.group + row % self.group) * head_dim,
            )
        };
        let visible = |row: usize| position + row / self.group + 1;
        let hidden = |row: usize| visible(row).saturating_sub(self.window);
        // Whole blocks that no row sees are left out. Those before a row's window have a weight of zero, so a row's result
        // does not depend on where the others begin.
        let start = hidden(rows.start) / LANES * LANES;
        let positions = visible(rows.end - 1);
        let count_of_values = positions - start;
        let width = count_of_values.next_multiple_of(LANES);

        scratch.queries.clear();
        for row in rows.clone() {
            let (token, column) = place(row);
            scratch
                .queries
                .extend_from_slice(&self.queries[token * self.query_stride + column..][..head_dim]);
        }
        scratch.scores.resize(count * width, 0.0);
        for block in 0..width / LANES {
            // SAFETY: keys by the contract; a row of scores has `width` elements, of which this writes sixteen.
            unsafe {
                let keys = self
                    .cache
                    .key_block(self.layer, head, start / LANES + block);
                let to = scratch.scores.as_mut_ptr().add(block * LANES);
                multiply_one_tile(
                    self.isa,
                    scratch.queries.as_ptr(),
                    head_dim,
                    keys,
                    head_dim,
                    count,
                    to,
                    width,
                );
            }
        }
        for (index, row) in rows.clone().enumerate() {
            softmax(
                self.isa,
                &mut scratch.scores[index * width..][..width],
                hidden(row) - start..visible(row) - start,
                self.scale,
            );
        }
        let value_width = head_dim.next_multiple_of(LANES);
        scratch.mixed.resize(count * value_width, 0.0);
        for tile in 0..value_width / LANES {
            // SAFETY: values by the contract; a row of `mixed` has `value_width` elements, of which this writes sixteen.
            unsafe {
                let values = self.cache.values(self.layer, head, tile, start..positions);
                let to = scratch.mixed.as_mut_ptr().add(tile * LANES);
                multiply_one_tile(
                    self.isa,
                    scratch.scores.as_ptr(),
                    width,
                    values,
                    count_of_values,
                    count,
                    to,
                    value_width,
                );
            }
        }
        for (index, row) in rows.enumerate() {
            let (token, column) = place(row);
            // SAFETY: this head's part of this token's row, by the contract.
            let out = unsafe { self.out.slice(token * self.out_stride + column, head_dim) };
            out.copy_from_slice(&scratch.mixed[index * value_width..][..head_dim]);
        }
    }
}
