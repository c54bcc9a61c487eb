//! Hugging Face PEFT: `adapter_config.json` and `adapter_model.safetensors`.

use std::collections::HashMap;

use autodidact_domain::exchange::AdapterFile;
use autodidact_domain::{Checkpoint, NamedTensor};
use candle_core::{DType, Device, Tensor};
use serde_json::Value as Json;

use super::fused::{join, split};
use super::{Contents, Format, file, put_labels, take_labels};
use crate::methods::{PROMPT, VirtualTokens, from_settings};
use crate::{EngineError, LoadedModel};

pub(super) const FORMAT: Format = Format {
    name: "peft",
    write,
    read,
};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// Of the keys of a causal language model, and of a bare one.
const PREFIX: &str = "base_model.model.model.layers.";
const BARE_PREFIX: &str = "base_model.model.layers.";

fn write(model: &LoadedModel, checkpoint: &Checkpoint) -> Result<Vec<AdapterFile>, EngineError> {
    let meta = &checkpoint.meta;
    if !meta.adapter_config["peft_type"].is_string() {
        return Err(EngineError::Invalid(format!(
            "format: peft has no form for the method {}; expected {}",
            meta.method,
            match meta.method.as_str() {
                "adapter" => "adapterhub",
                _ => "a format of whole models",
            }
        )));
    }
    let recipe = from_settings(&meta.method, &meta.adapter_config, &model.config)?;
    match recipe.plan().outside().virtual_tokens() {
        // PEFT keeps what a prefix encoder made, not the encoder.
        Some(VirtualTokens::Prefix { count, encoder }) => {
            let slices = recipe.plan().read_tensors("", &checkpoint.adapter)?;
            let slice = slices.last().map(Vec::as_slice).unwrap_or_default();
            let table = Tensor::from_slice(slice, slice.len(), &Device::Cpu)?;
            let table = encoder.table(&table, *count)?;
            let tensor = NamedTensor {
                name: PROMPT.into(),
                shape: table.dims().to_vec(),
                data: table.flatten_all()?.to_vec1()?,
            };
            let head = checkpoint.adapter.iter();
            let head = head.filter(|tensor| tensor.name.contains("score."));
            let tensors: Vec<NamedTensor> = [tensor].into_iter().chain(head.cloned()).collect();
            write_files(&meta.adapter_config, &tensors, WEIGHTS)
        }
        None if model.config.variant.fused => {
            let (settings, tensors) = join(model, checkpoint, recipe.as_ref())?;
            write_files(&settings, &tensors, WEIGHTS)
        }
        _ => write_files(&meta.adapter_config, &checkpoint.adapter, WEIGHTS),
    }
}

/// Writes settings, and tensors under a name.
pub(super) fn write_files(
    settings: &Json,
    tensors: &[NamedTensor],
    weights: &str,
) -> Result<Vec<AdapterFile>, EngineError> {
    let mut settings = settings.clone();
    let labels = take_labels(&mut settings)?;
    let config = serde_json::to_vec_pretty(&settings);
    let config = config.map_err(|error| EngineError::Invalid(format!("{CONFIG}: {error}")))?;
    let tensor = |tensor: &NamedTensor| {
        let values = Tensor::from_slice(&tensor.data, tensor.shape.as_slice(), &Device::Cpu)?;
        Ok((tensor.name.clone(), values))
    };
    let tensors = tensors.iter().map(tensor);
    let tensors: HashMap<String, Tensor> = tensors.collect::<Result<_, candle_core::Error>>()?;
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    let bytes = safetensors::serialize(&tensors, Some(metadata));
    let bytes = bytes.map_err(|error| EngineError::Invalid(format!("{weights}: {error}")))?;
    let files = [
        AdapterFile {
            name: CONFIG.into(),
            bytes: config,
        },
        AdapterFile {
            name: weights.into(),
            bytes,
        },
    ];
    Ok(files.into_iter().chain(labels).collect())
}

fn read(model: &LoadedModel, files: &[AdapterFile]) -> Result<Contents, EngineError> {
    let mut settings = settings(files)?;
    let tensors = read_tensors(files, WEIGHTS)?;
    if tensors.iter().any(|tensor| tensor.name == PROMPT)
        && settings["prefix_projection"].is_boolean()
    {
        // The encoder is not in the file; what it made is.
        settings["prefix_projection"] = Json::Bool(false);
    }
    put_labels(&mut settings, files, &tensors)?;
    let renamed = tensors.into_iter().map(|mut tensor| {
        if let Some(rest) = tensor.name.strip_prefix(BARE_PREFIX) {
            tensor.name = format!("{PREFIX}{rest}");
        }
        tensor
    });
    Ok((settings, split(&model.config, renamed.collect())?))
}

/// Reads the settings.
pub(super) fn settings(files: &[AdapterFile]) -> Result<Json, EngineError> {
    let config = &file(files, CONFIG)?.bytes;
    serde_json::from_slice(config)
        .map_err(|error| EngineError::adapter(CONFIG, "a JSON object", error))
}

/// Reads the tensors of a file.
pub(super) fn read_tensors(
    files: &[AdapterFile],
    weights: &str,
) -> Result<Vec<NamedTensor>, EngineError> {
    let bytes = &file(files, weights)?.bytes;
    let damaged =
        |error: &dyn std::fmt::Display| EngineError::adapter(weights, "a safetensors file", error);
    let tensors = candle_core::safetensors::load_buffer(bytes, &Device::Cpu)
        .map_err(|error| damaged(&error))?;
    let mut read = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let is_float = matches!(tensor.dtype(), DType::F32 | DType::F16 | DType::BF16);
        if !is_float {
            let found = format!("{:?}", tensor.dtype());
            return Err(EngineError::adapter(name, "f32, f16 or bf16", found));
        }
        let data = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        read.push(NamedTensor {
            name,
            shape: tensor.dims().to_vec(),
            data,
        });
    }
    Ok(read)
}
