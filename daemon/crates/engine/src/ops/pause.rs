//! A place in the graph where training may stand still for a moment, on the way forward and on the way back.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::storage::slice;

/// Is called between layers and may block while somebody else uses the device. Clones share one hook.
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

/// The identity, with a pause before it either way. f32 of any shape.
impl CustomOp1 for Pause {
    fn name(&self) -> &'static str {
        "pause"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        self.here();
        let x = slice(x, layout)?.to_vec();
        Ok((CpuStorage::F32(x), layout.shape().clone()))
    }

    fn bwd(&self, _x: &Tensor, _y: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        self.here();
        Ok(Some(gradient.clone()))
    }
}
