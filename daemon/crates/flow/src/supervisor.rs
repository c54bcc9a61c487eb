//! The running workflows: one thread each, started, paused, resumed and cancelled by name.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use autodidact_domain::event::StageProgress;
use autodidact_domain::figures::WorkflowWarning;
use autodidact_domain::journal::StageName;
use autodidact_domain::ports::Ports;
use autodidact_domain::preflight::Preflight;
use autodidact_domain::workflow::Pinned;
use autodidact_domain::{
    DatasetSummary, Digest, EventBody, Interrupt, InterruptReason, PortError, PortResult, StepKey,
    WorkflowName, WorkflowSpec, WorkflowState, WorkflowSummary,
};

use crate::error::FlowError;
use crate::journaled::{Figures, Run};
use crate::labels;
use crate::pin::pin;
use crate::plugins;
use crate::preflight;
use crate::review::{self, Standing};
use crate::run::{read_dataset, run_workflow};
use crate::seeds;
use crate::spec::{Fault, Reading, read_what_is_there};

/// The most workflows that run at once; the engine serves them in turn, so more would only wait.
const MAX_RUNNING: usize = 16;
/// How often a run's end is tried to be written again, after the store refused it.
const END_RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// Why a submission was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The workflow file is wrong.
    #[error("{} fault(s) in the workflow: {}", .0.len(), .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Faults(Vec<Fault>),
    /// A port failed, or another workflow has the name.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// A workflow file without faults.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// What it says, with every default filled in.
    pub spec: WorkflowSpec,
    /// What a person should know that stops nothing.
    pub warnings: Vec<WorkflowWarning>,
}

struct Running {
    interrupt: Interrupt,
    thread: JoinHandle<()>,
}

/// Owns the threads of the running workflows.
pub struct Supervisor {
    ports: Ports,
    running: Mutex<BTreeMap<WorkflowName, Running>>,
    figures: Mutex<BTreeMap<WorkflowName, Figures>>,
}

impl Supervisor {
    /// Makes a supervisor that runs nothing yet.
    pub fn new(ports: Ports) -> Arc<Self> {
        Arc::new(Self {
            ports,
            running: Mutex::default(),
            figures: Mutex::default(),
        })
    }

    /// Checks a workflow file against its schema and against what is registered, without starting anything. Warnings stop nothing:
    /// they tell what the seeds lack that prompts would be made from, and which plugins stand where they have nothing to judge.
    ///
    /// # Errors
    /// Every fault at once.
    pub fn check(&self, yaml: &str) -> Result<Checked, Vec<Fault>> {
        let (spec, pinned) = self.check_and_pin(yaml)?;
        let seeds = match spec.stages.generate.is_some() {
            true => read_dataset(&self.ports, pinned.seeds.as_ref()).unwrap_or_default(),
            false => Vec::new(),
        };
        let mut warnings = match seeds.is_empty() {
            true => Vec::new(),
            false => seeds::check(&spec.languages, &seeds).warnings,
        };
        warnings.extend(plugins::without_answers(&spec, &pinned.plugins));
        Ok(Checked { spec, warnings })
    }

    /// Tells what the training of a workflow takes, without submitting it; none where it trains nothing, or nobody can tell.
    ///
    /// # Errors
    /// Faults of the file, or a port's failure.
    pub fn preflight(&self, yaml: &str) -> Result<Option<Preflight>, SubmitError> {
        let (spec, pinned) = self.check_and_pin(yaml).map_err(SubmitError::Faults)?;
        Ok(preflight::of_workflow(&self.ports, &spec, &pinned)?)
    }

    fn check_and_pin(&self, yaml: &str) -> Result<(WorkflowSpec, Pinned), Vec<Fault>> {
        let Reading {
            spec,
            mut faults,
            places,
        } = read_what_is_there(yaml)?;
        let Some(spec) = spec else {
            return Err(faults);
        };
        match pin(&self.ports, &spec) {
            Ok(pinned) if faults.is_empty() => Ok((spec, pinned)),
            Ok(_) => Err(faults),
            Err(missing) => {
                faults.extend(missing.into_iter().map(|fault| places.place(fault)));
                faults.sort_by_key(|fault| fault.line);
                Err(faults)
            }
        }
    }

    /// Checks, stores and starts a workflow. Submitting the same one again finds it there.
    ///
    /// One with `on_drop` waits instead, and every new version of that dataset starts a run of it.
    ///
    /// # Errors
    /// Faults of the file, or another workflow of the same name.
    pub fn submit(self: &Arc<Self>, yaml: &str) -> Result<WorkflowSummary, SubmitError> {
        let (spec, pinned) = self.check_and_pin(yaml).map_err(SubmitError::Faults)?;
        Ok(self.create_and_start(spec, pinned)?)
    }

    fn create_and_start(
        self: &Arc<Self>,
        spec: WorkflowSpec,
        pinned: Pinned,
    ) -> PortResult<WorkflowSummary> {
        let now = self.ports.clock.now_ms();
        let json =
            serde_json::to_string(&spec).map_err(|error| PortError::Internal(error.to_string()))?;
        let message = spec
            .on_drop
            .as_ref()
            .map(|d| format!("waits for new versions of {d}"))
            .unwrap_or_default();
        let bound = spec.on_drop.is_some();
        let summary = self.ports.workflows.create(WorkflowSummary {
            spec_digest: Digest::of(json.as_bytes()),
            spec,
            pinned,
            state: WorkflowState::Pending,
            message,
            created_ms: now,
            updated_ms: now,
        })?;
        if bound || summary.state != WorkflowState::Pending {
            return Ok(summary);
        }
        self.start(&summary.spec.name)
    }

    /// Starts the runs of workflows that are bound to a dataset, on its new version.
    ///
    /// # Errors
    /// A port's failure; a binding whose run cannot be made is told as a warning event, and the others still start.
    pub fn dataset_changed(
        self: &Arc<Self>,
        dataset: &DatasetSummary,
    ) -> PortResult<Vec<WorkflowSummary>> {
        let mut started = Vec::new();
        for bound in self.ports.workflows.list()? {
            let waits = bound.state == WorkflowState::Pending
                && bound.spec.on_drop.as_ref() == Some(&dataset.name);
            if !waits {
                continue;
            }
            match self.start_bound(&bound, dataset) {
                Ok(summary) => started.push(summary),
                Err(error) => {
                    let message = format!(
                        "{} could not start on {}@{}: {error}",
                        bound.spec.name, dataset.name, dataset.version
                    );
                    self.ports
                        .events
                        .publish(Some(&bound.spec.name), EventBody::Warning { message })?;
                }
            }
        }
        Ok(started)
    }

    fn start_bound(
        self: &Arc<Self>,
        bound: &WorkflowSummary,
        dataset: &DatasetSummary,
    ) -> PortResult<WorkflowSummary> {
        let mut spec = bound.spec.clone();
        let mut pinned = bound.pinned.clone();
        spec.name = WorkflowName::new(format!("{}-v{}", bound.spec.name, dataset.version))
            .map_err(|error| PortError::Invalid(error.to_string()))?;
        spec.on_drop = None;
        if spec.seeds.is_none() || spec.seeds.as_ref() == Some(&dataset.name) {
            spec.seeds = Some(dataset.name.clone());
            pinned.seeds = Some(dataset.clone());
        }
        if spec.held_out.as_ref() == Some(&dataset.name) {
            pinned.held_out = Some(dataset.clone());
        }
        let train = spec.stages.train.as_ref();
        if train.and_then(|train| train.eval_dataset.as_ref()) == Some(&dataset.name) {
            pinned.eval_dataset = Some(dataset.clone());
        }
        let start = spec.stages.train.as_ref().and_then(|train| {
            let id = train.init_adapter.as_ref();
            let id = id.or(train.resume_from_checkpoint.as_ref())?;
            self.ports.checkpoints.get(id).ok()
        });
        pinned.labels = labels::of_pinned(&self.ports, &spec, &pinned, start.as_ref())
            .map_err(|faults| PortError::Invalid(labels::told(&faults)))?;
        self.create_and_start(spec, pinned)
    }

    /// Holds a workflow at its next safe point.
    ///
    /// # Errors
    /// The workflow does not exist, or is not running.
    pub fn pause(&self, name: &WorkflowName) -> PortResult<WorkflowSummary> {
        let running = self.running();
        let summary = self.ports.workflows.get(name)?;
        match summary.state {
            WorkflowState::Paused => Ok(summary),
            WorkflowState::Running | WorkflowState::Waiting => {
                raise(&running, name, InterruptReason::Pause);
                self.set_state(
                    name,
                    WorkflowState::Paused,
                    "paused; `workflow resume` goes on",
                )
            }
            state => Err(refused("pause", name, state)),
        }
    }

    /// Lets a paused, waiting or failed workflow go on from its last step.
    ///
    /// # Errors
    /// The workflow does not exist, or is done or cancelled.
    pub fn resume(self: &Arc<Self>, name: &WorkflowName) -> PortResult<WorkflowSummary> {
        let summary = self.ports.workflows.get(name)?;
        match summary.state {
            WorkflowState::Running => Ok(summary),
            WorkflowState::Pending if summary.spec.on_drop.is_some() => Ok(summary),
            WorkflowState::Paused
            | WorkflowState::Waiting
            | WorkflowState::Failed
            | WorkflowState::Pending => {
                self.join(name);
                self.start(name)
            }
            state => Err(refused("resume", name, state)),
        }
    }

    /// Lets a workflow that is not at work go on with the plugins that are installed now, in the place of the versions that it was
    /// submitted with.
    ///
    /// # Errors
    /// As [`Supervisor::resume`]; or one of them cannot stand in its place.
    pub fn resume_with_new_plugins(
        self: &Arc<Self>,
        name: &WorkflowName,
    ) -> PortResult<WorkflowSummary> {
        let summary = self.ports.workflows.get(name)?;
        match summary.state {
            WorkflowState::Running => {
                return Err(PortError::Invalid(format!(
                    "workflow {name} is running; pause it first, then resume it with new plugins"
                )));
            }
            WorkflowState::Done | WorkflowState::Cancelled => {}
            WorkflowState::Paused
            | WorkflowState::Waiting
            | WorkflowState::Failed
            | WorkflowState::Pending => {
                self.join(name);
                let (plugins, faults) = plugins::pin(&self.ports, &summary.spec);
                if !faults.is_empty() {
                    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
                    return Err(PortError::Invalid(faults.join("; ")));
                }
                self.ports.workflows.set_plugins(name, plugins)?;
            }
        }
        self.resume(name)
    }

    /// Ends a workflow for good at its next safe point. What it made so far stays.
    ///
    /// # Errors
    /// The workflow does not exist, or is done.
    pub fn cancel(&self, name: &WorkflowName) -> PortResult<WorkflowSummary> {
        let running = self.running();
        let summary = self.ports.workflows.get(name)?;
        match summary.state {
            WorkflowState::Cancelled => Ok(summary),
            WorkflowState::Done => Err(refused("cancel", name, summary.state)),
            _ => {
                raise(&running, name, InterruptReason::Cancel);
                self.set_state(name, WorkflowState::Cancelled, "cancelled")
            }
        }
    }

    /// Hears that somebody has reviewed an example of a workflow: what waits for it goes on where the decisions suffice, and else
    /// says how many are missing.
    ///
    /// # Errors
    /// The workflow does not exist, or a port's failure.
    pub fn reviewed(self: &Arc<Self>, name: &WorkflowName) -> PortResult<()> {
        let mut running = self.running();
        let summary = self.ports.workflows.get(name)?;
        let Some(standing) = review::latest(&self.ports, &summary)? else {
            return Ok(());
        };
        if summary.state != WorkflowState::Waiting {
            return Ok(());
        }
        self.show(name, &standing);
        let message = standing.told(name, summary.spec.languages[0]);
        if !standing.calls_for_work() {
            self.set_state(name, WorkflowState::Waiting, &message)?;
            return Ok(());
        }
        match self.start_among(&mut running, name) {
            // It waits on; what was decided is kept, and it will be started with any other one.
            Err(PortError::Unavailable(why)) => {
                let message =
                    format!("{message}; {why}, then: `autodidact workflow resume {name}`");
                self.set_state(name, WorkflowState::Waiting, &message)?;
                Ok(())
            }
            started => started.map(drop),
        }
    }

    /// Tells watchers how many of a sample are reviewed.
    fn show(&self, name: &WorkflowName, standing: &Standing) {
        let figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(figures) = figures.get(name) {
            let progress = figures.update(standing.round, StageName::Review, |progress| {
                (progress.done, progress.total) = (standing.reviewed, standing.sampled);
            });
            self.ports
                .events
                .tell(Some(name), EventBody::Stage(progress));
        }
    }

    /// Starts what was running when the daemon went down, and looks at what waits for reviews.
    ///
    /// # Errors
    /// A port's failure.
    pub fn resume_all(self: &Arc<Self>) -> PortResult<u32> {
        let mut resumed = 0;
        let mut waiting = Vec::new();
        for summary in self.ports.workflows.list()? {
            if summary.state == WorkflowState::Waiting {
                let standing = review::latest(&self.ports, &summary)?;
                let is_ready = standing.is_some_and(|standing| standing.calls_for_work());
                waiting.push((!is_ready, summary.spec.name.clone()));
            }
            let cut_off = summary.state == WorkflowState::Running;
            let never_started =
                summary.state == WorkflowState::Pending && summary.spec.on_drop.is_none();
            if cut_off || never_started {
                self.start(&summary.spec.name)?;
                resumed += 1;
            }
        }
        // Those that can go on come first; the others only show where they are, and need not.
        waiting.sort();
        for (_, name) in waiting {
            match self.start(&name) {
                Err(PortError::Unavailable(_)) => break,
                started => resumed += u32::from(started.map(|_| true)?),
            }
        }
        Ok(resumed)
    }

    /// Asks every run to stop at its next safe point and waits for them; they resume with the next daemon.
    pub fn shutdown(&self) {
        let running = std::mem::take(&mut *self.running());
        for run in running.values() {
            run.interrupt.raise(InterruptReason::Shutdown);
        }
        for run in running.into_values() {
            // A panic in a run was already told where it happened.
            let _ = run.thread.join();
        }
    }

    /// Reads the figures of every stage so far.
    ///
    /// # Errors
    /// The workflow does not exist.
    pub fn snapshot(&self, name: &WorkflowName) -> PortResult<Vec<StageProgress>> {
        let figures = self
            .figures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned();
        if let Some(figures) = figures {
            return Ok(figures.all());
        }
        self.ports.workflows.get(name)?;
        match self.ports.workflows.report(name) {
            Ok(report) => Ok(crate::report::stage_figures(&report)),
            Err(PortError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<WorkflowName, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a run that was asked to stop.
    fn join(&self, name: &WorkflowName) {
        let run = self.running().remove(name);
        if let Some(run) = run {
            let _ = run.thread.join();
        }
    }

    fn set_state(
        &self,
        name: &WorkflowName,
        state: WorkflowState,
        message: &str,
    ) -> PortResult<WorkflowSummary> {
        set_state(&self.ports, name, state, message)
    }

    /// Finds the step that a run before this one was in.
    fn position(&self, name: &WorkflowName) -> PortResult<Option<StepKey>> {
        let steps = self.ports.journal.steps(name)?;
        let open = steps
            .iter()
            .rev()
            .find(|step| step.result.is_none())
            .or(steps.last());
        Ok(open.map(|step| step.key.clone()))
    }

    fn start(self: &Arc<Self>, name: &WorkflowName) -> PortResult<WorkflowSummary> {
        self.start_among(&mut self.running(), name)
    }

    fn start_among(
        self: &Arc<Self>,
        running: &mut BTreeMap<WorkflowName, Running>,
        name: &WorkflowName,
    ) -> PortResult<WorkflowSummary> {
        running.retain(|_, run| !run.thread.is_finished());
        if running.contains_key(name) {
            return self.ports.workflows.get(name);
        }
        if running.len() >= MAX_RUNNING {
            return Err(PortError::Unavailable(format!(
                "{MAX_RUNNING} workflows run already; wait for one to end, or pause one"
            )));
        }
        let message = self
            .position(name)?
            .map(|key| format!("resumes at {key}"))
            .unwrap_or_default();
        let summary = self.set_state(name, WorkflowState::Running, &message)?;
        let interrupt = Interrupt::new();
        let figures = Figures::default();
        self.figures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.clone(), figures.clone());
        let (supervisor, workflow, flag) = (Arc::clone(self), summary.clone(), interrupt.clone());
        let thread = std::thread::Builder::new()
            .name(format!("workflow-{name}"))
            .spawn(move || supervisor.work(workflow, &flag, &figures))
            .map_err(|error| {
                PortError::Unavailable(format!("start a thread for workflow {name}: {error}"))
            })?;
        running.insert(name.clone(), Running { interrupt, thread });
        Ok(summary)
    }

    /// Runs a workflow on its own thread and writes down how it ended.
    fn work(&self, workflow: WorkflowSummary, interrupt: &Interrupt, figures: &Figures) {
        let (ports, name) = (&self.ports, workflow.spec.name.clone());
        let ended = loop {
            let workflow = workflow.clone();
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                Run::open(ports, workflow, interrupt, figures).and_then(run_workflow)
            }));
            match outcome {
                Ok(Ok(())) => break (WorkflowState::Done, String::new()),
                Ok(Err(FlowError::Interrupted)) => return,
                Ok(Err(FlowError::Held(why))) => {
                    let then = format!("{why}; then: `autodidact workflow resume {name}`");
                    break (WorkflowState::Paused, then);
                }
                Ok(Err(FlowError::Waiting(_))) => match self.park_in_time(&name, interrupt) {
                    Parking::Parked => return,
                    Parking::GoesOn => {}
                },
                Ok(Err(error)) => {
                    break (
                        WorkflowState::Failed,
                        format!("{error}; `workflow resume {name}` tries again from the last step"),
                    );
                }
                Err(_) => {
                    break (
                        WorkflowState::Failed,
                        "a defect stopped the run; the log names it".to_string(),
                    );
                }
            }
        };
        let (state, message) = ended;
        // A cancel that came in while the last step ran stands.
        if interrupt.reason() == Some(InterruptReason::Cancel) {
            return;
        }
        if set_state(ports, &name, state, &message).is_err() {
            write_the_end_later(ports, &name, state, &message, interrupt);
        }
    }

    /// Parks a run that waits for people, as soon as that can be written.
    fn park_in_time(&self, name: &WorkflowName, interrupt: &Interrupt) -> Parking {
        loop {
            match self.park(name, interrupt) {
                Ok(parking) => return parking,
                Err(_) => std::thread::sleep(END_RETRY_INTERVAL),
            }
        }
    }

    /// Lets go of a run that waits for people, unless a decision has come since it looked.
    ///
    /// INVARIANT: whoever has written a decision calls [`Supervisor::reviewed`] then, which sees either the run at work, that looks
    /// once more here, or the workflow waiting and nobody at work on it.
    fn park(&self, name: &WorkflowName, interrupt: &Interrupt) -> PortResult<Parking> {
        let mut running = self.running();
        if interrupt.is_raised() {
            return Ok(Parking::Parked);
        }
        let summary = self.ports.workflows.get(name)?;
        let Some(standing) = review::latest(&self.ports, &summary)? else {
            return Ok(Parking::GoesOn);
        };
        if standing.calls_for_work() {
            return Ok(Parking::GoesOn);
        }
        self.show(name, &standing);
        let message = standing.told(name, summary.spec.languages[0]);
        self.set_state(name, WorkflowState::Waiting, &message)?;
        running.remove(name);
        Ok(Parking::Parked)
    }
}

/// What becomes of a run that waits for people.
enum Parking {
    /// Its thread ends, and another one goes on once they have decided.
    Parked,
    /// They just did.
    GoesOn,
}

fn raise(running: &BTreeMap<WorkflowName, Running>, name: &WorkflowName, reason: InterruptReason) {
    if let Some(run) = running.get(name) {
        run.interrupt.raise(reason);
    }
}

/// Tells watchers how a run ended although it could not be written, on a full disk mostly, and writes it as soon as it can
/// be. A daemon that goes down before then leaves the workflow running, so the next one resumes it.
fn write_the_end_later(
    ports: &Ports,
    name: &WorkflowName,
    state: WorkflowState,
    message: &str,
    interrupt: &Interrupt,
) {
    ports.events.tell(
        Some(name),
        EventBody::State {
            state,
            message: message.to_string(),
        },
    );
    while !interrupt.is_raised() {
        std::thread::sleep(END_RETRY_INTERVAL);
        if set_state(ports, name, state, message).is_ok() {
            return;
        }
    }
}

fn set_state(
    ports: &Ports,
    name: &WorkflowName,
    state: WorkflowState,
    message: &str,
) -> PortResult<WorkflowSummary> {
    let summary = ports.workflows.set_state(name, state, message)?;
    ports.events.publish(
        Some(name),
        EventBody::State {
            state,
            message: message.to_string(),
        },
    )?;
    Ok(summary)
}

fn refused(verb: &str, name: &WorkflowName, state: WorkflowState) -> PortError {
    let state = serde_json::to_value(state)
        .ok()
        .and_then(|v| v.as_str().map(str::to_string))
        .unwrap_or_default();
    PortError::Invalid(format!("cannot {verb} workflow {name}: it is {state}"))
}
