//! `/v1/embeddings`: vectors of texts.

use std::sync::Arc;

use autodidact_proto::v1;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::ApiError;
use super::fields::Fields;
use super::request::{Named, OneOrMany};
use crate::context::Context;
use crate::services::embed_texts;

/// The most texts of a call, as OpenAI's.
const MAX_TEXTS: usize = 2048;
/// Texts of one call of the gRPC interface's.
const TEXTS_AT_ONCE: usize = 256;

/// A call for vectors.
pub(super) struct Wish {
    /// The model as the call named it.
    asked: String,
    named: Named,
    texts: Vec<String>,
    as_base64: bool,
}

/// Reads and checks a call.
pub(super) fn read(mut fields: Fields) -> Result<Wish, ApiError> {
    let asked: String = fields.require("model")?;
    let texts: OneOrMany = fields.require("input").map_err(|_| {
        ApiError::field(
            "input",
            "expected a text or a list of texts; token ids are not taken",
        )
    })?;
    let texts = texts.into_vec();
    if !(1..=MAX_TEXTS).contains(&texts.len()) {
        return Err(ApiError::field(
            "input",
            format!("expected 1 to {MAX_TEXTS} texts, found {}", texts.len()),
        ));
    }
    let format: Option<String> = fields.take("encoding_format")?;
    let as_base64 = match format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            return Err(ApiError::field(
                "encoding_format",
                format!("expected float or base64, found {other:?}"),
            ));
        }
    };
    fields.refuse("dimensions", &[])?;
    fields.finish()?;
    Ok(Wish {
        named: Named::parse(&asked),
        asked,
        texts,
        as_base64,
    })
}

/// Makes the vectors and writes the answer.
pub(super) async fn answer(context: &Arc<Context>, wish: Wish) -> Result<Value, ApiError> {
    let mut data = Vec::with_capacity(wish.texts.len());
    let mut tokens = 0;
    for (batch, texts) in wish.texts.chunks(TEXTS_AT_ONCE).enumerate() {
        let request = v1::EmbedRequest {
            model: wish.named.base.clone(),
            adapter: wish.named.adapter.clone(),
            texts: texts.to_vec(),
            language: None,
            allow_unknown: false,
        };
        let answer = embed_texts(context, request)
            .await
            .map_err(|status| ApiError::of_text(status, batch * TEXTS_AT_ONCE))?;
        tokens += answer.tokens;
        for embedding in answer.embeddings {
            let values = match wish.as_base64 {
                true => json!(encode(&embedding.values)),
                false => json!(embedding.values),
            };
            data.push(json!({"object": "embedding", "index": data.len(), "embedding": values}));
        }
    }
    Ok(json!({
        "object": "list", "data": data, "model": wish.asked,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }))
}

/// Writes little-endian f32s, as OpenAI's clients read them.
fn encode(values: &[f32]) -> String {
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    BASE64_STANDARD.encode(bytes)
}
