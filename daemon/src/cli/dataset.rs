//! `autodidact dataset …`

mod dedup;
mod diff;
mod duplicates;
mod filter;
mod preview;
mod source;
mod stats;

use std::io::Read;
use std::path::{Path, PathBuf};

use autodidact_client::{Client, v1};
use autodidact_formats::FORMAT_NAMES;
use autodidact_proto::json as messages;
use clap::{Args, Subcommand};
use serde_json::json;

use super::connect::{Starting, with_client};
use super::{Failure, Global, output, request_id};

/// The largest file that is sent; the daemon has its own, lower bound.
const MAX_SENT_BYTES: u64 = 1 << 30;

#[derive(Subcommand)]
pub(super) enum DatasetCommand {
    #[command(flatten)]
    Daemon(DaemonCommand),
    #[command(flatten)]
    Records(RecordsCommand),
}

/// What looks at records, of a stored dataset or of a file: without a daemon where they are files.
#[derive(Subcommand)]
pub(super) enum RecordsCommand {
    /// Count what a dataset or file is made of: languages, task types, topics, lengths, duplicates, first words
    Stats(stats::StatsArgs),
    /// Compare two datasets, versions or files record by record
    Diff(diff::DiffArgs),
    /// Drop the records of a dataset or file that repeat others, word for word or nearly
    Dedup(dedup::DedupArgs),
}

/// What is asked of a daemon.
#[derive(Subcommand)]
pub(super) enum DaemonCommand {
    /// Read files into new versions of a dataset
    #[command(after_help = "\
What a file is, is found out from its content: Alpaca, Self-Instruct seeds, chat messages, ShareGPT, prompts with completions,
preferences (the chosen answer is taken), questions with answers (GSM8K), inputs with targets, plain texts, texts with a label or
words with a tag each, as JSON, JSON Lines, CSV, TSV or Parquet; task files of Super-NaturalInstructions; InstructLab's qna.yaml.
In UTF-8, UTF-16 or GB18030, plain or compressed with gzip or zstd.

Columns of other names are told by a mapping file beside the file, FILE.mapping.yaml (or .json), or by --mapping:
  columns:
    Frage: instruction
    Antwort: output

Examples:
  autodidact dataset import seeds my-seeds.jsonl
  autodidact dataset import sums train-00000-of-00001.parquet
  autodidact dataset import faq faq.csv --mapping columns.yaml")]
    Import {
        /// The dataset; it is made where it does not exist
        dataset: String,
        /// The files, each a version of its own; - for stdin
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// A file that says which column is which field [default: the one beside each file, where there is one]
        #[arg(long, value_name = "FILE")]
        mapping: Option<PathBuf>,
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
    /// Make a dataset of the records that pass a chain of rules, every decision with its reason
    Filter(filter::FilterArgs),
    /// Write a version to a file
    #[command(after_help = "\
jsonl holds records of every kind, each in the format of its own, and is read again as it was; so is parquet. Records that another
format has no place for (a text with a label as alpaca) are left out, counted and named.

Examples:
  autodidact dataset export seeds --out seeds.jsonl
  autodidact dataset export seeds --format alpaca --out alpaca.json
  autodidact dataset export talks --format sharegpt --out talks.json
  autodidact dataset export talks --format parquet --out talks.parquet
  autodidact dataset export talks --version 2 --format chat | head")]
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
    /// The format
    #[arg(long, default_value = "jsonl", value_parser = FORMAT_NAMES)]
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
    let command = match command {
        DatasetCommand::Daemon(command) => command,
        DatasetCommand::Records(RecordsCommand::Stats(args)) => {
            return stats::run(args, global).await;
        }
        DatasetCommand::Records(RecordsCommand::Diff(args)) => {
            return diff::run(args, global).await;
        }
        DatasetCommand::Records(RecordsCommand::Dedup(args)) => {
            return dedup::run(args, global).await;
        }
    };
    let starting = match &command {
        DaemonCommand::Export(args) => Starting::of_flag(args.start),
        _ => Starting::Never,
    };
    with_client(global, starting, async |client| {
        ask(client, command, global).await
    })
    .await
}

async fn ask(connection: &Client, command: DaemonCommand, global: &Global) -> Result<(), Failure> {
    match command {
        DaemonCommand::Export(args) => export(connection, args, global).await,
        DaemonCommand::Import {
            dataset,
            files,
            mapping,
        } => import(connection, &dataset, &files, mapping.as_deref(), global).await,
        DaemonCommand::List => list(connection, global).await,
        DaemonCommand::Preview(args) => preview::run(connection, args, global).await,
        DaemonCommand::Filter(args) => filter::run(connection, args, global).await,
        DaemonCommand::Show {
            name,
            version,
            records,
        } => show(connection, name, version, records, global).await,
        DaemonCommand::Delete { name } => {
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
    mapping: Option<&Path>,
    global: &Global,
) -> Result<(), Failure> {
    let mut refused_whole = Vec::new();
    for file in files {
        let name = file
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let mapping = read_mapping(file, mapping)?;
        let bytes = read_bounded(file)?;
        let answer = connection
            .import_mapped_dataset(dataset, &name, bytes, mapping, &request_id())
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
    let header = &exported.header;
    let faults = header
        .errors
        .iter()
        .map(|fault| (fault.line, fault.found.as_str()));
    tell_left_out(&args.format, header.records, header.refused, faults);
    if out == Path::new("-") {
        return output::bytes(&exported.bytes);
    }
    crate::files::write_atomically(out, &exported.bytes)
        .map_err(|error| Failure::local(format!("write {}: {error}", out.display())))?;
    let header = exported.header;
    let dataset = header.dataset.unwrap_or_default();
    if global.json {
        let mut told = messages::of("Dataset", &dataset);
        told["written"] = json!(header.records);
        told["refused"] = json!(header.refused);
        told["errors"] = messages::list("LineFault", &header.errors);
        return output::json(&told);
    }
    output::note(format!(
        "{}@{} is written to {}",
        dataset.name,
        dataset.version,
        out.display()
    ));
    Ok(())
}

/// Tells which records a format had no place for, by their places and what it lacks.
fn tell_left_out<'fault>(
    format: &str,
    written: u64,
    refused: u64,
    faults: impl Iterator<Item = (u64, &'fault str)>,
) {
    const SHOWN: usize = 10;
    if refused == 0 {
        return;
    }
    let all = written + refused;
    output::note(format!(
        "{refused} of {all} records do not fit {format} and are left out:"
    ));
    for (place, found) in faults.take(SHOWN) {
        output::note(format!("  record {place}: {found}"));
    }
    if refused > SHOWN as u64 {
        output::note(format!("  … and {} more", refused - SHOWN as u64));
    }
}

/// Reads the mapping file that is named, or the one that stands beside a file.
fn read_mapping(file: &Path, named: Option<&Path>) -> Result<Option<Vec<u8>>, Failure> {
    let beside = crate::files::mapping_beside(file);
    let mapping = named.or(beside.as_deref());
    mapping.map(read_bounded).transpose()
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
