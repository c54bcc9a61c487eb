//! `autodidact model import`: adapters from other tools.

use std::path::{Path, PathBuf};

use autodidact_proto::json as messages;
use clap::Args;

use crate::cli::{Failure, Global, connect, output, request_id};

/// What the folders of PEFT and of AdapterHub hold.
const SETTINGS: &str = "adapter_config.json";
const WEIGHTS: [&str; 2] = ["adapter_model.safetensors", "adapter.safetensors"];
/// The names of a head's labels beside an adapter of PEFT's.
const LABELS: &str = "labels.json";
/// AdapterHub's settings and weights of a head.
const HEAD: [&str; 2] = ["head_config.json", "model_head.safetensors"];
/// What they hold where they were not told to write safetensors, and what tells them.
const PICKLED: [(&str, &str); 2] = [
    ("adapter_model.bin", "safe_serialization=True"),
    ("pytorch_adapter.bin", "use_safetensors=True"),
];
/// The most bytes of a file that are read; the daemon takes no more in all.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// What to read.
#[derive(Args)]
#[command(after_help = "\
PATH is a folder of Hugging Face PEFT's (LoRA with its variants, IA3, prompt or prefix tuning) or of AdapterHub's (bottlenecks),
with a head of labels where it has one, or a GGUF file of llama.cpp's (LoRA).
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

/// Tells whether AdapterHub's head in a folder is one of labels.
fn gives_labels(path: &Path) -> bool {
    let settings = std::fs::read(path.join(HEAD[0])).unwrap_or_default();
    let settings: serde_json::Value = serde_json::from_slice(&settings).unwrap_or_default();
    let class = settings["model_class"].as_str().unwrap_or_default();
    let is_of_labels =
        class.ends_with("ForSequenceClassification") || class.ends_with("ForTokenClassification");
    is_of_labels && path.join(HEAD[1]).is_file()
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
    let mut files = vec![path.join(SETTINGS), weights.clone()];
    files.extend(Some(path.join(LABELS)).filter(|file| file.is_file()));
    // The head of a model that continues texts is the base's own output matrix, and large.
    if gives_labels(path) {
        files.extend(HEAD.map(|file| path.join(file)));
    }
    Ok(files)
}

pub(super) fn local(verb: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::refused("IO", format!("{verb} {}: {error}", path.display()))
}
