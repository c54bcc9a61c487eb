//! Text to an encoder's tokens, with the marks it was trained with, cut to its longest sequence.

use std::path::Path;

use serde_json::Value as Json;
use tokenizers::{TruncationParams, TruncationStrategy};

use super::config::{EncoderConfig, MIN_TOKENS};
use super::pooling::Pooling;
use crate::EngineError;
use crate::models::folder::{parse_json, read_optional};

/// Splits texts. Texts of special tokens in them are just text.
pub(super) struct TextEncoder {
    inner: tokenizers::Tokenizer,
    unknown: Option<u32>,
    max_tokens: usize,
    vocab_size: usize,
    /// Whether texts are lowered first (`do_lower_case` of sentence-transformers, beside the tokenizer's own).
    lowers: bool,
}

/// A text's tokens.
pub(super) struct Encoded {
    /// With the marks of beginning and end.
    pub(super) ids: Vec<u32>,
    /// Without them.
    pub(super) tokens: u64,
    pub(super) unknown: u64,
}

impl TextEncoder {
    /// Reads `tokenizer.json` and the longest sequence (`sentence_bert_config.json`, `tokenizer_config.json`).
    pub(super) fn read(
        folder: &Path,
        config: &EncoderConfig,
        pooling: Pooling,
    ) -> Result<Self, EngineError> {
        let path = folder.join("tokenizer.json");
        let bytes = read_optional(&path)?
            .ok_or_else(|| EngineError::unsupported(folder, "tokenizer.json", "a file", "none"))?;
        let damaged = |expected: &str, found: String| {
            EngineError::damaged(&path, "contents", expected, found)
        };
        let mut inner = tokenizers::Tokenizer::from_bytes(&bytes)
            .map_err(|error| damaged("a tokenizer", error.to_string()))?;
        let json = parse_json(&path, &bytes)?;
        let greatest = inner.get_vocab(true).into_values().max().unwrap_or(0);
        if greatest as usize >= config.vocab_size {
            return Err(damaged(
                &format!("ids below the model's vocab_size {}", config.vocab_size),
                format!("id {greatest}"),
            ));
        }
        let unknown = unknown_id(&inner, &json["model"]);
        let sentence = optional_json(folder, "sentence_bert_config.json")?;
        let limits = [
            sentence["max_seq_length"].as_u64(),
            optional_json(folder, "tokenizer_config.json")?["model_max_length"].as_u64(),
        ];
        // What sentence-transformers sets stands above what the tokenizer says; the positions bound both.
        let limit = limits.into_iter().flatten().next().unwrap_or(u64::MAX);
        let max_tokens = usize::try_from(limit)
            .unwrap_or(usize::MAX)
            .min(config.max_tokens());
        if max_tokens < MIN_TOKENS {
            return Err(EngineError::damaged(
                folder,
                "max_seq_length",
                format!("at least {MIN_TOKENS}"),
                max_tokens.to_string(),
            ));
        }
        inner.with_padding(None);
        inner.set_encode_special_tokens(true);
        let error = |error: tokenizers::Error| EngineError::Tokenizer(error.to_string());
        inner
            .with_truncation(Some(TruncationParams {
                max_length: max_tokens,
                strategy: TruncationStrategy::LongestFirst,
                ..TruncationParams::default()
            }))
            .map_err(error)?;
        if pooling == Pooling::Cls && inner.encode("", true).map_err(error)?.is_empty() {
            return Err(damaged(
                "a post-processor that puts a first token before each text, since that token's state is the vector",
                "none".into(),
            ));
        }
        Ok(Self {
            inner,
            unknown,
            max_tokens,
            vocab_size: config.vocab_size,
            lowers: sentence["do_lower_case"] == true,
        })
    }

    /// Tells the longest sequence, the marks included.
    pub(super) fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// Encodes a text.
    pub(super) fn encode(&self, text: &str) -> Result<Encoded, EngineError> {
        let lowered = self.lowers.then(|| text.to_lowercase());
        let encoding = self
            .inner
            .encode_fast(lowered.as_deref().unwrap_or(text), true)
            .map_err(|error| EngineError::Tokenizer(error.to_string()))?;
        let ids = encoding.get_ids().to_vec();
        if ids.is_empty() {
            return Err(EngineError::Invalid(
                "a text has no tokens, so there is no vector of it; leave empty texts out".into(),
            ));
        }
        // A post-processor of its own making may add what the model has no rows for.
        let strange = ids.iter().find(|id| **id as usize >= self.vocab_size);
        if strange.is_some() || ids.len() > self.max_tokens {
            return Err(EngineError::Tokenizer(format!(
                "expected at most {} ids below {}, found {}{}; the folder's tokenizer.json does not fit its model",
                self.max_tokens,
                self.vocab_size,
                ids.len(),
                strange.map_or_else(String::new, |id| format!(" with id {id} among them")),
            )));
        }
        let own = ids
            .iter()
            .zip(encoding.get_special_tokens_mask())
            .filter(|(_, special)| **special == 0);
        let (mut tokens, mut unknown) = (0, 0);
        for (id, _) in own {
            tokens += 1;
            unknown += u64::from(Some(*id) == self.unknown);
        }
        Ok(Encoded {
            ids,
            tokens,
            unknown,
        })
    }
}

/// Finds the token that stands for what the vocabulary lacks: WordPiece and BPE name it, Unigram has its number.
fn unknown_id(tokenizer: &tokenizers::Tokenizer, model: &Json) -> Option<u32> {
    let named = model["unk_token"]
        .as_str()
        .and_then(|text| tokenizer.token_to_id(text));
    named.or_else(|| {
        model["unk_id"]
            .as_u64()
            .and_then(|id| u32::try_from(id).ok())
    })
}

fn optional_json(folder: &Path, name: &str) -> Result<Json, EngineError> {
    let path = folder.join(name);
    match read_optional(&path)? {
        Some(bytes) => parse_json(&path, &bytes),
        None => Ok(Json::Null),
    }
}
