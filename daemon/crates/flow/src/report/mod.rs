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

use autodidact_domain::event::StageProgress;
use autodidact_domain::journal::StageName;
use autodidact_domain::ports::ReportTexts;
use autodidact_domain::report::{
    BeforeAfter, PluginReport, RemoteModelReport, Report, RoundReport, SampleExample, StageReport,
};
use autodidact_domain::{
    CheckpointId, DatasetSummary, Digest, Example, Message, PortError, Prompt, RuleRef,
    WorkflowState,
};

use crate::error::FlowError;
use crate::journaled::Run;
use crate::stages::evaluate::{Evaluation, TaskResult, summarize};
use crate::stages::promote::Promotion;
use crate::stages::train::Trained;

pub(crate) use drops::{each_verdict, shorten};
pub use html::to_html;
pub use markdown::to_markdown;
pub(crate) use sections::final_model;
pub(crate) use task_types::by_task_type;
pub use words::{reason_name, stage_name};

/// Kept examples that a report shows.
const SHOWN_EXAMPLES: usize = 5;

/// What a run has given so far.
#[derive(Default)]
pub(crate) struct RunOutcome {
    pub(crate) kept: Vec<Example>,
    pub(crate) dataset: Option<DatasetSummary>,
    pub(crate) adapter: Option<CheckpointId>,
    pub(crate) adapter_digest: Option<Digest>,
    pub(crate) evaluations: Vec<Evaluation>,
    pub(crate) rounds: Vec<RoundOutcome>,
}

/// What a round has given besides its stages' counts.
pub(crate) struct RoundOutcome {
    round: u32,
    pub(crate) human: u64,
    pub(crate) generated: u64,
    pub(crate) replayed: u64,
    pub(crate) trained: Option<Trained>,
    pub(crate) promotion: Option<Promotion>,
}

impl RoundOutcome {
    pub(crate) fn new(round: u32) -> Self {
        Self {
            round,
            human: 0,
            generated: 0,
            replayed: 0,
            trained: None,
            promotion: None,
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
        evaluations: outcome
            .evaluations
            .iter()
            .flat_map(|e| summarize(e, held_out, spec.seed))
            .collect(),
        examples: sample_examples(&outcome.kept),
        before_after: before_after(outcome, held_out),
        plugins: plugin_reports(run),
        remote_models: totals
            .remote
            .iter()
            .map(|((stage, _), used)| RemoteModelReport {
                stage: stage.name().to_string(),
                used: used.clone(),
            })
            .collect(),
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
    }
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
    // The base has the first evaluation, so round n has the one at n - 1 of the rest.
    let promoted = outcome.rounds.iter().rev().find(|round| {
        let promotion = round.promotion.as_ref();
        promotion.is_some_and(|promotion| promotion.promoted)
    });
    let last = promoted
        .and_then(|round| tuned.get(round.round as usize - 1))
        .or(tuned.last())?;
    let gain = |(before, after): &(&TaskResult, &TaskResult)| before.loss() - after.loss();
    let pairs = base.paired(last).into_iter();
    let (before, after) = pairs
        .filter(|(before, after)| before.answer != after.answer)
        .max_by(|a, b| gain(a).total_cmp(&gain(b)))?;
    let task = held_out.iter().find(|task| task.id == before.id)?;
    let (prompt, expected) = task.body.question();
    Some(BeforeAfter {
        prompt: shown(&prompt),
        expected: expected.to_string(),
        before: before.answer.clone(),
        after: after.answer.clone(),
        model: last.model.clone(),
    })
}

/// Shows a prompt; of a conversation every turn, with who says it.
fn shown(prompt: &Prompt) -> String {
    match prompt {
        Prompt::Text(text) => text.clone(),
        Prompt::Chat(turns) => match turns.as_slice() {
            [question] => question.content.clone(),
            turns => {
                let told = |turn: &Message| format!("{}: {}", turn.role.as_str(), turn.content);
                turns.iter().map(told).collect::<Vec<_>>().join("\n")
            }
        },
    }
}

fn plugin_reports(run: &Run) -> Vec<PluginReport> {
    run.workflow
        .pinned
        .plugins
        .iter()
        .map(|plugin| PluginReport {
            rule: RuleRef {
                name: plugin.name.to_string(),
                version: plugin.version.clone(),
                digest: Some(plugin.digest),
            },
            dropped: run
                .totals
                .plugin_drops
                .get(plugin.name.as_str())
                .copied()
                .unwrap_or(0),
        })
        .collect()
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
