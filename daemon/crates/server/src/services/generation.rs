//! What `ModelService` asks of the engine for one caller: texts as they come, and scores.

use std::sync::Arc;

use autodidact_domain::{GenerateRequest, Interrupt, InterruptReason, ModelRef, ScoreRequest};
use autodidact_proto::v1;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::Instrument;

use crate::blocking::{blocking, interruptible};
use crate::context::Context;
use crate::convert;
use crate::status::{OrStatus, bad_field};
use crate::stream::{End, Outgoing, Sink, outgoing};

/// The most tokens of a call, over all its completions: room for each is kept while it is served.
const MAX_CALL_TOKENS: u64 = 128 << 10;

/// Begins to complete prompts; the messages come as in `ModelService/Generate`. Dropping them stops the work.
pub(crate) fn start(
    context: &Arc<Context>,
    model: ModelRef,
    requests: Vec<GenerateRequest>,
) -> Result<Outgoing<v1::GenerateResponse>, Status> {
    let tokens = requests.iter().map(|r| u64::from(r.sampling.max_tokens));
    if tokens.sum::<u64>() > MAX_CALL_TOKENS {
        return Err(bad_field(
            "sampling.max_tokens",
            format!(
                "expected at most {MAX_CALL_TOKENS} tokens over all completions of a call, found {} completions",
                requests.len()
            ),
        ));
    }
    let permit = context.job_permit()?;
    let (sink, outgoing) = outgoing(context);
    let context = Arc::clone(context);
    let work = async move {
        let result = generate(&context, &sink, model, requests).await;
        sink.end(result);
        drop(permit);
    };
    tokio::spawn(work.in_current_span());
    Ok(outgoing)
}

/// Streams the completions of prompts, their pieces mixed, then each whole.
async fn generate(
    context: &Arc<Context>,
    sink: &Sink<v1::GenerateResponse>,
    model: ModelRef,
    requests: Vec<GenerateRequest>,
) -> Result<(), End> {
    use v1::generate_response::Message;
    let message = |index: usize, message| v1::GenerateResponse {
        message: Some(message),
        index: index as u32,
    };
    let job = Job::start(context, sink);
    let interrupt = job.interrupt.clone();
    let pieces = sink.clone();
    let (completions, rests) = blocking(context, move |context| {
        // The engine must not wait for the caller: what finds no room joins the next piece.
        let mut waiting = vec![String::new(); requests.len()];
        let mut piece = |index: usize, text: &str| {
            waiting[index].push_str(text);
            let text = std::mem::take(&mut waiting[index]);
            let offered = pieces.offer(message(index, Message::Piece(text)));
            if let Some(v1::GenerateResponse {
                message: Some(Message::Piece(back)),
                ..
            }) = offered
            {
                waiting[index] = back;
            }
        };
        let asked = requests.len();
        let completions = context
            .ports
            .engine
            .generate_stream(&model, requests, &interrupt, &mut piece)
            .or_status()?;
        if completions.len() != asked {
            return Err(Status::internal(
                "the engine gave another number of completions than were asked for",
            ));
        }
        Ok((completions, waiting))
    })
    .await?;
    drop(job);
    for (index, (completion, rest)) in completions.into_iter().zip(rests).enumerate() {
        if !rest.is_empty() {
            sink.send(message(index, Message::Piece(rest)), context)
                .await?;
        }
        let completion = Message::Completion(convert::completion(completion));
        sink.send(message(index, completion), context).await?;
    }
    Ok(())
}

/// Scores texts.
pub(super) async fn score(
    context: &Arc<Context>,
    model: ModelRef,
    requests: Vec<ScoreRequest>,
) -> Result<v1::ScoreResponse, Status> {
    interruptible(context, move |context, interrupt| {
        let engine = &context.ports.engine;
        let losses = engine.score(&model, requests, interrupt).or_status()?;
        Ok(v1::ScoreResponse {
            scores: losses.iter().map(convert::score).collect(),
        })
    })
    .await
}

/// Long work for one caller: interrupted when the caller is gone or the server goes down.
pub(super) struct Job {
    pub(super) interrupt: Interrupt,
    over: CancellationToken,
}

impl Job {
    pub(super) fn start<M: Send + 'static>(context: &Arc<Context>, sink: &Sink<M>) -> Self {
        let job = Self {
            interrupt: Interrupt::new(),
            over: CancellationToken::new(),
        };
        let (interrupt, over) = (job.interrupt.clone(), job.over.clone());
        let (context, sink) = (Arc::clone(context), sink.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = over.cancelled() => {}
                () = sink.gone() => interrupt.raise(InterruptReason::Cancel),
                () = context.shutdown.cancelled() => interrupt.raise(InterruptReason::Shutdown),
            }
        });
        job
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.over.cancel();
    }
}
