//! What the loop knows of plugins.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::capability::{Capability, Granted};
use crate::{Digest, Example, FinishReason, Language, PluginName, Prompt, TaskType};

/// What a plugin can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PluginKind {
    /// Keeps or drops records.
    Filter,
    /// Writes the prompts that ask for new instructions, and reads the answers.
    Template,
    /// Accepts, corrects or drops answered records.
    Validator,
    /// Gives records numbers.
    Scorer,
}

impl PluginKind {
    /// Every kind with the name that files and people use.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Filter, "filter"),
        (Self::Template, "template"),
        (Self::Validator, "validator"),
        (Self::Scorer, "scorer"),
    ];

    /// Shows its name.
    pub fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(kind, _)| *kind == self);
        found.map_or("", |(_, name)| name)
    }
}

impl fmt::Display for PluginKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An installed plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginSummary {
    /// The name its `describe` gives.
    pub name: PluginName,
    /// The version its `describe` gives.
    pub version: String,
    /// The kinds it exports.
    pub kinds: Vec<PluginKind>,
    /// What it asks to use.
    #[serde(default)]
    pub capabilities: Vec<Capability>,
    /// What a person granted it for every workflow.
    #[serde(default)]
    pub granted: Granted,
    /// The BLAKE3 digest of the component's bytes.
    pub digest: Digest,
    /// The SHA-256 of the same bytes in hexadecimal, as `sha256sum` prints it; empty where it is not known.
    #[serde(default)]
    pub sha256: String,
    /// The JSON schema of its configuration, as its `describe` gives it; empty for none.
    pub config_schema: String,
    /// The size of the component in bytes.
    pub size: u64,
    /// Whether it comes with the daemon.
    pub builtin: bool,
    /// Whether workflows may use it.
    pub enabled: bool,
    /// Why it failed too often, where it did and nobody has enabled it since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<String>,
}

/// How a component stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginStanding {
    /// It is used, and put into quarantine when it fails too often.
    Trusted,
    /// It failed too often, for this reason.
    Quarantined(String),
    /// It failed too often, and a person let it go on.
    Excused,
}

/// What plugins see of a record. Texts are empty where there is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PluginRecord<'a> {
    /// What to do.
    pub instruction: &'a str,
    /// What to do it to.
    pub input: &'a str,
    /// The answer; empty before it is generated.
    pub output: &'a str,
    /// The ISO 639-1 code of the instruction's language.
    pub language: &'a str,
    /// The form of the task, by the name that files use.
    pub task_type: &'a str,
    /// What it is about.
    pub topic: &'a str,
    /// The labels that a classification may have.
    pub labels: &'a [String],
}

/// A filter's decision on one record.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterDecision {
    /// None keeps; a reason code drops.
    pub drop_reason: Option<String>,
    /// What the decision rests on, for people.
    pub note: Option<String>,
    /// A score, where the filter has one.
    pub score: Option<f64>,
}

/// What a validator says of one record.
#[derive(Clone, Debug, PartialEq)]
pub enum Validation {
    /// It goes on as it is.
    Accept,
    /// It goes on with another answer.
    Correct {
        /// The answer.
        output: String,
        /// What was wrong, for people.
        note: Option<String>,
    },
    /// It goes.
    Drop {
        /// The reason code.
        reason: String,
        /// What it rests on, for people.
        note: Option<String>,
        /// A score, where the validator has one.
        score: Option<f64>,
    },
}

/// A scorer's number for one record.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginScore {
    /// None where it cannot be told; finite.
    pub value: Option<f64>,
    /// What it rests on, for people.
    pub note: Option<String>,
}

/// What a template's prompt is to ask for.
#[derive(Clone, Debug)]
pub struct TemplateRequest<'a> {
    /// The language that is wanted.
    pub language: Language,
    /// The examples to show, in order.
    pub examples: &'a [&'a Example],
    /// The form of task that is wanted.
    pub task_type: Option<TaskType>,
    /// What it is to be about.
    pub topic: Option<&'a str>,
    /// How many instructions are wanted.
    pub count: u32,
    /// A number of the request's own.
    pub seed: u64,
}

/// A prompt that a template wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct RenderedPrompt {
    /// What the model is asked.
    pub prompt: Prompt,
    /// Texts at which the model stops.
    pub stop: Vec<String>,
}

/// What a model said to a template's prompt.
#[derive(Clone, Debug)]
pub struct TemplateCompletion<'a> {
    /// What was asked for.
    pub request: TemplateRequest<'a>,
    /// What the model said.
    pub text: &'a str,
    /// Why it stopped.
    pub finish: FinishReason,
}

/// An instruction that a template read out of a completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateItem {
    /// What to do.
    pub instruction: String,
    /// The form of the task, where the model says it.
    pub task_type: Option<TaskType>,
    /// What it is about, where the model says it.
    pub topic: Option<String>,
}
