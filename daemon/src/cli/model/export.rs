//! `autodidact model export`: adapters and whole models for other tools.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use autodidact_client::{DownloadPart, v1};
use autodidact_domain::exchange::{FORMATS, MODEL_FORMATS};
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::json;

use super::exchange::local;
use crate::cli::{Failure, Global, connect, output};

/// Progress is told once for so many percent.
const PERCENT_PER_LINE: u64 = 10;
/// Below so many bytes it is not told.
const TOLD_BYTES: u64 = 64 << 20;

/// What to write.
#[derive(Args)]
#[command(after_help = "\
An adapter alone: peft is Hugging Face PEFT's folder; gguf-lora is one file for llama.cpp (--lora), for low-rank updates alone;
adapterhub is the folder of AdapterHub's adapters, for bottleneck adapters.
A whole model with the adapter in its weights: safetensors is a Hugging Face folder in f32, with configuration, tokenizer and
template; gguf-f32, gguf-f16, gguf-q8_0 and gguf-q4_1 are one file model.gguf with matrices of that type.
What is written is read back and compared on the base before it is handed out.

Examples:
  autodidact model export smollm2-135m-instruct --adapter self-instruct.round-1 --format peft --out my-adapter
  autodidact model export smollm2-135m-instruct --adapter self-instruct.round-1 --format gguf-lora --out my-adapter-gguf
  autodidact model export smollm2-135m-instruct --adapter self-instruct.round-1 --format safetensors --out my-model
  autodidact model export smollm2-135m-instruct --adapter self-instruct.round-1 --format gguf-q8_0 --out my-gguf
  autodidact model add mine my-gguf/model.gguf")]
pub(in crate::cli) struct ExportArgs {
    /// The base model
    name: String,
    /// The adapter: a checkpoint of this base
    #[arg(long)]
    adapter: String,
    /// The format
    #[arg(long, value_parser = formats(), default_value = FORMATS[0])]
    format: String,
    /// The folder, new or empty
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Put the export in the place of what is in the folder
    #[arg(long)]
    overwrite: bool,
}

fn formats() -> PossibleValuesParser {
    FORMATS
        .into_iter()
        .chain(MODEL_FORMATS)
        .collect::<Vec<_>>()
        .into()
}

/// Writes an adapter or a whole model.
pub(super) async fn run(args: ExportArgs, global: &Global) -> Result<(), Failure> {
    let target = Target::new(&args.out, args.overwrite)?;
    let client = connect(global).await?;
    let request = v1::GetCheckpointRequest {
        id: args.adapter.clone(),
    };
    let checkpoint = client.checkpoints().get(request).await?.into_inner();
    let base = checkpoint.checkpoint.unwrap_or_default().model;
    if base != args.name {
        return Err(Failure::refused(
            "INVALID_ARGUMENT",
            format!(
                "{} is an adapter of {base}, not of {}",
                args.adapter, args.name
            ),
        ));
    }
    let mut folder = NewFolder::create(&target)?;
    let mut told = 0;
    let mut take = |part: DownloadPart<'_>| match part {
        DownloadPart::Progress(progress) => {
            tell_progress(progress, &mut told);
            Ok(())
        }
        DownloadPart::Header(header) => folder.expect(header),
        DownloadPart::Bytes(bytes) => folder.put(bytes),
    };
    let header = client
        .download_parts(&args.adapter, &args.format, &mut take)
        .await?;
    let files = folder.move_to(target)?;
    tell(&args, &header, &files, global)
}

fn tell_progress(progress: &v1::ExportProgress, told: &mut u64) {
    let percent = progress.done * 100 / progress.total.max(1);
    if progress.total >= TOLD_BYTES && percent >= *told + PERCENT_PER_LINE {
        *told = percent - percent % PERCENT_PER_LINE;
        output::note(format!("{told}% of {}", output::size(progress.total)));
    }
}

fn tell(
    args: &ExportArgs,
    header: &v1::DownloadHeader,
    files: &[String],
    global: &Global,
) -> Result<(), Failure> {
    let ExportArgs {
        adapter, format, ..
    } = args;
    let apart = header.logits_apart.zip(header.base_apart);
    if let Some((logits, base)) = apart.filter(|(logits, base)| logits >= base) {
        output::note(format!(
            "rounding to {format} moves the logits further ({logits:.4}) than the adapter does ({base:.4}): \
             a format with more bits keeps more of it"
        ));
    }
    if global.json {
        let mut told = json!({"adapter": adapter, "format": format, "files": files});
        if let Some((logits, base)) = apart {
            told["logits_apart"] = json!(logits);
            told["base_apart"] = json!(base);
        }
        return output::json(&told);
    }
    let size = output::size(header.size);
    output::line(format!(
        "{adapter} as {format} ({size}): {}",
        files.join(", ")
    ))?;
    match apart {
        Some((logits, base)) => output::line(format!(
            "logits differ by {logits:.2e} from the adapter's, those of the base without it by {base:.2e}"
        )),
        None => Ok(()),
    }
}

/// Where an export goes.
struct Target {
    path: PathBuf,
    replaces: bool,
}

impl Target {
    /// Refuses a place that is taken.
    fn new(path: &Path, overwrite: bool) -> Result<Self, Failure> {
        let is_full = fs::read_dir(path).is_ok_and(|mut files| files.next().is_some());
        if path.is_file() || (is_full && !overwrite) {
            return Err(Failure::refused(
                "ALREADY_EXISTS",
                format!(
                    "{} is not empty; expected a new or empty folder, or --overwrite",
                    path.display()
                ),
            ));
        }
        Ok(Self {
            path: path.to_path_buf(),
            replaces: is_full,
        })
    }

    /// Names a place beside it, for what is not there yet or not any more.
    fn beside(&self, what: &str) -> PathBuf {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let name = format!(".{name}.{}.{what}", std::process::id());
        self.path.with_file_name(name)
    }
}

/// A folder that takes its name when it is whole, and is removed when it is dropped before.
struct NewFolder {
    path: PathBuf,
    /// Files that follow, with their bytes.
    expected: VecDeque<(PathBuf, u64)>,
    open: Option<(PathBuf, File, u64)>,
    names: Vec<PathBuf>,
}

impl NewFolder {
    fn create(target: &Target) -> Result<Self, Failure> {
        let path = target.beside("part");
        fs::create_dir_all(&path).map_err(|error| local("create", &path, &error))?;
        Ok(Self {
            path,
            expected: VecDeque::new(),
            open: None,
            names: Vec::new(),
        })
    }

    fn expect(&mut self, header: &v1::DownloadHeader) -> Result<(), Failure> {
        for file in &header.files {
            // The names are the daemon's, which may be another machine's.
            let name = Path::new(&file.name).file_name().unwrap_or_default();
            self.expected.push_back((name.into(), file.size));
        }
        self.begin()
    }

    /// Begins the next file, and those after it that hold nothing.
    fn begin(&mut self) -> Result<(), Failure> {
        while self.open.is_none()
            && let Some((name, size)) = self.expected.pop_front()
        {
            let path = self.path.join(&name);
            let file = File::create(&path).map_err(|error| local("create", &path, &error))?;
            self.names.push(name);
            self.open = (size > 0).then_some((path, file, size));
        }
        Ok(())
    }

    fn put(&mut self, mut bytes: &[u8]) -> Result<(), Failure> {
        while let Some((path, file, left)) = &mut self.open {
            let (now, later) = bytes.split_at(bytes.len().min(*left as usize));
            file.write_all(now)
                .map_err(|error| local("write", path, &error))?;
            *left -= now.len() as u64;
            bytes = later;
            if *left > 0 {
                break;
            }
            file.sync_all()
                .map_err(|error| local("write", path, &error))?;
            self.open = None;
            self.begin()?;
        }
        Ok(())
    }

    /// Gives the folder its name; what it replaces goes last.
    fn move_to(self, target: Target) -> Result<Vec<String>, Failure> {
        let rename = |from: &Path, to: &Path| {
            fs::rename(from, to).map_err(|error| local("rename", from, &error))
        };
        let old = target.beside("old");
        if target.replaces {
            rename(&target.path, &old)?;
        }
        if let Err(failure) = rename(&self.path, &target.path) {
            if target.replaces {
                rename(&old, &target.path)?;
            }
            return Err(failure);
        }
        if target.replaces {
            fs::remove_dir_all(&old).map_err(|error| local("remove", &old, &error))?;
        }
        let path = |name: &PathBuf| target.path.join(name).display().to_string();
        Ok(self.names.iter().map(path).collect())
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        // It is not there any more once it has its name.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(sizes: &[(&str, u64)]) -> v1::DownloadHeader {
        let files = sizes.iter().map(|(name, size)| v1::AdapterFile {
            name: (*name).into(),
            size: *size,
        });
        v1::DownloadHeader {
            files: files.collect(),
            ..v1::DownloadHeader::default()
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let files = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = files
            .map(|file| file.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_folder_appears_whole_or_not_at_all() {
        let home = tempfile::tempdir().unwrap();
        let out = home.path().join("out");
        let write = |overwrite: bool, ends: bool| {
            let target = Target::new(&out, overwrite)?;
            let mut folder = NewFolder::create(&target)?;
            let files = [("a", 3), ("empty", 0), ("../b", 4)];
            folder.expect(&header(&files))?;
            for part in [&b"on"[..], b"etw", b"os"] {
                folder.put(part)?;
            }
            match ends {
                true => folder.move_to(target).map(drop),
                false => Ok(()),
            }
        };
        assert!(write(false, false).is_ok());
        assert!(names(home.path()).is_empty());
        assert!(write(false, true).is_ok());
        assert_eq!(names(home.path()), ["out"]);
        assert_eq!(names(&out), ["a", "b", "empty"]);
        assert_eq!(fs::read(out.join("a")).unwrap(), b"one");
        assert_eq!(fs::read(out.join("b")).unwrap(), b"twos");
        // It is written over only when that is asked for, and whole.
        fs::write(out.join("a"), "mine").unwrap();
        fs::write(out.join("other"), "mine").unwrap();
        assert!(write(false, true).is_err());
        assert!(write(true, false).is_ok());
        assert_eq!(fs::read(out.join("a")).unwrap(), b"mine");
        assert!(write(true, true).is_ok());
        assert_eq!(names(&out), ["a", "b", "empty"]);
        assert_eq!(names(home.path()), ["out"]);
    }
}
