//! How a method fits a model: the numbers it trains, where they act, what they are called and how they begin.
//!
//! The trainable numbers of a decoder layer stand in one slice, so that the layer is one operation with one gradient
//! (`ops/decoder_layer.rs`).

use std::collections::BTreeMap;
use std::ops::Range;

use autodidact_domain::NamedTensor;
use autodidact_domain::random::Random;

use super::target::Target;
use crate::EngineError;
use crate::models::base::BaseWeights;
use crate::models::config::ModelConfig;

/// A low-rank update in its layer's slice: `scale * B * A`.
#[derive(Clone, Debug)]
pub(crate) struct LowRankPlan {
    /// A `[rank, inputs]`.
    pub(crate) a: Range<usize>,
    /// B `[outputs, rank]`, which follows A.
    pub(crate) b: Range<usize>,
    /// The rank.
    pub(crate) rank: usize,
    /// What multiplies the update.
    pub(crate) scale: f32,
    /// The chance that an element of the update's input is zeroed in training.
    pub(crate) dropout: f32,
}

/// What is trained about one linear layer y = Wx + b.
#[derive(Clone, Debug, Default)]
pub(crate) struct LinearPlan {
    /// Adds an update to W.
    pub(crate) low_rank: Option<LowRankPlan>,
    /// The norms of the rows of W and its update, `[outputs]`, which the update does not change (DoRA).
    pub(crate) magnitude: Option<Range<usize>>,
    /// Multiplies y, b included, `[outputs]` (IA3).
    pub(crate) output_scale: Option<Range<usize>>,
    /// Multiplies x, `[inputs]` (IA3).
    pub(crate) input_scale: Option<Range<usize>>,
    /// Stands in b's place, `[outputs]`.
    pub(crate) bias: Option<Range<usize>>,
}

impl LinearPlan {
    /// Tells whether anything is trained.
    pub(crate) fn is_trained(&self) -> bool {
        self.reads_input() || self.bias.is_some()
    }

    /// Tells whether the gradients of the trained numbers need the layer's input.
    pub(crate) fn reads_input(&self) -> bool {
        self.low_rank.is_some() || self.scales_output() || self.input_scale.is_some()
    }

    /// Tells whether something multiplies what the layer gives.
    pub(crate) fn scales_output(&self) -> bool {
        self.magnitude.is_some() || self.output_scale.is_some()
    }
}

/// What is trained in one decoder layer.
#[derive(Clone, Debug, Default)]
pub(crate) struct LayerPlan {
    linear: [LinearPlan; Target::ALL.len()],
    /// Ranges of the slice that weight decay leaves alone.
    undecayed: Vec<Range<usize>>,
    parameters: usize,
}

impl LayerPlan {
    /// Shows what is trained about a linear layer.
    pub(crate) fn linear(&self, target: Target) -> &LinearPlan {
        &self.linear[target as usize]
    }

    /// Counts the trainable numbers.
    pub(crate) fn parameters(&self) -> usize {
        self.parameters
    }

    /// A slice of so many numbers, to test what goes through slices.
    #[cfg(test)]
    pub(crate) fn of_ranges(parameters: usize, undecayed: &[Range<usize>]) -> Self {
        Self {
            undecayed: undecayed.to_vec(),
            parameters,
            ..Self::default()
        }
    }

    /// Shows the ranges that weight decay leaves alone, in their order.
    pub(crate) fn undecayed(&self) -> &[Range<usize>] {
        &self.undecayed
    }
}

/// How a tensor begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Initial {
    /// Drawn evenly within the bound, from the seed and the tensor's name alone.
    Uniform(f64),
    /// The same number everywhere.
    Constant(f32),
    /// The base's bias.
    Bias(Target),
    /// The norms of the rows of the base's matrix.
    RowNorms(Target),
}

/// A trained tensor.
#[derive(Clone, Debug)]
struct Place {
    name: String,
    shape: Vec<usize>,
    layer: usize,
    range: Range<usize>,
    initial: Initial,
}

/// How a method fits a model.
#[derive(Clone, Debug)]
pub struct Plan {
    layers: Vec<LayerPlan>,
    places: Vec<Place>,
}

impl Plan {
    /// Begins a plan that trains nothing yet.
    pub(crate) fn new(config: &ModelConfig) -> Self {
        Self {
            layers: vec![LayerPlan::default(); config.layers],
            places: Vec::new(),
        }
    }

    /// Adds a tensor to a layer's slice; tells where it stands.
    fn add(
        &mut self,
        layer: usize,
        name: String,
        shape: impl Into<Vec<usize>>,
        initial: Initial,
    ) -> Range<usize> {
        let shape = shape.into();
        let plan = &mut self.layers[layer];
        let range = plan.parameters..plan.parameters + shape.iter().product::<usize>();
        plan.parameters = range.end;
        self.places.push(Place {
            name,
            shape,
            layer,
            range: range.clone(),
            initial,
        });
        range
    }

    /// Trains a low-rank update. A begins as PEFT's `kaiming_uniform_(a=sqrt(5))`, uniform within 1/sqrt(inputs), and B as 0.
    pub(crate) fn add_low_rank(
        &mut self,
        (layer, target): (usize, Target),
        (inputs, outputs): (usize, usize),
        rank: usize,
        scale: f32,
        dropout: f32,
    ) {
        let bound = 1.0 / (inputs as f64).sqrt();
        let name = |matrix: &str| target.key(layer, &format!("{matrix}.weight"));
        let uniform = Initial::Uniform(bound);
        let a = self.add(layer, name("lora_A"), [rank, inputs], uniform);
        let zero = Initial::Constant(0.0);
        let b = self.add(layer, name("lora_B"), [outputs, rank], zero);
        self.layers[layer].linear[target as usize].low_rank = Some(LowRankPlan {
            a,
            b,
            rank,
            scale,
            dropout,
        });
    }

    /// Trains the norms of a matrix's rows (DoRA).
    pub(crate) fn add_magnitude(&mut self, layer: usize, target: Target, outputs: usize) {
        let name = target.key(layer, "lora_magnitude_vector");
        let range = self.add(layer, name, [outputs], Initial::RowNorms(target));
        self.layers[layer].linear[target as usize].magnitude = Some(range);
    }

    /// Trains what multiplies a layer's output, or its input where that is what is scaled (IA3).
    pub(crate) fn add_scale(
        &mut self,
        layer: usize,
        target: Target,
        (inputs, outputs): (usize, usize),
        of_input: bool,
        initial: Initial,
    ) {
        let shape = match of_input {
            true => [1, inputs],
            false => [outputs, 1],
        };
        let range = self.add(layer, target.key(layer, "ia3_l"), shape, initial);
        let linear = &mut self.layers[layer].linear[target as usize];
        match of_input {
            true => linear.input_scale = Some(range),
            false => linear.output_scale = Some(range),
        }
    }

    /// Trains a bias that the base has; `what` is its key's end.
    pub(crate) fn add_bias(&mut self, layer: usize, target: Target, outputs: usize, what: &str) {
        let bias = Initial::Bias(target);
        let range = self.add(layer, target.key(layer, what), [outputs], bias);
        let plan = &mut self.layers[layer];
        plan.undecayed.push(range.clone());
        plan.linear[target as usize].bias = Some(range);
    }

    /// Shows what is trained in a decoder layer.
    pub(crate) fn layer(&self, index: usize) -> &LayerPlan {
        &self.layers[index]
    }

    /// Shows what is trained in every decoder layer, from the input up.
    pub(crate) fn layers(&self) -> &[LayerPlan] {
        &self.layers
    }

    /// Counts the trainable numbers of all layers.
    pub fn parameters(&self) -> usize {
        self.layers.iter().map(LayerPlan::parameters).sum()
    }

    /// Makes the first values of every layer's slice, of a seed and the base.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] when the base lacks a tensor that a value begins as.
    pub fn initial(&self, seed: u64, base: &BaseWeights) -> Result<Vec<Vec<f32>>, EngineError> {
        let mut layers = self.zeros();
        for place in &self.places {
            let values = &mut layers[place.layer][place.range.clone()];
            match place.initial {
                Initial::Uniform(bound) => {
                    let mut random = Random::at(seed, &["lora", &place.name]);
                    values.fill_with(|| ((2.0 * random.next_f64() - 1.0) * bound) as f32);
                }
                Initial::Constant(value) => values.fill(value),
                Initial::Bias(target) => {
                    let layer = base.layer(place.layer).read()?;
                    let bias = layer.bias(target).ok_or_else(|| {
                        EngineError::Invalid(format!("{}: the base has no such bias", place.name))
                    })?;
                    values.copy_from_slice(&bias.to_vec1::<f32>()?);
                }
                Initial::RowNorms(target) => {
                    let layer = base.layer(place.layer).read()?;
                    let norms = layer.linear(target).sqr()?.sum(1)?.sqrt()?;
                    values.copy_from_slice(&norms.to_vec1::<f32>()?);
                }
            }
        }
        Ok(layers)
    }

    /// Writes the slices of all layers as tensors under their names with a prefix, sorted by name.
    pub fn to_tensors(&self, prefix: &str, layers: &[Vec<f32>]) -> Vec<NamedTensor> {
        let write = |place: &Place| NamedTensor {
            name: format!("{prefix}{}", place.name),
            shape: place.shape.clone(),
            data: layers[place.layer][place.range.clone()].to_vec(),
        };
        let mut tensors: Vec<NamedTensor> = self.places.iter().map(write).collect();
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        tensors
    }

    /// Reads what [`Self::to_tensors`] wrote.
    ///
    /// # Errors
    /// [`EngineError::Adapter`] when a tensor is missing, there twice, of another shape, or one that this plan has no place for.
    pub fn read_tensors(
        &self,
        prefix: &str,
        tensors: &[NamedTensor],
    ) -> Result<Vec<Vec<f32>>, EngineError> {
        let mut left = BTreeMap::new();
        let ours = tensors
            .iter()
            .filter_map(|tensor| Some((tensor.name.strip_prefix(prefix)?, tensor)));
        for (name, tensor) in ours {
            if left.insert(name, tensor).is_some() {
                return Err(EngineError::adapter(
                    &tensor.name,
                    "one tensor of this name",
                    "two",
                ));
            }
        }
        let mut fitting = Vec::with_capacity(self.places.len());
        for place in &self.places {
            let Place { name, shape, .. } = place;
            let refuse = |found: String| {
                EngineError::adapter(format!("{prefix}{name}"), format!("shape {shape:?}"), found)
            };
            let tensor = left
                .remove(name.as_str())
                .ok_or_else(|| refuse("none".into()))?;
            if tensor.shape != *shape || tensor.data.len() != place.range.len() {
                let count = tensor.data.len();
                return Err(refuse(format!(
                    "shape {:?} with {count} elements",
                    tensor.shape
                )));
            }
            fitting.push((place, tensor));
        }
        if let Some(tensor) = left.values().next() {
            return Err(EngineError::adapter(
                &tensor.name,
                format!("only the {} tensors of these settings", self.places.len()),
                "this tensor too",
            ));
        }
        // Settings may ask for anything; room is made for what is there.
        let mut layers = self.zeros();
        for (place, tensor) in fitting {
            layers[place.layer][place.range.clone()].copy_from_slice(&tensor.data);
        }
        Ok(layers)
    }

    fn zeros(&self) -> Vec<Vec<f32>> {
        let layers = self.layers.iter();
        layers.map(|layer| vec![0f32; layer.parameters]).collect()
    }
}
