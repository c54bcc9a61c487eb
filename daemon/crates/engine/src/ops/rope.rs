//! Rotary position embedding (Su et al. 2021) with half-split pairs, as Hugging Face's Llama has it: element i of a
//! head turns with element i + head_dim / 2.
//!
//! The same pass brings rows of tokens into the order that attention takes and back ([`Heads`]).

use rayon::prelude::*;

use super::sequences::Sequences;
use super::vector::vectorized;

/// The cosines and sines of every position.
pub(crate) struct RopeTables {
    half: usize,
    /// `[positions, head_dim / 2]`.
    cos: Vec<f32>,
    /// `[positions, head_dim / 2]`.
    sin: Vec<f32>,
}

impl RopeTables {
    /// Computes the tables for positions below `positions`, from the frequencies of a head's pairs.
    pub(crate) fn new(positions: usize, frequencies: &[f32]) -> Self {
        let half = frequencies.len();
        let angles = || {
            (0..positions).flat_map(|position| frequencies.iter().map(move |f| position as f32 * f))
        };
        Self {
            half,
            cos: angles()
                .map(|angle| f64::from(angle).cos() as f32)
                .collect(),
            sin: angles()
                .map(|angle| f64::from(angle).sin() as f32)
                .collect(),
        }
    }

    /// Counts the positions there are tables for.
    pub(crate) fn positions(&self) -> usize {
        self.cos.len() / self.half.max(1)
    }

    /// Shows the cosines and sines of a position, `[head_dim / 2]` each.
    pub(crate) fn at(&self, position: usize) -> (&[f32], &[f32]) {
        let range = position * self.half..(position + 1) * self.half;
        (&self.cos[range.clone()], &self.sin[range])
    }
}

/// How heads are turned while they are brought into order.
#[derive(Clone, Copy)]
pub(crate) enum Turn<'a> {
    /// Not at all.
    None,
    /// By their position.
    Forward(&'a RopeTables),
    /// Back, which is the gradient of turning forward.
    Backward(&'a RopeTables),
}

/// The heads of one projection.
///
/// Token order is `[tokens, groups, group, head_dim]`; head order is, for each sequence and then each group,
/// `[tokens of the sequence, group, head_dim]`, so that a group's heads make one matrix.
#[derive(Clone, Copy)]
pub(crate) struct Heads {
    /// Groups, one a key-and-value head.
    pub(crate) groups: usize,
    /// Heads in a group.
    pub(crate) group: usize,
    /// The width of a head.
    pub(crate) head_dim: usize,
}

impl Heads {
    /// Counts the elements of a token.
    pub(crate) fn width(&self) -> usize {
        self.groups * self.group * self.head_dim
    }

    /// Splits a slice in head order into one part a sequence and group.
    pub(crate) fn split<'a>(
        &self,
        mut data: &'a mut [f32],
        sequences: &Sequences,
    ) -> Vec<&'a mut [f32]> {
        let mut parts = Vec::new();
        for range in sequences.ranges() {
            for _ in 0..self.groups {
                let (part, rest) = data.split_at_mut(range.len() * self.group * self.head_dim);
                parts.push(part);
                data = rest;
            }
        }
        parts
    }

    /// Brings token order into head order.
    pub(crate) fn gather(
        &self,
        heads: &mut [f32],
        tokens: &[f32],
        sequences: &Sequences,
        turn: Turn<'_>,
    ) {
        let (width, group_width) = (self.width(), self.group * self.head_dim);
        let places = places(sequences, self.groups);
        self.split(heads, sequences)
            .into_par_iter()
            .zip(places)
            .for_each(|(part, (start, group))| {
                vectorized(|| {
                    for (position, to) in part.chunks_exact_mut(group_width).enumerate() {
                        let from = (start + position) * width + group * group_width;
                        self.turn(to, &tokens[from..from + group_width], position, turn);
                    }
                });
            });
    }

    /// Brings head order into token order.
    pub(crate) fn scatter(
        &self,
        tokens: &mut [f32],
        heads: &[f32],
        sequences: &Sequences,
        turn: Turn<'_>,
    ) {
        let (width, group_width) = (self.width(), self.group * self.head_dim);
        let mut parts = Vec::new();
        let mut rest = tokens;
        for range in sequences.ranges() {
            let (part, after) = rest.split_at_mut(range.len() * width);
            parts.push((part, range));
            rest = after;
        }
        parts.into_par_iter().for_each(|(part, range)| {
            let heads = &heads[range.start * width..range.end * width];
            vectorized(|| {
                for (position, row) in part.chunks_exact_mut(width).enumerate() {
                    for (group, to) in row.chunks_exact_mut(group_width).enumerate() {
                        let from = (group * range.len() + position) * group_width;
                        self.turn(to, &heads[from..from + group_width], position, turn);
                    }
                }
            });
        });
    }

    /// Copies a group's heads at one position, turned.
    #[inline(always)]
    fn turn(&self, to: &mut [f32], from: &[f32], position: usize, turn: Turn<'_>) {
        let (tables, sign) = match turn {
            Turn::None => return to.copy_from_slice(from),
            Turn::Forward(tables) => (tables, 1.0),
            Turn::Backward(tables) => (tables, -1.0),
        };
        let half = self.head_dim / 2;
        let (cos, sin) = tables.at(position);
        for (to, from) in to
            .chunks_exact_mut(self.head_dim)
            .zip(from.chunks_exact(self.head_dim))
        {
            let (to_low, to_high) = to.split_at_mut(half);
            let (low, high) = from.split_at(half);
            for i in 0..half {
                let sin = sign * sin[i];
                to_low[i] = low[i] * cos[i] - high[i] * sin;
                to_high[i] = high[i] * cos[i] + low[i] * sin;
            }
        }
    }
}

/// Lists (first row, group) of every sequence and group, in the order of [`Heads::split`].
pub(crate) fn places(sequences: &Sequences, groups: usize) -> Vec<(usize, usize)> {
    sequences
        .ranges()
        .flat_map(|range| (0..groups).map(move |group| (range.start, group)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::plain;
    use crate::ops::testing::{Operation, frequencies};

    #[test]
    fn turning_equals_the_plain_path_and_turns_back() {
        let heads = Heads {
            groups: 2,
            group: 3,
            head_dim: 8,
        };
        let sequences = Sequences::new([5, 1, 4]);
        let tables = RopeTables::new(5, &frequencies(heads.head_dim, 100.0));
        let length = sequences.tokens() * heads.width();
        Operation {
            name: "rope",
            shapes: &[&[sequences.tokens(), heads.width()]],
            forward: &|values| {
                let (mut ordered, mut output) = (vec![f32::NAN; length], vec![f32::NAN; length]);
                heads.gather(&mut ordered, &values[0], &sequences, Turn::Forward(&tables));
                heads.scatter(&mut output, &ordered, &sequences, Turn::None);
                output
            },
            backward: &|_, dy| {
                let (mut ordered, mut dx) = (vec![f32::NAN; length], vec![f32::NAN; length]);
                heads.gather(&mut ordered, dy, &sequences, Turn::None);
                heads.scatter(&mut dx, &ordered, &sequences, Turn::Backward(&tables));
                vec![dx]
            },
            plain: &|tensors| plain::rope(&tensors[0], &sequences, heads.head_dim, &tables),
        }
        .check();
    }

    #[test]
    fn a_position_turns_as_the_formula_says() {
        let heads = Heads {
            groups: 1,
            group: 1,
            head_dim: 4,
        };
        let tables = RopeTables::new(4, &frequencies(4, 10_000.0));
        let mut output = [0f32; 16];
        let input: Vec<f32> = [1.0, 0.0, 0.0, 0.0].repeat(4);
        heads.gather(
            &mut output,
            &input,
            &Sequences::new([4]),
            Turn::Forward(&tables),
        );
        // Element 0 turns with element 2 by one radian a position.
        assert!(
            (output[12] - 3f32.cos()).abs() < 1e-6 && (output[14] - 3f32.sin()).abs() < 1e-6,
            "{output:?}"
        );
    }
}
