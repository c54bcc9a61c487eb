//! Embeddings by `/embeddings`.

use autodidact_domain::embedding::normalized;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::Call;
use crate::pay::Usage;
use crate::retry::Failure;

/// Texts sent at once.
pub(crate) const TEXTS_A_REQUEST: usize = 64;
/// The longest vector taken; the largest embedders have 4096 to 12288 numbers.
const MAX_NUMBERS: usize = 16_384;

#[derive(Deserialize)]
struct Embeddings {
    data: Vec<Embedding>,
    #[serde(default)]
    usage: Option<Value>,
}

#[derive(Deserialize)]
struct Embedding {
    #[serde(default)]
    index: Option<usize>,
    embedding: Vec<f32>,
}

/// Writes the request.
pub(crate) fn body(model: &str, texts: &[String]) -> Value {
    json!({"model": model, "input": texts, "encoding_format": "float"})
}

/// Reads the answer: one vector of length 1 a text, in the order of the texts.
pub(crate) fn read(
    call: &Call<'_>,
    value: Value,
    texts: usize,
) -> Result<(Vec<Vec<f32>>, Option<Usage>), Failure> {
    let answer: Embeddings = serde_json::from_value(value)
        .map_err(|error| call.malformed(&format!("embeddings that cannot be read ({error})")))?;
    if answer.data.len() != texts {
        let found = answer.data.len();
        return Err(call.malformed(&format!("{found} embeddings for {texts} texts")));
    }
    let mut vectors: Vec<Option<Vec<f32>>> = vec![None; texts];
    for (place, one) in answer.data.into_iter().enumerate() {
        let length = one.embedding.len();
        if length == 0 || length > MAX_NUMBERS || !one.embedding.iter().all(|x| x.is_finite()) {
            return Err(call.malformed(&format!(
                "an embedding of {length} numbers, where 1 to {MAX_NUMBERS} finite ones are taken"
            )));
        }
        let index = one.index.unwrap_or(place);
        match vectors.get_mut(index) {
            Some(slot @ None) => {
                if one.embedding.iter().all(|x| *x == 0.0) {
                    return Err(call.malformed(&format!("embedding {index} of zeros alone")));
                }
                *slot = Some(normalized(one.embedding));
            }
            _ => return Err(call.malformed(&format!("embedding {index} twice or of no text"))),
        }
    }
    let vectors: Vec<Vec<f32>> = vectors.into_iter().flatten().collect();
    if vectors
        .windows(2)
        .any(|pair| pair[0].len() != pair[1].len())
    {
        return Err(call.malformed("embeddings of several lengths"));
    }
    let usage = answer.usage.as_ref().and_then(|usage| {
        usage.get("prompt_tokens")?;
        Usage::deserialize(usage).ok()
    });
    Ok((vectors, usage))
}
