//! `autodidact dataset …`

mod preview;

use std::io::Read;
use std::path::{Path, PathBuf};

use autodidact_client::{Client, v1};
use autodidact_proto::json as messages;
use clap::{Args, Subcommand};
use serde_json::json;

use super::connect::{Starting, with_client};
use super::{Failure, Global, output, request_id};

/// The largest file that is sent; the daemon has its own, lower bound.
const MAX_SENT_BYTES: u64 = 1 << 30;

#[derive(Subcommand)]
pub(super) enum DatasetCommand {
    /// Read files into new versions of a dataset
    #[command(after_help = "\
The format is found out from the content: Alpaca, Self-Instruct seeds, chat messages, plain
texts, texts with a label or words with a tag each, as JSON or JSON Lines.

Example:
  autodidact dataset import seeds my-seeds.jsonl")]
    Import {
        /// The dataset; it is made where it does not exist
        dataset: String,
        /// The files, each a version of its own; - for stdin
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// List the datasets
    List,
    /// Show a version's facts and its first records
    Show {
        /// The dataset
        name: String,
        /// The version [default: the newest]
        #[arg(long)]
        version: Option<u32>,
        /// How many records to show
        #[arg(long, default_value_t = 3)]
        records: u32,
    },
    /// Show what a training run would train on, and what it would leave out
    Preview(preview::PreviewArgs),
    /// Write a version to a file
    #[command(
        after_help = "Example:\n  autodidact dataset export seeds --format alpaca --out seeds.jsonl"
    )]
    Export(ExportArgs),
    /// Remove a dataset with all its versions
    Delete {
        /// The dataset
        name: String,
    },
}

/// What is written where.
#[derive(Args)]
pub(super) struct ExportArgs {
    /// The dataset
    name: String,
    /// The version [default: the newest]
    #[arg(long)]
    version: Option<u32>,
    /// The format: alpaca, seeds, chat, text, labelled or tagged
    #[arg(long, default_value = "alpaca")]
    format: String,
    /// The file, or - for stdout
    #[arg(long, default_value = "-")]
    out: PathBuf,
    /// Start a daemon in this process for as long as it takes, where none runs
    #[arg(long)]
    start: bool,
}

/// Runs a dataset command.
pub(super) async fn run(command: DatasetCommand, global: &Global) -> Result<(), Failure> {
    let starting = match &command {
        DatasetCommand::Export(args) => Starting::of_flag(args.start),
        _ => Starting::Never,
    };
    with_client(global, starting, async |client| {
        ask(client, command, global).await
    })
    .await
}

async fn ask(connection: &Client, command: DatasetCommand, global: &Global) -> Result<(), Failure> {
    match command {
        DatasetCommand::Export(args) => export(connection, args, global).await,
        DatasetCommand::Import { dataset, files } => {
            import(connection, &dataset, &files, global).await
        }
        DatasetCommand::List => list(connection, global).await,
        DatasetCommand::Preview(args) => preview::run(connection, args, global).await,
        DatasetCommand::Show {
            name,
            version,
            records,
        } => show(connection, name, version, records, global).await,
        DatasetCommand::Delete { name } => {
            let request = v1::DeleteDatasetRequest {
                request_id: request_id(),
                name: name.clone(),
            };
            connection.datasets().delete(request).await?;
            if global.json {
                output::json(&json!({"deleted": name}))
            } else {
                output::line(format!("{name} is deleted"))
            }
        }
    }
}

async fn import(
    connection: &Client,
    dataset: &str,
    files: &[PathBuf],
    global: &Global,
) -> Result<(), Failure> {
    let mut refused_whole = Vec::new();
    for file in files {
        let name = file
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let answer = connection
            .import_dataset(dataset, &name, read_bounded(file)?, &request_id())
            .await?;
        let report = answer.report.clone().unwrap_or_default();
        if global.json {
            output::json_line(&messages::of("FileReport", &report))?;
        } else {
            tell_import(&answer, &report)?;
        }
        if answer.dataset.is_none() {
            refused_whole.push(file.display().to_string());
        }
    }
    if refused_whole.is_empty() {
        return Ok(());
    }
    let message = format!("no record could be taken from {}", refused_whole.join(", "));
    Err(Failure::refused("INVALID_ARGUMENT", message))
}

fn tell_import(answer: &v1::ImportDatasetResponse, report: &v1::FileReport) -> Result<(), Failure> {
    if let Some(dataset) = &answer.dataset {
        let how = if answer.already_present {
            "was there already as"
        } else {
            "became"
        };
        output::line(format!(
            "{} {how} {}@{}: {} records ({} accepted, {} refused)",
            report.file,
            dataset.name,
            dataset.version,
            dataset.records,
            report.accepted,
            report.refused
        ))?;
    }
    const SHOWN: usize = 10;
    for fault in report.errors.iter().take(SHOWN) {
        output::note(format!(
            "{}:{}: {}: expected {}, found {}",
            report.file, fault.line, fault.reason, fault.expected, fault.found
        ));
    }
    if report.refused > SHOWN as u64 {
        output::note(format!(
            "… and {} more; --json names them",
            report.refused - SHOWN as u64
        ));
    }
    for workflow in &answer.started_workflows {
        output::line(format!("started workflow {workflow}"))?;
    }
    Ok(())
}

async fn list(connection: &Client, global: &Global) -> Result<(), Failure> {
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        let page = connection
            .datasets()
            .list(v1::ListDatasetsRequest {
                page_size: 0,
                page_token,
            })
            .await?
            .into_inner();
        all.extend(page.datasets);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if global.json {
        return output::json(&messages::list("Dataset", &all));
    }
    let row = |d: &v1::Dataset| {
        vec![
            d.name.clone(),
            d.version.to_string(),
            d.records.to_string(),
            output::time(d.created_ms),
            d.source.clone(),
            d.digest.chars().take(12).collect(),
        ]
    };
    let headings = ["NAME", "VERSION", "RECORDS", "MADE (UTC)", "FROM", "DIGEST"];
    output::table(&headings, &all.iter().map(row).collect::<Vec<_>>())
}

async fn show(
    connection: &Client,
    name: String,
    version: Option<u32>,
    records: u32,
    global: &Global,
) -> Result<(), Failure> {
    let request = v1::GetDatasetRequest {
        name: name.clone(),
        version,
    };
    let dataset = connection
        .datasets()
        .get(request)
        .await?
        .into_inner()
        .dataset
        .unwrap_or_default();
    let shown = if records == 0 {
        Vec::new()
    } else {
        let request = v1::ListRecordsRequest {
            dataset: name,
            version: Some(dataset.version),
            page_size: records.min(1000),
            page_token: String::new(),
        };
        connection
            .datasets()
            .list_records(request)
            .await?
            .into_inner()
            .records
    };
    if global.json {
        let records = messages::list("Example", &shown);
        return output::json(
            &json!({"dataset": messages::of("Dataset", &dataset), "records": records}),
        );
    }
    output::facts(&[
        ("name", dataset.name),
        ("version", dataset.version.to_string()),
        ("records", dataset.records.to_string()),
        ("digest", dataset.digest),
        ("made (UTC)", output::time(dataset.created_ms)),
        ("from", dataset.source),
    ])?;
    for record in &shown {
        output::line("")?;
        tell_record(record)?;
    }
    Ok(())
}

/// Shows what a record says.
pub(super) fn tell_record(record: &v1::Example) -> Result<(), Failure> {
    match &record.body {
        Some(v1::example::Body::Instruction(body)) => {
            output::line(format!("instruction: {}", body.instruction))?;
            if let Some(input) = &body.input {
                output::line(format!("input:       {input}"))?;
            }
            if let Some(answer) = &body.output {
                output::line(format!("output:      {answer}"))?;
            }
            Ok(())
        }
        Some(v1::example::Body::Chat(body)) => {
            for turn in &body.messages {
                let role = turn
                    .role()
                    .as_str_name()
                    .trim_start_matches("ROLE_")
                    .to_lowercase();
                output::line(format!("{role}: {}", turn.content))?;
            }
            Ok(())
        }
        Some(v1::example::Body::Text(text)) => output::line(format!("text: {text}")),
        Some(v1::example::Body::Labelled(body)) => {
            output::line(format!("text:  {}", body.text))?;
            output::line(format!("label: {}", body.label))
        }
        Some(v1::example::Body::Tagged(body)) => {
            output::line(format!("words: {}", body.tokens.join(" ")))?;
            output::line(format!("tags:  {}", body.tags.join(" ")))
        }
        None => output::line("(a record of a kind that this version does not know)"),
    }
}

async fn export(connection: &Client, args: ExportArgs, global: &Global) -> Result<(), Failure> {
    let out = args.out.as_path();
    let exported = connection
        .export_dataset(&args.name, args.version, &args.format)
        .await?;
    if out == Path::new("-") {
        return output::bytes(&exported.bytes);
    }
    crate::files::write_atomically(out, &exported.bytes)
        .map_err(|error| Failure::local(format!("write {}: {error}", out.display())))?;
    let dataset = exported.header.dataset.unwrap_or_default();
    if global.json {
        return output::json(&messages::of("Dataset", &dataset));
    }
    output::note(format!(
        "{}@{} is written to {}",
        dataset.name,
        dataset.version,
        out.display()
    ));
    Ok(())
}

/// Reads a file that is sent whole.
pub(super) fn read_bounded(path: &Path) -> Result<Vec<u8>, Failure> {
    let unreadable =
        |error: std::io::Error| Failure::local(format!("read {}: {error}", path.display()));
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        let read = std::io::stdin()
            .take(MAX_SENT_BYTES + 1)
            .read_to_end(&mut bytes);
        return match read.map_err(unreadable)? as u64 {
            0..=MAX_SENT_BYTES => Ok(bytes),
            _ => Err(Failure::refused("TOO_LARGE", "at most 1 GiB is sent")),
        };
    }
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_SENT_BYTES {
        let message = format!(
            "{} has {}; at most 1 GiB is sent",
            path.display(),
            output::size(size)
        );
        return Err(Failure::refused("TOO_LARGE", message));
    }
    std::fs::read(path).map_err(unreadable)
}
