//! The keys of the datasets' table, and lists of digests; [`crate::datasets`] says what stands under them.

use autodidact_domain::{DatasetName, Digest, Example};

use crate::StoreError;
use crate::journal::{encode, name_key};
use crate::parts;

/// The first byte of lists' keys.
pub(crate) const LIST: u8 = parts::FIRST_OTHER;
/// The first byte of the keys of files' digests.
pub(crate) const SOURCE: u8 = parts::FIRST_OTHER + 1;
/// The first byte of the keys of last version numbers.
const LAST: u8 = parts::FIRST_OTHER + 2;

/// The length of a digest.
pub(crate) const DIGEST_BYTES: usize = 32;
/// Digests in one value of a list.
pub(crate) const LIST_DIGESTS: usize = parts::PART_BYTES / DIGEST_BYTES;
/// A version's digest, and its examples' digests in order.
pub(crate) struct Listed {
    /// Over the number of examples and their digests.
    pub(crate) digest: Digest,
    /// One for each example, repeated ones too.
    pub(crate) examples: Vec<Digest>,
    /// The length of all examples as JSON.
    pub(crate) bytes: u64,
}

/// Digests examples one by one, and the list of them: its length and the digests in order.
pub(crate) fn list(examples: &[Example]) -> Listed {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(examples.len() as u64).to_le_bytes());
    let mut listed = Listed {
        digest: Digest::of(&[]),
        examples: Vec::with_capacity(examples.len()),
        bytes: 0,
    };
    for example in examples {
        let bytes = encode(example);
        let digest = Digest::of(&bytes);
        hasher.update(digest.as_bytes());
        listed.bytes += bytes.len() as u64;
        listed.examples.push(digest);
    }
    listed.digest = Digest::from_bytes(*hasher.finalize().as_bytes());
    listed
}

/// Reads the digests in one value of a list.
pub(crate) fn digests(list: &[u8]) -> impl Iterator<Item = Digest> {
    list.as_chunks::<DIGEST_BYTES>()
        .0
        .iter()
        .map(|bytes| Digest::from_bytes(*bytes))
}

/// Reads a version number.
pub(crate) fn short_number(bytes: &[u8]) -> Result<u32, StoreError> {
    let bytes = bytes
        .first_chunk()
        .ok_or_else(|| StoreError::Corrupt("a version number is malformed".to_string()))?;
    Ok(u32::from_be_bytes(*bytes))
}

/// The key of a version's summary.
pub(crate) fn version_key(name: &DatasetName, version: u32) -> Vec<u8> {
    [name_key(name.as_str()).as_slice(), &version.to_be_bytes()].concat()
}

/// The key of a part of a version's list.
pub(crate) fn list_key(name: &DatasetName, version: u32, part: u32) -> Vec<u8> {
    [
        &[LIST],
        version_key(name, version).as_slice(),
        &part.to_be_bytes(),
    ]
    .concat()
}

/// The key of the version that a file led to.
pub(crate) fn source_key(name: &DatasetName, digest: Digest) -> Vec<u8> {
    [
        &[SOURCE],
        name_key(name.as_str()).as_slice(),
        digest.as_bytes(),
    ]
    .concat()
}

/// The key of the last version number given out.
pub(crate) fn last_key(name: &DatasetName) -> Vec<u8> {
    [&[LAST], name_key(name.as_str()).as_slice()].concat()
}
