//! `autodidact checkpoint …`

use autodidact_client::v1;
use autodidact_proto::json as messages;
use clap::Subcommand;

use super::{Failure, Global, connect, output};

#[derive(Subcommand)]
pub(super) enum CheckpointCommand {
    /// List the checkpoints
    List,
    /// Show a checkpoint's facts
    #[command(after_help = "Example:\n  autodidact checkpoint show self-instruct.round-1")]
    Show {
        /// The checkpoint
        id: String,
    },
}

/// Runs a checkpoint command.
pub(super) async fn run(command: CheckpointCommand, global: &Global) -> Result<(), Failure> {
    let client = connect(global).await?;
    match command {
        CheckpointCommand::Show { id } => {
            let answer = client
                .checkpoints()
                .get(v1::GetCheckpointRequest { id })
                .await?
                .into_inner();
            tell(&answer.checkpoint.unwrap_or_default(), global)
        }
        CheckpointCommand::List => {
            let mut all = Vec::new();
            let mut page_token = String::new();
            loop {
                let request = v1::ListCheckpointsRequest {
                    page_size: 0,
                    page_token,
                };
                let page = client.checkpoints().list(request).await?.into_inner();
                all.extend(page.checkpoints);
                page_token = page.next_page_token;
                if page_token.is_empty() {
                    break;
                }
            }
            if global.json {
                return output::json(&messages::list("Checkpoint", &all));
            }
            let row = |c: &v1::Checkpoint| {
                let step = format!("{}/{}", c.step, c.total_steps);
                vec![
                    c.id.clone(),
                    c.model.clone(),
                    c.method.clone(),
                    step,
                    output::size(c.size),
                    output::time(c.created_ms),
                ]
            };
            let headings = ["ID", "MODEL", "METHOD", "STEP", "SIZE", "MADE (UTC)"];
            output::table(&headings, &all.iter().map(row).collect::<Vec<_>>())
        }
    }
}

fn tell(checkpoint: &v1::Checkpoint, global: &Global) -> Result<(), Failure> {
    if global.json {
        return output::json(&messages::of("Checkpoint", checkpoint));
    }
    output::facts(&[
        ("id", checkpoint.id.clone()),
        ("model", checkpoint.model.clone()),
        ("method", checkpoint.method.clone()),
        (
            "step",
            format!("{} of {}", checkpoint.step, checkpoint.total_steps),
        ),
        ("size", output::size(checkpoint.size)),
        ("made (UTC)", output::time(checkpoint.created_ms)),
        ("adapter digest", checkpoint.adapter_digest.clone()),
        ("base digest", checkpoint.base_digest.clone()),
        ("configuration", checkpoint.adapter_config_json.clone()),
    ])
}
