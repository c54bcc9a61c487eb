//! A tokenizer that was made from a GGUF's vocabulary, as Hugging Face's files.

use serde_json::{Value as Json, json};
use tokenizers::tokenizer::AddedToken;

use super::Tokenizer;
use super::build::SENTENCE_PIECE_BLANK;
use crate::EngineError;
use crate::models::config::ModelConfig;

impl Tokenizer {
    /// Writes `tokenizer.json`.
    ///
    /// # Errors
    /// [`EngineError::Tokenizer`] when it cannot be serialised.
    pub(crate) fn to_json(&self, config: &ModelConfig) -> Result<Json, EngineError> {
        let fault = |error: &dyn std::fmt::Display| EngineError::Tokenizer(error.to_string());
        let mut inner = self.inner.clone();
        let mut specials = self.specials.clone();
        specials.sort_by_key(|(_, id)| *id);
        let specials = specials
            .into_iter()
            .map(|(text, _)| AddedToken::from(text, true).normalized(false));
        inner
            .add_special_tokens(specials)
            .map_err(|error| fault(&error))?;
        let mut json = serde_json::to_value(&inner).map_err(|error| fault(&error))?;
        json["decoder"] = match json["model"]["byte_fallback"] == true {
            true => sentence_piece_decoder(self.strips_first_blank),
            false => {
                json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true})
            }
        };
        let bos = config.bos_id.filter(|_| config.add_bos);
        json["post_processor"] = match bos.and_then(|id| Some((id, self.special_text(id)?))) {
            Some((id, text)) => begins_with(id, text),
            None => Json::Null,
        };
        Ok(json)
    }

    /// Writes `tokenizer_config.json`.
    pub(crate) fn config_json(
        &self,
        config: &ModelConfig,
        padding: Option<u32>,
        template: Option<&str>,
    ) -> Json {
        let text = |id: Option<u32>| match id.and_then(|id| self.special_text(id)) {
            Some(text) => json!(text),
            None => Json::Null,
        };
        let mut json = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": text(config.bos_id),
            "eos_token": text(config.eos_ids.first().copied()),
            "pad_token": text(padding),
            "model_max_length": config.context_length,
            "clean_up_tokenization_spaces": false,
        });
        if let Some(template) = template {
            json["chat_template"] = json!(template);
        }
        json
    }
}

/// Makes tokens of a vocabulary of SentencePiece's to text.
fn sentence_piece_decoder(strips_first_blank: bool) -> Json {
    let blank = SENTENCE_PIECE_BLANK.to_string();
    let mut steps = vec![
        json!({"type": "Replace", "pattern": {"String": blank}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if strips_first_blank {
        steps.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    json!({"type": "Sequence", "decoders": steps})
}

/// Puts the begin token before a text.
fn begins_with(id: u32, text: &str) -> Json {
    let begin = json!({"SpecialToken": {"id": text, "type_id": 0}});
    let sequence = |id: &str, type_id| json!({"Sequence": {"id": id, "type_id": type_id}});
    json!({
        "type": "TemplateProcessing",
        "single": [begin, sequence("A", 0)],
        "pair": [begin, sequence("A", 0), begin, sequence("B", 1)],
        "special_tokens": {text: {"id": text, "ids": [id], "tokens": [text]}},
    })
}
