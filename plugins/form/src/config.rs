//! The configuration; `config.schema.json` describes the same.

use serde::Deserialize;

/// What a workflow may set.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Reason codes of checks that are left out.
    pub disabled: Vec<String>,
    /// The most lines with text that an instruction may have.
    pub max_lines: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            disabled: Vec::new(),
            max_lines: 1,
        }
    }
}
