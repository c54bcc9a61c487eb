//! Connections to a daemon.

use std::path::PathBuf;
use std::time::Duration;

use autodidact_proto::{MAX_MESSAGE_BYTES, v1};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

use crate::error::ClientError;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a silent connection is asked whether the daemon is still there.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// Where a daemon listens.
#[derive(Clone, Debug)]
pub enum Target {
    /// A Unix socket.
    Unix(PathBuf),
    /// A plain TCP address on this machine, such as `127.0.0.1:7070`.
    Tcp {
        /// Host and port.
        address: String,
        /// The bearer token.
        token: String,
    },
    /// A TCP address with TLS.
    Tls {
        /// Host and port; the host is the name that the certificate must have.
        address: String,
        /// The bearer token.
        token: String,
        /// The certificate, PEM, that signed the daemon's.
        authority_pem: Vec<u8>,
    },
}

/// A transport that shows the bearer token, where there is one.
pub type Connection = InterceptedService<Channel, Bearer>;

/// Puts the bearer token on every call.
#[derive(Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// A connection with a client for every service. Clones share the connection; a broken one is made anew by the next call.
#[derive(Clone)]
pub struct Client {
    connection: Connection,
}

macro_rules! services {
    ($($(#[$doc:meta])* $name:ident: $module:ident::$client:ident;)*) => {
        impl Client {
            $($(#[$doc])*
            pub fn $name(&self) -> v1::$module::$client<Connection> {
                v1::$module::$client::new(self.connection.clone())
                    .max_decoding_message_size(MAX_MESSAGE_BYTES)
                    .max_encoding_message_size(MAX_MESSAGE_BYTES)
            })*
        }
    };
}

services! {
    /// Submits workflows and follows them.
    workflows: workflow_service_client::WorkflowServiceClient;
    /// Keeps datasets.
    datasets: dataset_service_client::DatasetServiceClient;
    /// Registers base models and asks them for text.
    models: model_service_client::ModelServiceClient;
    /// Shows and hands out checkpoints.
    checkpoints: checkpoint_service_client::CheckpointServiceClient;
    /// Keeps plugins.
    plugins: plugin_service_client::PluginServiceClient;
    /// Lays examples before people, and takes what they say of them.
    reviews: review_service_client::ReviewServiceClient;
    /// Tells what happens in the whole daemon.
    events: event_service_client::EventServiceClient;
    /// Describes the daemon.
    system: system_service_client::SystemServiceClient;
}

impl Client {
    /// Connects to a daemon.
    ///
    /// # Errors
    /// When nothing answers there, TLS fails, or the target is malformed. A wrong token shows at the first call.
    pub async fn connect(target: &Target) -> Result<Self, ClientError> {
        let channel = match target {
            Target::Unix(path) => connect_unix(path.clone()).await?,
            Target::Tcp { address, .. } => connect_tcp(&format!("http://{address}"), None).await?,
            Target::Tls {
                address,
                authority_pem,
                ..
            } => {
                let tls =
                    ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority_pem));
                connect_tcp(&format!("https://{address}"), Some(tls)).await?
            }
        };
        let bearer = match target {
            Target::Unix(_) => None,
            Target::Tcp { token, .. } | Target::Tls { token, .. } => {
                let mut value: MetadataValue<Ascii> =
                    format!("Bearer {token}").parse().map_err(|_| {
                        ClientError::local(
                            Code::InvalidArgument,
                            "the token holds characters that no header carries",
                        )
                    })?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(Self {
            connection: InterceptedService::new(channel, Bearer(bearer)),
        })
    }

    /// Shows the transport, for clients of other services such as health.
    pub fn connection(&self) -> Connection {
        self.connection.clone()
    }
}

async fn connect_unix(path: PathBuf) -> Result<Channel, ClientError> {
    let shown = path.display().to_string();
    // The URI is only the `:authority` of the calls; the connector decides where they go.
    let connector = tower::service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    configure(Endpoint::from_static("http://localhost"))
        .connect_with_connector(connector)
        .await
        .map_err(|error| {
            unreachable(
                &format!("no daemon answers at {shown}; `autodidact serve` starts one"),
                &error,
            )
        })
}

async fn connect_tcp(uri: &str, tls: Option<ClientTlsConfig>) -> Result<Channel, ClientError> {
    let malformed = |error: tonic::transport::Error| {
        ClientError::local(Code::InvalidArgument, format!("{uri}: {}", chain(&error)))
    };
    let mut endpoint = configure(Endpoint::from_shared(uri.to_string()).map_err(malformed)?);
    if let Some(tls) = tls {
        endpoint = endpoint.tls_config(tls).map_err(malformed)?;
    }
    endpoint
        .connect()
        .await
        .map_err(|error| unreachable(&format!("no daemon answers at {uri}"), &error))
}

fn configure(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
}

fn unreachable(what: &str, error: &tonic::transport::Error) -> ClientError {
    ClientError::local(Code::Unavailable, format!("{what} ({})", chain(error)))
}

fn chain(error: &tonic::transport::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
