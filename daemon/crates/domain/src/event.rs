//! What watchers are told.

use serde::{Deserialize, Serialize};

use crate::journal::StageName;
use crate::plan::PlanChange;
use crate::preflight::Preflight;
use crate::training::{EvalLoss, StepMetrics};
use crate::{WorkflowName, WorkflowState};

/// Something that happened. Durable events carry a sequence number; fleeting ones (progress inside a step) carry 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Counts durable events of the whole store from 1.
    pub sequence: u64,
    /// Milliseconds since 1970 (UTC).
    pub time_ms: u64,
    /// The workflow it is about, where it is about one.
    pub workflow: Option<WorkflowName>,
    /// What happened.
    pub body: EventBody,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventBody {
    /// A workflow changed its state.
    State {
        /// The new state.
        state: WorkflowState,
        /// Why, where there is something to say.
        message: String,
    },
    /// A stage's figures after a step, or while it works.
    Stage(StageProgress),
    /// A training step's figures (fleeting).
    Training {
        /// The round.
        round: u32,
        /// The figures.
        #[serde(flatten)]
        metrics: StepMetrics,
    },
    /// The run was evaluated while it trains.
    TrainingEvaluated {
        /// The round.
        round: u32,
        /// After which step, and the loss.
        evaluation: EvalLoss,
        /// The step with the lowest loss so far.
        best_step: u32,
        /// Whether training ends here because the loss got no lower.
        stopped_early: bool,
    },
    /// An evaluation ended.
    Evaluated {
        /// `base` or `round-N`.
        model: String,
        /// The mean held-out loss, in nats a response token.
        heldout_loss: f64,
        /// The share of held-out tasks that succeeded.
        success_rate: f64,
    },
    /// A round's adapter was promoted or rolled back.
    Promotion {
        /// The round.
        round: u32,
        /// Whether it became the generator.
        promoted: bool,
        /// Why.
        message: String,
    },
    /// A checkpoint was saved.
    CheckpointSaved {
        /// Its name.
        id: String,
        /// The step it stands at.
        step: u32,
    },
    /// A dataset version was made.
    DatasetVersion {
        /// `name@version`.
        dataset: String,
        /// Its records.
        records: u64,
    },
    /// A dropped file was refused, whole or in part, or a component that was handed over.
    FileRefused {
        /// The file's name, or `component` with the beginning of its digest.
        file: String,
        /// Why.
        message: String,
    },
    /// A plugin was installed, enabled, disabled or removed.
    PluginChanged {
        /// Its name.
        plugin: String,
        /// What was done.
        change: String,
    },
    /// A plugin wrote a line to its log.
    PluginLog {
        /// Its name.
        plugin: String,
        /// How much it matters to the plugin: `debug`, `info`, `warn` or `error`.
        level: String,
        /// The line.
        message: String,
    },
    /// What a train stage takes, before it starts.
    Preflight {
        /// The round.
        round: u32,
        /// The figures.
        preflight: Preflight,
    },
    /// Failures changed what the next round asks for.
    PlanChanged {
        /// The round that failed so; the next one has the change.
        round: u32,
        /// What changes, and why.
        change: PlanChange,
    },
    /// Something a person should know that stopped nothing.
    Warning {
        /// What.
        message: String,
    },
}

/// A stage's figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageProgress {
    /// The round; 0 for the evaluation of the base.
    pub round: u32,
    /// The stage.
    pub stage: StageName,
    /// Units done (completions, records, optimizer steps, tasks).
    pub done: u64,
    /// Units expected; may grow while a target is not reached.
    pub total: u64,
    /// Records kept so far.
    pub kept: u64,
    /// Records dropped so far.
    pub dropped: u64,
    /// Dropped so far, by reason.
    pub reasons: std::collections::BTreeMap<String, u64>,
    /// Tokens generated or trained on so far.
    pub tokens: u64,
    /// Whether the stage has ended.
    pub finished: bool,
}
