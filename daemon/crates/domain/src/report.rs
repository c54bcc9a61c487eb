//! The report of a workflow: every figure in it comes from the journal.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::chain::Calibration;
use crate::figures::{DiversityReport, JudgeMarks, JudgeReport, SeedsReport};
use crate::plan::PlanChange;
use crate::{
    CheckpointId, Digest, EvalLoss, Language, PluginUses, RemoteUse, RuleRef, WorkflowName,
    WorkflowState,
};

/// The whole report; its JSON form is a contract with scripts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The workflow.
    pub workflow: WorkflowName,
    /// Its state.
    pub state: WorkflowState,
    /// The language in which it is told: the workflow's first.
    #[serde(default = "english")]
    pub language: Language,
    /// Its seed.
    pub seed: u64,
    /// What generated: the compute path `exact` or `fast`, or number format and device such as `bf16 on cuda:0`.
    pub compute: String,
    /// The digest of everything kept, over all rounds.
    pub dataset_digest: Option<Digest>,
    /// The digest of the adapter in force at the end; none when no round was promoted.
    pub adapter_digest: Option<Digest>,
    /// The adapter in force at the end.
    pub adapter: Option<CheckpointId>,
    /// The kept dataset, as `name@version`.
    pub dataset: Option<String>,
    /// Seconds of work, over all resumptions.
    pub seconds: f64,
    /// The most memory the process held at once, in MiB.
    pub peak_rss_mb: u64,
    /// Tokens generated, a second of generation.
    pub tokens_per_second: f64,
    /// Each round's funnel.
    pub rounds: Vec<RoundReport>,
    /// Some dropped records of each stage and reason, over all rounds, in order of both.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<DroppedExamples>,
    /// Base and rounds on the held-out tasks.
    pub evaluations: Vec<EvaluationReport>,
    /// Five kept examples (fewer where fewer were kept).
    pub examples: Vec<SampleExample>,
    /// One held-out prompt, answered by the base and by the last adapter.
    pub before_after: Option<BeforeAfter>,
    /// The plugins that took part, with how many records each dropped.
    pub plugins: Vec<PluginReport>,
    /// The bounds of rules that were measured on the seeds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calibrations: Vec<Calibration>,
    /// What remote models did and what that cost; a restart's repeated requests are in the workflow's account alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remote_models: Vec<RemoteModelReport>,
    /// What the seeds are made of and what they lack, where prompts are made from them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seeds: Option<SeedsReport>,
    /// How far the judge of the held-out answers can be trusted, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<JudgeReport>,
}

/// Reports of earlier daemons do not say.
fn english() -> Language {
    Language::En
}

/// A remote model's part in a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RemoteModelReport {
    /// The stage.
    pub stage: String,
    /// The model and what it used.
    #[serde(flatten)]
    pub used: RemoteUse,
}

/// One round's funnel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoundReport {
    /// The round, from 1.
    pub round: u32,
    /// Whether its adapter became the generator; none when the round trained nothing.
    pub promoted: Option<bool>,
    /// Why it was promoted or not.
    pub promotion_reason: String,
    /// The stages in order.
    pub stages: Vec<StageReport>,
    /// Human examples trained on.
    pub human: u64,
    /// Examples of this round trained on.
    pub generated: u64,
    /// Examples of earlier rounds trained on.
    pub replayed: u64,
    /// The training loss of each optimizer step.
    pub losses: Vec<f64>,
    /// The evaluations during training.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub eval_losses: Vec<EvalLoss>,
    /// The step that the adapter is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter_step: Option<u32>,
    /// Whether training ended because the evaluations got no better.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped_early: bool,
    /// The mean complexity of the round's kept instructions, by language: demands, limits, steps and length, in a unit of its own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub complexity: BTreeMap<String, Measure>,
    /// What its failures change for the next round.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plan_changes: Vec<PlanChange>,
    /// Seeds that would help, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seed_suggestions: Vec<String>,
    /// How varied the instructions are that it kept, by language.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diversity: Vec<DiversityReport>,
}

/// A mean with its 95% interval beside it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// The mean.
    pub mean: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// One stage of a round. `in = kept + dropped`, always.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageReport {
    /// The stage.
    pub name: String,
    /// The records it was given.
    #[serde(rename = "in")]
    pub taken: u64,
    /// The records that passed.
    pub kept: u64,
    /// The records that did not.
    pub dropped: u64,
    /// What it made: several instructions from one completion, say.
    pub out: u64,
    /// Drops by reason code.
    pub reasons: BTreeMap<String, u64>,
    /// Seconds of work.
    pub seconds: f64,
    /// Tokens generated, by remote models too; of train, those trained on.
    #[serde(default)]
    pub tokens: u64,
}

/// Some of the records that a stage dropped for one reason, over all rounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DroppedExamples {
    /// The stage.
    pub stage: String,
    /// The reason code.
    pub reason: String,
    /// How many it dropped.
    pub count: u64,
    /// Those that are shown, drawn by the workflow's seed.
    pub examples: Vec<DroppedExample>,
}

/// A dropped record with what the decision rests on; texts are cut to a readable length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DroppedExample {
    /// The record's id in its verdicts.
    pub record: Digest,
    /// The round.
    pub round: u32,
    /// What it says.
    pub text: String,
    /// The rule or plugin that decided.
    pub rule: String,
    /// The nearest neighbour's text, for near-duplicates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
    /// The score that crossed a threshold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Anything else worth saying.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A mean with its 95% interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// One model on the held-out tasks of one language.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvaluationReport {
    /// `base` or `round-N`.
    pub model: String,
    /// The language's code.
    pub language: String,
    /// The tasks.
    pub n: u64,
    /// The mean loss over response tokens, in nats.
    pub heldout_loss: f64,
    /// The mean ROUGE-L F of the answers.
    pub rouge_l: f64,
    /// The share of tasks that succeeded.
    pub success_rate: f64,
    /// 95% intervals of `heldout_loss`, `rouge_l`, `success_rate` and the figures of `diversity`.
    pub intervals: BTreeMap<String, Interval>,
    /// Success and measures by task type; `unknown` where none is told.
    pub task_types: BTreeMap<String, TaskTypeReport>,
    /// Diversity of the answers: `distinct_1`, `distinct_2`, `token_entropy` (bits), `nearest_similarity` (the mean ROUGE-L F of an
    /// answer with the one most like it).
    pub diversity: BTreeMap<String, f64>,
    /// What the judge says of the answers, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<JudgeMarks>,
}

/// Success on the tasks of one type, and what such tasks are measured by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskTypeReport {
    /// The tasks.
    pub n: u64,
    /// Those that succeeded.
    pub succeeded: u64,
    /// The type's own measures: `accuracy` and `macro_f1` of classifications, `span_f1` of extractions, `chrf` (0 to 100) of
    /// translations, `rouge_l` of all others; the mean over the tasks, but for `macro_f1`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, f64>,
    /// 95% intervals of the metrics, and of the share that succeeded as `success_rate`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub intervals: BTreeMap<String, Interval>,
}

/// A kept example, for people to look at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SampleExample {
    /// The round.
    pub round: u32,
    /// What to do.
    pub instruction: String,
    /// What to do it to.
    pub input: String,
    /// The answer.
    pub output: String,
}

/// One prompt before and after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BeforeAfter {
    /// The prompt.
    pub prompt: String,
    /// The expected answer.
    pub expected: String,
    /// The base's answer.
    pub before: String,
    /// The adapter's answer.
    pub after: String,
    /// Which evaluation `after` is from, `round-N`.
    pub model: String,
}

/// A plugin's part in the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PluginReport {
    /// Name, version and digest.
    #[serde(flatten)]
    pub rule: RuleRef,
    /// The records it dropped.
    pub dropped: u64,
    /// The questions that it failed on.
    #[serde(default)]
    pub failures: u64,
    /// How often it used what it was granted.
    #[serde(default, skip_serializing_if = "PluginUses::is_empty")]
    pub uses: PluginUses,
}
