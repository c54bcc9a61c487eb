//! A client for the daemon: connections, the generated service clients, and helpers where a plain call is not enough.
//!
//! ```no_run
//! # async fn example() -> Result<(), autodidact_client::ClientError> {
//! use autodidact_client::{Client, Target, v1};
//!
//! let client = Client::connect(&Target::Unix("/run/user/1000/autodidact/socket".into())).await?;
//! let info = client.system().get_info(v1::GetInfoRequest {}).await?.into_inner();
//! let mut watch = client.watch_workflow("my-run", None);
//! while let Some(message) = watch.next().await? {
//!     // Snapshots and events; reconnections happen inside.
//!     drop(message);
//! }
//! # drop(info);
//! # Ok(())
//! # }
//! ```

mod connection;
mod error;
mod transfer;
mod watch;

pub use autodidact_proto::v1;
pub use connection::{Client, Connection, Target};
pub use error::{ClientError, Failure};
pub use transfer::{Content, Download, DownloadPart, Exported, PluginTest};
pub use watch::{WatchEvent, WorkflowWatch};
