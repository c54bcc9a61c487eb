//! Bounded streams to callers: a slow one is waited for, then ended with a clear status; nothing else waits with it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use autodidact_proto::v1::ErrorReason;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tonic::Status;

use crate::context::{Context, shutting_down};
use crate::status::refuse;

/// Messages that wait for the caller; transfers carry 1 MiB each.
const CAPACITY: usize = 8;

/// Why a stream ends before its work is done.
pub(crate) enum End {
    /// The caller is gone.
    Gone,
    /// It ends with this status.
    Refused(Status),
}

impl From<Status> for End {
    fn from(status: Status) -> Self {
        Self::Refused(status)
    }
}

/// The sending half. The stream ends once every clone is gone.
pub(crate) struct Sink<M> {
    sender: mpsc::Sender<M>,
    last: Arc<Mutex<Option<Status>>>,
    patience: Duration,
}

impl<M> Clone for Sink<M> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            last: Arc::clone(&self.last),
            patience: self.patience,
        }
    }
}

/// The receiving half, which tonic reads.
pub(crate) struct Outgoing<M> {
    receiver: mpsc::Receiver<M>,
    last: Arc<Mutex<Option<Status>>>,
}

/// Opens a stream to a caller.
pub(crate) fn outgoing<M>(context: &Context) -> (Sink<M>, Outgoing<M>) {
    let (sender, receiver) = mpsc::channel(CAPACITY);
    let last = Arc::new(Mutex::new(None));
    let sink = Sink {
        sender,
        last: Arc::clone(&last),
        patience: context.limits.slow_peer,
    };
    (sink, Outgoing { receiver, last })
}

impl<M> Sink<M> {
    /// Sends a message, waiting for a slow caller up to the limit.
    pub(crate) async fn send(&self, message: M, context: &Context) -> Result<(), End> {
        tokio::select! {
            sent = tokio::time::timeout(self.patience, self.sender.send(message)) => match sent {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) => Err(End::Gone),
                Err(_) => Err(End::Refused(refuse(
                    ErrorReason::SlowPeer,
                    format!("nothing was taken from this stream for {} seconds", self.patience.as_secs_f32()),
                ))),
            },
            () = context.shutdown.cancelled() => Err(End::Refused(shutting_down())),
        }
    }

    /// Sends a message if there is room at once; gives it back where there is none, and nothing when the caller is gone.
    pub(crate) fn offer(&self, message: M) -> Option<M> {
        match self.sender.try_send(message) {
            Err(mpsc::error::TrySendError::Full(message)) => Some(message),
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => None,
        }
    }

    /// Resolves when the caller is gone.
    pub(crate) async fn gone(&self) {
        self.sender.closed().await;
    }

    /// Ends the stream; the status comes after everything that was sent.
    pub(crate) fn end(self, result: Result<(), End>) {
        if let Err(End::Refused(status)) = result {
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
        }
    }
}

impl<M> Stream for Outgoing<M> {
    type Item = Result<M, Status>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        match self.receiver.poll_recv(task) {
            Poll::Ready(Some(message)) => Poll::Ready(Some(Ok(message))),
            Poll::Ready(None) => Poll::Ready(
                self.last
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take()
                    .map(Err),
            ),
            Poll::Pending => Poll::Pending,
        }
    }
}
