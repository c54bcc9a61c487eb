//! The check that every operation passes: equal to its plain path, forward and backward, and to finite differences.

use autodidact_domain::random::Random;
use candle_core::{Device, Result, Tensor, Var};

/// Draws numbers from [-1, 1).
pub(crate) fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::from_seed(seed);
    (0..count)
        .map(|_| (2.0 * random.next_f64() - 1.0) as f32)
        .collect()
}

/// From an operation's inputs and its output's gradient to the inputs' gradients.
type Backward<'a> = dyn Fn(&[Vec<f32>], &[f32]) -> Vec<Vec<f32>> + 'a;

/// An operation's kernels and its plain path, on the same inputs.
pub(crate) struct Operation<'a> {
    pub(crate) name: &'a str,
    pub(crate) shapes: &'a [&'a [usize]],
    /// From the inputs to the output.
    pub(crate) forward: &'a dyn Fn(&[Vec<f32>]) -> Vec<f32>,
    pub(crate) backward: &'a Backward<'a>,
    pub(crate) plain: &'a dyn Fn(&[Tensor]) -> Result<Tensor>,
}

impl Operation<'_> {
    /// Checks the kernels on random inputs.
    pub(crate) fn check(&self) {
        let inputs = inputs(self.shapes);
        let output = (self.forward)(&inputs);
        let (plain_output, dy, plain_gradients) = plain_gradients(self.shapes, &inputs, self.plain);
        assert_close(self.name, &output, &plain_output, 1e-5);
        let gradients = (self.backward)(&inputs, &dy);
        assert_eq!(gradients.len(), self.shapes.len());
        for (index, (got, want)) in gradients.iter().zip(&plain_gradients).enumerate() {
            assert_close(
                &format!("{}: gradient {index} and the plain one", self.name),
                got,
                want,
                2e-5,
            );
        }
        let along = |inputs: &[Vec<f32>]| weighted_sum(&(self.forward)(inputs), &dy);
        assert_finite_differences(self.name, &inputs, &gradients, &along);
    }
}

/// Checks that a fused candle operation has the value and the gradients of its plain path, and those of finite differences.
pub(crate) fn assert_same_gradients(
    shapes: &[&[usize]],
    fused: &dyn Fn(&[Tensor]) -> Result<Tensor>,
    plain: &dyn Fn(&[Tensor]) -> Result<Tensor>,
) {
    let (dy, got) = assert_equals_plain(shapes, fused, plain);
    let along = |inputs: &[Vec<f32>]| {
        let tensors: Vec<Tensor> = inputs
            .iter()
            .zip(shapes)
            .map(|(values, shape)| tensor(values, shape))
            .collect();
        weighted_sum(&flat(&fused(&tensors).expect("forward")), &dy)
    };
    assert_finite_differences("fused operation", &inputs(shapes), &got, &along);
}

/// Checks that a fused candle operation has the value and the gradients of its plain path; gives the output's gradient and
/// theirs.
pub(crate) fn assert_equals_plain(
    shapes: &[&[usize]],
    fused: &dyn Fn(&[Tensor]) -> Result<Tensor>,
    plain: &dyn Fn(&[Tensor]) -> Result<Tensor>,
) -> (Vec<f32>, Vec<Vec<f32>>) {
    let inputs = inputs(shapes);
    let (plain_output, dy, want) = plain_gradients(shapes, &inputs, plain);
    let (output, _, got) = plain_gradients(shapes, &inputs, fused);
    assert_close("output", &output, &plain_output, 2e-5);
    for (index, (got, want)) in got.iter().zip(&want).enumerate() {
        assert_close(&format!("gradient {index}"), got, want, 5e-5);
    }
    (dy, got)
}

/// Checks that two results differ by less than `tolerance` of the second's largest element.
pub(crate) fn assert_close(what: &str, got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len(), "{what}: lengths");
    let largest = want.iter().fold(1e-3f32, |largest, x| largest.max(x.abs()));
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        // A NaN must fail too.
        let near = (got - want).abs() <= tolerance * largest;
        assert!(
            near,
            "{what}: element {index} is {got}, not {want} (largest {largest})"
        );
    }
}

fn inputs(shapes: &[&[usize]]) -> Vec<Vec<f32>> {
    shapes
        .iter()
        .enumerate()
        .map(|(i, shape)| numbers(shape.iter().product(), 100 + i as u64))
        .collect()
}

fn tensor(values: &[f32], shape: &[usize]) -> Tensor {
    Tensor::from_slice(values, shape, &Device::Cpu).expect("a tensor")
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor
        .flatten_all()
        .and_then(|flat| flat.to_vec1())
        .expect("f32 elements")
}

fn weighted_sum(values: &[f32], weights: &[f32]) -> f64 {
    values
        .iter()
        .zip(weights)
        .map(|(v, w)| f64::from(*v) * f64::from(*w))
        .sum()
}

/// Runs a candle function; gives the output, a random gradient of it, and the inputs' gradients by autograd.
fn plain_gradients(
    shapes: &[&[usize]],
    inputs: &[Vec<f32>],
    function: &dyn Fn(&[Tensor]) -> Result<Tensor>,
) -> (Vec<f32>, Vec<f32>, Vec<Vec<f32>>) {
    let variables: Vec<Var> = inputs
        .iter()
        .zip(shapes)
        .map(|(values, shape)| Var::from_tensor(&tensor(values, shape)).expect("a variable"))
        .collect();
    let tensors: Vec<Tensor> = variables.iter().map(|v| v.as_tensor().clone()).collect();
    let output = function(&tensors).expect("forward");
    let dy = numbers(output.elem_count(), 99);
    let weights = Tensor::from_slice(&dy, output.shape(), &Device::Cpu).expect("a tensor");
    let gradients = output
        .mul(&weights)
        .and_then(|y| y.sum_all())
        .and_then(|loss| loss.backward())
        .expect("backward");
    let gradients = variables
        .iter()
        .map(|v| {
            flat(
                gradients
                    .get(v.as_tensor())
                    .expect("every input has a gradient"),
            )
        })
        .collect();
    (flat(&output), dy, gradients)
}

/// Compares gradients with central differences of a scalar function at some elements of each input.
fn assert_finite_differences(
    name: &str,
    inputs: &[Vec<f32>],
    gradients: &[Vec<f32>],
    function: &dyn Fn(&[Vec<f32>]) -> f64,
) {
    const STEP: f32 = 4e-3;
    const SAMPLES: usize = 24;
    // What rounding the output to f32 may do to a difference.
    let rounding = 1e-7 * function(inputs).abs() / f64::from(STEP);
    let mut inputs = inputs.to_vec();
    for which in 0..inputs.len() {
        let largest = gradients[which]
            .iter()
            .fold(0f32, |largest, g| largest.max(g.abs()));
        assert!(largest > 0.0, "{name}: gradient {which} is zero");
        for index in Random::from_seed(which as u64).sample(inputs[which].len(), SAMPLES) {
            let kept = inputs[which][index];
            let mut at = |value: f32| {
                inputs[which][index] = value;
                function(&inputs)
            };
            let slope = (at(kept + STEP) - at(kept - STEP)) / f64::from(2.0 * STEP);
            inputs[which][index] = kept;
            let difference = (slope - f64::from(gradients[which][index])).abs();
            assert!(
                difference <= 4e-3 * f64::from(largest) + rounding,
                "{name}: gradient {which} at {index} is {}, but finite differences say {slope} (largest {largest})",
                gradients[which][index]
            );
        }
    }
}

/// Computes the plain frequencies of rotary embedding, theta^(-2i / head_dim).
pub(crate) fn frequencies(head_dim: usize, theta: f32) -> Vec<f32> {
    let exponent = |i: usize| (2 * i) as f32 / head_dim as f32;
    (0..head_dim / 2)
        .map(|i| 1.0 / theta.powf(exponent(i)))
        .collect()
}
