//! Files named by the digest of their bytes, for sets of tensors too big for sled.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use autodidact_domain::{Digest, NamedTensor};

use crate::StoreError;
use crate::manifest::{Assembler, CHUNK_BYTES, TensorSet, in_chunks};
use crate::open::sync_directory;

/// The ending of a file that is being written.
const UNFINISHED: &str = "unfinished";

/// A folder of such files; made with the first one.
pub(crate) struct TensorFiles(PathBuf);

impl TensorFiles {
    /// Opens the folder, and removes what a kill left half written.
    pub(crate) fn open(directory: &Path) -> Result<Self, StoreError> {
        let files = Self(directory.to_path_buf());
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
            Err(source) => return Err(failed("list", directory)(source)),
        };
        for entry in entries {
            let path = entry.map_err(failed("list", directory))?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == UNFINISHED)
            {
                fs::remove_file(&path).map_err(failed("remove", &path))?;
            }
        }
        Ok(files)
    }

    /// Writes tensors under their digest: written, synced, read back, renamed, and the folder synced.
    pub(crate) fn write(&self, digest: Digest, tensors: &[NamedTensor]) -> Result<(), StoreError> {
        let path = self.path(&digest);
        if path.exists() && digest_of(&path)? == digest {
            return Ok(());
        }
        if !self.0.exists() {
            fs::create_dir_all(&self.0).map_err(failed("make", &self.0))?;
            self.0.parent().map_or(Ok(()), sync_directory)?;
        }
        let unfinished = path.with_extension(UNFINISHED);
        let mut file = File::create(&unfinished).map_err(failed("make", &unfinished))?;
        in_chunks(tensors, |chunk| file.write_all(chunk))
            .and_then(|()| file.sync_all())
            .map_err(failed("write", &unfinished))?;
        drop(file);
        if digest_of(&unfinished)? != digest {
            return Err(StoreError::Corrupt(format!(
                "{} did not come back as it was written",
                unfinished.display()
            )));
        }
        fs::rename(&unfinished, &path).map_err(failed("rename", &unfinished))?;
        sync_directory(&self.0)
    }

    /// Tells whether a file is there, without checking it.
    pub(crate) fn holds(&self, digest: &Digest) -> bool {
        self.path(digest).exists()
    }

    /// Reads the tensors of a set and checks their digest.
    pub(crate) fn read(
        &self,
        digest: Digest,
        set: &TensorSet,
    ) -> Result<Vec<NamedTensor>, StoreError> {
        let mut assembler = Assembler::new(set);
        let found = each_chunk(&self.path(&digest), |chunk| assembler.take(chunk))?;
        if found != digest {
            return Err(StoreError::Corrupt(format!(
                "tensor file {} does not match its digest",
                digest.short()
            )));
        }
        assembler.finish()
    }

    /// Removes a file; a missing one is no error.
    pub(crate) fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.0.join(digest.to_string())
    }
}

fn digest_of(path: &Path) -> Result<Digest, StoreError> {
    each_chunk(path, |_| Ok(()))
}

/// Reads a file in chunks of a whole number of elements, and digests it.
fn each_chunk(
    path: &Path,
    mut take: impl FnMut(&[u8]) -> Result<(), StoreError>,
) -> Result<Digest, StoreError> {
    let mut file = match File::open(path) {
        Ok(file) => BufReader::new(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(StoreError::Corrupt(format!(
                "tensor file {} is missing",
                path.display()
            )));
        }
        Err(source) => return Err(failed("open", path)(source)),
    };
    let mut hasher = blake3::Hasher::new();
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    loop {
        chunk.clear();
        file.by_ref()
            .take(CHUNK_BYTES as u64)
            .read_to_end(&mut chunk)
            .map_err(failed("read", path))?;
        if chunk.is_empty() {
            return Ok(Digest::from_bytes(*hasher.finalize().as_bytes()));
        }
        hasher.update(&chunk);
        take(&chunk)?;
    }
}

fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> StoreError {
    let path = path.display().to_string();
    move |source| StoreError::io(format!("{action} {path}"), source)
}
