//! Decisions on records, each with its reason.

use serde::{Deserialize, Serialize};

use crate::{Digest, ExampleId};

/// Keep or drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// The record goes on.
    Keep,
    /// The record ends here, and stays on file.
    Drop,
}

/// Which rule or plugin decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRef {
    /// The rule's or plugin's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// A plugin's component digest; none for a built-in rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The BLAKE3 digest of a plugin's configuration as it was asked with: JSON without white space, fields in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_digest: Option<Digest>,
}

impl RuleRef {
    /// Names a built-in rule; its version is the crate's.
    pub fn builtin(name: &str) -> Self {
        Self {
            name: name.to_string(),
            version: env!("CARGO_PKG_VERSION").to_string(),
            digest: None,
            config_digest: None,
        }
    }
}

/// What a decision rests on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The nearest neighbour, for near-duplicates; of what a reviewer edited, what it became.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<ExampleId>,
    /// The neighbour's text, so that a person can judge at sight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest_text: Option<String>,
    /// The score that crossed a threshold; of a keep the lowest mark that a model gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Anything else worth saying, such as the word that was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The person who decided, in a review.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewer: Option<String>,
    /// When that was, in milliseconds since 1970 (UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewed_ms: Option<u64>,
}

/// A decision on one record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Keep or drop.
    pub decision: Decision,
    /// A stable reason code in snake case, such as `near_duplicate`; `kept` for a keep.
    pub reason: String,
    /// Who decided.
    pub rule: RuleRef,
    /// What it rests on.
    #[serde(default)]
    pub evidence: Evidence,
}

impl Verdict {
    /// Makes a drop by a built-in rule.
    pub fn drop(rule: &str, reason: &str, evidence: Evidence) -> Self {
        Self {
            decision: Decision::Drop,
            reason: reason.to_string(),
            rule: RuleRef::builtin(rule),
            evidence,
        }
    }

    /// Makes a keep at the end of a chain.
    pub fn keep(rule: &str) -> Self {
        Self {
            decision: Decision::Keep,
            reason: "kept".to_string(),
            rule: RuleRef::builtin(rule),
            evidence: Evidence::default(),
        }
    }
}
