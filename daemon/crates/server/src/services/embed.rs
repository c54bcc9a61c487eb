//! The call `Embed` of `ModelService`.

use std::sync::Arc;

use autodidact_domain::{EmbedderRef, Interrupt};
use autodidact_flow::embed_by_language;
use autodidact_proto::v1;
use tonic::Status;

use crate::blocking::interruptible;
use crate::context::Context;
use crate::convert::{EmbedWish, embed_request, embed_response};
use crate::status::{OrStatus, bad_field};

/// Makes vectors.
pub(crate) async fn embed(
    context: &Arc<Context>,
    request: v1::EmbedRequest,
) -> Result<v1::EmbedResponse, Status> {
    let wish = embed_request(request)?;
    interruptible(context, move |context, interrupt| {
        answer(context, wish, interrupt)
    })
    .await
}

fn answer(
    context: &Context,
    wish: EmbedWish,
    interrupt: &Interrupt,
) -> Result<v1::EmbedResponse, Status> {
    let EmbedWish {
        model,
        language,
        texts,
        allow_unknown,
    } = wish;
    let ports = &context.ports;
    let (embedder, embeddings) = match language {
        Some(language) => {
            embed_by_language(ports, language, &model, texts, interrupt).or_status()?
        }
        None => {
            let summary = ports.models.get(&model.model).or_status()?;
            let embedder = match (EmbedderRef::of(&summary), &model.adapter) {
                (EmbedderRef::Encoder(_), Some(_)) => {
                    return Err(bad_field("adapter", "an encoder takes none"));
                }
                (encoder @ EmbedderRef::Encoder(_), None) => encoder,
                (EmbedderRef::Generator(_) | EmbedderRef::LastState(_), _) => {
                    EmbedderRef::Generator(model)
                }
            };
            if !allow_unknown {
                let report = ports
                    .engine
                    .embed_report(&embedder, texts.clone(), interrupt)
                    .or_status()?;
                report.check(&embedder).or_status()?;
            }
            let embeddings = ports
                .engine
                .embed(&embedder, texts, interrupt)
                .or_status()?;
            (embedder, embeddings)
        }
    };
    embed_response(&embedder, embeddings)
}
