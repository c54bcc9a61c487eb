//! Drops records whose instruction or answer is too short or too long, counted alike in English and Chinese.

pub mod measure;

use autodidact_plugin::{Decision, Filter, Plugin, Record, export_plugin, text};
use measure::Bounds;
use serde::Deserialize;

/// The configuration; `config.schema.json` describes the same.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Tokens of an instruction.
    pub instruction: Tokens,
    /// Tokens of an answer.
    pub output: Tokens,
}

/// The least and the most tokens.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    /// The least that is kept.
    pub least: usize,
    /// The most that is kept.
    pub most: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            instruction: Tokens {
                least: 3,
                most: 200,
            },
            output: Tokens {
                least: 1,
                most: 2000,
            },
        }
    }
}

/// The filter with its bounds, of the instruction and of the answer.
pub struct Length([Bounds; 2]);

impl Plugin for Length {
    type Config = Config;
    const NAME: &'static str = "length";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const CONFIG_SCHEMA: &'static str = include_str!("../config.schema.json");

    fn new(config: Config) -> Result<Self, String> {
        let named = [
            ("instruction", config.instruction),
            ("output", config.output),
        ];
        if let Some((name, wrong)) = named.iter().find(|(_, tokens)| tokens.least > tokens.most) {
            return Err(format!(
                "{name}: least is {}, more than most, {}",
                wrong.least, wrong.most
            ));
        }
        Ok(Self(named.map(|(_, tokens)| Bounds {
            least: tokens.least,
            most: tokens.most,
        })))
    }
}

impl Filter for Length {
    fn decide(&self, record: &Record<'_>) -> Decision {
        let Some(found) = measure::judge(record.instruction, record.output, self.0) else {
            return Decision::keep();
        };
        Decision::drop(found.reason)
            .with_note(format!(
                "{}: {} to {} tokens",
                found.field, found.bounds.least, found.bounds.most
            ))
            .with_score(found.tokens as f64)
    }
}

export_plugin!(Length: Filter);
