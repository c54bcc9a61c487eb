//! The running workflows: one thread each, started, paused, resumed and cancelled by name.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use autodidact_domain::embedding::is_encoder;
use autodidact_domain::event::StageProgress;
use autodidact_domain::ports::Ports;
use autodidact_domain::workflow::{ChainRule, ModelRole, Pinned};
use autodidact_domain::{
    DatasetSummary, Digest, EventBody, Interrupt, InterruptReason, ModelSummary, PortError,
    PortResult, StepKey, WorkflowName, WorkflowSpec, WorkflowState, WorkflowSummary,
};

use crate::error::FlowError;
use crate::journaled::{Figures, Run};
use crate::run::run_workflow;
use crate::spec::{Fault, nearest_name, read_what_is_there};

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

    /// Checks a workflow file against its schema and against what is registered, without starting anything.
    ///
    /// # Errors
    /// Every fault at once.
    pub fn check(&self, yaml: &str) -> Result<WorkflowSpec, Vec<Fault>> {
        self.check_and_pin(yaml).map(|(spec, _)| spec)
    }

    fn check_and_pin(&self, yaml: &str) -> Result<(WorkflowSpec, Pinned), Vec<Fault>> {
        let (spec, mut faults) = read_what_is_there(yaml)?;
        let Some(spec) = spec else {
            return Err(faults);
        };
        match pin(&self.ports, &spec, yaml) {
            Ok(pinned) if faults.is_empty() => Ok((spec, pinned)),
            Ok(_) => Err(faults),
            Err(missing) => {
                faults.extend(missing);
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
        self.create_and_start(spec, pinned)
    }

    /// Holds a workflow at its next safe point.
    ///
    /// # Errors
    /// The workflow does not exist, or is not running.
    pub fn pause(&self, name: &WorkflowName) -> PortResult<WorkflowSummary> {
        let summary = self.ports.workflows.get(name)?;
        match summary.state {
            WorkflowState::Paused => Ok(summary),
            WorkflowState::Running => {
                self.raise(name, InterruptReason::Pause);
                self.set_state(
                    name,
                    WorkflowState::Paused,
                    "paused; `workflow resume` goes on",
                )
            }
            state => Err(refused("pause", name, state)),
        }
    }

    /// Lets a paused or failed workflow go on from its last step.
    ///
    /// # Errors
    /// The workflow does not exist, or is done or cancelled.
    pub fn resume(self: &Arc<Self>, name: &WorkflowName) -> PortResult<WorkflowSummary> {
        let summary = self.ports.workflows.get(name)?;
        match summary.state {
            WorkflowState::Running => Ok(summary),
            WorkflowState::Pending if summary.spec.on_drop.is_some() => Ok(summary),
            WorkflowState::Paused | WorkflowState::Failed | WorkflowState::Pending => {
                self.join(name);
                self.start(name)
            }
            state => Err(refused("resume", name, state)),
        }
    }

    /// Ends a workflow for good at its next safe point. What it made so far stays.
    ///
    /// # Errors
    /// The workflow does not exist, or is done.
    pub fn cancel(&self, name: &WorkflowName) -> PortResult<WorkflowSummary> {
        let summary = self.ports.workflows.get(name)?;
        match summary.state {
            WorkflowState::Cancelled => Ok(summary),
            WorkflowState::Done => Err(refused("cancel", name, summary.state)),
            _ => {
                self.raise(name, InterruptReason::Cancel);
                self.set_state(name, WorkflowState::Cancelled, "cancelled")
            }
        }
    }

    /// Starts what was running when the daemon went down.
    ///
    /// # Errors
    /// A port's failure.
    pub fn resume_all(self: &Arc<Self>) -> PortResult<u32> {
        let mut resumed = 0;
        for summary in self.ports.workflows.list()? {
            let cut_off = summary.state == WorkflowState::Running;
            let never_started =
                summary.state == WorkflowState::Pending && summary.spec.on_drop.is_none();
            if cut_off || never_started {
                self.start(&summary.spec.name)?;
                resumed += 1;
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

    fn raise(&self, name: &WorkflowName, reason: InterruptReason) {
        if let Some(run) = self.running().get(name) {
            run.interrupt.raise(reason);
        }
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
        let mut running = self.running();
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
        let (ports, workflow, flag) = (self.ports.clone(), summary.clone(), interrupt.clone());
        let thread = std::thread::Builder::new()
            .name(format!("workflow-{name}"))
            .spawn(move || work(&ports, workflow, &flag, &figures))
            .map_err(|error| {
                PortError::Unavailable(format!("start a thread for workflow {name}: {error}"))
            })?;
        running.insert(name.clone(), Running { interrupt, thread });
        Ok(summary)
    }
}

/// Runs a workflow on its own thread and writes down how it ended.
fn work(ports: &Ports, workflow: WorkflowSummary, interrupt: &Interrupt, figures: &Figures) {
    let name = workflow.spec.name.clone();
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        Run::open(ports, workflow, interrupt, figures).and_then(run_workflow)
    }));
    let ended = match outcome {
        Ok(Ok(())) => Some((WorkflowState::Done, String::new())),
        Ok(Err(FlowError::Interrupted)) => None,
        Ok(Err(error)) => Some((
            WorkflowState::Failed,
            format!("{error}; `workflow resume {name}` tries again from the last step"),
        )),
        Err(_) => Some((
            WorkflowState::Failed,
            "a defect stopped the run; the log names it".to_string(),
        )),
    };
    let Some((state, message)) = ended else {
        return;
    };
    // A cancel that came in while the last step ran stands.
    if interrupt.reason() == Some(InterruptReason::Cancel) {
        return;
    }
    if set_state(ports, &name, state, &message).is_err() {
        write_the_end_later(ports, &name, state, &message, interrupt);
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

/// Finds the fault of a model that cannot generate.
fn refuse_encoder(path: &str, model: &ModelSummary, yaml: &str) -> Option<Fault> {
    let name = model.name.as_str();
    is_encoder(&model.architecture).then(|| Fault {
        line: line_of(yaml, path.rsplit('.').next().unwrap_or(path), name),
        path: path.to_string(),
        message: format!(
            "{name} is an encoder ({}): it gives embeddings and cannot generate",
            model.architecture
        ),
        expected: "a model that generates".to_string(),
        found: format!("{name:?}"),
        nearest: None,
    })
}

/// Finds everything a workflow names, so that it stays on these versions; every missing thing is a fault.
fn pin(ports: &Ports, spec: &WorkflowSpec, yaml: &str) -> Result<Pinned, Vec<Fault>> {
    let roles = ModelRole::ALL
        .iter()
        .filter_map(|role| Some((role.field(), spec.model_of(*role)?)));
    let named: Vec<_> = [("model", &spec.model)].into_iter().chain(roles).collect();
    let mut faults: Vec<Fault> = named
        .iter()
        .filter_map(|(path, name)| refuse_encoder(path, &ports.models.get(name).ok()?, yaml))
        .collect();
    let mut missing = |path: &str, what: &str, name: &str, known: Vec<String>, how: &str| {
        faults.push(Fault {
            line: line_of(yaml, path.rsplit('.').next().unwrap_or(path), name),
            path: path.to_string(),
            message: format!("there is no {what} {name:?}; {how}"),
            expected: if known.is_empty() {
                format!("a {what}; there is none yet")
            } else {
                format!("one of {}", known.join(", "))
            },
            found: format!("{name:?}"),
            nearest: nearest_name(name, known.iter().map(String::as_str)),
        });
    };
    for (path, name) in named {
        if ports.models.get(name).is_err() {
            let known = ports.models.list().unwrap_or_default();
            missing(
                path,
                "model",
                name.as_str(),
                known.into_iter().map(|m| m.name.to_string()).collect(),
                "`autodidact model add` registers one, [remote_models.NAME] in the configuration file names one on a server",
            );
        }
    }
    let model = ports.models.get(&spec.model).ok();
    let mut dataset = |path: &str, name: Option<&autodidact_domain::DatasetName>| {
        let name = name?;
        let found = ports.datasets.get(name, None).ok();
        let expected_later = spec.on_drop.as_ref() == Some(name);
        if found.is_none() && !expected_later {
            let known = ports
                .datasets
                .list()
                .unwrap_or_default()
                .into_iter()
                .map(|d| d.name.to_string())
                .collect();
            missing(
                path,
                "dataset",
                name.as_str(),
                known,
                "`autodidact dataset import` makes one",
            );
        }
        found
    };
    let seeds = dataset("seeds", spec.seeds.as_ref());
    let held_out = dataset("held_out", spec.held_out.as_ref());
    if let (Some(seeds), Some(held_out), Some(_)) = (&seeds, &held_out, &spec.stages.evaluate)
        && seeds.digest == held_out.digest
    {
        faults.push(Fault {
            line: line_of(yaml, "held_out", held_out.name.as_str()),
            path: "held_out".into(),
            message: "the held-out tasks are the seeds themselves, so they would measure nothing"
                .into(),
            expected: "a dataset with other tasks than the seeds".into(),
            found: format!("{:?}", held_out.name.as_str()),
            nearest: None,
        });
    }
    let needs_local = spec.stages.train.is_some() || spec.stages.evaluate.is_some();
    if needs_local && model.as_ref().is_some_and(ModelSummary::is_remote) {
        faults.push(Fault {
            line: line_of(yaml, "model", spec.model.as_str()),
            path: "model".into(),
            message: "a remote model can only generate, and the stages train or evaluate it".into(),
            expected: "a model on this machine; a remote one may stand in stages.generate.model and stages.respond.model".into(),
            found: format!("{:?}", spec.model.as_str()),
            nearest: None,
        });
    }
    let mut plugins = Vec::new();
    for (path, name, config) in plugin_links(spec) {
        match ports.plugins.get(&name) {
            Ok(plugin) if !plugin.enabled => faults.push(Fault {
                line: line_of(yaml, "name", &name),
                path,
                message: format!(
                    "plugin {name:?} is disabled; `autodidact plugin enable {name}` enables it"
                ),
                expected: "an enabled plugin".into(),
                found: format!("{name:?}"),
                nearest: None,
            }),
            Ok(plugin) => {
                if let Err(error) = ports.plugins.check_config(plugin.digest, &config) {
                    faults.push(Fault {
                        line: line_of(yaml, "name", &name),
                        path: format!("{path}.config"),
                        message: format!("plugin {name:?} refuses its configuration: {error}"),
                        expected: plugin.config_schema.clone(),
                        found: config.to_string(),
                        nearest: None,
                    });
                }
                plugins.push(plugin);
            }
            Err(_) => {
                let known: Vec<String> = ports
                    .plugins
                    .list()
                    .unwrap_or_default()
                    .into_iter()
                    .map(|p| p.name.to_string())
                    .collect();
                faults.push(Fault {
                    line: line_of(yaml, "name", &name),
                    path: format!("{path}.name"),
                    message: format!(
                        "there is no plugin {name:?}; `autodidact plugin install` installs one"
                    ),
                    expected: format!("one of {}", known.join(", ")),
                    found: format!("{name:?}"),
                    nearest: nearest_name(&name, known.iter().map(String::as_str)),
                });
            }
        }
    }
    match model {
        Some(model) if faults.is_empty() => {
            plugins.dedup_by(|a, b| a.digest == b.digest);
            Ok(Pinned {
                seeds,
                held_out,
                model,
                plugins,
            })
        }
        _ => Err(faults),
    }
}

fn plugin_links(spec: &WorkflowSpec) -> Vec<(String, String, serde_json::Value)> {
    let filter = spec.stages.filter.iter().flat_map(|s| {
        s.chain
            .iter()
            .enumerate()
            .map(|(i, rule)| ("filter", i, rule))
    });
    let validate = spec.stages.validate.iter().flat_map(|s| {
        s.chain
            .iter()
            .enumerate()
            .map(|(i, rule)| ("validate", i, rule))
    });
    filter
        .chain(validate)
        .filter_map(|(stage, i, rule)| match rule {
            ChainRule::Plugin { name, config, .. } => Some((
                format!("stages.{stage}.chain[{i}].plugin"),
                name.clone(),
                config.clone(),
            )),
            _ => None,
        })
        .collect()
}

/// Finds the line where `field: name` stands, for faults found after the tree is gone; 0 where it cannot be told.
fn line_of(yaml: &str, field: &str, name: &str) -> u32 {
    let at = yaml
        .lines()
        .position(|line| line.contains(&format!("{field}:")) && line.contains(name));
    at.and_then(|i| u32::try_from(i + 1).ok()).unwrap_or(0)
}
