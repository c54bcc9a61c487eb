//! The rules that the chains of filter and validate are made of, and their options.

use serde::{Deserialize, Serialize};

use crate::{Capability, Language, ModelName, PluginKind};

/// One link of a chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChainRule {
    /// Drops what equals, after normalisation, something seen before.
    Exact,
    /// Drops what is near to something kept before.
    RougeL {
        /// Above this ROUGE-L F it is a near-duplicate.
        threshold: f64,
    },
    /// Drops what means nearly the same as something kept before, by the cosine of embeddings.
    Embedding(EmbeddingSpec),
    /// Length and word rules.
    Rules(RulesSpec),
    /// Drops instructions that the model finds unlikely.
    Perplexity(PerplexitySpec),
    /// Drops answers that do not follow from their instruction, or hardly need it.
    Difficulty(DifficultySpec),
    /// Keeps the most diverse of what is left.
    Diversity(DiversitySpec),
    /// Drops what a model gives too low a mark.
    Score(ScoreSpec),
    /// Drops answers that their task's form makes wrong, and corrects those that can be.
    Checks(ChecksSpec),
    /// Drops what a model answers otherwise when it is asked again.
    Consistency(ConsistencySpec),
    /// A WASM plugin: a filter, a validator or a scorer.
    Plugin(PluginSpec),
}

/// A WASM plugin with what it is to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PluginSpec {
    /// The installed plugin.
    pub name: String,
    /// Its configuration, a JSON object.
    pub config: serde_json::Value,
    /// What a record gets on which the plugin fails.
    pub on_error: OnPluginError,
    /// On what terms it takes part.
    #[serde(flatten)]
    pub terms: PluginTerms,
    /// As what it is asked, where it is of several kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<PluginKind>,
    /// The least score of a scorer's that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least: Option<f64>,
    /// The greatest score of a scorer's that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<f64>,
    /// The share of a batch that is kept, those with a scorer's greatest scores; above 0 and at most 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<f64>,
}

/// The records on which a plugin may fail before it is put into quarantine, where a workflow says nothing else.
pub const DEFAULT_MAX_FAILURES: u32 = 50;

/// On what terms a plugin takes part in a workflow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginTerms {
    /// What it may use here, in the place of what it was granted for all workflows; empty leaves it at that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grant: Vec<Capability>,
    /// Whether it takes part without some of what it asks for; otherwise such a workflow is refused.
    #[serde(default)]
    pub allow_missing: bool,
    /// The most tokens of models that it may use in this workflow, in the place of what was granted for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// The model that it asks, where it is another than the workflow's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelName>,
    /// The records on which it may fail before the workflow pauses.
    #[serde(default = "default_max_failures")]
    pub max_failures: u32,
    /// Whether a new version that is installed meanwhile takes its place between steps.
    #[serde(default)]
    pub follow: bool,
}

fn default_max_failures() -> u32 {
    DEFAULT_MAX_FAILURES
}

impl Default for PluginTerms {
    fn default() -> Self {
        Self {
            grant: Vec::new(),
            allow_missing: false,
            max_tokens: None,
            model: None,
            max_failures: DEFAULT_MAX_FAILURES,
            follow: false,
        }
    }
}

/// What a record gets on which a plugin fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnPluginError {
    /// It is dropped with reason `plugin_error`.
    Drop,
    /// It goes on, the failure noted.
    Keep,
    /// The workflow stops.
    Stop,
}

/// A model that gives marks from 1 to 5, held to them by a constraint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoreSpec {
    /// The least mark that is kept.
    pub least: u32,
    /// The judge, where it is another than the workflow's base model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelName>,
}

/// The marks that a judge may give.
pub const MARKS: std::ops::RangeInclusive<u32> = 1..=5;

/// A built-in rule on texts; its code is also the reason of its drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextRule {
    /// An instruction has fewer tokens than its language's least.
    TooShort,
    /// An instruction has more tokens than its language's most.
    TooLong,
    /// An instruction is in a language that the workflow does not work in.
    WrongLanguage,
    /// An instruction has a blocked word.
    BlockedWord,
    /// An instruction has a sensitive word, however it is spelt apart.
    SensitiveWord,
    /// An instruction asks for what a text model can neither see nor do.
    Unanswerable,
    /// An instruction has remains of a list or a template, or is code or an address alone.
    BadFormat,
    /// An instruction goes in circles.
    Repetition,
    /// An instruction refers to what is not there, has an unfilled slot, or breaks off.
    Vague,
    /// An instruction's brackets or quotation marks do not pair.
    Ungrammatical,
    /// An answer is empty.
    EmptyOutput,
    /// An answer is the input.
    OutputEqualsInput,
    /// An answer is the instruction.
    OutputEqualsInstruction,
    /// An input or an answer ends where something should follow.
    EndsWithColon,
    /// An instruction speaks of a text to work on, and there is none.
    MissingInput,
}

impl TextRule {
    /// The rules on instructions, which the filter stage applies, in its order.
    pub const OF_INSTRUCTIONS: [Self; 10] = [
        Self::TooShort,
        Self::TooLong,
        Self::WrongLanguage,
        Self::BlockedWord,
        Self::SensitiveWord,
        Self::Unanswerable,
        Self::BadFormat,
        Self::Repetition,
        Self::Vague,
        Self::Ungrammatical,
    ];
    /// The rules on answered examples, which the validate stage applies, in its order.
    pub const OF_INSTANCES: [Self; 5] = [
        Self::EmptyOutput,
        Self::OutputEqualsInput,
        Self::OutputEqualsInstruction,
        Self::EndsWithColon,
        Self::MissingInput,
    ];

    /// Shows the reason code.
    pub fn code(self) -> &'static str {
        match self {
            Self::TooShort => "too_short",
            Self::TooLong => "too_long",
            Self::WrongLanguage => "wrong_language",
            Self::BlockedWord => "blocked_word",
            Self::SensitiveWord => "sensitive_word",
            Self::Unanswerable => "unanswerable",
            Self::BadFormat => "bad_format",
            Self::Repetition => "repetition",
            Self::Vague => "vague",
            Self::Ungrammatical => "ungrammatical",
            Self::EmptyOutput => "empty_output",
            Self::OutputEqualsInput => "output_equals_input",
            Self::OutputEqualsInstruction => "output_equals_instruction",
            Self::EndsWithColon => "ends_with_colon",
            Self::MissingInput => "missing_input",
        }
    }
}

/// The rules on texts; lengths in tokens (a run of alphanumerics, or one CJK character).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RulesSpec {
    /// The fewest tokens of an English instruction.
    pub min_tokens_en: u32,
    /// The most.
    pub max_tokens_en: u32,
    /// The fewest tokens of a Chinese instruction.
    pub min_tokens_zh: u32,
    /// The most.
    pub max_tokens_zh: u32,
    /// Drops an instruction with one of these words, as they are written here.
    pub blocked_words: Vec<String>,
    /// Drops an instruction with one of these words in any width, case or script of Chinese, also where blanks or punctuation stand
    /// inside of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sensitive_words: Vec<String>,
    /// The rules that are not applied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<TextRule>,
}

impl Default for RulesSpec {
    fn default() -> Self {
        // The reference drops <= 3 and > 150 words; the Chinese limits hold as much text in characters.
        Self {
            min_tokens_en: 4,
            max_tokens_en: 150,
            min_tokens_zh: 4,
            max_tokens_zh: 250,
            blocked_words: Vec::new(),
            sensitive_words: Vec::new(),
            except: Vec::new(),
        }
    }
}

/// Near duplicates in meaning.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EmbeddingSpec {
    /// Above this cosine it is a duplicate; none calibrates it on the seeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// The embedder; none takes what the configuration sets for the language.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelName>,
}

/// How likely a model finds an instruction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PerplexitySpec {
    /// The greatest perplexity that is kept; none calibrates it on the seeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<f64>,
    /// The model, where it is another than the workflow's base model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelName>,
}

/// Bounds on the instruction-following difficulty (Li et al. 2024): the loss of an answer after its instruction, over its loss alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DifficultySpec {
    /// Below it the instruction says the answer nearly by itself.
    pub least: f64,
    /// Above it the instruction helps the answer so little that they do not belong together; none where the seeds are to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<f64>,
    /// The model, where it is another than the workflow's base model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelName>,
}

/// A choice of the most diverse of what passed the rules before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DiversitySpec {
    /// What is maximised.
    pub method: DiversityMethod,
    /// The share of each wave that is kept, above 0 to 1.
    pub share: f64,
    /// The most that one task type may have of all that is kept.
    pub max_task_type_share: f64,
    /// The most that one topic may have.
    pub max_topic_share: f64,
}

impl Default for DiversitySpec {
    fn default() -> Self {
        Self {
            method: DiversityMethod::FacilityLocation,
            share: 0.75,
            max_task_type_share: 0.4,
            max_topic_share: 0.3,
        }
    }
}

/// What makes a choice diverse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiversityMethod {
    /// Everything has something near it among what is kept: the sum of each one's greatest similarity to what is kept.
    #[default]
    FacilityLocation,
    /// What is kept lies far apart: each time the one that is farthest from all that is kept (Gonzalez 1985).
    KCenter,
}

/// A bound that was measured on the seeds, or given, for the texts of a language.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The rule: `embedding` or `perplexity`.
    pub rule: String,
    /// The language.
    pub language: Language,
    /// The model that measures.
    pub model: ModelName,
    /// The bound.
    pub bound: f64,
    /// The seeds that it was measured on; 0 where it was given or is a default.
    pub seeds: u64,
    /// What was measured: the likeness of the likest seeds, or the seeds' mean perplexity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<f64>,
}

/// A check of an answer by what its task asks for; its code is also the reason of its drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// An answer refuses, or speaks of being a language model.
    Refusal,
    /// A classification's answer is none of its labels.
    LabelNotInSet,
    /// An extraction's span does not stand in the input.
    SpanNotInInput,
    /// Code in Python or JSON does not parse.
    CodeDoesNotParse,
    /// An instruction asks for JSON, and the answer is none.
    InvalidJson,
    /// A translation is not in the language asked for, or another answer not in that of its instruction.
    WrongOutputLanguage,
}

impl Check {
    /// Every check, in the order in which they are made.
    pub const ALL: [Self; 6] = [
        Self::Refusal,
        Self::LabelNotInSet,
        Self::SpanNotInInput,
        Self::InvalidJson,
        Self::CodeDoesNotParse,
        Self::WrongOutputLanguage,
    ];

    /// Shows the reason code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Refusal => "refusal",
            Self::LabelNotInSet => "label_not_in_set",
            Self::SpanNotInInput => "span_not_in_input",
            Self::CodeDoesNotParse => "code_does_not_parse",
            Self::InvalidJson => "invalid_json",
            Self::WrongOutputLanguage => "wrong_output_language",
        }
    }
}

/// Checks of answers by the type of their task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChecksSpec {
    /// Whether what can be corrected is corrected, and keeps the original beside it; else its form alone may drop it.
    pub correct: bool,
    /// The checks that are not made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<Check>,
}

impl Default for ChecksSpec {
    fn default() -> Self {
        Self {
            correct: true,
            except: Vec::new(),
        }
    }
}

/// Self-consistency (Wang et al. 2022): how far answers to the same question agree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConsistencySpec {
    /// How often the question is answered again.
    pub samples: u32,
    /// The sampling temperature of those answers.
    pub temperature: f32,
    /// The least share of them that agrees with the answer kept, 0 to 1.
    pub least: f64,
    /// The least ROUGE-L F with which open answers agree; labels and short answers are equal or are not.
    pub agreement_rouge_l: f64,
    /// Whether a label or short answer is replaced by the one that most of them give, and keeps the original beside it.
    pub correct: bool,
    /// The model that answers again, where it is another than the one that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelName>,
}

impl Default for ConsistencySpec {
    fn default() -> Self {
        Self {
            samples: 3,
            temperature: 0.7,
            least: 0.5,
            agreement_rouge_l: 0.5,
            correct: true,
            model: None,
        }
    }
}
