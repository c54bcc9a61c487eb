//! Files that are there whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use autodidact_domain::Digest;

use crate::PluginError;

/// The ending of files that are still being written.
const UNFINISHED: &str = "tmp";
/// The ending of files that plugins were given.
pub(crate) const DATA: &str = "data";

/// Makes a folder that only this user can read or write, with its parents; one that is there becomes such a folder.
pub(crate) fn create_private_folder(folder: &Path) -> Result<(), PluginError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(folder)
        .map_err(PluginError::io("create", folder))?;
    #[cfg(unix)]
    fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .map_err(PluginError::io("close", folder))?;
    Ok(())
}

/// Writes a file so that a crash leaves the old content or the new: write beside it, fsync, rename, fsync the folder.
///
/// Callers hold a lock of their own for the path.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), PluginError> {
    let unfinished = path.with_extension(UNFINISHED);
    let result = write_beside(path, &unfinished, bytes);
    if result.is_err() {
        // The first error is the one to tell; `sweep` tries again at the next start.
        let _ = fs::remove_file(&unfinished);
    }
    result
}

fn write_beside(path: &Path, unfinished: &Path, bytes: &[u8]) -> Result<(), PluginError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    let mut file = options
        .open(unfinished)
        .map_err(PluginError::io("create", unfinished))?;
    file.write_all(bytes)
        .map_err(PluginError::io("write", unfinished))?;
    file.sync_all()
        .map_err(PluginError::io("sync", unfinished))?;
    fs::rename(unfinished, path).map_err(PluginError::io("rename", unfinished))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(PluginError::io("sync", folder))
}

/// Removes the files of a folder that `keep` does not want, and those that were never finished.
pub(crate) fn sweep(folder: &Path, keep: impl Fn(&Path) -> bool) -> Result<(), PluginError> {
    for entry in fs::read_dir(folder).map_err(PluginError::io("read", folder))? {
        let path = entry.map_err(PluginError::io("read", folder))?.path();
        let unfinished = path.extension().is_some_and(|ending| ending == UNFINISHED);
        if path.is_file() && (unfinished || !keep(&path)) {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Removes a file; a missing one is no error.
pub(crate) fn remove(path: &Path) -> Result<(), PluginError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(PluginError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Reads a file; none when there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, PluginError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(PluginError::io("read", path)(error)),
    }
}

/// Names a file in a folder by a digest.
pub(crate) fn by_digest(folder: &Path, digest: impl std::fmt::Display, ending: &str) -> PathBuf {
    folder.join(format!("{digest}.{ending}"))
}

/// Reads a file that plugins were given, by the digest of its content.
pub(crate) fn read_data(folder: &Path, digest: Digest) -> Result<Vec<u8>, PluginError> {
    let path = by_digest(folder, digest, DATA);
    match read(&path)? {
        Some(bytes) if Digest::of(&bytes) == digest => Ok(bytes),
        found => Err(PluginError::Corrupt {
            path,
            detail: match found {
                Some(_) => "it is damaged; grant the file again".to_string(),
                None => "it is missing; grant the file again".to_string(),
            },
        }),
    }
}
