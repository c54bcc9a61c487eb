//! Components and instances that are kept for the next call.

use std::collections::VecDeque;
use std::sync::Arc;

use autodidact_domain::Digest;

use crate::component::Loaded;
use crate::sandbox::Sandbox;

/// The most compiled components in memory; a chain names a few.
const MAX_LOADED: usize = 16;
/// The most instances that wait for their next batch; each may hold as much memory as the limits allow.
const MAX_IDLE: usize = 4;

/// What an instance is bound to: its component, and the digest of its configuration.
pub(crate) type InstanceKey = (Digest, Digest);

/// Both kept in the order of use, the latest last.
#[derive(Default)]
pub(crate) struct Pool {
    loaded: VecDeque<Arc<Loaded>>,
    idle: VecDeque<(InstanceKey, Sandbox)>,
}

impl Pool {
    /// Finds a component, which counts as a use.
    pub(crate) fn loaded(&mut self, digest: Digest) -> Option<Arc<Loaded>> {
        let at = self
            .loaded
            .iter()
            .position(|loaded| loaded.digest == digest)?;
        let loaded = self.loaded.remove(at)?;
        self.loaded.push_back(loaded.clone());
        Some(loaded)
    }

    /// Keeps a component.
    pub(crate) fn keep_loaded(&mut self, loaded: Arc<Loaded>) {
        self.loaded.retain(|known| known.digest != loaded.digest);
        self.loaded.push_back(loaded);
        while self.loaded.len() > MAX_LOADED {
            self.loaded.pop_front();
        }
    }

    /// Takes an instance out.
    pub(crate) fn take_idle(&mut self, key: InstanceKey) -> Option<Sandbox> {
        let at = self.idle.iter().rposition(|(known, _)| *known == key)?;
        self.idle.remove(at).map(|(_, sandbox)| sandbox)
    }

    /// Keeps an instance that did not fail.
    pub(crate) fn keep_idle(&mut self, key: InstanceKey, sandbox: Sandbox) {
        self.idle.push_back((key, sandbox));
        while self.idle.len() > MAX_IDLE {
            self.idle.pop_front();
        }
    }

    /// Drops all that belongs to a component.
    pub(crate) fn forget(&mut self, digest: Digest) {
        self.loaded.retain(|loaded| loaded.digest != digest);
        self.idle.retain(|((component, _), _)| *component != digest);
    }
}
