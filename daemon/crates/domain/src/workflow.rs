//! What a user submits, and what becomes of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use crate::chain::{
    Calibration, ChainRule, Check, ChecksSpec, ConsistencySpec, DifficultySpec, DiversityMethod,
    DiversitySpec, EmbeddingSpec, MARKS, OnPluginError, PerplexitySpec, PluginSpec, PluginTerms,
    RulesSpec, ScoreSpec, TextRule,
};
pub use crate::evaluation::{ContaminationSpec, GOOD_MARK, JudgeSpec, MIN_DIVERSITY_RATIO};
pub use crate::plan::{
    AdaptSpec, EvolveSpec, PromptStyle, PromptTemplate, Quota, TemplatePlugin, TemplateText,
};
pub use crate::review::{ReviewGate, ReviewSpec, SampleOrder, SampleSize};
use crate::training::TrainOptions;
use crate::{
    CheckpointId, Constraint, DatasetName, DatasetSummary, Digest, Language, ModelName,
    ModelSummary, PluginSummary, TaskType, WorkflowName,
};

/// A checked workflow: every default is filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkflowSpec {
    /// Unique in the data directory.
    pub name: WorkflowName,
    /// Decides all randomness.
    pub seed: u64,
    /// The languages worked in.
    pub languages: Vec<Language>,
    /// How often the stages run.
    pub rounds: u32,
    /// The base model.
    pub model: ModelName,
    /// The human examples; needed by generate and train.
    pub seeds: Option<DatasetName>,
    /// The held-out human tasks; needed by evaluate.
    pub held_out: Option<DatasetName>,
    /// What a round trains on.
    pub mix: Mix,
    /// The stages of a round; an absent one is skipped.
    pub stages: Stages,
    /// The dataset whose new versions start this workflow, where it is bound to one.
    pub on_drop: Option<DatasetName>,
    /// The most that remote models may cost it, in the unit of their prices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spending_cap: Option<f64>,
}

/// A part in a round that another model than the workflow's own may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelRole {
    /// Makes the instructions.
    Generator,
    /// Makes their inputs and answers.
    Answerer,
}

impl ModelRole {
    /// Every role.
    pub const ALL: [Self; 2] = [Self::Generator, Self::Answerer];

    /// Shows the field that names its model.
    pub fn field(self) -> &'static str {
        match self {
            Self::Generator => "stages.generate.model",
            Self::Answerer => "stages.respond.model",
        }
    }
}

impl WorkflowSpec {
    /// Finds the model that was named for a role; none leaves it to the workflow's own, with its latest adapter.
    pub fn model_of(&self, role: ModelRole) -> Option<&ModelName> {
        match role {
            ModelRole::Generator => self.stages.generate.as_ref()?.model.as_ref(),
            ModelRole::Answerer => self.stages.respond.as_ref()?.model.as_ref(),
        }
    }

    /// Lists every model that it names, with the field that does.
    pub fn named_models(&self) -> Vec<(String, &ModelName)> {
        let mut named = vec![("model".to_string(), &self.model)];
        let roles = ModelRole::ALL.iter();
        named.extend(
            roles.filter_map(|role| Some((role.field().to_string(), self.model_of(*role)?))),
        );
        for (path, rule) in self.chain_rules() {
            let (rule, model) = match rule {
                ChainRule::Score(spec) => ("score", &spec.model),
                ChainRule::Consistency(spec) => ("consistency", &spec.model),
                ChainRule::Embedding(spec) => ("embedding", &spec.model),
                ChainRule::Perplexity(spec) => ("perplexity", &spec.model),
                ChainRule::Difficulty(spec) => ("difficulty", &spec.model),
                ChainRule::Plugin(spec) => ("plugin", &spec.terms.model),
                _ => continue,
            };
            named.extend(
                model
                    .as_ref()
                    .map(|model| (format!("{path}.{rule}.model"), model)),
            );
        }
        let template = self
            .stages
            .generate
            .iter()
            .flat_map(|stage| &stage.template_plugin);
        let template = template.flat_map(|plugin| &plugin.terms.model);
        named.extend(
            template.map(|model| ("stages.generate.template_plugin.model".to_string(), model)),
        );
        let judge = self.stages.evaluate.iter().flat_map(|stage| &stage.judge);
        let judge = judge.flat_map(|judge| &judge.model);
        named.extend(judge.map(|model| ("stages.evaluate.judge.model".to_string(), model)));
        named
    }

    /// Finds when a record counts as one of the held-out tasks.
    pub fn contamination(&self) -> ContaminationSpec {
        let evaluate = self.stages.evaluate.as_ref();
        evaluate
            .map(|stage| stage.contamination)
            .unwrap_or_default()
    }

    /// Lists the rules of all chains, with their places, such as `stages.filter.chain[0]`.
    pub fn chain_rules(&self) -> impl Iterator<Item = (String, &ChainRule)> {
        let filter = self.stages.filter.iter().flat_map(|stage| &stage.chain);
        let validate = self.stages.validate.iter().flat_map(|stage| &stage.chain);
        let place = |stage: &'static str| {
            move |(index, rule)| (format!("stages.{stage}.chain[{index}]"), rule)
        };
        let filter = filter.enumerate().map(place("filter"));
        filter.chain(validate.enumerate().map(place("validate")))
    }

    /// Tells whether it needs a model, in whatever role.
    pub fn uses_model(&self, name: &ModelName) -> bool {
        self.named_models().iter().any(|(_, named)| *named == name)
    }
}

/// The share of each pool that a round trains on, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mix {
    /// Of the human examples.
    pub human: f64,
    /// Of this round's kept examples.
    pub generated: f64,
    /// Of earlier rounds' kept examples.
    pub replay: f64,
}

impl Default for Mix {
    fn default() -> Self {
        Self {
            human: 1.0,
            generated: 1.0,
            replay: 0.5,
        }
    }
}

/// The stages of a round.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stages {
    /// Makes candidate instructions.
    pub generate: Option<GenerateSpec>,
    /// Keeps or drops candidates.
    pub filter: Option<FilterSpec>,
    /// Answers kept instructions.
    pub respond: Option<RespondSpec>,
    /// Keeps or drops answered examples.
    pub validate: Option<ValidateSpec>,
    /// Lays some of what is kept before people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<ReviewSpec>,
    /// Fine-tunes.
    pub train: Option<TrainSpec>,
    /// Measures on the held-out tasks.
    pub evaluate: Option<EvaluateSpec>,
    /// Decides which adapter generates next.
    pub promote: Option<PromoteSpec>,
    /// Lets failures change what the next round asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapt: Option<AdaptSpec>,
}

/// How candidates are made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GenerateSpec {
    /// Examples that a round wants kept at the end of its last record stage, of every language an equal share.
    pub target: u32,
    /// The prompt template: one of those that come with the daemon (`list`, `alpaca`), `custom` or `plugin`.
    pub template: String,
    /// The template that `custom` stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_template: Option<PromptTemplate>,
    /// The plugin that `plugin` stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_plugin: Option<TemplatePlugin>,
    /// Sampling temperature.
    pub temperature: f32,
    /// Nucleus sampling.
    pub top_p: f32,
    /// The k likeliest tokens; 0 keeps all.
    pub top_k: u32,
    /// Penalty on tokens the completion holds already.
    pub presence_penalty: f32,
    /// The most tokens of one completion.
    pub max_tokens: u32,
    /// Before so many tokens a completion does not end by itself.
    #[serde(default)]
    pub min_tokens: u32,
    /// Human examples in a prompt.
    pub human_examples: u32,
    /// Generated examples in a prompt, once there are as many.
    pub generated_examples: u32,
    /// The most prompts a round may take to reach its target.
    pub max_requests: u32,
    /// Prompts sent to the engine at once.
    pub batch: u32,
    /// The model that makes them, where it is another than the workflow's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelName>,
    /// What the prompts ask for; none asks for tasks of any kind, or, with an adapt stage, for each type that the seeds have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quotas: Vec<Quota>,
    /// The share of the prompts that asks for harder versions of what was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evolve: Option<EvolveSpec>,
}

/// How candidates are filtered: in the order of the chain, the first drop decides.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FilterSpec {
    /// The rules.
    pub chain: Vec<ChainRule>,
}

/// How examples are validated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ValidateSpec {
    /// The rules.
    pub chain: Vec<ChainRule>,
}

/// How instructions are answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RespondSpec {
    /// Sampling temperature of inputs.
    pub input_temperature: f32,
    /// Sampling temperature of labels that no set of labels is known for, where it is another than that of inputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_temperature: Option<f32>,
    /// Sampling temperature of answers.
    pub temperature: f32,
    /// Sampling temperatures of answers to tasks of some types.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub temperatures: BTreeMap<TaskType, f32>,
    /// Nucleus sampling.
    pub top_p: f32,
    /// Penalty on repeated tokens.
    pub repetition_penalty: f32,
    /// The most tokens of an input.
    pub max_input_tokens: u32,
    /// The most tokens of an answer.
    pub max_tokens: u32,
    /// Instructions sent to the engine at once.
    pub batch: u32,
    /// The most inputs, each with its answer, that an instruction gets; one that needs no input has one answer.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub instances: u32,
    /// Human examples that the model sees answered before it answers, as turns of a conversation. Where it is not said, a
    /// base model, which needs them, sees [`BASE_MODEL_EXAMPLES`] and others none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub examples: Option<u32>,
    /// Whether the model is asked of each instruction if it is a classification, whose label then comes before its input.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub classify: bool,
    /// The form that every answer has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constraint: Option<ConstraintSpec>,
    /// The model that answers, where it is another than the workflow's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelName>,
}

impl Default for RespondSpec {
    fn default() -> Self {
        Self {
            input_temperature: 0.7,
            label_temperature: None,
            temperature: 0.0,
            temperatures: BTreeMap::new(),
            top_p: 0.95,
            repetition_penalty: 1.1,
            max_input_tokens: 64,
            max_tokens: 256,
            batch: 32,
            instances: 1,
            examples: None,
            classify: false,
            constraint: None,
            model: None,
        }
    }
}

fn one() -> u32 {
    1
}

fn is_one(count: &u32) -> bool {
    *count == 1
}

/// Examples that a base model sees answered before it answers, unless a workflow says otherwise.
pub const BASE_MODEL_EXAMPLES: u32 = 6;

/// The form of answers as a workflow names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConstraintSpec {
    /// One of these texts.
    Choices(Vec<String>),
    /// A regular expression that matches the whole answer.
    Regex(String),
    /// A JSON schema, as its text: the order of its properties is that of the answer's.
    JsonSchema(String),
}

impl ConstraintSpec {
    /// Reads it as the engine wants it.
    ///
    /// # Errors
    /// What is wrong with a schema that is no JSON.
    pub fn constraint(&self) -> Result<Constraint, String> {
        Ok(match self {
            Self::Choices(choices) => Constraint::Choices(choices.clone()),
            Self::Regex(regex) => Constraint::Regex(regex.clone()),
            Self::JsonSchema(text) => Constraint::JsonSchema(
                serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?,
            ),
        })
    }
}

/// How a round trains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainSpec {
    /// The adapter that a round's begins as; without one it begins afresh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_adapter: Option<CheckpointId>,
    /// The checkpoint, with its optimizer, that the run goes on from for more epochs or steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume_from_checkpoint: Option<CheckpointId>,
    /// The examples that evaluations during training measure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval_dataset: Option<DatasetName>,
    /// The share of the examples that is held out of training for those evaluations instead.
    #[serde(default)]
    pub validation_split: f64,
    /// Whether a round 0 before the first trains on the seeds alone, so that the first round is written and answered by what came of
    /// it, and has to be better than it: a base model answers poorly before it has seen answers (as the seed model of Li et al.
    /// 2023, "Self-Alignment with Instruction Backtranslation").
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub seeds_first: bool,
    /// The method and its options.
    #[serde(flatten)]
    pub options: TrainOptions,
}

/// How models are measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvaluateSpec {
    /// The most tokens of an answer.
    pub max_tokens: u32,
    /// Tasks sent to the engine at once.
    pub batch: u32,
    /// Who gives the answers marks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<JudgeSpec>,
    /// When a record counts as one of the held-out tasks, and is not trained on.
    #[serde(default, skip_serializing_if = "ContaminationSpec::is_default")]
    pub contamination: ContaminationSpec,
}

/// When a new adapter becomes the generator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PromoteSpec {
    /// The least distinct-2 of the round's kept instructions.
    pub min_diversity: f64,
    /// The least share of the seeds' own distinct-2, at equal numbers of texts, that the round's kept instructions of a language
    /// may have.
    #[serde(
        default = "min_diversity_ratio",
        skip_serializing_if = "is_min_diversity_ratio"
    )]
    pub min_diversity_ratio: f64,
}

fn min_diversity_ratio() -> f64 {
    MIN_DIVERSITY_RATIO
}

fn is_min_diversity_ratio(ratio: &f64) -> bool {
    *ratio == MIN_DIVERSITY_RATIO
}

/// Where a workflow stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkflowState {
    /// Submitted, not started yet.
    Pending,
    /// At work; after a restart it goes on by itself.
    Running,
    /// Held by a person until resumed.
    Paused,
    /// Not at work until people have reviewed enough; then it goes on by itself, after a restart too.
    Waiting,
    /// Ended with every round done.
    Done,
    /// Ended by an error; `resume` tries again from the last step.
    Failed,
    /// Ended by a person.
    Cancelled,
}

impl WorkflowState {
    /// Tells whether nothing more will happen by itself.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

/// What a workflow was given at submission; it stays on these whatever comes later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pinned {
    /// The seeds' version.
    pub seeds: Option<DatasetSummary>,
    /// The held-out tasks' version.
    pub held_out: Option<DatasetSummary>,
    /// The version of what evaluations during training measure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval_dataset: Option<DatasetSummary>,
    /// The base model.
    pub model: ModelSummary,
    /// The plugins named in chains.
    pub plugins: Vec<PluginSummary>,
    /// The labels of the training task, where it has a head.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
}

impl Pinned {
    /// Shows the train stage with the labels that were found for it.
    pub fn train_of(&self, spec: &WorkflowSpec) -> Option<TrainSpec> {
        let mut train = spec.stages.train.clone()?;
        if !self.labels.is_empty() {
            train.options.labels.clone_from(&self.labels);
        }
        Some(train)
    }
}

/// A workflow and its durable state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkflowSummary {
    /// What was submitted.
    pub spec: WorkflowSpec,
    /// What it was given.
    pub pinned: Pinned,
    /// The digest of the spec, by which the same submission is known.
    pub spec_digest: Digest,
    /// Where it stands.
    pub state: WorkflowState,
    /// Why, for failed, paused and waiting ones.
    pub message: String,
    /// When it was submitted, in milliseconds since 1970 (UTC).
    pub created_ms: u64,
    /// When its state last changed.
    pub updated_ms: u64,
}
