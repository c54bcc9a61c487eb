//! The rules that the chains of filter and validate are made of, and their options.

use serde::{Deserialize, Serialize};

use crate::ModelName;

/// One link of a chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChainRule {
    /// Drops what equals, after normalisation, something seen before.
    Exact,
    /// Drops what is near to something kept before.
    RougeL {
        /// Above this ROUGE-L F it is a near-duplicate.
        threshold: f64,
    },
    /// Length and word rules.
    Rules(RulesSpec),
    /// Drops what a model gives too low a mark.
    Score(ScoreSpec),
    /// A WASM filter.
    Plugin {
        /// The installed plugin.
        name: String,
        /// Its configuration, a JSON object.
        config: serde_json::Value,
        /// What a record gets on which the plugin fails.
        on_error: OnPluginError,
    },
}

/// What a record gets on which a plugin fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnPluginError {
    /// It is dropped with reason `plugin_error`.
    Drop,
    /// It goes on, the failure noted.
    Keep,
    /// The workflow stops.
    Stop,
}

/// A model that gives marks from 1 to 5, held to them by a constraint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoreSpec {
    /// The least mark that is kept.
    pub least: u32,
    /// The judge, where it is another than the workflow's base model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelName>,
}

/// The marks that a judge may give.
pub const MARKS: std::ops::RangeInclusive<u32> = 1..=5;

/// Length and word rules; lengths in tokens (a run of alphanumerics, or one CJK character).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RulesSpec {
    /// The fewest tokens of an English instruction.
    pub min_tokens_en: u32,
    /// The most.
    pub max_tokens_en: u32,
    /// The fewest tokens of a Chinese instruction.
    pub min_tokens_zh: u32,
    /// The most.
    pub max_tokens_zh: u32,
    /// Drops an instruction with one of these words, besides the built-in ones for things a text model cannot see or do.
    pub blocked_words: Vec<String>,
}

impl Default for RulesSpec {
    fn default() -> Self {
        // The reference drops <= 3 and > 150 words; the Chinese limits hold as much text in characters.
        Self {
            min_tokens_en: 4,
            max_tokens_en: 150,
            min_tokens_zh: 4,
            max_tokens_zh: 250,
            blocked_words: Vec::new(),
        }
    }
}
