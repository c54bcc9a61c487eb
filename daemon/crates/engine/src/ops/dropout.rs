//! Dropout whose mask is a function of a key and the element's place, so that nothing is stored and any run can make
//! it again.

use rayon::prelude::*;

use super::vector::{ELEMENTS_PER_TASK, vectorized};

/// Zeroes elements at random and scales the others up, so that the expectation stays (Srivastava et al. 2014).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dropout {
    key: u64,
    /// Elements whose 32 random bits are below this are zeroed.
    threshold: u32,
    scale: f32,
}

impl Dropout {
    /// Makes the mask of one place in one step; none when nothing is to be dropped.
    ///
    /// `probability` is in [0, 1).
    pub(crate) fn new(probability: f32, key: u64) -> Option<Self> {
        if probability <= 0.0 {
            return None;
        }
        let threshold = (f64::from(probability) * 4_294_967_296.0) as u32;
        Some(Self {
            key,
            threshold,
            scale: 1.0 / (1.0 - probability),
        })
    }

    /// Tells what the element at an index is multiplied by.
    ///
    /// The bits are those of SplitMix64 (Steele, Lea & Flood 2014) at that place of its sequence.
    #[inline(always)]
    pub(crate) fn factor(&self, index: usize) -> f32 {
        let mut bits = self
            .key
            .wrapping_add((index as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^= bits >> 31;
        if ((bits >> 32) as u32) < self.threshold {
            0.0
        } else {
            self.scale
        }
    }

    /// Writes the masked input.
    pub(crate) fn forward(&self, output: &mut [f32], input: &[f32]) {
        let tasks = output
            .par_chunks_mut(ELEMENTS_PER_TASK)
            .zip(input.par_chunks(ELEMENTS_PER_TASK))
            .enumerate();
        tasks.for_each(|(task, (output, input))| {
            vectorized(|| {
                for (i, (y, x)) in output.iter_mut().zip(input).enumerate() {
                    *y = x * self.factor(task * ELEMENTS_PER_TASK + i);
                }
            });
        });
    }

    /// Adds the masked gradient of the output to the gradient of the input.
    pub(crate) fn backward_add(&self, input_gradient: &mut [f32], output_gradient: &[f32]) {
        let tasks = input_gradient
            .par_chunks_mut(ELEMENTS_PER_TASK)
            .zip(output_gradient.par_chunks(ELEMENTS_PER_TASK));
        tasks.enumerate().for_each(|(task, (dx, dy))| {
            vectorized(|| {
                for (i, (dx, dy)) in dx.iter_mut().zip(dy).enumerate() {
                    *dx += dy * self.factor(task * ELEMENTS_PER_TASK + i);
                }
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_dropped_is_the_probability_and_the_mean_stays() {
        let dropout = Dropout::new(0.25, 9).expect("0.25 drops");
        let input = vec![1f32; 100_000];
        let mut output = vec![0f32; input.len()];
        dropout.forward(&mut output, &input);
        let dropped = output.iter().filter(|x| **x == 0.0).count() as f64 / output.len() as f64;
        assert!((dropped - 0.25).abs() < 0.006, "{dropped} dropped");
        assert!(
            output
                .iter()
                .all(|x| *x == 0.0 || (*x - 4.0 / 3.0).abs() < 1e-6)
        );
        let mut gradient = vec![1f32; input.len()];
        dropout.backward_add(&mut gradient, &input);
        assert!(gradient.iter().zip(&output).all(|(g, y)| *g == 1.0 + y));
    }

    #[test]
    fn another_key_is_another_mask() {
        let mask = |key| {
            let dropout = Dropout::new(0.5, key).expect("0.5 drops");
            (0..64).map(|i| dropout.factor(i) > 0.0).collect::<Vec<_>>()
        };
        assert_eq!(mask(1), mask(1));
        assert_ne!(mask(1), mask(2));
        assert!(Dropout::new(0.0, 1).is_none());
    }
}
