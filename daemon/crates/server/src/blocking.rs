//! The one way from async code to the synchronous ports.

use std::sync::Arc;

use autodidact_domain::{Interrupt, InterruptReason};
use autodidact_proto::v1::ErrorReason;
use prost::Message;
use tonic::{Response, Status};

use crate::context::{Context, shutting_down};
use crate::requests::{self, Mutation};
use crate::status::refuse;

/// Runs work that calls ports on a thread that may block, inside the caller's span.
///
/// # Cancel safety
/// Dropping the future does not stop work that has begun: it ends by itself and its answer is thrown away.
pub(crate) async fn blocking<T: Send + 'static>(
    context: &Arc<Context>,
    work: impl FnOnce(&Context) -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    let context = Arc::clone(context);
    let span = tracing::Span::current();
    match tokio::task::spawn_blocking(move || span.in_scope(|| work(&context))).await {
        Ok(result) => result,
        Err(error) => {
            tracing::error!(%error, "a call ended in a defect");
            Err(refuse(
                ErrorReason::Internal,
                "a defect ended this call; the daemon's log names it",
            ))
        }
    }
}

/// Runs long work for one caller, as [`blocking`] does; it is interrupted when the caller is gone, which drops this future, and
/// when the server goes down.
pub(crate) async fn interruptible<T: Send + 'static>(
    context: &Arc<Context>,
    work: impl FnOnce(&Context, &Interrupt) -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    let permit = context.job_permit()?;
    let guard = RaisedAtEnd(Interrupt::new());
    let interrupt = guard.0.clone();
    let work = blocking(context, move |context| {
        let answer = work(context, &interrupt);
        // The thread is free from here on, and not when the caller goes.
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

/// Interrupts work whose caller has stopped waiting.
struct RaisedAtEnd(Interrupt);

impl Drop for RaisedAtEnd {
    fn drop(&mut self) {
        self.0.raise(InterruptReason::Cancel);
    }
}

/// Answers a call that changes nothing.
pub(crate) async fn read<T: Send + 'static>(
    context: &Arc<Context>,
    work: impl FnOnce(&Context) -> Result<T, Status> + Send + 'static,
) -> Result<Response<T>, Status> {
    blocking(context, work).await.map(Response::new)
}

/// Answers a call that changes something, once per request id.
pub(crate) async fn mutate<T: Message + Default + 'static>(
    context: &Arc<Context>,
    mutation: Mutation,
    work: impl FnOnce(&Context) -> Result<T, Status> + Send + 'static,
) -> Result<Response<T>, Status> {
    blocking(context, move |context| {
        requests::once(context, &mutation, || work(context))
    })
    .await
    .map(Response::new)
}
