//! Scores how full a text is, from 0 for nothing to 1 for as many tokens as are wanted.

use autodidact_plugin::text::count_tokens;
use autodidact_plugin::{Plugin, Record, Score, Scorer, export_plugin};
use serde::Deserialize;

/// The configuration; `CONFIG_SCHEMA` describes the same.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Which text is scored.
    pub field: Field,
    /// The tokens that are worth 1.
    pub target_tokens: usize,
}

/// A text of a record.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// What to do.
    Instruction,
    /// The answer.
    Output,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            field: Field::Output,
            target_tokens: 60,
        }
    }
}

/// The scorer with its configuration.
pub struct Mine(Config);

impl Plugin for Mine {
    type Config = Config;
    const NAME: &'static str = "{{name}}";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const CONFIG_SCHEMA: &'static str = r#"{
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "field": {
                "description": "Which text is scored.",
                "enum": ["instruction", "output"], "default": "output"
            },
            "target_tokens": {
                "description": "The tokens that are worth 1: a word, a number, or one Chinese character.",
                "type": "integer", "minimum": 1, "default": 60
            }
        }
    }"#;

    fn new(config: Config) -> Result<Self, String> {
        match config.target_tokens {
            0 => Err("target_tokens: expected 1 or more, found 0".to_string()),
            _ => Ok(Self(config)),
        }
    }
}

impl Scorer for Mine {
    fn score(&self, record: &Record<'_>) -> Score {
        let (name, text) = match self.0.field {
            Field::Instruction => ("instruction", record.instruction),
            Field::Output => ("output", record.output),
        };
        if text.is_empty() {
            return Score::none(format!("there is no {name}"));
        }
        let tokens = count_tokens(text);
        Score {
            value: Some((tokens as f64 / self.0.target_tokens as f64).min(1.0)),
            note: Some(format!("{tokens} tokens")),
        }
    }
}

export_plugin!(Mine: Scorer);
