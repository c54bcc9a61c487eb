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
struct ByteBlock {
    q: [u8; LANES * BLOCK],
    d: [f32; LANES],
    m: [f32; LANES],
}

/// The same of numbers below 16: group `2 j` of four k in the low nibbles of vector j, group `2 j + 1` in the high ones.
///
/// One sequence alone is read at the speed of the memory, so that half the bytes count.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct NibbleBlock {
    q: [u8; LANES * BLOCK / 2],
    d: [f32; LANES],
    m: [f32; LANES],
}

/// How many bits a stored weight has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WeightBits {
    Four,
    Eight,
}

enum Blocks {
    Bytes(Vec<ByteBlock>),
    Nibbles(Vec<NibbleBlock>),
}

/// An `[n, k]` matrix packed as `[n / 16][k / 32]` blocks, filled up with zeros.
pub(crate) struct FastMatrix {
    n: usize,
    k: usize,
    blocks: Blocks,
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
    pub(crate) fn zeros(n: usize, k: usize, bits: WeightBits) -> Self {
        let count = n.div_ceil(LANES) * k.div_ceil(BLOCK);
        let (d, m) = ([0.0; LANES], [0.0; LANES]);
        let blocks = match bits {
            WeightBits::Eight => {
                let q = [0; LANES * BLOCK];
                Blocks::Bytes(vec![ByteBlock { q, d, m }; count])
            }
            WeightBits::Four => {
                let q = [0; LANES * BLOCK / 2];
                Blocks::Nibbles(vec![NibbleBlock { q, d, m }; count])
            }
        };
        Self { n, k, blocks }
    }

    /// Tells the bytes of a matrix before it is made.
    pub(crate) fn bytes_of(n: usize, k: usize, bits: WeightBits) -> usize {
        let block = match bits {
            WeightBits::Eight => size_of::<ByteBlock>(),
            WeightBits::Four => size_of::<NibbleBlock>(),
        };
        n.div_ceil(LANES) * k.div_ceil(BLOCK) * block
    }

    /// Writes block `index` of a row.
    ///
    /// # Panics
    /// When the matrix is of four bits and a number of the block needs more.
    pub(crate) fn set_block(&mut self, row: usize, index: usize, block: &AffineBlock) {
        assert!(
            row < self.n && index < self.k.div_ceil(BLOCK),
            "a block of the matrix"
        );
        let lane = row % LANES;
        let place = row / LANES * self.k.div_ceil(BLOCK) + index;
        let groups = block.q.chunks_exact(4).enumerate();
        let (d, m) = match &mut self.blocks {
            Blocks::Bytes(blocks) => {
                let place = &mut blocks[place];
                for (group, bytes) in groups {
                    place.q[group * 4 * LANES + lane * 4..][..4].copy_from_slice(bytes);
                }
                (&mut place.d, &mut place.m)
            }
            Blocks::Nibbles(blocks) => {
                assert!(block.q.iter().all(|q| *q < 16), "numbers of four bits");
                let place = &mut blocks[place];
                for (group, bytes) in groups {
                    let shift = group % 2 * 4;
                    let to = &mut place.q[group / 2 * 4 * LANES + lane * 4..][..4];
                    for (to, byte) in to.iter_mut().zip(bytes) {
                        *to = *to & !(15 << shift) | byte << shift;
                    }
                }
                (&mut place.d, &mut place.m)
            }
        };
        (d[lane], m[lane]) = (block.d, block.m);
    }

    pub(crate) fn rows(&self) -> usize {
        self.n
    }

    pub(crate) fn tiles(&self) -> usize {
        self.n.div_ceil(LANES)
    }

    pub(crate) fn bytes(&self) -> usize {
        match &self.blocks {
            Blocks::Bytes(blocks) => size_of_val(&blocks[..]),
            Blocks::Nibbles(blocks) => size_of_val(&blocks[..]),
        }
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
            let to = out.as_ptr().add(tile * LANES);
            macro_rules! product {
                ($stored:ident) => {
                    Product {
                        q: x.q.as_ptr(),
                        scale: x.scale.as_ptr(),
                        sum: x.sum.as_ptr(),
                        weights: $stored[tile * blocks..][..blocks].as_ptr(),
                        blocks,
                        rows,
                        out: to,
                        out_stride,
                        width,
                        write,
                    }
                };
            }
            match &self.blocks {
                Blocks::Bytes(stored) => multiply_bytes(isa, product!(stored)),
                Blocks::Nibbles(stored) => multiply_nibbles(isa, product!(stored)),
            }
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

/// A block that a kernel reads.
trait Block {
    fn scales(&self) -> (&[f32; LANES], &[f32; LANES]);

    /// Shows the bytes, in `room` where they have to be made.
    ///
    /// # Safety
    /// The processor has the instructions of `L`.
    unsafe fn bytes<'a, L: Lanes>(&'a self, room: &'a mut Room) -> &'a [u8; LANES * BLOCK];
}

/// Room for a block's bytes.
#[repr(C, align(64))]
struct Room([u8; LANES * BLOCK]);

impl Block for ByteBlock {
    #[inline(always)]
    fn scales(&self) -> (&[f32; LANES], &[f32; LANES]) {
        (&self.d, &self.m)
    }

    #[inline(always)]
    unsafe fn bytes<'a, L: Lanes>(&'a self, _: &'a mut Room) -> &'a [u8; LANES * BLOCK] {
        &self.q
    }
}

impl Block for NibbleBlock {
    #[inline(always)]
    fn scales(&self) -> (&[f32; LANES], &[f32; LANES]) {
        (&self.d, &self.m)
    }

    #[inline(always)]
    unsafe fn bytes<'a, L: Lanes>(&'a self, room: &'a mut Room) -> &'a [u8; LANES * BLOCK] {
        const VECTOR: usize = 4 * LANES;
        let to = room.0.as_mut_ptr();
        for pair in 0..BLOCK / 8 {
            let from = self.q.as_ptr().add(pair * VECTOR);
            let low = to.add(2 * pair * VECTOR);
            L::unpack_nibbles(from, low, low.add(VECTOR));
        }
        &room.0
    }
}

/// Rows times one tile of the weights: what a kernel takes.
#[derive(Clone, Copy)]
struct Product<B> {
    q: *const i8,
    scale: *const f32,
    sum: *const f32,
    /// One tile's blocks.
    weights: *const B,
    blocks: usize,
    rows: usize,
    out: *mut f32,
    out_stride: usize,
    /// Columns that exist; the last tile may have fewer than sixteen.
    width: usize,
    write: Write,
}

dispatch! {
    unsafe fn multiply_bytes(product: Product<ByteBlock>) = bytes_kernel
}

dispatch! {
    unsafe fn multiply_nibbles(product: Product<NibbleBlock>) = nibbles_kernel
}

#[inline(always)]
unsafe fn bytes_kernel<L: Lanes>(product: Product<ByteBlock>) {
    tile_kernel::<L, _>(product);
}

#[inline(always)]
unsafe fn nibbles_kernel<L: Lanes>(product: Product<NibbleBlock>) {
    tile_kernel::<L, _>(product);
}

#[inline(always)]
unsafe fn tile_kernel<L: Lanes, B: Block + Copy>(product: Product<B>) {
    let mut row = 0;
    while row < product.rows {
        let rest = Product {
            q: product.q.add(row * product.blocks * BLOCK),
            scale: product.scale.add(row * product.blocks),
            sum: product.sum.add(row * product.blocks),
            out: product.out.add(row * product.out_stride),
            ..product
        };
        let left = product.rows - row;
        macro_rules! block {
            ($rows:literal) => {{
                row_block::<L, B, $rows>(rest);
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

/// Multiplies the first `ROWS` rows.
#[inline(always)]
unsafe fn row_block<L: Lanes, B: Block, const ROWS: usize>(product: Product<B>) {
    let Product {
        q,
        scale,
        sum,
        weights,
        blocks,
        ..
    } = product;
    let mut sums = [L::splat(0.0); ROWS];
    let mut room = Room([0; LANES * BLOCK]);
    for block in 0..blocks {
        let tile = &*weights.add(block);
        let (d, m) = tile.scales();
        let (d, m) = (L::load(d.as_ptr()), L::load(m.as_ptr()));
        let bytes = tile.bytes::<L>(&mut room).as_ptr();
        for (row, total) in sums.iter_mut().enumerate() {
            let activations = q.add((row * blocks + block) * BLOCK).cast::<i32>();
            let mut dot = L::zero();
            for group in 0..BLOCK / 4 {
                dot = L::dot4(
                    dot,
                    bytes.add(group * 4 * LANES),
                    activations.add(group).read_unaligned(),
                );
            }
            let at = row * blocks + block;
            *total = L::mul_add(L::to_f32(dot), L::mul(d, L::splat(*scale.add(at))), *total);
            *total = L::mul_add(m, L::splat(*sum.add(at)), *total);
        }
    }
    for (row, total) in sums.into_iter().enumerate() {
        let out = product.out.add(row * product.out_stride);
        write_lanes::<L>(out, total, product.width, product.write);
    }
}

#[cfg(test)]
mod tests {
    use autodidact_domain::random::Random;

    use super::*;

    /// Four bits are another way to store, not another arithmetic.
    #[test]
    fn a_matrix_of_four_bits_multiplies_as_one_of_eight_to_the_bit() {
        let (n, k, rows) = (37, 70, 11);
        let mut random = Random::from_seed(5);
        let mut matrices =
            [WeightBits::Eight, WeightBits::Four].map(|bits| FastMatrix::zeros(n, k, bits));
        for row in 0..n {
            for index in 0..k.div_ceil(BLOCK) {
                let mut block = AffineBlock {
                    q: [0; BLOCK],
                    d: random.next_f64() as f32,
                    m: -(random.next_f64() as f32),
                };
                block.q.iter_mut().for_each(|q| *q = random.below(16) as u8);
                for matrix in &mut matrices {
                    matrix.set_block(row, index, &block);
                }
            }
        }
        assert!(matrices[1].bytes() * 5 == matrices[0].bytes() * 3);
        for isa in Isa::all().into_iter().filter(|isa| isa.is_supported()) {
            let mut x = QuantizedRows::default();
            x.resize(rows, k);
            let shared = x.share();
            for row in 0..rows {
                let values: Vec<f32> = (0..k).map(|_| random.next_f64() as f32 - 0.5).collect();
                // SAFETY: nothing else touches the rows.
                unsafe { shared.quantize(isa, row, &values) };
            }
            let products = matrices.each_ref().map(|matrix| {
                let mut out = vec![0f32; rows * n];
                let shared = SharedMut::new(&mut out);
                // SAFETY: nothing else touches the product.
                unsafe {
                    matrix.multiply(isa, &x, rows, 0, matrix.tiles(), &shared, n, Write::Store);
                }
                out
            });
            assert_eq!(products[0], products[1], "{isa:?}");
            assert!(products[0].iter().all(|x| *x != 0.0));
        }
    }
}
