//! Signals, and the order in which a daemon goes down.
//!
//! Order: stop accepting, drain calls, park stages at a step, checkpoint, flush, close. A second signal exits at once;
//! that loses nothing, since every step that was committed is on disk.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit code after an interruption (128 + SIGINT, as shells count it).
pub(crate) const EXIT_INTERRUPTED: u8 = 130;

/// Cancels the token at the first SIGINT or SIGTERM and ends the process at the second.
///
/// # Errors
/// When the signals cannot be listened to.
pub(crate) async fn watch_signals(token: CancellationToken) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut first = true;
    loop {
        let name = tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        };
        if !first {
            std::process::exit(i32::from(EXIT_INTERRUPTED));
        }
        first = false;
        tracing::info!(signal = name, "going down; a second signal exits at once");
        token.cancel();
    }
}
