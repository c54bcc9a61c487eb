//! Folders of models that also see or hear: the part that reads and writes text is an ordinary family's.

use serde_json::{Value as Json, json};

/// A kind of such folders.
struct Multimodal {
    /// `model_type` of `config.json`, which has the text part's configuration in `text_config`.
    name: &'static str,
    /// What the text part's configuration leaves out when it is as the class has it.
    defaults: fn() -> Json,
}

const MULTIMODAL: &[Multimodal] = &[Multimodal {
    name: "gemma3",
    // transformers, configuration_gemma3.py, Gemma3TextConfig.
    defaults: || {
        json!({
            "model_type": "gemma3_text", "vocab_size": 262_208, "hidden_size": 2304, "intermediate_size": 9216,
            "num_hidden_layers": 26, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
            "max_position_embeddings": 131_072, "rms_norm_eps": 1e-6, "rope_theta": 1e6, "rope_local_base_freq": 1e4,
            "query_pre_attn_scalar": 256, "sliding_window": 4096, "tie_word_embeddings": true,
        })
    },
}];

/// Names these kinds.
pub(super) fn multimodal_names() -> impl Iterator<Item = &'static str> {
    MULTIMODAL.iter().map(|row| row.name)
}

/// Gives the configuration of the text part, where a folder's has one inside.
pub(crate) fn text_config(config: Json) -> Json {
    let is_it = |row: &&Multimodal| config["model_type"] == row.name;
    let Some(row) = MULTIMODAL.iter().find(is_it) else {
        return config;
    };
    let mut text = (row.defaults)();
    let Some(fields) = text.as_object_mut() else {
        return config;
    };
    let special = ["bos_token_id", "eos_token_id"].map(|name| (name, &config[name]));
    let special = special.into_iter().filter(|(_, id)| !id.is_null());
    fields.extend(special.map(|(name, id)| (name.to_string(), id.clone())));
    if !config["text_config"]["rope_parameters"].is_null() {
        // Both stand in there.
        fields.remove("rope_theta");
        fields.remove("rope_local_base_freq");
    }
    let of_text = config["text_config"].as_object().into_iter().flatten();
    let of_text = of_text.filter(|(_, value)| !value.is_null());
    fields.extend(of_text.map(|(name, value)| (name.clone(), value.clone())));
    text
}

/// Gives the name that a tensor has in a folder of the text part alone; none where it is of another part.
pub(super) fn text_tensor(name: &str) -> Option<String> {
    const OTHER_PARTS: [&str; 2] = ["vision_tower.", "multi_modal_projector."];
    // Newer files put the model before the part, older ones the part before the model.
    let inner = name.strip_prefix("model.").unwrap_or(name);
    if OTHER_PARTS.iter().any(|part| inner.starts_with(part)) {
        return None;
    }
    if let Some(rest) = name.strip_prefix("model.language_model.") {
        return Some(format!("model.{rest}"));
    }
    let text = name.strip_prefix("language_model.").unwrap_or(name);
    Some(text.to_string())
}
