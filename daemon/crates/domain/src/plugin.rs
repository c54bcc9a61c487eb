//! What the loop knows of plugins.

use serde::{Deserialize, Serialize};

use crate::{Digest, PluginName};

/// An installed plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginSummary {
    /// The name its `describe` gives.
    pub name: PluginName,
    /// The version its `describe` gives.
    pub version: String,
    /// The kinds it exports; `filter` alone so far.
    pub kinds: Vec<String>,
    /// The BLAKE3 digest of the component's bytes.
    pub digest: Digest,
    /// The JSON schema of its configuration, as its `describe` gives it; empty for none.
    pub config_schema: String,
    /// The size of the component in bytes.
    pub size: u64,
    /// Whether it comes with the daemon.
    pub builtin: bool,
    /// Whether workflows may use it.
    pub enabled: bool,
}

/// What a filter sees of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterRecord {
    /// What to do.
    pub instruction: String,
    /// What to do it to; empty for none, or before it is generated.
    pub input: String,
    /// The answer; empty before it is generated.
    pub output: String,
    /// The ISO 639-1 code, empty when unknown.
    pub language: String,
}

/// A filter's decision on one record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FilterDecision {
    /// None keeps; a reason code drops.
    pub drop_reason: Option<String>,
    /// What the decision rests on, for people.
    pub note: Option<String>,
    /// A score, where the filter has one.
    pub score: Option<f64>,
}
