//! Keys and values of one sequence, allocated once for its longest possible length.

use crate::EngineError;
use crate::engine::Compute;
use crate::kernels::lanes::LANES;
use crate::kernels::{Isa, SharedMut, Tile, round_to_f16};
use crate::models::config::ModelConfig;

/// The bytes of a cache line.
const LINE_BYTES: usize = 64;

/// What a key or value is kept as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CacheElement {
    F32,
    /// An IEEE 754 half: half the memory, and eleven bits of precision, more than 8-bit activations leave.
    F16,
}

impl CacheElement {
    fn of(compute: Compute) -> Self {
        match compute {
            Compute::Exact => Self::F32,
            Compute::Fast => Self::F16,
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::F32 => size_of::<f32>(),
            Self::F16 => size_of::<u16>(),
        }
    }
}

/// Sizes that a model gives its caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CacheShape {
    pub(crate) layers: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) element: CacheElement,
}

impl CacheShape {
    pub(crate) fn of(config: &ModelConfig, compute: Compute) -> Self {
        Self {
            layers: config.layers,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            element: CacheElement::of(compute),
        }
    }

    /// Of a model that keeps its keys and values itself.
    pub(crate) fn none() -> Self {
        Self {
            layers: 0,
            kv_heads: 0,
            head_dim: 0,
            element: CacheElement::F32,
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
            * self.element.bytes()
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
    keys: Elements,
    /// `[layer][kv head][head_dim / 16][position][16]`.
    values: Elements,
}

/// One part of a cache.
enum Elements {
    F32(Aligned<f32>),
    F16(Aligned<u16>),
}

impl KvCache {
    /// Allocates a cache; memory of positions never written is never touched.
    pub(crate) fn new(shape: CacheShape, positions: usize) -> Result<Self, EngineError> {
        let capacity = positions.next_multiple_of(LANES);
        let heads = shape.layers * shape.kv_heads;
        let zeros = |length| match shape.element {
            CacheElement::F32 => Aligned::zeros(length).map(Elements::F32),
            CacheElement::F16 => Aligned::zeros(length).map(Elements::F16),
        };
        Ok(Self {
            shape,
            capacity,
            keys: zeros(heads * capacity * shape.head_dim)?,
            values: zeros(heads * capacity * shape.value_width())?,
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
        self.keys.copy_runs(&from.keys, heads, key_run);
        self.values.copy_runs(&from.values, tiles, value_run);
    }

    /// Shows the cache to tasks that write and read it.
    pub(crate) fn share(&mut self) -> SharedCache {
        SharedCache {
            shape: self.shape,
            capacity: self.capacity,
            keys: self.keys.share(),
            values: self.values.share(),
        }
    }
}

impl Elements {
    fn copy_runs(&mut self, from: &Self, runs: usize, length: usize) {
        match (self, from) {
            (Self::F32(to), Self::F32(from)) => copy_runs(to, from, runs, length),
            (Self::F16(to), Self::F16(from)) => copy_runs(to, from, runs, length),
            _ => unreachable!("caches of one shape have one element"),
        }
    }

    fn share(&mut self) -> SharedElements {
        match self {
            Self::F32(data) => SharedElements::F32(SharedMut::new(data.as_mut())),
            Self::F16(data) => SharedElements::F16(SharedMut::new(data.as_mut())),
        }
    }
}

fn copy_runs<T: Copy + Default>(
    to: &mut Aligned<T>,
    from: &Aligned<T>,
    runs: usize,
    length: usize,
) {
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
    keys: SharedElements,
    values: SharedElements,
}

#[derive(Clone, Copy)]
enum SharedElements {
    F32(SharedMut<f32>),
    F16(SharedMut<u16>),
}

#[expect(unsafe_code, reason = "tasks use the parts that are theirs")]
impl SharedElements {
    /// Writes up to sixteen elements from `at` on, `stride` apart.
    ///
    /// # Safety
    /// Nothing else reads or writes them meanwhile.
    unsafe fn write(&self, isa: Isa, at: usize, stride: usize, from: &[f32]) {
        match self {
            Self::F32(data) => {
                for (i, value) in from.iter().enumerate() {
                    // SAFETY: by the contract.
                    unsafe { data.slice(at + i * stride, 1)[0] = *value };
                }
            }
            Self::F16(data) => {
                let (mut row, mut halves) = ([0f32; LANES], [0u16; LANES]);
                row[..from.len()].copy_from_slice(from);
                round_to_f16(isa, &row, &mut halves);
                for (i, half) in halves[..from.len()].iter().enumerate() {
                    // SAFETY: by the contract.
                    unsafe { data.slice(at + i * stride, 1)[0] = *half };
                }
            }
        }
    }

    /// Shows a part.
    ///
    /// # Safety
    /// Nothing writes it meanwhile.
    unsafe fn tile(&self, from: usize, count: usize) -> Tile<'_> {
        // SAFETY: by the contract.
        unsafe {
            match self {
                Self::F32(data) => Tile::F32(data.slice(from, count)),
                Self::F16(data) => Tile::F16(data.slice(from, count)),
            }
        }
    }
}

#[expect(unsafe_code, reason = "tasks write the positions of their own tokens")]
impl SharedCache {
    /// Writes one position of one head.
    ///
    /// # Safety
    /// Nothing else reads or writes this position of this head meanwhile.
    pub(crate) unsafe fn write(
        &self,
        isa: Isa,
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
        for (part, key) in key.chunks(LANES).enumerate() {
            let at = block + part * LANES * LANES + position % LANES;
            // SAFETY: elements of this position, by the contract.
            unsafe { self.keys.write(isa, at, LANES, key) };
        }
        for (tile, part) in value.chunks(LANES).enumerate() {
            let at = self.value_tile(head, tile) + position * LANES;
            // SAFETY: elements of this position, by the contract.
            unsafe { self.values.write(isa, at, 1, part) };
        }
    }

    fn value_tile(&self, head: usize, tile: usize) -> usize {
        (head * self.shape.value_width() / LANES + tile) * self.capacity * LANES
    }

    /// Shows a block of sixteen keys, `[head_dim][16]`.
    ///
    /// # Safety
    /// Nothing writes them meanwhile.
    pub(crate) unsafe fn key_block(&self, layer: usize, head: usize, block: usize) -> Tile<'_> {
        let head = layer * self.shape.kv_heads + head;
        let size = LANES * self.shape.head_dim;
        let from = head * self.capacity * self.shape.head_dim + block * size;
        // SAFETY: by the contract.
        unsafe { self.keys.tile(from, size) }
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
    ) -> Tile<'_> {
        assert!(positions.end <= self.capacity, "positions within the cache");
        let head = layer * self.shape.kv_heads + head;
        let from = self.value_tile(head, tile) + positions.start * LANES;
        // SAFETY: by the contract.
        unsafe { self.values.tile(from, positions.len() * LANES) }
    }
}

/// Zeroed elements that start on a cache line.
struct Aligned<T> {
    data: Vec<T>,
    offset: usize,
    length: usize,
}

impl<T: Copy + Default> Aligned<T> {
    fn zeros(length: usize) -> Result<Self, EngineError> {
        let spare = LINE_BYTES / size_of::<T>();
        let room = length + spare;
        // Asks first, so that too much is an error; the zeroed allocation itself costs no memory until it is written.
        let mut data: Vec<T> = Vec::new();
        data.try_reserve_exact(room).map_err(|_| {
            EngineError::Memory(format!(
                "a key-value cache of {} MiB does not fit in memory",
                (room * size_of::<T>()) >> 20
            ))
        })?;
        drop(data);
        let data = vec![T::default(); room];
        let offset = data.as_ptr().align_offset(LINE_BYTES).min(spare);
        Ok(Self {
            data,
            offset,
            length,
        })
    }

    fn as_ref(&self) -> &[T] {
        &self.data[self.offset..][..self.length]
    }

    fn as_mut(&mut self) -> &mut [T] {
        &mut self.data[self.offset..][..self.length]
    }
}
