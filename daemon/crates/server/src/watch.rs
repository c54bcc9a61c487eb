//! Follows events: durable ones from the store in order, fleeting ones as they come, heartbeats in silence.

use std::sync::Arc;
use std::time::Duration;

use autodidact_domain::{Event, EventBody, WorkflowName};
use autodidact_proto::v1;

use crate::blocking::blocking;
use crate::context::{Context, shutting_down};
use crate::convert;
use crate::feed::{Feed, Fleeting};
use crate::status::OrStatus;
use crate::stream::{End, Sink};

/// Durable events read from the store at once.
const BATCH: usize = 256;
/// The least time between two tellings of fleeting events.
const FLEETING_PAUSE: Duration = Duration::from_millis(50);

/// A message of a watch stream.
pub(crate) trait WatchMessage: Send + 'static {
    fn event(event: v1::Event) -> Self;
    fn heartbeat(heartbeat: v1::Heartbeat) -> Self;
}

/// Where a watcher stands.
struct Follower<M> {
    context: Arc<Context>,
    feed: Feed,
    sink: Sink<M>,
    workflow: Option<WorkflowName>,
    /// The last durable event it heard.
    after: u64,
}

/// Tells whether events of a workflow after its snapshot have ended it.
#[derive(PartialEq)]
enum Course {
    GoesOn,
    Ended,
}

impl<M: WatchMessage> Follower<M> {
    /// Sends the durable events that the store has by now. Final states up to `history` are the past, and end nothing.
    async fn durable(&mut self, history: u64) -> Result<Course, End> {
        loop {
            let (after, workflow) = (self.after, self.workflow.clone());
            let events = blocking(&self.context, move |context| {
                context
                    .ports
                    .events
                    .after(after, workflow.as_ref(), BATCH)
                    .or_status()
            })
            .await?;
            let full = events.len() == BATCH;
            for event in events {
                self.after = event.sequence;
                let ended = event.sequence > history && is_final(&event);
                self.sink
                    .send(M::event(convert::event(event)), &self.context)
                    .await?;
                if ended {
                    return Ok(Course::Ended);
                }
            }
            if !full {
                return Ok(Course::GoesOn);
            }
        }
    }

    async fn heartbeat(&self) -> Result<(), End> {
        let heartbeat = v1::Heartbeat {
            time_ms: self.context.ports.clock.now_ms(),
            last_sequence: self.context.ports.events.last_sequence(),
        };
        self.sink.send(M::heartbeat(heartbeat), &self.context).await
    }

    /// Sends news until there was none for a heartbeat's time.
    async fn until_silence(&mut self, history: u64) -> Result<Course, End> {
        loop {
            tokio::select! {
                () = self.feed.wait() => {}
                () = tokio::time::sleep(self.context.limits.heartbeat) => return Ok(Course::GoesOn),
                () = self.sink.gone() => return Err(End::Gone),
                () = self.context.shutdown.cancelled() => return Err(End::Refused(shutting_down())),
            }
            let news = self.feed.take();
            if news.durable && self.durable(history).await? == Course::Ended {
                return Ok(Course::Ended);
            }
            let mut told = false;
            for event in news.into_fleeting() {
                // An end that the store could not take yet is an end all the same.
                let ended = self.workflow.is_some() && is_final(&event);
                self.sink
                    .send(M::event(convert::event(event)), &self.context)
                    .await?;
                if ended {
                    return Ok(Course::Ended);
                }
                told = true;
            }
            if told {
                tokio::time::sleep(FLEETING_PAUSE).await;
            }
        }
    }
}

fn is_final(event: &Event) -> bool {
    matches!(&event.body, EventBody::State { state, .. } if state.is_final())
}

/// Follows one workflow to its end.
pub(crate) async fn follow_workflow(
    context: Arc<Context>,
    sink: Sink<v1::WatchWorkflowResponse>,
    name: WorkflowName,
    resume_after: Option<u64>,
) {
    // Listening begins before the snapshot is taken, so nothing falls between them.
    let feed = Feed::open(&*context.ports.events, Some(name.clone()), Fleeting::Heard);
    let mut follower = Follower {
        context,
        feed,
        sink,
        workflow: Some(name.clone()),
        after: 0,
    };
    let result = workflow_course(&mut follower, &name, resume_after).await;
    follower.sink.end(result);
}

async fn workflow_course(
    follower: &mut Follower<v1::WatchWorkflowResponse>,
    name: &WorkflowName,
    resume_after: Option<u64>,
) -> Result<(), End> {
    let (first, ended) = snapshot(&follower.context, name).await?;
    let history = first.sequence;
    follower.after = resume_after.unwrap_or(history);
    follower
        .sink
        .send(snapshot_message(first), &follower.context)
        .await?;
    let course = follower.durable(history).await?;
    if ended || course == Course::Ended {
        return Ok(());
    }
    loop {
        if follower.until_silence(history).await? == Course::Ended {
            return Ok(());
        }
        // An end whose event got lost (a kill between the two writes) is found in silence.
        let (again, ended) = snapshot(&follower.context, name).await?;
        if ended {
            if follower.durable(history).await? == Course::GoesOn {
                follower
                    .sink
                    .send(snapshot_message(again), &follower.context)
                    .await?;
            }
            return Ok(());
        }
        follower.heartbeat().await?;
    }
}

fn snapshot_message(snapshot: v1::WorkflowSnapshot) -> v1::WatchWorkflowResponse {
    v1::WatchWorkflowResponse {
        message: Some(v1::watch_workflow_response::Message::Snapshot(snapshot)),
    }
}

/// Takes a snapshot, and tells whether the workflow has ended.
async fn snapshot(
    context: &Arc<Context>,
    name: &WorkflowName,
) -> Result<(v1::WorkflowSnapshot, bool), End> {
    let name = name.clone();
    let taken = blocking(context, move |context| {
        // The sequence is read first: an event that comes while the rest is read is told once more, never missed.
        let sequence = context.ports.events.last_sequence();
        let workflow = context.ports.workflows.get(&name).or_status()?;
        let stages = context.supervisor.snapshot(&name).or_status()?;
        let ended = workflow.state.is_final();
        let stages = stages.into_iter().map(convert::stage_progress).collect();
        Ok((
            v1::WorkflowSnapshot {
                workflow: Some(convert::workflow(&workflow)),
                stages,
                sequence,
            },
            ended,
        ))
    });
    Ok(taken.await?)
}

/// Follows the events of one workflow or all until the caller or the server ends it.
pub(crate) async fn follow_events(
    context: Arc<Context>,
    sink: Sink<v1::WatchEventsResponse>,
    workflow: Option<WorkflowName>,
    resume_after: Option<u64>,
    fleeting: Fleeting,
) {
    let feed = Feed::open(&*context.ports.events, workflow.clone(), fleeting);
    let after = resume_after.unwrap_or_else(|| context.ports.events.last_sequence());
    let mut follower = Follower {
        context,
        feed,
        sink,
        workflow,
        after,
    };
    let result = events_course(&mut follower).await;
    follower.sink.end(result);
}

async fn events_course(follower: &mut Follower<v1::WatchEventsResponse>) -> Result<(), End> {
    follower.heartbeat().await?;
    // No event ends this watch: all of them are history.
    follower.durable(u64::MAX).await?;
    loop {
        follower.until_silence(u64::MAX).await?;
        follower.heartbeat().await?;
    }
}

impl WatchMessage for v1::WatchWorkflowResponse {
    fn event(event: v1::Event) -> Self {
        Self {
            message: Some(v1::watch_workflow_response::Message::Event(event)),
        }
    }

    fn heartbeat(heartbeat: v1::Heartbeat) -> Self {
        Self {
            message: Some(v1::watch_workflow_response::Message::Heartbeat(heartbeat)),
        }
    }
}

impl WatchMessage for v1::WatchEventsResponse {
    fn event(event: v1::Event) -> Self {
        Self {
            message: Some(v1::watch_events_response::Message::Event(event)),
        }
    }

    fn heartbeat(heartbeat: v1::Heartbeat) -> Self {
        Self {
            message: Some(v1::watch_events_response::Message::Heartbeat(heartbeat)),
        }
    }
}
