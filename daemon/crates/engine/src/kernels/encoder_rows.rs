//! Kernels over one row of an encoder: bias, GELU in its exact form, and LayerNorm over a sum.

#![expect(
    unsafe_code,
    reason = "vector loads from slices; bounds are checked where slices come in"
)]
#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "every line of a kernel stands under the kernel's one contract"
)]

use super::lanes::{LANES, Lanes};
use super::rows::{join, load_part, store_part};
use super::{Isa, dispatch};

/// Adds a bias.
pub(crate) fn add_bias(isa: Isa, row: &mut [f32], bias: &[f32]) {
    assert_eq!(row.len(), bias.len(), "rows of one width");
    // SAFETY: both rows have the length passed.
    unsafe { add_bias_row(isa, row.as_mut_ptr(), bias.as_ptr(), row.len()) }
}

/// Adds a bias and makes `x (1 + erf(x / sqrt 2)) / 2` of the sum (Hendrycks and Gimpel 2016).
pub(crate) fn bias_gelu(isa: Isa, row: &mut [f32], bias: &[f32]) {
    assert_eq!(row.len(), bias.len(), "rows of one width");
    // SAFETY: both rows have the length passed.
    unsafe { bias_gelu_row(isa, row.as_mut_ptr(), bias.as_ptr(), row.len()) }
}

/// Adds a branch and its bias to the residual, and norms the sum in its place (Ba et al. 2016): to mean 0 and variance 1
/// over the row, times `weight`, plus `shift`.
pub(crate) fn add_layer_norm(
    isa: Isa,
    residual: &mut [f32],
    branch: &[f32],
    bias: &[f32],
    norm: (&[f32], &[f32]),
    epsilon: f32,
) {
    let (weight, shift) = norm;
    let length = residual.len();
    assert!(
        [branch, bias, weight, shift]
            .iter()
            .all(|row| row.len() == length),
        "rows of one width"
    );
    // SAFETY: the five rows have the length passed.
    unsafe {
        add_layer_norm_row(
            isa,
            residual.as_mut_ptr(),
            branch.as_ptr(),
            bias.as_ptr(),
            weight.as_ptr(),
            shift.as_ptr(),
            length,
            epsilon,
        )
    }
}

dispatch! {
    unsafe fn add_bias_row(row: *mut f32, bias: *const f32, length: usize) = add_bias_kernel
}
dispatch! {
    unsafe fn bias_gelu_row(row: *mut f32, bias: *const f32, length: usize) = bias_gelu_kernel
}
dispatch! {
    #[expect(clippy::too_many_arguments, reason = "a kernel takes its rows one by one")]
    unsafe fn add_layer_norm_row(
        residual: *mut f32, branch: *const f32, bias: *const f32, weight: *const f32, shift: *const f32,
        length: usize, epsilon: f32,
    ) = add_layer_norm_kernel
}

#[inline(always)]
unsafe fn add_bias_kernel<L: Lanes>(row: *mut f32, bias: *const f32, length: usize) {
    for at in (0..length).step_by(LANES) {
        let bias = load_part::<L>(bias, at, length, 0.0);
        let x = L::add(load_part::<L>(row, at, length, 0.0), bias);
        store_part::<L>(row, at, length, x);
    }
}

#[inline(always)]
unsafe fn bias_gelu_kernel<L: Lanes>(row: *mut f32, bias: *const f32, length: usize) {
    let half = L::splat(0.5);
    for at in (0..length).step_by(LANES) {
        let bias = load_part::<L>(bias, at, length, 0.0);
        let x = L::add(load_part::<L>(row, at, length, 0.0), bias);
        let erf = erf::<L>(L::mul(x, L::splat(std::f32::consts::FRAC_1_SQRT_2)));
        let scaled = L::mul(x, half);
        store_part::<L>(row, at, length, L::mul_add(scaled, erf, scaled));
    }
}

/// The error function of each lane, within 3e-7: a quotient of two polynomials in x^2, from Eigen's
/// `generic_fast_erf_float` (Eigen/src/Core/MathFunctionsImpl.h). It is 1 to f32's precision from 4 on.
#[inline(always)]
unsafe fn erf<L: Lanes>(x: L::F) -> L::F {
    let x = L::min(L::max(x, L::splat(-4.0)), L::splat(4.0));
    let square = L::mul(x, x);
    let mut above = L::splat(-2.726_142_3e-10);
    for coefficient in [
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_4e-5,
        -7.349_906_4e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ] {
        above = L::mul_add(above, square, L::splat(coefficient));
    }
    let mut below = L::splat(-1.456_607_2e-5);
    for coefficient in [
        -2.133_740_6e-4,
        -1.682_827e-3,
        -7.373_329e-3,
        -1.426_473_9e-2,
    ] {
        below = L::mul_add(below, square, L::splat(coefficient));
    }
    L::div(L::mul(x, above), below)
}

#[inline(always)]
unsafe fn add_layer_norm_kernel<L: Lanes>(
    residual: *mut f32,
    branch: *const f32,
    bias: *const f32,
    weight: *const f32,
    shift: *const f32,
    length: usize,
    epsilon: f32,
) {
    let mut total = L::splat(0.0);
    for at in (0..length).step_by(LANES) {
        let branch = L::add(
            load_part::<L>(branch, at, length, 0.0),
            load_part::<L>(bias, at, length, 0.0),
        );
        let x = L::add(load_part::<L>(residual, at, length, 0.0), branch);
        total = L::add(total, x);
        store_part::<L>(residual, at, length, x);
    }
    let mean = join::<L>(total, |a, b| a + b) / length as f32;
    let mut squares = L::splat(0.0);
    for at in (0..length).step_by(LANES) {
        // Beyond the row stands the mean, which adds nothing.
        let x = L::sub(load_part::<L>(residual, at, length, mean), L::splat(mean));
        squares = L::mul_add(x, x, squares);
    }
    let variance = join::<L>(squares, |a, b| a + b) / length as f32;
    let scale = L::splat(1.0 / (variance + epsilon).sqrt());
    for at in (0..length).step_by(LANES) {
        let x = L::sub(load_part::<L>(residual, at, length, mean), L::splat(mean));
        let weight = load_part::<L>(weight, at, length, 0.0);
        let shift = load_part::<L>(shift, at, length, 0.0);
        let x = L::mul_add(L::mul(x, scale), weight, shift);
        store_part::<L>(residual, at, length, x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(count: usize, shift: f32) -> Vec<f32> {
        (0..count)
            .map(|i| (i as f32 * 1.37 + shift).sin() * 5.0)
            .collect()
    }

    /// The error function by its series, which f64 sums well for |x| up to 6 (Abramowitz and Stegun 7.1.6).
    fn erf_reference(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= 2.0 * x * x / (2 * n + 1) as f64;
            sum += term;
        }
        2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp() * sum
    }

    #[test]
    fn rows_equal_their_definitions() {
        for isa in Isa::all().into_iter().filter(|isa| isa.is_supported()) {
            for count in [1, 15, 16, 33, 384] {
                let (x, bias) = (values(count, 0.0), values(count, 2.0));
                let mut out = x.clone();
                add_bias(isa, &mut out, &bias);
                for i in 0..count {
                    assert_eq!(out[i], x[i] + bias[i]);
                }
                let sums = out.clone();
                let mut out = x.clone();
                bias_gelu(isa, &mut out, &bias);
                for i in 0..count {
                    let x = f64::from(sums[i]);
                    let expect = 0.5 * x * (1.0 + erf_reference(x / std::f64::consts::SQRT_2));
                    let error = (f64::from(out[i]) - expect).abs();
                    assert!(error < 1e-6 * x.abs().max(1.0), "{isa:?} gelu {x} {error}");
                }
                let (weight, shift) = (values(count, 3.0), values(count, 4.0));
                let branch = values(count, 1.0);
                let mut out = x.clone();
                add_layer_norm(isa, &mut out, &branch, &bias, (&weight, &shift), 1e-5);
                let sums: Vec<f64> = (0..count)
                    .map(|i| f64::from(x[i] + (branch[i] + bias[i])))
                    .collect();
                let mean = sums.iter().sum::<f64>() / count as f64;
                let variance = sums.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count as f64;
                for i in 0..count {
                    let expect = (sums[i] - mean) / (variance + 1e-5).sqrt() * f64::from(weight[i])
                        + f64::from(shift[i]);
                    let error = (f64::from(out[i]) - expect).abs();
                    assert!(error < 2e-5, "{isa:?} norm {count} {error}");
                }
            }
        }
    }

    #[test]
    fn gelu_is_exact_far_from_zero() {
        for isa in Isa::all().into_iter().filter(|isa| isa.is_supported()) {
            let mut row = vec![-30.0, -6.0, -0.0, 0.0, 6.0, 30.0, 1e20, -1e20];
            let bias = vec![0.0; row.len()];
            bias_gelu(isa, &mut row, &bias);
            for (found, expect) in row.iter().zip([0.0, 0.0, 0.0, 0.0, 6.0, 30.0, 1e20, 0.0]) {
                let close = (found - expect).abs() <= 1e-6 * f32::max(1.0, expect.abs());
                assert!(
                    close || expect == 0.0 && found.abs() <= 1e14,
                    "{found} {expect}"
                );
            }
        }
    }
}
