//! LoRA (Hu et al. 2021) as PEFT has it: names, shapes, first values and `adapter_config.json`.
//!
//! Every target layer W gets W + (lora_alpha / r)·B·A. The trainable numbers of one decoder layer stand in one slice,
//! A before B for each target in the order of [`Target::ALL`]; [`LoraPlan`] says where.

use std::ops::Range;

use autodidact_domain::NamedTensor;
use autodidact_domain::random::Random;
use serde_json::{Value as Json, json};

use crate::EngineError;
use crate::models::config::ModelConfig;

/// The name of the method in checkpoints.
pub const METHOD: &str = "lora";

/// The greatest rank that is taken; beyond it a request is surely a mistake.
const MAX_RANK: u32 = 4096;

/// A linear layer that can have an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// The queries.
    Q,
    /// The keys.
    K,
    /// The values.
    V,
    /// The attention's output.
    O,
    /// The feed-forward part's gate.
    Gate,
    /// The feed-forward part's first matrix.
    Up,
    /// The feed-forward part's last matrix.
    Down,
}

impl Target {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 7] = [
        Self::Q,
        Self::K,
        Self::V,
        Self::O,
        Self::Gate,
        Self::Up,
        Self::Down,
    ];

    /// Shows the name in `target_modules`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q => "q_proj",
            Self::K => "k_proj",
            Self::V => "v_proj",
            Self::O => "o_proj",
            Self::Gate => "gate_proj",
            Self::Up => "up_proj",
            Self::Down => "down_proj",
        }
    }

    /// Reads a name of `target_modules`.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] with the nearest name.
    pub fn parse(name: &str) -> Result<Self, EngineError> {
        if let Some(target) = Self::ALL.into_iter().find(|target| target.name() == name) {
            return Ok(target);
        }
        let nearest = Self::ALL
            .into_iter()
            .map(Self::name)
            .max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)))
            .unwrap_or_default();
        let all = Self::ALL.map(Self::name).join(", ");
        Err(EngineError::Invalid(format!(
            "target_modules: there is no linear layer {name:?}; did you mean {nearest:?}? expected any of {all}"
        )))
    }

    /// Tells PEFT's key of the update's matrix in a layer; `matrix` is `lora_A` or `lora_B`.
    pub fn key(self, layer: usize, matrix: &str) -> String {
        let part = match self {
            Self::Q | Self::K | Self::V | Self::O => "self_attn",
            Self::Gate | Self::Up | Self::Down => "mlp",
        };
        format!(
            "base_model.model.model.layers.{layer}.{part}.{}.{matrix}.weight",
            self.name()
        )
    }

    /// Tells the (inputs, outputs) of the layer in a model.
    pub fn widths(self, config: &ModelConfig) -> (usize, usize) {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        match self {
            Self::Q => (hidden, config.heads * config.head_dim),
            Self::K | Self::V => (hidden, config.kv_heads * config.head_dim),
            Self::O => (config.heads * config.head_dim, hidden),
            Self::Gate | Self::Up => (hidden, inner),
            Self::Down => (inner, hidden),
        }
    }
}

/// A checked configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraConfig {
    r: u32,
    lora_alpha: f32,
    use_rslora: bool,
    lora_dropout: f32,
    /// Sorted, without repetition, not empty.
    targets: Vec<Target>,
}

impl LoraConfig {
    /// Checks a configuration.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] when `r` is 0 or absurd, `lora_alpha` is not a positive number, `lora_dropout` is not in
    /// [0, 1), or `target_modules` is empty or names an unknown layer.
    pub fn new(
        r: u32,
        lora_alpha: f32,
        lora_dropout: f32,
        target_modules: &[String],
    ) -> Result<Self, EngineError> {
        let invalid = |message: String| Err(EngineError::Invalid(message));
        if r == 0 || r > MAX_RANK {
            return invalid(format!("r: expected 1 to {MAX_RANK}, found {r}"));
        }
        if !(lora_alpha.is_finite() && lora_alpha > 0.0) {
            return invalid(format!(
                "lora_alpha: expected a number above 0, found {lora_alpha}"
            ));
        }
        if !(0.0..1.0).contains(&lora_dropout) {
            return invalid(format!(
                "lora_dropout: expected a number from 0 to below 1, found {lora_dropout}"
            ));
        }
        let mut targets = target_modules
            .iter()
            .map(|name| Target::parse(name))
            .collect::<Result<Vec<_>, _>>()?;
        targets.sort();
        targets.dedup();
        if targets.is_empty() {
            return invalid(
                "target_modules: expected at least one linear layer, such as q_proj; found none"
                    .into(),
            );
        }
        Ok(Self {
            r,
            lora_alpha,
            use_rslora: false,
            lora_dropout,
            targets,
        })
    }

    /// Scales updates by lora_alpha / sqrt(r) (rank-stabilised LoRA, Kalajdzievski 2023), or by lora_alpha / r.
    #[must_use]
    pub fn rank_stabilized(self, use_rslora: bool) -> Self {
        Self { use_rslora, ..self }
    }

    /// Writes PEFT's `adapter_config.json`, with the fields that every PEFT from 0.10 on reads and no others.
    pub fn to_adapter_config(&self, base_model: &str) -> Json {
        json!({
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base_model,
            "r": self.r,
            "lora_alpha": number(self.lora_alpha),
            "lora_dropout": number(self.lora_dropout),
            "target_modules": self.targets.iter().map(|target| target.name()).collect::<Vec<_>>(),
            "bias": "none",
            "fan_in_fan_out": false,
            "modules_to_save": null,
            "rank_pattern": {},
            "alpha_pattern": {},
            "use_rslora": self.use_rslora,
            "use_dora": false,
            "inference_mode": true,
        })
    }
}

/// Tells what multiplies updates of a rank: lora_alpha / r, or lora_alpha / sqrt(r) where they are rank-stabilised.
pub(crate) fn scale(lora_alpha: f32, rank: usize, use_rslora: bool) -> f32 {
    match use_rslora {
        true => lora_alpha / (rank as f32).sqrt(),
        false => lora_alpha / rank as f32,
    }
}

/// Writes an f32 with the digits it has, as a whole number where it is one (PEFT's `lora_alpha` is an integer).
fn number(value: f32) -> Json {
    if value.fract() == 0.0 && value.abs() < 1e9 {
        return json!(value as i64);
    }
    json!(value.to_string().parse::<f64>().unwrap_or(f64::from(value)))
}

/// Where the two matrices of one update stand in the slice of its decoder layer.
#[derive(Clone, Debug)]
pub struct LoraSlot {
    /// The linear layer.
    pub target: Target,
    /// A `[rank, inputs]`.
    pub a: Range<usize>,
    /// B `[outputs, rank]`, which follows A.
    pub b: Range<usize>,
    /// The width of the layer's input.
    pub inputs: usize,
    /// The width of the layer's output.
    pub outputs: usize,
}

/// How a configuration fits a model; the same in every decoder layer.
#[derive(Clone, Debug)]
pub struct LoraPlan {
    rank: usize,
    scale: f32,
    dropout: f32,
    slots: Vec<LoraSlot>,
    layers: usize,
    parameters: usize,
}

impl LoraPlan {
    /// Lays out the updates of a model.
    pub fn new(lora: &LoraConfig, config: &ModelConfig) -> Self {
        let rank = lora.r as usize;
        let mut end = 0;
        let mut next = |length: usize| {
            let range = end..end + length;
            end = range.end;
            range
        };
        let slots = lora.targets.iter().map(|target| {
            let (inputs, outputs) = target.widths(config);
            LoraSlot {
                target: *target,
                a: next(rank * inputs),
                b: next(outputs * rank),
                inputs,
                outputs,
            }
        });
        let slots: Vec<LoraSlot> = slots.collect();
        let scale = scale(lora.lora_alpha, lora.r as usize, lora.use_rslora);
        Self {
            rank,
            scale,
            dropout: lora.lora_dropout,
            slots,
            layers: config.layers,
            parameters: end,
        }
    }

    /// Tells the rank of the updates.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Tells what multiplies the updates; see [`scale`].
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// Tells the chance that an element of an update's input is zeroed in training.
    pub fn dropout(&self) -> f32 {
        self.dropout
    }

    /// Finds a target's place; none where it has no update.
    pub fn slot(&self, target: Target) -> Option<&LoraSlot> {
        self.slots.iter().find(|slot| slot.target == target)
    }

    /// Counts the trainable numbers of one decoder layer.
    pub fn parameters(&self) -> usize {
        self.parameters
    }

    /// Draws the first values: A uniform within 1/sqrt(inputs), which is PEFT's `kaiming_uniform_(a=sqrt(5))`, and B zero.
    ///
    /// A matrix's values follow from the seed and its key alone.
    pub fn initial(&self, seed: u64) -> Vec<Vec<f32>> {
        let layer = |index: usize| {
            let mut values = vec![0f32; self.parameters];
            for slot in &self.slots {
                let bound = 1.0 / (slot.inputs as f64).sqrt();
                let mut random = Random::at(seed, &["lora", &slot.target.key(index, "lora_A")]);
                for value in &mut values[slot.a.clone()] {
                    *value = ((2.0 * random.next_f64() - 1.0) * bound) as f32;
                }
            }
            values
        };
        (0..self.layers).map(layer).collect()
    }

    /// Writes the slices of all layers as tensors under PEFT's keys with a prefix, sorted by name.
    pub fn to_tensors(&self, prefix: &str, layers: &[Vec<f32>]) -> Vec<NamedTensor> {
        let mut tensors: Vec<NamedTensor> = self
            .places(prefix)
            .map(|place| NamedTensor {
                name: place.name,
                shape: place.shape.to_vec(),
                data: layers[place.layer][place.range].to_vec(),
            })
            .collect();
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        tensors
    }

    /// Reads what [`Self::to_tensors`] wrote.
    ///
    /// # Errors
    /// [`EngineError::Adapter`] when a tensor is missing, of another shape, or one that this plan has no place for.
    pub fn read_tensors(
        &self,
        prefix: &str,
        tensors: &[NamedTensor],
    ) -> Result<Vec<Vec<f32>>, EngineError> {
        let mut layers = vec![vec![0f32; self.parameters]; self.layers];
        let mut used = 0;
        for place in self.places(prefix) {
            let refuse = |found: String| EngineError::Adapter {
                part: place.name.clone(),
                expected: format!("shape {:?}", place.shape),
                found,
            };
            let tensor = tensors
                .iter()
                .find(|tensor| tensor.name == place.name)
                .ok_or_else(|| refuse("none".into()))?;
            if tensor.shape != place.shape || tensor.data.len() != place.range.len() {
                return Err(refuse(format!(
                    "shape {:?} with {} elements",
                    tensor.shape,
                    tensor.data.len()
                )));
            }
            layers[place.layer][place.range].copy_from_slice(&tensor.data);
            used += 1;
        }
        let ours = tensors
            .iter()
            .filter(|tensor| tensor.name.starts_with(prefix))
            .count();
        if ours != used {
            return Err(EngineError::Adapter {
                part: "tensors".into(),
                expected: format!("the {used} of these target_modules"),
                found: ours.to_string(),
            });
        }
        Ok(layers)
    }

    fn places(&self, prefix: &str) -> impl Iterator<Item = Place> {
        let slots =
            (0..self.layers).flat_map(|layer| self.slots.iter().map(move |slot| (layer, slot)));
        slots.flat_map(move |(layer, slot)| {
            let name = |matrix| format!("{prefix}{}", slot.target.key(layer, matrix));
            [
                Place {
                    name: name("lora_A"),
                    shape: [self.rank, slot.inputs],
                    layer,
                    range: slot.a.clone(),
                },
                Place {
                    name: name("lora_B"),
                    shape: [slot.outputs, self.rank],
                    layer,
                    range: slot.b.clone(),
                },
            ]
        })
    }
}

/// Where one tensor stands.
struct Place {
    name: String,
    shape: [usize; 2],
    layer: usize,
    range: Range<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    fn config() -> ModelConfig {
        ModelConfig {
            architecture: "llama".into(),
            vocab_size: 8,
            hidden_size: 12,
            intermediate_size: 20,
            layers: 2,
            heads: 3,
            kv_heads: 1,
            head_dim: 4,
            rms_norm_eps: 1e-5,
            rope_theta: 1e4,
            context_length: 16,
            tie_word_embeddings: true,
            eos_ids: vec![],
            bos_id: None,
            add_bos: false,
            variant: Default::default(),
        }
    }

    #[test]
    fn wrong_configurations_are_refused_with_what_was_expected() {
        let check = |r, alpha, dropout, targets: &[&str], expect: &str| {
            let error = LoraConfig::new(r, alpha, dropout, &names(targets))
                .expect_err("refused")
                .to_string();
            assert!(error.contains(expect), "{error}");
        };
        check(0, 16.0, 0.0, &["q_proj"], "r: expected 1");
        check(8, f32::NAN, 0.0, &["q_proj"], "lora_alpha");
        check(8, 16.0, 1.0, &["q_proj"], "lora_dropout");
        check(8, 16.0, 0.0, &[], "target_modules");
        check(8, 16.0, 0.0, &["q_prj"], "did you mean \"q_proj\"?");
        check(8, 16.0, 0.0, &["gate"], "did you mean \"gate_proj\"?");
        check(
            8,
            16.0,
            0.0,
            &["down_project"],
            "did you mean \"down_proj\"?",
        );
    }

    #[test]
    fn discriminants_are_places_in_all() {
        for (index, target) in Target::ALL.into_iter().enumerate() {
            assert_eq!(target as usize, index);
            assert_eq!(Target::parse(target.name()).expect("its own name"), target);
        }
    }

    #[test]
    fn tensors_have_pefts_keys_and_shapes_and_come_back() {
        let lora = LoraConfig::new(
            2,
            16.0,
            0.1,
            &names(&["v_proj", "q_proj", "down_proj", "q_proj"]),
        )
        .expect("valid");
        let plan = LoraPlan::new(&lora, &config());
        let values = plan.initial(3);
        let tensors = plan.to_tensors("", &values);
        assert_eq!(tensors.len(), 2 * 3 * 2);
        assert!(tensors.windows(2).all(|pair| pair[0].name < pair[1].name));
        let shape = |name: &str| {
            tensors
                .iter()
                .find(|t| t.name == name)
                .expect(name)
                .shape
                .clone()
        };
        assert_eq!(
            shape("base_model.model.model.layers.1.self_attn.v_proj.lora_A.weight"),
            [2, 12]
        );
        assert_eq!(
            shape("base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight"),
            [4, 2]
        );
        assert_eq!(
            shape("base_model.model.model.layers.0.mlp.down_proj.lora_A.weight"),
            [2, 20]
        );
        assert_eq!(plan.read_tensors("", &tensors).expect("they fit"), values);
        assert!(plan.read_tensors("", &tensors[1..]).is_err());
        let wider = LoraPlan::new(
            &LoraConfig::new(3, 16.0, 0.1, &names(&["q_proj"])).expect("valid"),
            &config(),
        );
        assert!(wider.read_tensors("", &tensors).is_err());
        let fewer = LoraPlan::new(
            &LoraConfig::new(2, 16.0, 0.1, &names(&["q_proj"])).expect("valid"),
            &config(),
        );
        assert!(fewer.read_tensors("", &tensors).is_err());
    }

    #[test]
    fn first_values_are_uniform_within_the_bound_and_b_is_zero() {
        let lora = LoraConfig::new(8, 16.0, 0.0, &names(&["q_proj"])).expect("valid");
        let wide = ModelConfig {
            hidden_size: 400,
            ..config()
        };
        let plan = LoraPlan::new(&lora, &wide);
        let values = plan.initial(1);
        let slot = plan.slot(Target::Q).expect("a target");
        let a = &values[0][slot.a.clone()];
        let bound = 1.0 / 20.0;
        assert!(a.iter().all(|x| x.abs() <= bound));
        let mean_square = a.iter().map(|x| x * x).sum::<f32>() / a.len() as f32;
        assert!(
            (mean_square - bound * bound / 3.0).abs() < 5e-5,
            "{mean_square}"
        );
        assert!(values[0][slot.b.clone()].iter().all(|x| *x == 0.0));
        assert_ne!(values[0], values[1]);
        assert_eq!(values, plan.initial(1));
        assert_ne!(values, plan.initial(2));
    }

    #[test]
    fn rank_stabilised_updates_are_scaled_by_the_root_of_the_rank() {
        let lora = LoraConfig::new(16, 8.0, 0.0, &names(&["q_proj"])).expect("valid");
        let scale = |lora: &LoraConfig| LoraPlan::new(lora, &config()).scale();
        assert_eq!(scale(&lora), 0.5);
        let lora = lora.rank_stabilized(true);
        assert_eq!(scale(&lora), 2.0);
        assert_eq!(lora.to_adapter_config("tiny")["use_rslora"], true);
    }

    #[test]
    fn the_adapter_configuration_has_pefts_fields_and_no_others() {
        let lora = LoraConfig::new(8, 16.0, 0.1, &names(&["v_proj", "q_proj"])).expect("valid");
        let config = lora.to_adapter_config("smollm2");
        assert_eq!(config["lora_alpha"].to_string(), "16");
        assert_eq!(config["lora_dropout"].to_string(), "0.1");
        assert_eq!(config["target_modules"], json!(["q_proj", "v_proj"]));
        let mut fields: Vec<&str> = config
            .as_object()
            .expect("an object")
            .keys()
            .map(String::as_str)
            .collect();
        fields.sort_unstable();
        let mut want = vec![
            "peft_type",
            "task_type",
            "base_model_name_or_path",
            "r",
            "lora_alpha",
            "lora_dropout",
            "target_modules",
            "bias",
            "fan_in_fan_out",
            "modules_to_save",
            "rank_pattern",
            "alpha_pattern",
            "use_rslora",
            "use_dora",
            "inference_mode",
        ];
        want.sort_unstable();
        assert_eq!(fields, want);
    }
}
