//! Logs: to stderr for a daemon, to a file where a terminal shows something else.

use std::fs::{self, File};
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Mutex;

use anyhow::Context;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::config::{Log, LogFormat};

/// Sends the log to stderr, coloured on a terminal unless `NO_COLOR` is set.
///
/// # Errors
/// When logging was set up before.
pub(crate) fn log_to_stderr(log: &Log) -> anyhow::Result<()> {
    // https://no-color.org: any value but the empty one turns colour off.
    let colour = std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    start(log, BoxMakeWriter::new(std::io::stderr), colour)
}

/// Appends the log to a file, making its folder where it is missing.
///
/// # Errors
/// When the file cannot be opened, or logging was set up before.
pub(crate) fn log_to_file(log: &Log, path: &Path) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    let file = File::options()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("open log file {}", path.display()))?;
    start(log, BoxMakeWriter::new(Mutex::new(file)), false)
}

fn start(log: &Log, writer: BoxMakeWriter, colour: bool) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.level).context("read log.level")?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(colour);
    let started = match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("start the log: {error}"))
}
