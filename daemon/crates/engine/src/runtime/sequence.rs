//! The cache of one sequence, whatever runs the model.

use super::cache::KvCache;
use super::device::DeviceCache;
use crate::EngineError;

/// Keys and values of one sequence. [`Runner::new_cache`](super::Runner::new_cache) makes the kind that its model takes.
pub(crate) enum SequenceCache {
    /// In this program's memory, for our kernels.
    Own(KvCache),
    /// On a device.
    Device(DeviceCache),
}

impl SequenceCache {
    /// Tells the bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Own(cache) => cache.bytes(),
            Self::Device(cache) => cache.bytes(),
        }
    }

    /// Takes over the first `positions` from a cache of the same model.
    pub(crate) fn copy_prefix(&mut self, from: &Self, positions: usize) -> Result<(), EngineError> {
        match (self, from) {
            (Self::Own(to), Self::Own(from)) => {
                to.copy_prefix(from, positions);
                Ok(())
            }
            (Self::Device(to), Self::Device(from)) => to.copy_prefix(from, positions),
            _ => panic!("{OTHER_MODEL}"),
        }
    }

    pub(super) fn own(&mut self) -> &mut KvCache {
        match self {
            Self::Own(cache) => cache,
            Self::Device(_) => panic!("{OTHER_MODEL}"),
        }
    }

    pub(super) fn device(&self) -> &DeviceCache {
        match self {
            Self::Own(_) => panic!("{OTHER_MODEL}"),
            Self::Device(cache) => cache,
        }
    }
}

/// A defect: caches live no longer than the work on one model.
const OTHER_MODEL: &str = "a cache is used with the model that made it";
