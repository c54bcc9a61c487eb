//! Buffers that are used again from layer to layer and step to step.
//!
//! Fresh memory costs a page fault every 4 KiB; a step without reuse spent a quarter of its time in them.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// Keeps the buffers of one training run.
///
/// INVARIANT: a buffer is handed out for the capacity it was made for only, so the pool never holds more than the run
/// needed at one time. Memory that a smaller batch does not touch is not backed by pages either.
pub(crate) struct BufferPool {
    max_rows: usize,
    free: Mutex<HashMap<usize, Vec<Vec<f32>>>>,
}

impl BufferPool {
    /// Makes a pool for batches of up to `max_rows` tokens.
    pub(crate) fn new(max_rows: usize) -> Arc<Self> {
        Arc::new(Self {
            max_rows,
            free: Mutex::default(),
        })
    }

    /// Takes a buffer `[rows, width]` with unspecified (but initialised) contents.
    ///
    /// # Panics
    /// When `rows` passes the pool's `max_rows`.
    pub(crate) fn take(self: &Arc<Self>, rows: usize, width: usize) -> Buffer {
        assert!(
            rows <= self.max_rows,
            "a batch of {rows} tokens in a pool for {}",
            self.max_rows
        );
        self.take_within(self.max_rows * width, rows * width)
    }

    /// Takes `length` elements of a buffer made for `capacity`.
    pub(crate) fn take_within(self: &Arc<Self>, capacity: usize, length: usize) -> Buffer {
        debug_assert!(length <= capacity);
        let reused = self.lock().get_mut(&capacity).and_then(Vec::pop);
        Buffer {
            data: reused.unwrap_or_else(|| vec![0f32; capacity]),
            length,
            pool: Arc::clone(self),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<usize, Vec<Vec<f32>>>> {
        // Nothing that holds the lock can leave the map half changed.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A slice of f32 that goes back to its pool when dropped.
pub(crate) struct Buffer {
    data: Vec<f32>,
    length: usize,
    pool: Arc<BufferPool>,
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.data[..self.length]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.data[..self.length]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let data = std::mem::take(&mut self.data);
        self.pool.lock().entry(data.len()).or_default().push(data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_the_next_one_of_its_width() {
        let pool = BufferPool::new(4);
        let mut first = pool.take(4, 2);
        first[7] = 5.0;
        let address = first.as_ptr();
        drop(first);
        let second = pool.take(3, 2);
        assert_eq!((second.as_ptr(), second.len()), (address, 6));
        assert_ne!(pool.take(3, 2).as_ptr(), address);
        assert_eq!(pool.take(4, 3).len(), 12);
    }
}
