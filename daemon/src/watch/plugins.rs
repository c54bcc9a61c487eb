//! The folder of plugins: a component that lands in it is installed, and a new version takes over between batches. One that is refused
//! leaves what is installed as it is.

use std::path::{Path, PathBuf};

use autodidact_domain::ports::Ports;
use autodidact_domain::{Digest, EventBody, PluginSummary, PortError, PortResult};
use serde::{Deserialize, Serialize};

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
    /// The BLAKE3 digest of its bytes.
    digest: Digest,
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

/// Finds the components that stand in the folder.
pub(super) fn scan(folder: &Path) -> Vec<(PathBuf, Look)> {
    let found = folders::entries(folder).into_iter().filter_map(|path| {
        let name = path.file_name()?.to_string_lossy().into_owned();
        let is_component = path.extension().is_some_and(|ending| ending == ENDING);
        let metadata = path.symlink_metadata().ok()?;
        let wanted = is_component && !name.starts_with('.') && metadata.is_file();
        let look = Look {
            size: metadata.len(),
            modified: metadata.modified().ok(),
            mapping: None,
        };
        wanted.then_some((path, look))
    });
    found.collect()
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
    let digest = match digest_of(path) {
        Ok(digest) => digest,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unreadable(error)),
    };
    if is_reported(path, digest) {
        return Ok(());
    }
    let installed = match look.size > max_bytes {
        true => Err(PortError::Invalid(format!(
            "it has {} bytes; at most {max_bytes} are taken",
            look.size
        ))),
        false => {
            let bytes = std::fs::read(path).map_err(unreadable)?;
            if Digest::of(&bytes) != digest {
                // Somebody writes it again: the next look sees it whole.
                return Ok(());
            }
            ports.plugins.install(&bytes, false)
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
            report(file, digest, Ok(plugin))
        }
        Err(error @ (PortError::Invalid(_) | PortError::Exists { .. })) => {
            let message = error.to_string();
            tracing::info!(file = %path.display(), "a dropped plugin is refused: {message}");
            let body = EventBody::FileRefused {
                file: file.clone(),
                message: message.clone(),
            };
            ports.events.publish(None, body)?;
            report(file, digest, Err(message))
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
    digest: Digest,
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
        plugin,
        refused,
    }
}

/// Tells whether the report beside a file is about this very content. Who removes a plugin that lies here keeps it removed.
fn is_reported(path: &Path, digest: Digest) -> bool {
    let report = std::fs::read(report_path(path)).ok();
    let report = report.and_then(|bytes| serde_json::from_slice::<PluginFileReport>(&bytes).ok());
    report.is_some_and(|report| report.digest == digest)
}
