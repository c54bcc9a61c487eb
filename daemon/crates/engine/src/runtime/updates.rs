//! What an adapter changes about the base, beside its weights and never merged, but for weights that were trained themselves, which
//! a decoder of the adapter's own has: of linear layers
//! `y = factors * (W x + scale * B A x) + bias + shift`, x multiplied by `input_factors` before (LoRA, DoRA, IA3, biases);
//! after the parts of a layer bottlenecks; and before a sequence virtual tokens.

#![expect(unsafe_code, reason = "tasks write the rows of their own tokens")]

use crate::kernels::{ExactMatrix, SharedMut, Write};
use crate::methods::{BottleneckPlan, NonLinearity, Part as LayerPart, Target};
use crate::models::config::ModelConfig;
use crate::ops::bottleneck::activated;

use super::decoder::Decoder;
use super::device::DeviceUpdates;
use super::team::Team;

/// Rows of a task; as many as the matrix kernel keeps in registers.
const ROWS: usize = 16;

/// A low-rank update in rows of numbers, to be packed.
pub(crate) struct LowRankParts<'a> {
    /// `[rank, inputs]`.
    pub(crate) a: &'a [f32],
    /// `[outputs, rank]`.
    pub(crate) b: &'a [f32],
    pub(crate) rank: usize,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// What multiplies B A.
    pub(crate) scale: f32,
}

/// What changes about one linear layer in rows of numbers, to be packed; as [`LinearUpdate`].
pub(crate) struct UpdateParts<'a> {
    pub(crate) low_rank: Option<LowRankParts<'a>>,
    pub(crate) factors: Option<Vec<f32>>,
    pub(crate) shift: Option<Vec<f32>>,
    pub(crate) input_factors: Option<&'a [f32]>,
}

/// The low-rank update of one matrix.
pub(crate) struct LowRankPair {
    /// `[r, in]`.
    pub(crate) a: ExactMatrix,
    /// `[out, r]`, times the update's scale.
    pub(crate) b: ExactMatrix,
}

/// What changes about one linear layer.
#[derive(Default)]
pub(crate) struct LinearUpdate {
    /// Is added to the matrix.
    pub(crate) low_rank: Option<LowRankPair>,
    /// Multiply what the matrix and its update give, `[out]`.
    pub(crate) factors: Option<Vec<f32>>,
    /// Is added after that, beside the base's bias, `[out]`.
    pub(crate) shift: Option<Vec<f32>>,
    /// Multiply what the layer takes, `[in]`; only where no other layer takes it.
    pub(crate) input_factors: Option<Vec<f32>>,
}

/// A bottleneck in rows of numbers, to be packed.
pub(crate) struct BottleneckParts<'a> {
    /// `[width, hidden]` and `[width]`.
    pub(crate) down: [&'a [f32]; 2],
    /// `[hidden, width]` and `[hidden]`.
    pub(crate) up: [&'a [f32]; 2],
    pub(crate) plan: &'a BottleneckPlan,
}

/// What follows a part of a layer: up · act(down · z + down_bias) + up_bias is added to the residual stream.
pub(crate) struct BottleneckUpdate {
    /// `[width, hidden]`.
    down: ExactMatrix,
    down_bias: Vec<f32>,
    /// `[hidden, width]`.
    up: ExactMatrix,
    up_bias: Vec<f32>,
    non_linearity: NonLinearity,
    /// Whether z is the residual stream with what the part gives, or the latter alone.
    pub(crate) reads_stream: bool,
}

/// The keys and values of a layer's first positions, `[virtual tokens, kv_heads * head_dim]` each.
pub(crate) struct PrefixRows {
    pub(crate) keys: Vec<f32>,
    pub(crate) values: Vec<f32>,
}

/// What changes about one decoder layer: of its linear layers, after its parts, and before its keys and values.
pub(crate) struct LayerUpdates<U = LinearUpdate, B = BottleneckUpdate, P = PrefixRows> {
    /// In the order of [`Target::ALL`].
    pub(crate) linear: [Option<U>; Target::ALL.len()],
    /// In the order of [`LayerPart::ALL`].
    pub(crate) bottlenecks: [Option<B>; LayerPart::ALL.len()],
    pub(crate) prefix: Option<P>,
}

impl<U, B, P> Default for LayerUpdates<U, B, P> {
    fn default() -> Self {
        Self {
            linear: Target::ALL.map(|_| None),
            bottlenecks: LayerPart::ALL.map(|_| None),
            prefix: None,
        }
    }
}

impl<U, B, P> LayerUpdates<U, B, P> {
    /// Shows a layer's update, where it has one.
    pub(crate) fn of(&self, target: Target) -> Option<&U> {
        self.linear[target as usize].as_ref()
    }

    /// Shows what follows a part, where something does.
    pub(crate) fn bottleneck(&self, part: LayerPart) -> Option<&B> {
        self.bottlenecks[part as usize].as_ref()
    }
}

/// What an adapter changes about a whole model.
pub(crate) struct ModelUpdates<D, L> {
    pub(crate) layers: Vec<L>,
    /// The embeddings of virtual tokens, `[virtual tokens, hidden]`; their ids count from the end of the vocabulary on.
    pub(crate) virtual_rows: Vec<f32>,
    /// The decoder with weights of the adapter's in the place of the base's, where it has some.
    pub(crate) decoder: Option<Box<D>>,
}

/// As our kernels take them.
pub(crate) type OwnUpdates = ModelUpdates<Decoder, LayerUpdates>;

/// The updates of a model, for what runs it.
pub(crate) enum Updates {
    /// Packed for our kernels.
    Own(OwnUpdates),
    /// On a device.
    Device(DeviceUpdates),
}

impl Updates {
    /// Counts the numbers of the virtual tokens' embeddings.
    pub(crate) fn virtual_rows(&self) -> usize {
        match self {
            Self::Own(updates) => updates.virtual_rows.len(),
            Self::Device(updates) => updates.virtual_rows.len(),
        }
    }

    /// Tells the bytes they take.
    pub(crate) fn bytes(&self) -> usize {
        let rows = self.virtual_rows() * size_of::<f32>();
        rows + match self {
            Self::Own(updates) => {
                let layers = updates.layers.iter().map(|l| l.bytes()).sum::<usize>();
                layers + updates.decoder.as_ref().map_or(0, |d| d.own_bytes())
            }
            Self::Device(updates) => {
                let layers = updates.layers.iter().map(|l| l.bytes()).sum::<usize>();
                layers + updates.decoder.as_ref().map_or(0, |d| d.own_bytes())
            }
        }
    }
}

impl<D, L> ModelUpdates<D, L> {
    /// Shows the embedding of a virtual token; none for an id of the vocabulary, or of no token at all.
    pub(crate) fn virtual_row(&self, id: u32, config: &ModelConfig) -> Option<&[f32]> {
        let index = (id as usize).checked_sub(config.vocab_size)?;
        self.virtual_rows
            .chunks_exact(config.hidden_size)
            .nth(index)
    }
}

impl LayerUpdates {
    fn bytes(&self) -> usize {
        let linear = self.linear.iter().flatten().map(LinearUpdate::bytes);
        let bottlenecks = self.bottlenecks.iter().flatten();
        let bottlenecks = bottlenecks.map(BottleneckUpdate::bytes);
        let prefix = self.prefix.as_ref();
        let prefix = prefix.map_or(0, |prefix| prefix.keys.len() + prefix.values.len());
        linear.chain(bottlenecks).sum::<usize>() + prefix * size_of::<f32>()
    }
}

impl BottleneckUpdate {
    /// Packs a bottleneck.
    pub(crate) fn pack(parts: &BottleneckParts<'_>) -> Self {
        let [down, down_bias] = parts.down;
        let [up, up_bias] = parts.up;
        let (width, hidden) = (down_bias.len(), up_bias.len());
        Self {
            down: ExactMatrix::pack(width, hidden, down, 1.0),
            down_bias: down_bias.to_vec(),
            up: ExactMatrix::pack(hidden, width, up, 1.0),
            up_bias: up_bias.to_vec(),
            non_linearity: parts.plan.non_linearity,
            reads_stream: parts.plan.reads_stream,
        }
    }

    fn bytes(&self) -> usize {
        let biases = self.down_bias.len() + self.up_bias.len();
        self.down.bytes() + self.up.bytes() + biases * size_of::<f32>()
    }

    /// Adds what the bottleneck makes of z `[rows, hidden]` to `to`; of `to` itself where z is none.
    pub(crate) fn add(&self, team: &Team, to: &mut [f32], z: Option<&[f32]>) {
        let (hidden, width) = (self.up_bias.len(), self.down_bias.len());
        let rows = to.len() / hidden;
        let shared = SharedMut::new(to);
        team.run_ranges(rows, ROWS, &|range| {
            let (first, count) = (range.start * hidden, range.len() * hidden);
            let mut inner = vec![0f32; range.len() * width];
            // SAFETY: these rows belong to this task, and `inner` is its own; the first product is through with the rows when the
            // second one writes them.
            unsafe {
                let z = match z {
                    Some(z) => &z[first..first + count],
                    None => &*shared.slice(first, count),
                };
                let store = SharedMut::new(&mut inner);
                self.down.multiply(
                    team.isa(),
                    z,
                    0,
                    self.down.tiles(),
                    &store,
                    width,
                    0,
                    Write::Store,
                );
            }
            for row in inner.chunks_exact_mut(width) {
                for (x, bias) in row.iter_mut().zip(&self.down_bias) {
                    *x = activated(self.non_linearity, *x + bias);
                }
            }
            // SAFETY: as above.
            let rows = unsafe { shared.slice(first, count) };
            let to = SharedMut::new(rows);
            // SAFETY: as above.
            unsafe {
                self.up.multiply(
                    team.isa(),
                    &inner,
                    0,
                    self.up.tiles(),
                    &to,
                    hidden,
                    0,
                    Write::Add,
                );
            }
            for row in rows.chunks_exact_mut(hidden) {
                row.iter_mut().zip(&self.up_bias).for_each(|(x, b)| *x += b);
            }
        });
    }
}

impl LinearUpdate {
    pub(crate) fn bytes(&self) -> usize {
        let low_rank = self.low_rank.as_ref();
        let vectors = [&self.factors, &self.shift, &self.input_factors];
        let numbers: usize = vectors.into_iter().flatten().map(Vec::len).sum();
        low_rank.map_or(0, |pair| pair.a.bytes() + pair.b.bytes()) + numbers * size_of::<f32>()
    }

    /// Tells whether the update is something other than a sum, so that what the matrix gives must stand alone.
    pub(crate) fn needs_product(&self) -> bool {
        self.factors.is_some()
    }

    /// Applies what multiplies and is added to a row's part.
    fn finish(&self, row: &mut [f32]) {
        if let Some(factors) = &self.factors {
            row.iter_mut().zip(factors).for_each(|(y, f)| *y *= f);
        }
        if let Some(shift) = &self.shift {
            row.iter_mut().zip(shift).for_each(|(y, s)| *y += s);
        }
    }
}

/// Multiplies what a layer takes, `[rows, width]`, where its update does that.
pub(crate) fn scale_inputs(
    team: &Team,
    update: Option<&LinearUpdate>,
    x: &mut [f32],
    width: usize,
) {
    let Some(factors) = update.and_then(|update| update.input_factors.as_deref()) else {
        return;
    };
    let rows = x.len() / width;
    let shared = SharedMut::new(x);
    team.run_ranges(rows, ROWS, &|range| {
        for row in range {
            // SAFETY: this row belongs to this task.
            let row = unsafe { shared.slice(row * width, width) };
            row.iter_mut().zip(factors).for_each(|(x, f)| *x *= f);
        }
    });
}

/// Where a layer's output stands in the rows of a buffer.
pub(crate) struct Part<'a> {
    pub(crate) update: Option<&'a LinearUpdate>,
    /// The first column.
    pub(crate) column: usize,
    /// The columns.
    pub(crate) width: usize,
}

/// Applies updates to `out` (`[rows, out_stride]`), which holds what the matrices give of `x` (`[rows, width]`).
pub(crate) fn apply_updates(
    team: &Team,
    parts: &[Part<'_>],
    x: &[f32],
    width: usize,
    out: &mut [f32],
    out_stride: usize,
) {
    let present: Vec<(&LinearUpdate, &Part<'_>)> = parts
        .iter()
        .filter_map(|part| Some((part.update?, part)))
        .collect();
    if present.is_empty() {
        return;
    }
    let rows = x.len() / width;
    let shared = SharedMut::new(out);
    team.run_ranges(rows, ROWS, &|range| {
        let x = &x[range.start * width..range.end * width];
        for (update, part) in &present {
            if let Some(pair) = &update.low_rank {
                let rank = pair.a.rows();
                let mut low = vec![0f32; range.len() * rank];
                let low_shared = SharedMut::new(&mut low);
                // SAFETY: `low` is this task's own; the rows of `out` belong to this task alone.
                unsafe {
                    pair.a.multiply(
                        team.isa(),
                        x,
                        0,
                        pair.a.tiles(),
                        &low_shared,
                        rank,
                        0,
                        Write::Store,
                    );
                    let rows = shared.slice(range.start * out_stride, range.len() * out_stride);
                    let rows = SharedMut::new(rows);
                    pair.b.multiply(
                        team.isa(),
                        &low,
                        0,
                        pair.b.tiles(),
                        &rows,
                        out_stride,
                        part.column,
                        Write::Add,
                    );
                }
            }
            for row in range.clone() {
                // SAFETY: as above.
                let row = unsafe { shared.slice(row * out_stride + part.column, part.width) };
                update.finish(row);
            }
        }
    });
}
