//! What an adapter changes about the base's linear layers, beside their matrices and never merged:
//! `y = factors * (W x + scale * B A x) + bias + shift`, x multiplied by `input_factors` before (LoRA, DoRA, IA3, biases).

#![expect(unsafe_code, reason = "tasks write the rows of their own tokens")]

use crate::kernels::{ExactMatrix, SharedMut, Write};
use crate::methods::Target;

use super::device::DeviceUpdate;
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

/// The updates of every layer, for what runs the model.
pub(crate) enum Updates {
    /// Packed for our kernels.
    Own(Vec<LayerUpdates>),
    /// On a device.
    Device(Vec<LayerUpdates<DeviceUpdate>>),
}

/// The updates of one decoder layer.
pub(crate) struct LayerUpdates<U = LinearUpdate> {
    /// In the order of [`Target::ALL`].
    pub(crate) linear: [Option<U>; Target::ALL.len()],
}

impl<U> Default for LayerUpdates<U> {
    fn default() -> Self {
        Self {
            linear: Target::ALL.map(|_| None),
        }
    }
}

impl<U> LayerUpdates<U> {
    /// Shows a layer's update, where it has one.
    pub(crate) fn of(&self, target: Target) -> Option<&U> {
        self.linear[target as usize].as_ref()
    }

    /// Goes through the updates there are.
    pub(crate) fn all(&self) -> impl Iterator<Item = &U> {
        self.linear.iter().flatten()
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
