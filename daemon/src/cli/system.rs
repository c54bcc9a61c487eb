//! `autodidact system …`

use autodidact_client::v1;
use autodidact_proto::json as messages;
use clap::Subcommand;

use super::{Failure, Global, connect, output};

#[derive(Subcommand)]
pub(super) enum SystemCommand {
    /// Show what the daemon is and where it stands
    Info,
}

/// Runs a system command.
pub(super) async fn run(command: SystemCommand, global: &Global) -> Result<(), Failure> {
    let SystemCommand::Info = command;
    let info = connect(global)
        .await?
        .system()
        .get_info(v1::GetInfoRequest {})
        .await?
        .into_inner();
    if global.json {
        return output::json(&messages::of("GetInfoResponse", &info));
    }
    output::facts(&[
        ("version", info.version),
        ("data directory", info.data_dir),
        ("listening", info.listening.join(", ")),
        ("compute", info.compute),
        ("threads", info.threads.to_string()),
        ("schema version", info.schema_version.to_string()),
        ("peak memory", format!("{} MiB", info.peak_rss_mb)),
        ("last event", info.last_sequence.to_string()),
    ])
}
