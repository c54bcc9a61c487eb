//! Hugging Face PEFT: `adapter_config.json` and `adapter_model.safetensors`.

use std::collections::HashMap;

use autodidact_domain::exchange::AdapterFile;
use autodidact_domain::{Checkpoint, NamedTensor};
use candle_core::{DType, Device, Tensor};
use serde_json::Value as Json;

use super::{Contents, Format, file};
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
    if model.config.variant.fused {
        return Err(EngineError::Invalid(format!(
            "format: expected a family whose linear layers PEFT knows one by one, found {}, whose q, k and v are one matrix",
            model.info.architecture
        )));
    }
    let config = serde_json::to_vec_pretty(&checkpoint.meta.adapter_config);
    let config = config.map_err(|error| EngineError::Invalid(format!("{CONFIG}: {error}")))?;
    let tensor = |tensor: &NamedTensor| {
        let values = Tensor::from_slice(&tensor.data, tensor.shape.as_slice(), &Device::Cpu)?;
        Ok((tensor.name.clone(), values))
    };
    let tensors = checkpoint.adapter.iter().map(tensor);
    let tensors: HashMap<String, Tensor> = tensors.collect::<Result<_, candle_core::Error>>()?;
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    let weights = safetensors::serialize(&tensors, Some(metadata));
    let weights = weights.map_err(|error| EngineError::Invalid(format!("{WEIGHTS}: {error}")))?;
    Ok(vec![
        AdapterFile {
            name: CONFIG.into(),
            bytes: config,
        },
        AdapterFile {
            name: WEIGHTS.into(),
            bytes: weights,
        },
    ])
}

fn read(_model: &LoadedModel, files: &[AdapterFile]) -> Result<Contents, EngineError> {
    let config = &file(files, CONFIG)?.bytes;
    let settings: Json = serde_json::from_slice(config)
        .map_err(|error| EngineError::adapter(CONFIG, "a JSON object", error))?;
    let weights = &file(files, WEIGHTS)?.bytes;
    let damaged =
        |error: &dyn std::fmt::Display| EngineError::adapter(WEIGHTS, "a safetensors file", error);
    let tensors = candle_core::safetensors::load_buffer(weights, &Device::Cpu)
        .map_err(|error| damaged(&error))?;
    let mut read = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let is_float = matches!(tensor.dtype(), DType::F32 | DType::F16 | DType::BF16);
        if !is_float {
            let found = format!("{:?}", tensor.dtype());
            return Err(EngineError::adapter(name, "f32, f16 or bf16", found));
        }
        let name = match name.strip_prefix(BARE_PREFIX) {
            Some(rest) => format!("{PREFIX}{rest}"),
            None => name,
        };
        let data = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        read.push(NamedTensor {
            name,
            shape: tensor.dims().to_vec(),
            data,
        });
    }
    Ok((settings, read))
}
