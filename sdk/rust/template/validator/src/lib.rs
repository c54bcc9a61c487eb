//! Takes blanks off answers, and drops those that are empty or too long.

use autodidact_plugin::text::count_tokens;
use autodidact_plugin::{Decision, Outcome, Plugin, Record, Validator, export_plugin};
use serde::Deserialize;

/// The configuration; `CONFIG_SCHEMA` describes the same.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether blanks around an answer are taken off.
    pub trim: bool,
    /// The most tokens of an answer.
    pub max_tokens: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            trim: true,
            max_tokens: 800,
        }
    }
}

/// The validator with its configuration.
pub struct Mine(Config);

impl Plugin for Mine {
    type Config = Config;
    const NAME: &'static str = "{{name}}";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const CONFIG_SCHEMA: &'static str = r#"{
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "trim": {
                "description": "Whether blanks around an answer are taken off.",
                "type": "boolean", "default": true
            },
            "max_tokens": {
                "description": "The most tokens of an answer: a word, a number, or one Chinese character.",
                "type": "integer", "minimum": 1, "default": 800
            }
        }
    }"#;

    fn new(config: Config) -> Result<Self, String> {
        match config.max_tokens {
            0 => Err("max_tokens: expected 1 or more, found 0".to_string()),
            _ => Ok(Self(config)),
        }
    }
}

impl Validator for Mine {
    fn validate(&self, record: &Record<'_>) -> Outcome {
        // The ideographic blank is one too.
        let trimmed = record.output.trim();
        if trimmed.is_empty() {
            return Outcome::Drop(Decision::drop("empty_answer"));
        }
        let tokens = count_tokens(trimmed);
        if tokens > self.0.max_tokens {
            let fault = Decision::drop("too_long").with_note(format!("{tokens} tokens"));
            return Outcome::Drop(fault.with_score(tokens as f64));
        }
        if self.0.trim && trimmed != record.output {
            return Outcome::Correct {
                output: trimmed.to_string(),
                note: Some("blanks around it are gone".to_string()),
            };
        }
        Outcome::Accept
    }
}

export_plugin!(Mine: Validator);
