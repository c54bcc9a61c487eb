//! AdamW (Loshchilov & Hutter 2019), with moments that can be written down and read back.

use std::ops::Range;

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::parameters::{Parameters, change};
use crate::methods::Slice;
use crate::ops::storage::Reading;

/// PyTorch's defaults, which are those of Kingma & Ba 2015.
const BETA_1: f32 = 0.9;
const BETA_2: f32 = 0.999;
const EPSILON: f32 = 1e-8;

/// Numbers that one thread takes at a time. Sums are made in these pieces whatever the number of threads.
const PIECE: usize = 1 << 16;

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
    pub(crate) fn new(parameters: &Parameters) -> Self {
        let zeros = || {
            let slices = parameters.slices().iter();
            slices.map(|slice| vec![0f32; slice.elem_count()]).collect()
        };
        Self {
            first: zeros(),
            second: zeros(),
        }
    }

    /// Moves the parameters against their gradients, each times `scale`, in the threads that it is called in; `step` counts from
    /// 1. Weight decay leaves the plan's undecayed ranges as they are.
    ///
    /// # Errors
    /// When a gradient is not on the processor.
    pub(crate) fn step(
        &mut self,
        parameters: &Parameters,
        gradients: &[Tensor],
        scale: f32,
        slices: &[&Slice],
        moment: Moment,
    ) -> Result<()> {
        let Moment {
            step,
            learning_rate,
            weight_decay,
        } = moment;
        let kept = (1.0 - learning_rate * weight_decay) as f32;
        let correction_1 = 1.0 - f64::from(BETA_1).powf(f64::from(step));
        let correction_2 = (1.0 - f64::from(BETA_2).powf(f64::from(step))).sqrt() as f32;
        let rate = (learning_rate / correction_1) as f32;
        let update =
            |(((parameter, gradient), first), second): (((&mut f32, &f32), &mut f32), &mut f32)| {
                let gradient = gradient * scale;
                *first += (gradient - *first) * (1.0 - BETA_1);
                *second = *second * BETA_2 + gradient * gradient * (1.0 - BETA_2);
                let size = second.sqrt() / correction_2 + EPSILON;
                *parameter -= rate * (*first / size);
            };
        let moments = self.first.iter_mut().zip(&mut self.second);
        let parts = parameters.slices().iter().zip(gradients).zip(slices);
        for (((parameters, gradients), slice), (first, second)) in parts.zip(moments) {
            change(parameters, gradients, |parameters, gradients| {
                let pieces = parameters
                    .par_chunks_mut(PIECE)
                    .zip(gradients.par_chunks(PIECE))
                    .zip(first.par_chunks_mut(PIECE))
                    .zip(second.par_chunks_mut(PIECE));
                pieces.enumerate().for_each(
                    |(index, (((parameters, gradients), first), second))| {
                        decay(parameters, index * PIECE, slice.undecayed(), kept);
                        let numbers = parameters.iter_mut().zip(gradients);
                        numbers.zip(first).zip(second).for_each(update);
                    },
                );
            })?;
        }
        Ok(())
    }
}

/// What decides how far a step goes.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    /// The steps with this one.
    pub(crate) step: u32,
    pub(crate) learning_rate: f64,
    pub(crate) weight_decay: f64,
}

/// Scales numbers that stand at `at` of their slice, but for some ranges of it.
fn decay(numbers: &mut [f32], at: usize, undecayed: &[Range<usize>], kept: f32) {
    let end = at + numbers.len();
    let mut scale = |range: Range<usize>| {
        let numbers = &mut numbers[range.start - at..range.end - at];
        numbers.iter_mut().for_each(|number| *number *= kept);
    };
    let mut from = at;
    for range in undecayed {
        if range.end <= from || range.start >= end {
            continue;
        }
        scale(from..range.start.max(from));
        from = range.end.min(end);
    }
    scale(from..end);
}

/// Tells the global norm of gradients.
///
/// # Errors
/// When one is not on the processor.
pub(crate) fn norm(gradients: &[Tensor]) -> Result<f64> {
    /// Sums that the processor makes side by side.
    const LANES: usize = 8;
    let squares = |piece: &[f32]| -> f64 {
        let mut sums = [0f64; LANES];
        for numbers in piece.chunks(LANES) {
            let lanes = sums.iter_mut().zip(numbers);
            lanes.for_each(|(sum, number)| *sum += f64::from(*number) * f64::from(*number));
        }
        sums.iter().sum()
    };
    let mut sum = 0.0;
    for gradient in gradients {
        let reading = Reading::of(gradient);
        let pieces = reading.slice()?.par_chunks(PIECE);
        let sums: Vec<f64> = pieces.map(squares).collect();
        sum += sums.iter().sum::<f64>();
    }
    Ok(sum.sqrt())
}

/// Tells by what gradients of a global norm are scaled for it to be at most `max_norm` (0: any).
pub(crate) fn clipping(norm: f64, max_norm: f64) -> f32 {
    // The 1e-6 is PyTorch's `clip_grad_norm_`.
    let factor = max_norm / (norm + 1e-6);
    match max_norm > 0.0 && factor < 1.0 {
        true => factor as f32,
        false => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn parameters(values: &[f32]) -> Parameters {
        Parameters::new(vec![values.to_vec()]).expect("a tensor")
    }

    fn gradient(values: &[f32]) -> Vec<Tensor> {
        vec![Tensor::new(values, &Device::Cpu).expect("a tensor")]
    }

    fn moment(step: u32, weight_decay: f64) -> Moment {
        Moment {
            step,
            learning_rate: 0.1,
            weight_decay,
        }
    }

    #[test]
    fn follows_the_formula() {
        let trained = parameters(&[1.0, -2.0]);
        let mut optimizer = AdamW::new(&trained);
        let slice = Slice::of_ranges(2, &[]);
        let mut step = |values: &[f32], scale, at: Moment| {
            optimizer
                .step(&trained, &gradient(values), scale, &[&slice], at)
                .expect("a step");
            trained.slices()[0].to_vec1::<f32>().expect("numbers")
        };
        // In the first step the corrected moments are g and g², so a number moves by the rate, whatever its gradient's size.
        let moved = step(&[1.0, -200.0], 0.5, moment(1, 0.0));
        assert!(
            (moved[0] - 0.9).abs() < 1e-6 && (moved[1] + 1.9).abs() < 1e-6,
            "{moved:?}"
        );
        // m = 0.9·0.05 + 0.1·1 = 0.145, v = 0.999·0.00025 + 0.001·1 = 0.00124975, corrected 0.763158 and 0.625188.
        let moved = step(&[1.0, 0.0], 1.0, moment(2, 0.5));
        let want = 0.9 * 0.95 - 0.1 * 0.763_158 / 0.625_188f32.sqrt();
        assert!((moved[0] - want).abs() < 1e-5, "{} not {want}", moved[0]);
    }

    #[test]
    fn decay_leaves_some_numbers_alone() {
        let decayed = |undecayed: &[Range<usize>], count: usize| {
            let trained = parameters(&vec![1.0; count]);
            let slice = Slice::of_ranges(count, undecayed);
            let zeros = gradient(&vec![0.0; count]);
            AdamW::new(&trained)
                .step(&trained, &zeros, 1.0, &[&slice], moment(1, 0.5))
                .expect("a step");
            trained.into_values().expect("numbers").remove(0)
        };
        assert_eq!(decayed(&[1..2, 3..4], 5), [0.95, 1.0, 0.95, 1.0, 0.95]);
        // Over the borders of pieces, and where a piece is all of a range.
        let undecayed = [
            10..PIECE + 5,
            2 * PIECE - 1..2 * PIECE,
            2 * PIECE + 3..4 * PIECE + 1,
        ];
        let found = decayed(&undecayed, 4 * PIECE + 3);
        for (index, number) in found.iter().enumerate() {
            let is_kept = undecayed.iter().any(|range| range.contains(&index));
            assert_eq!(*number, if is_kept { 1.0 } else { 0.95 }, "{index}");
        }
    }

    #[test]
    fn clipping_keeps_the_norm_within_its_bound() {
        let gradients = [gradient(&[3.0]), gradient(&[4.0])].concat();
        let found = norm(&gradients).expect("a norm");
        assert_eq!(found, 5.0);
        assert_eq!(clipping(found, 0.0), 1.0);
        assert_eq!(clipping(found, 10.0), 1.0);
        assert!((clipping(found, 1.0) - 0.2).abs() < 1e-6);
    }

    #[test]
    fn a_norm_is_that_of_all_numbers() {
        let values: Vec<f32> = (0..PIECE + 13).map(|i| (i % 7) as f32).collect();
        let want = values.iter().map(|x| f64::from(x * x)).sum::<f64>().sqrt();
        let found = norm(&gradient(&values)).expect("a norm");
        assert!((found - want).abs() < 1e-9 * want, "{found} not {want}");
    }
}
