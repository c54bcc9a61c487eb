//! The one way from async code to the synchronous ports.

use std::sync::Arc;

use autodidact_proto::v1::ErrorReason;
use prost::Message;
use tonic::{Response, Status};

use crate::context::Context;
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
