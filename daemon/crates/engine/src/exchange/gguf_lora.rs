//! llama.cpp's adapters: a GGUF file with `general.type` = `adapter`, the low-rank matrices beside the base's tensor names.
//!
//! llama.cpp scales every update by `adapter.lora.alpha` over its own rank, so other scales are folded into B.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;

use autodidact_domain::exchange::AdapterFile;
use autodidact_domain::{Checkpoint, NamedTensor};
use candle_core::quantized::gguf_file::{Value, write as write_gguf};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use serde_json::json;

use super::fused::{MatrixUpdate, matrix_updates, split};
use super::{Contents, Format};
use crate::methods::{KEY_PREFIX, Target, from_settings};
use crate::models::config::ModelConfig;
use crate::models::gguf::{GgufHeader, Value as Field};
use crate::models::interleaved::{half_split_rows, interleave_rows};
use crate::models::tensor_names::gguf_name;
use crate::{EngineError, LoadedModel};

pub(super) const FORMAT: Format = Format {
    name: "gguf-lora",
    write,
    read,
};

const ARCHITECTURE: &str = "general.architecture";
const ALPHA: &str = "adapter.lora.alpha";
/// What the bytes begin with.
const MAGIC: &[u8] = b"GGUF";

/// Tells whether files are one GGUF.
pub(super) fn is_gguf(files: &[AdapterFile]) -> bool {
    matches!(files, [file] if file.bytes.starts_with(MAGIC))
}

fn write(model: &LoadedModel, checkpoint: &Checkpoint) -> Result<Vec<AdapterFile>, EngineError> {
    let (meta, config) = (&checkpoint.meta, &model.config);
    let unsupported = |what: &str| {
        EngineError::Invalid(format!(
            "format: gguf-lora holds low-rank updates alone, found {what}; expected another format, such as peft"
        ))
    };
    let recipe = from_settings(&meta.method, &meta.adapter_config, config)?;
    let architecture = gguf_architecture(config)?;
    let plan = recipe.plan();
    if let Some(labelling) = recipe.labelling() {
        return Err(unsupported(&format!(
            "a head of labels ({})",
            labelling.task.name()
        )));
    }
    let values = plan.read_tensors("", &checkpoint.adapter)?;
    // One alpha for all; what an update's scale lacks of it goes into B.
    let alpha = meta.adapter_config["lora_alpha"].as_f64();
    let alpha = alpha.ok_or_else(|| unsupported("another method"))? as f32;
    if plan.replaces_weights() {
        return Err(unsupported("modules that are trained whole"));
    }
    for layer in plan.layers() {
        for target in Target::ALL {
            let linear = layer.linear(target);
            if linear.scales_output() || linear.input_scale.is_some() {
                return Err(unsupported("magnitudes or factors"));
            }
            if linear.bias.is_some() {
                return Err(unsupported("trained biases"));
            }
        }
    }
    let mut tensors = Vec::new();
    for update in matrix_updates(config, plan, &values) {
        let MatrixUpdate { rank, scale, .. } = update;
        let (inputs, outputs) = (update.a.len() / rank, update.b.len() / rank);
        let folded = scale * rank as f32 / alpha;
        let b: Vec<f32> = update.b.iter().map(|x| x * folded).collect();
        let b = match interleaved_heads(update.targets, config) {
            Some(heads) => interleave_rows(&b, outputs, heads),
            None => b,
        };
        let base = gguf_name(&format!("{}.weight", update.path), config);
        let matrix = |data: Vec<f32>, shape: (usize, usize)| {
            let tensor = Tensor::from_vec(data, shape, &Device::Cpu)?;
            QTensor::quantize(&tensor, GgmlDType::F32)
        };
        tensors.push((format!("{base}.lora_a"), matrix(update.a, (rank, inputs))?));
        tensors.push((format!("{base}.lora_b"), matrix(b, (outputs, rank))?));
    }
    let text = |text: &str| Value::String(text.to_string());
    let fields = [
        ("general.type", text("adapter")),
        (ARCHITECTURE, text(architecture)),
        ("general.name", text(meta.model.as_str())),
        ("adapter.type", text("lora")),
        (ALPHA, Value::F32(alpha)),
    ];
    let fields: Vec<(&str, &Value)> = fields.iter().map(|(key, value)| (*key, value)).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(n, t)| (n.as_str(), t)).collect();
    let mut bytes = Cursor::new(Vec::new());
    write_gguf(&mut bytes, &fields, &tensors)?;
    Ok(vec![AdapterFile {
        name: "adapter.gguf".into(),
        bytes: bytes.into_inner(),
    }])
}

fn read(model: &LoadedModel, files: &[AdapterFile]) -> Result<Contents, EngineError> {
    let config = &model.config;
    let [file] = files else {
        return Err(EngineError::adapter("files", "one GGUF file", files.len()));
    };
    let fault =
        |part: &str, expected: &str, found: String| EngineError::adapter(part, expected, found);
    let path = Path::new(&file.name);
    let length = file.bytes.len() as u64;
    let header = GgufHeader::read_from(path, file.bytes.as_slice(), length)
        .map_err(|error| fault(&file.name, "a GGUF file", error.to_string()))?;
    let text = |key: &str| match header.metadata.get(key) {
        Some(Field::Text(text)) => text.clone(),
        other => format!("{other:?}"),
    };
    for (key, expected) in [
        ("general.type", "adapter"),
        ("adapter.type", "lora"),
        (ARCHITECTURE, gguf_architecture(config)?),
    ] {
        if text(key) != expected {
            return Err(fault(key, expected, text(key)));
        }
    }
    let alpha = match header.metadata.get(ALPHA) {
        Some(Field::F32(alpha)) => *alpha,
        None => 0.0,
        other => return Err(fault(ALPHA, "a number", format!("{other:?}"))),
    };
    let mut names = BTreeMap::new();
    for layer in 0..config.layers {
        for targets in Target::matrices(config) {
            let path = targets[0].matrix_path(layer, config);
            names.insert(
                gguf_name(&format!("{path}.weight"), config),
                (path, *targets),
            );
        }
    }
    let (mut tensors, mut ranks, mut modules) = (Vec::new(), BTreeMap::new(), Vec::new());
    for (name, place) in &header.tensors {
        let known = name.rsplit_once('.').and_then(|(base, side)| {
            let matrix = match side {
                "lora_a" => "lora_A",
                "lora_b" => "lora_B",
                _ => return None,
            };
            Some((names.get(base)?, matrix))
        });
        let Some(((path, targets), matrix)) = known else {
            return Err(fault(
                name,
                "only low-rank updates of this base's linear layers",
                "this tensor too".into(),
            ));
        };
        let [rows, columns] = place.shape[..] else {
            return Err(fault(name, "a matrix", format!("{:?}", place.shape)));
        };
        // The header's reader holds every tensor to lie in the file.
        let bytes = &file.bytes[place.offset as usize..][..place.bytes as usize];
        let mut data = vec![0f32; rows * columns];
        place.element.to_f32(bytes, &mut data)?;
        if matrix == "lora_B" {
            let outputs: usize = targets.iter().map(|target| target.widths(config).1).sum();
            if rows != outputs {
                return Err(fault(name, &format!("{outputs} rows"), rows.to_string()));
            }
            if let Some(heads) = interleaved_heads(targets, config) {
                data = half_split_rows(&data, rows, heads);
            }
            ranks.insert(path.clone(), columns);
            modules.push(path.clone());
        }
        tensors.push(NamedTensor {
            name: format!("{KEY_PREFIX}{path}.{matrix}.weight"),
            shape: vec![rows, columns],
            data,
        });
    }
    let Some(most) = ranks.values().max().copied() else {
        return Err(fault(&file.name, "updates", "none".into()));
    };
    // Every update has llama.cpp's scale, alpha over its own rank; without an alpha it is 1.
    let alphas: BTreeMap<String, f32> = match alpha == 0.0 {
        true => ranks
            .iter()
            .map(|(path, rank)| (path.clone(), *rank as f32))
            .collect(),
        false => BTreeMap::new(),
    };
    if ranks.values().all(|rank| *rank == most) {
        ranks.clear();
    }
    let settings = json!({
        "peft_type": "LORA",
        "r": most,
        "lora_alpha": if alpha == 0.0 { most as f32 } else { alpha },
        "target_modules": modules,
        "rank_pattern": ranks,
        "alpha_pattern": alphas,
    });
    Ok((settings, split(config, tensors)?))
}

fn gguf_architecture(config: &ModelConfig) -> Result<&'static str, EngineError> {
    config.gguf_architecture().ok_or_else(|| {
        EngineError::Invalid(format!(
            "format: gguf-lora needs a family that llama.cpp names, found {}",
            config.architecture
        ))
    })
}

/// The heads whose rows llama.cpp interleaves, where it does.
fn interleaved_heads(targets: &[Target], config: &ModelConfig) -> Option<usize> {
    match targets {
        [Target::Q] if config.interleaves_in_gguf() => Some(config.heads),
        [Target::K] if config.interleaves_in_gguf() => Some(config.kv_heads),
        _ => None,
    }
}
