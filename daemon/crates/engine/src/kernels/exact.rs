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
            let weights: *const f32 = self.tiles[tile * self.k..][..self.k].as_ptr().cast();
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

/// A tile `[k][16]` of keys or values, of f32 or of IEEE 754 halves.
#[derive(Clone, Copy)]
pub(crate) enum Tile<'a> {
    F32(&'a [f32]),
    F16(&'a [u16]),
}

impl<'a> Tile<'a> {
    /// Shows whole lines as a tile.
    pub(crate) fn of_lines(lines: &'a [Line]) -> Self {
        // SAFETY: a line is sixteen f32 and nothing else.
        let elements =
            unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * LANES) };
        Self::F32(elements)
    }
}

/// Multiplies query rows with keys or probability rows with values, in f32; `k` and strides in elements.
///
/// # Safety
/// `x` holds `rows` rows of `k` elements, `x_stride` apart; `out` has room for `rows` rows of sixteen, `out_stride` apart,
/// that nothing else uses meanwhile.
///
/// # Panics
/// When the tile holds less than `k` lines.
#[expect(
    clippy::too_many_arguments,
    reason = "a product takes its shapes one by one"
)]
pub(crate) unsafe fn multiply_one_tile(
    isa: Isa,
    x: *const f32,
    x_stride: usize,
    tile: Tile<'_>,
    k: usize,
    rows: usize,
    out: *mut f32,
    out_stride: usize,
) {
    let (width, write) = (LANES, Write::Store);
    match tile {
        Tile::F32(tile) => {
            let tile = tile[..k * LANES].as_ptr();
            multiply_tile(
                isa, x, x_stride, tile, k, rows, out, out_stride, width, write,
            );
        }
        Tile::F16(tile) => {
            let tile = tile[..k * LANES].as_ptr();
            multiply_half_tile(
                isa, x, x_stride, tile, k, rows, out, out_stride, width, write,
            );
        }
    }
}

/// Rounds sixteen f32 to halves.
pub(crate) fn round_to_f16(isa: Isa, from: &[f32; LANES], to: &mut [u16; LANES]) {
    // SAFETY: both hold sixteen elements.
    unsafe { round_row(isa, from.as_ptr(), to.as_mut_ptr()) }
}

dispatch! {
    unsafe fn round_row(from: *const f32, to: *mut u16) = round_kernel
}

#[inline(always)]
unsafe fn round_kernel<L: Lanes>(from: *const f32, to: *mut u16) {
    L::store_f16(to, L::load(from));
}

dispatch! {
    #[expect(clippy::too_many_arguments, reason = "a kernel takes its shapes and strides one by one")]
    unsafe fn multiply_tile(
        x: *const f32, x_stride: usize, tile: *const f32, k: usize, rows: usize,
        out: *mut f32, out_stride: usize, width: usize, write: Write,
    ) = tile_kernel
}

dispatch! {
    #[expect(clippy::too_many_arguments, reason = "a kernel takes its shapes and strides one by one")]
    unsafe fn multiply_half_tile(
        x: *const f32, x_stride: usize, tile: *const u16, k: usize, rows: usize,
        out: *mut f32, out_stride: usize, width: usize, write: Write,
    ) = tile_kernel
}

/// What a tile may hold.
trait Element: Copy {
    /// Reads sixteen.
    ///
    /// # Safety
    /// As [`Lanes`].
    unsafe fn load<L: Lanes>(from: *const Self) -> L::F;
}

impl Element for f32 {
    #[inline(always)]
    unsafe fn load<L: Lanes>(from: *const Self) -> L::F {
        L::load(from)
    }
}

/// The bits of an IEEE 754 half.
impl Element for u16 {
    #[inline(always)]
    unsafe fn load<L: Lanes>(from: *const Self) -> L::F {
        L::load_f16(from)
    }
}

#[inline(always)]
#[expect(
    clippy::too_many_arguments,
    reason = "a kernel takes its shapes and strides one by one"
)]
unsafe fn tile_kernel<L: Lanes>(
    x: *const f32,
    x_stride: usize,
    tile: *const impl Element,
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
    tile: *const impl Element,
    k: usize,
    out: *mut f32,
    out_stride: usize,
    width: usize,
    write: Write,
) {
    let mut sums = [L::splat(0.0); ROWS];
    for i in 0..k {
        let weights = Element::load::<L>(tile.add(i * LANES));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_rounded_and_multiplied_alike_by_every_processor() {
        let values: Vec<f32> = (0..3 * LANES)
            .map(|i| (i as f32 - 20.0) * 0.37 + 1e-5 * i as f32)
            .collect();
        let expect: Vec<u16> = values
            .iter()
            .map(|value| half::f16::from_f32(*value).to_bits())
            .collect();
        let widened: Vec<f32> = expect
            .iter()
            .map(|bits| half::f16::from_bits(*bits).to_f32())
            .collect();
        let x = [0.5f32, -1.25, 3.0, 0.1, 2.0, -7.0];
        for isa in Isa::all().into_iter().filter(|isa| isa.is_supported()) {
            let mut halves = Vec::new();
            for row in values.chunks_exact(LANES) {
                let mut to = [0u16; LANES];
                round_to_f16(isa, row.try_into().unwrap(), &mut to);
                halves.extend(to);
            }
            assert_eq!(halves, expect, "{isa:?}");
            let product = |tile| {
                let mut out = [0f32; 2 * LANES];
                // SAFETY: two rows of three elements, a tile of three lines, two rows of sixteen.
                unsafe {
                    multiply_one_tile(isa, x.as_ptr(), 3, tile, 3, 2, out.as_mut_ptr(), LANES)
                };
                out
            };
            assert_eq!(
                product(Tile::F16(&halves)),
                product(Tile::F32(&widened)),
                "{isa:?}"
            );
        }
    }
}
