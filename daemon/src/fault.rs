//! Fault injection for crash tests: the daemon kills itself at a named place in its work.
//!
//! `AUTODIDACT_FAULT=kill:PLACE:N:MICROSECONDS` sends SIGKILL to the daemon that many microseconds after the N-th time
//! (from 1, in this process) that PLACE is reached: the intent of a step of the stage PLACE (`generate`, `filter`, …), or
//! the start of a checkpoint write (`checkpoint`). Without the variable nothing is wrapped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use autodidact_domain::journal::{RecordedVerdict, StageName};
use autodidact_domain::ports::{Checkpoints, Journal, Ports};
use autodidact_domain::preflight::{CheckpointPlan, DiskNeed};
use autodidact_domain::{
    Checkpoint, CheckpointId, CheckpointSummary, PortResult, StepKey, StepRecord, WorkflowName,
};

/// The place of checkpoint writes, beside the stages' names.
const CHECKPOINT: &str = "checkpoint";

/// When to kill.
#[derive(Debug, PartialEq)]
pub(crate) struct Fault {
    place: String,
    times: u32,
    delay: Duration,
}

impl Fault {
    /// Reads a fault's text.
    ///
    /// # Errors
    /// When it has another form, or names an unknown place.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let form = || format!("AUTODIDACT_FAULT is {text:?}; expected kill:PLACE:N:MICROSECONDS");
        let parts: Vec<&str> = text.split(':').collect();
        let ["kill", place, times, delay] = parts.as_slice() else {
            bail!(form())
        };
        let known = StageName::ALL.iter().any(|(_, name)| name == place) || *place == CHECKPOINT;
        if !known {
            bail!(form());
        }
        Ok(Self {
            place: (*place).to_string(),
            times: times.parse().with_context(form)?,
            delay: Duration::from_micros(delay.parse().with_context(form)?),
        })
    }

    /// Wraps the ports whose use reaches the fault's place.
    pub(crate) fn wrap(self, ports: Ports) -> Ports {
        let trigger = Arc::new(Trigger {
            fault: self,
            reached: AtomicU32::new(0),
        });
        Ports {
            journal: Arc::new(FaultyJournal {
                inner: ports.journal,
                trigger: Arc::clone(&trigger),
            }),
            checkpoints: Arc::new(FaultyCheckpoints {
                inner: ports.checkpoints,
                trigger,
            }),
            ..ports
        }
    }
}

struct Trigger {
    fault: Fault,
    reached: AtomicU32,
}

impl Trigger {
    fn reach(&self, place: &str) {
        if place != self.fault.place
            || self.reached.fetch_add(1, Ordering::SeqCst) + 1 != self.fault.times
        {
            return;
        }
        let delay = self.fault.delay;
        std::thread::spawn(move || {
            std::thread::sleep(delay);
            kill_self();
        });
    }
}

#[expect(
    unsafe_code,
    reason = "only the operating system can end a process without any clean-up"
)]
fn kill_self() {
    // SAFETY: both calls take and give plain numbers; SIGKILL to one's own id ends the process.
    unsafe {
        libc::kill(libc::getpid(), libc::SIGKILL);
    }
}

struct FaultyJournal {
    inner: Arc<dyn Journal>,
    trigger: Arc<Trigger>,
}

impl Journal for FaultyJournal {
    fn steps(&self, workflow: &WorkflowName) -> PortResult<Vec<StepRecord>> {
        self.inner.steps(workflow)
    }

    fn begin(&self, key: &StepKey) -> PortResult<()> {
        self.inner.begin(key)?;
        self.trigger.reach(key.stage.name());
        Ok(())
    }

    fn commit(
        &self,
        key: &StepKey,
        result: serde_json::Value,
        verdicts: &[RecordedVerdict],
    ) -> PortResult<()> {
        self.inner.commit(key, result, verdicts)
    }

    fn verdicts(
        &self,
        workflow: &WorkflowName,
        from: u64,
        limit: usize,
    ) -> PortResult<Vec<RecordedVerdict>> {
        self.inner.verdicts(workflow, from, limit)
    }

    fn verdict_counts(
        &self,
        workflow: &WorkflowName,
        round: u32,
        stage: StageName,
    ) -> PortResult<(u64, u64)> {
        self.inner.verdict_counts(workflow, round, stage)
    }
}

struct FaultyCheckpoints {
    inner: Arc<dyn Checkpoints>,
    trigger: Arc<Trigger>,
}

impl Checkpoints for FaultyCheckpoints {
    fn save(&self, id: &CheckpointId, checkpoint: &Checkpoint) -> PortResult<CheckpointSummary> {
        self.trigger.reach(CHECKPOINT);
        self.inner.save(id, checkpoint)
    }

    fn load(&self, id: &CheckpointId) -> PortResult<Checkpoint> {
        self.inner.load(id)
    }

    fn get(&self, id: &CheckpointId) -> PortResult<CheckpointSummary> {
        self.inner.get(id)
    }

    fn list(&self) -> PortResult<Vec<CheckpointSummary>> {
        self.inner.list()
    }

    fn delete(&self, id: &CheckpointId) -> PortResult<()> {
        self.inner.delete(id)
    }

    fn disk_need(&self, plan: CheckpointPlan) -> PortResult<DiskNeed> {
        self.inner.disk_need(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_strictly() {
        let fault = Fault::parse("kill:train:2:1500").expect("right");
        assert_eq!(
            (fault.place.as_str(), fault.times, fault.delay),
            ("train", 2, Duration::from_micros(1500))
        );
        for wrong in [
            "",
            "kill",
            "kill:nowhere:1:0",
            "kill:train:x:0",
            "stop:train:1:0",
            "kill:train:1:0:0",
        ] {
            assert!(Fault::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
