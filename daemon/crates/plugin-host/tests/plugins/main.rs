//! The plugin host with real components: the built-in ones, and hostile ones written for these tests.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod builtin;
mod capabilities;
mod core_modules;
mod every_kind;
mod garbage;
mod grants;
mod hostile;
mod registry;
mod swap;
mod wat_components;

use autodidact_domain::PluginRecord;
use autodidact_domain::plugin::FilterDecision;
use autodidact_plugin_host::{Limits, PluginHost};
use tempfile::TempDir;

/// Limits that make failing calls short, so that the tests are.
fn tight_limits() -> Limits {
    Limits {
        memory_bytes: 8 << 20,
        call_ms: 200,
        record_ms: 1,
        output_bytes: 1 << 20,
        ..Limits::default()
    }
}

fn open_host() -> (TempDir, PluginHost) {
    open_host_with(tight_limits())
}

fn open_host_with(limits: Limits) -> (TempDir, PluginHost) {
    let folder = tempfile::tempdir().unwrap();
    let host = PluginHost::open(&folder.path().join("plugins"), limits).unwrap();
    (folder, host)
}

fn record<'a>(instruction: &'a str, output: &'a str) -> PluginRecord<'a> {
    PluginRecord {
        instruction,
        output,
        ..PluginRecord::default()
    }
}

/// Shows an outcome in short: `keep`, a reason, or `error: …`.
fn show(outcome: &Result<FilterDecision, String>) -> String {
    match outcome {
        Ok(decision) => decision
            .drop_reason
            .clone()
            .unwrap_or_else(|| "keep".to_string()),
        Err(text) => format!("error: {text}"),
    }
}

#[test]
fn the_host_can_be_shared_between_threads() {
    fn shareable<T: Send + Sync>() {}
    shareable::<PluginHost>();
}
