//! What every service shares.

use std::sync::Arc;
use std::time::Duration;

use autodidact_domain::ports::{Ports, SystemInfo};
use autodidact_flow::Supervisor;
use autodidact_proto::v1::ErrorReason;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::requests::InFlight;
use crate::status::refuse;

/// The bounds within which the server works.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The silence after which a watch shows that it is alive.
    pub heartbeat: Duration,
    /// How long a stream waits for a peer that takes or sends nothing.
    pub slow_peer: Duration,
    /// The largest file an import takes, in bytes; it is held in memory.
    pub import_bytes: u64,
    /// The largest component a plugin installation takes, in bytes.
    pub plugin_bytes: u64,
    /// The most records an export holds in memory.
    pub export_records: u64,
    /// Watches at once.
    pub watches: usize,
    /// Imports, installations, exports and downloads at once; more wait.
    pub transfers: usize,
    /// Generations and model additions at once; each holds a thread.
    pub jobs: usize,
    /// How long calls may take to end once the server goes down.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(5),
            slow_peer: Duration::from_secs(60),
            import_bytes: 256 << 20,
            plugin_bytes: 64 << 20,
            export_records: 1_000_000,
            watches: 256,
            transfers: 2,
            jobs: 16,
            drain: Duration::from_secs(5),
        }
    }
}

/// What every service shares.
pub(crate) struct Context {
    pub(crate) ports: Ports,
    pub(crate) supervisor: Arc<Supervisor>,
    pub(crate) info: SystemInfo,
    pub(crate) limits: Limits,
    /// Raised once the server goes down; long streams end on it.
    pub(crate) shutdown: CancellationToken,
    pub(crate) in_flight: InFlight,
    watches: Arc<Semaphore>,
    transfers: Arc<Semaphore>,
    jobs: Arc<Semaphore>,
}

impl Context {
    pub(crate) fn new(
        ports: Ports,
        supervisor: Arc<Supervisor>,
        info: SystemInfo,
        limits: Limits,
    ) -> Self {
        Self {
            ports,
            supervisor,
            info,
            shutdown: CancellationToken::new(),
            in_flight: InFlight::default(),
            watches: Arc::new(Semaphore::new(limits.watches)),
            transfers: Arc::new(Semaphore::new(limits.transfers)),
            jobs: Arc::new(Semaphore::new(limits.jobs)),
            limits,
        }
    }

    /// Takes a place among the watches, or refuses.
    pub(crate) fn watch_permit(&self) -> Result<OwnedSemaphorePermit, Status> {
        take(&self.watches, "watches")
    }

    /// Takes a place among the jobs that hold a thread, or refuses.
    pub(crate) fn job_permit(&self) -> Result<OwnedSemaphorePermit, Status> {
        take(&self.jobs, "generations")
    }

    /// Waits for a place among the transfers, whose contents are held in memory.
    pub(crate) async fn transfer_permit(&self) -> Result<OwnedSemaphorePermit, Status> {
        let permit = Arc::clone(&self.transfers).acquire_owned();
        tokio::select! {
            permit = permit => Ok(permit.expect("the semaphore is never closed")),
            () = self.shutdown.cancelled() => Err(shutting_down()),
        }
    }
}

fn take(semaphore: &Arc<Semaphore>, what: &str) -> Result<OwnedSemaphorePermit, Status> {
    Arc::clone(semaphore).try_acquire_owned().map_err(|_| {
        refuse(
            ErrorReason::Busy,
            format!("too many {what} are at work; try again"),
        )
    })
}

/// Tells a caller that the server goes down.
pub(crate) fn shutting_down() -> Status {
    refuse(
        ErrorReason::ShuttingDown,
        "the daemon is going down; try again when it is up",
    )
}
