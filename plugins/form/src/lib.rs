//! Drops instructions with bad form: fragments, leftovers of a prompt's list or template, cut sentences.

mod checks;
mod config;

use autodidact_plugin::{Decision, Filter, Plugin, Record, export_plugin};

pub use checks::{CHECKS, Check};
pub use config::Config;

/// The filter with its configuration.
pub struct Form {
    checks: Vec<&'static Check>,
    max_lines: usize,
}

impl Plugin for Form {
    type Config = Config;
    const NAME: &'static str = "form";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const CONFIG_SCHEMA: &'static str = include_str!("../config.schema.json");

    fn new(config: Config) -> Result<Self, String> {
        if let Some(unknown) = config
            .disabled
            .iter()
            .find(|code| CHECKS.iter().all(|check| check.code != **code))
        {
            let codes: Vec<_> = CHECKS.iter().map(|check| check.code).collect();
            return Err(format!(
                "disabled: no check {unknown:?}; there are {}",
                codes.join(", ")
            ));
        }
        if config.max_lines == 0 {
            return Err("max_lines: must be at least 1".to_string());
        }
        let enabled = |check: &&Check| config.disabled.iter().all(|code| code != check.code);
        Ok(Self {
            checks: CHECKS.iter().filter(enabled).collect(),
            max_lines: config.max_lines,
        })
    }
}

impl Filter for Form {
    /// The first check that finds something decides.
    fn decide(&self, record: &Record<'_>) -> Decision {
        let text = record.instruction.trim();
        for check in &self.checks {
            if let Some(evidence) = (check.find)(text, self.max_lines) {
                return Decision::drop(check.code).with_note(evidence);
            }
        }
        Decision::keep()
    }
}

export_plugin!(Form: Filter);
