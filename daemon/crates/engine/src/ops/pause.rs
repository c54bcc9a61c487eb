//! Where training may stand still for a moment, on the way forward and on the way back.

use std::sync::Arc;

/// Is called between the operations of a step and may block while somebody else uses the device. Clones share one hook.
#[derive(Clone)]
pub struct Pause(Arc<dyn Fn() + Send + Sync>);

impl Pause {
    /// Makes a pause of a hook.
    pub fn new(hook: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(hook))
    }

    /// Never pauses.
    pub fn never() -> Self {
        Self::new(|| {})
    }

    /// Calls the hook.
    pub(crate) fn here(&self) {
        (self.0)();
    }
}

impl std::fmt::Debug for Pause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pause")
    }
}
