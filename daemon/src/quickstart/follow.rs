//! Following a workflow to its end, whoever shows it.

use autodidact_client::v1::WorkflowState;
use autodidact_client::{Client, WatchEvent, v1};

use super::progress::Display;
use crate::cli::Failure;

/// How a workflow ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    /// Its last state: done, failed or cancelled.
    pub(crate) state: WorkflowState,
    /// Why, where there is something to say.
    pub(crate) message: String,
}

/// Where following begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// With a summary of what was, and what comes.
    Now,
    /// With the first event of a workflow that was just submitted, which may be ahead of whoever follows it.
    Beginning,
}

fn is_final(state: WorkflowState) -> bool {
    matches!(
        state,
        WorkflowState::Done | WorkflowState::Failed | WorkflowState::Cancelled
    )
}

/// Watches a workflow to its end and shows what happens.
///
/// # Errors
/// When the daemon refuses the watch or stays away.
///
/// # Cancel safety
/// Dropping it ends the watch; the workflow goes on.
pub(crate) async fn follow(
    client: &Client,
    name: &str,
    mut display: Display,
    since: Since,
) -> Result<Ended, Failure> {
    let mut ended = Ended {
        state: WorkflowState::Unspecified,
        message: String::new(),
    };
    let mut watch = client.watch_workflow(
        name,
        match since {
            Since::Now => None,
            Since::Beginning => Some(0),
        },
    );
    let mut is_over = false;
    while let Some(event) = watch.next().await? {
        match event {
            WatchEvent::Snapshot(snapshot) => {
                if let Some(workflow) = &snapshot.workflow {
                    is_over = is_final(workflow.state());
                    ended = Ended {
                        state: workflow.state(),
                        message: workflow.message.clone(),
                    };
                }
                // What it sums up follows, where all is shown.
                if since == Since::Now || display.is_json() {
                    display.snapshot(&snapshot)?;
                }
            }
            WatchEvent::Event(event) => {
                // What came before an end that the snapshot told of does not undo it: the end's own event may not be there yet.
                if let Some(v1::event::Body::State(changed)) = &event.body
                    && (!is_over || is_final(changed.state()))
                {
                    ended = Ended {
                        state: changed.state(),
                        message: changed.message.clone(),
                    };
                }
                display.event(&event)?;
            }
            WatchEvent::Heartbeat(_) => {}
        }
    }
    display.finish();
    Ok(ended)
}
