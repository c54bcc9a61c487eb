//! Low-rank updates beside the base's matrices: `y += lora_alpha / r * B (A x)` (Hu et al. 2021), never merged.

#![expect(unsafe_code, reason = "tasks write the rows of their own tokens")]

use crate::kernels::{ExactMatrix, SharedMut, Write};

use super::device::DevicePair;
use super::team::Team;

/// Rows of a task; as many as the matrix kernel keeps in registers.
const ROWS: usize = 16;

/// The update of one matrix.
pub(crate) struct LoraPair {
    /// `[r, in]`.
    pub(crate) a: ExactMatrix,
    /// `[out, r]`, times lora_alpha / r.
    pub(crate) b: ExactMatrix,
}

/// The updates of every layer, for what runs the model.
pub(crate) enum Updates {
    /// Packed for our kernels.
    Own(Vec<LoraLayer>),
    /// On a device.
    Device(Vec<LoraLayer<DevicePair>>),
}

/// The updates of one layer's matrices.
pub(crate) struct LoraLayer<P = LoraPair> {
    pub(crate) q_proj: Option<P>,
    pub(crate) k_proj: Option<P>,
    pub(crate) v_proj: Option<P>,
    pub(crate) o_proj: Option<P>,
    pub(crate) gate_proj: Option<P>,
    pub(crate) up_proj: Option<P>,
    pub(crate) down_proj: Option<P>,
}

impl<P> Default for LoraLayer<P> {
    fn default() -> Self {
        Self {
            q_proj: None,
            k_proj: None,
            v_proj: None,
            o_proj: None,
            gate_proj: None,
            up_proj: None,
            down_proj: None,
        }
    }
}

impl<P> LoraLayer<P> {
    /// Goes through the updates there are.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = &P> {
        let pairs = [
            &self.q_proj,
            &self.k_proj,
            &self.v_proj,
            &self.o_proj,
            &self.gate_proj,
            &self.up_proj,
            &self.down_proj,
        ];
        pairs.into_iter().flatten()
    }
}

impl LoraPair {
    pub(crate) fn bytes(&self) -> usize {
        self.a.bytes() + self.b.bytes()
    }
}

/// Adds updates to `out` (`[rows, out_stride]`), each to the columns from the one beside it on; `x` is `[rows, width]`.
pub(crate) fn add_updates(
    team: &Team,
    updates: &[(Option<&LoraPair>, usize)],
    x: &[f32],
    width: usize,
    out: &mut [f32],
    out_stride: usize,
) {
    let present: Vec<(&LoraPair, usize)> = updates
        .iter()
        .filter_map(|(pair, column)| Some(((*pair)?, *column)))
        .collect();
    if present.is_empty() {
        return;
    }
    let rows = x.len() / width;
    let shared = SharedMut::new(out);
    team.run_ranges(rows, ROWS, &|range| {
        let x = &x[range.start * width..range.end * width];
        for (pair, column) in &present {
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
                    *column,
                    Write::Add,
                );
            }
        }
    });
}
