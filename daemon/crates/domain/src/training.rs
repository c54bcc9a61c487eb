//! Asking for a fine-tuned adapter.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Body, Checkpoint, ModelRef};

/// How the learning rate goes on after its warm-up; the names are transformers' own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LrScheduler {
    /// It falls to 0 as half a cosine (Loshchilov and Hutter 2017).
    #[default]
    Cosine,
    /// It falls to 0 in a straight line.
    Linear,
    /// It stays.
    Constant,
    /// It stays, and falls to 0 as half a cosine in the last steps (Hu et al. 2024).
    WarmupStableDecay,
}

impl LrScheduler {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Cosine,
        Self::Linear,
        Self::Constant,
        Self::WarmupStableDecay,
    ];

    /// Shows the name in a workflow.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Linear => "linear",
            Self::Constant => "constant",
            Self::WarmupStableDecay => "warmup_stable_decay",
        }
    }
}

/// What a model is trained to give; the names are PEFT's values of `task_type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TrainTask {
    /// The next token.
    #[default]
    #[serde(rename = "CAUSAL_LM")]
    CausalLm,
    /// A text's label, by a head on the state of its last token.
    #[serde(rename = "SEQ_CLS")]
    SequenceClassification,
    /// Every word's label, by a head on the state of its last token.
    #[serde(rename = "TOKEN_CLS")]
    TokenClassification,
}

impl TrainTask {
    /// All of them.
    pub const ALL: [Self; 3] = [
        Self::CausalLm,
        Self::SequenceClassification,
        Self::TokenClassification,
    ];

    /// Shows PEFT's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::CausalLm => "CAUSAL_LM",
            Self::SequenceClassification => "SEQ_CLS",
            Self::TokenClassification => "TOKEN_CLS",
        }
    }

    /// Reads PEFT's name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|task| task.name() == name)
    }

    /// Tells whether a head with labels of its own gives the answers.
    pub fn has_head(self) -> bool {
        self != Self::CausalLm
    }
}

/// The most labels that a head gives; what has more is hardly a set of labels.
pub const MAX_LABELS: usize = 1000;

/// Lists labels for people, the first ones of many.
pub fn shown_labels(labels: &[String]) -> String {
    const SHOWN: usize = 20;
    let shown = labels[..labels.len().min(SHOWN)].join(", ");
    match labels.len().saturating_sub(SHOWN) {
        0 => shown,
        others => format!("{shown} and {others} more"),
    }
}

/// What the frozen weights of a base are held in while it trains; the names are those of transformers' `dtype`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BaseDtype {
    /// Four bytes a number.
    #[default]
    Float32,
    /// Two bytes, rounded to 8 bits of mantissa.
    BFloat16,
}

impl BaseDtype {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Float32, Self::BFloat16];

    /// Shows the name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::BFloat16 => "bfloat16",
        }
    }

    /// Reads the name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    /// Tells the bytes of a number.
    pub fn bytes(self) -> u64 {
        match self {
            Self::Float32 => 4,
            Self::BFloat16 => 2,
        }
    }
}

/// The names of the methods; the engine has a recipe for each.
pub const METHODS: [&str; 7] = [
    "lora", "qlora", "ia3", "adapter", "prompt", "prefix", "full",
];

/// Tells whether a method leaves the base quantised as its files have it.
pub fn keeps_base_quantised(method: &str) -> bool {
    method == "qlora"
}

/// What fine-tuning takes; names and meanings are PEFT's and transformers' own, and a method leaves alone what it does not
/// know. Runs that were stored before an option was there have its default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrainOptions {
    /// The method, one of [`METHODS`].
    pub method: String,
    /// What is learnt.
    pub task_type: TrainTask,
    /// The labels of a task with a head, in the order of their numbers.
    pub labels: Vec<String>,
    /// The rank of the update.
    pub r: u32,
    /// The update is scaled by lora_alpha / r.
    pub lora_alpha: f32,
    /// It is scaled by lora_alpha / sqrt(r) instead (Kalajdzievski 2023).
    pub use_rslora: bool,
    /// The chance that an input element of the update is zeroed in training.
    pub lora_dropout: f32,
    /// The update also trains the norms of the rows of W (Liu et al. 2024).
    pub use_dora: bool,
    /// The biases that are trained: `none`, `lora_only` or `all`.
    pub bias: String,
    /// The linear layers that the method acts on: names such as `q_proj`, paths, patterns of whole paths, or `all-linear`;
    /// none takes the method's default. For `full` modules of any kind, and none takes all.
    pub target_modules: Vec<String>,
    /// Modules that LoRA trains whole beside its updates: every one whose path ends so, such as `lm_head`.
    pub modules_to_save: Vec<String>,
    /// Ranks of some layers, by patterns of the ends of their paths.
    pub rank_pattern: BTreeMap<String, u32>,
    /// The lora_alpha of some layers, by patterns of the ends of their paths.
    pub alpha_pattern: BTreeMap<String, f32>,
    /// The targets of IA3 whose input is scaled instead of their output; none takes `down_proj` where it is a target.
    pub feedforward_modules: Vec<String>,
    /// Whether IA3's vectors begin as ones.
    pub init_ia3_weights: bool,
    /// The form of bottleneck adapters, `pfeiffer` or `houlsby`.
    pub bottleneck: String,
    /// The hidden size is this many times a bottleneck's.
    pub reduction_factor: f32,
    /// The activation inside of a bottleneck, `relu` or `swish`; none for the form's own.
    pub non_linearity: String,
    /// The positions that prompt and prefix tuning put before every sequence.
    pub num_virtual_tokens: u32,
    /// How prompt tuning begins: `RANDOM`, or `TEXT` for the embeddings of a text.
    pub prompt_tuning_init: String,
    /// That text.
    pub prompt_tuning_init_text: String,
    /// Whether a small network makes the prefix.
    pub prefix_projection: bool,
    /// Its width inside; 0 for a key's.
    pub encoder_hidden_size: u32,
    /// The peak learning rate.
    pub learning_rate: f64,
    /// Decoupled weight decay on what is trained, biases apart.
    pub weight_decay: f64,
    /// How the rate goes on after its warm-up.
    pub lr_scheduler_type: LrScheduler,
    /// The share of steps in which the rate rises from 0.
    pub warmup_ratio: f64,
    /// The steps in which it rises; 0 takes the share.
    pub warmup_steps: u32,
    /// The share of steps at the end in which `warmup_stable_decay` falls.
    pub decay_ratio: f64,
    /// The global gradient norm that is not exceeded; 0 turns clipping off.
    pub max_grad_norm: f64,
    /// Passes over the data.
    pub epochs: u32,
    /// The optimizer steps of the run, over as many epochs as they take; 0 leaves it to the epochs.
    pub max_steps: u32,
    /// Examples that are computed at once.
    pub batch_size: u32,
    /// Batches an optimizer step sees, one after the other.
    pub gradient_accumulation_steps: u32,
    /// Whether examples of like lengths come together.
    pub group_by_length: bool,
    /// What the frozen weights are held in. What is trained, and all arithmetic, is f32 whatever it is.
    pub dtype: BaseDtype,
    /// Whether the backward makes a layer's inner states again instead of keeping them: less memory, about a third more time.
    pub gradient_checkpointing: bool,
    /// The share of every target that is spread over the whole vocabulary (Szegedy et al. 2016).
    pub label_smoothing_factor: f64,
    /// How much noise the embeddings get in training (Jain et al. 2023); 0 is none.
    pub neftune_noise_alpha: f64,
    /// The longest sequence in tokens; longer ones are cut at the end, and counted.
    pub max_length: u32,
    /// Optimizer steps between checkpoints.
    pub checkpoint_steps: u32,
    /// The most minutes between checkpoints, which are made after a step; 0 leaves it to the steps.
    pub checkpoint_minutes: f64,
    /// The newest checkpoints that are kept with their optimizer beside the best one; 0 keeps none once the run is done.
    pub save_total_limit: u32,
    /// Optimizer steps between evaluations; there is one after the last step too. 0 evaluates never.
    pub eval_steps: u32,
    /// Evaluations in a row without a lower loss after which the run ends; 0 lets it go on.
    pub early_stopping_patience: u32,
    /// How much lower than the lowest a loss must be to count as lower there.
    pub early_stopping_threshold: f64,
    /// Whether the run's result is the checkpoint with the lowest evaluation loss, instead of the last.
    pub load_best_model_at_end: bool,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            method: "lora".into(),
            task_type: TrainTask::CausalLm,
            labels: Vec::new(),
            r: 8,
            lora_alpha: 16.0,
            use_rslora: false,
            lora_dropout: 0.0,
            use_dora: false,
            bias: "none".into(),
            target_modules: Vec::new(),
            modules_to_save: Vec::new(),
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
            feedforward_modules: Vec::new(),
            init_ia3_weights: true,
            bottleneck: "pfeiffer".into(),
            reduction_factor: 16.0,
            non_linearity: String::new(),
            num_virtual_tokens: 20,
            prompt_tuning_init: "RANDOM".into(),
            prompt_tuning_init_text: String::new(),
            prefix_projection: false,
            encoder_hidden_size: 0,
            learning_rate: 2e-4,
            weight_decay: 0.0,
            lr_scheduler_type: LrScheduler::Cosine,
            warmup_ratio: 0.03,
            warmup_steps: 0,
            decay_ratio: 0.1,
            max_grad_norm: 1.0,
            epochs: 1,
            max_steps: 0,
            batch_size: 8,
            gradient_accumulation_steps: 1,
            group_by_length: false,
            dtype: BaseDtype::Float32,
            gradient_checkpointing: false,
            label_smoothing_factor: 0.0,
            neftune_noise_alpha: 0.0,
            max_length: 512,
            checkpoint_steps: 8,
            checkpoint_minutes: 0.0,
            save_total_limit: 1,
            eval_steps: 0,
            early_stopping_patience: 0,
            early_stopping_threshold: 0.0,
            load_best_model_at_end: false,
        }
    }
}

/// One stretch of a training run, from a checkpoint (or the start) to the next.
#[derive(Clone, Debug)]
pub struct TrainRequest {
    /// The base; its adapter, where it has one, is where the new adapter starts from.
    pub model: ModelRef,
    /// How to train.
    pub options: TrainOptions,
    /// What is trained on, in dataset order; the run's seed decides the order it is seen in.
    pub examples: Vec<Body>,
    /// What evaluations measure; it is not trained on.
    pub eval_examples: Vec<Body>,
    /// The seed of the run: initial weights, order and dropout come from it.
    pub seed: u64,
    /// Where to go on; none starts the run. The run may be a longer one than the checkpoint's.
    pub resume: Option<Checkpoint>,
    /// Stop after this many optimizer steps of this stretch, at an evaluation, or at the end of the run.
    pub steps: u32,
}

/// An evaluation during training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvalLoss {
    /// The optimizer steps done before it.
    pub step: u32,
    /// The mean loss over the evaluated examples, in nats a response token.
    pub loss: f64,
}

/// Finds the evaluation with the lowest loss, the first of several.
pub fn best_evaluation(evaluations: &[EvalLoss]) -> Option<EvalLoss> {
    let lower = |best: EvalLoss, other: &EvalLoss| match other.loss < best.loss {
        true => *other,
        false => best,
    };
    let (first, others) = evaluations.split_first()?;
    Some(others.iter().fold(*first, lower))
}

/// What a stretch of training gave.
#[derive(Clone, Debug)]
pub struct TrainSegment {
    /// Everything needed to go on exactly.
    pub checkpoint: Checkpoint,
    /// The optimizer steps done since the start of the run.
    pub step: u32,
    /// The optimizer steps of the whole run.
    pub total_steps: u32,
    /// The loss of each step of this stretch, in nats a response token.
    pub losses: Vec<f64>,
    /// The evaluation that this stretch ended at, where it ended at one.
    pub evaluation: Option<EvalLoss>,
    /// Whether the run ends here because its evaluations got no better.
    pub stopped_early: bool,
    /// The tokens computed in this stretch, padding not counted.
    pub tokens: u64,
    /// Examples that were cut at `max_length`, over the whole run.
    pub truncated: u32,
    /// The positions in the request of examples without any response token, which were left out.
    pub refused: Vec<u32>,
}

impl TrainSegment {
    /// Tells whether the run ends with this stretch.
    pub fn is_finished(&self) -> bool {
        self.stopped_early || self.step >= self.total_steps
    }
}

/// A step's figures, while it trains.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainProgress {
    /// Steps done since the start of the run.
    pub step: u32,
    /// Steps of the whole run.
    pub total_steps: u32,
    /// The step's loss, in nats a response token.
    pub loss: f64,
    /// The step's learning rate.
    pub learning_rate: f64,
    /// The gradient's global norm before clipping.
    pub grad_norm: f64,
    /// Tokens a second in this step.
    pub tokens_per_second: f64,
}

/// A step's figures as they are kept.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// When the step ended, in milliseconds since 1970 (UTC).
    pub time_ms: u64,
    /// What the trainer measured.
    #[serde(flatten)]
    pub progress: TrainProgress,
    /// The memory that the process held then, in MiB.
    pub rss_mb: u64,
    /// The most that it had held until then, in MiB.
    pub peak_rss_mb: u64,
}

/// What a training run told of itself so far, for tools that draw curves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrainingLog {
    /// Its steps, in order.
    pub steps: Vec<StepMetrics>,
    /// Its evaluations, in order, each with the time of the step before it.
    pub evaluations: Vec<EvalLoss>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_stored_before_an_option_was_there_have_its_default() {
        let stored = r#"{"r": 4, "lora_alpha": 8.0, "epochs": 3}"#;
        let read: TrainOptions = serde_json::from_str(stored).expect("it is read");
        let expected = TrainOptions {
            r: 4,
            lora_alpha: 8.0,
            epochs: 3,
            ..TrainOptions::default()
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn the_best_evaluation_is_the_first_of_the_lowest() {
        let of = |losses: &[f64]| {
            let evaluations = (1..)
                .zip(losses)
                .map(|(step, loss)| EvalLoss { step, loss: *loss });
            best_evaluation(&evaluations.collect::<Vec<_>>()).map(|best| best.step)
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[3.0, 1.0, 2.0, 1.0]), Some(2));
    }

    #[test]
    fn tasks_have_one_name_everywhere() {
        for task in TrainTask::ALL {
            let stored = serde_json::to_value(task).expect("a name");
            assert_eq!(stored, task.name());
            assert_eq!(TrainTask::from_name(task.name()), Some(task));
        }
    }

    #[test]
    fn number_formats_have_one_name_everywhere() {
        for dtype in BaseDtype::ALL {
            let stored = serde_json::to_value(dtype).expect("a name");
            assert_eq!(stored, dtype.name());
            assert_eq!(BaseDtype::from_name(dtype.name()), Some(dtype));
        }
    }

    #[test]
    fn schedulers_have_one_name_everywhere() {
        for scheduler in LrScheduler::ALL {
            let stored = serde_json::to_value(scheduler).expect("a name");
            assert_eq!(stored, scheduler.name());
        }
    }
}
