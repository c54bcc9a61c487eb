//! Watching a workflow over broken connections and restarts of the daemon.

use std::time::Duration;

use autodidact_proto::v1;
use autodidact_proto::v1::watch_workflow_response::Message;
use tonic::Streaming;

use crate::connection::Client;
use crate::error::ClientError;

/// A daemon shows that it lives every five seconds; after this much silence the connection counts as broken.
const SILENCE: Duration = Duration::from_secs(20);
/// The first pause before a new connection; it doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// New connections tried in a row before giving up: about a minute and a half with the pauses above.
const MAX_ATTEMPTS: u32 = 20;

/// What a watch tells.
#[derive(Clone, Debug)]
pub enum WatchEvent {
    /// The workflow as it stands: first, after a reconnection, and at an end that has no event.
    Snapshot(Box<v1::WorkflowSnapshot>),
    /// Something happened.
    Event(v1::Event),
    /// Nothing happened for a while.
    Heartbeat(v1::Heartbeat),
}

/// Follows a workflow to its end. Made by [`Client::watch_workflow`].
pub struct WorkflowWatch {
    client: Client,
    name: String,
    resume_after: Option<u64>,
    stream: Option<Streaming<v1::WatchWorkflowResponse>>,
    attempts: u32,
}

impl Client {
    /// Follows a workflow: a snapshot, then events after a sequence number (new ones alone where none is given).
    /// Durable events come once and in order, whatever happens to the connection.
    pub fn watch_workflow(&self, name: &str, resume_after: Option<u64>) -> WorkflowWatch {
        WorkflowWatch {
            client: self.clone(),
            name: name.to_string(),
            resume_after,
            stream: None,
            attempts: 0,
        }
    }
}

impl WorkflowWatch {
    /// Reads the next message; none once the workflow is final.
    ///
    /// # Errors
    /// When the daemon refuses the watch, or does not come back for about a minute and a half.
    pub async fn next(&mut self) -> Result<Option<WatchEvent>, ClientError> {
        loop {
            match self.attempt().await {
                Ok(told) => {
                    self.attempts = 0;
                    return Ok(told);
                }
                Err(error) if error.is_transient() && self.attempts < MAX_ATTEMPTS => {
                    self.stream = None;
                    let pause = FIRST_PAUSE
                        .saturating_mul(1 << self.attempts.min(10))
                        .min(MAX_PAUSE);
                    self.attempts += 1;
                    tokio::time::sleep(pause).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn attempt(&mut self) -> Result<Option<WatchEvent>, ClientError> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let request = v1::WatchWorkflowRequest {
                    name: self.name.clone(),
                    resume_after: self.resume_after,
                };
                let stream = self.client.workflows().watch(request).await?.into_inner();
                self.stream.insert(stream)
            }
        };
        let silent = || ClientError::local(tonic::Code::Unavailable, "the daemon fell silent");
        let message = tokio::time::timeout(SILENCE, stream.message())
            .await
            .map_err(|_| silent())??;
        let Some(message) = message else {
            return Ok(None);
        };
        Ok(Some(match message.message {
            Some(Message::Snapshot(snapshot)) => {
                self.resume_after.get_or_insert(snapshot.sequence);
                WatchEvent::Snapshot(Box::new(snapshot))
            }
            Some(Message::Event(event)) => {
                if event.sequence > 0 {
                    self.resume_after = Some(event.sequence);
                }
                WatchEvent::Event(event)
            }
            Some(Message::Heartbeat(heartbeat)) => WatchEvent::Heartbeat(heartbeat),
            // A newer daemon's message of a kind unknown here.
            None => WatchEvent::Heartbeat(v1::Heartbeat::default()),
        }))
    }
}
