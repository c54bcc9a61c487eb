//! What the durable loop writes down.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ExampleId, Verdict, WorkflowName};

/// The stages of a round that exist so far, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    missing_docs,
    reason = "each name is the stage's own, described where the stage is"
)]
pub enum StageName {
    Generate,
    Filter,
    Respond,
    Validate,
    Review,
    Train,
    Evaluate,
    Promote,
    Adapt,
}

impl StageName {
    /// Every stage with the name that files use.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::Generate, "generate"),
        (Self::Filter, "filter"),
        (Self::Respond, "respond"),
        (Self::Validate, "validate"),
        (Self::Review, "review"),
        (Self::Train, "train"),
        (Self::Evaluate, "evaluate"),
        (Self::Promote, "promote"),
        (Self::Adapt, "adapt"),
    ];

    /// Shows the name that files use.
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(s, _)| *s == self)
            .map(|(_, name)| *name)
            .expect("every stage is in the table")
    }
}

/// Where a step stands in its workflow; decides the step's randomness and its effects' ids.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepKey {
    /// The workflow.
    pub workflow: WorkflowName,
    /// The round, from 1; 0 is the evaluation of the base before the first round.
    pub round: u32,
    /// The stage.
    pub stage: StageName,
    /// The step in the stage, from 0.
    pub index: u32,
}

impl fmt::Display for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}/{}/{}",
            self.workflow,
            self.round,
            self.stage.name(),
            self.index
        )
    }
}

/// A step as the journal has it: an intent without a result was cut off, and is run again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Where it stands.
    pub key: StepKey,
    /// What it gave; none while it is only intended.
    pub result: Option<serde_json::Value>,
}

/// A verdict with the record it is about, committed together with the step that made it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordedVerdict {
    /// The round.
    pub round: u32,
    /// The stage.
    pub stage: StageName,
    /// The record's id: of its body, or of the raw text where it could not be parsed.
    pub record: ExampleId,
    /// The record as the stage saw it, so that a dropped one can be looked at.
    pub text: String,
    /// The decision.
    pub verdict: Verdict,
}
