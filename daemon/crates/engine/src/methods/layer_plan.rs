//! What is trained in one decoder layer, and where in its slice of numbers it stands.

use std::ops::Range;

use super::module::Norm;
use super::target::Target;

/// Numbers that are trained together: one variable with one gradient.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slice {
    parameters: usize,
    /// Ranges that weight decay leaves alone, in their order.
    undecayed: Vec<Range<usize>>,
}

impl Slice {
    /// Makes room for more numbers; tells where.
    pub(super) fn add(&mut self, numbers: usize, is_decayed: bool) -> Range<usize> {
        let range = self.parameters..self.parameters + numbers;
        self.parameters = range.end;
        if !is_decayed {
            self.undecayed.push(range.clone());
        }
        range
    }

    /// Counts the numbers.
    pub(crate) fn parameters(&self) -> usize {
        self.parameters
    }

    /// Shows the ranges that weight decay leaves alone, in their order.
    pub(crate) fn undecayed(&self) -> &[Range<usize>] {
        &self.undecayed
    }

    /// A slice of so many numbers, to test what goes through slices.
    #[cfg(test)]
    pub(crate) fn of_ranges(parameters: usize, undecayed: &[Range<usize>]) -> Self {
        Self {
            parameters,
            undecayed: undecayed.to_vec(),
        }
    }
}

/// A low-rank update in its layer's slice: `scale * B * A`.
#[derive(Clone, Debug)]
pub(crate) struct LowRankPlan {
    /// A `[rank, inputs]`.
    pub(crate) a: Range<usize>,
    /// B `[outputs, rank]`, which follows A.
    pub(crate) b: Range<usize>,
    /// The rank.
    pub(crate) rank: usize,
    /// What multiplies the update.
    pub(crate) scale: f32,
    /// The chance that an element of the update's input is zeroed in training.
    pub(crate) dropout: f32,
}

/// What is trained about one linear layer y = Wx + b.
#[derive(Clone, Debug, Default)]
pub(crate) struct LinearPlan {
    /// Stands in W's place, `[outputs, inputs]`.
    pub(crate) weight: Option<Range<usize>>,
    /// Adds an update to W.
    pub(crate) low_rank: Option<LowRankPlan>,
    /// The norms of the rows of W and its update, `[outputs]`, which the update does not change (DoRA).
    pub(crate) magnitude: Option<Range<usize>>,
    /// Multiplies y, b included, `[outputs]` (IA3).
    pub(crate) output_scale: Option<Range<usize>>,
    /// Multiplies x, `[inputs]` (IA3).
    pub(crate) input_scale: Option<Range<usize>>,
    /// Stands in b's place, `[outputs]`.
    pub(crate) bias: Option<Range<usize>>,
}

impl LinearPlan {
    /// Tells whether something acts on the layer beside numbers that stand in its own places.
    pub(crate) fn is_updated(&self) -> bool {
        self.low_rank.is_some() || self.scales_output() || self.input_scale.is_some()
    }

    /// Tells whether the gradients of the trained numbers need the layer's input.
    pub(crate) fn reads_input(&self) -> bool {
        self.is_updated() || self.weight.is_some()
    }

    /// Tells whether something multiplies what the layer gives.
    pub(crate) fn scales_output(&self) -> bool {
        self.magnitude.is_some() || self.output_scale.is_some()
    }
}

/// The part of a decoder layer that a bottleneck follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Attention,
    FeedForward,
}

impl Part {
    pub(crate) const ALL: [Self; 2] = [Self::Attention, Self::FeedForward];
}

/// The activation of a bottleneck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NonLinearity {
    Relu,
    /// x · sigmoid(x), which `adapters` calls swish.
    Swish,
}

/// A bottleneck after a part of the layer: up · act(down · z + down_bias) + up_bias is added to the residual stream beside what the part
/// gives (Houlsby et al. 2019).
#[derive(Clone, Debug)]
pub(crate) struct BottleneckPlan {
    /// `[width, hidden]`.
    pub(crate) down: Range<usize>,
    /// `[width]`.
    pub(crate) down_bias: Range<usize>,
    /// `[hidden, width]`.
    pub(crate) up: Range<usize>,
    /// `[hidden]`.
    pub(crate) up_bias: Range<usize>,
    /// Numbers between down and up.
    pub(crate) width: usize,
    pub(crate) non_linearity: NonLinearity,
    /// Whether z is the residual stream with what the part gives (Pfeiffer et al. 2020), or the latter alone.
    pub(crate) reads_stream: bool,
}

/// Keys and values that stand before those of a sequence's tokens, `[tokens, kv_heads * head_dim]` each, in what the layer takes
/// behind its own slice.
#[derive(Clone, Debug)]
pub(crate) struct PrefixPlan {
    pub(crate) keys: Range<usize>,
    pub(crate) values: Range<usize>,
}

/// What is trained in one decoder layer.
#[derive(Clone, Debug, Default)]
pub(crate) struct LayerPlan {
    pub(super) slice: Slice,
    pub(super) linear: [LinearPlan; Target::ALL.len()],
    pub(super) norms: [Option<Range<usize>>; Norm::ALL.len()],
    pub(super) bottlenecks: [Option<BottleneckPlan>; Part::ALL.len()],
    pub(super) prefix: Option<PrefixPlan>,
}

impl LayerPlan {
    /// Shows what is trained about a linear layer.
    pub(crate) fn linear(&self, target: Target) -> &LinearPlan {
        &self.linear[target as usize]
    }

    /// Shows where the numbers in a norm's place stand: as Hugging Face has them, which for some families is less one.
    pub(crate) fn norm(&self, norm: Norm) -> Option<&Range<usize>> {
        self.norms[norm as usize].as_ref()
    }

    /// Shows the bottleneck after a part.
    pub(crate) fn bottleneck(&self, part: Part) -> Option<&BottleneckPlan> {
        self.bottlenecks[part as usize].as_ref()
    }

    /// Shows what stands before every sequence's keys and values.
    pub(crate) fn prefix(&self) -> Option<&PrefixPlan> {
        self.prefix.as_ref()
    }

    /// Shows the slice.
    pub(crate) fn slice(&self) -> &Slice {
        &self.slice
    }

    /// Counts the trainable numbers of the slice.
    pub(crate) fn parameters(&self) -> usize {
        self.slice.parameters()
    }

    /// Counts the numbers that the layer takes: its slice, and its prefix behind it.
    pub(crate) fn taken(&self) -> usize {
        let prefix = self.prefix.as_ref();
        prefix.map_or(self.parameters(), |prefix| prefix.values.end)
    }
}
