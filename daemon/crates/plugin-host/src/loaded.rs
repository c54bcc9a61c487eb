//! Compiled components that are kept in memory for the next call.

use std::collections::VecDeque;
use std::sync::Arc;

use autodidact_domain::Digest;

use crate::component::Loaded;

/// The most compiled components in memory; a chain names a few.
const MAX_LOADED: usize = 16;

/// In the order of use, the latest last.
#[derive(Default)]
pub(crate) struct LoadedComponents(VecDeque<Arc<Loaded>>);

impl LoadedComponents {
    /// Finds a component, which counts as a use.
    pub(crate) fn get(&mut self, digest: Digest) -> Option<Arc<Loaded>> {
        let at = self.0.iter().position(|loaded| loaded.digest == digest)?;
        let loaded = self.0.remove(at)?;
        self.0.push_back(Arc::clone(&loaded));
        Some(loaded)
    }

    /// Keeps a component.
    pub(crate) fn keep(&mut self, loaded: Arc<Loaded>) {
        self.forget(loaded.digest);
        self.0.push_back(loaded);
        while self.0.len() > MAX_LOADED {
            self.0.pop_front();
        }
    }

    /// Drops a component.
    pub(crate) fn forget(&mut self, digest: Digest) {
        self.0.retain(|loaded| loaded.digest != digest);
    }
}
