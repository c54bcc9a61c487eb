//! Puts the services together and serves them on every listener until told to stop.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use autodidact_domain::ports::{Ports, SystemInfo};
use autodidact_flow::Supervisor;
use autodidact_proto::{FILE_DESCRIPTOR_SET, MAX_MESSAGE_BYTES, v1};
use axum::middleware;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::auth::{Auth, Gate, guard};
use crate::context::{Context, Limits};
use crate::error::ServerError;
use crate::listen::{Bound, Listener};
use crate::openai;
use crate::services::{
    CheckpointApi, DatasetApi, EventApi, ModelApi, PluginApi, ReviewApi, SystemApi, WorkflowApi,
};

/// Calls that one connection may have open at once.
const MAX_STREAMS_PER_CONNECTION: u32 = 128;
/// How often a silent connection is asked whether its peer is still there.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// The services of the daemon with everything they need.
pub struct Server {
    context: Arc<Context>,
    auth: Auth,
}

impl Server {
    /// Puts the services together within the default limits.
    pub fn new(ports: Ports, supervisor: Arc<Supervisor>, info: SystemInfo, auth: Auth) -> Self {
        Self::with_limits(ports, supervisor, info, auth, Limits::default())
    }

    /// Puts the services together within the given limits.
    pub fn with_limits(
        ports: Ports,
        supervisor: Arc<Supervisor>,
        info: SystemInfo,
        auth: Auth,
        limits: Limits,
    ) -> Self {
        Self {
            context: Arc::new(Context::new(ports, supervisor, info, limits)),
            auth,
        }
    }

    /// Serves on every listener until `shutdown` resolves: then no call is taken any more, watches end with
    /// `SHUTTING_DOWN`, and what is at work gets [`Limits::drain`] to end.
    ///
    /// # Errors
    /// A certificate that cannot be used, or a listener that broke; the other listeners are stopped then.
    pub async fn serve(
        self,
        listeners: Vec<Listener>,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), ServerError> {
        let Self { context, auth } = self;
        let (health, routes) = routes(&context).await?;
        let mut serving = JoinSet::new();
        for listener in listeners {
            tracing::info!(address = listener.address(), "listening");
            serving.spawn(serve_one(
                listener,
                routes.clone(),
                auth.clone(),
                Arc::clone(&context),
            ));
        }

        let stopped = tokio::select! {
            () = shutdown => Ok(()),
            Some(ended) = serving.join_next() => flatten(ended),
        };
        context.shutdown.cancel();
        health
            .set_service_status("", ServingStatus::NotServing)
            .await;
        let drained = tokio::time::timeout(context.limits.drain, async {
            let mut outcome = Ok(());
            while let Some(ended) = serving.join_next().await {
                outcome = outcome.and(flatten(ended));
            }
            outcome
        });
        match drained.await {
            Ok(outcome) => stopped.and(outcome),
            Err(_) => {
                tracing::info!("calls that were still at work were cut off");
                stopped
            }
        }
    }
}

fn flatten(
    ended: Result<Result<(), ServerError>, tokio::task::JoinError>,
) -> Result<(), ServerError> {
    ended.unwrap_or_else(|error| {
        Err(ServerError::Transport {
            action: "serve",
            detail: error.to_string(),
        })
    })
}

async fn serve_one(
    listener: Listener,
    routes: Routes,
    auth: Auth,
    context: Arc<Context>,
) -> Result<(), ServerError> {
    let stop = context.shutdown.clone();
    let gate = match &listener.0 {
        Bound::Unix(..) => Gate(None),
        Bound::Tcp { .. } => Gate(auth.token),
    };
    let routes = routes
        .into_axum_router()
        .layer(middleware::from_fn_with_state(gate, guard));
    let builder = tonic::transport::Server::builder()
        .trace_fn(|request| tracing::info_span!("call", method = %request.uri().path()))
        .accept_http1(true)
        .max_concurrent_streams(MAX_STREAMS_PER_CONNECTION)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .add_routes(Routes::from(routes));
    match listener.0 {
        Bound::Unix(listener, _file) => builder
            .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop.cancelled())
            .await
            .map_err(ServerError::transport("serve the Unix socket")),
        Bound::Tcp { listener, .. } => {
            let served = match &auth.tls {
                Some(tls) => {
                    let incoming = crate::tls::incoming(listener, tls)?;
                    builder
                        .serve_with_incoming_shutdown(incoming, stop.cancelled())
                        .await
                }
                None => {
                    let incoming = TcpListenerStream::new(listener).map(|stream| {
                        // Small events must not wait for each other; where it cannot be set, they do.
                        stream.inspect(|stream| drop(stream.set_nodelay(true)))
                    });
                    builder
                        .serve_with_incoming_shutdown(incoming, stop.cancelled())
                        .await
                }
            };
            served.map_err(ServerError::transport("serve the TCP address"))
        }
    }
}

macro_rules! limited {
    ($server:expr) => {
        $server
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    };
}

/// Lists every service there is.
async fn routes(context: &Arc<Context>) -> Result<(HealthReporter, Routes), ServerError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    let workflows =
        v1::workflow_service_server::WorkflowServiceServer::new(WorkflowApi::new(context));
    let datasets = v1::dataset_service_server::DatasetServiceServer::new(DatasetApi::new(context));
    let models = v1::model_service_server::ModelServiceServer::new(ModelApi::new(context));
    let checkpoints =
        v1::checkpoint_service_server::CheckpointServiceServer::new(CheckpointApi::new(context));
    let plugins = v1::plugin_service_server::PluginServiceServer::new(PluginApi::new(context));
    let reviews = v1::review_service_server::ReviewServiceServer::new(ReviewApi::new(context));
    let events = v1::event_service_server::EventServiceServer::new(EventApi::new(context));
    let system = v1::system_service_server::SystemServiceServer::new(SystemApi::new(context));
    health.set_service_status("", ServingStatus::Serving).await;
    let mut routes = Routes::new(health_service)
        .add_service(limited!(workflows))
        .add_service(limited!(datasets))
        .add_service(limited!(models))
        .add_service(limited!(checkpoints))
        .add_service(limited!(plugins))
        .add_service(limited!(reviews))
        .add_service(limited!(events))
        .add_service(limited!(system))
        .add_service(reflection().build_v1().map_err(reflection_error)?)
        .add_service(reflection().build_v1alpha().map_err(reflection_error)?);
    let router = routes.axum_router_mut();
    *router = std::mem::take(router).merge(openai::router(context));
    Ok((health, routes))
}

/// Describes every service; clients in the field still speak both versions of the protocol.
fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

fn reflection_error(error: tonic_reflection::server::Error) -> ServerError {
    ServerError::Transport {
        action: "describe the services",
        detail: error.to_string(),
    }
}
