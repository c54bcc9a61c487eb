//! The quickstart: a client of a daemon of its own, that shows a model teaching itself.

pub(crate) mod follow;
pub(crate) mod progress;
mod summary;
mod template;

use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use autodidact_client::{Client, ClientError, Target, v1};
use autodidact_domain::Report;
use autodidact_proto::v1::{ErrorReason, WorkflowState};
use indicatif::ProgressBar;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{self, Failure, Global, flag, output, request_id};
use crate::config::{self, Config};
use crate::model_source::known;
use crate::paths;
use crate::serve::Daemon;
use crate::shutdown::EXIT_INTERRUPTED;
use crate::telemetry;
use follow::{Ended, follow};
use progress::Display;
use summary::{Places, render};

/// The datasets, carried in the binary so that it works anywhere.
const DATASETS: [(&str, &str, &[u8]); 2] = [
    (
        "seeds-en",
        "seeds-en.jsonl",
        include_bytes!("../../examples/data/seeds-en.jsonl"),
    ),
    (
        "heldout-en",
        "heldout-en.jsonl",
        include_bytes!("../../examples/data/heldout-en.jsonl"),
    ),
];

/// What was asked for.
pub(crate) struct QuickstartOptions {
    /// The language to work in.
    pub(crate) lang: String,
    /// How many rounds to run.
    pub(crate) rounds: u32,
    /// The model, known or registered.
    pub(crate) model: String,
    /// Whether to start anew under a new name.
    pub(crate) fresh: bool,
}

/// Runs the quickstart, or goes on with the last one.
///
/// # Errors
/// When a part fails; what was done so far stays, and the next run goes on from there.
pub(crate) async fn run(options: &QuickstartOptions, global: &Global) -> Result<(), Failure> {
    if options.lang == "zh" {
        return Err(Failure::refused(
            "UNSUPPORTED",
            "--lang zh 需要多语言模型，目前还不支持；请先使用 --lang en。\n--lang zh needs a multilingual model, which is not supported yet; use --lang en for now.",
        ));
    }
    let mut settings = global.settings();
    if global.data_dir.is_none() {
        let data_dir = paths::quickstart_data_dir(&paths::process_environment);
        settings.push(flag("data_dir", "--data-dir", data_dir.to_string_lossy()));
    }
    let config = Config::load(
        &settings,
        global.config.as_deref(),
        &config::process_variables(),
    )?;
    let data_dir = config.data_dir.clone();
    output::note(format!("data directory: {}", data_dir.display()));

    let target = Target::Unix(config.socket.clone());
    // A daemon that works there already is as good as one of our own.
    let running = Client::connect(&target).await;
    let (client, daemon) = match running {
        Ok(client) => {
            output::note("a daemon runs there already and is used");
            (client, None)
        }
        Err(_) => {
            let log_file = data_dir.join("quickstart.log");
            telemetry::log_to_file(&config.log, &log_file)?;
            output::note(format!("log:            {}", log_file.display()));
            let daemon = Daemon::start(config).await?;
            (Client::connect(&target).await?, Some(daemon))
        }
    };
    let outcome = tokio::select! {
        outcome = teach(&client, options, &data_dir, global) => outcome,
        signalled = interrupted() => signalled,
    };
    if let Some(daemon) = daemon {
        tokio::select! {
            _ = daemon.stop() => {}
            // The second signal does not wait; what was committed is safe.
            _ = interrupted() => std::process::exit(i32::from(EXIT_INTERRUPTED)),
        }
    }
    outcome
}

/// Waits for a signal; says what it means for the run.
async fn interrupted() -> Result<(), Failure> {
    let mut interrupt =
        signal(SignalKind::interrupt()).map_err(|error| Failure::local(error.to_string()))?;
    let mut terminate =
        signal(SignalKind::terminate()).map_err(|error| Failure::local(error.to_string()))?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Err(Failure::interrupted(
        "interrupted; the run is safe, and the same command goes on where it stopped",
    ))
}

async fn teach(
    client: &Client,
    options: &QuickstartOptions,
    data_dir: &Path,
    global: &Global,
) -> Result<(), Failure> {
    let existing = existing_runs(client).await?;
    let last = existing
        .last()
        .filter(|run| !options.fresh && run.state() != WorkflowState::Cancelled);
    let name = match last {
        Some(run) => {
            go_on(client, run, options).await?;
            if run.state() == WorkflowState::Done {
                return show_report(client, &run.name, data_dir, global).await;
            }
            run.name.clone()
        }
        None => {
            fetch_model(client, &options.model).await?;
            import_datasets(client).await?;
            let name = template::next_name(existing.last().map(|run| run.name.as_str()));
            submit(client, &name, options).await?;
            output::note(format!(
                "{name}: a new run of {} round(s) on {}",
                options.rounds, options.model
            ));
            name
        }
    };
    let Ended { state, message } = follow(client, &name, Display::for_terminal()).await?;
    match state {
        WorkflowState::Done => show_report(client, &name, data_dir, global).await,
        state => {
            let state = state.as_str_name().trim_start_matches("WORKFLOW_STATE_");
            let advice = "run the same command again to go on, or with --fresh to start anew";
            Err(Failure::refused(
                state,
                format!("{name} is {}: {message}; {advice}", state.to_lowercase()),
            ))
        }
    }
}

/// Finds the quickstart's runs in the order they were started.
async fn existing_runs(client: &Client) -> Result<Vec<v1::Workflow>, Failure> {
    let mut runs = Vec::new();
    let mut page_token = String::new();
    loop {
        let page = client
            .workflows()
            .list(v1::ListWorkflowsRequest {
                page_size: 0,
                page_token,
            })
            .await?
            .into_inner();
        runs.extend(
            page.workflows
                .into_iter()
                .filter_map(|run| Some((template::number_of(&run.name)?, run))),
        );
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    runs.sort_by_key(|(number, _)| *number);
    Ok(runs.into_iter().map(|(_, run)| run).collect())
}

/// Says what happens with a run that is there already, and lets it go on where it needs that.
async fn go_on(
    client: &Client,
    run: &v1::Workflow,
    options: &QuickstartOptions,
) -> Result<(), Failure> {
    let name = &run.name;
    let fresh = "--fresh starts a new one";
    match run.state() {
        WorkflowState::Done => output::note(format!(
            "{name} is done already; here is its report. {fresh}."
        )),
        WorkflowState::Paused | WorkflowState::Failed => {
            let request = v1::ResumeWorkflowRequest {
                request_id: request_id(),
                name: name.clone(),
            };
            client.workflows().resume(request).await?;
            output::note(format!(
                "{name} was {}; it goes on from its last step ({fresh})",
                cli::state_name(run)
            ));
        }
        _ => output::note(format!(
            "{name} is not finished; it goes on from its last step ({fresh})"
        )),
    }
    let spec = run.spec.clone().unwrap_or_default();
    if spec.rounds() != options.rounds || spec.model() != options.model {
        output::note(format!(
            "it was started with {} round(s) on {}, and stays so",
            spec.rounds(),
            spec.model()
        ));
    }
    Ok(())
}

async fn fetch_model(client: &Client, name: &str) -> Result<(), Failure> {
    match client
        .models()
        .get(v1::GetModelRequest {
            name: name.to_string(),
        })
        .await
    {
        Ok(_) => return Ok(()),
        Err(status) => {
            let error = ClientError::from(status);
            if error.failure().reason != Some(ErrorReason::NotFound) {
                return Err(error.into());
            }
        }
    }
    if let Some(known) = known::find(name) {
        output::note(format!(
            "model:          {name} ({} MB to fetch unless it is cached; licence {})",
            known.download_mb, known.licence
        ));
    }
    if !std::io::stderr().is_terminal() {
        cli::add_model(client, name, "", None, &mut |line| output::note(line)).await?;
        return Ok(());
    }
    let spinner = ProgressBar::new_spinner();
    spinner.enable_steady_tick(Duration::from_millis(100));
    let added = cli::add_model(client, name, "", None, &mut |line| {
        spinner.set_message(line.to_string())
    })
    .await;
    spinner.finish_and_clear();
    added.map(|_| ())
}

async fn import_datasets(client: &Client) -> Result<(), Failure> {
    for (dataset, file_name, content) in DATASETS {
        let answer = client
            .import_dataset(dataset, file_name, content.to_vec(), &request_id())
            .await?;
        let made = answer.dataset.ok_or_else(|| {
            Failure::local(format!(
                "the daemon could not read the built-in {file_name}; it is of another version"
            ))
        })?;
        output::note(format!(
            "dataset:        {dataset}@{} with {} tasks",
            made.version, made.records
        ));
    }
    Ok(())
}

async fn submit(client: &Client, name: &str, options: &QuickstartOptions) -> Result<(), Failure> {
    let yaml = template::workflow(name, options.rounds, &options.model);
    let request = v1::SubmitWorkflowRequest {
        request_id: request_id(),
        workflow: Some(v1::submit_workflow_request::Workflow::Yaml(yaml)),
    };
    client.workflows().submit(request).await?;
    Ok(())
}

async fn show_report(
    client: &Client,
    name: &str,
    data_dir: &Path,
    global: &Global,
) -> Result<(), Failure> {
    let answer = client
        .workflows()
        .report(v1::ReportWorkflowRequest {
            name: name.to_string(),
        })
        .await?
        .into_inner();
    if global.json {
        return output::line(answer.json.trim_end());
    }
    let report: Report = serde_json::from_str(&answer.json)
        .map_err(|error| Failure::local(format!("read the daemon's report: {error}")))?;
    let workflow = client
        .workflows()
        .get(v1::GetWorkflowRequest {
            name: name.to_string(),
        })
        .await?
        .into_inner();
    let model = workflow
        .workflow
        .and_then(|workflow| workflow.spec)
        .unwrap_or_default()
        .model()
        .to_string();
    let (program, data_dir) = (program(), data_dir.display());
    let adapter = report
        .adapter
        .as_ref()
        .map(|adapter| format!(" --adapter {adapter}"))
        .unwrap_or_default();
    let chat_command =
        format!("{program} model chat {model}{adapter} --start --data-dir {data_dir}");
    let export_command = report.dataset.as_ref().map(|dataset| {
        let name = dataset.split('@').next().unwrap_or(dataset);
        format!("{program} dataset export {name} --out {name}.jsonl --start --data-dir {data_dir}")
    });
    let places = Places {
        report_folder: &answer.folder,
        chat_command: &chat_command,
        export_command,
    };
    output::text(&render(&report, &places))
}

/// Names this program the way it can be called again from here.
fn program() -> String {
    let Ok(path) = std::env::current_exe() else {
        return "autodidact".to_string();
    };
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here)
        .unwrap_or(&path)
        .display()
        .to_string()
}
