//! Finds the files that stand in the watched folders.

use std::path::{Path, PathBuf};

use autodidact_domain::DatasetName;
use autodidact_formats::MAPPING_SUFFIXES;

use super::quiet::Look;
use crate::config::InboxFolder;
use crate::files::mapping_beside;

/// What the names of reports end with.
pub(super) const REPORT_SUFFIX: &str = ".report.json";
/// Endings of files that somebody is still writing.
const UNFINISHED: [&str; 5] = [".tmp", ".part", ".partial", ".crdownload", "~"];

/// A file that may become a version.
#[derive(Debug)]
pub(super) struct Candidate {
    /// The file.
    pub(super) path: PathBuf,
    /// The dataset its folder stands for.
    pub(super) dataset: DatasetName,
    /// What it looks like now.
    pub(super) look: Look,
}

/// Something in a watched folder that is never taken.
#[derive(Debug)]
pub(super) struct Refusal {
    /// What.
    pub(super) path: PathBuf,
    /// Why.
    pub(super) reason: String,
}

/// Reads every watched folder through, one level deep.
pub(super) fn scan(inbox: &Path, folders: &[InboxFolder]) -> (Vec<Candidate>, Vec<Refusal>) {
    let mut found = (Vec::new(), Vec::new());
    for path in entries(inbox) {
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        if ignored(&name) {
            continue;
        }
        if !path.is_dir() {
            let reason = format!(
                "files belong into a folder that names their dataset: {}/DATASET/{name}",
                inbox.display()
            );
            found.1.push(Refusal { path, reason });
            continue;
        }
        match DatasetName::new(name) {
            Ok(dataset) => scan_folder(&path, &dataset, &mut found),
            Err(error) => found.1.push(Refusal {
                path,
                reason: error.to_string(),
            }),
        }
    }
    for folder in folders {
        // The configuration was checked; a name that is no longer one would be a defect there.
        if let Ok(dataset) = DatasetName::new(folder.dataset.as_str()) {
            scan_folder(&folder.path, &dataset, &mut found);
        }
    }
    found
}

fn scan_folder(folder: &Path, dataset: &DatasetName, found: &mut (Vec<Candidate>, Vec<Refusal>)) {
    let Ok(real_folder) = folder.canonicalize() else {
        return;
    };
    for path in entries(folder) {
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        if ignored(&name) {
            continue;
        }
        // A file that vanishes meanwhile is none of ours any more.
        let (Ok(real), Ok(metadata)) = (path.canonicalize(), path.metadata()) else {
            continue;
        };
        if !real.starts_with(&real_folder) {
            let reason = format!("it is a link that leaves the folder, to {}", real.display());
            found.1.push(Refusal { path, reason });
        } else if metadata.is_file() {
            let mapping = mapping_beside(&path).and_then(|mapping| mapping.metadata().ok());
            let look = Look {
                size: metadata.len(),
                modified: metadata.modified().ok(),
                mapping: mapping.map(|metadata| (metadata.len(), metadata.modified().ok())),
            };
            found.0.push(Candidate {
                path,
                dataset: dataset.clone(),
                look,
            });
        }
    }
}

/// Lists a folder by name, so that files dropped together are taken in one order.
pub(super) fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// Tells whether a name is of a report, or of a file that nobody means yet.
pub(super) fn ignored(name: &str) -> bool {
    name.starts_with('.')
        || name.ends_with(REPORT_SUFFIX)
        || MAPPING_SUFFIXES.iter().any(|ending| name.ends_with(ending))
        || UNFINISHED.iter().any(|ending| name.ends_with(ending))
}
