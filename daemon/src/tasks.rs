//! Every background task, with what its end means, as data.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The background tasks of a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TaskKind {
    /// Answers calls.
    Server,
    /// Looks after the watched folders.
    Watch,
    /// Waits for signals.
    Signals,
}

/// What a task does when the daemon goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnCancel {
    /// It ends by itself; it is waited for this long, then left behind.
    Drain(Duration),
    /// It holds nothing worth waiting for.
    Abort,
}

/// What the daemon does when a task fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnError {
    /// Nothing works without it: the daemon goes down.
    ShutDown,
    /// The rest works without it: the failure is logged.
    Log,
}

impl TaskKind {
    /// The table: kind, name in logs, on cancel, on error.
    const TABLE: [(Self, &'static str, OnCancel, OnError); 3] = [
        (
            Self::Server,
            "server",
            OnCancel::Drain(Duration::from_secs(10)),
            OnError::ShutDown,
        ),
        (
            Self::Watch,
            "watch",
            OnCancel::Drain(Duration::from_secs(10)),
            OnError::Log,
        ),
        (Self::Signals, "signals", OnCancel::Abort, OnError::Log),
    ];

    fn row(self) -> (&'static str, OnCancel, OnError) {
        let (_, name, on_cancel, on_error) = Self::TABLE
            .into_iter()
            .find(|row| row.0 == self)
            .expect("every task kind is in the table");
        (name, on_cancel, on_error)
    }
}

/// The running tasks of one daemon, in the order they were started.
pub(crate) struct Tasks {
    shutdown: CancellationToken,
    running: Vec<(TaskKind, JoinHandle<()>)>,
    /// The first failure that took the daemon down.
    failure: Arc<OnceLock<String>>,
}

impl Tasks {
    /// Takes the token that a fatal failure cancels.
    pub(crate) fn new(shutdown: CancellationToken) -> Self {
        Self {
            shutdown,
            running: Vec::new(),
            failure: Arc::default(),
        }
    }

    /// Starts a task and does what its table row says if it fails.
    pub(crate) fn spawn(
        &mut self,
        kind: TaskKind,
        work: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let (shutdown, failure) = (self.shutdown.clone(), Arc::clone(&self.failure));
        let handle = tokio::spawn(async move {
            let (name, _, on_error) = kind.row();
            let Err(error) = work.await else { return };
            tracing::error!(task = name, "{error:#}");
            if on_error == OnError::ShutDown {
                // A later failure follows from the first.
                let _ = failure.set(format!("{error:#}"));
                shutdown.cancel();
            }
        });
        self.running.push((kind, handle));
    }

    /// Waits for the tasks that are worth waiting for, and answers with the failure that took the daemon down, if one did.
    /// The shutdown token must have been cancelled.
    pub(crate) async fn join(self) -> Option<String> {
        for (kind, mut handle) in self.running {
            let (name, on_cancel, _) = kind.row();
            let OnCancel::Drain(patience) = on_cancel else {
                handle.abort();
                continue;
            };
            if tokio::time::timeout(patience, &mut handle).await.is_err() {
                tracing::warn!(
                    task = name,
                    "did not end within {} s and is left behind",
                    patience.as_secs()
                );
                handle.abort();
            }
        }
        self.failure.get().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_in_the_table_once() {
        for kind in [TaskKind::Server, TaskKind::Watch, TaskKind::Signals] {
            assert_eq!(
                TaskKind::TABLE.iter().filter(|row| row.0 == kind).count(),
                1,
                "{kind:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_failed_server_takes_the_daemon_down_and_a_failed_watch_does_not() {
        for (kind, goes_down) in [(TaskKind::Server, true), (TaskKind::Watch, false)] {
            let token = CancellationToken::new();
            let mut tasks = Tasks::new(token.clone());
            tasks.spawn(kind, async { anyhow::bail!("broken") });
            let failure = tasks.join().await;
            assert_eq!(failure.is_some(), goes_down, "{kind:?}");
            assert_eq!(token.is_cancelled(), goes_down, "{kind:?}");
        }
    }
}
