//! One tree of sled, with this crate's errors.

use std::ops::RangeBounds;

use sled::IVec;

use crate::StoreError;

/// A key with its value.
pub(crate) type Pair = (IVec, IVec);

/// One ordered key space of a database.
#[derive(Clone)]
pub(crate) struct Table(pub(crate) sled::Tree);

impl Table {
    /// Reads a value.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<IVec>, StoreError> {
        Ok(self.0.get(key)?)
    }

    /// Writes one short value.
    pub(crate) fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.0.insert(key, value)?;
        Ok(())
    }

    /// Reads every pair whose key starts with the prefix, in order.
    pub(crate) fn scan(
        &self,
        prefix: &[u8],
    ) -> impl DoubleEndedIterator<Item = Result<Pair, StoreError>> + use<> {
        self.0
            .scan_prefix(prefix)
            .map(|pair| pair.map_err(StoreError::from))
    }

    /// Reads every pair in a range of keys, in order.
    pub(crate) fn range<R: RangeBounds<Vec<u8>>>(
        &self,
        range: R,
    ) -> impl DoubleEndedIterator<Item = Result<Pair, StoreError>> + use<R> {
        let bounds = (range.start_bound().cloned(), range.end_bound().cloned());
        self.0
            .range(bounds)
            .map(|pair| pair.map_err(StoreError::from))
    }

    /// Tells whether nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Reads a big-endian number from the first bytes of a value or key.
pub(crate) fn number(bytes: &[u8]) -> Result<u64, StoreError> {
    let bytes = bytes
        .first_chunk::<8>()
        .ok_or_else(|| StoreError::Corrupt("a number is cut short".to_string()))?;
    Ok(u64::from_be_bytes(*bytes))
}
