//! Where a record of a workflow comes from, what was decided on it, and what it went into.

use serde::{Deserialize, Serialize};

use crate::journal::RecordedVerdict;
use crate::{CheckpointId, Example, ExampleId, Origin, WorkflowName};

/// The whole history of one record.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordLineage {
    /// The record's id.
    pub record: ExampleId,
    /// What became of it.
    pub standing: RecordStanding,
    /// The record with who wrote it; none of a completion in which nothing could be read.
    pub example: Option<Example>,
    /// What it says, where it is no example.
    pub text: String,
    /// The ids that it goes by in verdicts, its own first: before it is answered, an example has that of its instruction alone.
    pub ids: Vec<ExampleId>,
    /// The examples that stood in the prompt it came from, in their order.
    pub prompt: Vec<PromptExample>,
    /// Every decision on it in the order they were made. Where a model wrote the same instruction again, what was decided then is
    /// among them.
    pub verdicts: Vec<RecordedVerdict>,
    /// The training runs whose mix it was in, of every workflow, this one's first.
    pub training: Vec<TrainingUse>,
    /// What came of prompts that it stood in.
    pub descendants: Descendants,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordStanding {
    /// People wrote it, and prompts and training take it.
    Seed,
    /// People wrote it, and models are measured by it.
    HeldOut,
    /// It passed every stage.
    Kept,
    /// A stage dropped it.
    Dropped,
    /// Its round has not ended.
    Open,
}

/// An example that stood in a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptExample {
    /// Its id.
    pub id: ExampleId,
    /// Its instruction, cut to a readable length; none where it is nowhere to be found any more.
    pub text: Option<String>,
    /// Who wrote it.
    pub origin: Option<Origin>,
}

/// A training run whose mix had a record in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainingUse {
    /// The workflow.
    pub workflow: WorkflowName,
    /// The round.
    pub round: u32,
    /// The adapter that it made.
    pub adapter: CheckpointId,
    /// Why it was not trained on after all, such as `held_out`; none where it was.
    pub left_out: Option<String>,
    /// Whether the adapter became the generator; none where that is not decided.
    pub promoted: Option<bool>,
}

/// What came of the prompts that a record stood in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descendants {
    /// The instructions that were read from what those prompts gave.
    pub candidates: u64,
    /// The examples of these that were kept.
    pub kept: u64,
}
