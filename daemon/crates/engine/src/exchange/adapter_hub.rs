//! AdapterHub's `adapters`: `adapter_config.json` and `adapter.safetensors`, for bottleneck adapters.

use autodidact_domain::exchange::AdapterFile;
use autodidact_domain::{Checkpoint, NamedTensor};
use serde_json::Value as Json;

use super::{Contents, Format, peft};
use crate::methods::BOTTLENECK_NAME;
use crate::{EngineError, LoadedModel};

pub(super) const FORMAT: Format = Format {
    name: "adapterhub",
    write,
    read,
};

const WEIGHTS: &str = "adapter.safetensors";
/// What `adapters` writes where it is not told to write safetensors.
const PICKLED: &str = "pytorch_adapter.bin";
/// Of the keys of a causal language model; those of a bare one lack it.
const PREFIX: &str = "model.";

/// Tells whether files are AdapterHub's: their settings are in `config`.
pub(super) fn is_adapter_hub(files: &[AdapterFile]) -> bool {
    peft::settings(files).is_ok_and(|settings| settings["config"].is_object())
}

fn write(_model: &LoadedModel, checkpoint: &Checkpoint) -> Result<Vec<AdapterFile>, EngineError> {
    if !checkpoint.meta.adapter_config["config"].is_object() {
        return Err(EngineError::Invalid(format!(
            "format: adapterhub holds bottleneck adapters (method adapter) alone, found {}; expected another format, such as peft",
            checkpoint.meta.method
        )));
    }
    peft::write_files(
        &checkpoint.meta.adapter_config,
        &checkpoint.adapter,
        WEIGHTS,
    )
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
    let tensors = tensors.map(renamed).collect();
    settings["name"] = Json::from(BOTTLENECK_NAME);
    Ok((settings, tensors))
}
