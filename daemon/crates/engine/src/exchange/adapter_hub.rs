//! AdapterHub's `adapters`: `adapter_config.json` and `adapter.safetensors`, for bottleneck adapters, and
//! `head_config.json` and `model_head.safetensors` of a head of labels.

use std::collections::BTreeMap;

use autodidact_domain::exchange::AdapterFile;
use autodidact_domain::{Checkpoint, NamedTensor, TrainTask};
use serde_json::{Value as Json, json};

use super::{Contents, Format, peft};
use crate::methods::{BOTTLENECK_NAME, LABELS};
use crate::{EngineError, LoadedModel};

pub(super) const FORMAT: Format = Format {
    name: "adapterhub",
    write,
    read,
};

const WEIGHTS: &str = "adapter.safetensors";
/// A head's, and how its tensors' names begin.
const HEAD_CONFIG: &str = "head_config.json";
const HEAD_WEIGHTS: &str = "model_head.safetensors";
const HEAD: &str = "score.";
/// How transformers' classes with such heads end.
const OF_SEQUENCES: &str = "ForSequenceClassification";
const OF_TOKENS: &str = "ForTokenClassification";
/// What `adapters` writes where it is not told to write safetensors.
const PICKLED: &str = "pytorch_adapter.bin";
/// Of the keys of a causal language model; those of a bare one lack it.
const PREFIX: &str = "model.";

/// Tells whether files are AdapterHub's: their settings are in `config`.
pub(super) fn is_adapter_hub(files: &[AdapterFile]) -> bool {
    peft::settings(files).is_ok_and(|settings| settings["config"].is_object())
}

fn write(model: &LoadedModel, checkpoint: &Checkpoint) -> Result<Vec<AdapterFile>, EngineError> {
    if !checkpoint.meta.adapter_config["config"].is_object() {
        return Err(EngineError::Invalid(format!(
            "format: adapterhub holds bottleneck adapters (method adapter) alone, found {}; expected another format, such as peft",
            checkpoint.meta.method
        )));
    }
    let settings = &checkpoint.meta.adapter_config;
    let is_head = |tensor: &&NamedTensor| tensor.name.starts_with(HEAD);
    let tensors = checkpoint.adapter.iter();
    let (head, tensors): (Vec<_>, Vec<_>) = tensors.cloned().partition(|tensor| is_head(&tensor));
    let task = settings["task_type"]
        .as_str()
        .and_then(TrainTask::from_name);
    let Some(task) = task.filter(|task| task.has_head()) else {
        return peft::write_files(settings, &tensors, WEIGHTS);
    };
    let mut own = settings.clone();
    if let Json::Object(fields) = &mut own {
        fields.remove("task_type");
    }
    let files = peft::write_files(&own, &tensors, WEIGHTS)?;
    let names = settings[LABELS].as_array().cloned().unwrap_or_default();
    let numbers = names.iter().enumerate();
    let numbers = numbers.filter_map(|(number, name)| Some((name.as_str()?, number)));
    let numbers: BTreeMap<&str, usize> = numbers.collect();
    let [model_type, _] = model.config.hugging_face_names().unwrap_or_default();
    let head_settings = json!({
        "config": Json::Null,
        "hidden_size": model.config.hidden_size,
        "label2id": numbers,
        "model_class": model.config.headed_class(task),
        "model_name": settings["model_name"],
        "model_type": model_type,
        "name": Json::Null,
        "num_labels": names.len(),
        "version": settings["version"],
    });
    let heads = peft::write_files(&head_settings, &head, HEAD_WEIGHTS)?;
    let renamed = heads.into_iter().map(|file| match file.name.as_str() {
        HEAD_WEIGHTS => file,
        _ => AdapterFile {
            name: HEAD_CONFIG.into(),
            ..file
        },
    });
    Ok(files.into_iter().chain(renamed).collect())
}

/// Reads the head that a model's files have beside an adapter's: task, labels and tensors.
fn read_head(files: &[AdapterFile], settings: &mut Json) -> Result<Vec<NamedTensor>, EngineError> {
    let Some(head) = files.iter().find(|file| file.name == HEAD_CONFIG) else {
        return Ok(Vec::new());
    };
    let head: Json = serde_json::from_slice(&head.bytes)
        .map_err(|error| EngineError::adapter(HEAD_CONFIG, "a JSON object", error))?;
    let class = head["model_class"].as_str().unwrap_or_default();
    let task = match class {
        class if class.ends_with(OF_SEQUENCES) => TrainTask::SequenceClassification,
        class if class.ends_with(OF_TOKENS) => TrainTask::TokenClassification,
        // The output matrix of a causal language model, which is the base's.
        _ => return Ok(Vec::new()),
    };
    let wrong = || {
        let part = format!("{HEAD_CONFIG}: label2id");
        let expected = "the labels with their numbers, from 0 on";
        EngineError::adapter(part, expected, &head["label2id"])
    };
    let numbers = head["label2id"].as_object().ok_or_else(wrong)?;
    let mut names = vec![Json::Null; numbers.len()];
    for (name, number) in numbers {
        let place = number
            .as_u64()
            .and_then(|place| usize::try_from(place).ok());
        let place = place.and_then(|place| names.get_mut(place));
        *place.ok_or_else(wrong)? = Json::from(name.as_str());
    }
    settings["task_type"] = Json::from(task.name());
    settings[LABELS] = Json::from(names);
    peft::read_tensors(files, HEAD_WEIGHTS)
}

fn read(_model: &LoadedModel, files: &[AdapterFile]) -> Result<Contents, EngineError> {
    let mut settings = peft::settings(files)?;
    if files.iter().any(|file| file.name == PICKLED) {
        return Err(EngineError::adapter(
            WEIGHTS,
            "this file, as save_adapter(..., use_safetensors=True) writes it",
            PICKLED,
        ));
    }
    let name = settings["name"].as_str();
    let name = name.ok_or_else(|| {
        EngineError::adapter(
            "adapter_config.name",
            "the adapter's name",
            &settings["name"],
        )
    })?;
    let theirs = format!(".adapters.{name}.");
    let ours = format!(".adapters.{BOTTLENECK_NAME}.");
    let renamed = |mut tensor: NamedTensor| {
        if !tensor.name.starts_with(PREFIX) {
            tensor.name.insert_str(0, PREFIX);
        }
        tensor.name = tensor.name.replacen(&theirs, &ours, 1);
        tensor
    };
    let tensors = peft::read_tensors(files, WEIGHTS)?.into_iter();
    let mut tensors: Vec<NamedTensor> = tensors.map(renamed).collect();
    settings["name"] = Json::from(BOTTLENECK_NAME);
    tensors.extend(read_head(files, &mut settings)?);
    Ok((settings, tensors))
}
