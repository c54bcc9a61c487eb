//! Drops instructions that shout or say too little.

use autodidact_plugin::text::count_tokens;
use autodidact_plugin::{Decision, Filter, Plugin, Record, export_plugin};
use serde::Deserialize;

/// The configuration; `CONFIG_SCHEMA` describes the same.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The most exclamation marks, of either width, that are kept.
    pub max_marks: usize,
    /// The least tokens that are kept.
    pub min_tokens: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_marks: 2,
            min_tokens: 3,
        }
    }
}

/// The filter with its configuration.
pub struct Mine(Config);

impl Plugin for Mine {
    type Config = Config;
    const NAME: &'static str = "{{name}}";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const CONFIG_SCHEMA: &'static str = r#"{
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "max_marks": {
                "description": "The most exclamation marks, of either width, that are kept.",
                "type": "integer", "minimum": 0, "default": 2
            },
            "min_tokens": {
                "description": "The least tokens that are kept: a word, a number, or one Chinese character.",
                "type": "integer", "minimum": 0, "default": 3
            }
        }
    }"#;

    fn new(config: Config) -> Result<Self, String> {
        Ok(Self(config))
    }
}

impl Filter for Mine {
    fn decide(&self, record: &Record<'_>) -> Decision {
        let tokens = count_tokens(record.instruction);
        if tokens < self.0.min_tokens {
            return Decision::drop("too_short")
                .with_note(format!("{tokens} tokens"))
                .with_score(tokens as f64);
        }
        let is_mark = |c: &char| matches!(c, '!' | '！');
        let marks = record.instruction.chars().filter(is_mark).count();
        if marks > self.0.max_marks {
            return Decision::drop("shouts")
                .with_note(format!("{marks} exclamation marks"))
                .with_score(marks as f64);
        }
        Decision::keep()
    }
}

export_plugin!(Mine: Filter);
