//! Whole models that hold an adapter's numbers in their weights, for tools that know no adapters: formats in the table
//! [`MODEL_FORMATS`].
//!
//! The weights go through memory a tensor at a time. What is written is opened again: its shape and constants must be the base's,
//! its tokenizer and template must give the same tokens, and its logits, computed in f32 a layer at a time, must be the
//! adapter's as far as the format's rounding lets them.

mod config_json;
mod folder;
mod gguf;
mod metadata;
mod output;
mod safetensors;
mod same;
mod weights;

use std::path::Path;
use std::sync::Arc;

use autodidact_domain::exchange::{MODEL_FORMATS as NAMES, MergedModel};
use autodidact_domain::{Checkpoint, Interrupt};

use super::probe_ids;
use crate::adapter::check_base;
use crate::methods::{Plan, from_settings};
use crate::models::base::BaseWeights;
use crate::models::config::ModelConfig;
use crate::models::dequantize::ElementType;
use crate::models::files::ModelFiles;
use crate::models::weights::Weights;
use crate::train::TrainableModel;
use crate::{EngineError, LoadedModel};
use output::Output;
use weights::{Head, Merge, unchanged};

/// A format of whole models.
pub(crate) struct ModelFormat {
    /// Its name in calls and commands.
    pub(crate) name: &'static str,
    container: Container,
    /// How far logits may be from the adapter's: the root of the mean square of their differences over that of the logits
    /// themselves. Those of models with random weights, the least even ones, are at half of it; what is written wrongly is at 1
    /// or beyond.
    most_apart: f32,
}

enum Container {
    /// A Hugging Face folder in f32.
    Folder,
    /// A GGUF with matrices of a type.
    Gguf(ElementType),
}

/// Every format.
pub(crate) const MODEL_FORMATS: [ModelFormat; 5] = [
    ModelFormat {
        name: "safetensors",
        container: Container::Folder,
        most_apart: 1e-4,
    },
    ModelFormat {
        name: "gguf-f32",
        container: Container::Gguf(ElementType::F32),
        most_apart: 1e-4,
    },
    ModelFormat {
        name: "gguf-f16",
        container: Container::Gguf(ElementType::F16),
        most_apart: 1e-2,
    },
    ModelFormat {
        name: "gguf-q8_0",
        container: Container::Gguf(ElementType::Q8_0),
        most_apart: 0.1,
    },
    ModelFormat {
        name: "gguf-q4_1",
        container: Container::Gguf(ElementType::Q4_1),
        most_apart: 0.6,
    },
];

impl LoadedModel {
    /// Writes this base with an adapter in its weights into an empty folder, opens it again and compares it.
    ///
    /// `progress` hears (bytes written, bytes in all), and the calling thread may do other work in it. What a failure leaves in
    /// the folder is the caller's to remove.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] for an unknown format, for an adapter that weights cannot hold, and where the format cannot say
    /// what the model is; [`EngineError::Adapter`] when the adapter is not this base's, changes nothing, or what was written does
    /// not give its logits; [`EngineError::ModelFile`] where a vocabulary or constant has no field in the format;
    /// [`EngineError::Io`]; [`EngineError::Interrupted`].
    pub fn export_model(
        &self,
        checkpoint: &Checkpoint,
        format: &str,
        folder: &Path,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<MergedModel, EngineError> {
        let format = find(format)?;
        let meta = &checkpoint.meta;
        let recipe = from_settings(&meta.method, &meta.adapter_config, &self.config)?;
        let labelling = recipe.labelling();
        if let (Some(labelling), Container::Gguf(_)) = (labelling, &format.container) {
            return Err(EngineError::Invalid(format!(
                "format: {} holds models that continue texts, found a head of labels ({}); expected safetensors, or peft or adapterhub for the adapter alone",
                format.name,
                labelling.task.name()
            )));
        }
        check_base(recipe.plan(), checkpoint, self.info.digest)?;
        Weights::check_trainable(&self.files, &self.config)?;
        let plan = recipe.plan();
        let values = plan.read_tensors("", &checkpoint.adapter)?;
        let merge = Merge::new(self, plan, values)?;
        let own = self.logits_in_f32(&self.config, &self.files, plan, &merge.values)?;
        super::check_finite("the adapter", &own)?;
        let head = Head::of(plan, &merge.values);
        let (nothing, none) = unchanged(&self.config, head.as_ref());
        let base = self.logits_in_f32(&self.config, &self.files, &nothing, &none)?;
        if own == base {
            return Err(super::without_effect());
        }
        let (_, _, text) = ModelFiles::open(&self.path)?;
        let mut output = Output::new(folder, interrupt, progress);
        let written = match format.container {
            Container::Folder => {
                safetensors::write(&merge, &mut output)?;
                folder::write(self, &text, labelling, &mut output)?;
                folder.to_path_buf()
            }
            Container::Gguf(element) => {
                gguf::write(self, &merge, &text, element, &mut output)?;
                folder.join(gguf::FILE)
            }
        };
        let files = output.finish();
        let (found, config) = match labelling {
            Some(_) => same::open_headed(self, format.name, &written)?,
            None => same::open(self, format.name, &written)?,
        };
        let head = labelling.map(|_| Head::read(&written)).transpose()?;
        let (nothing, none) = unchanged(&config, head.as_ref());
        let found = self.logits_in_f32(&config, &found, &nothing, &none)?;
        let logits_apart = distance(&own, &found);
        // What is no number is not near.
        if logits_apart.is_nan() || logits_apart > format.most_apart {
            return Err(EngineError::adapter(
                format!("the written {}", format.name),
                format!(
                    "the logits that the adapter has, within {}",
                    format.most_apart
                ),
                format!("logits that differ by {logits_apart}"),
            ));
        }
        Ok(MergedModel {
            files,
            logits_apart,
            base_apart: distance(&own, &base),
        })
    }

    /// Computes a prompt's logits in f32, reading the weights a layer at a time whatever else is in memory.
    fn logits_in_f32(
        &self,
        config: &ModelConfig,
        files: &Arc<ModelFiles>,
        plan: &Plan,
        values: &[Vec<f32>],
    ) -> Result<Vec<f32>, EngineError> {
        let ids = probe_ids(config);
        let base = BaseWeights::stored(files, config)?;
        let (plan, threads) = (Arc::new(plan.clone()), self.team.threads());
        let model = TrainableModel::new(config, &base, plan, ids.len(), ids.len(), threads)?;
        model.logits(values, &ids)
    }
}

fn find(name: &str) -> Result<&'static ModelFormat, EngineError> {
    let format = MODEL_FORMATS.iter().find(|format| format.name == name);
    format.ok_or_else(|| {
        EngineError::Invalid(format!(
            "format: expected one of {}, found {name:?}",
            NAMES.join(", ")
        ))
    })
}

/// The root of the mean square of the differences, over that of the first's own numbers.
pub(crate) fn distance(a: &[f32], b: &[f32]) -> f32 {
    let square = |x: f32| f64::from(x) * f64::from(x);
    let own: f64 = a.iter().map(|x| square(*x)).sum();
    let apart: f64 = a.iter().zip(b).map(|(a, b)| square(a - b)).sum();
    (apart / own.max(f64::MIN_POSITIVE)).sqrt() as f32
}
