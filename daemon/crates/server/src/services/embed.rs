//! The call `Embed` of `ModelService`.

use std::sync::Arc;

use autodidact_domain::{EmbedderRef, Interrupt, InterruptReason};
use autodidact_flow::embed_by_language;
use autodidact_proto::v1;
use tonic::Status;

use crate::blocking::blocking;
use crate::context::{Context, shutting_down};
use crate::convert::{EmbedWish, embed_request, embed_response};
use crate::status::{OrStatus, bad_field};

/// Makes vectors. The work is interrupted when the caller is gone, which drops this future, and when the server goes down.
pub(crate) async fn embed(
    context: &Arc<Context>,
    request: v1::EmbedRequest,
) -> Result<v1::EmbedResponse, Status> {
    let wish = embed_request(request)?;
    let permit = context.job_permit()?;
    let guard = RaisedAtEnd(Interrupt::new());
    let interrupt = guard.0.clone();
    let work = blocking(context, move |context| {
        let answer = answer(context, wish, &interrupt);
        drop(permit);
        answer
    });
    tokio::select! {
        answer = work => answer,
        () = context.shutdown.cancelled() => {
            guard.0.raise(InterruptReason::Shutdown);
            Err(shutting_down())
        }
    }
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
                (EmbedderRef::Generator(_), _) => EmbedderRef::Generator(model),
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

/// Interrupts work whose caller has stopped waiting.
struct RaisedAtEnd(Interrupt);

impl Drop for RaisedAtEnd {
    fn drop(&mut self) {
        self.0.raise(InterruptReason::Cancel);
    }
}
