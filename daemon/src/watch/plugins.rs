//! The folder of plugins: a component that lands in it is installed, and a new version takes over between batches. One that is refused
//! leaves what is installed as it is.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use autodidact_domain::ports::Ports;
use autodidact_domain::{Digest, EventBody, PluginSummary, PortError, PortResult};
use serde::{Deserialize, Serialize};

use super::folders::Refusal;
use super::quiet::Look;
use super::{digest_of, folders, report_path};
use crate::files;

/// The ending of components and core modules.
const ENDING: &str = "wasm";

/// What became of a file.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct PluginFileReport {
    /// Its name.
    file: String,
    /// The BLAKE3 digest of its bytes; none where they were too many to be read.
    digest: Option<Digest>,
    /// Its length in bytes and when it was last changed, in milliseconds since 1970: the same bytes put here again are taken again.
    #[serde(default)]
    size: u64,
    #[serde(default)]
    modified_ms: u64,
    /// What was installed; none where it was refused.
    plugin: Option<Installed>,
    /// Why it was refused.
    refused: Option<String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Installed {
    name: String,
    version: String,
    kinds: Vec<String>,
    /// What it asks to use, which somebody may grant.
    asks_for: Vec<String>,
}

/// Finds the components that stand in the folder, and what stands there and is never taken.
pub(super) fn scan(folder: &Path) -> (Vec<(PathBuf, Look)>, Vec<Refusal>) {
    let mut found = (Vec::new(), Vec::new());
    let Ok(real_folder) = folder.canonicalize() else {
        return found;
    };
    for path in folders::entries(folder) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if folders::ignored(&name) {
            continue;
        }
        // A file that vanishes meanwhile is none of ours any more; a link to nothing is nothing yet.
        let (Ok(real), Ok(metadata)) = (path.canonicalize(), path.metadata()) else {
            continue;
        };
        let ending = path.extension().unwrap_or_default();
        let refusal = if metadata.is_dir() {
            "it is a folder, and components belong into the folder of plugins itself".to_string()
        } else if !real.starts_with(&real_folder) {
            format!(
                "it is a link that leaves the folder, to {}: copy the file here, so that nothing changes unseen",
                real.display()
            )
        } else if !metadata.is_file() || !ending.eq_ignore_ascii_case(ENDING) {
            format!("its name does not end in .{ENDING}")
        } else {
            let look = Look {
                size: metadata.len(),
                modified: metadata.modified().ok(),
                mapping: None,
            };
            found.0.push((path, look));
            continue;
        };
        found.1.push(Refusal {
            path,
            reason: refusal,
        });
    }
    found
}

/// Installs a finished file, and lays the report beside it.
///
/// # Errors
/// What passes: the file is tried again then.
pub(super) fn take(path: &Path, look: Look, max_bytes: u64, ports: &Ports) -> PortResult<()> {
    let file = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let unreadable =
        |error: std::io::Error| PortError::Unavailable(format!("read {}: {error}", path.display()));
    let modified = look
        .modified
        .and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let seen = Seen {
        size: look.size,
        modified_ms: modified.map_or(0, |since| since.as_millis() as u64),
    };
    if is_reported(path, &seen) {
        return Ok(());
    }
    let (digest, installed) = match look.size > max_bytes {
        true => {
            let wrong = format!("it has {} bytes; at most {max_bytes} are taken", look.size);
            (None, Err(PortError::Invalid(wrong)))
        }
        false => {
            let mut bytes = Vec::new();
            let read =
                File::open(path).and_then(|file| file.take(max_bytes + 1).read_to_end(&mut bytes));
            match read {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(unreadable(error)),
                // Somebody writes it again: the next look sees it whole.
                Ok(_) if bytes.len() as u64 != look.size => return Ok(()),
                Ok(_) => (
                    Some(Digest::of(&bytes)),
                    ports.plugins.install(&bytes, false),
                ),
            }
        }
    };
    let report = match installed {
        Ok(plugin) => {
            tracing::info!(file = %path.display(), plugin = %plugin.name, version = plugin.version, "installed a dropped plugin");
            let body = EventBody::PluginChanged {
                plugin: plugin.name.to_string(),
                change: "installed".to_string(),
            };
            ports.events.publish(None, body)?;
            report(file, digest, seen, Ok(plugin))
        }
        Err(error @ (PortError::Invalid(_) | PortError::Exists { .. })) => {
            let message = error.to_string();
            tracing::info!(file = %path.display(), "a dropped plugin is refused: {message}");
            let body = EventBody::FileRefused {
                file: file.clone(),
                message: message.clone(),
            };
            ports.events.publish(None, body)?;
            report(file, digest, seen, Err(message))
        }
        Err(error) => return Err(error),
    };
    let text = serde_json::to_string_pretty(&report)
        .map_err(|error| PortError::Internal(error.to_string()))?;
    // Last, so that a file without a report is taken again after a crash.
    files::write_atomically(&report_path(path), text.as_bytes()).map_err(|error| {
        PortError::Unavailable(format!("write {}: {error}", report_path(path).display()))
    })
}

fn report(
    file: String,
    digest: Option<Digest>,
    seen: Seen,
    installed: Result<PluginSummary, String>,
) -> PluginFileReport {
    let (plugin, refused) = match installed {
        Ok(plugin) => {
            let installed = Installed {
                name: plugin.name.to_string(),
                version: plugin.version,
                kinds: plugin.kinds.iter().map(ToString::to_string).collect(),
                asks_for: plugin
                    .capabilities
                    .iter()
                    .map(ToString::to_string)
                    .collect(),
            };
            (Some(installed), None)
        }
        Err(refused) => (None, Some(refused)),
    };
    PluginFileReport {
        file,
        digest,
        size: seen.size,
        modified_ms: seen.modified_ms,
        plugin,
        refused,
    }
}

/// A file as it stood when it was taken.
struct Seen {
    size: u64,
    modified_ms: u64,
}

/// Tells whether the report beside a file is about the file as it stands. Who removes a plugin that lies here keeps it removed, until
/// the file is put here again.
fn is_reported(path: &Path, seen: &Seen) -> bool {
    let report = std::fs::read(report_path(path)).ok();
    let report = report.and_then(|bytes| serde_json::from_slice::<PluginFileReport>(&bytes).ok());
    report.is_some_and(|report| match report.modified_ms {
        // Earlier daemons did not write down when.
        0 => report.digest.is_some() && report.digest == digest_of(path).ok(),
        at => (report.size, at) == (seen.size, seen.modified_ms),
    })
}
