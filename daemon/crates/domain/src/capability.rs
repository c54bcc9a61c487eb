//! What plugins may use besides their own time and memory: what there is, what a person granted, and who does it for them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::generation::{Completion, GenerateRequest, ResponseLoss, ScoreRequest};
use crate::{Digest, Interrupt, PluginName, PortError};

/// What a plugin may use besides its own time and memory, where a person grants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// Lines in the daemon's log.
    Log,
    /// The workflow's model, to generate.
    Generate,
    /// The workflow's model, to embed.
    Embed,
    /// The workflow's model, to measure how likely texts are.
    Score,
    /// Files that a person gave it to read.
    Data,
}

impl Capability {
    /// Every capability with the name that files and people use.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Log, "log"),
        (Self::Generate, "generate"),
        (Self::Embed, "embed"),
        (Self::Score, "score"),
        (Self::Data, "data"),
    ];

    /// Shows its name.
    pub fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(capability, _)| *capability == self);
        found.map_or("", |(_, name)| name)
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A plugin was to have what it does not ask for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("plugin {plugin} does not ask for {capability}; it asks for {}", listed(.asked))]
pub struct NotAsked {
    /// The plugin.
    pub plugin: PluginName,
    /// What it was to have.
    pub capability: Capability,
    /// What it asks for.
    pub asked: Vec<Capability>,
}

/// Holds what a plugin is to have to what it asks for.
///
/// # Errors
/// [`NotAsked`] for the first that it does not ask for.
pub fn check_asked(
    plugin: &PluginName,
    asked: &[Capability],
    granted: &[Capability],
) -> Result<(), NotAsked> {
    match granted.iter().find(|c| !asked.contains(c)) {
        None => Ok(()),
        Some(capability) => Err(NotAsked {
            plugin: plugin.clone(),
            capability: *capability,
            asked: asked.to_vec(),
        }),
    }
}

/// Lists capabilities as people write them.
pub fn listed(capabilities: &[Capability]) -> String {
    match capabilities {
        [] => "nothing".to_string(),
        some => some
            .iter()
            .map(|capability| capability.name())
            .collect::<Vec<_>>()
            .join(", "),
    }
}

/// The tokens of models that a plugin may use in a workflow, where nobody says another number.
pub const DEFAULT_MAX_TOKENS: u64 = 100_000;

/// What a person granted a plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Granted {
    /// What it may use.
    #[serde(default)]
    pub capabilities: Vec<Capability>,
    /// The most tokens of models in a workflow, prompts counted; none takes [`DEFAULT_MAX_TOKENS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// The files that it may read, by the names under which it asks for them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, DataFile>,
}

impl Granted {
    /// Tells whether something is granted.
    pub fn has(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability)
    }

    /// Tells whether a model is.
    pub fn has_model(&self) -> bool {
        let models = [Capability::Generate, Capability::Embed, Capability::Score];
        models.into_iter().any(|capability| self.has(capability))
    }
}

/// A file that a plugin may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataFile {
    /// The BLAKE3 digest of its bytes.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// A change of what a plugin is granted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantChange {
    /// What is granted from now on, besides what was.
    pub grant: Vec<Capability>,
    /// What is not any more.
    pub revoke: Vec<Capability>,
    /// The most tokens of models in a workflow; none leaves it as it was.
    pub max_tokens: Option<u64>,
    /// Files that it may read, name and content; of the same name the new one counts.
    pub files: Vec<(String, Vec<u8>)>,
}

/// How much a line of a plugin's log matters to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// For whoever writes the plugin.
    Debug,
    /// What it did.
    Info,
    /// What a person should look at.
    Warn,
    /// What went wrong.
    Error,
}

impl LogLevel {
    /// Shows its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// How often a plugin used what it was granted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PluginUses {
    /// Completions.
    pub completions: u64,
    /// Texts embedded.
    pub embeddings: u64,
    /// Texts scored.
    pub scores: u64,
    /// Tokens of models for all of these, prompts counted.
    pub tokens: u64,
    /// Lines of the log, those that were too many not counted.
    pub log_lines: u64,
    /// Files read.
    pub files_read: u64,
    /// What it asked for and was refused: not granted, or over its budget or a limit.
    pub refused: u64,
}

impl PluginUses {
    /// Tells whether nothing was used.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.completions += other.completions;
        self.embeddings += other.embeddings;
        self.scores += other.scores;
        self.tokens += other.tokens;
        self.log_lines += other.log_lines;
        self.files_read += other.files_read;
        self.refused += other.refused;
    }
}

/// Why a plugin does not get what it asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum ServiceError {
    /// The plugin is told so, and may go on.
    Refused(String),
    /// It had to wait too long, which is held against the call.
    TooLong,
    /// Whoever asked the plugin has to hear of it: the plugin is stopped, and none of its answers count.
    Port(PortError),
}

/// Does for a plugin what it was granted. The host asks only for that.
pub trait PluginServices: Send + Sync {
    /// Takes a line of its log.
    fn log(&self, level: LogLevel, message: &str);
    /// Generates a completion for each request, within so much time.
    fn generate(
        &self,
        requests: Vec<GenerateRequest>,
        within: Duration,
    ) -> Result<Vec<Completion>, ServiceError>;
    /// Makes a vector of length 1 of each text.
    fn embed(&self, texts: Vec<String>, within: Duration) -> Result<Vec<Vec<f32>>, ServiceError>;
    /// Measures how likely continuations are.
    fn score(
        &self,
        requests: Vec<ScoreRequest>,
        within: Duration,
    ) -> Result<Vec<ResponseLoss>, ServiceError>;
    /// Hears that it read a file.
    fn file_read(&self);
    /// Hears that it was refused something.
    fn refused(&self);
}

/// What a plugin is asked with.
#[derive(Clone)]
pub struct PluginCall<'a> {
    /// The component.
    pub digest: Digest,
    /// Its configuration, a JSON object.
    pub config: &'a Value,
    /// What it may use.
    pub granted: &'a Granted,
    /// Who does that for it; without anyone nothing is granted.
    pub services: Option<Arc<dyn PluginServices>>,
    /// After so many records that it failed on, it is not asked any further.
    pub max_failures: usize,
    /// Stops it at work, within a tenth of a second.
    pub interrupt: Option<Interrupt>,
}

/// Nothing at all.
static NOTHING: Granted = Granted {
    capabilities: Vec::new(),
    max_tokens: None,
    files: BTreeMap::new(),
};

impl<'a> PluginCall<'a> {
    /// Asks a plugin that is granted nothing, however often it fails.
    pub fn plain(digest: Digest, config: &'a Value) -> Self {
        Self {
            digest,
            config,
            granted: &NOTHING,
            services: None,
            max_failures: usize::MAX,
            interrupt: None,
        }
    }
}

/// The most different reasons that one warning tells.
const MAX_SHOWN_REASONS: usize = 8;

/// What a plugin said.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginRun<T> {
    /// An answer to each question, in order, or why there is none.
    pub answers: Vec<Result<T, String>>,
    /// Whether it failed too often and was not asked about the rest.
    pub gave_up: bool,
    /// The time that it took, in seconds, without what it waited for models.
    pub seconds: f64,
    /// The most memory that one of its instances had, in bytes.
    pub peak_memory_bytes: u64,
}

impl<T> PluginRun<T> {
    /// Makes one of answers alone.
    pub fn of(answers: Vec<Result<T, String>>) -> Self {
        Self {
            answers,
            gave_up: false,
            seconds: 0.0,
            peak_memory_bytes: 0,
        }
    }

    /// Says why it failed, each different reason once and how often, in the order in which they came; nothing where it did not fail.
    pub fn failures(&self) -> String {
        let mut reasons: Vec<(&str, usize)> = Vec::new();
        for reason in self
            .answers
            .iter()
            .filter_map(|answer| answer.as_ref().err())
        {
            match reasons.iter_mut().find(|(known, _)| known == reason) {
                Some((_, times)) => *times += 1,
                None => reasons.push((reason, 1)),
            }
        }
        let rest = reasons.split_off(reasons.len().min(MAX_SHOWN_REASONS));
        let shown = reasons.into_iter().map(|(reason, times)| match times {
            1 => reason.to_string(),
            _ => format!("{reason} ({times} times)"),
        });
        let left = (!rest.is_empty()).then(|| format!("{} other reasons", rest.len()));
        shown.chain(left).collect::<Vec<_>>().join("; ")
    }

    /// Changes the answers.
    pub fn map<U>(
        self,
        change: impl FnMut(Result<T, String>) -> Result<U, String>,
    ) -> PluginRun<U> {
        PluginRun {
            answers: self.answers.into_iter().map(change).collect(),
            gave_up: self.gave_up,
            seconds: self.seconds,
            peak_memory_bytes: self.peak_memory_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failures(reasons: &[&str]) -> String {
        let failed = reasons.iter().map(|reason| Err(reason.to_string()));
        PluginRun::of(std::iter::once(Ok(())).chain(failed).collect()).failures()
    }

    #[test]
    fn each_reason_for_failures_is_told_once() {
        assert_eq!(failures(&[]), "");
        assert_eq!(failures(&["trapped"]), "trapped");
        assert_eq!(
            failures(&["slow", "trapped", "slow"]),
            "slow (2 times); trapped"
        );
        let many = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "9", "10"];
        assert_eq!(failures(&many), "1; 2; 3; 4; 5; 6; 7; 8; 2 other reasons");
    }
}
