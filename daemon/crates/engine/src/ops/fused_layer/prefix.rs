//! The keys and values of a prefix (prefix tuning): they stand in the place of those of every sequence's first rows.

use crate::ops::rope::Heads;
use crate::ops::sequences::Sequences;

/// Puts a prefix `[tokens, width]` in the place of every sequence's first rows, in head order.
pub(super) fn write_heads(to: &mut [f32], prefix: &[f32], heads: Heads, sequences: &Sequences) {
    each_row(prefix.len(), heads, sequences, |of_heads, of_prefix| {
        to[of_heads..][..heads.head_dim].copy_from_slice(&prefix[of_prefix..][..heads.head_dim]);
    });
}

/// Puts a prefix in the place of every sequence's first rows, in token order.
pub(super) fn write_tokens(to: &mut [f32], prefix: &[f32], heads: Heads, sequences: &Sequences) {
    for range in sequences.ranges() {
        to[range.start * heads.width()..][..prefix.len()].copy_from_slice(prefix);
    }
}

/// Takes the gradient of a prefix, the sum over all sequences, out of rows in head order, whose own is none.
pub(super) fn take_heads(
    gradient: &mut [f32],
    rows: &mut [f32],
    heads: Heads,
    sequences: &Sequences,
) {
    gradient.fill(0.0);
    each_row(gradient.len(), heads, sequences, |of_heads, of_prefix| {
        let row = &mut rows[of_heads..][..heads.head_dim];
        let sums = gradient[of_prefix..][..heads.head_dim].iter_mut();
        sums.zip(&*row).for_each(|(sum, x)| *sum += x);
        row.fill(0.0);
    });
}

/// Goes through a prefix's heads of every sequence: where a head's row stands in head order, and where in the prefix.
fn each_row(
    prefix: usize,
    heads: Heads,
    sequences: &Sequences,
    mut work: impl FnMut(usize, usize),
) {
    let (width, head_dim) = (heads.width(), heads.head_dim);
    for range in sequences.ranges() {
        for position in 0..prefix / width {
            for head in 0..heads.groups {
                let of_heads = range.start * width + (head * range.len() + position) * head_dim;
                work(of_heads, position * width + head * head_dim);
            }
        }
    }
}
