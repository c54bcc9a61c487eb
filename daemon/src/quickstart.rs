//! The quickstart: a client of a daemon of its own, that shows a model teaching itself.

pub(crate) mod follow;
pub(crate) mod progress;
mod summary;
mod template;

use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use autodidact_client::{Client, ClientError, Target, v1};
use autodidact_domain::{Language, Report};
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
use follow::{Ended, Since, follow};
use progress::{Display, state_name};
use summary::{Places, render};
use template::Template;

/// What was asked for.
pub(crate) struct QuickstartOptions {
    /// The language to work and to speak in.
    pub(crate) language: Language,
    /// How many rounds to run.
    pub(crate) rounds: u32,
    /// The model, known or registered; none takes the one that the language's workflow is sized for.
    pub(crate) model: Option<String>,
    /// Whether to start anew under a new name.
    pub(crate) fresh: bool,
}

impl QuickstartOptions {
    fn template(&self) -> &'static Template {
        Template::of(self.language)
    }

    fn model(&self) -> &str {
        self.model.as_deref().unwrap_or(self.template().model)
    }
}

/// Runs the quickstart, or goes on with the last one.
///
/// # Errors
/// When a part fails; what was done so far stays, and the next run goes on from there.
pub(crate) async fn run(options: &QuickstartOptions, global: &Global) -> Result<(), Failure> {
    let language = options.language;
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
    let shown = data_dir.display();
    output::note(language.pick(
        format!("data directory: {shown}"),
        format!("数据目录：{shown}"),
    ));

    let target = Target::Unix(config.socket.clone());
    // A daemon that works there already is as good as one of our own.
    let running = Client::connect(&target).await;
    let (client, daemon) = match running {
        Ok(client) => {
            output::note(language.pick(
                "a daemon runs there already and is used",
                "那里已有守护进程在运行，直接使用",
            ));
            (client, None)
        }
        Err(_) => {
            let log_file = data_dir.join("quickstart.log");
            telemetry::log_to_file(&config.log, &log_file)?;
            let shown = log_file.display();
            output::note(language.pick(
                format!("log:            {shown}"),
                format!("日志：    {shown}"),
            ));
            let daemon = Daemon::start(config).await?;
            (Client::connect(&target).await?, Some(daemon))
        }
    };
    let outcome = tokio::select! {
        outcome = teach(&client, options, &data_dir, global) => outcome,
        signalled = interrupted(language) => signalled,
    };
    if let Some(daemon) = daemon {
        tokio::select! {
            _ = daemon.stop() => {}
            // The second signal does not wait; what was committed is safe.
            _ = interrupted(language) => std::process::exit(i32::from(EXIT_INTERRUPTED)),
        }
    }
    outcome
}

/// Waits for a signal; says what it means for the run.
async fn interrupted(language: Language) -> Result<(), Failure> {
    let mut interrupt =
        signal(SignalKind::interrupt()).map_err(|error| Failure::local(error.to_string()))?;
    let mut terminate =
        signal(SignalKind::terminate()).map_err(|error| Failure::local(error.to_string()))?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Err(Failure::interrupted(language.pick(
        "interrupted; the run is safe, and the same command goes on where it stopped",
        "已中断；运行已安全保存，再次执行同一命令即可从中断处继续",
    )))
}

async fn teach(
    client: &Client,
    options: &QuickstartOptions,
    data_dir: &Path,
    global: &Global,
) -> Result<(), Failure> {
    let language = options.language;
    let template = options.template();
    let existing = existing_runs(client, template).await?;
    let last = existing
        .last()
        .filter(|run| !options.fresh && run.state() != WorkflowState::Cancelled);
    let name = match last {
        Some(run) => {
            go_on(client, run, options).await?;
            if run.state() == WorkflowState::Done {
                return show_report(client, options, &run.name, data_dir, global).await;
            }
            run.name.clone()
        }
        None => {
            fetch_model(client, options).await?;
            import_datasets(client, options).await?;
            let name = template.next_name(existing.last().map(|run| run.name.as_str()));
            submit(client, &name, options).await?;
            let (rounds, model) = (options.rounds, options.model());
            output::note(language.pick(
                format!("{name}: a new run of {rounds} round(s) on {model}"),
                format!("{name}：新的运行，共 {rounds} 轮，模型 {model}"),
            ));
            name
        }
    };
    let Ended { state, message } =
        follow(client, &name, Display::for_terminal(language), Since::Now).await?;
    match state {
        WorkflowState::Done => show_report(client, options, &name, data_dir, global).await,
        state => {
            let reason = state.as_str_name().trim_start_matches("WORKFLOW_STATE_");
            let state = state_name(language, state);
            Err(Failure::refused(
                reason,
                language.pick(
                    format!("{name} is {state}: {message}; run the same command again to go on, or with --fresh to start anew"),
                    format!("{name} {state}：{message}；再次执行同一命令可继续，加 --fresh 可重新开始"),
                ),
            ))
        }
    }
}

/// Finds the quickstart's runs in the order they were started.
async fn existing_runs(client: &Client, template: &Template) -> Result<Vec<v1::Workflow>, Failure> {
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
                .filter_map(|run| Some((template.number_of(&run.name)?, run))),
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
    let language = options.language;
    match run.state() {
        WorkflowState::Done => output::note(language.pick(
            format!("{name} is done already; here is its report. --fresh starts a new one."),
            format!("{name} 已经完成，报告如下。加 --fresh 可开始新的运行。"),
        )),
        WorkflowState::Paused | WorkflowState::Failed => {
            let request = v1::ResumeWorkflowRequest {
                request_id: request_id(),
                name: name.clone(),
                new_plugins: false,
            };
            client.workflows().resume(request).await?;
            let state = state_name(language, run.state());
            output::note(language.pick(
                format!(
                    "{name} was {state}; it goes on from its last step (--fresh starts a new one)"
                ),
                format!("{name} {state}，将从最后一步继续（加 --fresh 可开始新的运行）"),
            ));
        }
        _ => output::note(language.pick(
            format!(
                "{name} is not finished; it goes on from its last step (--fresh starts a new one)"
            ),
            format!("{name} 尚未完成，将从最后一步继续（加 --fresh 可开始新的运行）"),
        )),
    }
    let spec = run.spec.clone().unwrap_or_default();
    let (rounds, model) = (spec.rounds(), spec.model());
    let other_model = options.model.as_deref().is_some_and(|asked| asked != model);
    if rounds != options.rounds || other_model {
        output::note(language.pick(
            format!("it was started with {rounds} round(s) on {model}, and stays so"),
            format!("它启动时为 {rounds} 轮，模型 {model}，保持不变"),
        ));
    }
    Ok(())
}

async fn fetch_model(client: &Client, options: &QuickstartOptions) -> Result<(), Failure> {
    let name = options.model();
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
        let (size, licence) = (known.download_mb, known.licence);
        output::note(options.language.pick(
            format!(
                "model:          {name} ({size} MB to fetch unless it is cached; licence {licence})"
            ),
            format!("模型：    {name}（若无缓存需下载 {size} MB；许可证 {licence}）"),
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

async fn import_datasets(client: &Client, options: &QuickstartOptions) -> Result<(), Failure> {
    for (dataset, file_name, content) in options.template().datasets {
        let answer = client
            .import_dataset(dataset, file_name, content.to_vec(), &request_id())
            .await?;
        let made = answer.dataset.ok_or_else(|| {
            Failure::local(format!(
                "the daemon could not read the built-in {file_name}; it is of another version"
            ))
        })?;
        let (version, records) = (made.version, made.records);
        output::note(options.language.pick(
            format!("dataset:        {dataset}@{version} with {records} tasks"),
            format!("数据集：  {dataset}@{version}，{records} 条任务"),
        ));
    }
    Ok(())
}

async fn submit(client: &Client, name: &str, options: &QuickstartOptions) -> Result<(), Failure> {
    let yaml = options
        .template()
        .workflow(name, options.rounds, options.model());
    let request = v1::SubmitWorkflowRequest {
        request_id: request_id(),
        workflow: Some(v1::submit_workflow_request::Workflow::Yaml(yaml)),
    };
    client.workflows().submit(request).await?;
    Ok(())
}

async fn show_report(
    client: &Client,
    options: &QuickstartOptions,
    name: &str,
    data_dir: &Path,
    global: &Global,
) -> Result<(), Failure> {
    let answer = client
        .workflows()
        .report(v1::ReportWorkflowRequest {
            name: name.to_string(),
            format: v1::ReportFormat::Json.into(),
            language: String::new(),
        })
        .await?
        .into_inner();
    if global.json {
        return output::line(answer.json.trim_end());
    }
    let mut report: Report = serde_json::from_str(&answer.json)
        .map_err(|error| Failure::local(format!("read the daemon's report: {error}")))?;
    report.language = options.language;
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
