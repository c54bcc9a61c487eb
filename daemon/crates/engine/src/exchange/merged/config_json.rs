//! `config.json` of a model that came as GGUF.

use std::fs::File;
use std::path::Path;

use serde_json::{Map, Value as Json, json};

use crate::EngineError;
use crate::methods::number;
use crate::models::config::ModelConfig;
use crate::models::family::{Activation, RopeScaling};
use crate::models::gguf::GgufHeader;
use crate::models::long_rope::{CONSTANTS, LONG_ROPE_FACTORS, SHORT_ROPE_FACTORS, read_numbers};

/// The factors below and above which Llama 3 divides frequencies (Llama 3.1, `rope_scaling` in its `config.json`).
const LLAMA3_LOW: f32 = 1.0;
const LLAMA3_HIGH: f32 = 4.0;
/// First contexts that are tried to explain Llama 3's divisors; the published one is 8192.
const LLAMA3_CONTEXTS: std::ops::RangeInclusive<u32> = 5..=20;

/// Makes it.
///
/// # Errors
/// [`EngineError::ModelFile`] where the file has constants that `config.json` has no fields for.
pub(super) fn of_gguf(
    path: &Path,
    config: &ModelConfig,
    header: &GgufHeader,
    padding: Option<u32>,
) -> Result<Json, EngineError> {
    let unfit = |expected: &str, found: &str| {
        let advice = "export it as GGUF";
        EngineError::unfit(path, "architecture", expected, found, advice)
    };
    let [model_type, class] = config
        .hugging_face_names()
        .ok_or_else(|| unfit("a family that transformers has", &config.architecture))?;
    let variant = &config.variant;
    let mut json = json!({
        "architectures": [class],
        "model_type": model_type,
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "max_position_embeddings": longest_context(config, header),
        "rms_norm_eps": number(config.rms_norm_eps),
        "rope_theta": number(config.rope_theta),
        "tie_word_embeddings": config.tie_word_embeddings,
        "bos_token_id": config.bos_id,
        "eos_token_id": config.eos_ids,
        "pad_token_id": padding,
        "attention_bias": false,
        "torch_dtype": "float32",
    });
    let activation = match variant.activation {
        Activation::Silu => ("hidden_act", "silu"),
        Activation::GeluTanh => ("hidden_activation", "gelu_pytorch_tanh"),
    };
    json[activation.0] = json!(activation.1);
    json["rope_scaling"] = rope_scaling(path, config, header)?;
    if variant.long_rope.is_some() {
        json["original_max_position_embeddings"] = json!(config.context_length);
    } else if variant.fused {
        json["original_max_position_embeddings"] = json!(longest_context(config, header));
    }
    window_fields(config, &mut json);
    if model_type.starts_with("gemma") {
        // Scores are multiplied by one over the root of this.
        let scale = variant.attention_scale;
        let scalar = scale.map_or(config.head_dim as f32, |scale| 1.0 / (scale * scale));
        json["query_pre_attn_scalar"] = number(scalar.round());
    }
    Ok(json)
}

/// Tells the context that the file names, of which LongRoPE's first part alone is used here.
fn longest_context(config: &ModelConfig, header: &GgufHeader) -> usize {
    let field = format!("{}.context_length", config.architecture);
    let named = header.metadata.get(&field).and_then(|field| field.as_u64());
    named.map_or(config.context_length, |count| count as usize)
}

fn window_fields(config: &ModelConfig, json: &mut Json) {
    let Some(window) = &config.variant.window else {
        return;
    };
    json["sliding_window"] = json!(window.positions);
    if let Some(theta) = window.rope_theta {
        json["rope_local_base_freq"] = number(theta);
    }
    if !window.layers.iter().all(|layer| *layer) {
        let kind = |windowed: &bool| match windowed {
            true => "sliding_attention",
            false => "full_attention",
        };
        let kinds: Vec<&str> = window.layers.iter().map(kind).collect();
        json["layer_types"] = json!(kinds);
    }
}

fn rope_scaling(
    path: &Path,
    config: &ModelConfig,
    header: &GgufHeader,
) -> Result<Json, EngineError> {
    match &config.variant.rope_scaling {
        RopeScaling::None => Ok(Json::Null),
        RopeScaling::Linear(factor) => {
            Ok(json!({"rope_type": "linear", "factor": number(*factor)}))
        }
        RopeScaling::Factors(_) if config.variant.long_rope.is_some() => {
            let file = File::open(path).map_err(|error| EngineError::io(path, "open", error))?;
            let mut fields = Map::new();
            // The three fields that transformers takes there from its first Phi-3 on.
            fields.insert("type".into(), json!("longrope"));
            for (key, name) in [
                ("short_factor", SHORT_ROPE_FACTORS),
                ("long_factor", LONG_ROPE_FACTORS),
            ] {
                let place = header.tensors.get(name).ok_or_else(|| {
                    EngineError::damaged(path, name, "the divisors of LongRoPE", "none")
                })?;
                let factors = read_numbers(path, &file, place)?;
                fields.insert(key.into(), factors.into_iter().map(number).collect());
            }
            Ok(Json::Object(fields))
        }
        RopeScaling::Factors(factors) => match llama3_scaling(config, factors) {
            Some(scaling) => Ok(json_of(&scaling)),
            None => Err(EngineError::unfit(
                path,
                CONSTANTS[0],
                "divisors as Llama 3 has them",
                "others",
                "export it as GGUF",
            )),
        },
        scaling @ RopeScaling::Llama3 { .. } => Ok(json_of(scaling)),
    }
}

fn json_of(scaling: &RopeScaling) -> Json {
    match scaling {
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_context,
        } => json!({
            "rope_type": "llama3",
            "factor": number(*factor),
            "low_freq_factor": number(*low_freq_factor),
            "high_freq_factor": number(*high_freq_factor),
            "original_max_position_embeddings": number(*original_context),
        }),
        _ => Json::Null,
    }
}

/// Finds the constants of Llama 3's scaling that give the divisors.
fn llama3_scaling(config: &ModelConfig, factors: &[f32]) -> Option<RopeScaling> {
    let wanted = config.rope_frequencies(None);
    let factor = factors.iter().copied().fold(1.0, f32::max);
    LLAMA3_CONTEXTS
        .map(|power| RopeScaling::Llama3 {
            factor: factor.round(),
            low_freq_factor: LLAMA3_LOW,
            high_freq_factor: LLAMA3_HIGH,
            original_context: f32::from(2u8).powi(power as i32),
        })
        .find(|scaling| {
            let mut tried = config.clone();
            tried.variant.rope_scaling = scaling.clone();
            let tried = tried.rope_frequencies(None);
            let mut pairs = wanted.iter().zip(&tried);
            pairs.all(|(a, b)| (a - b).abs() <= 1e-4 * a.abs())
        })
}
