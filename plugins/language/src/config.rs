//! The configuration; `config.schema.json` describes the same.

use autodidact_plugin::Field;
use serde::Deserialize;

/// What a workflow may set.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Codes of the languages that records may be in; empty for any.
    pub languages: Vec<String>,
    /// The texts that are looked at.
    pub fields: Vec<Field>,
    /// The fewest letters in another language that are judged. An ideograph counts as three, a kana or Korean syllable as two.
    pub least_letters: usize,
    /// The least share of a text's letters in its own language, 0 to 1.
    pub least_share: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            languages: Vec::new(),
            fields: vec![Field::Instruction, Field::Output],
            least_letters: 16,
            least_share: 0.5,
        }
    }
}
