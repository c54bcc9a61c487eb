//! Keys and values of all sequences on a device, in one pool of pages, so that one operation reads or writes many sequences'.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Tensor};

use crate::EngineError;
use crate::device::Accelerator;
use crate::models::config::ModelConfig;

/// Positions of a page.
const PAGE: usize = 32;

/// The pages that sequences hold. Page 0 is nobody's: it stays zero, and stands where there is nothing to see.
pub(super) struct Pool {
    device: Device,
    dtype: DType,
    /// Keys and values of each layer, `[pages * PAGE, kv_heads * head_dim]`.
    pub(super) layers: Vec<[Tensor; 2]>,
    /// How many sequences hold each page.
    holders: Vec<u32>,
    free: Vec<u32>,
}

/// What one sequence holds of the pool.
pub(crate) struct DeviceCache {
    pool: Arc<Mutex<Pool>>,
    /// The pages, in the order of their positions.
    pages: Vec<u32>,
    bytes: usize,
}

/// Tells the bytes of so many positions, in whole pages.
pub(super) fn bytes(config: &ModelConfig, dtype: DType, positions: usize) -> usize {
    let row = 2 * config.layers * config.kv_heads * config.head_dim * dtype.size_in_bytes();
    positions.next_multiple_of(PAGE) * row
}

pub(super) fn lock(pool: &Mutex<Pool>) -> MutexGuard<'_, Pool> {
    pool.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// Makes a pool of the zero page alone; it grows when sequences come.
    pub(super) fn new(
        config: &ModelConfig,
        accelerator: &Accelerator,
    ) -> Result<Self, EngineError> {
        let shape = (PAGE, config.kv_heads * config.head_dim);
        let (device, dtype) = (accelerator.device.clone(), accelerator.weights);
        let zeros = || Tensor::zeros(shape, dtype, &device);
        let layer = |_| Ok([zeros()?, zeros()?]);
        let layers = (0..config.layers).map(layer);
        Ok(Self {
            layers: layers.collect::<Result<_, candle_core::Error>>()?,
            device,
            dtype,
            holders: vec![1],
            free: Vec::new(),
        })
    }

    /// Writes keys and values of one layer, `[tokens, kv_heads * head_dim]`, at the rows that `slots` names, of the same
    /// shape.
    pub(super) fn write(
        &self,
        layer: usize,
        slots: &Tensor,
        keys: &Tensor,
        values: &Tensor,
    ) -> candle_core::Result<()> {
        let [all_keys, all_values] = &self.layers[layer];
        all_keys.scatter_set(slots, keys, 0)?;
        all_values.scatter_set(slots, values, 0)
    }

    fn take(&mut self, count: usize) -> Result<Vec<u32>, EngineError> {
        if self.free.len() < count {
            let pages = self.holders.len();
            // At least twice as many, so that growing stays rare.
            self.grow(pages + (count - self.free.len()).max(pages))?;
        }
        let pages = self.free.split_off(self.free.len() - count);
        for page in &pages {
            self.holders[*page as usize] = 1;
        }
        Ok(pages)
    }

    fn grow(&mut self, pages: usize) -> Result<(), EngineError> {
        let rows = pages * PAGE;
        let grown = |old: &Tensor| {
            let (held, width) = old.dims2()?;
            if held >= rows {
                return Ok(old.clone());
            }
            let new = Tensor::zeros((rows, width), self.dtype, &self.device)?;
            new.slice_set(old, 0, 0)?;
            Ok::<_, candle_core::Error>(new)
        };
        for [keys, values] in &mut self.layers {
            for tensor in [keys, values] {
                *tensor = grown(tensor).map_err(|error| {
                    EngineError::Memory(format!(
                        "keys and values of {rows} positions do not fit in the device's memory: {error}"
                    ))
                })?;
            }
        }
        self.free.extend(self.holders.len() as u32..pages as u32);
        self.holders.resize(pages, 0);
        Ok(())
    }

    fn release(&mut self, page: u32) {
        let holders = &mut self.holders[page as usize];
        *holders -= 1;
        if *holders == 0 {
            self.free.push(page);
        }
    }
}

impl DeviceCache {
    pub(super) fn new(pool: &Arc<Mutex<Pool>>, positions: usize) -> Result<Self, EngineError> {
        let mut held = lock(pool);
        let pages = held.take(positions.div_ceil(PAGE))?;
        let row = |[keys, _]: &[Tensor; 2]| 2 * keys.dim(1).unwrap_or(0);
        let row = held.layers.iter().map(row).sum::<usize>() * held.dtype.size_in_bytes();
        drop(held);
        Ok(Self {
            pool: pool.clone(),
            bytes: pages.len() * PAGE * row,
            pages,
        })
    }

    /// Tells what it takes, the pages it shares included.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Tells a position's row in the pool.
    pub(super) fn row(&self, position: usize) -> u32 {
        self.pages[position / PAGE] * PAGE as u32 + (position % PAGE) as u32
    }

    /// Takes over the first `positions` of a cache of the same model.
    ///
    /// Whole pages are shared: nobody writes them again, as both sequences go on behind them. The rest is copied.
    pub(crate) fn copy_prefix(&mut self, from: &Self, positions: usize) -> Result<(), EngineError> {
        assert!(
            Arc::ptr_eq(&self.pool, &from.pool)
                && positions <= self.pages.len().min(from.pages.len()) * PAGE,
            "a prefix of both"
        );
        let mut pool = lock(&self.pool);
        let (whole, rest) = (positions / PAGE, positions % PAGE);
        for (to, from) in self.pages.iter_mut().zip(&from.pages[..whole]) {
            pool.holders[*from as usize] += 1;
            pool.release(std::mem::replace(to, *from));
        }
        if rest > 0 {
            let first = |pages: &[u32]| pages[whole] as usize * PAGE;
            let (to, from) = (first(&self.pages), first(&from.pages));
            for tensor in pool.layers.iter().flatten() {
                // A copy first: a tensor is not written from itself.
                let rows = tensor.narrow(0, from, rest)?.copy()?;
                tensor.slice_set(&rows, 0, to)?;
            }
        }
        Ok(())
    }
}

impl Drop for DeviceCache {
    fn drop(&mut self) {
        let mut pool = lock(&self.pool);
        for page in self.pages.drain(..) {
            pool.release(page);
        }
    }
}
