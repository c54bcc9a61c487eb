//! Validates what answers say in code blocks and JSON: blocks are closed and not empty, brackets in code have their partners, JSON
//! parses. What is wrong in form alone is corrected.

mod blocks;
mod code;

use autodidact_plugin::text::excerpt;
use autodidact_plugin::{Outcome, Plugin, Record, Validator, export_plugin};
use serde::Deserialize;

use blocks::Block;

/// The configuration; `config.schema.json` describes the same.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether an answer that is nothing but one block becomes what stands in it.
    pub unwrap: bool,
    /// Whether a block that is open at the end is closed where its code is whole.
    pub close: bool,
    /// Whether every answer has to be a JSON value, alone or in one block.
    pub require_json: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            unwrap: false,
            close: true,
            require_json: false,
        }
    }
}

/// The validator with its configuration.
pub struct Structured(Config);

impl Plugin for Structured {
    type Config = Config;
    const NAME: &'static str = "structured";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const CONFIG_SCHEMA: &'static str = include_str!("../config.schema.json");

    fn new(config: Config) -> Result<Self, String> {
        Ok(Self(config))
    }
}

impl Validator for Structured {
    fn validate(&self, record: &Record<'_>) -> Outcome {
        let output = record.output;
        let blocks = blocks::find(output);
        if let Some(wrong) = blocks.iter().find_map(wrong_inside) {
            return wrong;
        }
        if let Some(open) = blocks.last().filter(|block| !block.is_closed) {
            return self.settle_open(output, open);
        }
        let alone = match blocks.as_slice() {
            [block] if blocks::is_whole(output, block) => Some(block),
            _ => None,
        };
        if self.0.require_json {
            let json = alone.map_or(output, |block| block.code);
            if let Err(error) = serde_json::from_str::<serde_json::Value>(json.trim()) {
                return Outcome::drop("not_json", error.to_string());
            }
        }
        match alone {
            Some(block) if self.0.unwrap => Outcome::Correct {
                output: block.code.trim_end().to_string(),
                note: Some("taken out of its block".to_string()),
            },
            _ => Outcome::Accept,
        }
    }
}

impl Structured {
    /// A block that is open at the end was cut off, or only lacks its last line.
    fn settle_open(&self, output: &str, open: &Block<'_>) -> Outcome {
        if !self.0.close {
            return Outcome::drop("unclosed_block", excerpt(open.code.trim(), 40));
        }
        Outcome::Correct {
            output: format!("{}\n{}", output.trim_end(), open.fence),
            note: Some("its last block is closed".to_string()),
        }
    }
}

fn wrong_inside(block: &Block<'_>) -> Option<Outcome> {
    let code = block.code.trim();
    if code.is_empty() {
        return Some(Outcome::drop("empty_block", block.language));
    }
    if block.language.eq_ignore_ascii_case("json") {
        let error = serde_json::from_str::<serde_json::Value>(code).err()?;
        return Some(Outcome::drop("bad_json", error.to_string()));
    }
    let lost = code::lost_bracket(code)?;
    Some(Outcome::drop("unbalanced_code", lost))
}

export_plugin!(Structured: Validator);
