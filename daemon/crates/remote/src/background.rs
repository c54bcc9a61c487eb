//! The thread that moves the bytes of requests while callers wait.

use std::time::Duration;

use autodidact_domain::{Interrupt, PortResult};
use tokio::runtime::Runtime;

use crate::error::RemoteError;

/// How often waiting work looks whether it is still wanted.
const INTERRUPT_POLL: Duration = Duration::from_millis(50);

/// The thread that moves bytes while callers wait. Dropping it never blocks, so it may be let go of anywhere.
#[derive(Debug)]
pub(crate) struct Background(Option<Runtime>);

impl Background {
    pub(crate) fn start() -> Result<Self, RemoteError> {
        // What encrypts is chosen once a process; another part of it may have chosen the same already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("remote")
            .enable_all()
            .build()
            .map(|runtime| Self(Some(runtime)))
            .map_err(|error| RemoteError::Internal(format!("start a thread for requests: {error}")))
    }

    /// Runs work on the caller's thread until it is done or not wanted any more; requests under way are dropped then.
    pub(crate) fn run<T>(
        &self,
        interrupt: &Interrupt,
        work: impl Future<Output = Result<T, RemoteError>>,
    ) -> PortResult<T> {
        let unwanted = async {
            while !interrupt.is_raised() {
                tokio::time::sleep(INTERRUPT_POLL).await;
            }
            Err(RemoteError::Interrupted)
        };
        let outcome = self.block_on(async {
            tokio::select! {
                biased;
                stopped = unwanted => stopped,
                done = work => done,
            }
        });
        Ok(outcome?)
    }

    fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.0
            .as_ref()
            .expect("only dropping takes it")
            .block_on(work)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
