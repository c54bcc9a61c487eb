//! Low-rank updates beside the base's matrices: `y += lora_alpha / r * B (A x)` (Hu et al. 2021), never merged.

#![expect(unsafe_code, reason = "tasks write the rows of their own tokens")]

use crate::kernels::{ExactMatrix, SharedMut, Write};

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

/// The updates of one layer's matrices.
#[derive(Default)]
pub(crate) struct LoraLayer {
    pub(crate) q_proj: Option<LoraPair>,
    pub(crate) k_proj: Option<LoraPair>,
    pub(crate) v_proj: Option<LoraPair>,
    pub(crate) o_proj: Option<LoraPair>,
    pub(crate) gate_proj: Option<LoraPair>,
    pub(crate) up_proj: Option<LoraPair>,
    pub(crate) down_proj: Option<LoraPair>,
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
