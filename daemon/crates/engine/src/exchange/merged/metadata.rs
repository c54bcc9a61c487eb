//! GGUF's metadata of a model that came as a Hugging Face folder.

use serde_json::Value as Json;

use super::gguf::Constants;
use crate::models::config::ModelConfig;
use crate::models::family::RopeScaling;
use crate::models::files::TextFiles;
use crate::models::folder::{parse_json, read_json};
use crate::models::gguf_writer::Metadata;
use crate::models::long_rope::{LONG_ROPE_FACTORS, ROPE_FACTORS, SHORT_ROPE_FACTORS};
use crate::models::multimodal::text_config;
use crate::tokenizer::ChatTemplate;
use crate::tokenizer::vocabulary::write_vocabulary;
use crate::{EngineError, LoadedModel};

/// The fields of the tokens that end a turn or a text, as many as GGUF has.
const ENDS: [&str; 3] = ["eos", "eot", "eom"];

/// Makes the metadata and the constants beside the weights.
///
/// # Errors
/// [`EngineError::ModelFile`] where GGUF has no field for what the folder says.
pub(super) fn of_folder(
    model: &LoadedModel,
    text: &TextFiles,
) -> Result<(Metadata, Constants), EngineError> {
    let TextFiles::HuggingFace {
        tokenizer,
        tokenizer_config,
        ..
    } = text
    else {
        return Err(EngineError::Invalid("expected a folder".into()));
    };
    let (path, config) = (&model.path, &model.config);
    let architecture = config.gguf_architecture().ok_or_else(|| {
        let advice = "export it as safetensors";
        let expected = "a family that llama.cpp names";
        EngineError::unfit(path, "architecture", expected, &config.architecture, advice)
    })?;
    let mut metadata = Metadata::default();
    metadata.text("general.architecture", architecture);
    metadata.text("general.type", "model");
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    metadata.text("general.name", &name);
    let json = text_config(read_json(&path.join("config.json"))?);
    let of_architecture = &mut |key: &str| format!("{architecture}.{key}");
    let constants = put_shape(config, &json, &mut metadata, of_architecture);
    let tokenizer = parse_json(&path.join("tokenizer.json"), tokenizer)?;
    write_vocabulary(path, &tokenizer, tokenizer_config, config, &mut metadata)?;
    let id = |name: &str| format!("tokenizer.ggml.{name}_token_id");
    if let Some(bos) = config.bos_id {
        metadata.count(&id("bos"), bos as usize);
    }
    for (end, token) in ENDS.iter().zip(&config.eos_ids) {
        metadata.count(&id(end), *token as usize);
    }
    metadata.flag("tokenizer.ggml.add_bos_token", config.add_bos);
    if let Some(template) = ChatTemplate::source_in(path, text) {
        metadata.text("tokenizer.chat_template", template.text());
    }
    Ok((metadata, constants))
}

/// Writes the decoder's shape; gives the constants that are tensors.
fn put_shape(
    config: &ModelConfig,
    json: &Json,
    metadata: &mut Metadata,
    key: &dyn Fn(&str) -> String,
) -> Constants {
    let longest = json["max_position_embeddings"].as_u64();
    let context = longest.map_or(config.context_length, |count| count as usize);
    for (name, value) in [
        ("vocab_size", config.vocab_size),
        ("context_length", context),
        ("embedding_length", config.hidden_size),
        ("block_count", config.layers),
        ("feed_forward_length", config.intermediate_size),
        ("attention.head_count", config.heads),
        ("attention.head_count_kv", config.kv_heads),
        ("attention.key_length", config.head_dim),
        ("attention.value_length", config.head_dim),
        ("rope.dimension_count", config.head_dim),
    ] {
        metadata.count(&key(name), value);
    }
    metadata.number(
        &key("attention.layer_norm_rms_epsilon"),
        config.rms_norm_eps,
    );
    metadata.number(&key("rope.freq_base"), config.rope_theta);
    if let Some(window) = &config.variant.window {
        metadata.count(&key("attention.sliding_window"), window.positions);
    }
    match (&config.variant.rope_scaling, &config.variant.long_rope) {
        (RopeScaling::Factors(short), Some(long_rope)) => {
            metadata.text(&key("rope.scaling.type"), "longrope");
            let original = "rope.scaling.original_context_length";
            metadata.count(&key(original), long_rope.context);
            let factor = long_rope.score_factor.sqrt();
            metadata.number(&key("rope.scaling.attn_factor"), factor);
            let long = ["rope_scaling", "rope_parameters"];
            let long = long
                .iter()
                .find_map(|at| json[*at]["long_factor"].as_array());
            let long = long.into_iter().flatten().filter_map(Json::as_f64);
            let long: Vec<f32> = long.map(|factor| factor as f32).collect();
            vec![
                (SHORT_ROPE_FACTORS.to_string(), short.clone()),
                (LONG_ROPE_FACTORS.to_string(), long),
            ]
        }
        (RopeScaling::Linear(factor), _) => {
            metadata.text(&key("rope.scaling.type"), "linear");
            metadata.number(&key("rope.scaling.factor"), *factor);
            Vec::new()
        }
        (RopeScaling::Llama3 { .. } | RopeScaling::Factors(_), _) => {
            vec![(ROPE_FACTORS.to_string(), rope_divisors(config))]
        }
        (RopeScaling::None, _) => Vec::new(),
    }
}

/// Computes what divides each frequency of the rotary embedding.
fn rope_divisors(config: &ModelConfig) -> Vec<f32> {
    let mut plain = config.clone();
    plain.variant.rope_scaling = RopeScaling::None;
    let plain = plain.rope_frequencies(None).into_iter();
    let scaled = config.rope_frequencies(None);
    plain
        .zip(scaled)
        .map(|(plain, scaled)| plain / scaled)
        .collect()
}
