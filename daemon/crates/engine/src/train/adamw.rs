//! AdamW (Loshchilov & Hutter 2019), with moments that can be written down and read back.

use std::ops::Range;

use crate::methods::Slice;

/// PyTorch's defaults, which are those of Kingma & Ba 2015.
const BETA_1: f32 = 0.9;
const BETA_2: f32 = 0.999;
const EPSILON: f32 = 1e-8;

/// The moments of every trainable number, laid out as the numbers are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AdamW {
    /// The running means of gradients.
    pub(crate) first: Vec<Vec<f32>>,
    /// The running means of squared gradients.
    pub(crate) second: Vec<Vec<f32>>,
}

impl AdamW {
    /// Starts with moments of 0.
    pub(crate) fn new(parameters: &[Vec<f32>]) -> Self {
        let zeros = || {
            parameters
                .iter()
                .map(|layer| vec![0f32; layer.len()])
                .collect()
        };
        Self {
            first: zeros(),
            second: zeros(),
        }
    }

    /// Moves the parameters against their gradients; `step` counts from 1. Weight decay leaves the plan's undecayed ranges
    /// as they are.
    pub(crate) fn step(
        &mut self,
        parameters: &mut [Vec<f32>],
        gradients: &[Vec<f32>],
        slices: &[&Slice],
        step: u32,
        learning_rate: f64,
        weight_decay: f64,
    ) {
        let kept = (1.0 - learning_rate * weight_decay) as f32;
        for (parameters, slice) in parameters.iter_mut().zip(slices) {
            let mut decay = |range: Range<usize>| {
                parameters[range]
                    .iter_mut()
                    .for_each(|parameter| *parameter *= kept);
            };
            let mut from = 0;
            for range in slice.undecayed() {
                decay(from..range.start);
                from = range.end;
            }
            decay(from..slice.parameters());
        }
        let correction_1 = 1.0 - f64::from(BETA_1).powf(f64::from(step));
        let correction_2 = (1.0 - f64::from(BETA_2).powf(f64::from(step))).sqrt() as f32;
        let rate = (learning_rate / correction_1) as f32;
        let layers = parameters
            .iter_mut()
            .zip(gradients)
            .zip(self.first.iter_mut().zip(&mut self.second));
        for ((parameters, gradients), (first, second)) in layers {
            let numbers = parameters
                .iter_mut()
                .zip(gradients)
                .zip(first.iter_mut().zip(second));
            for ((parameter, gradient), (first, second)) in numbers {
                *first += (gradient - *first) * (1.0 - BETA_1);
                *second = *second * BETA_2 + gradient * gradient * (1.0 - BETA_2);
                let size = second.sqrt() / correction_2 + EPSILON;
                *parameter -= rate * (*first / size);
            }
        }
    }
}

/// Scales gradients down to a global norm of at most `max_norm` (0: any); returns the norm before.
pub(crate) fn clip(gradients: &mut [Vec<f32>], max_norm: f64) -> f64 {
    let squares = gradients
        .iter()
        .flatten()
        .map(|g| f64::from(*g) * f64::from(*g))
        .sum::<f64>();
    let norm = squares.sqrt();
    // The 1e-6 is PyTorch's `clip_grad_norm_`.
    let factor = max_norm / (norm + 1e-6);
    if max_norm > 0.0 && factor < 1.0 {
        gradients
            .iter_mut()
            .flatten()
            .for_each(|g| *g *= factor as f32);
    }
    norm
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_formula() {
        let mut parameters = vec![vec![1.0f32, -2.0]];
        let mut optimizer = AdamW::new(&parameters);
        let slice = Slice::of_ranges(2, &[]);
        let plan = [&slice];
        // In the first step the corrected moments are g and g², so a number moves by the rate, whatever its gradient's size.
        optimizer.step(&mut parameters, &[vec![0.5, -100.0]], &plan, 1, 0.1, 0.0);
        assert!(
            (parameters[0][0] - 0.9).abs() < 1e-6 && (parameters[0][1] + 1.9).abs() < 1e-6,
            "{parameters:?}"
        );
        // m = 0.9·0.05 + 0.1·1 = 0.145, v = 0.999·0.00025 + 0.001·1 = 0.00124975, corrected 0.763158 and 0.625188.
        optimizer.step(&mut parameters, &[vec![1.0, 0.0]], &plan, 2, 0.1, 0.5);
        let want = 0.9 * 0.95 - 0.1 * 0.763_158 / 0.625_188f32.sqrt();
        assert!(
            (parameters[0][0] - want).abs() < 1e-5,
            "{} not {want}",
            parameters[0][0]
        );
    }

    #[test]
    fn decay_leaves_some_numbers_alone() {
        let mut parameters = vec![vec![1.0f32; 5]];
        let mut optimizer = AdamW::new(&parameters);
        let slice = Slice::of_ranges(5, &[1..2, 3..4]);
        let plan = [&slice];
        optimizer.step(&mut parameters, &[vec![0.0; 5]], &plan, 1, 0.1, 0.5);
        assert_eq!(parameters, [[0.95, 1.0, 0.95, 1.0, 0.95]]);
    }

    #[test]
    fn clipping_keeps_the_direction() {
        let mut gradients = vec![vec![3.0f32], vec![4.0]];
        assert_eq!(clip(&mut gradients, 0.0), 5.0);
        assert_eq!(gradients, [[3.0], [4.0]]);
        assert_eq!(clip(&mut gradients, 1.0), 5.0);
        assert!((gradients[0][0] - 0.6).abs() < 1e-5 && (gradients[1][0] - 0.8).abs() < 1e-5);
        assert!(clip(&mut gradients, 10.0) < 1.0 + 1e-5);
    }
}
