//! The model families: one row each, and what their headers say beyond a plain Llama's.

use std::path::Path;

use serde_json::Value as Json;

use super::config::ModelConfig;
use super::fields::{GgufFields, JsonFields};
use super::gguf::Value;
use super::long_rope::{LongRope, SHORT_ROPE_FACTORS};
use autodidact_domain::TrainTask;

use crate::EngineError;

/// A family: its names, and where its decoder differs from the plain Llama's.
#[derive(Debug)]
pub(super) struct Family {
    /// The name in GGUF's `general.architecture`; empty where GGUF files of it call themselves otherwise.
    pub(super) gguf: &'static str,
    /// The name in `config.json`'s `model_type`.
    pub(super) hugging_face: &'static str,
    /// The name in `config.json`'s `architectures`.
    pub(super) class: &'static str,
    pub(super) traits: Traits,
}

/// What holds for every model of a family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traits {
    /// GGUF stores rows of q and k in the order that interleaved rope takes.
    pub(super) gguf_interleaves: bool,
    /// q, k and v have biases.
    qkv_bias: bool,
    /// Heads of q and k are normed before rope.
    qk_norm: bool,
    /// Attention's and the feed-forward part's results are normed before they are added.
    sandwich_norms: bool,
    /// Hugging Face stores norm weights less one.
    norms_less_one: bool,
    /// Embeddings are multiplied by the root of the width.
    scaled_embedding: bool,
    /// One matrix holds q, k and v, and one gate and up.
    fused: bool,
    activation: Activation,
    /// Every so many layers one attends to everything, where a window is set; 0 where none does.
    global_every: usize,
}

const LLAMA: Traits = Traits {
    gguf_interleaves: true,
    qkv_bias: false,
    qk_norm: false,
    sandwich_norms: false,
    norms_less_one: false,
    scaled_embedding: false,
    fused: false,
    activation: Activation::Silu,
    global_every: 0,
};

/// One row is all a further Llama-like family needs.
pub(super) const FAMILIES: &[Family] = &[
    Family {
        gguf: "llama",
        hugging_face: "llama",
        class: "LlamaForCausalLM",
        traits: LLAMA,
    },
    // Converted to GGUF it calls itself llama.
    Family {
        gguf: "",
        hugging_face: "mistral",
        class: "MistralForCausalLM",
        traits: LLAMA,
    },
    Family {
        gguf: "qwen2",
        hugging_face: "qwen2",
        class: "Qwen2ForCausalLM",
        traits: Traits {
            gguf_interleaves: false,
            qkv_bias: true,
            ..LLAMA
        },
    },
    Family {
        gguf: "qwen3",
        hugging_face: "qwen3",
        class: "Qwen3ForCausalLM",
        traits: Traits {
            gguf_interleaves: false,
            qk_norm: true,
            ..LLAMA
        },
    },
    Family {
        gguf: "gemma3",
        hugging_face: "gemma3_text",
        class: "Gemma3ForCausalLM",
        traits: Traits {
            gguf_interleaves: false,
            qk_norm: true,
            sandwich_norms: true,
            norms_less_one: true,
            scaled_embedding: true,
            activation: Activation::GeluTanh,
            global_every: 6,
            ..LLAMA
        },
    },
    Family {
        gguf: "phi3",
        hugging_face: "phi3",
        class: "Phi3ForCausalLM",
        traits: Traits {
            gguf_interleaves: false,
            fused: true,
            ..LLAMA
        },
    },
];

/// The gate's activation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// x · sigmoid(x) (Shazeer 2020).
    #[default]
    Silu,
    /// The tanh form of GELU (Hendrycks and Gimpel 2016).
    GeluTanh,
}

/// How the rotary embedding's frequencies are changed for long contexts.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum RopeScaling {
    /// They are as Su et al. 2021 have them.
    #[default]
    None,
    /// All are divided by this (Chen et al. 2023, position interpolation).
    Linear(f32),
    /// Low ones are divided, high ones kept, those between blended (Llama 3.1, `rope_type: llama3`).
    Llama3 {
        /// What low frequencies are divided by.
        factor: f32,
        /// Below this many turns over the original context a frequency is low.
        low_freq_factor: f32,
        /// Above this many it is high.
        high_freq_factor: f32,
        /// The context the model was first trained on, in tokens.
        original_context: f32,
    },
    /// Each is divided by a factor of its own, as GGUF's `rope_freqs.weight` has them.
    Factors(Vec<f32>),
}

/// Attention that sees the last positions only.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Positions a token sees, itself among them.
    pub positions: usize,
    /// Whether a layer has it, by its index.
    pub layers: Vec<bool>,
    /// The base of the rotary embedding in these layers, without scaling; none where it is as in the others.
    pub rope_theta: Option<f32>,
}

/// Where a model's decoder differs from the plain Llama's; the default does not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Variant {
    /// q, k and v have biases (Qwen 2).
    pub qkv_bias: bool,
    /// Heads of q and k are normed before rope (Qwen 3, Gemma 3).
    pub qk_norm: bool,
    /// Attention's and the feed-forward part's results are normed before they are added (Gemma 3).
    pub sandwich_norms: bool,
    /// The files hold norm weights less one (Gemma in Hugging Face's format).
    pub norms_less_one: bool,
    /// Hugging Face's files of the family do, whatever these are.
    pub published_norms_less_one: bool,
    /// Embeddings are multiplied by this; 1 where none is.
    pub embedding_scale: Option<f32>,
    /// One matrix holds q, k and v, and one gate and up (Phi-3).
    pub fused: bool,
    /// The gate's activation.
    pub activation: Activation,
    /// Scores are multiplied by this; none is one over the root of the head width.
    pub attention_scale: Option<f32>,
    /// How the rotary embedding is scaled.
    pub rope_scaling: RopeScaling,
    /// What goes with the divisors of LongRoPE (Phi-3's long variants).
    pub long_rope: Option<LongRope>,
    /// The layers that see the last positions only.
    pub window: Option<Window>,
}

impl Traits {
    fn variant(&self, hidden_size: usize) -> Variant {
        Variant {
            qkv_bias: self.qkv_bias,
            qk_norm: self.qk_norm,
            sandwich_norms: self.sandwich_norms,
            norms_less_one: false,
            published_norms_less_one: self.norms_less_one,
            embedding_scale: self.scaled_embedding.then(|| (hidden_size as f32).sqrt()),
            fused: self.fused,
            activation: self.activation,
            ..Variant::default()
        }
    }

    /// Tells which layers have a window, where nothing says more.
    fn windowed(&self, layers: usize, global_every: usize) -> Vec<bool> {
        (1..=layers)
            .map(|layer| global_every == 0 || !layer.is_multiple_of(global_every))
            .collect()
    }

    /// Reads what GGUF metadata says.
    pub(super) fn variant_of_gguf(
        &self,
        fields: &GgufFields<'_>,
        architecture: &str,
        (hidden_size, heads, layers): (usize, usize, usize),
        limit: usize,
    ) -> Result<Variant, EngineError> {
        let mut variant = self.variant(hidden_size);
        let scaling = fields
            .header
            .metadata
            .get(&format!("{architecture}.rope.scaling.type"));
        variant.rope_scaling = match scaling.and_then(Value::as_str).unwrap_or("none") {
            "none" => RopeScaling::None,
            "linear" => RopeScaling::Linear(fields.number("rope.scaling.factor")?),
            // Its divisors are a tensor.
            "longrope" => RopeScaling::None,
            other => {
                return Err(EngineError::unsupported(
                    fields.file,
                    "rope.scaling.type",
                    "none, linear or longrope",
                    other,
                ));
            }
        };
        if fields.header.tensors.contains_key(SHORT_ROPE_FACTORS) {
            variant.long_rope = Some(LongRope::of_gguf(fields, limit)?);
        }
        if let Some(positions) = fields.optional_count("attention.sliding_window", limit)?
            && positions > 0
            && !matches!(architecture, "qwen2" | "qwen3")
        {
            variant.window = Some(Window {
                positions,
                layers: self.windowed(layers, self.global_every),
                // llama.cpp, llama-model.cpp, LLM_ARCH_GEMMA3: rope_freq_base_train_swa.
                rope_theta: (architecture == "gemma3").then_some(10_000.0),
            });
        }
        if architecture == "gemma3" && layers == 62 {
            // The 27B model alone scales by the width of a head as if heads made up the whole width (ibidem).
            variant.attention_scale = Some(1.0 / ((hidden_size / heads) as f32).sqrt());
        }
        Ok(variant)
    }

    /// Reads what `config.json` says.
    pub(super) fn variant_of_json(
        &self,
        fields: &JsonFields<'_>,
        (hidden_size, layers): (usize, usize),
        limit: usize,
    ) -> Result<Variant, EngineError> {
        let JsonFields { file, json } = *fields;
        let mut variant = self.variant(hidden_size);
        variant.norms_less_one = self.norms_less_one;
        let act = ["hidden_act", "hidden_activation"]
            .iter()
            .find_map(|key| json[*key].as_str());
        let expected = match self.activation {
            Activation::Silu => "silu",
            Activation::GeluTanh => "gelu_pytorch_tanh",
        };
        if let Some(act) = act
            && act != expected
        {
            return Err(EngineError::unsupported(file, "hidden_act", expected, act));
        }
        let attention_bias = json["attention_bias"] == true && !self.qkv_bias;
        for (key, set) in [
            ("attention_bias", attention_bias),
            ("mlp_bias", json["mlp_bias"] == true),
            (
                "attn_logit_softcapping",
                !json["attn_logit_softcapping"].is_null(),
            ),
            (
                "final_logit_softcapping",
                !json["final_logit_softcapping"].is_null(),
            ),
        ] {
            if set {
                return Err(EngineError::unsupported(
                    file,
                    key,
                    "none",
                    json[key].to_string(),
                ));
            }
        }
        if json["partial_rotary_factor"]
            .as_f64()
            .is_some_and(|part| part != 1.0)
        {
            let found = json["partial_rotary_factor"].to_string();
            return Err(EngineError::unsupported(
                file,
                "partial_rotary_factor",
                "1",
                found,
            ));
        }
        variant.attention_scale = json["query_pre_attn_scalar"]
            .as_f64()
            .map(|scalar| (scalar as f32).powf(-0.5));
        // Newer files nest the rope's parameters by kind of layer.
        let parameters = &json["rope_parameters"];
        let global = match parameters["full_attention"].is_null() {
            true => parameters,
            false => &parameters["full_attention"],
        };
        for (key, rope) in [
            ("rope_scaling", &json["rope_scaling"]),
            ("rope_parameters", global),
        ] {
            if is_long_rope(rope) {
                let (long_rope, factors) = LongRope::of_json(file, key, json)?;
                variant.long_rope = Some(long_rope);
                variant.rope_scaling = RopeScaling::Factors(factors);
                continue;
            }
            let scaling = read_scaling(file, key, rope)?;
            if scaling != RopeScaling::None {
                variant.rope_scaling = scaling;
            }
        }
        variant.window = self.window_of_json(fields, layers, limit)?;
        Ok(variant)
    }

    fn window_of_json(
        &self,
        fields: &JsonFields<'_>,
        layers: usize,
        limit: usize,
    ) -> Result<Option<Window>, EngineError> {
        let JsonFields { file, json } = *fields;
        if json["use_sliding_window"] == false {
            return Ok(None);
        }
        let Some(positions) = fields.optional_count("sliding_window", limit)? else {
            return Ok(None);
        };
        if positions == 0 {
            return Err(EngineError::damaged(
                file,
                "sliding_window",
                "at least 1",
                "0",
            ));
        }
        let kinds = json["layer_types"].as_array();
        let windowed = match kinds {
            Some(kinds) if kinds.len() == layers => kinds
                .iter()
                .map(|kind| kind == "sliding_attention")
                .collect(),
            Some(kinds) => {
                let expected = format!("one for each of {layers} layers");
                let found = kinds.len().to_string();
                return Err(EngineError::damaged(file, "layer_types", expected, found));
            }
            None if self.qkv_bias || json["max_window_layers"].is_u64() => {
                // Qwen: the layers below this one see everything.
                let full = fields
                    .optional_count("max_window_layers", limit)?
                    .unwrap_or(0);
                (0..layers).map(|layer| layer >= full).collect()
            }
            None => {
                let every = fields.optional_count("sliding_window_pattern", limit)?;
                self.windowed(layers, every.unwrap_or(self.global_every))
            }
        };
        let theta = json["rope_local_base_freq"]
            .as_f64()
            .or_else(|| json["rope_parameters"]["sliding_attention"]["rope_theta"].as_f64());
        Ok(Some(Window {
            positions,
            layers: windowed,
            rope_theta: theta.map(|theta| theta as f32),
        }))
    }
}

fn rope_type(rope: &Json) -> &str {
    let kind = rope["rope_type"].as_str().or_else(|| rope["type"].as_str());
    kind.unwrap_or("?")
}

fn is_long_rope(rope: &Json) -> bool {
    // "su" is what Phi-3's first files call it, after its author.
    matches!(rope_type(rope), "longrope" | "su")
}

fn read_scaling(file: &Path, key: &str, rope: &Json) -> Result<RopeScaling, EngineError> {
    if rope.is_null() {
        return Ok(RopeScaling::None);
    }
    let number = |name: &str| {
        let found = rope[name].as_f64().filter(|number| *number > 0.0);
        found.map(|number| number as f32).ok_or_else(|| {
            let part = format!("{key}.{name}");
            EngineError::damaged(file, part, "a number above 0", rope[name].to_string())
        })
    };
    match rope_type(rope) {
        "default" => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear(number("factor")?)),
        "llama3" => Ok(RopeScaling::Llama3 {
            factor: number("factor")?,
            low_freq_factor: number("low_freq_factor")?,
            high_freq_factor: number("high_freq_factor")?,
            original_context: number("original_max_position_embeddings")?,
        }),
        other => Err(EngineError::unsupported(
            file,
            key,
            "no scaling, or rope_type default, linear, llama3 or longrope",
            other,
        )),
    }
}

impl ModelConfig {
    fn family(&self) -> Option<&'static Family> {
        let named =
            |row: &&Family| row.gguf == self.architecture || row.hugging_face == self.architecture;
        FAMILIES.iter().find(named)
    }

    /// Tells what GGUF calls the family.
    pub(crate) fn gguf_architecture(&self) -> Option<&'static str> {
        match self.family()? {
            // Converters write files of such a family as Llama's.
            row if row.gguf.is_empty() => Some(FAMILIES[0].gguf),
            row => Some(row.gguf),
        }
    }

    /// Tells `model_type` and the class that `config.json` has for the family.
    pub(crate) fn hugging_face_names(&self) -> Option<[&'static str; 2]> {
        self.family().map(|row| [row.hugging_face, row.class])
    }

    /// Tells transformers' class of the family with a head of labels.
    pub(crate) fn headed_class(&self, task: TrainTask) -> Option<String> {
        let [_, class] = self.hugging_face_names()?;
        let name = class.strip_suffix("ForCausalLM").unwrap_or(class);
        // Its plain name is that of the model that also sees.
        let name = if name == "Gemma3" { "Gemma3Text" } else { name };
        let task = match task {
            TrainTask::CausalLm => "CausalLM",
            TrainTask::SequenceClassification => "SequenceClassification",
            TrainTask::TokenClassification => "TokenClassification",
        };
        Some(format!("{name}For{task}"))
    }

    /// Tells whether a folder of the family holds norm weights less one, wherever the model came from.
    pub(crate) fn folder_has_norms_less_one(&self) -> bool {
        self.family().is_some_and(|row| row.traits.norms_less_one)
    }

    /// Tells whether rows of q and k are interleaved in a GGUF of the family, whatever file the model came from.
    pub(crate) fn interleaves_in_gguf(&self) -> bool {
        let name = self.gguf_architecture();
        let family = FAMILIES.iter().find(|row| Some(row.gguf) == name);
        family.is_some_and(|row| row.traits.gguf_interleaves)
    }

    /// Tells whether a layer sees the last positions only.
    pub(crate) fn window_of(&self, layer: usize) -> Option<&Window> {
        self.variant
            .window
            .as_ref()
            .filter(|window| window.layers[layer])
    }

    /// Tells what attention's scores are multiplied by.
    pub(crate) fn attention_scale(&self) -> f32 {
        let plain = || 1.0 / (self.head_dim as f32).sqrt();
        let long_rope = self.variant.long_rope;
        let factor = long_rope.map_or(1.0, |long_rope| long_rope.score_factor);
        self.variant.attention_scale.unwrap_or_else(plain) * factor
    }

    /// Computes the rotary embedding's frequencies of global layers, or of those with a window.
    ///
    /// They are rounded to f32 as the reference implementation's are (transformers, `modeling_rope_utils.py`).
    pub(crate) fn rope_frequencies(&self, window: Option<&Window>) -> Vec<f32> {
        let local_theta = window.and_then(|window| window.rope_theta);
        let theta = local_theta.unwrap_or(self.rope_theta);
        let exponent = |i: usize| (2 * i) as f32 / self.head_dim as f32;
        let plain = (0..self.head_dim / 2).map(|i| 1.0 / theta.powf(exponent(i)));
        if local_theta.is_some() {
            return plain.collect();
        }
        match &self.variant.rope_scaling {
            RopeScaling::None => plain.collect(),
            RopeScaling::Linear(factor) => plain.map(|frequency| frequency / factor).collect(),
            RopeScaling::Factors(factors) => plain
                .zip(factors)
                .map(|(frequency, factor)| frequency / factor)
                .collect(),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_context,
            } => plain
                .map(|frequency| {
                    let wavelength = 2.0 * std::f32::consts::PI / frequency;
                    if wavelength < original_context / high_freq_factor {
                        frequency
                    } else if wavelength > original_context / low_freq_factor {
                        frequency / factor
                    } else {
                        let smooth = (original_context / wavelength - low_freq_factor)
                            / (high_freq_factor - low_freq_factor);
                        (1.0 - smooth) * frequency / factor + smooth * frequency
                    }
                })
                .collect(),
        }
    }
}
