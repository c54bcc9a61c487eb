//! Keys and values of one sequence, allocated once for its longest possible length.

use crate::EngineError;
use crate::kernels::SharedMut;
use crate::kernels::lanes::LANES;
use crate::models::config::ModelConfig;

/// Sizes that a model gives its caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CacheShape {
    pub(crate) layers: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
}

impl CacheShape {
    pub(crate) fn of(config: &ModelConfig) -> Self {
        Self {
            layers: config.layers,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
        }
    }

    /// Of a model that keeps its keys and values itself.
    pub(crate) fn none() -> Self {
        Self {
            layers: 0,
            kv_heads: 0,
            head_dim: 0,
        }
    }

    /// Tells the bytes of one position.
    pub(crate) fn bytes_per_token(&self) -> usize {
        self.bytes(LANES) / LANES
    }

    /// Tells a cache's bytes for a number of positions.
    pub(crate) fn bytes(&self, positions: usize) -> usize {
        let capacity = positions.next_multiple_of(LANES);
        self.layers
            * self.kv_heads
            * capacity
            * (self.head_dim + self.value_width())
            * size_of::<f32>()
    }

    /// The width of a stored value: the head's, in whole vectors.
    pub(crate) fn value_width(&self) -> usize {
        self.head_dim.next_multiple_of(LANES)
    }
}

/// The cache of one sequence. Both parts are laid out as tiles for the matrix kernel.
pub(crate) struct KvCache {
    shape: CacheShape,
    capacity: usize,
    /// `[layer][kv head][position / 16][head_dim][16]`.
    keys: Aligned,
    /// `[layer][kv head][head_dim / 16][position][16]`.
    values: Aligned,
}

impl KvCache {
    /// Allocates a cache; memory of positions never written is never touched.
    pub(crate) fn new(shape: CacheShape, positions: usize) -> Result<Self, EngineError> {
        let capacity = positions.next_multiple_of(LANES);
        let heads = shape.layers * shape.kv_heads;
        Ok(Self {
            shape,
            capacity,
            keys: Aligned::zeros(heads * capacity * shape.head_dim)?,
            values: Aligned::zeros(heads * capacity * shape.value_width())?,
        })
    }

    pub(crate) fn bytes(&self) -> usize {
        self.shape.bytes(self.capacity)
    }

    /// Copies the first `positions` from a cache of the same model.
    pub(crate) fn copy_prefix(&mut self, from: &Self, positions: usize) {
        assert!(
            self.shape == from.shape && positions <= self.capacity.min(from.capacity),
            "a prefix of both"
        );
        let key_run = positions.next_multiple_of(LANES) * self.shape.head_dim;
        let value_run = positions * LANES;
        let heads = self.shape.layers * self.shape.kv_heads;
        let tiles = heads * self.shape.value_width() / LANES;
        copy_runs(&mut self.keys, &from.keys, heads, key_run);
        copy_runs(&mut self.values, &from.values, tiles, value_run);
    }

    /// Shows the cache to tasks that write and read it.
    pub(crate) fn share(&mut self) -> SharedCache {
        SharedCache {
            shape: self.shape,
            capacity: self.capacity,
            keys: SharedMut::new(self.keys.as_mut()),
            values: SharedMut::new(self.values.as_mut()),
        }
    }
}

fn copy_runs(to: &mut Aligned, from: &Aligned, runs: usize, length: usize) {
    let (to, from) = (to.as_mut(), from.as_ref());
    let (to_stride, from_stride) = (to.len() / runs, from.len() / runs);
    for run in 0..runs {
        to[run * to_stride..][..length].copy_from_slice(&from[run * from_stride..][..length]);
    }
}

/// A [`KvCache`] that tasks work on, each on its own positions or heads.
#[derive(Clone, Copy)]
pub(crate) struct SharedCache {
    shape: CacheShape,
    capacity: usize,
    keys: SharedMut<f32>,
    values: SharedMut<f32>,
}

#[expect(unsafe_code, reason = "tasks write the positions of their own tokens")]
impl SharedCache {
    /// Writes one position of one head.
    ///
    /// # Safety
    /// Nothing else reads or writes this position of this head meanwhile.
    pub(crate) unsafe fn write(
        &self,
        layer: usize,
        head: usize,
        position: usize,
        key: &[f32],
        value: &[f32],
    ) {
        assert!(position < self.capacity, "a position within the cache");
        let head = layer * self.shape.kv_heads + head;
        let head_dim = self.shape.head_dim;
        let block = head * self.capacity * head_dim + position / LANES * LANES * head_dim;
        for (i, key) in key.iter().enumerate() {
            // SAFETY: one element of this position, by the contract.
            unsafe { self.keys.slice(block + i * LANES + position % LANES, 1)[0] = *key };
        }
        for (tile, part) in value.chunks(LANES).enumerate() {
            let at = self.value_tile(head, tile) + position * LANES;
            // SAFETY: elements of this position, by the contract.
            unsafe { self.values.slice(at, part.len()) }.copy_from_slice(part);
        }
    }

    fn value_tile(&self, head: usize, tile: usize) -> usize {
        (head * self.shape.value_width() / LANES + tile) * self.capacity * LANES
    }

    /// Shows a block of sixteen keys, `[head_dim][16]`.
    ///
    /// # Safety
    /// Nothing writes them meanwhile.
    pub(crate) unsafe fn key_block(&self, layer: usize, head: usize, block: usize) -> &[f32] {
        let head = layer * self.shape.kv_heads + head;
        let size = LANES * self.shape.head_dim;
        // SAFETY: by the contract.
        unsafe {
            self.keys.slice(
                head * self.capacity * self.shape.head_dim + block * size,
                size,
            )
        }
    }

    /// Shows sixteen columns of the values at some positions, `[positions][16]`.
    ///
    /// # Safety
    /// Nothing writes them meanwhile.
    pub(crate) unsafe fn values(
        &self,
        layer: usize,
        head: usize,
        tile: usize,
        positions: std::ops::Range<usize>,
    ) -> &[f32] {
        assert!(positions.end <= self.capacity, "positions within the cache");
        let head = layer * self.shape.kv_heads + head;
        // SAFETY: by the contract.
        unsafe {
            self.values.slice(
                self.value_tile(head, tile) + positions.start * LANES,
                positions.len() * LANES,
            )
        }
    }
}

/// Zeroed floats that start on a cache line.
struct Aligned {
    data: Vec<f32>,
    offset: usize,
    length: usize,
}

impl Aligned {
    fn zeros(length: usize) -> Result<Self, EngineError> {
        let room = length + LANES;
        // Asks first, so that too much is an error; the zeroed allocation itself costs no memory until it is written.
        let mut data: Vec<f32> = Vec::new();
        data.try_reserve_exact(room).map_err(|_| {
            EngineError::Memory(format!(
                "a key-value cache of {} MiB does not fit in memory",
                (room * 4) >> 20
            ))
        })?;
        drop(data);
        let data = vec![0f32; room];
        let offset = data.as_ptr().align_offset(64).min(LANES);
        Ok(Self {
            data,
            offset,
            length,
        })
    }

    fn as_ref(&self) -> &[f32] {
        &self.data[self.offset..][..self.length]
    }

    fn as_mut(&mut self) -> &mut [f32] {
        &mut self.data[self.offset..][..self.length]
    }
}
