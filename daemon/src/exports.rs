//! Whole models on their way out: they lie in a folder of their own until they are handed out, and go with whoever holds them.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use autodidact_domain::exchange::{ExportedModel, MergedModel};
use autodidact_domain::{PortError, PortResult};

/// A folder that is removed when it is dropped.
pub(crate) struct StagedFolder(tempfile::TempDir);

impl StagedFolder {
    /// Makes a new folder below one that may not exist yet.
    ///
    /// # Errors
    /// [`PortError::Unavailable`] with what the file system says.
    pub(crate) fn create(exports: &Path) -> PortResult<Self> {
        let made = crate::files::create_private_folder(exports);
        let made = made.and_then(|()| tempfile::tempdir_in(exports));
        made.map(Self)
            .map_err(|error| unavailable("make a folder in", exports, &error))
    }

    /// Shows where it is.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Removes what a daemon left that was killed.
pub(crate) fn clear(exports: &Path) -> io::Result<()> {
    match fs::remove_dir_all(exports) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A model that was written to such a folder, read forward.
pub(crate) struct StagedModel {
    folder: StagedFolder,
    merged: MergedModel,
    /// The file that is read next.
    next: usize,
    open: Option<(PathBuf, File)>,
}

impl StagedModel {
    /// Begins to read the files of a folder.
    pub(crate) fn open(folder: StagedFolder, merged: MergedModel) -> Self {
        Self {
            folder,
            merged,
            next: 0,
            open: None,
        }
    }
}

impl ExportedModel for StagedModel {
    fn model(&self) -> &MergedModel {
        &self.merged
    }

    fn read(&mut self, buffer: &mut [u8]) -> PortResult<usize> {
        loop {
            if let Some((path, file)) = &mut self.open {
                let count = file.read(buffer);
                let count = count.map_err(|error| unavailable("read", path, &error))?;
                if count > 0 || buffer.is_empty() {
                    return Ok(count);
                }
            }
            let Some(file) = self.merged.files.get(self.next) else {
                return Ok(0);
            };
            let path = self.folder.path().join(&file.name);
            let file = File::open(&path).map_err(|error| unavailable("open", &path, &error))?;
            self.open = Some((path, file));
            self.next += 1;
        }
    }
}

fn unavailable(verb: &str, path: &Path, error: &io::Error) -> PortError {
    PortError::Unavailable(format!("{verb} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use autodidact_domain::exchange::ModelFile;

    use super::*;

    #[test]
    fn files_are_read_one_after_the_other_and_go_with_their_reader() {
        let exports = tempfile::tempdir().unwrap();
        let exports = exports.path().join("exports");
        let folder = StagedFolder::create(&exports).unwrap();
        let place = folder.path().to_path_buf();
        let contents: [&[u8]; 3] = [b"one", b"", b"three"];
        let names = ["a", "b", "c"];
        for (name, content) in names.iter().zip(contents) {
            fs::write(place.join(name), content).unwrap();
        }
        let files = names.iter().zip(contents).map(|(name, content)| ModelFile {
            name: (*name).into(),
            size: content.len() as u64,
        });
        let merged = MergedModel {
            files: files.collect(),
            logits_apart: 0.0,
            base_apart: 1.0,
        };
        let mut model = StagedModel::open(folder, merged);
        let mut read: Vec<u8> = Vec::new();
        let mut buffer = [0; 2];
        loop {
            match model.read(&mut buffer).unwrap() {
                0 => break,
                count => read.extend(&buffer[..count]),
            }
        }
        assert_eq!(read, b"onethree");
        drop(model);
        assert!(!place.exists());
        fs::write(exports.join("left"), "x").unwrap();
        clear(&exports).unwrap();
        clear(&exports).unwrap();
        assert!(!exports.exists());
    }
}
