//! `autodidact checkpoint …`

use autodidact_client::{Client, v1};
use autodidact_proto::json as messages;
use clap::Subcommand;

use super::{Failure, Global, connect, output, request_id};

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
    /// Let a name serve a checkpoint from now on
    #[command(after_help = "\
The checkpoint may be one of a run that still trains, which lets go of it with its next one: the name keeps the adapter.
Promoting another one under the same name puts it in its place, for whoever asks from then on. A name keeps its base.

Examples:
  autodidact checkpoint promote my-run.round-1                      my-run serves it
  autodidact checkpoint promote my-run.round-1.step-40 --as helper
  autodidact model chat smollm2-135m-instruct --adapter helper")]
    Promote {
        /// The checkpoint
        id: String,
        /// The name that serves it [default: the run's]
        #[arg(long = "as", value_name = "NAME")]
        name: Option<String>,
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
        CheckpointCommand::Promote { id, name } => {
            let request = v1::PromoteCheckpointRequest {
                request_id: request_id(),
                id,
                name: name.unwrap_or_default(),
            };
            let answer = client.checkpoints().promote(request).await?.into_inner();
            tell_promotion(&answer, global)
        }
        CheckpointCommand::List => {
            let all = list_all(&client).await?;
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
                    c.promoted_from.clone().unwrap_or_default(),
                ]
            };
            let headings = [
                "ID",
                "MODEL",
                "METHOD",
                "STEP",
                "SIZE",
                "MADE (UTC)",
                "PROMOTED FROM",
            ];
            output::table(&headings, &all.iter().map(row).collect::<Vec<_>>())
        }
    }
}

fn tell_promotion(answer: &v1::PromoteCheckpointResponse, global: &Global) -> Result<(), Failure> {
    if global.json {
        return output::json(&messages::of("PromoteCheckpointResponse", answer));
    }
    let checkpoint = answer.checkpoint.clone().unwrap_or_default();
    let from = checkpoint.promoted_from.unwrap_or_default();
    let instead = match &answer.replaced {
        Some(before) if *before != from => format!(" in place of {before}"),
        _ => String::new(),
    };
    let (name, model) = (checkpoint.id, checkpoint.model);
    output::line(format!(
        "{name} serves {from}{instead}: `autodidact model chat {model} --adapter {name}`, over OpenAI's API {model}:{name}"
    ))
}

/// Reads every checkpoint's facts, page by page.
pub(super) async fn list_all(client: &Client) -> Result<Vec<v1::Checkpoint>, Failure> {
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
            return Ok(all);
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
        (
            "promoted from",
            checkpoint.promoted_from.clone().unwrap_or_default(),
        ),
        ("adapter digest", checkpoint.adapter_digest.clone()),
        ("base digest", checkpoint.base_digest.clone()),
        ("configuration", checkpoint.adapter_config_json.clone()),
    ])
}
