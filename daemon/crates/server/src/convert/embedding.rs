//! Requests for vectors, checked, and the vectors.

use autodidact_domain::{CheckpointId, EmbedderRef, Embeddings, Language, ModelName, ModelRef};
use autodidact_proto::{MAX_MESSAGE_BYTES, v1};
use tonic::Status;

use crate::status::{bad_field, bad_name, refuse};

/// The most texts of a call; several calls take more.
const MAX_TEXTS: usize = 256;

/// A checked request.
#[derive(Debug)]
pub(crate) struct EmbedWish {
    /// The embedder, or the generator that stands in where a language chooses.
    pub(crate) model: ModelRef,
    pub(crate) language: Option<Language>,
    pub(crate) texts: Vec<String>,
    pub(crate) allow_unknown: bool,
}

pub(crate) fn embed_request(request: v1::EmbedRequest) -> Result<EmbedWish, Status> {
    let v1::EmbedRequest {
        model,
        adapter,
        texts,
        language,
        allow_unknown,
    } = request;
    let model = ModelName::new(model).map_err(bad_name("model"))?;
    let adapter = adapter
        .map(CheckpointId::new)
        .transpose()
        .map_err(bad_name("adapter"))?;
    if !(1..=MAX_TEXTS).contains(&texts.len()) {
        return Err(bad_field(
            "texts",
            format!("expected 1 to {MAX_TEXTS}, found {}", texts.len()),
        ));
    }
    if let Some(index) = texts.iter().position(|text| text.trim().is_empty()) {
        return Err(bad_field(
            &format!("texts[{index}]"),
            "expected some text, found none",
        ));
    }
    let language =
        match language {
            Some(code) => Some(Language::from_code(&code).ok_or_else(|| {
                bad_field("language", format!("expected en or zh, found {code:?}"))
            })?),
            None => None,
        };
    Ok(EmbedWish {
        model: ModelRef { model, adapter },
        language,
        texts,
        allow_unknown,
    })
}

pub(crate) fn embed_response(
    embedder: &EmbedderRef,
    embeddings: Embeddings,
) -> Result<v1::EmbedResponse, Status> {
    let Embeddings {
        vectors,
        tokens,
        unknown_tokens,
    } = embeddings;
    // Eight bytes a vector pay for its headers, and the rest of the message is far below a KiB.
    let bytes: usize = vectors.iter().map(|vector| 4 * vector.len() + 8).sum();
    if bytes + 1024 > MAX_MESSAGE_BYTES {
        return Err(refuse(
            v1::ErrorReason::TooLarge,
            format!(
                "{} vectors take {bytes} bytes, more than a message holds; ask for fewer texts at once",
                vectors.len()
            ),
        ));
    }
    Ok(v1::EmbedResponse {
        model: embedder.model().to_string(),
        embeddings: vectors
            .into_iter()
            .map(|values| v1::Embedding { values })
            .collect(),
        tokens,
        unknown_tokens,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_checked() {
        let good = v1::EmbedRequest {
            model: "m".into(),
            texts: vec!["a".into()],
            language: Some("zh".into()),
            ..Default::default()
        };
        let read = embed_request(good.clone()).unwrap();
        assert_eq!(read.language, Some(Language::Zh));
        let with = |texts: Vec<String>| v1::EmbedRequest {
            texts,
            ..good.clone()
        };
        let bad = [
            with(Vec::new()),
            with(vec!["a".into(); MAX_TEXTS + 1]),
            with(vec!["a".into(), " ".into()]),
            v1::EmbedRequest {
                model: "../m".into(),
                ..good.clone()
            },
            v1::EmbedRequest {
                adapter: Some("../a".into()),
                ..good.clone()
            },
            v1::EmbedRequest {
                language: Some("fr".into()),
                ..good.clone()
            },
        ];
        for request in bad {
            assert!(embed_request(request.clone()).is_err(), "{request:?}");
        }
    }

    #[test]
    fn vectors_that_no_message_holds_are_refused() {
        let embedder = EmbedderRef::Encoder(ModelName::new("m").unwrap());
        let vectors = |count: usize, width: usize| Embeddings {
            vectors: vec![vec![0.5; width]; count],
            ..Default::default()
        };
        assert!(embed_response(&embedder, vectors(256, 1024)).is_ok());
        assert!(embed_response(&embedder, vectors(256, 4096)).is_err());
    }
}
