//! Trained numbers that stand before every sequence as if they were tokens (prompt and prefix tuning).

use std::ops::Range;

use candle_core::{Result, Tensor};

/// What stands before a sequence; numbers are in the slice outside of the layers.
#[derive(Clone, Debug)]
pub(crate) enum VirtualTokens {
    /// Embeddings, `[count, hidden]` (Lester et al. 2021).
    Prompt { count: usize, rows: Range<usize> },
    /// Keys and values of every layer (Li and Liang 2021).
    Prefix {
        count: usize,
        encoder: PrefixEncoder,
    },
}

impl VirtualTokens {
    /// Counts the positions that they take.
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Prompt { count, .. } | Self::Prefix { count, .. } => *count,
        }
    }
}

/// What gives a prefix its keys and values: `[count, layers * 2 * width]`, keys before values, width = kv_heads * head_dim.
#[derive(Clone, Debug)]
pub(crate) enum PrefixEncoder {
    /// The numbers themselves.
    Table(Range<usize>),
    /// W2 · tanh(W1 · e + b1) + b2 of an embedding e `[count, width]` (`prefix_projection`).
    Projection {
        embedding: Range<usize>,
        /// W1 `[hidden, width]` and b1.
        inner: [Range<usize>; 2],
        /// W2 `[layers * 2 * width, hidden]` and b2.
        outer: [Range<usize>; 2],
    },
}

impl PrefixEncoder {
    /// Computes the table `[count, columns]` of the slice.
    pub(crate) fn table(&self, slice: &Tensor, count: usize) -> Result<Tensor> {
        let part = |range: &Range<usize>| slice.narrow(0, range.start, range.len());
        match self {
            Self::Table(range) => part(range)?.reshape((count, ())),
            Self::Projection {
                embedding,
                inner,
                outer,
            } => {
                let layer = |x: &Tensor, [weight, bias]: &[Range<usize>; 2]| {
                    let weight = part(weight)?.reshape((bias.len(), ()))?;
                    x.matmul(&weight.t()?)?.broadcast_add(&part(bias)?)
                };
                let embedding = part(embedding)?.reshape((count, ()))?;
                layer(&layer(&embedding, inner)?.tanh()?, outer)
            }
        }
    }
}
