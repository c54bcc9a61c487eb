//! Sixteen f32 or i32 at once, in the instructions a processor has. A kernel is written once over [`Lanes`].
//!
//! All vector implementations use fused multiply-add and round alike, so AVX-512 and AVX2 give the same bits.

#![expect(
    unsafe_code,
    reason = "vector intrinsics; each method's contract is that the processor has the instructions"
)]
#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "every line of a method stands under the method's one contract"
)]

/// Elements in a vector.
pub(crate) const LANES: usize = 16;

/// Sixteen lanes of f32 (`F`) and of i32 (`I`).
///
/// # Safety
/// Every method needs a processor with the implementation's instructions, and pointers valid for sixteen elements.
pub(crate) trait Lanes: Copy {
    type F: Copy;
    type I: Copy;
    /// Rows that a kernel works on at once: as many as the accumulators leave registers for.
    const ROWS: usize;

    unsafe fn splat(x: f32) -> Self::F;
    unsafe fn load(from: *const f32) -> Self::F;
    unsafe fn store(to: *mut f32, x: Self::F);
    /// Widens sixteen IEEE 754 halves.
    unsafe fn load_f16(from: *const u16) -> Self::F;
    /// Rounds to halves, ties to even; what is too large becomes infinite.
    unsafe fn store_f16(to: *mut u16, x: Self::F);
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`.
    unsafe fn mul_add(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// Rounds to the nearest integer, ties to even.
    unsafe fn round(x: Self::F) -> Self::I;
    unsafe fn to_f32(x: Self::I) -> Self::F;
    /// 2 to the power of each lane; the lanes from -126 to 127.
    unsafe fn exp2(x: Self::I) -> Self::F;
    unsafe fn zero() -> Self::I;
    /// Multiplies 32 bytes of each of `ROWS` rows, `stride` apart, with 32 of sixteen outputs, `[8][output][4]` and all of them
    /// below 2 to the power `BITS`.
    unsafe fn dot_block<const ROWS: usize, const BITS: u32>(
        w: *const u8,
        a: *const i8,
        stride: usize,
    ) -> [Self::I; ROWS];
    /// `x + 128 * y`.
    unsafe fn add_128_times(x: Self::I, y: Self::I) -> Self::I;
    /// Spreads 64 bytes into their low and their high nibbles, 64 bytes each.
    unsafe fn unpack_nibbles(from: *const u8, low: *mut u8, high: *mut u8);
    /// Writes lanes that lie within -128..=127 as bytes.
    unsafe fn store_i8(to: *mut i8, x: Self::I);
}

/// Plain Rust, for any processor; the compiler makes of it what it can.
#[derive(Clone, Copy)]
pub(crate) struct Scalar;

fn each<T: Copy>(a: [T; LANES], b: [T; LANES], f: impl Fn(T, T) -> T) -> [T; LANES] {
    let mut out = a;
    for (out, b) in out.iter_mut().zip(b) {
        *out = f(*out, b);
    }
    out
}

impl Lanes for Scalar {
    type F = [f32; LANES];
    type I = [i32; LANES];
    const ROWS: usize = 2;

    unsafe fn splat(x: f32) -> Self::F {
        [x; LANES]
    }
    unsafe fn load(from: *const f32) -> Self::F {
        from.cast::<Self::F>().read_unaligned()
    }
    unsafe fn store(to: *mut f32, x: Self::F) {
        to.cast::<Self::F>().write_unaligned(x);
    }
    unsafe fn load_f16(from: *const u16) -> Self::F {
        let bits = from.cast::<[u16; LANES]>().read_unaligned();
        bits.map(|bits| half::f16::from_bits(bits).to_f32())
    }
    unsafe fn store_f16(to: *mut u16, x: Self::F) {
        let bits = x.map(|x| half::f16::from_f32(x).to_bits());
        to.cast::<[u16; LANES]>().write_unaligned(bits);
    }
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F {
        each(a, b, |a, b| a + b)
    }
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F {
        each(a, b, |a, b| a - b)
    }
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F {
        each(a, b, |a, b| a * b)
    }
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F {
        each(a, b, |a, b| a / b)
    }
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F {
        each(a, b, f32::max)
    }
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F {
        each(a, b, f32::min)
    }
    unsafe fn mul_add(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        let mut out = c;
        for (out, (a, b)) in out.iter_mut().zip(a.into_iter().zip(b)) {
            // Without the instruction, a fused multiply-add is a slow call.
            let fused = cfg!(any(target_arch = "aarch64", target_feature = "fma"));
            *out = if fused {
                a.mul_add(b, *out)
            } else {
                a * b + *out
            };
        }
        out
    }
    unsafe fn round(x: Self::F) -> Self::I {
        x.map(|x| x.round_ties_even() as i32)
    }
    unsafe fn to_f32(x: Self::I) -> Self::F {
        x.map(|x| x as f32)
    }
    unsafe fn exp2(x: Self::I) -> Self::F {
        x.map(|x| f32::from_bits(((x + 127) as u32) << 23))
    }
    unsafe fn zero() -> Self::I {
        [0; LANES]
    }
    unsafe fn dot_block<const ROWS: usize, const BITS: u32>(
        w: *const u8,
        a: *const i8,
        stride: usize,
    ) -> [Self::I; ROWS] {
        let mut sums = [[0; LANES]; ROWS];
        for (row, sum) in sums.iter_mut().enumerate() {
            for group in 0..8 {
                let four = a.add(row * stride + 4 * group).cast::<[i8; 4]>().read();
                let w = w.add(group * 4 * LANES);
                for (i, sum) in sum.iter_mut().enumerate() {
                    for (j, a) in four.into_iter().enumerate() {
                        *sum += i32::from(*w.add(4 * i + j)) * i32::from(a);
                    }
                }
            }
        }
        sums
    }
    unsafe fn add_128_times(x: Self::I, y: Self::I) -> Self::I {
        std::array::from_fn(|i| x[i] + (y[i] << 7))
    }
    unsafe fn unpack_nibbles(from: *const u8, low: *mut u8, high: *mut u8) {
        for i in 0..4 * LANES {
            let byte = *from.add(i);
            (*low.add(i), *high.add(i)) = (byte & 15, byte >> 4);
        }
    }
    unsafe fn store_i8(to: *mut i8, x: Self::I) {
        for (i, x) in x.into_iter().enumerate() {
            *to.add(i) = x as i8;
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use core::arch::x86_64::*;

    use super::{LANES, Lanes};

    /// AVX-512 F, BW, DQ, VL and VNNI.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512;

    impl Lanes for Avx512 {
        type F = __m512;
        type I = __m512i;
        const ROWS: usize = 8;

        #[inline(always)]
        unsafe fn splat(x: f32) -> __m512 {
            _mm512_set1_ps(x)
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m512 {
            _mm512_loadu_ps(from)
        }
        #[inline(always)]
        unsafe fn store(to: *mut f32, x: __m512) {
            _mm512_storeu_ps(to, x);
        }
        #[inline(always)]
        unsafe fn load_f16(from: *const u16) -> __m512 {
            _mm512_cvtph_ps(_mm256_loadu_si256(from.cast()))
        }
        #[inline(always)]
        unsafe fn store_f16(to: *mut u16, x: __m512) {
            let halves = _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
            _mm256_storeu_si256(to.cast(), halves);
        }
        #[inline(always)]
        unsafe fn add(a: __m512, b: __m512) -> __m512 {
            _mm512_add_ps(a, b)
        }
        #[inline(always)]
        unsafe fn sub(a: __m512, b: __m512) -> __m512 {
            _mm512_sub_ps(a, b)
        }
        #[inline(always)]
        unsafe fn mul(a: __m512, b: __m512) -> __m512 {
            _mm512_mul_ps(a, b)
        }
        #[inline(always)]
        unsafe fn div(a: __m512, b: __m512) -> __m512 {
            _mm512_div_ps(a, b)
        }
        #[inline(always)]
        unsafe fn max(a: __m512, b: __m512) -> __m512 {
            _mm512_max_ps(a, b)
        }
        #[inline(always)]
        unsafe fn min(a: __m512, b: __m512) -> __m512 {
            _mm512_min_ps(a, b)
        }
        #[inline(always)]
        unsafe fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
            _mm512_fmadd_ps(a, b, c)
        }
        #[inline(always)]
        unsafe fn round(x: __m512) -> __m512i {
            _mm512_cvtps_epi32(x)
        }
        #[inline(always)]
        unsafe fn to_f32(x: __m512i) -> __m512 {
            _mm512_cvtepi32_ps(x)
        }
        #[inline(always)]
        unsafe fn exp2(x: __m512i) -> __m512 {
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_add_epi32(
                x,
                _mm512_set1_epi32(127),
            )))
        }
        #[inline(always)]
        unsafe fn zero() -> __m512i {
            _mm512_setzero_si512()
        }
        #[inline(always)]
        unsafe fn dot_block<const ROWS: usize, const BITS: u32>(
            w: *const u8,
            a: *const i8,
            stride: usize,
        ) -> [__m512i; ROWS] {
            let mut sums = [_mm512_setzero_si512(); ROWS];
            for (row, sum) in sums.iter_mut().enumerate() {
                let a = a.add(row * stride).cast::<i32>();
                for group in 0..8 {
                    let w = _mm512_loadu_si512(w.add(group * 4 * LANES).cast());
                    let four = _mm512_set1_epi32(a.add(group).read_unaligned());
                    *sum = _mm512_dpbusd_epi32(*sum, w, four);
                }
            }
            sums
        }
        #[inline(always)]
        unsafe fn add_128_times(x: __m512i, y: __m512i) -> __m512i {
            _mm512_add_epi32(x, _mm512_slli_epi32::<7>(y))
        }
        #[inline(always)]
        unsafe fn unpack_nibbles(from: *const u8, low: *mut u8, high: *mut u8) {
            let mask = _mm512_set1_epi8(15);
            let bytes = _mm512_loadu_si512(from.cast());
            _mm512_storeu_si512(low.cast(), _mm512_and_si512(bytes, mask));
            let shifted = _mm512_srli_epi16::<4>(bytes);
            _mm512_storeu_si512(high.cast(), _mm512_and_si512(shifted, mask));
        }
        #[inline(always)]
        unsafe fn store_i8(to: *mut i8, x: __m512i) {
            _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(x));
        }
    }

    /// AVX2, FMA and F16C; two vectors of eight.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2;

    impl Lanes for Avx2 {
        type F = [__m256; 2];
        type I = [__m256i; 2];
        const ROWS: usize = 2;

        #[inline(always)]
        unsafe fn splat(x: f32) -> Self::F {
            [_mm256_set1_ps(x); 2]
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self::F {
            [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))]
        }
        #[inline(always)]
        unsafe fn store(to: *mut f32, x: Self::F) {
            _mm256_storeu_ps(to, x[0]);
            _mm256_storeu_ps(to.add(8), x[1]);
        }
        #[inline(always)]
        unsafe fn load_f16(from: *const u16) -> Self::F {
            [
                _mm256_cvtph_ps(_mm_loadu_si128(from.cast())),
                _mm256_cvtph_ps(_mm_loadu_si128(from.add(8).cast())),
            ]
        }
        #[inline(always)]
        unsafe fn store_f16(to: *mut u16, x: Self::F) {
            let halves = x.map(|x| _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x));
            _mm_storeu_si128(to.cast(), halves[0]);
            _mm_storeu_si128(to.add(8).cast(), halves[1]);
        }
        #[inline(always)]
        unsafe fn add(a: Self::F, b: Self::F) -> Self::F {
            [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])]
        }
        #[inline(always)]
        unsafe fn sub(a: Self::F, b: Self::F) -> Self::F {
            [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])]
        }
        #[inline(always)]
        unsafe fn mul(a: Self::F, b: Self::F) -> Self::F {
            [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])]
        }
        #[inline(always)]
        unsafe fn div(a: Self::F, b: Self::F) -> Self::F {
            [_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])]
        }
        #[inline(always)]
        unsafe fn max(a: Self::F, b: Self::F) -> Self::F {
            [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])]
        }
        #[inline(always)]
        unsafe fn min(a: Self::F, b: Self::F) -> Self::F {
            [_mm256_min_ps(a[0], b[0]), _mm256_min_ps(a[1], b[1])]
        }
        #[inline(always)]
        unsafe fn mul_add(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
            [
                _mm256_fmadd_ps(a[0], b[0], c[0]),
                _mm256_fmadd_ps(a[1], b[1], c[1]),
            ]
        }
        #[inline(always)]
        unsafe fn round(x: Self::F) -> Self::I {
            [_mm256_cvtps_epi32(x[0]), _mm256_cvtps_epi32(x[1])]
        }
        #[inline(always)]
        unsafe fn to_f32(x: Self::I) -> Self::F {
            [_mm256_cvtepi32_ps(x[0]), _mm256_cvtepi32_ps(x[1])]
        }
        #[inline(always)]
        unsafe fn exp2(x: Self::I) -> Self::F {
            let bias = _mm256_set1_epi32(127);
            [
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(x[0], bias))),
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(x[1], bias))),
            ]
        }
        #[inline(always)]
        unsafe fn zero() -> Self::I {
            [_mm256_setzero_si256(); 2]
        }
        #[inline(always)]
        unsafe fn dot_block<const ROWS: usize, const BITS: u32>(
            w: *const u8,
            a: *const i8,
            stride: usize,
        ) -> [Self::I; ROWS] {
            let load = |group: usize| {
                let w = w.add(group * 4 * LANES);
                [
                    _mm256_loadu_si256(w.cast()),
                    _mm256_loadu_si256(w.add(32).cast()),
                ]
            };
            let four = |row: usize, group: usize| {
                let a = a.add(row * stride).cast::<i32>();
                _mm256_set1_epi32(a.add(group).read_unaligned())
            };
            let mut sums = [Self::zero(); ROWS];
            if BITS <= 5 {
                // 16 bits hold the sum of four pairs of products of 31 and -128.
                for first in [0, 4] {
                    let mut words = [Self::zero(); ROWS];
                    for group in first..first + 4 {
                        let w = load(group);
                        for (row, words) in words.iter_mut().enumerate() {
                            let four = four(row, group);
                            for (words, w) in words.iter_mut().zip(w) {
                                *words = _mm256_add_epi16(*words, _mm256_maddubs_epi16(w, four));
                            }
                        }
                    }
                    for (sum, words) in sums.iter_mut().zip(words) {
                        for (sum, words) in sum.iter_mut().zip(words) {
                            let pairs = _mm256_madd_epi16(words, _mm256_set1_epi16(1));
                            *sum = _mm256_add_epi32(*sum, pairs);
                        }
                    }
                }
            } else {
                // `maddubs` would saturate; even and odd bytes in 16 bits each do not.
                for group in 0..8 {
                    let w = load(group);
                    let even = w.map(|w| _mm256_and_si256(w, _mm256_set1_epi16(0xFF)));
                    let odd = w.map(|w| _mm256_srli_epi16::<8>(w));
                    for (row, sum) in sums.iter_mut().enumerate() {
                        let four = four(row, group);
                        let a_even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(four));
                        let a_odd = _mm256_srai_epi16::<8>(four);
                        for half in 0..2 {
                            let even = _mm256_madd_epi16(even[half], a_even);
                            let odd = _mm256_madd_epi16(odd[half], a_odd);
                            sum[half] = _mm256_add_epi32(sum[half], _mm256_add_epi32(even, odd));
                        }
                    }
                }
            }
            sums
        }
        #[inline(always)]
        unsafe fn add_128_times(x: Self::I, y: Self::I) -> Self::I {
            [
                _mm256_add_epi32(x[0], _mm256_slli_epi32::<7>(y[0])),
                _mm256_add_epi32(x[1], _mm256_slli_epi32::<7>(y[1])),
            ]
        }
        #[inline(always)]
        unsafe fn unpack_nibbles(from: *const u8, low: *mut u8, high: *mut u8) {
            let mask = _mm256_set1_epi8(15);
            for at in [0, 32] {
                let bytes = _mm256_loadu_si256(from.add(at).cast());
                _mm256_storeu_si256(low.add(at).cast(), _mm256_and_si256(bytes, mask));
                let shifted = _mm256_srli_epi16::<4>(bytes);
                _mm256_storeu_si256(high.add(at).cast(), _mm256_and_si256(shifted, mask));
            }
        }
        #[inline(always)]
        unsafe fn store_i8(to: *mut i8, x: Self::I) {
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(x[0], x[1]));
            let bytes = _mm_packs_epi16(
                _mm256_castsi256_si128(words),
                _mm256_extracti128_si256::<1>(words),
            );
            _mm_storeu_si128(to.cast(), bytes);
        }
    }
}
