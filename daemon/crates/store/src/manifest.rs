//! What a checkpoint's manifest says: its summary, its tensors' names and shapes, and where their bytes are.

use autodidact_domain::{Checkpoint, CheckpointSummary, Digest, NamedTensor};
use serde::{Deserialize, Serialize};

use crate::StoreError;
use crate::journal::{decode, encode};

/// Bytes of tensors in one chunk: 128 parts, which are written in one batch.
pub(crate) const CHUNK_BYTES: usize = 512 << 10;
const ELEMENT_BYTES: usize = size_of::<f32>();
const DIGEST_BYTES: usize = 32;

/// A checkpoint without its elements.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// What the port shows.
    pub(crate) summary: CheckpointSummary,
    /// The adapter's tensors, then the optimizer's.
    pub(crate) sets: [TensorSet; 2],
}

/// Tensors whose elements stand one after the other, as little-endian bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TensorSet {
    /// Names and shapes in order.
    pub(crate) tensors: Vec<(String, Vec<usize>)>,
    /// Where the bytes are.
    pub(crate) bytes: Bytes,
}

/// Where the bytes of a set are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bytes {
    /// In chunks of [`CHUNK_BYTES`], the last one shorter.
    Chunks(Vec<Digest>),
    /// In a file of this digest.
    File(Digest),
}

/// The content that a write or removal is about, by which what is left of it can be found after a kill.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Draft {
    /// Chunks.
    pub(crate) chunks: Vec<Digest>,
    /// Files of tensors.
    pub(crate) files: Vec<Digest>,
}

impl Draft {
    /// Adds what a manifest names.
    pub(crate) fn add(&mut self, manifest: &Manifest) {
        for set in &manifest.sets {
            match &set.bytes {
                Bytes::Chunks(digests) => self.chunks.extend(digests),
                Bytes::File(digest) => self.files.push(*digest),
            }
        }
    }
}

impl Manifest {
    /// Describes a checkpoint, without writing anything.
    pub(crate) fn describe(
        summary: CheckpointSummary,
        checkpoint: &Checkpoint,
        file_bytes: u64,
    ) -> Self {
        let sets = [&checkpoint.adapter, &checkpoint.optimizer]
            .map(|tensors| TensorSet::describe(tensors, file_bytes));
        Self { summary, sets }
    }

    /// Tells whether another manifest stands for the same checkpoint, whenever it was written.
    pub(crate) fn same_content(&self, other: &Self) -> bool {
        let summary = CheckpointSummary {
            created_ms: other.summary.created_ms,
            ..self.summary.clone()
        };
        summary == other.summary && self.sets == other.sets
    }

    /// Writes it down, its own digest first.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let json = encode(self);
        [Digest::of(&json).as_bytes().as_slice(), &json].concat()
    }

    /// Reads it, and checks its digest.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        match bytes.split_at_checked(DIGEST_BYTES) {
            Some((digest, json)) if Digest::of(json).as_bytes() == digest => {
                decode("a checkpoint's manifest", json)
            }
            _ => Err(StoreError::Corrupt(
                "a checkpoint's manifest does not match its digest".to_string(),
            )),
        }
    }
}

impl TensorSet {
    fn describe(tensors: &[NamedTensor], file_bytes: u64) -> Self {
        let mut whole = blake3::Hasher::new();
        let mut chunks = Vec::new();
        if byte_count(tensors) > file_bytes {
            let _: Result<(), std::convert::Infallible> = in_chunks(tensors, |chunk| {
                whole.update(chunk);
                Ok(())
            });
        } else {
            let _: Result<(), std::convert::Infallible> = in_chunks(tensors, |chunk| {
                chunks.push(Digest::of(chunk));
                Ok(())
            });
        }
        let bytes = match byte_count(tensors) > file_bytes {
            true => Bytes::File(Digest::from_bytes(*whole.finalize().as_bytes())),
            false => Bytes::Chunks(chunks),
        };
        Self {
            tensors: tensors
                .iter()
                .map(|t| (t.name.clone(), t.shape.clone()))
                .collect(),
            bytes,
        }
    }
}

/// Counts the bytes of tensors' elements.
pub(crate) fn byte_count(tensors: &[NamedTensor]) -> u64 {
    tensors
        .iter()
        .map(|tensor| (tensor.data.len() * ELEMENT_BYTES) as u64)
        .sum()
}

/// Shows the elements of tensors, one after the other, in chunks of [`CHUNK_BYTES`].
pub(crate) fn in_chunks<E>(
    tensors: &[NamedTensor],
    mut chunk: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut buffer = Vec::with_capacity(CHUNK_BYTES);
    for tensor in tensors {
        let mut rest = tensor.data.as_slice();
        while !rest.is_empty() {
            let room = (CHUNK_BYTES - buffer.len()) / ELEMENT_BYTES;
            let (now, later) = rest.split_at(room.min(rest.len()));
            buffer.extend(now.iter().flat_map(|element| element.to_le_bytes()));
            rest = later;
            if buffer.len() == CHUNK_BYTES {
                chunk(&buffer)?;
                buffer.clear();
            }
        }
    }
    if buffer.is_empty() {
        Ok(())
    } else {
        chunk(&buffer)
    }
}

/// Puts tensors together again from pieces of their bytes, each a whole number of elements.
pub(crate) struct Assembler {
    shapes: std::vec::IntoIter<(String, Vec<usize>)>,
    done: Vec<NamedTensor>,
    /// Elements that the last tensor of `done` still lacks.
    lacking: usize,
}

impl Assembler {
    /// Starts with the names and shapes of a set.
    pub(crate) fn new(set: &TensorSet) -> Self {
        Self {
            shapes: set.tensors.clone().into_iter(),
            done: Vec::new(),
            lacking: 0,
        }
    }

    /// Takes the next bytes. Memory grows with the bytes that are there, whatever the shapes claim.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let (elements, rest) = bytes.as_chunks::<ELEMENT_BYTES>();
        if !rest.is_empty() {
            return Err(mismatch());
        }
        let mut elements = elements;
        while !elements.is_empty() {
            while self.lacking == 0 {
                self.next_tensor()?;
            }
            let (now, later) = elements.split_at(self.lacking.min(elements.len()));
            let tensor = self.done.last_mut().ok_or_else(mismatch)?;
            tensor
                .data
                .extend(now.iter().map(|bytes| f32::from_le_bytes(*bytes)));
            self.lacking -= now.len();
            elements = later;
        }
        Ok(())
    }

    /// Gives the tensors, once all bytes are taken.
    pub(crate) fn finish(mut self) -> Result<Vec<NamedTensor>, StoreError> {
        while self.lacking == 0 && self.shapes.len() > 0 {
            self.next_tensor()?;
        }
        if self.lacking == 0 {
            Ok(self.done)
        } else {
            Err(mismatch())
        }
    }

    fn next_tensor(&mut self) -> Result<(), StoreError> {
        let (name, shape) = self.shapes.next().ok_or_else(mismatch)?;
        self.lacking = shape
            .iter()
            .try_fold(1usize, |product, size| product.checked_mul(*size))
            .ok_or_else(mismatch)?;
        let data = Vec::with_capacity(self.lacking.min(CHUNK_BYTES));
        self.done.push(NamedTensor { name, shape, data });
        Ok(())
    }
}

fn mismatch() -> StoreError {
    StoreError::Corrupt("the shapes of tensors do not match their bytes".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors(lengths: &[usize]) -> Vec<NamedTensor> {
        let tensor = |(i, length): (usize, &usize)| NamedTensor {
            name: format!("t{i}"),
            shape: vec![*length],
            data: (0..*length).map(|x| x as f32 + i as f32 / 8.0).collect(),
        };
        lengths.iter().enumerate().map(tensor).collect()
    }

    #[test]
    fn tensors_of_any_length_go_round_through_chunks() {
        for lengths in [
            &[][..],
            &[0],
            &[0, 3, 0],
            &[131_072],
            &[131_071, 2, 300_000, 1],
        ] {
            let tensors = tensors(lengths);
            let set = TensorSet::describe(&tensors, u64::MAX);
            let mut assembler = Assembler::new(&set);
            let mut digests = Vec::new();
            in_chunks(&tensors, |chunk| {
                digests.push(Digest::of(chunk));
                assembler.take(chunk)
            })
            .expect("fits");
            assert_eq!(assembler.finish().expect("whole"), tensors, "{lengths:?}");
            assert_eq!(set.bytes, Bytes::Chunks(digests), "{lengths:?}");
        }
    }

    #[test]
    fn bytes_that_do_not_fit_the_shapes_are_refused() {
        let set = |shape: Vec<usize>| TensorSet {
            tensors: vec![("t".into(), shape)],
            bytes: Bytes::Chunks(vec![]),
        };
        let read = |shape, bytes: &[u8]| {
            let mut assembler = Assembler::new(&set(shape));
            assembler.take(bytes)?;
            assembler.finish()
        };
        assert!(read(vec![2], &[0; 8]).is_ok());
        assert!(read(vec![2], &[0; 4]).is_err());
        assert!(read(vec![2], &[0; 12]).is_err());
        assert!(read(vec![2], &[0; 7]).is_err());
        assert!(read(vec![usize::MAX, 2], &[0; 8]).is_err());
        assert!(read(vec![usize::MAX], &[0; 8]).is_err());
    }
}
