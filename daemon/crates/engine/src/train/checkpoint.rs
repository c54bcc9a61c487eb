//! A run's position as a checkpoint, and back.

use autodidact_domain::checkpoint::CheckpointMeta;
use autodidact_domain::{Checkpoint, Digest, TrainOptions, TrainRequest};
use serde::{Deserialize, Serialize};

use super::adamw::AdamW;
use crate::EngineError;
use crate::adapter::check_base;
use crate::methods::{Beginning, Plan, Recipe};
use crate::models::base::BaseWeights;

/// The names of moments are PyTorch's, before the key of what they belong to.
const FIRST_MOMENT: &str = "exp_avg.";
const SECOND_MOMENT: &str = "exp_avg_sq.";

/// Settings of an adapter that do not change what it computes.
const OF_NO_MATTER: [&str; 4] = [
    "base_model_name_or_path",
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
    /// The options; how often checkpoints are made may change.
    options: TrainOptions,
}

/// A run, as far as it has come.
pub(crate) struct Position {
    /// The steps done.
    pub(crate) step: u32,
    /// The trainable numbers of each slice.
    pub(crate) parameters: Vec<Vec<f32>>,
    /// The optimizer.
    pub(crate) optimizer: AdamW,
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
    pub(crate) total_steps: u32,
}

impl Run<'_> {
    /// Starts at the first step: from the weights of `init` where it is given, else from drawn ones.
    ///
    /// # Errors
    /// [`EngineError::Adapter`] when `init` is another method's, another base's, or has other settings.
    pub(crate) fn start(&self, init: Option<&Checkpoint>) -> Result<Position, EngineError> {
        let parameters = match init {
            None => self.plan.initial(&Beginning {
                seed: self.request.seed,
                base: self.weights,
                tokenize: self.tokenize,
            })?,
            Some(init) => {
                // The settings name the method as other tools do: qlora's adapters are lora's.
                check_base(self.plan, init, self.base_digest)?;
                let (ours, theirs) = (self.adapter_config(), &init.meta.adapter_config);
                for (field, ours) in ours.as_object().into_iter().flatten() {
                    if !OF_NO_MATTER.contains(&field.as_str()) {
                        let part = format!("the starting adapter's {field}");
                        expect_same(&part, ours, &theirs[field])?;
                    }
                }
                self.plan.read_tensors("", &init.adapter)?
            }
        };
        Ok(Position {
            step: 0,
            optimizer: AdamW::new(&parameters),
            parameters,
        })
    }

    /// Goes on where a checkpoint stands.
    ///
    /// # Errors
    /// [`EngineError::Adapter`] when the checkpoint is not of this very run.
    pub(crate) fn resume(&self, checkpoint: &Checkpoint) -> Result<Position, EngineError> {
        self.check_base(checkpoint)?;
        let meta = &checkpoint.meta;
        expect_same(
            "adapter_config",
            &self.adapter_config(),
            &meta.adapter_config,
        )?;
        expect_same("total_steps", &self.total_steps, &meta.total_steps)?;
        let mut state: TrainerState =
            serde_json::from_value(meta.trainer_state.clone()).map_err(|error| {
                EngineError::Adapter {
                    part: "trainer_state".into(),
                    expected: "the position of a training run".into(),
                    found: error.to_string(),
                }
            })?;
        state.options.checkpoint_steps = self.request.options.checkpoint_steps;
        let ours = self.state(meta.step);
        expect_same("trainer_state.seed", &ours.seed, &state.seed)?;
        expect_same("trainer_state.cursor", &ours.cursor, &state.cursor)?;
        expect_same(
            "trainer_state.data_digest",
            &ours.data_digest,
            &state.data_digest,
        )?;
        expect_same("trainer_state.options", &ours.options, &state.options)?;
        let parameters = self.plan.read_tensors("", &checkpoint.adapter)?;
        // A finished run may have put its moments aside.
        let optimizer = if meta.step >= self.total_steps && checkpoint.optimizer.is_empty() {
            AdamW::new(&parameters)
        } else {
            AdamW {
                first: self
                    .plan
                    .read_tensors(FIRST_MOMENT, &checkpoint.optimizer)?,
                second: self
                    .plan
                    .read_tensors(SECOND_MOMENT, &checkpoint.optimizer)?,
            }
        };
        Ok(Position {
            step: meta.step,
            parameters,
            optimizer,
        })
    }

    /// Writes a position down.
    pub(crate) fn checkpoint(&self, position: &Position) -> Result<Checkpoint, EngineError> {
        let mut optimizer = self
            .plan
            .to_tensors(FIRST_MOMENT, &position.optimizer.first);
        optimizer.extend(
            self.plan
                .to_tensors(SECOND_MOMENT, &position.optimizer.second),
        );
        optimizer.sort_by(|a, b| a.name.cmp(&b.name));
        let trainer_state = serde_json::to_value(self.state(position.step))
            .map_err(|error| EngineError::Invalid(format!("trainer_state: {error}")))?;
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
            adapter: self.plan.to_tensors("", &position.parameters),
            optimizer,
        })
    }

    fn adapter_config(&self) -> serde_json::Value {
        let base = self.request.model.model.as_str();
        self.recipe.adapter_config(base)
    }

    fn state(&self, cursor: u32) -> TrainerState {
        let TrainRequest { seed, options, .. } = self.request;
        TrainerState {
            seed: *seed,
            cursor,
            data_digest: self.data_digest,
            options: options.clone(),
        }
    }

    fn check_base(&self, checkpoint: &Checkpoint) -> Result<(), EngineError> {
        let method = self.request.options.method.as_str();
        expect_same("method", method, checkpoint.meta.method.as_str())?;
        check_base(self.plan, checkpoint, self.base_digest)
    }
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
