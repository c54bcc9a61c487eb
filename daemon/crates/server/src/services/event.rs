//! `EventService`: tells what happens in the whole daemon.

use std::sync::Arc;

use autodidact_domain::WorkflowName;
use autodidact_proto::v1;
use autodidact_proto::v1::event_service_server::EventService;
use tonic::{Request, Response, Status};
use tracing::Instrument;

use super::api;
use crate::feed::Fleeting;
use crate::status::bad_name;
use crate::stream::{Outgoing, outgoing};
use crate::watch::follow_events;

api!(
    /// Answers the calls of `EventService`.
    EventApi
);

#[tonic::async_trait]
impl EventService for EventApi {
    type WatchStream = Outgoing<v1::WatchEventsResponse>;

    async fn watch(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let v1::WatchEventsRequest {
            resume_after,
            workflow,
            durable_only,
        } = request.into_inner();
        let workflow = match workflow.as_str() {
            "" => None,
            name => Some(WorkflowName::new(name).map_err(bad_name("workflow"))?),
        };
        let fleeting = if durable_only {
            Fleeting::LeftOut
        } else {
            Fleeting::Heard
        };
        let permit = self.context.watch_permit()?;
        let (sink, outgoing) = outgoing(&self.context);
        let context = Arc::clone(&self.context);
        let follow = async move {
            follow_events(context, sink, workflow, resume_after, fleeting).await;
            drop(permit);
        };
        tokio::spawn(follow.in_current_span());
        Ok(Response::new(outgoing))
    }
}
