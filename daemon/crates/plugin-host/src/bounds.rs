//! What an instance holds, against what it may hold.

use wasmtime::ResourceLimiter;

use crate::Limits;

/// The most core instances, tables and memories of one component; interpreters come as some dozens of modules.
const MAX_INSTANCES: usize = 256;

/// What an instance holds, against what it may hold.
pub(crate) struct Bounds {
    /// Its linear memory, which never shrinks.
    pub(crate) memory_bytes: usize,
    max_memory_bytes: usize,
    table_elements: usize,
    max_table_elements: usize,
    /// What was denied in the present call, so that the trap that follows can be explained.
    pub(crate) denied: Option<String>,
}

impl Bounds {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            memory_bytes: 0,
            max_memory_bytes: limits.memory_bytes,
            table_elements: 0,
            max_table_elements: limits.table_elements,
            denied: None,
        }
    }
}

impl ResourceLimiter for Bounds {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = grown(self.memory_bytes, current, desired);
        if total > self.max_memory_bytes {
            self.denied = Some(format!(
                "wanted more than {} MiB of memory (memory_mib of [plugins.NAME])",
                self.max_memory_bytes >> 20
            ));
            return Ok(false);
        }
        let allowed = maximum.is_none_or(|maximum| desired <= maximum);
        if allowed {
            self.memory_bytes = total;
        }
        Ok(allowed)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = grown(self.table_elements, current, desired);
        if total > self.max_table_elements {
            self.denied = Some(format!(
                "wanted more than {} table elements",
                self.max_table_elements
            ));
            return Ok(false);
        }
        let allowed = maximum.is_none_or(|maximum| desired <= maximum);
        if allowed {
            self.table_elements = total;
        }
        Ok(allowed)
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_INSTANCES
    }

    fn memories(&self) -> usize {
        MAX_INSTANCES
    }
}

/// Computes a total after one of its parts grows.
fn grown(total: usize, current: usize, desired: usize) -> usize {
    total.saturating_sub(current).saturating_add(desired)
}
