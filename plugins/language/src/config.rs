//! The configuration; `config.schema.json` describes the same.

use std::fmt;

use autodidact_plugin::Record;
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

/// A text of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// What to do.
    Instruction,
    /// What to do it to.
    Input,
    /// The answer.
    Output,
}

impl Field {
    /// Shows this text of a record.
    pub(crate) fn of<'a>(self, record: &Record<'a>) -> &'a str {
        match self {
            Self::Instruction => record.instruction,
            Self::Input => record.input,
            Self::Output => record.output,
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Instruction => "instruction",
            Self::Input => "input",
            Self::Output => "output",
        })
    }
}
