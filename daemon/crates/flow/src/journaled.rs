//! Steps: intent, effect, result; replayed when the journal has the result already.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use autodidact_domain::event::StageProgress;
use autodidact_domain::journal::{RecordedVerdict, StageName};
use autodidact_domain::ports::Ports;
use autodidact_domain::report::StageReport;
use autodidact_domain::{
    Completion, Decision, EventBody, GenerateRequest, Interrupt, ModelRef, RemoteUse, StepKey,
    StepRecord, Verdict, WorkflowSpec, WorkflowSummary,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::contamination::Contamination;
use crate::error::FlowError;
use crate::ledger::Ledger;
use crate::plugins::{Accounts, PluginWork};

/// The figures of every stage so far, shared with whoever shows them.
#[derive(Clone, Default)]
pub(crate) struct Figures(Arc<Mutex<BTreeMap<(u32, StageName), StageProgress>>>);

impl Figures {
    pub(crate) fn all(&self) -> Vec<StageProgress> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    pub(crate) fn update(
        &self,
        round: u32,
        stage: StageName,
        change: impl FnOnce(&mut StageProgress),
    ) -> StageProgress {
        let mut figures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let progress = figures
            .entry((round, stage))
            .or_insert_with(|| StageProgress {
                round,
                stage,
                done: 0,
                total: 0,
                kept: 0,
                dropped: 0,
                reasons: BTreeMap::new(),
                tokens: 0,
                finished: false,
            });
        change(progress);
        progress.clone()
    }
}

/// What a step's effect gives.
pub(crate) struct Outcome<T> {
    /// What later steps need of it.
    pub(crate) value: T,
    /// Its decisions, committed with it. They are what the stage took, kept and dropped.
    pub(crate) verdicts: Vec<Judged>,
    /// What it made.
    pub(crate) out: u64,
    /// Tokens generated, and the seconds that took.
    pub(crate) tokens: u64,
    pub(crate) generation_seconds: f64,
}

impl<T> Outcome<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            value,
            verdicts: Vec::new(),
            out: 0,
            tokens: 0,
            generation_seconds: 0.0,
        }
    }
}

/// A decision on a record, before it is put in its place in the journal.
pub(crate) struct Judged {
    pub(crate) record: autodidact_domain::ExampleId,
    pub(crate) text: String,
    pub(crate) verdict: Verdict,
}

/// A step's result as the journal holds it.
#[derive(Serialize, Deserialize)]
struct Recorded<T> {
    seconds: f64,
    tokens: u64,
    generation_seconds: f64,
    kept: u64,
    reasons: BTreeMap<String, u64>,
    out: u64,
    /// The records that plugins dropped, by digest; by name in the journals of earlier daemons.
    plugin_drops: BTreeMap<String, u64>,
    peak_rss_mb: u64,
    /// What remote models did for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    remote: Vec<RemoteUse>,
    /// What plugins did for it.
    #[serde(flatten)]
    plugin_work: PluginWork,
    value: T,
}

/// Figures summed over all steps, replayed ones too, so that the report comes from the journal alone.
#[derive(Default)]
pub(crate) struct Totals {
    pub(crate) stages: BTreeMap<(u32, StageName), StageReport>,
    pub(crate) seconds: f64,
    pub(crate) tokens: u64,
    pub(crate) generation_seconds: f64,
    pub(crate) plugin_drops: BTreeMap<String, u64>,
    pub(crate) peak_rss_mb: u64,
    pub(crate) remote: BTreeMap<(StageName, String), RemoteUse>,
}

/// One run of a workflow, from the journal's start to the end or an interrupt.
pub(crate) struct Run {
    pub(crate) ports: Ports,
    pub(crate) workflow: WorkflowSummary,
    pub(crate) interrupt: Interrupt,
    pub(crate) totals: Totals,
    /// The held-out tasks that nothing may overlap; none before they are read, or where there are none.
    pub(crate) contamination: Option<Arc<Contamination>>,
    /// Whether no step was begun before, so that nobody was told anything yet.
    pub(crate) is_new: bool,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) plugins: Arc<Accounts>,
    figures: Figures,
    replay: BTreeMap<(u32, StageName, u32), serde_json::Value>,
    next: BTreeMap<(u32, StageName), u32>,
}

impl Run {
    pub(crate) fn open(
        ports: &Ports,
        workflow: WorkflowSummary,
        interrupt: &Interrupt,
        figures: &Figures,
    ) -> Result<Self, FlowError> {
        let steps = ports.journal.steps(&workflow.spec.name)?;
        let ledger = Ledger::open(
            &workflow.spec.name,
            workflow.spec.spending_cap,
            Arc::clone(&ports.spending),
        )?;
        let is_new = steps.is_empty();
        let replay = steps
            .into_iter()
            .filter_map(|step| {
                Some((
                    (step.key.round, step.key.stage, step.key.index),
                    step.result?,
                ))
            })
            .collect();
        Ok(Self {
            ports: ports.clone(),
            workflow,
            interrupt: interrupt.clone(),
            totals: Totals::default(),
            contamination: None,
            is_new,
            ledger: Arc::new(ledger),
            plugins: Arc::default(),
            figures: figures.clone(),
            replay,
            next: BTreeMap::new(),
        })
    }

    pub(crate) fn spec(&self) -> &WorkflowSpec {
        &self.workflow.spec
    }

    /// Continues prompts inside a step; remote models are paid for from the workflow's account.
    pub(crate) fn generate(
        &self,
        model: &ModelRef,
        requests: Vec<GenerateRequest>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Vec<Completion>, FlowError> {
        let engine = &self.ports.engine;
        Ok(engine.generate_paid(
            model,
            requests,
            self.ledger.as_ref(),
            &self.interrupt,
            progress,
        )?)
    }

    /// Runs the stage's next step, or reads its result where the journal has it.
    pub(crate) fn step<T: Serialize + DeserializeOwned>(
        &mut self,
        round: u32,
        stage: StageName,
        effect: impl FnOnce(&Self, &StepKey) -> Result<Outcome<T>, FlowError>,
    ) -> Result<T, FlowError> {
        let counter = self.next.entry((round, stage)).or_default();
        let key = StepKey {
            workflow: self.workflow.spec.name.clone(),
            round,
            stage,
            index: *counter,
        };
        *counter += 1;
        if let Some(value) = self.replay.remove(&(round, stage, key.index)) {
            let recorded: Recorded<T> =
                serde_json::from_value(value).map_err(|error| FlowError::Journal {
                    key: key.to_string(),
                    detail: error.to_string(),
                })?;
            self.count(round, stage, &recorded);
            return Ok(recorded.value);
        }
        if self.interrupt.is_raised() {
            return Err(FlowError::Interrupted);
        }
        self.ports.journal.begin(&key)?;
        let started_ms = self.ports.clock.now_ms();
        let outcome = effect(self, &key)?;
        let seconds = self.ports.clock.now_ms().saturating_sub(started_ms) as f64 / 1000.0;
        let verdicts = place(outcome.verdicts, round, stage);
        let recorded = Recorded {
            seconds,
            tokens: outcome.tokens,
            generation_seconds: outcome.generation_seconds,
            kept: verdicts
                .iter()
                .filter(|v| v.verdict.decision == Decision::Keep)
                .count() as u64,
            reasons: count_by(&verdicts, |verdict| Some(verdict.reason.clone())),
            out: outcome.out,
            plugin_drops: count_by(&verdicts, |verdict| {
                verdict.rule.digest.map(|digest| digest.to_string())
            }),
            peak_rss_mb: self.ports.clock.peak_rss_mb(),
            remote: self.ledger.take_step(),
            plugin_work: self.plugins.take_step(),
            value: outcome.value,
        };
        let value = serde_json::to_value(&recorded).map_err(|error| FlowError::Journal {
            key: key.to_string(),
            detail: error.to_string(),
        })?;
        self.ports.journal.commit(&key, value, &verdicts)?;
        let progress = self.count(round, stage, &recorded);
        self.ports
            .events
            .publish(Some(&self.workflow.spec.name), EventBody::Stage(progress))?;
        Ok(recorded.value)
    }

    /// Tells people something that stops nothing.
    pub(crate) fn warn(&self, message: String) -> Result<(), FlowError> {
        let events = &self.ports.events;
        events.publish(
            Some(&self.workflow.spec.name),
            EventBody::Warning { message },
        )?;
        Ok(())
    }

    /// Tells whether the stage's next step is in the journal already.
    pub(crate) fn will_replay(&self, round: u32, stage: StageName) -> bool {
        let index = self.next.get(&(round, stage)).copied().unwrap_or(0);
        self.replay.contains_key(&(round, stage, index))
    }

    /// Tells whether a step of a stage is in the journal already.
    pub(crate) fn has_step(&self, round: u32, stage: StageName, index: usize) -> bool {
        u32::try_from(index).is_ok_and(|index| self.replay.contains_key(&(round, stage, index)))
    }

    fn count<T>(&mut self, round: u32, stage: StageName, recorded: &Recorded<T>) -> StageProgress {
        let dropped: u64 = recorded.reasons.values().sum();
        let report = self
            .totals
            .stages
            .entry((round, stage))
            .or_insert_with(|| StageReport {
                name: stage.name().to_string(),
                ..StageReport::default()
            });
        report.taken += recorded.kept + dropped;
        report.kept += recorded.kept;
        report.dropped += dropped;
        report.out += recorded.out;
        report.seconds += recorded.seconds;
        report.tokens += recorded.tokens;
        add_counts(&mut report.reasons, &recorded.reasons);
        self.totals.seconds += recorded.seconds;
        self.totals.tokens += recorded.tokens;
        self.totals.generation_seconds += recorded.generation_seconds;
        self.totals.peak_rss_mb = self.totals.peak_rss_mb.max(recorded.peak_rss_mb);
        add_counts(&mut self.totals.plugin_drops, &recorded.plugin_drops);
        self.plugins.add(&recorded.plugin_work);
        for used in &recorded.remote {
            let sum = self.totals.remote.entry((stage, used.model.clone()));
            sum.or_default().add(used);
        }
        let report = report.clone();
        self.figures.update(round, stage, |progress| {
            progress.kept = report.kept;
            progress.dropped = report.dropped;
            progress.reasons = report.reasons;
            progress.tokens += recorded.tokens;
            // What a stage has done follows from its decisions, so that watchers never see the two apart.
            match stage {
                StageName::Validate => progress.done = report.kept,
                StageName::Train | StageName::Promote => {}
                _ => progress.done = report.kept + report.dropped,
            }
            progress.total = progress.total.max(progress.done);
        })
    }

    /// Tells watchers how far a stage is, counted in its own units.
    pub(crate) fn progress(&self, round: u32, stage: StageName, done: u64, total: u64) {
        let progress = self.figures.update(round, stage, |progress| {
            progress.done = done;
            progress.total = total.max(done);
        });
        self.ports
            .events
            .tell(Some(&self.workflow.spec.name), EventBody::Stage(progress));
    }

    /// Gives a callback that tells watchers of tokens generated inside a step; the committed count replaces its sum.
    pub(crate) fn token_progress(&self, round: u32, stage: StageName) -> impl FnMut(u64) + use<> {
        let (figures, events, name) = (
            self.figures.clone(),
            Arc::clone(&self.ports.events),
            self.workflow.spec.name.clone(),
        );
        let mut fleeting = 0;
        move |tokens| {
            fleeting += tokens;
            let mut progress = figures.update(round, stage, |_| {});
            progress.tokens += fleeting;
            events.tell(Some(&name), EventBody::Stage(progress));
        }
    }

    /// Tells watchers that a stage has ended.
    pub(crate) fn finish_stage(&self, round: u32, stage: StageName) -> Result<(), FlowError> {
        let progress = self.figures.update(round, stage, |progress| {
            progress.total = progress.done;
            progress.finished = true;
        });
        self.ports
            .events
            .publish(Some(&self.workflow.spec.name), EventBody::Stage(progress))?;
        Ok(())
    }
}

/// Reads what the steps of a stage gave off the journal, each with its round, in their order. A stage may have steps of several kinds:
/// those that give something else than is asked for are left out, and so are those without a result.
pub(crate) fn given<T: DeserializeOwned>(steps: &[StepRecord], stage: StageName) -> Vec<(u32, T)> {
    let of_stage = steps.iter().filter(|step| step.key.stage == stage);
    let given = of_stage.filter_map(|step| {
        let value = step.result.as_ref()?.get("value")?;
        Some((step.key.round, T::deserialize(value).ok()?))
    });
    given.collect()
}

fn place(judged: Vec<Judged>, round: u32, stage: StageName) -> Vec<RecordedVerdict> {
    judged
        .into_iter()
        .map(|j| RecordedVerdict {
            round,
            stage,
            record: j.record,
            text: j.text,
            verdict: j.verdict,
        })
        .collect()
}

fn count_by(
    verdicts: &[RecordedVerdict],
    key: impl Fn(&Verdict) -> Option<String>,
) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for recorded in verdicts
        .iter()
        .filter(|v| v.verdict.decision == Decision::Drop)
    {
        if let Some(key) = key(&recorded.verdict) {
            *counts.entry(key).or_default() += 1;
        }
    }
    counts
}

fn add_counts(sums: &mut BTreeMap<String, u64>, counts: &BTreeMap<String, u64>) {
    for (key, count) in counts {
        *sums.entry(key.clone()).or_default() += count;
    }
}
