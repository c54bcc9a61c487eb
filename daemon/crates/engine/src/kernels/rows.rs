//! Kernels over one row: norms, activation functions, softmax. Sums run in sixteen lanes, joined in a fixed order.

#![expect(
    unsafe_code,
    reason = "vector loads from slices; bounds are checked where slices come in"
)]
#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "every line of a kernel stands under the kernel's one contract"
)]

use super::lanes::{LANES, Lanes};
use super::{Isa, dispatch};

/// Writes `x / sqrt(mean(x^2) + epsilon) * weight` to `out` (Zhang & Sennrich 2019).
pub(crate) fn rms_norm(isa: Isa, x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
    assert!(
        x.len() == weight.len() && x.len() == out.len(),
        "rows of one width"
    );
    // SAFETY: the three rows have the length passed.
    unsafe {
        rms_norm_row(
            isa,
            x.as_ptr(),
            weight.as_ptr(),
            x.len(),
            epsilon,
            out.as_mut_ptr(),
        )
    }
}

/// Writes `silu(gate) * up` to `out` (Shazeer 2020).
pub(crate) fn silu_mul(isa: Isa, gate: &[f32], up: &[f32], out: &mut [f32]) {
    assert!(
        gate.len() == up.len() && gate.len() == out.len(),
        "rows of one width"
    );
    // SAFETY: the three rows have the length passed.
    unsafe {
        silu_mul_row(
            isa,
            gate.as_ptr(),
            up.as_ptr(),
            gate.len(),
            out.as_mut_ptr(),
        )
    }
}

/// Writes `gelu(gate) * up` to `out`, GELU in its tanh form (Hendrycks and Gimpel 2016).
pub(crate) fn gelu_mul(isa: Isa, gate: &[f32], up: &[f32], out: &mut [f32]) {
    assert!(
        gate.len() == up.len() && gate.len() == out.len(),
        "rows of one width"
    );
    // SAFETY: the three rows have the length passed.
    unsafe {
        gelu_mul_row(
            isa,
            gate.as_ptr(),
            up.as_ptr(),
            gate.len(),
            out.as_mut_ptr(),
        )
    }
}

/// Makes probabilities of the scores in `range`, each times `scale` first, and zeros of the others.
pub(crate) fn softmax(isa: Isa, scores: &mut [f32], range: std::ops::Range<usize>, scale: f32) {
    let (first, count) = (range.start, range.end);
    assert!(
        first < count && count <= scores.len() && scores.len().is_multiple_of(LANES),
        "whole vectors of scores"
    );
    scores[..first].fill(f32::NEG_INFINITY);
    // SAFETY: the row has the length passed, a multiple of the vector's.
    unsafe { softmax_row(isa, scores.as_mut_ptr(), scores.len(), first, count, scale) }
}

/// Computes the logarithm of the sum of exponentials.
pub(crate) fn log_sum_exp(isa: Isa, logits: &[f32]) -> f64 {
    let mut out = 0f64;
    // SAFETY: the row has the length passed.
    unsafe { log_sum_exp_row(isa, logits.as_ptr(), logits.len(), &mut out) }
    out
}

dispatch! {
    unsafe fn rms_norm_row(x: *const f32, weight: *const f32, length: usize, epsilon: f32, out: *mut f32) = rms_norm_kernel
}
dispatch! {
    unsafe fn silu_mul_row(gate: *const f32, up: *const f32, length: usize, out: *mut f32) = silu_mul_kernel
}
dispatch! {
    unsafe fn gelu_mul_row(gate: *const f32, up: *const f32, length: usize, out: *mut f32) = gelu_mul_kernel
}
dispatch! {
    unsafe fn softmax_row(scores: *mut f32, length: usize, first: usize, count: usize, scale: f32) = softmax_kernel
}
dispatch! {
    unsafe fn log_sum_exp_row(logits: *const f32, length: usize, out: *mut f64) = log_sum_exp_kernel
}

/// Loads lanes from `at`, those beyond `length` as `fill`.
#[inline(always)]
pub(super) unsafe fn load_part<L: Lanes>(
    from: *const f32,
    at: usize,
    length: usize,
    fill: f32,
) -> L::F {
    if at + LANES <= length {
        return L::load(from.add(at));
    }
    let mut lanes = [fill; LANES];
    for (i, lane) in lanes.iter_mut().take(length - at).enumerate() {
        *lane = *from.add(at + i);
    }
    L::load(lanes.as_ptr())
}

/// Stores the lanes that lie before `length`.
#[inline(always)]
pub(super) unsafe fn store_part<L: Lanes>(to: *mut f32, at: usize, length: usize, x: L::F) {
    if at + LANES <= length {
        return L::store(to.add(at), x);
    }
    let mut lanes = [0f32; LANES];
    L::store(lanes.as_mut_ptr(), x);
    for (i, lane) in lanes.into_iter().take(length - at).enumerate() {
        *to.add(at + i) = lane;
    }
}

/// Joins sixteen lanes pairwise.
#[inline(always)]
pub(super) unsafe fn join<L: Lanes>(x: L::F, with: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    L::store(lanes.as_mut_ptr(), x);
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = with(lanes[i], lanes[i + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// e to the power of each lane, within two units in the last place; below -87 about 1e-38.
///
/// Cephes' `expf`: x = n ln 2 + r, a polynomial in r, times 2^n.
#[inline(always)]
pub(super) unsafe fn exp<L: Lanes>(x: L::F) -> L::F {
    let x = L::min(L::max(x, L::splat(-87.0)), L::splat(88.0));
    let whole = L::round(L::mul(x, L::splat(std::f32::consts::LOG2_E)));
    let n = L::to_f32(whole);
    // ln 2 in two parts, the first with trailing zeros, so that n times it is exact.
    let r = L::mul_add(n, L::splat(-0.693_359_4), x);
    let r = L::mul_add(n, L::splat(2.121_944_4e-4), r);
    let mut p = L::splat(1.987_569_1e-4);
    for coefficient in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ] {
        p = L::mul_add(p, r, L::splat(coefficient));
    }
    let p = L::add(L::mul_add(p, L::mul(r, r), r), L::splat(1.0));
    L::mul(p, L::exp2(whole))
}

#[inline(always)]
unsafe fn rms_norm_kernel<L: Lanes>(
    x: *const f32,
    weight: *const f32,
    length: usize,
    epsilon: f32,
    out: *mut f32,
) {
    let mut squares = L::splat(0.0);
    for at in (0..length).step_by(LANES) {
        let x = load_part::<L>(x, at, length, 0.0);
        squares = L::mul_add(x, x, squares);
    }
    let mean = join::<L>(squares, |a, b| a + b) / length as f32;
    let scale = L::splat(1.0 / (mean + epsilon).sqrt());
    for at in (0..length).step_by(LANES) {
        let x = load_part::<L>(x, at, length, 0.0);
        let weight = load_part::<L>(weight, at, length, 0.0);
        store_part::<L>(out, at, length, L::mul(L::mul(x, scale), weight));
    }
}

#[inline(always)]
unsafe fn silu_mul_kernel<L: Lanes>(
    gate: *const f32,
    up: *const f32,
    length: usize,
    out: *mut f32,
) {
    let one = L::splat(1.0);
    for at in (0..length).step_by(LANES) {
        let gate = load_part::<L>(gate, at, length, 0.0);
        let up = load_part::<L>(up, at, length, 0.0);
        let silu = L::div(gate, L::add(one, exp::<L>(L::sub(L::splat(0.0), gate))));
        store_part::<L>(out, at, length, L::mul(silu, up));
    }
}

#[inline(always)]
unsafe fn gelu_mul_kernel<L: Lanes>(
    gate: *const f32,
    up: *const f32,
    length: usize,
    out: *mut f32,
) {
    let one = L::splat(1.0);
    // (1 + tanh u) / 2 is the logistic function of 2 u; u = sqrt(2 / pi) (x + 0.044715 x^3).
    let twice_root = L::splat(-2.0 * 0.797_884_6);
    for at in (0..length).step_by(LANES) {
        let x = load_part::<L>(gate, at, length, 0.0);
        let up = load_part::<L>(up, at, length, 0.0);
        let cube = L::mul(L::mul(x, x), x);
        let u = L::mul(twice_root, L::mul_add(cube, L::splat(0.044_715), x));
        let gelu = L::div(x, L::add(one, exp::<L>(u)));
        store_part::<L>(out, at, length, L::mul(gelu, up));
    }
}

#[inline(always)]
unsafe fn softmax_kernel<L: Lanes>(
    scores: *mut f32,
    length: usize,
    first: usize,
    count: usize,
    scale: f32,
) {
    let mut greatest = L::splat(f32::NEG_INFINITY);
    for at in (0..count).step_by(LANES) {
        greatest = L::max(
            greatest,
            load_part::<L>(scores, at, count, f32::NEG_INFINITY),
        );
    }
    let offset = L::splat(-join::<L>(greatest, f32::max) * scale);
    let scale = L::splat(scale);
    let mut total = L::splat(0.0);
    for at in (0..length).step_by(LANES) {
        let mut p = L::splat(0.0);
        if at < count {
            p = exp::<L>(L::mul_add(L::load(scores.add(at)), scale, offset));
            if at + LANES > count || at < first {
                L::store(scores.add(at), p);
                for lane in (at..first.min(at + LANES)).chain(count.max(at)..at + LANES) {
                    *scores.add(lane) = 0.0;
                }
                p = L::load(scores.add(at));
            }
        }
        total = L::add(total, p);
        L::store(scores.add(at), p);
    }
    let inverse = L::splat(1.0 / join::<L>(total, |a, b| a + b));
    for at in (0..length).step_by(LANES) {
        L::store(scores.add(at), L::mul(L::load(scores.add(at)), inverse));
    }
}

#[inline(always)]
unsafe fn log_sum_exp_kernel<L: Lanes>(logits: *const f32, length: usize, out: *mut f64) {
    let mut greatest = L::splat(f32::NEG_INFINITY);
    for at in (0..length).step_by(LANES) {
        greatest = L::max(
            greatest,
            load_part::<L>(logits, at, length, f32::NEG_INFINITY),
        );
    }
    let greatest = join::<L>(greatest, f32::max);
    // Chunks in f32, their sums in f64: a vocabulary is too long a sum for f32 alone.
    const CHUNK: usize = 64 * LANES;
    let mut total = 0f64;
    for from in (0..length).step_by(CHUNK) {
        let mut sum = L::splat(0.0);
        for at in (from..length.min(from + CHUNK)).step_by(LANES) {
            let x = load_part::<L>(logits, at, length, greatest - 87.0);
            sum = L::add(sum, exp::<L>(L::sub(x, L::splat(greatest))));
        }
        total += f64::from(join::<L>(sum, |a, b| a + b));
    }
    *out = f64::from(greatest) + total.ln();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(count: usize) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * 1.37).sin() * 6.0).collect()
    }

    fn supported() -> impl Iterator<Item = Isa> {
        Isa::all().into_iter().filter(|isa| isa.is_supported())
    }

    #[test]
    fn rows_equal_their_definitions() {
        for isa in supported() {
            for count in [1, 15, 16, 33, 576] {
                let (x, y) = (values(count), values(count + 3)[3..].to_vec());
                let mut out = vec![0f32; count];
                silu_mul(isa, &x, &y, &mut out);
                for i in 0..count {
                    let expect = x[i] / (1.0 + (-x[i]).exp()) * y[i];
                    assert!(
                        (out[i] - expect).abs() <= 4e-6 * expect.abs().max(1.0),
                        "{isa:?} silu {} {expect}",
                        out[i]
                    );
                }
                gelu_mul(isa, &x, &y, &mut out);
                for i in 0..count {
                    let x = f64::from(x[i]);
                    let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
                    let expect = 0.5 * x * (1.0 + u.tanh()) * f64::from(y[i]);
                    assert!(
                        (f64::from(out[i]) - expect).abs() <= 4e-6 * expect.abs().max(1.0),
                        "{isa:?} gelu {} {expect}",
                        out[i]
                    );
                }
                rms_norm(isa, &x, &y, 1e-5, &mut out);
                let mean = x.iter().map(|x| f64::from(x * x)).sum::<f64>() / count as f64;
                for i in 0..count {
                    let expect = f64::from(x[i]) / (mean + 1e-5).sqrt() * f64::from(y[i]);
                    assert!((f64::from(out[i]) - expect).abs() < 1e-5, "{isa:?} norm");
                }
                let expect = x.iter().map(|x| f64::from(*x).exp()).sum::<f64>().ln();
                assert!(
                    (log_sum_exp(isa, &x) - expect).abs() < 1e-5,
                    "{isa:?} log-sum-exp"
                );
            }
        }
    }

    #[test]
    fn softmax_masks_and_does_not_depend_on_what_is_masked() {
        for isa in supported() {
            for count in [1usize, 15, 16, 17, 47] {
                let mut short = values(count.next_multiple_of(LANES));
                let mut long = values(64);
                long[count..].fill(1e9);
                softmax(isa, &mut short, 0..count, 0.125);
                softmax(isa, &mut long, 0..count, 0.125);
                assert_eq!(short[..count], long[..count]);
                assert!(long[count..].iter().all(|p| *p == 0.0));
                let total: f64 = values(count)
                    .iter()
                    .map(|x| (f64::from(*x) * 0.125).exp())
                    .sum();
                for (p, x) in short.iter().zip(values(count)) {
                    assert!((f64::from(*p) - (f64::from(x) * 0.125).exp() / total).abs() < 1e-6);
                }
            }
        }
    }

    #[test]
    fn softmax_of_a_window_does_not_depend_on_how_much_is_before_it() {
        for isa in supported() {
            for first in [1usize, 5, 16, 21] {
                let window = 20;
                let mut near = values(48);
                let mut far = vec![7.0; 32];
                far.extend(values(48));
                softmax(isa, &mut near, first..first + window, 0.125);
                softmax(isa, &mut far, first + 32..first + 32 + window, 0.125);
                assert_eq!(near[..], far[32..]);
                assert!(far[..first + 32].iter().all(|p| *p == 0.0));
                let total: f32 = near.iter().sum();
                assert!((total - 1.0).abs() < 1e-6);
            }
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn vector_instruction_sets_agree_bitwise() {
        if !Isa::Avx512.is_supported() {
            return;
        }
        let x = values(200);
        let (mut a, mut b) = (vec![0f32; 200], vec![0f32; 200]);
        silu_mul(Isa::Avx512, &x, &x, &mut a);
        silu_mul(Isa::Avx2, &x, &x, &mut b);
        assert_eq!(a, b);
    }
}
