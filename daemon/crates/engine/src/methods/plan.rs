//! How a method fits a model: the numbers it trains, where they act, what they are called and how they begin.
//!
//! The trainable numbers of a decoder layer stand in one slice, so that the layer is one operation with one gradient
//! (`ops/decoder_layer.rs`); those of what is outside of the layers stand in one more.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::Range;

use autodidact_domain::NamedTensor;
use autodidact_domain::random::Random;

use super::classifier::ClassifierPlan;
use super::layer_plan::{
    BottleneckPlan, LayerPlan, LowRankPlan, NonLinearity, Part, PrefixPlan, Slice,
};
use super::module::Module;
use super::target::Target;
use super::virtual_tokens::{PrefixEncoder, VirtualTokens};
use crate::EngineError;
use crate::models::base::BaseWeights;
use crate::models::config::ModelConfig;

/// What PEFT calls the numbers before a sequence on disk.
pub(crate) const PROMPT: &str = "prompt_embeddings";
/// Before the names of a prefix encoder's tensors in PEFT's models.
const PREFIX_ENCODER: &str = "prompt_encoder.default.";

/// How a tensor begins.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Initial {
    /// Drawn evenly within the bound, from the seed and the tensor's name alone.
    Uniform(f64),
    /// Drawn normally with the standard deviation, from the same.
    Normal(f64),
    /// The same number everywhere.
    Constant(f32),
    /// The base's bias.
    Bias(usize, Target),
    /// The norms of the rows of the base's matrix.
    RowNorms(usize, Target),
    /// The base's weight.
    Weight(Module),
    /// The embeddings of a text's tokens, over and over.
    Text(String),
}

/// What first values are made of.
pub(crate) struct Beginning<'a> {
    pub(crate) seed: u64,
    pub(crate) base: &'a BaseWeights,
    /// Splits a text as a prompt is split.
    pub(crate) tokenize: &'a dyn Fn(&str) -> Result<Vec<u32>, EngineError>,
}

/// A trained tensor.
#[derive(Clone, Debug)]
struct Place {
    name: String,
    shape: Vec<usize>,
    /// The layer's, or the one after the last.
    slice: usize,
    range: Range<usize>,
    initial: Initial,
}

/// What is trained outside of the decoder layers.
#[derive(Clone, Debug, Default)]
pub(crate) struct OutsidePlan {
    slice: Slice,
    virtual_tokens: Option<VirtualTokens>,
    embedding: Option<Range<usize>>,
    last_norm: Option<Range<usize>>,
    head: Option<Range<usize>>,
    classifier: Option<ClassifierPlan>,
}

impl OutsidePlan {
    /// Shows what stands before every sequence.
    pub(crate) fn virtual_tokens(&self) -> Option<&VirtualTokens> {
        self.virtual_tokens.as_ref()
    }

    /// Shows where the embedding of the vocabulary stands, `[vocab_size, hidden]`.
    pub(crate) fn embedding(&self) -> Option<&Range<usize>> {
        self.embedding.as_ref()
    }

    /// Shows where the last norm stands, `[hidden]`, as Hugging Face has it.
    pub(crate) fn last_norm(&self) -> Option<&Range<usize>> {
        self.last_norm.as_ref()
    }

    /// Shows where a head of labels stands.
    pub(crate) fn classifier(&self) -> Option<&ClassifierPlan> {
        self.classifier.as_ref()
    }

    /// Shows where the output matrix stands, `[vocab_size, hidden]`; the embedding's place where one matrix is both.
    pub(crate) fn head(&self) -> Option<&Range<usize>> {
        self.head.as_ref()
    }
}

/// How a method fits a model.
#[derive(Clone, Debug)]
pub struct Plan {
    layers: Vec<LayerPlan>,
    outside: OutsidePlan,
    places: Vec<Place>,
    /// Hugging Face's files of the family have norms less one.
    is_less_one: bool,
    embedding_scale: f32,
}

impl Plan {
    /// Begins a plan that trains nothing yet.
    pub(crate) fn new(config: &ModelConfig) -> Self {
        Self {
            layers: vec![LayerPlan::default(); config.layers],
            outside: OutsidePlan::default(),
            places: Vec::new(),
            is_less_one: config.variant.published_norms_less_one,
            embedding_scale: config.variant.embedding_scale.unwrap_or(1.0),
        }
    }

    /// Adds a tensor to a slice, the layer's or the one after the last; tells where it stands.
    fn add(
        &mut self,
        slice: usize,
        name: String,
        shape: impl Into<Vec<usize>>,
        initial: Initial,
        is_decayed: bool,
    ) -> Range<usize> {
        let shape = shape.into();
        let numbers = shape.iter().product();
        let range = match self.layers.get_mut(slice) {
            Some(layer) => layer.slice.add(numbers, is_decayed),
            None => self.outside.slice.add(numbers, is_decayed),
        };
        self.places.push(Place {
            name,
            shape,
            slice,
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
        let a = self.add(layer, name("lora_A"), [rank, inputs], uniform, true);
        let zero = Initial::Constant(0.0);
        let b = self.add(layer, name("lora_B"), [outputs, rank], zero, true);
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
        let initial = Initial::RowNorms(layer, target);
        let range = self.add(layer, name, [outputs], initial, true);
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
        let range = self.add(layer, target.key(layer, "ia3_l"), shape, initial, true);
        let linear = &mut self.layers[layer].linear[target as usize];
        match of_input {
            true => linear.input_scale = Some(range),
            false => linear.output_scale = Some(range),
        }
    }

    /// Trains a bias that the base has, under a name.
    pub(crate) fn add_bias(&mut self, layer: usize, target: Target, outputs: usize, name: String) {
        let bias = Initial::Bias(layer, target);
        let range = self.add(layer, name, [outputs], bias, false);
        self.layers[layer].linear[target as usize].bias = Some(range);
    }

    /// Trains a module's weight whole, and its bias where it has one; names are its path after a prefix.
    pub(crate) fn add_module(&mut self, module: Module, config: &ModelConfig, prefix: &str) {
        let path = format!("{prefix}{}", module.path(config));
        let name = format!("{path}.weight");
        let (shape, initial) = (module.shape(config), Initial::Weight(module));
        let slice = match module {
            Module::Linear(layer, _) | Module::Norm(layer, _) => layer,
            Module::Embedding | Module::LastNorm | Module::Head => self.layers.len(),
        };
        let range = self.add(slice, name, shape, initial, !module.is_norm());
        match module {
            Module::Embedding => self.outside.embedding = Some(range),
            Module::LastNorm => self.outside.last_norm = Some(range),
            Module::Head => self.outside.head = Some(range),
            Module::Norm(layer, norm) => self.layers[layer].norms[norm as usize] = Some(range),
            Module::Linear(layer, target) => {
                self.layers[layer].linear[target as usize].weight = Some(range);
                if target.has_bias(config) {
                    let outputs = target.widths(config).1;
                    self.add_bias(layer, target, outputs, format!("{path}.bias"));
                }
            }
        }
    }

    /// Lets the trained embedding be the output matrix too, as in a base with one matrix for both.
    pub(crate) fn tie_head(&mut self) {
        self.outside.head = self.outside.embedding.clone();
    }

    /// Trains a bottleneck after a part of a layer. Weights begin normal, biases as 0 (`adapters`' `init_weights: bert`).
    pub(crate) fn add_bottleneck(
        &mut self,
        (layer, part): (usize, Part),
        names: &dyn Fn(&str) -> String,
        (hidden, width): (usize, usize),
        non_linearity: NonLinearity,
        reads_stream: bool,
    ) {
        const SPREAD: f64 = 0.02;
        let (normal, zero) = (Initial::Normal(SPREAD), Initial::Constant(0.0));
        let mut add = |name: &str, shape: &[usize], initial: &Initial, is_decayed| {
            self.add(layer, names(name), shape, initial.clone(), is_decayed)
        };
        let bottleneck = BottleneckPlan {
            down: add("adapter_down.0.weight", &[width, hidden], &normal, true),
            down_bias: add("adapter_down.0.bias", &[width], &zero, false),
            up: add("adapter_up.weight", &[hidden, width], &normal, true),
            up_bias: add("adapter_up.bias", &[hidden], &zero, false),
            width,
            non_linearity,
            reads_stream,
        };
        self.layers[layer].bottlenecks[part as usize] = Some(bottleneck);
    }

    /// Trains embeddings that stand before every sequence, `[count, hidden]`.
    pub(crate) fn add_prompt(&mut self, count: usize, hidden: usize, initial: Initial) {
        let (slice, name) = (self.layers.len(), PROMPT.to_string());
        let rows = self.add(slice, name, [count, hidden], initial, true);
        self.outside.virtual_tokens = Some(VirtualTokens::Prompt { count, rows });
    }

    /// Trains keys and values of `width` numbers that stand before those of every sequence in every layer: themselves, or
    /// by an encoder with so many numbers inside.
    pub(crate) fn add_prefix(&mut self, count: usize, width: usize, encoder_hidden: Option<usize>) {
        let slice = self.layers.len();
        let columns = self.layers.len() * 2 * width;
        // As PyTorch begins an embedding, and a linear layer.
        let even = |inputs: usize| Initial::Uniform(1.0 / (inputs as f64).sqrt());
        let encoder = match encoder_hidden {
            None => {
                let normal = Initial::Normal(1.0);
                let table = self.add(slice, PROMPT.into(), [count, columns], normal, true);
                PrefixEncoder::Table(table)
            }
            Some(hidden) => {
                let mut add = |name: &str, shape: &[usize], initial, is_decayed| {
                    let name = format!("{PREFIX_ENCODER}{name}");
                    self.add(slice, name, shape, initial, is_decayed)
                };
                let normal = Initial::Normal(1.0);
                PrefixEncoder::Projection {
                    embedding: add("embedding.weight", &[count, width], normal, true),
                    inner: [
                        add("transform.0.weight", &[hidden, width], even(width), true),
                        add("transform.0.bias", &[hidden], even(width), false),
                    ],
                    outer: [
                        add("transform.2.weight", &[columns, hidden], even(hidden), true),
                        add("transform.2.bias", &[columns], even(hidden), false),
                    ],
                }
            }
        };
        self.outside.virtual_tokens = Some(VirtualTokens::Prefix { count, encoder });
        for layer in &mut self.layers {
            let keys = layer.parameters()..layer.parameters() + count * width;
            layer.prefix = Some(PrefixPlan {
                values: keys.end..keys.end + count * width,
                keys,
            });
        }
    }

    /// Trains a head of labels. Its weight begins normal with transformers' `initializer_range`, its bias as 0.
    pub(crate) fn add_classifier(
        &mut self,
        prefix: &str,
        labels: usize,
        hidden: usize,
        has_bias: bool,
    ) {
        const INITIALIZER_RANGE: f64 = 0.02;
        let slice = self.layers.len();
        let name = |part: &str| format!("{prefix}score.{part}");
        let normal = Initial::Normal(INITIALIZER_RANGE);
        let weight = self.add(slice, name("weight"), [labels, hidden], normal, true);
        let zero = Initial::Constant(0.0);
        let bias = has_bias.then(|| self.add(slice, name("bias"), [labels], zero, false));
        self.outside.classifier = Some(ClassifierPlan {
            labels,
            weight,
            bias,
        });
    }

    /// Shows what is trained in a decoder layer.
    pub(crate) fn layer(&self, index: usize) -> &LayerPlan {
        &self.layers[index]
    }

    /// Shows what is trained in every decoder layer, from the input up.
    pub(crate) fn layers(&self) -> &[LayerPlan] {
        &self.layers
    }

    /// Shows what is trained outside of the layers.
    pub(crate) fn outside(&self) -> &OutsidePlan {
        &self.outside
    }

    /// Counts the positions that stand before every sequence.
    pub(crate) fn virtual_tokens(&self) -> usize {
        let tokens = self.outside.virtual_tokens.as_ref();
        tokens.map_or(0, VirtualTokens::count)
    }

    /// Tells whether weights are trained in the base's places, biases apart.
    pub(crate) fn replaces_weights(&self) -> bool {
        let is_weight = |place: &Place| matches!(place.initial, Initial::Weight(_));
        self.places.iter().any(is_weight)
    }

    /// Shows the slices: every layer's, and the one of what is outside of them.
    pub(crate) fn slices(&self) -> Vec<&Slice> {
        let layers = self.layers.iter().map(LayerPlan::slice);
        layers.chain([&self.outside.slice]).collect()
    }

    /// Tells what makes a trained norm one that numbers are multiplied by.
    pub(crate) fn norm_offset(&self) -> f32 {
        match self.is_less_one {
            true => 1.0,
            false => 0.0,
        }
    }

    /// Counts the trainable numbers of all slices.
    pub fn parameters(&self) -> usize {
        self.slices().into_iter().map(Slice::parameters).sum()
    }

    /// Makes the first values of every slice.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] when the base lacks a tensor that a value begins as, or a text has no tokens.
    pub(crate) fn initial(&self, beginning: &Beginning<'_>) -> Result<Vec<Vec<f32>>, EngineError> {
        let mut slices = self.zeros();
        for place in &self.places {
            let values = &mut slices[place.slice][place.range.clone()];
            self.begin(place, beginning, values)?;
        }
        Ok(slices)
    }

    /// As [`Self::initial`], of a plan without a text.
    #[cfg(test)]
    pub(crate) fn drawn(&self, seed: u64, base: &BaseWeights) -> Vec<Vec<f32>> {
        let tokenize = &|_: &str| Ok(vec![1, 2, 3]);
        let beginning = Beginning {
            seed,
            base,
            tokenize,
        };
        self.initial(&beginning).expect("first values")
    }

    fn begin(
        &self,
        place: &Place,
        beginning: &Beginning<'_>,
        values: &mut [f32],
    ) -> Result<(), EngineError> {
        let base = beginning.base;
        let random = || Random::at(beginning.seed, &["lora", &place.name]);
        match &place.initial {
            Initial::Uniform(bound) => {
                let mut random = random();
                values.fill_with(|| ((2.0 * random.next_f64() - 1.0) * bound) as f32);
            }
            Initial::Normal(deviation) => {
                let mut random = random();
                values.fill_with(|| (normal(&mut random) * deviation) as f32);
            }
            Initial::Constant(value) => values.fill(*value),
            Initial::Bias(layer, target) => {
                let layer = base.layer(*layer).read()?;
                let bias = layer.bias(*target).ok_or_else(|| {
                    EngineError::Invalid(format!("{}: the base has no such bias", place.name))
                })?;
                values.copy_from_slice(&bias.to_vec1::<f32>()?);
            }
            Initial::RowNorms(layer, target) => {
                let layer = base.layer(*layer).read()?;
                let norms = layer.linear(*target).sqr()?.sum(1)?.sqrt()?;
                values.copy_from_slice(&norms.to_vec1::<f32>()?);
            }
            Initial::Weight(module) => {
                values.copy_from_slice(&module.read(base, self.is_less_one)?);
            }
            Initial::Text(text) => {
                let ids = (beginning.tokenize)(text)?;
                if ids.is_empty() {
                    return Err(EngineError::Invalid(format!(
                        "prompt_tuning_init_text: expected a text with at least one token, found {text:?}"
                    )));
                }
                let rows = base.embeddings(&ids)?.flatten_all()?.to_vec1::<f32>()?;
                let scaled = rows.iter().map(|x| x * self.embedding_scale).cycle();
                values.iter_mut().zip(scaled).for_each(|(to, x)| *to = x);
            }
        }
        Ok(())
    }

    /// Writes the slices as tensors under their names with a prefix, sorted by name. Slices that are given away go one by one, so
    /// that the numbers are never there twice.
    pub fn to_tensors(
        &self,
        prefix: &str,
        slices: impl IntoIterator<Item = impl AsRef<[f32]>>,
    ) -> Vec<NamedTensor> {
        let mut tensors = Vec::with_capacity(self.places.len());
        for (index, slice) in slices.into_iter().enumerate() {
            let places = self.places.iter().filter(|place| place.slice == index);
            tensors.extend(places.map(|place| NamedTensor {
                name: format!("{prefix}{}", place.name),
                shape: place.shape.clone(),
                data: slice.as_ref()[place.range.clone()].to_vec(),
            }));
        }
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        tensors
    }

    /// Reads what [`Self::to_tensors`] wrote. Tensors that are given away go one by one.
    ///
    /// # Errors
    /// [`EngineError::Adapter`] when a tensor is missing, there twice, of another shape, or one that this plan has no place for.
    pub fn read_tensors(
        &self,
        prefix: &str,
        tensors: impl IntoIterator<Item = impl Borrow<NamedTensor>>,
    ) -> Result<Vec<Vec<f32>>, EngineError> {
        let mut left = BTreeMap::new();
        for tensor in tensors {
            let Some(name) = tensor.borrow().name.strip_prefix(prefix) else {
                continue;
            };
            let name = name.to_string();
            if let Some(other) = left.insert(name, tensor) {
                return Err(EngineError::adapter(
                    &other.borrow().name,
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
            let NamedTensor {
                shape: found, data, ..
            } = tensor.borrow();
            if found != shape || data.len() != place.range.len() {
                let count = data.len();
                return Err(refuse(format!("shape {found:?} with {count} elements")));
            }
            fitting.push((place, tensor));
        }
        if let Some(tensor) = left.values().next() {
            return Err(EngineError::adapter(
                &tensor.borrow().name,
                format!("only the {} tensors of these settings", self.places.len()),
                "this tensor too",
            ));
        }
        // Settings may ask for anything; room is made for what is there, a slice at a time as its tensors go.
        fitting.sort_by_key(|(place, _)| place.slice);
        let mut fitting = fitting.into_iter().peekable();
        let read = |(index, slice): (usize, &Slice)| {
            let mut values = vec![0f32; slice.parameters()];
            while let Some((place, tensor)) = fitting.next_if(|(place, _)| place.slice == index) {
                values[place.range.clone()].copy_from_slice(&tensor.borrow().data);
            }
            values
        };
        Ok(self.slices().into_iter().enumerate().map(read).collect())
    }

    fn zeros(&self) -> Vec<Vec<f32>> {
        let slices = self.slices().into_iter();
        slices.map(|slice| vec![0f32; slice.parameters()]).collect()
    }
}

/// Draws from the normal distribution (Box and Muller 1958).
fn normal(random: &mut Random) -> f64 {
    let (radius, angle) = (1.0 - random.next_f64(), random.next_f64());
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}
