//! Loops over slices, compiled for the widest vectors that this processor has.

/// The partial sums that reductions keep, so that compilers may vectorise them; 16 f32 fill a 512-bit register.
const LANES: usize = 16;

/// Elements that one task of an elementwise loop takes.
pub(crate) const ELEMENTS_PER_TASK: usize = 1 << 15;

/// Runs a loop compiled for this processor's vectors. What the loop calls must be `#[inline(always)]`.
#[inline(always)]
pub(crate) fn vectorized<R>(body: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(body)
}

/// Computes e^x to about 2 units in the last place (the method and the coefficients of Cephes' `expf`, S. Moshier).
///
/// Beyond the range of normal numbers the result is that of the range's end; a NaN stays one.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // Written so that a NaN fails both comparisons and stays.
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let power = rounded - ROUND;
    let rest = x - power * LN_2_HIGH - power * LN_2_LOW;
    let mut polynomial = 1.987_569_1e-4;
    polynomial = polynomial * rest + 1.398_199_9e-3;
    polynomial = polynomial * rest + 8.333_452e-3;
    polynomial = polynomial * rest + 4.166_579_6e-2;
    polynomial = polynomial * rest + 1.666_666_5e-1;
    polynomial = polynomial * rest + 0.5;
    let mantissa = polynomial * rest * rest + rest + 1.0;
    let exponent = rounded
        .to_bits()
        .wrapping_sub(ROUND.to_bits())
        .wrapping_add(127);
    mantissa * f32::from_bits(exponent << 23)
}

/// Sums the products of two slices of one length.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let mut rest = 0f32;
    for (x, y) in a_chunks.remainder().iter().zip(b_chunks.remainder()) {
        rest += x * y;
    }
    for (x, y) in a_chunks.zip(b_chunks) {
        for lane in 0..LANES {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    total(lanes) + rest
}

/// Finds the greatest element; a NaN is passed over.
#[inline(always)]
pub(crate) fn max(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest = chunks
        .remainder()
        .iter()
        .fold(f32::NEG_INFINITY, |a, b| if *b > a { *b } else { a });
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = if chunk[lane] > lanes[lane] {
                chunk[lane]
            } else {
                lanes[lane]
            };
        }
    }
    lanes.iter().fold(rest, |a, b| if *b > a { *b } else { a })
}

/// Replaces every x by exp(x * factor - shift) and sums the results.
#[inline(always)]
pub(crate) fn exp_sum(values: &mut [f32], factor: f32, shift: f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let mut chunks = values.chunks_exact_mut(LANES);
    for chunk in &mut chunks {
        for lane in 0..LANES {
            chunk[lane] = exp(chunk[lane] * factor - shift);
            lanes[lane] += chunk[lane];
        }
    }
    let mut rest = 0f32;
    for value in chunks.into_remainder() {
        *value = exp(*value * factor - shift);
        rest += *value;
    }
    total(lanes) + rest
}

/// Multiplies every element.
#[inline(always)]
pub(crate) fn scale(values: &mut [f32], factor: f32) {
    for value in values {
        *value *= factor;
    }
}

/// Adds the lanes as a balanced tree.
#[inline(always)]
fn total(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        let mut x = -86.5f32;
        while x < 87.5 {
            let (got, want) = (f64::from(exp(x)), f64::from(x).exp());
            assert!(
                (got - want).abs() <= want * 2.4e-7,
                "exp({x}) = {got}, not {want}"
            );
            x += 0.0137;
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(-1000.0) < 2e-38 && exp(f32::NEG_INFINITY) < 2e-38);
    }

    #[test]
    fn reductions_take_every_element() {
        for length in [1, 15, 16, 17, 67] {
            let values: Vec<f32> = (0..length).map(|i| i as f32).collect();
            let ones = vec![1f32; length];
            assert_eq!(
                vectorized(|| dot(&values, &ones)),
                (length * (length - 1) / 2) as f32
            );
            assert_eq!(vectorized(|| max(&values)), (length - 1) as f32);
            let mut powers = vec![0f32; length];
            assert_eq!(vectorized(|| exp_sum(&mut powers, 1.0, 0.0)), length as f32);
            assert_eq!(powers, ones);
        }
    }
}
