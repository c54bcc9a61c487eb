//! `autodidact model export` and `import`: adapters to and from other tools.

use std::path::{Path, PathBuf};

use autodidact_domain::exchange::FORMATS;
use autodidact_proto::json as messages;
use clap::Args;
use serde_json::json;

use crate::cli::{Failure, Global, connect, output, request_id};

/// What the folders of PEFT and of AdapterHub hold.
const SETTINGS: &str = "adapter_config.json";
const WEIGHTS: [&str; 2] = ["adapter_model.safetensors", "adapter.safetensors"];
/// What they hold where they were not told to write safetensors, and what tells them.
const PICKLED: [(&str, &str); 2] = [
    ("adapter_model.bin", "safe_serialization=True"),
    ("pytorch_adapter.bin", "use_safetensors=True"),
];
/// The most bytes of a file that are read; the daemon takes no more in all.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// What to write.
#[derive(Args)]
#[command(after_help = "\
What is written is read back and compared on the base before it is handed out.
peft is Hugging Face PEFT's folder; gguf-lora is one file for llama.cpp (--lora), for low-rank updates alone; adapterhub is the
folder of AdapterHub's adapters, for bottleneck adapters.

Examples:
  autodidact model export smollm2-135m-instruct --adapter self-instruct.round-1 --format peft --out my-adapter
  autodidact model export smollm2-135m-instruct --adapter self-instruct.round-1 --format gguf-lora --out my-adapter")]
pub(in crate::cli) struct ExportArgs {
    /// The base model
    name: String,
    /// The adapter: a checkpoint of this base
    #[arg(long)]
    adapter: String,
    /// The format
    #[arg(long, value_parser = FORMATS, default_value = FORMATS[0])]
    format: String,
    /// The folder, new or empty
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// What to read.
#[derive(Args)]
#[command(after_help = "\
PATH is a folder of Hugging Face PEFT's (LoRA with its variants, or IA3) or a GGUF file of llama.cpp's.
The adapter is tried on the base: one that does not fit it, or changes nothing, is refused.

Examples:
  autodidact model import smollm2-135m-instruct ./my-adapter --as mine
  autodidact model chat smollm2-135m-instruct --adapter mine")]
pub(in crate::cli) struct ImportArgs {
    /// The base model
    name: String,
    /// The folder or file
    path: PathBuf,
    /// The name that the adapter gets
    #[arg(long = "as", value_name = "ADAPTER")]
    id: String,
}

/// Writes an adapter.
pub(super) async fn export(args: ExportArgs, global: &Global) -> Result<(), Failure> {
    let ExportArgs {
        name,
        adapter,
        format,
        out,
    } = args;
    let is_taken = std::fs::read_dir(&out).is_ok_and(|mut files| files.next().is_some());
    if is_taken || out.is_file() {
        return Err(Failure::refused(
            "ALREADY_EXISTS",
            format!(
                "{} is not empty; expected a new or empty folder",
                out.display()
            ),
        ));
    }
    let client = connect(global).await?;
    let download = client.download_checkpoint(&adapter, &format).await?;
    let checkpoint = download.header.checkpoint.clone().unwrap_or_default();
    if checkpoint.model != name {
        return Err(Failure::refused(
            "INVALID_ARGUMENT",
            format!(
                "{adapter} is an adapter of {}, not of {name}",
                checkpoint.model
            ),
        ));
    }
    std::fs::create_dir_all(&out).map_err(|error| local("create", &out, &error))?;
    let mut written = Vec::new();
    for (file, bytes) in download.files() {
        // The names are the daemon's, which may be another machine's.
        let name = Path::new(file).file_name().unwrap_or_default();
        let path = out.join(name);
        let part = out.join(format!("{}.part", name.to_string_lossy()));
        std::fs::write(&part, bytes).map_err(|error| local("write", &part, &error))?;
        std::fs::rename(&part, &path).map_err(|error| local("rename", &path, &error))?;
        written.push(path.display().to_string());
    }
    if global.json {
        let told = json!({"adapter": adapter, "format": format, "files": written});
        return output::json(&told);
    }
    output::line(format!("{adapter} as {format}: {}", written.join(", ")))
}

/// Reads an adapter.
pub(super) async fn import(args: ImportArgs, global: &Global) -> Result<(), Failure> {
    let ImportArgs { name, path, id } = args;
    let paths = match path.is_dir() {
        true => folder_files(&path)?,
        false => vec![path],
    };
    let mut files = Vec::new();
    for path in paths {
        let size = std::fs::metadata(&path).map_err(|error| local("read", &path, &error))?;
        if size.len() > MAX_FILE_BYTES {
            return Err(Failure::refused(
                "TOO_LARGE",
                format!(
                    "{}: more than {MAX_FILE_BYTES} bytes are not taken",
                    path.display()
                ),
            ));
        }
        let bytes = std::fs::read(&path).map_err(|error| local("read", &path, &error))?;
        let name = path.file_name().unwrap_or_default();
        files.push((name.to_string_lossy().into_owned(), bytes));
    }
    let client = connect(global).await?;
    let request = request_id();
    let checkpoint = client
        .import_checkpoint(&id, &name, files, &request)
        .await?;
    if global.json {
        return output::json(&messages::of("Checkpoint", &checkpoint));
    }
    output::line(format!(
        "{id} is an adapter of {name} ({}, {})",
        checkpoint.method,
        output::size(checkpoint.size)
    ))
}

/// Lists the files of an adapter's folder.
fn folder_files(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let weights = WEIGHTS.map(|file| path.join(file));
    let found = weights.iter().find(|weights| weights.is_file());
    if found.is_none()
        && let Some((file, told)) = PICKLED.iter().find(|(file, _)| path.join(file).is_file())
    {
        return Err(Failure::refused(
            "INVALID_ARGUMENT",
            format!(
                "{} holds {file}, which may run code when it is read; expected {}: save it with {told}",
                path.display(),
                WEIGHTS.join(" or ")
            ),
        ));
    }
    let weights = found.unwrap_or(&weights[0]);
    Ok(vec![path.join(SETTINGS), weights.clone()])
}

fn local(verb: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::refused("IO", format!("{verb} {}: {error}", path.display()))
}
