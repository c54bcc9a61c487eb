//! `autodidact workflow …`

use std::io::Read;
use std::path::PathBuf;

use autodidact_client::{Client, v1};
use clap::Subcommand;
use serde_json::json;

use super::{Failure, Global, connect, json as messages, output, request_id};
use crate::quickstart::follow::{Ended, follow};
use crate::quickstart::progress::Display;

/// The most a workflow file may hold; the daemon takes no more than a message's 4 MiB.
const MAX_FILE_BYTES: u64 = 1 << 20;

#[derive(Subcommand)]
pub(super) enum WorkflowCommand {
    /// Check a workflow file without submitting it
    #[command(after_help = "Example:\n  autodidact workflow check self-instruct.yaml")]
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
    /// Let a paused or failed workflow go on from its last step
    Resume {
        /// The workflow's name
        name: String,
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
    Verdicts {
        /// The workflow's name
        name: String,
        /// Those of one round
        #[arg(long)]
        round: Option<u32>,
        /// Those of one stage, such as filter
        #[arg(long, value_parser = parse_stage)]
        stage: Option<v1::Stage>,
        /// Drops only
        #[arg(long)]
        dropped: bool,
        /// Those with one reason code, such as near_duplicate
        #[arg(long)]
        reason: Option<String>,
    },
    /// Print a workflow's latest report, as Markdown or with --json as JSON
    #[command(
        after_help = "Example:\n  autodidact workflow report self-instruct --json | jq .evaluations"
    )]
    Report {
        /// The workflow's name
        name: String,
    },
}

/// Runs a workflow command.
pub(super) async fn run(command: WorkflowCommand, global: &Global) -> Result<(), Failure> {
    let connection = connect(global).await?;
    let mut workflows = connection.workflows();
    let workflow = match command {
        WorkflowCommand::Check { file } => return check(&connection, &file, global).await,
        WorkflowCommand::Submit { file, watch } => {
            return submit(&connection, &file, watch, global).await;
        }
        WorkflowCommand::List => return list(&connection, global).await,
        WorkflowCommand::Show { name } => return show(&connection, name, global).await,
        WorkflowCommand::Watch { name } => return watch(&connection, &name, global).await,
        WorkflowCommand::Report { name } => return report(&connection, name, global).await,
        WorkflowCommand::Verdicts {
            name,
            round,
            stage,
            dropped,
            reason,
        } => {
            let decision = if dropped {
                v1::Decision::Drop
            } else {
                v1::Decision::Unspecified
            };
            let request = v1::ListVerdictsRequest {
                workflow: name,
                page_size: 0,
                page_token: String::new(),
                round,
                stage: stage.unwrap_or_default().into(),
                decision: decision.into(),
                reason: reason.unwrap_or_default(),
            };
            return verdicts(&connection, request, global).await;
        }
        WorkflowCommand::Pause { name } => {
            let request = v1::PauseWorkflowRequest {
                request_id: request_id(),
                name,
            };
            workflows.pause(request).await?.into_inner().workflow
        }
        WorkflowCommand::Resume { name } => {
            let request = v1::ResumeWorkflowRequest {
                request_id: request_id(),
                name,
            };
            workflows.resume(request).await?.into_inner().workflow
        }
        WorkflowCommand::Cancel { name } => {
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
    let request = v1::SubmitWorkflowRequest {
        request_id: request_id(),
        workflow: Some(v1::submit_workflow_request::Workflow::Yaml(yaml)),
    };
    let answer = connection.workflows().submit(request).await;
    let answer = answer
        .map_err(|status| Failure::client(status.into(), Some(&file.display().to_string())))?;
    let workflow = answer.into_inner().workflow.unwrap_or_default();
    tell(&workflow, global)?;
    if watch_it {
        return watch(connection, &workflow.name, global).await;
    }
    if !global.json {
        output::note(format!(
            "follow it with: autodidact workflow watch {}",
            workflow.name
        ));
    }
    Ok(())
}

async fn list(connection: &Client, global: &Global) -> Result<(), Failure> {
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListWorkflowsRequest {
            page_size: 0,
            page_token,
        };
        let page = connection.workflows().list(request).await?.into_inner();
        all.extend(page.workflows);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if global.json {
        return output::json(&messages::list("Workflow", &all));
    }
    let row = |w: &v1::Workflow| {
        vec![
            w.name.clone(),
            state_name(w),
            output::time(w.updated_ms),
            w.message.clone(),
        ]
    };
    output::table(
        &["NAME", "STATE", "SINCE (UTC)", "MESSAGE"],
        &all.iter().map(row).collect::<Vec<_>>(),
    )
}

async fn show(connection: &Client, name: String, global: &Global) -> Result<(), Failure> {
    let answer = connection
        .workflows()
        .get(v1::GetWorkflowRequest { name })
        .await?
        .into_inner();
    let workflow = answer.workflow.unwrap_or_default();
    if global.json {
        let stages = messages::list("StageProgress", &answer.stages);
        return output::json(
            &json!({"workflow": messages::of("Workflow", &workflow), "stages": stages}),
        );
    }
    let pinned = workflow.pinned.clone().unwrap_or_default();
    let version = |d: &Option<v1::Dataset>| {
        d.as_ref().map_or_else(
            || "none".to_string(),
            |d| format!("{}@{} ({} records)", d.name, d.version, d.records),
        )
    };
    output::facts(&[
        ("name", workflow.name.clone()),
        ("state", state_name(&workflow)),
        ("message", workflow.message.clone()),
        (
            "model",
            pinned
                .model
                .as_ref()
                .map(|model| model.name.clone())
                .unwrap_or_default(),
        ),
        ("seeds", version(&pinned.seeds)),
        ("held out", version(&pinned.held_out)),
        ("submitted", output::time(workflow.created_ms)),
        ("changed", output::time(workflow.updated_ms)),
    ])?;
    output::line("")?;
    let row = |s: &v1::StageProgress| {
        vec![
            s.round.to_string(),
            stage_name(s.stage()),
            format!("{}/{}", s.done, s.total),
            s.kept.to_string(),
            s.dropped.to_string(),
            if s.finished { "yes" } else { "no" }.to_string(),
        ]
    };
    let rows: Vec<_> = answer.stages.iter().map(row).collect();
    output::table(
        &["ROUND", "STAGE", "DONE", "KEPT", "DROPPED", "FINISHED"],
        &rows,
    )
}

/// Shows a stage's name, such as `generate`.
pub(crate) fn stage_name(stage: v1::Stage) -> String {
    stage
        .as_str_name()
        .trim_start_matches("STAGE_")
        .to_lowercase()
}

async fn watch(connection: &Client, name: &str, global: &Global) -> Result<(), Failure> {
    let display = if global.json {
        Display::json_lines()
    } else {
        Display::for_terminal()
    };
    let followed = tokio::select! {
        followed = follow(connection, name, display) => followed,
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

fn parse_stage(name: &str) -> Result<v1::Stage, String> {
    v1::Stage::from_str_name(&format!("STAGE_{}", name.to_uppercase()))
        .filter(|stage| *stage != v1::Stage::Unspecified)
        .ok_or_else(|| format!("no stage is called {name:?}"))
}

async fn verdicts(
    connection: &Client,
    mut request: v1::ListVerdictsRequest,
    global: &Global,
) -> Result<(), Failure> {
    let mut all = Vec::new();
    loop {
        let page = connection
            .workflows()
            .list_verdicts(request.clone())
            .await?
            .into_inner();
        all.extend(page.verdicts);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    if global.json {
        return output::json(&json!({"verdicts": messages::list("Verdict", &all)}));
    }
    let row = |v: &v1::Verdict| {
        let evidence = v.evidence.clone().unwrap_or_default();
        let score = evidence
            .score
            .map(|score| format!("{score:.3} "))
            .unwrap_or_default();
        let near = evidence.nearest_text.or(evidence.note).unwrap_or_default();
        let line = |text: &str| {
            text.split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
                .chars()
                .take(60)
                .collect()
        };
        vec![
            v.round.to_string(),
            stage_name(v.stage()),
            v.reason.clone(),
            v.rule
                .as_ref()
                .map(|rule| format!("{} {}", rule.name, rule.version))
                .unwrap_or_default(),
            line(&v.text),
            line(&format!("{score}{near}")),
        ]
    };
    output::table(
        &["ROUND", "STAGE", "REASON", "RULE", "RECORD", "EVIDENCE"],
        &all.iter().map(row).collect::<Vec<_>>(),
    )
}

async fn report(connection: &Client, name: String, global: &Global) -> Result<(), Failure> {
    let answer = connection
        .workflows()
        .report(v1::ReportWorkflowRequest { name })
        .await?
        .into_inner();
    output::line(
        (if global.json {
            answer.json
        } else {
            answer.markdown
        })
        .trim_end(),
    )
}
