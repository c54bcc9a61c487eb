//! Adapters in other tools' formats, one file each, in the table [`FORMATS`]; whole models in [`merged`].
//!
//! What is written is read back, and what is read is tried: an adapter that is taken gives other logits than the base, and one
//! that is handed out gives, read back from the file, the logits it had.

mod adapter_hub;
mod fused;
mod gguf_lora;
pub(crate) mod merged;
mod peft;

use autodidact_domain::checkpoint::CheckpointMeta;
use autodidact_domain::exchange::{AdapterFile, FORMATS as NAMES};
use autodidact_domain::training::MAX_LABELS;
use autodidact_domain::{Checkpoint, ModelName, NamedTensor, TrainTask};
use serde_json::Value as Json;

use crate::adapter::Classifier;
use crate::methods::{LABELS, method_of};
use crate::models::config::ModelConfig;
use crate::runtime::{Batch, Buffers};
use crate::{Adapter, Compute, EngineError, LoadedModel};

/// How far logits may be from those of the adapter as it is here, relative to the largest: computed in f32, and where an ulp of a
/// scale folded elsewhere may round an activation to the next byte.
const SAME_LOGITS: [f32; 2] = [1e-3, 3e-2];

/// The file in which the names of a head's labels stand, as `id2label` of transformers' configurations.
const LABELS_FILE: &str = "labels.json";
const ID2LABEL: &str = "id2label";

/// The tokens of the prompt that is tried.
const PROBE_TOKENS: usize = 24;

/// What an adapter's files say: settings, and tensors under the names that its method gives them.
type Contents = (Json, Vec<NamedTensor>);

/// A format.
pub(crate) struct Format {
    /// Its name in calls and commands.
    pub(crate) name: &'static str,
    /// Writes the files.
    write: fn(&LoadedModel, &Checkpoint) -> Result<Vec<AdapterFile>, EngineError>,
    /// Reads them again.
    read: fn(&LoadedModel, &[AdapterFile]) -> Result<Contents, EngineError>,
}

/// Every format.
pub(crate) const FORMATS: [Format; 3] = [peft::FORMAT, gguf_lora::FORMAT, adapter_hub::FORMAT];

impl LoadedModel {
    /// Writes an adapter of this base in a format, reads it back and compares the logits of a prompt.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] for an unknown format, and where the format cannot say what the adapter does;
    /// [`EngineError::Adapter`] when the adapter is not this base's, or what was written does not give the same logits.
    pub fn export_adapter(
        &self,
        checkpoint: &Checkpoint,
        format: &str,
    ) -> Result<Vec<AdapterFile>, EngineError> {
        let format = find(format)?;
        let own = self.try_out("the adapter", &Adapter::from_checkpoint(self, checkpoint)?)?;
        let files = (format.write)(self, checkpoint)?;
        let (settings, tensors) = (format.read)(self, &files)?;
        let read = self.checkpoint_of(checkpoint.meta.model.clone(), settings, tensors)?;
        let read = Adapter::from_checkpoint(self, &read)?;
        let read = probe_logits(self, Some(&read), read.classifier().ok())?;
        let apart = distance(&own, &read);
        let bound = SAME_LOGITS[usize::from(self.compute == Compute::Fast)];
        // What is no number is not near.
        if apart.is_nan() || apart > bound {
            return Err(EngineError::adapter(
                format!("the written {}", format.name),
                "the logits that the adapter has",
                format!("logits that differ by {apart} of the largest"),
            ));
        }
        Ok(files)
    }

    /// Reads an adapter of this base that a tool wrote, whichever format its files are in.
    ///
    /// # Errors
    /// [`EngineError::Adapter`] when the files are of no format, damaged or for another base, or when a prompt's logits are the
    /// base's with it.
    pub fn import_adapter(
        &self,
        model: ModelName,
        files: &[AdapterFile],
    ) -> Result<Checkpoint, EngineError> {
        let format = match files {
            files if gguf_lora::is_gguf(files) => &gguf_lora::FORMAT,
            files if adapter_hub::is_adapter_hub(files) => &adapter_hub::FORMAT,
            _ => &peft::FORMAT,
        };
        let (settings, tensors) = (format.read)(self, files)?;
        let checkpoint = self.checkpoint_of(model, settings, tensors)?;
        self.try_out("tensors", &Adapter::from_checkpoint(self, &checkpoint)?)?;
        Ok(checkpoint)
    }

    /// Computes a prompt's logits with an adapter, and refuses what is no number or does nothing.
    fn try_out(&self, part: &str, adapter: &Adapter) -> Result<Vec<f32>, EngineError> {
        let classifier = adapter.classifier().ok();
        let with = probe_logits(self, Some(adapter), classifier)?;
        check_finite(part, &with)?;
        if distance(&with, &probe_logits(self, None, classifier)?) == 0.0 {
            return Err(without_effect());
        }
        Ok(with)
    }

    fn checkpoint_of(
        &self,
        model: ModelName,
        settings: Json,
        mut tensors: Vec<NamedTensor>,
    ) -> Result<Checkpoint, EngineError> {
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        let recipe = method_of(&settings, &self.config)?;
        Ok(Checkpoint {
            meta: CheckpointMeta {
                method: recipe.0.into(),
                base_digest: self.info.digest,
                adapter_config: recipe.1.adapter_config(model.as_str()),
                model,
                step: 0,
                total_steps: 0,
                trainer_state: Json::Null,
                promoted_from: None,
            },
            adapter: tensors,
            optimizer: Vec::new(),
        })
    }
}

/// Computes the logits after a prompt that every vocabulary has: of the next token, or of a head's labels.
pub(crate) fn probe_logits(
    model: &LoadedModel,
    adapter: Option<&Adapter>,
    classifier: Option<&Classifier>,
) -> Result<Vec<f32>, EngineError> {
    let updates = model.updates_of(adapter)?;
    let mut ids = model.virtual_ids(updates);
    ids.extend(probe_ids(&model.config));
    ids.truncate(model.config.context_length);
    let length = ids.len();
    let mut cache = model.decoder.new_cache(length)?;
    let (mut batch, mut buffers) = (Batch::default(), Buffers::default());
    batch.push(0, &ids, 0);
    batch.wanted = vec![length - 1];
    if let Some(classifier) = classifier {
        let decoder = &model.decoder;
        let state = decoder.hidden_states(
            &model.team,
            &batch,
            &mut [&mut cache],
            updates,
            &mut buffers,
        )?;
        return Ok(classifier.logits(state));
    }
    let mut logits = Vec::new();
    model.decoder.forward(
        &model.team,
        &batch,
        &mut [&mut cache],
        updates,
        &mut buffers,
        &mut |_, row| logits.extend_from_slice(row),
    )?;
    Ok(logits)
}

/// A prompt that every vocabulary has.
fn probe_ids(config: &ModelConfig) -> Vec<u32> {
    let length = PROBE_TOKENS.min(config.context_length);
    let id = |i: usize| (i * 7919 % config.vocab_size) as u32;
    (1..=length).map(id).collect()
}

fn check_finite(part: &str, logits: &[f32]) -> Result<(), EngineError> {
    match logits.iter().all(|logit| logit.is_finite()) {
        true => Ok(()),
        false => Err(EngineError::adapter(
            part,
            "finite logits",
            "a logit that is no number",
        )),
    }
}

fn without_effect() -> EngineError {
    EngineError::adapter(
        "tensors",
        "an adapter that changes what the base says",
        "one with which every logit of a prompt is the base's, as one that was not trained yet",
    )
}

fn find(name: &str) -> Result<&'static Format, EngineError> {
    let format = FORMATS.iter().find(|format| format.name == name);
    format.ok_or_else(|| {
        EngineError::Invalid(format!(
            "format: expected one of {}, found {name:?}",
            NAMES.join(", ")
        ))
    })
}

/// The largest difference, relative to the largest of the first.
pub(crate) fn distance(a: &[f32], b: &[f32]) -> f32 {
    let largest = a.iter().fold(1e-6f32, |largest, x| largest.max(x.abs()));
    let apart = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    apart.fold(0.0, f32::max) / largest
}

/// Takes the names of a head's labels out of settings, for a file of their own: PEFT and AdapterHub have no place for them.
fn take_labels(settings: &mut Json) -> Result<Option<AdapterFile>, EngineError> {
    let fields = settings.as_object_mut();
    let Some(Json::Array(names)) = fields.and_then(|fields| fields.remove(LABELS)) else {
        return Ok(None);
    };
    let numbered = names.into_iter().enumerate();
    let numbered: serde_json::Map<String, Json> = numbered
        .map(|(number, name)| (number.to_string(), name))
        .collect();
    let bytes = serde_json::to_vec_pretty(&serde_json::json!({ ID2LABEL: numbered }));
    let bytes = bytes.map_err(|error| EngineError::Invalid(format!("{LABELS_FILE}: {error}")))?;
    Ok(Some(AdapterFile {
        name: LABELS_FILE.into(),
        bytes,
    }))
}

/// Puts the names of a head's labels into settings: those of our file, or transformers' own for as many as the head has rows.
fn put_labels(
    settings: &mut Json,
    files: &[AdapterFile],
    tensors: &[NamedTensor],
) -> Result<(), EngineError> {
    let task = settings["task_type"]
        .as_str()
        .and_then(TrainTask::from_name);
    if !task.is_some_and(TrainTask::has_head) {
        return Ok(());
    }
    let weight = tensors
        .iter()
        .find(|tensor| tensor.name.ends_with("score.weight"))
        .ok_or_else(|| EngineError::adapter("score.weight", "the head of the task", "none"))?;
    let count = weight.shape.first().copied().unwrap_or(0);
    if count > MAX_LABELS || weight.data.is_empty() {
        let (expected, found) = (format!("1 to {MAX_LABELS} labels"), &weight.shape);
        return Err(EngineError::adapter(
            &weight.name,
            expected,
            format!("shape {found:?}"),
        ));
    }
    let file = files.iter().find(|file| file.name == LABELS_FILE);
    let told: Json = match file {
        Some(file) => serde_json::from_slice(&file.bytes).map_err(|error| {
            EngineError::adapter(LABELS_FILE, "a JSON object with id2label", error)
        })?,
        None => Json::Null,
    };
    let name = |number: usize| match &told {
        // As transformers' configurations call them.
        Json::Null => Ok(Json::from(format!("LABEL_{number}"))),
        told => match &told[ID2LABEL][number.to_string()] {
            Json::String(name) => Ok(Json::from(name.as_str())),
            other => {
                let part = format!("{LABELS_FILE}: {ID2LABEL}.{number}");
                let expected = format!("a name for each of the head's {count} labels");
                Err(EngineError::adapter(part, expected, other))
            }
        },
    };
    settings[LABELS] = (0..count).map(name).collect::<Result<_, _>>()?;
    Ok(())
}

fn file<'a>(files: &'a [AdapterFile], name: &str) -> Result<&'a AdapterFile, EngineError> {
    let file = files.iter().find(|file| file.name == name);
    file.ok_or_else(|| {
        let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        let found = match names.is_empty() {
            true => "no file".to_string(),
            false => names.join(", "),
        };
        EngineError::adapter(name, "this file", found)
    })
}
