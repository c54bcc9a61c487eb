//! Matrix products in f32: each output is one chain of fused multiply-adds over k, in order.

#![expect(
    unsafe_code,
    reason = "pointers into packed tiles; bounds are checked where slices come in"
)]
#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "every line of a kernel stands under the kernel's one contract"
)]

use super::lanes::{LANES, Lanes};
use super::{Isa, Line, SharedMut, Write, dispatch};

/// An `[n, k]` matrix packed as `[n / 16][k][16]`, the last tile filled up with zeros.
pub(crate) struct ExactMatrix {
    n: usize,
    k: usize,
    tiles: Vec<Line>,
}

impl ExactMatrix {
    /// Packs a row-major `[n, k]` matrix, each element times `scale`.
    pub(crate) fn pack(n: usize, k: usize, data: &[f32], scale: f32) -> Self {
        let mut matrix = Self::zeros(n, k);
        matrix.set_rows(0, data, scale);
        matrix
    }

    pub(crate) fn zeros(n: usize, k: usize) -> Self {
        Self {
            n,
            k,
            tiles: vec![Line([0.0; LANES]); n.div_ceil(LANES) * k],
        }
    }

    /// Writes rows from `first` on, each element times `scale`.
    pub(crate) fn set_rows(&mut self, first: usize, data: &[f32], scale: f32) {
        assert!(
            data.len().is_multiple_of(self.k) && first + data.len() / self.k <= self.n,
            "rows of the matrix"
        );
        for (row, values) in (first..).zip(data.chunks_exact(self.k)) {
            let tile = &mut self.tiles[row / LANES * self.k..][..self.k];
            for (line, value) in tile.iter_mut().zip(values) {
                line.0[row % LANES] = value * scale;
            }
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.n
    }

    pub(crate) fn tiles(&self) -> usize {
        self.n.div_ceil(LANES)
    }

    /// Tells the bytes of a matrix before it is made.
    pub(crate) fn bytes_of(n: usize, k: usize) -> usize {
        n.div_ceil(LANES) * k * size_of::<Line>()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.tiles.len() * size_of::<Line>()
    }

    /// Multiplies rows of `x` (`[rows, k]`) with tiles `first..first + count`, and writes the columns they stand for to
    /// `out` (`[rows, out_stride]`, from column `out_column`).
    ///
    /// # Safety
    /// Nothing else reads or writes those columns meanwhile.
    #[expect(
        clippy::too_many_arguments,
        reason = "a product takes its shapes one by one"
    )]
    pub(crate) unsafe fn multiply(
        &self,
        isa: Isa,
        x: &[f32],
        first: usize,
        count: usize,
        out: &SharedMut<f32>,
        out_stride: usize,
        out_column: usize,
        write: Write,
    ) {
        let rows = x.len() / self.k;
        assert!(
            x.len() == rows * self.k && first + count <= self.tiles(),
            "whole rows and tiles"
        );
        assert!(
            rows * out_stride <= out.len() && out_column + self.n <= out_stride,
            "room for the product"
        );
        for tile in first..first + count {
            let width = LANES.min(self.n - tile * LANES);
            let weights = self.tiles[tile * self.k..][..self.k].as_ptr().cast();
            let to = out.as_ptr().add(out_column + tile * LANES);
            multiply_tile(
                isa,
                x.as_ptr(),
                self.k,
                weights,
                self.k,
                rows,
                to,
                out_stride,
                width,
                write,
            );
        }
    }
}

/// Multiplies query rows with keys or probability rows with values: one tile `[k][16]`, `k` and strides in elements.
///
/// # Safety
/// `x` holds `rows` rows of `k` elements, `x_stride` apart; `tile` holds `k` lines; `out` has room for `rows` rows of
/// sixteen, `out_stride` apart, that nothing else uses meanwhile.
#[expect(
    clippy::too_many_arguments,
    reason = "a product takes its shapes one by one"
)]
pub(crate) unsafe fn multiply_one_tile(
    isa: Isa,
    x: *const f32,
    x_stride: usize,
    tile: *const f32,
    k: usize,
    rows: usize,
    out: *mut f32,
    out_stride: usize,
) {
    multiply_tile(
        isa,
        x,
        x_stride,
        tile,
        k,
        rows,
        out,
        out_stride,
        LANES,
        Write::Store,
    );
}

dispatch! {
    #[expect(clippy::too_many_arguments, reason = "a kernel takes its shapes and strides one by one")]
    unsafe fn multiply_tile(
        x: *const f32, x_stride: usize, tile: *const f32, k: usize, rows: usize,
        out: *mut f32, out_stride: usize, width: usize, write: Write,
    ) = tile_kernel
}

#[inline(always)]
#[expect(
    clippy::too_many_arguments,
    reason = "a kernel takes its shapes and strides one by one"
)]
unsafe fn tile_kernel<L: Lanes>(
    x: *const f32,
    x_stride: usize,
    tile: *const f32,
    k: usize,
    rows: usize,
    out: *mut f32,
    out_stride: usize,
    width: usize,
    write: Write,
) {
    let mut row = 0;
    while row < rows {
        let x = x.add(row * x_stride);
        let out = out.add(row * out_stride);
        let left = rows - row;
        macro_rules! block {
            ($rows:literal) => {{
                row_block::<L, $rows>(x, x_stride, tile, k, out, out_stride, width, write);
                row += $rows;
            }};
        }
        if L::ROWS >= 8 && left >= 16 {
            block!(16)
        } else if L::ROWS >= 8 && left >= 8 {
            block!(8)
        } else if left >= 4 {
            block!(4)
        } else if left >= 3 {
            block!(3)
        } else if left >= 2 {
            block!(2)
        } else {
            block!(1)
        }
    }
}

#[inline(always)]
#[expect(
    clippy::too_many_arguments,
    reason = "a kernel takes its shapes and strides one by one"
)]
unsafe fn row_block<L: Lanes, const ROWS: usize>(
    x: *const f32,
    x_stride: usize,
    tile: *const f32,
    k: usize,
    out: *mut f32,
    out_stride: usize,
    width: usize,
    write: Write,
) {
    let mut sums = [L::splat(0.0); ROWS];
    for i in 0..k {
        let weights = L::load(tile.add(i * LANES));
        for (row, sum) in sums.iter_mut().enumerate() {
            *sum = L::mul_add(L::splat(*x.add(row * x_stride + i)), weights, *sum);
        }
    }
    for (row, sum) in sums.into_iter().enumerate() {
        write_lanes::<L>(out.add(row * out_stride), sum, width, write);
    }
}

/// Writes the first `width` lanes.
#[inline(always)]
pub(super) unsafe fn write_lanes<L: Lanes>(to: *mut f32, sum: L::F, width: usize, write: Write) {
    if width == LANES {
        let sum = if write == Write::Add {
            L::add(L::load(to), sum)
        } else {
            sum
        };
        L::store(to, sum);
        return;
    }
    let mut lanes = [0f32; LANES];
    L::store(lanes.as_mut_ptr(), sum);
    for (i, lane) in lanes.into_iter().take(width).enumerate() {
        *to.add(i) = if write == Write::Add {
            *to.add(i) + lane
        } else {
            lane
        };
    }
}
