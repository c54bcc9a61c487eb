//! One daemon per data directory.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use anyhow::{Context, bail};

/// Holds the lock for as long as it lives; the kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct DataDirLock {
    _file: File,
}

/// Locks a data directory, making it where it is missing.
///
/// # Errors
/// When the directory cannot be made, or another daemon holds it: the message names its process and what to do.
pub(crate) fn acquire(data_dir: &Path) -> anyhow::Result<DataDirLock> {
    fs::create_dir_all(data_dir)
        .with_context(|| format!("create data directory {}", data_dir.display()))?;
    let path = data_dir.join("autodidact.lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .with_context(|| format!("open lock file {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => bail!(held_by_another(data_dir, &mut file)),
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("lock {}", path.display()));
        }
    }
    // The process id is for the message above; the lock itself is the kernel's.
    file.set_len(0)
        .and_then(|()| file.rewind())
        .context("write lock file")?;
    writeln!(file, "{}", std::process::id()).context("write lock file")?;
    Ok(DataDirLock { _file: file })
}

fn held_by_another(data_dir: &Path, file: &mut File) -> String {
    let mut text = String::new();
    // Without a readable number the message stays true, only less exact.
    let _ = file.take(32).read_to_string(&mut text);
    let directory = data_dir.display();
    match text.trim().parse::<u32>() {
        Ok(pid) => format!(
            "another daemon (process {pid}) works in data directory {directory}: use it, stop it with `kill {pid}`, or choose another directory with --data-dir"
        ),
        Err(_) => format!(
            "another daemon works in data directory {directory}: use it, stop it, or choose another directory with --data-dir"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_holds_it_and_may_take_it_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let first = acquire(folder.path()).unwrap();
        let message = acquire(folder.path()).unwrap_err().to_string();
        assert!(
            message.contains(&format!("process {}", std::process::id())),
            "{message}"
        );
        assert!(message.contains("--data-dir"), "{message}");
        drop(first);
        acquire(folder.path()).unwrap();
    }
}
