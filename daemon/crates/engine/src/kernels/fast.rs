//! Matrix products of byte weights in affine blocks of 32 with activations quantised to bytes.
//!
//! Block b of an output contributes `d * s * (q . a) + m * (s * sum(a))`: an exact integer dot product, then two fused
//! multiply-adds, over the blocks in order.

#![expect(
    unsafe_code,
    reason = "pointers into packed tiles; bounds are checked where slices come in"
)]
#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "every line of a kernel stands under the kernel's one contract"
)]

use super::exact::write_lanes;
use super::lanes::{LANES, Lanes};
use super::{Isa, SharedMut, Write, dispatch};
use crate::models::dequantize::{AffineBlock, BLOCK};

/// One block of k for sixteen outputs: bytes as `[k / 4][output][4]`, as `vpdpbusd` takes them.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct TileBlock {
    q: [u8; LANES * BLOCK],
    d: [f32; LANES],
    m: [f32; LANES],
}

/// An `[n, k]` matrix packed as `[n / 16][k / 32]` blocks, filled up with zeros.
pub(crate) struct FastMatrix {
    n: usize,
    k: usize,
    blocks: Vec<TileBlock>,
}

/// Rows of activations as signed bytes, a scale for each 32 of them.
#[derive(Default)]
pub(crate) struct QuantizedRows {
    k: usize,
    q: Vec<i8>,
    scale: Vec<f32>,
    /// Scale times the sum of the block's bytes.
    sum: Vec<f32>,
}

impl FastMatrix {
    pub(crate) fn zeros(n: usize, k: usize) -> Self {
        let empty = TileBlock {
            q: [0; LANES * BLOCK],
            d: [0.0; LANES],
            m: [0.0; LANES],
        };
        Self {
            n,
            k,
            blocks: vec![empty; n.div_ceil(LANES) * k.div_ceil(BLOCK)],
        }
    }

    /// Writes block `index` of a row.
    pub(crate) fn set_block(&mut self, row: usize, index: usize, block: &AffineBlock) {
        assert!(
            row < self.n && index < self.k.div_ceil(BLOCK),
            "a block of the matrix"
        );
        let lane = row % LANES;
        let place = &mut self.blocks[row / LANES * self.k.div_ceil(BLOCK) + index];
        for (group, bytes) in block.q.chunks_exact(4).enumerate() {
            place.q[group * 4 * LANES + lane * 4..][..4].copy_from_slice(bytes);
        }
        place.d[lane] = block.d;
        place.m[lane] = block.m;
    }

    pub(crate) fn rows(&self) -> usize {
        self.n
    }

    pub(crate) fn tiles(&self) -> usize {
        self.n.div_ceil(LANES)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.blocks.len() * size_of::<TileBlock>()
    }

    /// Multiplies the first `rows` quantised rows with tiles `first..first + count`, and writes the columns they stand
    /// for to `out` (`[rows, out_stride]`).
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
        x: &QuantizedRows,
        rows: usize,
        first: usize,
        count: usize,
        out: &SharedMut<f32>,
        out_stride: usize,
        write: Write,
    ) {
        let blocks = self.k.div_ceil(BLOCK);
        assert!(
            x.k == self.k && x.scale.len() >= rows * blocks && x.sum.len() >= rows * blocks,
            "rows of the width"
        );
        assert!(
            x.q.len() >= rows * blocks * BLOCK && first + count <= self.tiles(),
            "whole rows and tiles"
        );
        assert!(
            rows * out_stride <= out.len() && self.n <= out_stride,
            "room for the product"
        );
        for tile in first..first + count {
            let width = LANES.min(self.n - tile * LANES);
            let weights = self.blocks[tile * blocks..][..blocks].as_ptr();
            let to = out.as_ptr().add(tile * LANES);
            multiply_tile(
                isa,
                x.q.as_ptr(),
                x.scale.as_ptr(),
                x.sum.as_ptr(),
                weights,
                blocks,
                rows,
                to,
                out_stride,
                width,
                write,
            );
        }
    }
}

impl QuantizedRows {
    /// Makes room for `rows` rows of `k` elements.
    pub(crate) fn resize(&mut self, rows: usize, k: usize) {
        let blocks = k.div_ceil(BLOCK);
        self.k = k;
        if !k.is_multiple_of(BLOCK) {
            // The bytes between k and the last block's end have to be zero, and nothing writes them.
            self.q.clear();
        }
        self.q.resize(rows * blocks * BLOCK, 0);
        self.scale.resize(rows * blocks, 0.0);
        self.sum.resize(rows * blocks, 0.0);
    }

    /// Shows the rows to tasks that fill them.
    pub(crate) fn share(&mut self) -> SharedRows {
        SharedRows {
            k: self.k,
            q: SharedMut::new(&mut self.q),
            scale: SharedMut::new(&mut self.scale),
            sum: SharedMut::new(&mut self.sum),
        }
    }
}

/// [`QuantizedRows`] being filled.
#[derive(Clone, Copy)]
pub(crate) struct SharedRows {
    k: usize,
    q: SharedMut<i8>,
    scale: SharedMut<f32>,
    sum: SharedMut<f32>,
}

impl SharedRows {
    /// Quantises one row.
    ///
    /// # Safety
    /// Nothing else reads or writes this row meanwhile.
    pub(crate) unsafe fn quantize(&self, isa: Isa, row: usize, x: &[f32]) {
        assert_eq!(x.len(), self.k, "a row of the width");
        let blocks = self.k.div_ceil(BLOCK);
        let q = self.q.slice(row * blocks * BLOCK, blocks * BLOCK);
        let scale = self.scale.slice(row * blocks, blocks);
        let sum = self.sum.slice(row * blocks, blocks);
        let whole = x.len() / BLOCK;
        quantize_blocks(
            isa,
            x.as_ptr(),
            whole,
            q.as_mut_ptr(),
            scale.as_mut_ptr(),
            sum.as_mut_ptr(),
        );
        if whole < blocks {
            let mut last = [0f32; BLOCK];
            last[..x.len() - whole * BLOCK].copy_from_slice(&x[whole * BLOCK..]);
            let q = q[whole * BLOCK..].as_mut_ptr();
            quantize_blocks(
                isa,
                last.as_ptr(),
                1,
                q,
                scale[whole..].as_mut_ptr(),
                sum[whole..].as_mut_ptr(),
            );
        }
    }
}

dispatch! {
    unsafe fn quantize_blocks(x: *const f32, blocks: usize, q: *mut i8, scale: *mut f32, sum: *mut f32) = quantize_kernel
}

#[inline(always)]
unsafe fn quantize_kernel<L: Lanes>(
    x: *const f32,
    blocks: usize,
    q: *mut i8,
    scale: *mut f32,
    sum: *mut f32,
) {
    for block in 0..blocks {
        let low = L::load(x.add(block * BLOCK));
        let high = L::load(x.add(block * BLOCK + LANES));
        let zero = L::splat(0.0);
        let size = L::max(
            L::max(low, L::sub(zero, low)),
            L::max(high, L::sub(zero, high)),
        );
        let mut lanes = [0f32; LANES];
        L::store(lanes.as_mut_ptr(), size);
        let greatest = lanes.into_iter().fold(0f32, f32::max);
        let inverse = if greatest > 0.0 {
            127.0 / greatest
        } else {
            0.0
        };
        let to = q.add(block * BLOCK);
        L::store_i8(to, L::round(L::mul(low, L::splat(inverse))));
        L::store_i8(to.add(LANES), L::round(L::mul(high, L::splat(inverse))));
        let mut total = 0i32;
        for i in 0..BLOCK {
            total += i32::from(*to.add(i));
        }
        *scale.add(block) = greatest / 127.0;
        *sum.add(block) = greatest / 127.0 * total as f32;
    }
}

dispatch! {
    #[expect(clippy::too_many_arguments, reason = "a kernel takes its shapes and strides one by one")]
    unsafe fn multiply_tile(
        q: *const i8, scale: *const f32, sum: *const f32, weights: *const TileBlock, blocks: usize, rows: usize,
        out: *mut f32, out_stride: usize, width: usize, write: Write,
    ) = tile_kernel
}

#[inline(always)]
#[expect(
    clippy::too_many_arguments,
    reason = "a kernel takes its shapes and strides one by one"
)]
unsafe fn tile_kernel<L: Lanes>(
    q: *const i8,
    scale: *const f32,
    sum: *const f32,
    weights: *const TileBlock,
    blocks: usize,
    rows: usize,
    out: *mut f32,
    out_stride: usize,
    width: usize,
    write: Write,
) {
    let mut row = 0;
    while row < rows {
        let q = q.add(row * blocks * BLOCK);
        let (scale, sum) = (scale.add(row * blocks), sum.add(row * blocks));
        let out = out.add(row * out_stride);
        let left = rows - row;
        macro_rules! block {
            ($rows:literal) => {{
                row_block::<L, $rows>(
                    q, scale, sum, weights, blocks, out, out_stride, width, write,
                );
                row += $rows;
            }};
        }
        if L::ROWS >= 8 && left >= 8 {
            block!(8)
        } else if L::ROWS >= 8 && left >= 4 {
            block!(4)
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
    q: *const i8,
    scale: *const f32,
    sum: *const f32,
    weights: *const TileBlock,
    blocks: usize,
    out: *mut f32,
    out_stride: usize,
    width: usize,
    write: Write,
) {
    let mut sums = [L::splat(0.0); ROWS];
    for block in 0..blocks {
        let tile = &*weights.add(block);
        let d = L::load(tile.d.as_ptr());
        let m = L::load(tile.m.as_ptr());
        for (row, total) in sums.iter_mut().enumerate() {
            let activations = q.add((row * blocks + block) * BLOCK).cast::<i32>();
            let mut dot = L::zero();
            for group in 0..BLOCK / 4 {
                dot = L::dot4(
                    dot,
                    tile.q.as_ptr().add(group * 4 * LANES),
                    activations.add(group).read_unaligned(),
                );
            }
            let at = row * blocks + block;
            *total = L::mul_add(L::to_f32(dot), L::mul(d, L::splat(*scale.add(at))), *total);
            *total = L::mul_add(m, L::splat(*sum.add(at)), *total);
        }
    }
    for (row, total) in sums.into_iter().enumerate() {
        write_lanes::<L>(out.add(row * out_stride), total, width, write);
    }
}
