//! Compiled code on disk, so that a component is compiled once on a machine.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use autodidact_domain::Digest;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::{PluginError, files, runtime};

/// The ending of compiled code, which is mapped into memory as it lies.
const CODE: &str = "cwasm";
/// The ending of its digest, which is written last.
const DIGEST: &str = "blake3";
/// What is digested at once, in bytes; an interpreter's code has some dozens of these.
const PIECE_BYTES: usize = 2 << 20;

/// The folder of compiled code. An entry's name is the digest of everything it depends on; beside it stands the digest of its pieces'
/// BLAKE3 digests, so that a damaged one is known.
pub(crate) struct CodeCache {
    folder: PathBuf,
    compatibility: [u8; 32],
}

impl CodeCache {
    /// Opens the folder, makes it where there is none, and removes what belongs to none of these components.
    pub(crate) fn open(
        folder: PathBuf,
        engine: &Engine,
        components: impl Iterator<Item = Digest>,
    ) -> Result<Self, PluginError> {
        files::create_private_folder(&folder)?;
        let cache = Self {
            folder,
            compatibility: runtime::compatibility(engine),
        };
        let wanted: Vec<PathBuf> = components
            .flat_map(|digest| [cache.path(digest, CODE), cache.path(digest, DIGEST)])
            .collect();
        files::sweep(&cache.folder, |path| {
            wanted.iter().any(|wanted| wanted == path)
        })?;
        Ok(cache)
    }

    /// Loads a component's compiled code; none where there is none or it is damaged, which is removed then.
    pub(crate) fn load(&self, engine: &Engine, digest: Digest) -> Option<Component> {
        let (code, expected) = (self.path(digest, CODE), self.path(digest, DIGEST));
        let expected = files::read(&expected).ok().flatten()?;
        let found = digest_of_pieces(&code).ok();
        let is_whole = found.is_some_and(|found| found.as_bytes()[..] == expected[..]);
        let component = is_whole.then(|| deserialize(engine, &code)).flatten();
        if component.is_none() {
            // What cannot be removed is written over by the next store.
            let _ = self.remove(digest);
        }
        component
    }

    /// Writes a component's compiled code. The caller holds the lock for compilation.
    pub(crate) fn store(&self, digest: Digest, component: &Component) -> Result<(), PluginError> {
        let code = component
            .serialize()
            .map_err(|error| PluginError::Runtime(error.to_string()))?;
        self.remove(digest)?;
        files::write_atomic(&self.path(digest, CODE), &code)?;
        let digests = code.chunks(PIECE_BYTES).map(blake3::hash);
        let whole = digest_of(digests);
        files::write_atomic(&self.path(digest, DIGEST), whole.as_bytes())
    }

    /// Removes a component's compiled code.
    pub(crate) fn remove(&self, digest: Digest) -> Result<(), PluginError> {
        files::remove(&self.path(digest, DIGEST))?;
        files::remove(&self.path(digest, CODE))
    }

    fn path(&self, digest: Digest, ending: &str) -> PathBuf {
        let mut key = blake3::Hasher::new();
        key.update(digest.as_bytes());
        key.update(&self.compatibility);
        files::by_digest(Path::new(&self.folder), key.finalize().to_hex(), ending)
    }
}

fn digest_of(pieces: impl Iterator<Item = blake3::Hash>) -> blake3::Hash {
    let mut whole = blake3::Hasher::new();
    for piece in pieces {
        whole.update(piece.as_bytes());
    }
    whole.finalize()
}

/// Digests a file's pieces on all cores, which an interpreter's tens of megabytes are worth.
fn digest_of_pieces(path: &Path) -> io::Result<blake3::Hash> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let count = usize::try_from(bytes.div_ceil(PIECE_BYTES as u64)).unwrap_or(usize::MAX);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let share = count.div_ceil(threads).max(1);
    let digest = |pieces: std::ops::Range<usize>| {
        let mut buffer = vec![0; PIECE_BYTES];
        let read = pieces.map(|piece| {
            let at = piece as u64 * PIECE_BYTES as u64;
            let size = (bytes - at).min(PIECE_BYTES as u64) as usize;
            std::os::unix::fs::FileExt::read_exact_at(&file, &mut buffer[..size], at)?;
            Ok(blake3::hash(&buffer[..size]))
        });
        read.collect::<io::Result<Vec<_>>>()
    };
    let digest = &digest;
    let parts: Vec<io::Result<Vec<_>>> = thread::scope(|scope| {
        let starts = (0..count).step_by(share);
        let parts: Vec<_> = starts
            .map(|start| scope.spawn(move || digest(start..count.min(start + share))))
            .collect();
        let join = |part: thread::ScopedJoinHandle<'_, _>| {
            part.join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        parts.into_iter().map(join).collect()
    });
    let parts = parts.into_iter().collect::<io::Result<Vec<_>>>()?;
    Ok(digest_of(parts.into_iter().flatten()))
}

#[expect(unsafe_code, reason = "wasmtime trusts compiled code; see SAFETY")]
fn deserialize(engine: &Engine, path: &Path) -> Option<Component> {
    // SAFETY: the file must come from `Component::serialize`, and stay as it is while it is mapped. Only `store` writes here, into a
    // folder that is the daemon's own (mode 0700), always a new file that takes the old one's name; its digest shows that it is
    // what was written; and wasmtime checks that its version, configuration and machine fit.
    unsafe { Component::deserialize_file(engine, path) }.ok()
}

#[cfg(test)]
mod tests {
    use wasmtime::Config;

    use super::*;
    use crate::Limits;

    #[test]
    fn code_of_other_settings_has_another_name_and_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let digest = Digest::of(b"one");
        let open = |engine: &Engine| {
            CodeCache::open(folder.path().to_path_buf(), engine, [digest].into_iter())
                .expect("it opens")
        };
        let ours = || runtime::make_engine(&Limits::default()).expect("an engine");
        let mut other = Config::new();
        other.epoch_interruption(false);
        let other = Engine::new(&other).expect("an engine");
        let code = open(&ours()).path(digest, CODE);
        std::fs::write(&code, b"code").expect("a file");
        assert_eq!(open(&ours()).path(digest, CODE), code);
        assert!(code.exists());
        assert_ne!(open(&other).path(digest, CODE), code);
        assert!(!code.exists());
    }
}
