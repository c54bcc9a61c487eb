//! Where the sequences of a batch begin and end in its rows of tokens.

use std::ops::Range;

/// The lengths of a batch's sequences, which lie one after another without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sequences {
    offsets: Vec<usize>,
}

impl Sequences {
    /// Lays sequences of these lengths one after another.
    pub(crate) fn new(lengths: impl IntoIterator<Item = usize>) -> Self {
        let mut offsets = vec![0];
        let mut end = 0;
        for length in lengths {
            assert!(length > 0, "a sequence without tokens");
            end += length;
            offsets.push(end);
        }
        Self { offsets }
    }

    /// Counts the tokens of all sequences.
    pub(crate) fn tokens(&self) -> usize {
        *self
            .offsets
            .last()
            .expect("there is always the first offset, 0")
    }

    /// Walks over the sequences' ranges of rows.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.offsets.windows(2).map(|pair| pair[0]..pair[1])
    }

    /// Finds the longest sequence's length.
    pub(crate) fn longest(&self) -> usize {
        self.ranges().map(|range| range.len()).max().unwrap_or(0)
    }
}
