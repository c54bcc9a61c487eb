//! Compiled code on disk, so that a component is compiled once on a machine.

use std::path::{Path, PathBuf};

use autodidact_domain::Digest;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::{PluginError, files, runtime};

const ENDING: &str = "cwasm";

/// The folder of compiled code. An entry's name is the digest of everything it depends on; its first 32 bytes are the
/// BLAKE3 digest of the rest, so that a damaged one is known.
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
        let wanted: Vec<PathBuf> = components.map(|digest| cache.path(digest)).collect();
        files::sweep(&cache.folder, |path| {
            wanted.iter().any(|wanted| wanted == path)
        })?;
        Ok(cache)
    }

    /// Loads a component's compiled code; none where there is none or it is damaged, which is removed then.
    pub(crate) fn load(&self, engine: &Engine, digest: Digest) -> Option<Component> {
        let path = self.path(digest);
        let entry = files::read(&path).ok().flatten()?;
        let component = checked(&entry).and_then(|code| deserialize(engine, code));
        if component.is_none() {
            // What cannot be removed is written over by the next store.
            let _ = files::remove(&path);
        }
        component
    }

    /// Writes a component's compiled code. The caller holds the lock for compilation.
    pub(crate) fn store(&self, digest: Digest, component: &Component) -> Result<(), PluginError> {
        let code = component
            .serialize()
            .map_err(|error| PluginError::Runtime(error.to_string()))?;
        let mut entry = blake3::hash(&code).as_bytes().to_vec();
        entry.extend_from_slice(&code);
        files::write_atomic(&self.path(digest), &entry)
    }

    /// Removes a component's compiled code.
    pub(crate) fn remove(&self, digest: Digest) -> Result<(), PluginError> {
        files::remove(&self.path(digest))
    }

    fn path(&self, digest: Digest) -> PathBuf {
        let mut key = blake3::Hasher::new();
        key.update(digest.as_bytes());
        key.update(&self.compatibility);
        files::by_digest(Path::new(&self.folder), key.finalize().to_hex(), ENDING)
    }
}

/// Splits an entry and checks its digest.
fn checked(entry: &[u8]) -> Option<&[u8]> {
    let (digest, code) = entry.split_first_chunk::<32>()?;
    (blake3::hash(code).as_bytes() == digest).then_some(code)
}

#[expect(unsafe_code, reason = "wasmtime trusts compiled code; see SAFETY")]
fn deserialize(engine: &Engine, code: &[u8]) -> Option<Component> {
    // SAFETY: the bytes must come from `Component::serialize`. Only `store` writes here, into a folder that is the
    // daemon's own (mode 0700); the digest before them shows that they are what was written; and wasmtime checks that
    // its version, configuration and machine fit.
    unsafe { Component::deserialize(engine, code) }.ok()
}
