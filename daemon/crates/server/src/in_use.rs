//! Keeps what an unfinished workflow needs from being taken away.

use autodidact_domain::WorkflowSummary;
use autodidact_proto::v1::ErrorReason;
use tonic::Status;

use crate::context::Context;
use crate::status::{OrStatus, refuse_with};

/// Refuses when an unfinished workflow needs a thing.
pub(crate) fn refuse_if_used(
    context: &Context,
    what: &str,
    needs: impl Fn(&WorkflowSummary) -> bool,
) -> Result<(), Status> {
    let workflows = context.ports.workflows.list().or_status()?;
    let Some(user) = workflows
        .iter()
        .find(|workflow| !workflow.state.is_final() && needs(workflow))
    else {
        return Ok(());
    };
    let name = user.spec.name.as_str();
    Err(refuse_with(
        ErrorReason::InUse,
        format!("workflow {name} needs this {what}; cancel it, or wait for its end"),
        &[("workflow", name)],
    ))
}
