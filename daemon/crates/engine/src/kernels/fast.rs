//! Matrix products of byte weights in affine blocks of 32 with activations quantised to bytes.
//!
//! Block b of an output contributes `d * s * (q . a) + m * (s * sum(a))`: an exact integer dot product, then two fused
//! multiply-adds, over the blocks in order. Where the activations have fine bytes, `a` is `128 * coarse + fine`.

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
use super::quantized_rows::{QuantizedBlock, QuantizedRows};
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

/// How many bits the numbers of a matrix have at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WeightBits {
    Four,
    /// Stored as bytes.
    Five,
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
    bits: WeightBits,
    blocks: Blocks,
}

impl FastMatrix {
    pub(crate) fn zeros(n: usize, k: usize, bits: WeightBits) -> Self {
        let count = n.div_ceil(LANES) * k.div_ceil(BLOCK);
        let (d, m) = ([0.0; LANES], [0.0; LANES]);
        let blocks = match bits {
            WeightBits::Five | WeightBits::Eight => {
                let q = [0; LANES * BLOCK];
                Blocks::Bytes(vec![ByteBlock { q, d, m }; count])
            }
            WeightBits::Four => {
                let q = [0; LANES * BLOCK / 2];
                Blocks::Nibbles(vec![NibbleBlock { q, d, m }; count])
            }
        };
        Self { n, k, bits, blocks }
    }

    /// Tells the bytes of a matrix before it is made.
    pub(crate) fn bytes_of(n: usize, k: usize, bits: WeightBits) -> usize {
        let block = match bits {
            WeightBits::Five | WeightBits::Eight => size_of::<ByteBlock>(),
            WeightBits::Four => size_of::<NibbleBlock>(),
        };
        n.div_ceil(LANES) * k.div_ceil(BLOCK) * block
    }

    /// Writes block `index` of a row.
    ///
    /// # Panics
    /// When a number of the block needs more bits than the matrix has.
    pub(crate) fn set_block(&mut self, row: usize, index: usize, block: &AffineBlock) {
        assert!(
            row < self.n && index < self.k.div_ceil(BLOCK),
            "a block of the matrix"
        );
        let bits = match self.bits {
            WeightBits::Four => 4,
            WeightBits::Five => 5,
            WeightBits::Eight => 8,
        };
        let most = block.q.iter().max().copied().unwrap_or(0);
        assert!(u32::from(most) < 1 << bits, "numbers of {bits} bits");
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
        assert!(x.width() == self.k && x.rows() >= rows, "rows of the width");
        assert!(first + count <= self.tiles(), "whole tiles");
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
                        coarse: x.coarse().as_ptr(),
                        fine: x.fine().as_ptr(),
                        blocks_of_rows: x.blocks().as_ptr(),
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
                Blocks::Bytes(stored) if self.bits == WeightBits::Five => {
                    multiply_five_bits(isa, product!(stored));
                }
                Blocks::Bytes(stored) => multiply_bytes(isa, product!(stored)),
                Blocks::Nibbles(stored) => multiply_nibbles(isa, product!(stored)),
            }
        }
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
    coarse: *const i8,
    fine: *const i8,
    blocks_of_rows: *const QuantizedBlock,
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
    unsafe fn multiply_five_bits(product: Product<ByteBlock>) = five_bits_kernel
}

dispatch! {
    unsafe fn multiply_nibbles(product: Product<NibbleBlock>) = nibbles_kernel
}

#[inline(always)]
unsafe fn bytes_kernel<L: Lanes>(product: Product<ByteBlock>) {
    tile_kernel::<L, _, 8>(product);
}

#[inline(always)]
unsafe fn five_bits_kernel<L: Lanes>(product: Product<ByteBlock>) {
    tile_kernel::<L, _, 5>(product);
}

#[inline(always)]
unsafe fn nibbles_kernel<L: Lanes>(product: Product<NibbleBlock>) {
    tile_kernel::<L, _, 4>(product);
}

#[inline(always)]
unsafe fn tile_kernel<L: Lanes, B: Block + Copy, const BITS: u32>(product: Product<B>) {
    let mut row = 0;
    while row < product.rows {
        let rest = Product {
            coarse: product.coarse.add(row * product.blocks * BLOCK),
            fine: product.fine.add(row * product.blocks * BLOCK),
            blocks_of_rows: product.blocks_of_rows.add(row * product.blocks),
            out: product.out.add(row * product.out_stride),
            ..product
        };
        let left = product.rows - row;
        macro_rules! block {
            ($rows:literal) => {{
                row_block::<L, B, BITS, $rows>(rest);
                row += $rows;
            }};
        }
        if L::ROWS >= 8 && left >= 8 {
            block!(8)
        } else if left >= 4 {
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
unsafe fn row_block<L: Lanes, B: Block, const BITS: u32, const ROWS: usize>(product: Product<B>) {
    let Product {
        coarse,
        fine,
        blocks_of_rows,
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
        let coarse = coarse.add(block * BLOCK);
        let dots = L::dot_block::<ROWS, BITS>(bytes, coarse, blocks * BLOCK);
        for (row, (total, dot)) in sums.iter_mut().zip(dots).enumerate() {
            let at = row * blocks + block;
            let of_row = &*blocks_of_rows.add(at);
            let mut dot = dot;
            if of_row.is_fine {
                let [of_fine] = L::dot_block::<1, BITS>(bytes, fine.add(at * BLOCK), 0);
                dot = L::add_128_times(of_fine, dot);
            }
            *total = L::mul_add(L::to_f32(dot), L::mul(d, L::splat(of_row.scale)), *total);
            *total = L::mul_add(m, L::splat(of_row.sum), *total);
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

    fn quantized(isa: Isa, k: usize, rows: &[Vec<f32>]) -> QuantizedRows {
        let mut x = QuantizedRows::default();
        x.resize(rows.len(), k);
        let shared = x.share();
        for (row, values) in rows.iter().enumerate() {
            // SAFETY: nothing else touches the rows.
            unsafe { shared.quantize(isa, row, values) };
        }
        x
    }

    fn product(isa: Isa, matrix: &FastMatrix, x: &QuantizedRows) -> Vec<f32> {
        let mut out = vec![0f32; x.rows() * matrix.n];
        let shared = SharedMut::new(&mut out);
        // SAFETY: nothing else touches the product.
        unsafe {
            let (rows, tiles) = (x.rows(), matrix.tiles());
            matrix.multiply(isa, x, rows, 0, tiles, &shared, matrix.n, Write::Store);
        }
        out
    }

    /// Whole numbers, the greatest among them, whose sums f32 holds exactly.
    #[test]
    fn a_product_of_whole_numbers_is_exact_on_every_instruction_set() {
        let (n, k, rows) = (37, 96, 11);
        let mut random = Random::from_seed(6);
        for (bits, most) in [
            (WeightBits::Four, 15),
            (WeightBits::Five, 31),
            (WeightBits::Eight, 255),
        ] {
            let mut matrix = FastMatrix::zeros(n, k, bits);
            let weights: Vec<Vec<u8>> = (0..n)
                .map(|row| match row % 3 {
                    0 => vec![most; k],
                    _ => (0..k)
                        .map(|_| random.below(usize::from(most) + 1) as u8)
                        .collect(),
                })
                .collect();
            for (row, weights) in weights.iter().enumerate() {
                for (index, q) in weights.as_chunks::<BLOCK>().0.iter().enumerate() {
                    let (q, d, m) = (*q, 1.0, 0.0);
                    matrix.set_block(row, index, &AffineBlock { q, d, m });
                }
            }
            // A block with 127 in it has the scale 1.
            let values: Vec<Vec<f32>> = (0..rows)
                .map(|row| {
                    let value = |i: usize| match (row, i % BLOCK) {
                        (0, _) | (_, 0) => 127.0,
                        (1, _) => -127.0,
                        _ => random.below(255) as f32 - 127.0,
                    };
                    (0..k).map(value).collect()
                })
                .collect();
            for isa in Isa::all().into_iter().filter(|isa| isa.is_supported()) {
                let out = product(isa, &matrix, &quantized(isa, k, &values));
                for (row, out) in out.chunks(n).enumerate() {
                    for (weights, out) in weights.iter().zip(out) {
                        let pairs = weights.iter().zip(&values[row]);
                        let sum: f32 = pairs.map(|(w, x)| f32::from(*w) * x).sum();
                        assert_eq!(*out, sum, "{isa:?}, {bits:?}");
                    }
                }
            }
        }
    }

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
            let row = |_| (0..k).map(|_| random.next_f64() as f32 - 0.5).collect();
            let x = quantized(isa, k, &(0..rows).map(row).collect::<Vec<_>>());
            let products = matrices.each_ref().map(|matrix| product(isa, matrix, &x));
            assert_eq!(products[0], products[1], "{isa:?}");
            assert!(products[0].iter().all(|x| *x != 0.0));
        }
    }
}
