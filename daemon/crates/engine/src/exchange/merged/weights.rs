//! An adapter's numbers in its base's weights, a tensor at a time.

use std::path::Path;

use rayon::prelude::*;

use crate::adapter::replaced_weights;
use crate::methods::{LinearPlan, Norm, Plan, Target};
use crate::models::config::ModelConfig;
use crate::models::files::ModelFiles;
use crate::models::tensor_names::{HEAD, expected_tensors};
use crate::ops::gemm::{Matrix, Store, multiply};
use crate::{EngineError, LoadedModel};

/// Rows that one task merges.
const ROWS_PER_TASK: usize = 64;
/// Numbers of a matrix that no method changes that are held at a time.
const NUMBERS_PER_BLOCK: usize = 4 << 20;

/// What transformers calls the tensors of a head of labels.
pub(super) const SCORE_WEIGHT: &str = "score.weight";
pub(super) const SCORE_BIAS: &str = "score.bias";

/// How a file wants the weights of norms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Norms {
    /// As what the normed numbers are multiplied by.
    Whole,
    /// Less one (Gemma's folders).
    LessOne,
}

/// A base and an adapter of it.
pub(super) struct Merge<'a> {
    pub(super) config: &'a ModelConfig,
    /// The base's, with the weights that the adapter has in their places.
    files: ModelFiles,
    pub(super) plan: &'a Plan,
    /// The numbers of every layer's slice.
    pub(super) values: Vec<Vec<f32>>,
}

impl<'a> Merge<'a> {
    /// Takes an adapter's plan and numbers.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] where the adapter trains something that no weight of the base can hold.
    pub(super) fn new(
        model: &'a LoadedModel,
        plan: &'a Plan,
        values: Vec<Vec<f32>>,
    ) -> Result<Self, EngineError> {
        let (outside, is_tied) = (plan.outside(), model.config.tie_word_embeddings);
        // One matrix cannot be two.
        let is_split = is_tied && outside.head() != outside.embedding();
        let mut adds = is_split || outside.virtual_tokens().is_some();
        for layer in plan.layers() {
            let norms = Norm::ALL.map(|norm| layer.norm(norm).map_or(0, |range| range.len()));
            let linear = Target::ALL.map(|target| merged_numbers(layer.linear(target)));
            adds |= linear.iter().chain(&norms).sum::<usize>() != layer.parameters();
        }
        if adds {
            return Err(EngineError::Invalid(
                "format: a whole model holds changes of its weights alone, and this adapter adds something beside them; \
                 expected a format of adapters, such as peft"
                    .into(),
            ));
        }
        Ok(Self {
            config: &model.config,
            files: model.files.with(replaced_weights(model, plan, &values)?),
            plan,
            values,
        })
    }

    /// Lists the tensors with Hugging Face's names and their shapes, layer after layer.
    ///
    /// A head of labels stands in the place of the output matrix.
    pub(super) fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let mut tensors = expected_tensors(self.config);
        if let Some(classifier) = self.plan.outside().classifier() {
            tensors.retain(|(name, _)| name != HEAD);
            let weight = vec![classifier.labels, self.config.hidden_size];
            tensors.push((SCORE_WEIGHT.into(), weight));
            let bias = classifier.bias.as_ref();
            tensors.extend(bias.map(|_| (SCORE_BIAS.to_string(), vec![classifier.labels])));
        }
        tensors
    }

    /// Shows the numbers of a tensor in blocks of whole rows, from the first on.
    ///
    /// # Errors
    /// [`EngineError::Io`] when the base cannot be read any more, and what `sink` gives.
    pub(super) fn read(
        &self,
        name: &str,
        shape: &[usize],
        norms: Norms,
        sink: &mut dyn FnMut(&[f32]) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        if let Some(classifier) = self.plan.outside().classifier() {
            let range = match name {
                SCORE_WEIGHT => Some(&classifier.weight),
                SCORE_BIAS => classifier.bias.as_ref(),
                _ => None,
            };
            if let (Some(range), Some(outside)) = (range, self.values.last()) {
                return sink(&outside[range.clone()]);
            }
        }
        if let Some((layer, targets, part)) = self.place(name) {
            let (_, mut numbers) = self.files.read_f32(name)?;
            let mut rest = numbers.as_mut_slice();
            for target in targets {
                let (inputs, outputs) = target.widths(self.config);
                let width = match part {
                    Part::Weight => inputs,
                    Part::Bias => 1,
                };
                let (own, after) = rest.split_at_mut(outputs * width);
                rest = after;
                let plan = self.plan.layer(layer).linear(*target);
                match part {
                    Part::Weight => merge_weight(own, inputs, plan, &self.values[layer]),
                    Part::Bias => merge_bias(own, plan, &self.values[layer]),
                }
            }
            return sink(&numbers);
        }
        match *shape {
            [rows, width] => {
                let at_once = (NUMBERS_PER_BLOCK / width).max(1);
                for first in (0..rows).step_by(at_once) {
                    let mut block = vec![0f32; at_once.min(rows - first) * width];
                    self.files.read_rows(name, first, &mut block)?;
                    sink(&block)?;
                }
                Ok(())
            }
            _ => {
                let (_, mut numbers) = self.files.read_f32(name)?;
                let offset = self.norm_offset(norms);
                if name.ends_with("norm.weight") {
                    numbers.iter_mut().for_each(|x| *x += offset);
                }
                sink(&numbers)
            }
        }
    }

    /// Tells what is added to a norm's stored weights.
    fn norm_offset(&self, wanted: Norms) -> f32 {
        match (self.config.variant.norms_less_one, wanted) {
            (true, Norms::Whole) => 1.0,
            (false, Norms::LessOne) => -1.0,
            _ => 0.0,
        }
    }

    /// Finds the linear layers whose numbers a tensor holds.
    fn place(&self, name: &str) -> Option<(usize, &'static [Target], Part)> {
        let (path, end) = name.rsplit_once('.')?;
        let (layer, _) = path.strip_prefix("model.layers.")?.split_once('.')?;
        let layer = layer.parse().ok()?;
        let part = match end {
            "weight" => Part::Weight,
            "bias" => Part::Bias,
            _ => return None,
        };
        let mut matrices = Target::matrices(self.config).iter();
        let targets =
            matrices.find(|targets| targets[0].matrix_path(layer, self.config) == path)?;
        Some((layer, targets, part))
    }

    /// Shows the base's file or folder.
    pub(super) fn path(&self) -> &Path {
        &self.files.path
    }
}

#[derive(Clone, Copy)]
enum Part {
    Weight,
    Bias,
}

/// Counts what is trained about a linear layer in ways that its weight and bias can hold.
fn merged_numbers(plan: &LinearPlan) -> usize {
    let low_rank = plan.low_rank.as_ref();
    let low_rank = low_rank.map_or(0, |update| update.a.len() + update.b.len());
    let others = [
        &plan.weight,
        &plan.magnitude,
        &plan.output_scale,
        &plan.input_scale,
        &plan.bias,
    ];
    let others = others.into_iter().flatten().map(|range| range.len());
    low_rank + others.sum::<usize>()
}

/// Makes W' of W `[outputs, inputs]`: the update is added, then rows are brought to their magnitudes (DoRA) or multiplied, and
/// columns multiplied (IA3).
fn merge_weight(weight: &mut [f32], inputs: usize, plan: &LinearPlan, values: &[f32]) {
    if plan.low_rank.is_none() && !plan.scales_output() && plan.input_scale.is_none() {
        return;
    }
    let outputs = weight.len() / inputs;
    let update = plan.low_rank.as_ref().map(|update| {
        let a = Matrix::new(&values[update.a.clone()], update.rank, inputs);
        let b = Matrix::new(&values[update.b.clone()], outputs, update.rank);
        (a, b, update.scale)
    });
    let of_rows = |range: &Option<std::ops::Range<usize>>| Some(&values[range.clone()?]);
    let magnitudes = of_rows(&plan.magnitude);
    let factors = of_rows(&plan.output_scale);
    let columns = of_rows(&plan.input_scale);
    let tasks = weight.par_chunks_mut(ROWS_PER_TASK * inputs).enumerate();
    tasks.for_each(|(task, rows)| {
        let (first, count) = (task * ROWS_PER_TASK, rows.len() / inputs);
        if let Some((a, b, scale)) = update {
            multiply(rows, Store::Add, scale, b.row_range(first, count), a);
        }
        for (row, numbers) in (first..).zip(rows.chunks_exact_mut(inputs)) {
            let factor = match (magnitudes, factors) {
                (Some(magnitudes), _) => magnitudes[row] / norm(numbers),
                (None, Some(factors)) => factors[row],
                (None, None) => 1.0,
            };
            if factor != 1.0 {
                numbers.iter_mut().for_each(|x| *x *= factor);
            }
            if let Some(columns) = columns {
                numbers.iter_mut().zip(columns).for_each(|(x, c)| *x *= c);
            }
        }
    });
}

fn norm(row: &[f32]) -> f32 {
    let squares = row.iter().map(|x| f64::from(*x) * f64::from(*x));
    squares.sum::<f64>().sqrt() as f32
}

/// Makes b' of b `[outputs]`.
fn merge_bias(bias: &mut [f32], plan: &LinearPlan, values: &[f32]) {
    if let Some(range) = &plan.bias {
        bias.copy_from_slice(&values[range.clone()]);
    }
    if let Some(range) = &plan.output_scale {
        let factors = values[range.clone()].iter();
        bias.iter_mut()
            .zip(factors)
            .for_each(|(b, factor)| *b *= factor);
    }
}

/// A plan that changes nothing, with its numbers.
pub(super) fn unchanged(config: &ModelConfig, head: Option<&Head>) -> (Plan, Vec<Vec<f32>>) {
    let mut plan = Plan::new(config);
    let slices = plan.slices().into_iter();
    let mut values: Vec<Vec<f32>> = slices.map(|slice| vec![0f32; slice.parameters()]).collect();
    if let Some(Head { weight, bias }) = head {
        let (hidden, labels) = (config.hidden_size, weight.len() / config.hidden_size);
        plan.add_classifier("", labels, hidden, bias.is_some());
        let outside = [weight.as_slice(), bias.as_deref().unwrap_or_default()];
        values.pop();
        values.push(outside.concat());
    }
    (plan, values)
}

/// The numbers of a head of labels.
pub(super) struct Head {
    /// `[labels, hidden]`.
    pub(super) weight: Vec<f32>,
    /// `[labels]`.
    pub(super) bias: Option<Vec<f32>>,
}

impl Head {
    /// Takes an adapter's, where it has one.
    pub(super) fn of(plan: &Plan, values: &[Vec<f32>]) -> Option<Self> {
        let (classifier, outside) = (plan.outside().classifier()?, values.last()?);
        let bias = classifier.bias.as_ref();
        Some(Self {
            weight: outside[classifier.weight.clone()].to_vec(),
            bias: bias.map(|range| outside[range.clone()].to_vec()),
        })
    }

    /// Reads a written folder's.
    ///
    /// # Errors
    /// What reading it gives; [`EngineError::Adapter`] where it has none.
    pub(super) fn read(folder: &Path) -> Result<Self, EngineError> {
        let mut tensors = ModelFiles::read_head(folder)?;
        let weight = tensors.remove(SCORE_WEIGHT);
        Ok(Self {
            weight: weight
                .ok_or_else(|| EngineError::adapter(SCORE_WEIGHT, "the head's weight", "none"))?,
            bias: tensors.remove(SCORE_BIAS),
        })
    }
}
