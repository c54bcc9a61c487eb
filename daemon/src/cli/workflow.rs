//! `autodidact workflow …`

mod compare;
mod fields;
mod lineage;
mod report;
mod show;
mod verdicts;

use std::io::Read;
use std::path::PathBuf;

use autodidact_client::{Client, v1};
use autodidact_domain::Language;
use autodidact_proto::json as messages;
use clap::Subcommand;

use super::{Failure, Global, connect, output, request_id};
use crate::quickstart::follow::{Ended, Since, follow};
use crate::quickstart::progress::Display;

/// The most a workflow file may hold; the daemon takes no more than a message's 4 MiB.
const MAX_FILE_BYTES: u64 = 1 << 20;

#[derive(Subcommand)]
pub(super) enum WorkflowCommand {
    /// List every field a workflow file may have, with default and meaning
    #[command(after_help = "\
Needs no running daemon.

Examples:
  autodidact workflow fields
  autodidact workflow fields stages.train")]
    Fields {
        /// Those under this one
        #[arg(default_value = "")]
        path: String,
    },
    #[command(flatten)]
    Daemon(DaemonCommand),
}

/// What the daemon is asked.
#[derive(Subcommand)]
pub(super) enum DaemonCommand {
    /// Check a workflow file without submitting it
    #[command(after_help = "\
Every fault is told at once, with its line and the nearest right name. `autodidact workflow fields` lists all fields.

Example:
  autodidact workflow check self-instruct.yaml")]
    Check {
        /// The workflow file, or - for stdin
        file: PathBuf,
    },
    /// Submit a workflow file; the same one again is found, not started twice
    #[command(after_help = "Example:\n  autodidact workflow submit self-instruct.yaml --watch")]
    Submit {
        /// The workflow file, or - for stdin
        file: PathBuf,
        /// Follow it to its end
        #[arg(long)]
        watch: bool,
    },
    /// List the workflows
    List,
    /// Show a workflow and the figures of its stages
    Show {
        /// The workflow's name
        name: String,
    },
    /// Follow a workflow to its end
    #[command(after_help = "\
With --json every message is one line. Interrupting stops the watching, not the workflow.

Example:
  autodidact workflow watch self-instruct")]
    Watch {
        /// The workflow's name
        name: String,
    },
    /// Hold a workflow at its next safe point, until it is resumed
    Pause {
        /// The workflow's name
        name: String,
    },
    /// Let a paused, waiting or failed workflow go on from its last step
    Resume {
        /// The workflow's name
        name: String,
        /// Go on with the plugins that are installed now, in the place of the versions it was submitted with
        #[arg(long)]
        new_plugins: bool,
    },
    /// End a workflow for good at its next safe point; what it made stays
    Cancel {
        /// The workflow's name
        name: String,
    },
    /// List the decisions on records, each with its reason
    #[command(after_help = "\
Example:
  autodidact workflow verdicts self-instruct --round 1 --stage filter --dropped")]
    Verdicts(verdicts::VerdictsArgs),
    /// Print a workflow's latest report, as Markdown, HTML or JSON
    #[command(after_help = "\
Examples:
  autodidact workflow report self-instruct --json | jq .evaluations
  autodidact workflow report self-instruct --html --language zh > report.html")]
    Report(report::ReportArgs),
    /// Tell where a record comes from, what was decided on it, and which training runs had it
    #[command(after_help = "\
`workflow verdicts NAME --json` and `dataset show NAME --json` list records with their ids; the first digits will do.

Example:
  autodidact workflow lineage self-instruct 3fa9c1d2")]
    Lineage(lineage::LineageArgs),
    /// Set two workflows that are done side by side
    #[command(after_help = "\
Where both were measured on the same held-out tasks, differences carry the interval of a paired bootstrap over those tasks.

Example:
  autodidact workflow compare self-instruct self-instruct-r16")]
    Compare(compare::CompareArgs),
}

/// Runs a workflow command.
pub(super) async fn run(command: WorkflowCommand, global: &Global) -> Result<(), Failure> {
    match command {
        WorkflowCommand::Fields { path } => fields::run(&path, global),
        WorkflowCommand::Daemon(command) => ask(command, &connect(global).await?, global).await,
    }
}

async fn ask(command: DaemonCommand, connection: &Client, global: &Global) -> Result<(), Failure> {
    let mut workflows = connection.workflows();
    let workflow = match command {
        DaemonCommand::Check { file } => return check(connection, &file, global).await,
        DaemonCommand::Submit { file, watch } => {
            return submit(connection, &file, watch, global).await;
        }
        DaemonCommand::List => return show::list(connection, global).await,
        DaemonCommand::Show { name } => return show::show(connection, name, global).await,
        DaemonCommand::Watch { name } => return watch(connection, &name, Since::Now, global).await,
        DaemonCommand::Report(args) => return report::run(connection, args, global).await,
        DaemonCommand::Lineage(args) => return lineage::run(connection, args, global).await,
        DaemonCommand::Compare(args) => return compare::run(connection, args, global).await,
        DaemonCommand::Verdicts(args) => return verdicts::run(connection, args, global).await,
        DaemonCommand::Pause { name } => {
            let request = v1::PauseWorkflowRequest {
                request_id: request_id(),
                name,
            };
            workflows.pause(request).await?.into_inner().workflow
        }
        DaemonCommand::Resume { name, new_plugins } => {
            let request = v1::ResumeWorkflowRequest {
                request_id: request_id(),
                name,
                new_plugins,
            };
            workflows.resume(request).await?.into_inner().workflow
        }
        DaemonCommand::Cancel { name } => {
            let request = v1::CancelWorkflowRequest {
                request_id: request_id(),
                name,
            };
            workflows.cancel(request).await?.into_inner().workflow
        }
    };
    tell(&workflow.unwrap_or_default(), global)
}

/// Shows the name that people and scripts read, such as `running`.
pub(crate) fn state_name(workflow: &v1::Workflow) -> String {
    workflow
        .state()
        .as_str_name()
        .trim_start_matches("WORKFLOW_STATE_")
        .to_lowercase()
}

fn tell(workflow: &v1::Workflow, global: &Global) -> Result<(), Failure> {
    if global.json {
        return output::json(&messages::of("Workflow", workflow));
    }
    let message = if workflow.message.is_empty() {
        String::new()
    } else {
        format!(": {}", workflow.message)
    };
    output::line(format!(
        "{} is {}{message}",
        workflow.name,
        state_name(workflow)
    ))
}

fn read_file(file: &std::path::Path) -> Result<String, Failure> {
    let unreadable =
        |error: std::io::Error| Failure::local(format!("read {}: {error}", file.display()));
    let mut text = String::new();
    let read = if file == std::path::Path::new("-") {
        std::io::stdin()
            .take(MAX_FILE_BYTES + 1)
            .read_to_string(&mut text)
    } else {
        std::fs::File::open(file)
            .map_err(unreadable)?
            .take(MAX_FILE_BYTES + 1)
            .read_to_string(&mut text)
    };
    match read.map_err(unreadable)? as u64 {
        0..=MAX_FILE_BYTES => Ok(text),
        _ => Err(Failure::refused(
            "TOO_LARGE",
            format!("{} has more than 1 MiB", file.display()),
        )),
    }
}

async fn check(
    connection: &Client,
    file: &std::path::Path,
    global: &Global,
) -> Result<(), Failure> {
    let yaml = read_file(file)?;
    let request = v1::CheckWorkflowRequest {
        workflow: Some(v1::check_workflow_request::Workflow::Yaml(yaml)),
    };
    let answer = connection.workflows().check(request).await?.into_inner();
    if !answer.faults.is_empty() {
        return Err(Failure::workflow_faults(
            Some(&file.display().to_string()),
            &answer.faults,
        ));
    }
    // Stdout has the workflow alone under --json, so that it can be submitted.
    for warning in &answer.warnings {
        output::note(match global.json {
            true => {
                serde_json::json!({"warning": {"code": warning.code, "message": warning.message}})
                    .to_string()
            }
            false => format!("warning: {}", warning.message),
        });
    }
    if global.json {
        return output::json(&messages::of(
            "WorkflowSpec",
            &answer.spec.unwrap_or_default(),
        ));
    }
    output::line(format!("{} has no faults", file.display()))
}

async fn submit(
    connection: &Client,
    file: &std::path::Path,
    watch_it: bool,
    global: &Global,
) -> Result<(), Failure> {
    let yaml = read_file(file)?;
    let workflow = submit_text(connection, yaml, &file.display().to_string(), global).await?;
    if watch_it {
        return watch(connection, &workflow.name, Since::Beginning, global).await;
    }
    if !global.json {
        output::note(format!(
            "follow it with: autodidact workflow watch {}",
            workflow.name
        ));
    }
    Ok(())
}

/// Submits a workflow's text, which came from `origin`, and tells its state.
pub(super) async fn submit_text(
    connection: &Client,
    yaml: String,
    origin: &str,
    global: &Global,
) -> Result<v1::Workflow, Failure> {
    let request = v1::SubmitWorkflowRequest {
        request_id: request_id(),
        workflow: Some(v1::submit_workflow_request::Workflow::Yaml(yaml)),
    };
    let answer = connection.workflows().submit(request).await;
    let answer = answer.map_err(|status| Failure::client(status.into(), Some(origin)))?;
    let workflow = answer.into_inner().workflow.unwrap_or_default();
    tell(&workflow, global)?;
    Ok(workflow)
}

/// Shows a stage's name, such as `generate`.
pub(crate) fn stage_name(stage: v1::Stage) -> String {
    stage
        .as_str_name()
        .trim_start_matches("STAGE_")
        .to_lowercase()
}

/// Follows a workflow to its end.
pub(super) async fn watch(
    connection: &Client,
    name: &str,
    since: Since,
    global: &Global,
) -> Result<(), Failure> {
    let display = if global.json {
        Display::json_lines()
    } else {
        Display::for_terminal(Language::En)
    };
    let followed = tokio::select! {
        followed = follow(connection, name, display, since) => followed,
        _ = tokio::signal::ctrl_c() => Err(Failure::interrupted(&format!(
            "no longer watching; the workflow goes on (autodidact workflow watch {name})"
        ))),
    };
    let Ended { state, message } = followed?;
    match state {
        v1::WorkflowState::Done => {
            if !global.json {
                output::line(format!(
                    "{name} is done; its report: autodidact workflow report {name}"
                ))?;
            }
            Ok(())
        }
        state => {
            let state = state.as_str_name().trim_start_matches("WORKFLOW_STATE_");
            let message = format!("{name} is {}: {message}", state.to_lowercase());
            Err(Failure::refused(
                state,
                message.trim_end_matches([':', ' ']),
            ))
        }
    }
}
