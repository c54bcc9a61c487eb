//! Named, versioned sets of examples, and what reading a file into one found.

use serde::{Deserialize, Serialize};

use crate::{DatasetName, Digest, Example};

/// One version of a dataset. A version never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetSummary {
    /// The dataset's name.
    pub name: DatasetName,
    /// The version, counted from 1.
    pub version: u32,
    /// The digest over the ordered example ids and what is known about them.
    pub digest: Digest,
    /// How many examples it holds.
    pub records: u64,
    /// When it was made, in milliseconds since 1970 (UTC).
    pub created_ms: u64,
    /// What made it: a file name, `import`, or a workflow.
    pub source: String,
    /// The digest of the file it was read from, by which a file dropped twice is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_digest: Option<Digest>,
}

/// A file's contents, sniffed and read.
#[derive(Clone, Debug, Default)]
pub struct ParsedFile {
    /// The format found, such as `alpaca`.
    pub format: &'static str,
    /// The examples that could be read, in file order.
    pub examples: Vec<Example>,
    /// What could not be read, by line; the first thousand.
    pub faults: Vec<LineFault>,
    /// How many faults there are, also those that `faults` had no room for.
    pub refused: u64,
}

/// Examples as a file.
#[derive(Clone, Debug, Default)]
pub struct WrittenFile {
    /// Its content.
    pub bytes: Vec<u8>,
    /// How many records it holds.
    pub written: u64,
    /// How many it does not, since the format has no place for what they say.
    pub refused: u64,
    /// Which, by their place counted from 1, and why; the first thousand.
    pub faults: Vec<LineFault>,
}

/// A line or record that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineFault {
    /// The line in the file, counted from 1 (for a JSON array: the line its record starts on; for Parquet: the row).
    pub line: u64,
    /// A stable reason code, such as `bad_json`, `missing_field`.
    pub reason: String,
    /// What was expected.
    pub expected: String,
    /// What stood there instead, cut to a readable length.
    pub found: String,
}

/// What became of a dropped or imported file; stands beside it as `<file>.report.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileReport {
    /// The file's name.
    pub file: String,
    /// The BLAKE3 digest of its bytes; of both digests where a mapping file says what its columns are.
    pub digest: Digest,
    /// The dataset version made, as `name@version`; none when every record was refused.
    pub dataset: Option<String>,
    /// How many records were taken.
    pub accepted: u64,
    /// How many were refused.
    pub refused: u64,
    /// Why, by line; the first thousand.
    pub errors: Vec<LineFault>,
}
