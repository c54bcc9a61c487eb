//! The cache of fetched models: one folder a source, put in place whole, with a manifest beside the weights.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use autodidact_domain::{Interrupt, PortError, PortResult};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::{Resolved, sha256_of, weights_of};
use crate::files;

/// What stands beside the weights.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    /// Where the weights come from.
    source: String,
    /// The name of the weights' file, or of the folder that holds them.
    file: String,
    /// The weights' SHA-256 as it was when they were fetched.
    sha256: String,
    /// Of a folder, the SHA-256 of the names and contents of all its files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    folder_sha256: Option<String>,
}

/// The place of one source in the cache, locked against other processes.
pub(super) struct Slot {
    folder: PathBuf,
    models: PathBuf,
    source: String,
    file_name: String,
    _lock: File,
}

impl Slot {
    /// Makes the cache where it is missing, and waits until no other process works on this source.
    pub(super) fn lock(
        cache_dir: &Path,
        source: &str,
        file_name: &str,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(&str),
    ) -> PortResult<Self> {
        let models = cache_dir.join("models");
        fs::create_dir_all(&models)
            .map_err(|error| unavailable("create model cache", &models, &error))?;
        // The name of a source is not a file name; sixteen digits of its digest tell sources apart.
        let key: String = Sha256::digest(source.as_bytes())
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let lock_path = models.join(format!("{key}.lock"));
        let lock = File::create(&lock_path)
            .map_err(|error| unavailable("create lock", &lock_path, &error))?;
        let mut waited = false;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {
                    if !waited {
                        progress("waiting for another process that fetches the same model");
                        waited = true;
                    }
                    if interrupt.is_raised() {
                        return Err(PortError::Interrupted);
                    }
                    std::thread::sleep(Duration::from_millis(200));
                }
                Err(TryLockError::Error(error)) => {
                    return Err(unavailable("lock", &lock_path, &error));
                }
            }
        }
        Ok(Self {
            folder: models.join(key),
            models,
            source: source.to_string(),
            file_name: file_name.to_string(),
            _lock: lock,
        })
    }

    /// Finds the weights in the cache and checks them; damaged ones are removed and count as missing.
    pub(super) fn verified(
        &self,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(&str),
    ) -> PortResult<Option<Resolved>> {
        let Some(manifest) = self.manifest() else {
            return Ok(None);
        };
        let path = self.folder.join(&self.file_name);
        progress("checking the cached copy");
        let digests = || -> PortResult<(String, Option<String>)> {
            let weights = sha256_of(&weights_of(&path)?, interrupt)?;
            Ok((weights, folder_sha256(&path, interrupt)?))
        };
        match digests() {
            Ok((sha256, folder))
                if sha256 == manifest.sha256 && folder == manifest.folder_sha256 =>
            {
                return Ok(Some(Resolved { path, sha256 }));
            }
            Err(PortError::Interrupted) => return Err(PortError::Interrupted),
            Ok(_) | Err(_) => {}
        }
        progress("the cached copy is damaged; fetching it again");
        Ok(None)
    }

    fn manifest(&self) -> Option<Manifest> {
        let text = fs::read_to_string(self.folder.join("manifest.json")).ok()?;
        let manifest: Manifest = serde_json::from_str(&text).ok()?;
        (manifest.source == self.source && manifest.file == self.file_name).then_some(manifest)
    }

    /// Makes a folder on the same file system to fetch into; it is removed if nothing comes of it.
    pub(super) fn stage(&self) -> PortResult<TempDir> {
        tempfile::Builder::new()
            .prefix(".fetch-")
            .tempdir_in(&self.models)
            .map_err(|error| {
                unavailable("create a folder in the model cache", &self.models, &error)
            })
    }

    /// Puts the fetched weights in place, whole, with their manifest.
    pub(super) fn commit(
        &self,
        staging: TempDir,
        sha256: &str,
        interrupt: &Interrupt,
    ) -> PortResult<Resolved> {
        let fetched = staging.path().join(&self.file_name);
        let manifest = Manifest {
            source: self.source.clone(),
            file: self.file_name.clone(),
            sha256: sha256.to_string(),
            folder_sha256: folder_sha256(&fetched, interrupt)?,
        };
        let text = serde_json::to_string_pretty(&manifest).expect("plain strings always serialise");
        let finished = staging.path().join("finished");
        let place = || -> io::Result<()> {
            fs::create_dir(&finished)?;
            let place = finished.join(&self.file_name);
            fs::rename(&fetched, &place)?;
            for file in files_below(&place)? {
                File::open(file)?.sync_all()?;
            }
            files::write_atomically(&finished.join("manifest.json"), text.as_bytes())?;
            if self.folder.exists() {
                // A damaged copy leaves with the staging folder.
                fs::rename(&self.folder, staging.path().join("replaced"))?;
            }
            fs::rename(&finished, &self.folder)?;
            files::sync_folder(&self.models)
        };
        place().map_err(|error| unavailable("store the model in", &self.folder, &error))?;
        Ok(Resolved {
            path: self.folder.join(&self.file_name),
            sha256: sha256.to_string(),
        })
    }
}

/// Digests all files of a folder with their names; none for a file.
fn folder_sha256(path: &Path, interrupt: &Interrupt) -> PortResult<Option<String>> {
    if !path.is_dir() {
        return Ok(None);
    }
    let listed = files_below(path).map_err(|error| unavailable("read", path, &error))?;
    let mut text = String::new();
    for file in listed {
        let name = file.strip_prefix(path).unwrap_or(&file).display();
        let digest = sha256_of(std::slice::from_ref(&file), interrupt)?;
        text.push_str(&format!("{digest}  {name}\n"));
    }
    let digest = Sha256::digest(text.as_bytes());
    Ok(Some(
        digest.iter().map(|byte| format!("{byte:02x}")).collect(),
    ))
}

/// Lists the files of a folder and of those below it, by name; a file lists itself.
fn files_below(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        found.extend(files_below(&entry?.path())?);
    }
    found.sort();
    Ok(found)
}

/// Says what failed, and for a full disk what to do.
pub(super) fn unavailable(doing: &str, path: &Path, error: &io::Error) -> PortError {
    let advice = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space, or point AUTODIDACT_CACHE at a disk that has it"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; point AUTODIDACT_CACHE at a folder you can write to"
        }
        _ => "",
    };
    PortError::Unavailable(format!("{doing} {}: {error}{advice}", path.display()))
}
