//! An encoder's shape, from `config.json`.

use std::path::Path;

use autodidact_domain::embedding::ENCODER_ARCHITECTURES;
use serde_json::Value as Json;

use crate::EngineError;
use crate::models::fields::JsonFields;
use crate::models::folder::{parse_json, read_json, read_optional};

/// Limits that no sane encoder passes; a header beyond them is refused before anything is allocated.
const MAX_LAYERS: usize = 256;
const MAX_WIDTH: usize = 1 << 16;
const MAX_VOCABULARY: usize = 1 << 22;
const MAX_POSITIONS: usize = 1 << 16;
const MAX_TOKEN_TYPES: usize = 1 << 10;

/// The shape and the constants of an encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderConfig {
    /// The family, such as `bert`.
    pub architecture: String,
    /// Tokens in the vocabulary, and rows of the word embedding.
    pub vocab_size: usize,
    /// The width of the hidden states, and of the vectors.
    pub hidden_size: usize,
    /// The width of the feed-forward part.
    pub intermediate_size: usize,
    /// Encoder layers.
    pub layers: usize,
    /// Attention heads; divides `hidden_size`.
    pub heads: usize,
    /// Rows of the position embedding.
    pub positions: usize,
    /// The row of a text's first token: RoBERTa's positions start after that of its padding token (Liu et al. 2019).
    pub first_position: usize,
    /// Rows of the token type embedding, of which the first is used.
    pub token_types: usize,
    /// The epsilon of LayerNorm.
    pub layer_norm_eps: f32,
}

/// Names the architecture of an encoder's folder; none for anything else, an unreadable folder too.
pub(super) fn architecture_of(path: &Path) -> Option<String> {
    if !path.is_dir() {
        return None;
    }
    let config_path = path.join("config.json");
    let bytes = read_optional(&config_path).ok()??;
    let json = parse_json(&config_path, &bytes).ok()?;
    let model_type = json["model_type"].as_str()?;
    ENCODER_ARCHITECTURES
        .contains(&model_type)
        .then(|| model_type.to_string())
}

impl EncoderConfig {
    /// Reads and checks `config.json`.
    pub(super) fn read(folder: &Path) -> Result<Self, EngineError> {
        let path = folder.join("config.json");
        Self::from_json(&path, &read_json(&path)?)
    }

    fn from_json(file: &Path, json: &Json) -> Result<Self, EngineError> {
        let fields = JsonFields { file, json };
        let architecture = fields.text("model_type")?;
        if !ENCODER_ARCHITECTURES.contains(&architecture.as_str()) {
            let expected = ENCODER_ARCHITECTURES.join(", ");
            return Err(EngineError::unsupported(
                file,
                "model_type",
                expected,
                architecture,
            ));
        }
        for (key, expected) in [
            ("hidden_act", "gelu"),
            ("position_embedding_type", "absolute"),
        ] {
            let found = &json[key];
            if !found.is_null() && found != expected {
                return Err(EngineError::unsupported(
                    file,
                    key,
                    expected,
                    found.to_string(),
                ));
            }
        }
        for key in ["is_decoder", "add_cross_attention"] {
            if json[key] == true {
                return Err(EngineError::unsupported(file, key, "false", "true"));
            }
        }
        let layer_norm_eps = json["layer_norm_eps"].as_f64().unwrap_or(1e-12) as f32;
        if !(0.0..1.0).contains(&layer_norm_eps) {
            return Err(EngineError::damaged(
                file,
                "layer_norm_eps",
                "a number from 0 to 1",
                json["layer_norm_eps"].to_string(),
            ));
        }
        let first_position = match architecture.as_str() {
            "bert" => 0,
            // The default is RoBERTa's padding token.
            _ => {
                let padding = fields.optional_count("pad_token_id", MAX_POSITIONS)?;
                padding.unwrap_or(1) + 1
            }
        };
        let config = Self {
            architecture,
            vocab_size: fields.count("vocab_size", MAX_VOCABULARY)?,
            hidden_size: fields.count("hidden_size", MAX_WIDTH)?,
            intermediate_size: fields.count("intermediate_size", MAX_WIDTH)?,
            layers: fields.count("num_hidden_layers", MAX_LAYERS)?,
            heads: fields.count("num_attention_heads", MAX_WIDTH)?,
            positions: fields.count("max_position_embeddings", MAX_POSITIONS)?,
            first_position,
            token_types: fields
                .optional_count("type_vocab_size", MAX_TOKEN_TYPES)?
                .unwrap_or(2),
            layer_norm_eps,
        };
        for (key, count) in [
            ("vocab_size", config.vocab_size),
            ("hidden_size", config.hidden_size),
            ("intermediate_size", config.intermediate_size),
            ("num_hidden_layers", config.layers),
            ("num_attention_heads", config.heads),
            ("type_vocab_size", config.token_types),
        ] {
            if count == 0 {
                return Err(EngineError::damaged(file, key, "at least 1", "0"));
            }
        }
        if !config.hidden_size.is_multiple_of(config.heads) {
            return Err(EngineError::damaged(
                file,
                "num_attention_heads",
                format!("a divisor of hidden_size {}", config.hidden_size),
                config.heads.to_string(),
            ));
        }
        if config.max_tokens() < MIN_TOKENS {
            return Err(EngineError::damaged(
                file,
                "max_position_embeddings",
                format!("at least {}", MIN_TOKENS + config.first_position),
                config.positions.to_string(),
            ));
        }
        Ok(config)
    }

    /// Tells the longest sequence that has positions, in tokens.
    pub(super) fn max_tokens(&self) -> usize {
        self.positions.saturating_sub(self.first_position)
    }

    pub(super) fn head_dim(&self) -> usize {
        self.hidden_size / self.heads
    }
}

/// The marks of beginning and end, and one token between.
pub(super) const MIN_TOKENS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_fields_are_named() {
        let good = serde_json::json!({
            "model_type": "bert", "vocab_size": 30, "hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2,
            "num_attention_heads": 3, "max_position_embeddings": 40, "type_vocab_size": 2, "hidden_act": "gelu",
            "layer_norm_eps": 1e-12,
        });
        let read = |json: &Json| EncoderConfig::from_json(Path::new("config.json"), json);
        assert_eq!(read(&good).unwrap().max_tokens(), 40);
        for (key, value, part) in [
            ("model_type", "mpnet".into(), "xlm-roberta"),
            ("hidden_act", "gelu_new".into(), "hidden_act"),
            ("position_embedding_type", "relative_key".into(), "absolute"),
            ("is_decoder", true.into(), "is_decoder"),
            ("vocab_size", (1u64 << 40).into(), "vocab_size"),
            ("hidden_size", (-1).into(), "hidden_size"),
            ("num_hidden_layers", 0.into(), "num_hidden_layers"),
            (
                "num_attention_heads",
                5.into(),
                "a divisor of hidden_size 24",
            ),
            ("max_position_embeddings", 2.into(), "at least 3"),
            ("layer_norm_eps", 7.into(), "layer_norm_eps"),
        ] {
            let mut json = good.clone();
            json[key] = value;
            let message = read(&json).unwrap_err().to_string();
            assert!(message.contains(part), "{key}: {message}");
        }
        let mut roberta = good;
        roberta["model_type"] = "roberta".into();
        roberta["pad_token_id"] = 1.into();
        assert_eq!(read(&roberta).unwrap().max_tokens(), 38);
    }
}
