//! A run's position as a checkpoint, and back.

use autodidact_domain::checkpoint::CheckpointMeta;
use autodidact_domain::{Checkpoint, Digest, EvalLoss, NamedTensor, TrainOptions, TrainRequest};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::adamw::AdamW;
use super::parameters::Parameters;
use crate::EngineError;
use crate::adapter::check_base;
use crate::methods::{Beginning, Plan, Recipe};
use crate::models::base::BaseWeights;

/// The names of moments are PyTorch's, before the key of what they belong to.
const FIRST_MOMENT: &str = "exp_avg.";
const SECOND_MOMENT: &str = "exp_avg_sq.";

/// Settings of an adapter that do not change what it computes.
const OF_NO_MATTER: [&str; 5] = [
    "base_model_name_or_path",
    "model_name",
    "inference_mode",
    "lora_dropout",
    "init_ia3_weights",
];

/// What cannot change between the stretches of one run, and where it stands.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TrainerState {
    /// The seed, from which order and dropout of every step follow.
    seed: u64,
    /// The batches seen, which is where the data goes on.
    cursor: u32,
    /// The digest of the encoded examples.
    data_digest: Digest,
    /// The options; see [`Run::resume`] for those that may change.
    options: TrainOptions,
    /// The evaluations so far, from which follows when the run stops early.
    #[serde(default)]
    evaluations: Vec<EvalLoss>,
    /// The digest of the encoded examples that they measured.
    #[serde(default)]
    evaluation_digest: Option<Digest>,
}

/// A run, as far as it has come.
pub(crate) struct Position {
    /// The steps done.
    pub(crate) step: u32,
    /// The trainable numbers of each slice.
    pub(crate) parameters: Parameters,
    /// The optimizer.
    pub(crate) optimizer: AdamW,
    /// The evaluations so far.
    pub(crate) evaluations: Vec<EvalLoss>,
}

/// What a run is, apart from its position.
pub(crate) struct Run<'a> {
    pub(crate) request: &'a TrainRequest,
    pub(crate) recipe: &'a dyn Recipe,
    pub(crate) plan: &'a Plan,
    /// The base's, which some numbers begin as.
    pub(crate) weights: &'a BaseWeights,
    /// As others begin as a text.
    pub(crate) tokenize: &'a dyn Fn(&str) -> Result<Vec<u32>, EngineError>,
    pub(crate) base_digest: Digest,
    pub(crate) data_digest: Digest,
    /// Of what is evaluated on, where the run is evaluated.
    pub(crate) evaluation_digest: Option<Digest>,
    pub(crate) total_steps: u32,
}

impl Run<'_> {
    /// Starts at the first step: from the weights of `init` where it is given, else from drawn ones.
    ///
    /// # Errors
    /// [`EngineError::Adapter`] when `init` is another method's, another base's, or has other settings.
    pub(crate) fn start(&self, init: Option<Checkpoint>) -> Result<Position, EngineError> {
        let parameters = match init {
            None => self.plan.initial(&Beginning {
                seed: self.request.seed,
                base: self.weights,
                tokenize: self.tokenize,
            })?,
            Some(init) => {
                // The settings name the method as other tools do: qlora's adapters are lora's.
                check_base(self.plan, &init, self.base_digest)?;
                let (ours, theirs) = (self.adapter_config(), &init.meta.adapter_config);
                for (field, ours) in ours.as_object().into_iter().flatten() {
                    if !OF_NO_MATTER.contains(&field.as_str()) {
                        let part = format!("the starting adapter's {field}");
                        expect_same(&part, ours, &theirs[field])?;
                    }
                }
                self.plan.read_tensors("", init.adapter)?
            }
        };
        let parameters = Parameters::new(parameters)?;
        Ok(Position {
            step: 0,
            optimizer: AdamW::new(&parameters),
            parameters,
            evaluations: Vec::new(),
        })
    }

    /// Goes on where a checkpoint stands, of which the tensors go as they are read.
    ///
    /// How far the run goes, when it is evaluated and what is kept of it may have changed since; then it goes on for as many
    /// steps as it has now, with the learning rates of that many.
    ///
    /// # Errors
    /// [`EngineError::Adapter`] when the checkpoint is of another run, or of a step that this one does not have.
    pub(crate) fn resume(&self, checkpoint: Checkpoint) -> Result<Position, EngineError> {
        self.check_base(&checkpoint)?;
        let Checkpoint {
            meta,
            adapter,
            optimizer,
        } = checkpoint;
        expect_same(
            "adapter_config",
            &self.adapter_config(),
            &meta.adapter_config,
        )?;
        if meta.step > self.total_steps {
            return Err(EngineError::adapter(
                "step",
                format!("one of the run's {} (epochs, max_steps)", self.total_steps),
                meta.step,
            ));
        }
        let state = self.check_state(&meta)?;
        let parameters = Parameters::new(self.plan.read_tensors("", adapter)?)?;
        let optimizer = match optimizer.is_empty() {
            // A finished run may have put its moments aside.
            true if meta.step == self.total_steps => AdamW::new(&parameters),
            true => {
                return Err(EngineError::adapter(
                    "optimizer",
                    "tensors exp_avg.* and exp_avg_sq.*, as the checkpoints have that a run made on its way",
                    "none: it can be generated with, and be where a new run begins (init_adapter)",
                ));
            }
            false => {
                let is_first = |tensor: &NamedTensor| tensor.name.starts_with(FIRST_MOMENT);
                let (first, second): (Vec<_>, Vec<_>) = optimizer.into_iter().partition(is_first);
                AdamW {
                    first: self.plan.read_tensors(FIRST_MOMENT, first)?,
                    second: self.plan.read_tensors(SECOND_MOMENT, second)?,
                }
            }
        };
        Ok(Position {
            step: meta.step,
            parameters,
            optimizer,
            evaluations: state.evaluations,
        })
    }

    /// Reads the trainer's state, and holds it against this run's.
    fn check_state(&self, meta: &CheckpointMeta) -> Result<TrainerState, EngineError> {
        let stored = meta.trainer_state.clone();
        let mut state: TrainerState = serde_json::from_value(stored).map_err(|error| {
            let expected = "the position of a training run";
            EngineError::adapter("trainer_state", expected, error)
        })?;
        let TrainRequest { seed, options, .. } = self.request;
        state.options = TrainOptions {
            epochs: options.epochs,
            max_steps: options.max_steps,
            checkpoint_steps: options.checkpoint_steps,
            checkpoint_minutes: options.checkpoint_minutes,
            save_total_limit: options.save_total_limit,
            eval_steps: options.eval_steps,
            early_stopping_patience: options.early_stopping_patience,
            early_stopping_threshold: options.early_stopping_threshold,
            load_best_model_at_end: options.load_best_model_at_end,
            ..state.options
        };
        let cursor = meta.step;
        expect_same("trainer_state.seed", seed, &state.seed)?;
        expect_same("trainer_state.cursor", &cursor, &state.cursor)?;
        expect_same(
            "trainer_state.data_digest",
            &self.data_digest,
            &state.data_digest,
        )?;
        expect_same_options(options, &state.options)?;
        if let (Some(ours), Some(theirs)) = (&self.evaluation_digest, &state.evaluation_digest) {
            expect_same("trainer_state.evaluation_digest", ours, theirs)?;
        }
        Ok(state)
    }

    /// Writes a position down, which goes as it is written.
    pub(crate) fn checkpoint(&self, position: Position) -> Result<Checkpoint, EngineError> {
        let trainer_state = serde_json::to_value(self.state(&position))
            .map_err(|error| EngineError::Invalid(format!("trainer_state: {error}")))?;
        let AdamW { first, second } = position.optimizer;
        let mut optimizer = self.plan.to_tensors(FIRST_MOMENT, first);
        optimizer.extend(self.plan.to_tensors(SECOND_MOMENT, second));
        optimizer.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Checkpoint {
            meta: CheckpointMeta {
                method: self.request.options.method.clone(),
                model: self.request.model.model.clone(),
                base_digest: self.base_digest,
                adapter_config: self.adapter_config(),
                step: position.step,
                total_steps: self.total_steps,
                trainer_state,
                promoted_from: None,
            },
            adapter: self.plan.to_tensors("", position.parameters.into_values()?),
            optimizer,
        })
    }

    fn adapter_config(&self) -> Value {
        let base = self.request.model.model.as_str();
        self.recipe.adapter_config(base)
    }

    fn state(&self, position: &Position) -> TrainerState {
        let TrainRequest { seed, options, .. } = self.request;
        TrainerState {
            seed: *seed,
            cursor: position.step,
            data_digest: self.data_digest,
            options: options.clone(),
            evaluations: position.evaluations.clone(),
            evaluation_digest: self.evaluation_digest,
        }
    }

    fn check_base(&self, checkpoint: &Checkpoint) -> Result<(), EngineError> {
        let method = self.request.options.method.as_str();
        expect_same("method", method, checkpoint.meta.method.as_str())?;
        check_base(self.plan, checkpoint, self.base_digest)
    }
}

/// Holds options against each other, and names the first that differs.
fn expect_same_options(expected: &TrainOptions, found: &TrainOptions) -> Result<(), EngineError> {
    let [ours, theirs] = [expected, found].map(serde_json::to_value);
    let (Ok(Value::Object(ours)), Ok(Value::Object(theirs))) = (ours, theirs) else {
        return expect_same("trainer_state.options", expected, found);
    };
    for (name, ours) in &ours {
        let theirs = theirs.get(name).unwrap_or(&Value::Null);
        if ours != theirs {
            let part = format!("trainer_state.options.{name}");
            return Err(EngineError::adapter(part, ours, theirs));
        }
    }
    Ok(())
}

fn expect_same<T: PartialEq + std::fmt::Debug + ?Sized>(
    part: &str,
    expected: &T,
    found: &T,
) -> Result<(), EngineError> {
    if expected == found {
        return Ok(());
    }
    Err(EngineError::Adapter {
        part: part.into(),
        expected: format!("{expected:?}"),
        found: format!("{found:?}"),
    })
}
