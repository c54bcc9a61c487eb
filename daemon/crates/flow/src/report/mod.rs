//! The report: every figure comes from the journal, replayed or fresh.

mod chart;
mod document;
mod drops;
mod html;
mod markdown;
mod sections;
mod spark;
mod task_types;
mod words;

use std::collections::BTreeMap;

use autodidact_domain::event::StageProgress;
use autodidact_domain::figures::{DiversityReport, JudgeReport, SeedsReport};
use autodidact_domain::journal::StageName;
use autodidact_domain::ports::ReportTexts;
use autodidact_domain::random::derive_seed;
use autodidact_domain::report::{
    BeforeAfter, EvaluationReport, Measure, PluginReport, RemoteModelReport, Report, RoundReport,
    SampleExample, StageReport,
};
use autodidact_domain::workflow::Calibration;
use autodidact_domain::{
    CheckpointId, DatasetSummary, Digest, Example, Language, PluginUses, PortError, RuleRef,
    WorkflowSpec, WorkflowState,
};

use crate::complexity::complexity;
use crate::error::FlowError;
use crate::journaled::Run;
use crate::prompts::show_prompt;
use crate::stages::adapt::Adapted;
use crate::stages::evaluate::{Evaluation, Measured, TaskResult, summarize};
use crate::stages::language_of;
use crate::stages::promote::Promotion;
use crate::stages::train::Trained;
use crate::statistics::{mean, mean_interval};

pub(crate) use drops::{each_verdict, shorten};
pub use html::to_html;
pub use markdown::to_markdown;
pub(crate) use sections::final_model;
pub(crate) use task_types::by_task_type;
pub use words::{reason_name, stage_name};
pub(crate) use words::{task_type_name, task_type_of_name};

/// Kept examples that a report shows.
const SHOWN_EXAMPLES: usize = 5;

/// What a run has given so far.
#[derive(Default)]
pub(crate) struct RunOutcome {
    pub(crate) kept: Vec<Example>,
    pub(crate) dataset: Option<DatasetSummary>,
    pub(crate) adapter: Option<CheckpointId>,
    pub(crate) adapter_digest: Option<Digest>,
    evaluations: Vec<Evaluation>,
    pub(crate) rounds: Vec<RoundOutcome>,
    pub(crate) calibrations: Vec<Calibration>,
    /// The evaluations summed up, so that bootstraps are drawn once.
    summaries: Vec<EvaluationReport>,
    pub(crate) seeds: Option<SeedsReport>,
    pub(crate) judge: Option<JudgeReport>,
}

impl RunOutcome {
    /// Adds an evaluation, where there is one.
    pub(crate) fn add_evaluation(
        &mut self,
        run: &Run,
        evaluation: Option<&Evaluation>,
        held_out: &[Example],
    ) {
        let Some(evaluation) = evaluation else { return };
        let seed = run.spec().seed;
        self.summaries.extend(summarize(evaluation, held_out, seed));
        self.evaluations.push(evaluation.clone());
    }
}

/// What a round has given besides its stages' counts.
pub(crate) struct RoundOutcome {
    round: u32,
    pub(crate) human: u64,
    pub(crate) generated: u64,
    pub(crate) replayed: u64,
    pub(crate) trained: Option<Trained>,
    pub(crate) promotion: Option<Promotion>,
    pub(crate) adapted: Option<Adapted>,
    complexity: BTreeMap<String, Measure>,
    pub(crate) diversity: Vec<DiversityReport>,
}

impl RoundOutcome {
    pub(crate) fn new(round: u32, kept: &[Example], spec: &WorkflowSpec) -> Self {
        Self {
            adapted: None,
            complexity: complexity_of(round, kept, spec),
            round,
            human: 0,
            generated: 0,
            replayed: 0,
            trained: None,
            promotion: None,
            diversity: Vec::new(),
        }
    }
}

/// Serialises a report in its contract form.
///
/// # Errors
/// [`PortError::Internal`] where a figure is not a number JSON can hold.
pub fn to_json(report: &Report) -> Result<String, PortError> {
    serde_json::to_string_pretty(report)
        .map_err(|error| PortError::Internal(format!("write report: {error}")))
}

/// Writes the report to the store and as files.
pub(crate) fn write(
    run: &Run,
    outcome: &RunOutcome,
    held_out: &[Example],
    done: bool,
) -> Result<(), FlowError> {
    let report = build(run, outcome, held_out, done)?;
    run.ports.workflows.put_report(&report)?;
    let texts = ReportTexts {
        json: to_json(&report)?,
        markdown: to_markdown(&report),
        html: to_html(&report),
    };
    run.ports.reports.write(&report.workflow, &texts)?;
    Ok(())
}

fn build(
    run: &Run,
    outcome: &RunOutcome,
    held_out: &[Example],
    done: bool,
) -> Result<Report, PortError> {
    let spec = run.spec();
    let totals = &run.totals;
    let rate = if totals.generation_seconds > 0.0 {
        totals.tokens as f64 / totals.generation_seconds
    } else {
        0.0
    };
    Ok(Report {
        workflow: spec.name.clone(),
        state: if done {
            WorkflowState::Done
        } else {
            WorkflowState::Running
        },
        language: spec.languages[0],
        seed: spec.seed,
        compute: run.ports.engine.compute().to_string(),
        dataset_digest: outcome.dataset.as_ref().map(|dataset| dataset.digest),
        adapter_digest: outcome.adapter_digest,
        adapter: outcome.adapter.clone(),
        dataset: outcome
            .dataset
            .as_ref()
            .map(|dataset| format!("{}@{}", dataset.name, dataset.version)),
        seconds: totals.seconds,
        peak_rss_mb: totals.peak_rss_mb,
        tokens_per_second: rate,
        rounds: outcome
            .rounds
            .iter()
            .map(|round| round_report(run, round))
            .collect(),
        dropped: drops::dropped_examples(&*run.ports.journal, &spec.name, spec.seed)?,
        evaluations: outcome.summaries.clone(),
        examples: sample_examples(&outcome.kept),
        before_after: before_after(outcome, held_out),
        plugins: plugin_reports(run),
        calibrations: outcome.calibrations.clone(),
        remote_models: totals
            .remote
            .iter()
            .map(|((stage, _), used)| RemoteModelReport {
                stage: stage.name().to_string(),
                used: used.clone(),
            })
            .collect(),
        seeds: outcome.seeds.clone(),
        judge: outcome.judge.clone(),
    })
}

fn round_report(run: &Run, round: &RoundOutcome) -> RoundReport {
    let trained = round.trained.as_ref();
    let stages: Vec<StageReport> = run
        .totals
        .stages
        .iter()
        .filter(|((of, _), _)| *of == round.round)
        .map(|((_, name), stage)| StageReport {
            tokens: match (name, trained) {
                (StageName::Train, Some(trained)) => trained.tokens,
                _ => stage.tokens,
            },
            ..stage.clone()
        })
        .collect();
    RoundReport {
        round: round.round,
        promoted: round.promotion.as_ref().map(|promotion| promotion.promoted),
        promotion_reason: round
            .promotion
            .as_ref()
            .map(|promotion| promotion.reason.clone())
            .unwrap_or_default(),
        stages,
        human: round.human,
        generated: round.generated,
        replayed: round.replayed,
        losses: trained.map_or(Vec::new(), |trained| trained.losses.clone()),
        eval_losses: trained.map_or(Vec::new(), |trained| trained.eval_losses.clone()),
        adapter_step: trained.map(|trained| trained.adapter_step),
        stopped_early: trained.is_some_and(|trained| trained.stopped_early),
        complexity: round.complexity.clone(),
        plan_changes: round
            .adapted
            .as_ref()
            .map_or(Vec::new(), |adapted| adapted.changes.clone()),
        seed_suggestions: round
            .adapted
            .as_ref()
            .map_or(Vec::new(), |adapted| adapted.suggestions.clone()),
        diversity: round.diversity.clone(),
    }
}

/// Measures the mean complexity of a round's kept instructions, by language.
fn complexity_of(round: u32, kept: &[Example], spec: &WorkflowSpec) -> BTreeMap<String, Measure> {
    let mut values: BTreeMap<Language, Vec<f64>> = BTreeMap::new();
    for example in kept {
        let language = language_of(example, spec.languages[0]);
        let value = complexity(language, &example.body.instruction_text());
        values.entry(language).or_default().push(value);
    }
    let measured = values.into_iter().map(|(language, values)| {
        let seed = derive_seed(
            spec.seed,
            &["complexity", &round.to_string(), language.code()],
        );
        let interval = mean_interval(&values, seed);
        let measure = Measure {
            mean: mean(&values),
            low: interval.low,
            high: interval.high,
        };
        (language.code().to_string(), measure)
    });
    measured.collect()
}

/// Picks kept examples evenly over the run.
fn sample_examples(kept: &[Example]) -> Vec<SampleExample> {
    let shown = kept.len().min(SHOWN_EXAMPLES);
    (0..shown)
        .map(|i| &kept[i * kept.len() / shown])
        .map(|example| SampleExample {
            round: example.lineage.round.unwrap_or(0),
            instruction: example.body.instruction_text().to_string(),
            input: example.body.input_text().to_string(),
            output: example.body.output_text().to_string(),
        })
        .collect()
}

/// Shows the held-out task whose loss fell most, answered by the base and by the model that the run ends with; by the
/// last round's where none was promoted.
fn before_after(outcome: &RunOutcome, held_out: &[Example]) -> Option<BeforeAfter> {
    let (base, tuned) = outcome.evaluations.split_first()?;
    let promoted = outcome.rounds.iter().rev().find(|round| {
        let promotion = round.promotion.as_ref();
        promotion.is_some_and(|promotion| promotion.promoted)
    });
    let last = promoted
        .and_then(|round| {
            let name = Measured::Round(round.round).name();
            tuned.iter().find(|evaluation| evaluation.model == name)
        })
        .or(tuned.last())?;
    let gain = |(before, after): &(&TaskResult, &TaskResult)| before.loss() - after.loss();
    let pairs = base.paired(last).into_iter();
    let (before, after) = pairs
        .filter(|(before, after)| before.answer != after.answer)
        .max_by(|a, b| gain(a).total_cmp(&gain(b)))?;
    let task = held_out.iter().find(|task| task.id == before.id)?;
    let (prompt, expected) = task.body.question();
    Some(BeforeAfter {
        prompt: show_prompt(&prompt),
        expected: expected.to_string(),
        before: before.answer.clone(),
        after: after.answer.clone(),
        model: last.model.clone(),
    })
}

fn plugin_reports(run: &Run) -> Vec<PluginReport> {
    let mut reports: Vec<PluginReport> = Vec::new();
    let dropped = |by: &str| run.totals.plugin_drops.get(by).copied().unwrap_or(0);
    for plugin in run.plugins.bound(&run.workflow.pinned.plugins) {
        let (name, digest) = (plugin.name.as_str(), Some(plugin.digest));
        if reports.iter().any(|known| known.rule.digest == digest) {
            continue;
        }
        let rule = RuleRef {
            name: name.to_string(),
            version: plugin.version.clone(),
            digest,
            config_digest: None,
        };
        // Versions share what their name is granted, and earlier daemons counted by names.
        let is_first = reports.iter().all(|known| known.rule.name != name);
        let (uses, by_name) = match is_first {
            true => (run.plugins.of(name), dropped(name)),
            false => (PluginUses::default(), 0),
        };
        reports.push(PluginReport {
            rule,
            dropped: dropped(&plugin.digest.to_string()) + by_name,
            failures: run.plugins.failures_of(plugin.digest),
            uses,
        });
    }
    reports
}

/// Reads stage figures back off a report, for workflows that ran under an earlier daemon.
pub(crate) fn stage_figures(report: &Report) -> Vec<StageProgress> {
    report
        .rounds
        .iter()
        .flat_map(|round| {
            round
                .stages
                .iter()
                .filter_map(|stage| stage_figure(round.round, stage))
        })
        .collect()
}

fn stage_figure(round: u32, stage: &StageReport) -> Option<StageProgress> {
    let (name, _) = StageName::ALL
        .iter()
        .find(|(_, name)| *name == stage.name)?;
    Some(StageProgress {
        round,
        stage: *name,
        done: stage.taken,
        total: stage.taken,
        kept: stage.kept,
        dropped: stage.dropped,
        reasons: stage.reasons.clone(),
        tokens: 0,
        finished: true,
    })
}
