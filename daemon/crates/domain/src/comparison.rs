//! Two finished workflows side by side; the JSON form is that of the message of the same name.

use serde::{Deserialize, Serialize};

use crate::report::Interval;
use crate::{WorkflowName, WorkflowState};

/// How two workflows differ, in what they were given and in what they gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The first.
    pub a: ComparedRun,
    /// The second.
    pub b: ComparedRun,
    /// The settings that differ, by field, and whatever else the runs were given that does.
    pub settings: Vec<SettingDifference>,
    /// The stages of each round.
    pub funnel: Vec<FunnelDifference>,
    /// The measures on the held-out tasks: of the bases, of rounds of equal number, and of what the runs end with.
    pub evaluations: Vec<EvaluationDifference>,
}

/// One of the two workflows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComparedRun {
    /// Its name.
    pub workflow: WorkflowName,
    /// Its state.
    pub state: WorkflowState,
    /// The evaluation that it ends with: `base` or `round-N`; empty where nothing was measured.
    pub final_model: String,
    /// The kept dataset, as `name@version`; empty where nothing was kept.
    pub dataset: String,
    /// Seconds of work.
    pub seconds: f64,
    /// Tokens generated, and those trained on.
    pub tokens: u64,
}

/// A setting that differs. A side that does not have it is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingDifference {
    /// The field, such as `stages.train.r`.
    pub field: String,
    /// Its value in the first, as JSON.
    pub a: Option<String>,
    /// Its value in the second.
    pub b: Option<String>,
}

/// A stage of a round in both. A side that did not run it is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunnelDifference {
    /// The round.
    pub round: u32,
    /// The stage's name.
    pub stage: String,
    /// Its counts in the first.
    pub a: Option<StageCounts>,
    /// Its counts in the second.
    pub b: Option<StageCounts>,
}

/// What went into a stage and came out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageCounts {
    /// The records it was given.
    pub taken: u64,
    /// Those that passed.
    pub kept: u64,
    /// Those that did not.
    pub dropped: u64,
    /// What it made.
    pub out: u64,
}

/// Two models on the held-out tasks of one language.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvaluationDifference {
    /// The model of the first, `base` or `round-N`.
    pub model_a: String,
    /// The model of the second.
    pub model_b: String,
    /// The language's code.
    pub language: String,
    /// The measures.
    pub measures: Vec<MeasureDifference>,
}

/// One measure of two models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeasureDifference {
    /// `heldout_loss` or `success_rate`.
    pub measure: String,
    /// The value in the first, over all its tasks.
    pub a: f64,
    /// Its 95% interval.
    pub a_interval: Option<Interval>,
    /// The value in the second.
    pub b: f64,
    /// Its 95% interval.
    pub b_interval: Option<Interval>,
    /// How much greater it is in the second: over the tasks that are paired, or where none are, over all of each.
    pub difference: f64,
    /// The 95% interval of the difference, by a paired bootstrap over tasks; none where tasks cannot be paired.
    pub interval: Option<Interval>,
    /// The tasks that are paired.
    pub pairs: u64,
    /// Why tasks are not paired, or why not all are; empty where all are.
    pub note: String,
}
