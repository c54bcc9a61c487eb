//! Trained adapters, ready to generate with.

use std::collections::BTreeMap;

use autodidact_domain::{Checkpoint, Digest, NamedTensor};
use serde_json::Value as Json;

use crate::EngineError;
use crate::engine::LoadedModel;
use crate::kernels::ExactMatrix;
use crate::methods::lora;
use crate::models::config::ModelConfig;
use crate::runtime::Runner;
use crate::runtime::device::DevicePair;
use crate::runtime::lora::{LoraLayer, LoraPair, Updates};

/// PEFT's prefix of a causal language model's keys.
const PREFIX: &str = "base_model.model.model.layers.";
/// Settings of `adapter_config.json` that change the arithmetic, and the values under which they do not.
const NEUTRAL: &[(&str, &[&str])] = &[
    ("bias", &["null", "\"none\""]),
    ("use_dora", &["null", "false"]),
    ("fan_in_fan_out", &["null", "false"]),
    ("rank_pattern", &["null", "{}"]),
    ("alpha_pattern", &["null", "{}"]),
    ("modules_to_save", &["null", "[]"]),
    ("layers_to_transform", &["null"]),
];

/// A LoRA adapter of one base, packed for generation. The base's weights stay as they are.
pub struct Adapter {
    base_digest: Digest,
    updates: Updates,
}

impl Adapter {
    /// Packs a checkpoint's adapter for a base.
    ///
    /// # Errors
    /// [`EngineError::Adapter`] when it belongs to another base, is of another method, or has a tensor too few, too many
    /// or of the wrong shape.
    pub fn from_checkpoint(
        model: &LoadedModel,
        checkpoint: &Checkpoint,
    ) -> Result<Self, EngineError> {
        let meta = &checkpoint.meta;
        if meta.method != "lora" {
            return Err(fault("method", "lora", &meta.method));
        }
        if meta.base_digest != model.info.digest {
            let expected = format!("that of {}, {}", model.path.display(), model.info.digest);
            return Err(fault(
                "base digest",
                expected,
                format!("{} ({})", meta.base_digest, meta.model),
            ));
        }
        let (settings, tensors) = (&meta.adapter_config, &checkpoint.adapter);
        let updates = match &model.decoder {
            Runner::Device(decoder) => {
                let pair = |a: Matrix<'_>, b: Matrix<'_>, scale| decoder.lora_pair(a, b, scale);
                Updates::Device(pack(&model.config, settings, tensors, &pair)?)
            }
            Runner::Own(_) | Runner::Foreign(_) => {
                Updates::Own(pack(&model.config, settings, tensors, &own_pair)?)
            }
        };
        Ok(Self {
            base_digest: meta.base_digest,
            updates,
        })
    }

    /// Tells the bytes it takes in memory.
    pub fn bytes(&self) -> usize {
        match &self.updates {
            Updates::Own(layers) => {
                let pairs = layers.iter().flat_map(LoraLayer::pairs);
                pairs.map(LoraPair::bytes).sum()
            }
            Updates::Device(layers) => {
                let pairs = layers.iter().flat_map(LoraLayer::pairs);
                pairs.map(DevicePair::bytes).sum()
            }
        }
    }
}

impl LoadedModel {
    /// Shows an adapter's updates after checking that it is this base's.
    pub(crate) fn lora_of<'a>(
        &self,
        adapter: Option<&'a Adapter>,
    ) -> Result<Option<&'a Updates>, EngineError> {
        let is_packed_for_this = |adapter: &Adapter| {
            let on_device = matches!(self.decoder, Runner::Device(_));
            on_device == matches!(adapter.updates, Updates::Device(_))
        };
        match adapter {
            Some(_) if self.decoder.is_foreign() => Err(fault(
                "architecture",
                "one that adapters fit",
                &self.info.architecture,
            )),
            Some(adapter) if adapter.base_digest != self.info.digest => {
                Err(fault("base digest", self.info.digest, adapter.base_digest))
            }
            Some(adapter) if !is_packed_for_this(adapter) => Err(fault(
                "device",
                "one that was packed for this model's device",
                "one that was packed for another",
            )),
            adapter => Ok(adapter.map(|adapter| &adapter.updates)),
        }
    }
}

fn fault(part: impl Into<String>, expected: impl ToString, found: impl ToString) -> EngineError {
    EngineError::Adapter {
        part: part.into(),
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

/// A matrix's elements, row by row, and its shape.
type Matrix<'a> = (&'a [f32], [usize; 2]);

/// Makes the update of one matrix of A, B and what B is multiplied by.
type MakePair<'a, P> = dyn Fn(Matrix<'_>, Matrix<'_>, f32) -> Result<P, EngineError> + 'a;

fn own_pair(a: Matrix<'_>, b: Matrix<'_>, scale: f32) -> Result<LoraPair, EngineError> {
    let pack =
        |(data, [rows, columns]): Matrix<'_>, scale| ExactMatrix::pack(rows, columns, data, scale);
    Ok(LoraPair {
        a: pack(a, 1.0),
        b: pack(b, scale),
    })
}

fn pack<P>(
    config: &ModelConfig,
    settings: &Json,
    tensors: &[NamedTensor],
    make_pair: &MakePair<'_, P>,
) -> Result<Vec<LoraLayer<P>>, EngineError> {
    for (key, neutral) in NEUTRAL {
        let found = settings[*key].to_string();
        if !neutral.contains(&found.as_str()) {
            return Err(fault(
                format!("adapter_config.{key}"),
                neutral.join(" or "),
                found,
            ));
        }
    }
    let rank = settings["r"].as_u64().filter(|r| (1..=4096).contains(r));
    let rank = rank.ok_or_else(|| fault("adapter_config.r", "1 to 4096", &settings["r"]))? as usize;
    let alpha = settings["lora_alpha"]
        .as_f64()
        .filter(|alpha| alpha.is_finite());
    let alpha = alpha.ok_or_else(|| {
        fault(
            "adapter_config.lora_alpha",
            "a number",
            &settings["lora_alpha"],
        )
    })?;
    let use_rslora = match &settings["use_rslora"] {
        Json::Null => false,
        Json::Bool(use_rslora) => *use_rslora,
        other => return Err(fault("adapter_config.use_rslora", "true or false", other)),
    };
    let targets: Option<Vec<&str>> = settings["target_modules"]
        .as_array()
        .and_then(|list| list.iter().map(Json::as_str).collect());
    let targets = targets.filter(|targets| !targets.is_empty());
    let targets = targets.ok_or_else(|| {
        fault(
            "adapter_config.target_modules",
            "a list of names",
            &settings["target_modules"],
        )
    })?;

    let mut left = BTreeMap::new();
    for tensor in tensors {
        if left.insert(tensor.name.as_str(), tensor).is_some() {
            return Err(fault(&tensor.name, "one tensor of this name", "two"));
        }
    }
    let mut layers = Vec::new();
    for index in 0..config.layers {
        let mut layer = LoraLayer::default();
        for target in &targets {
            let (slot, part, inner, outer) =
                place(&mut layer, config, target).ok_or_else(|| {
                    let known = "q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj or down_proj";
                    fault("adapter_config.target_modules", known, target)
                })?;
            let mut take = |side: &str, shape: [usize; 2]| {
                let name = format!("{PREFIX}{index}.{part}.{target}.lora_{side}.weight");
                let tensor = left
                    .remove(name.as_str())
                    .ok_or_else(|| fault(&name, format!("a tensor {shape:?}"), "none"))?;
                if tensor.shape != shape || tensor.data.len() != shape[0] * shape[1] {
                    let found = format!("{:?} with {} elements", tensor.shape, tensor.data.len());
                    return Err(fault(&name, format!("shape {shape:?}"), found));
                }
                Ok(tensor)
            };
            let (a_shape, b_shape) = ([rank, inner], [outer, rank]);
            let (a, b) = (take("A", a_shape)?, take("B", b_shape)?);
            *slot = Some(make_pair(
                (&a.data, a_shape),
                (&b.data, b_shape),
                lora::scale(alpha as f32, rank, use_rslora),
            )?);
        }
        layers.push(layer);
    }
    match left.keys().next() {
        Some(name) => Err(fault(
            *name,
            format!("only tensors of {}", targets.join(", ")),
            "this tensor too",
        )),
        None => Ok(layers),
    }
}

/// Tells a target module's slot, the part of the layer it lies in, and its input and output widths.
fn place<'a, P>(
    layer: &'a mut LoraLayer<P>,
    config: &ModelConfig,
    target: &str,
) -> Option<(&'a mut Option<P>, &'static str, usize, usize)> {
    let (hidden, width) = (config.hidden_size, config.intermediate_size);
    let (queries, keys) = (
        config.heads * config.head_dim,
        config.kv_heads * config.head_dim,
    );
    Some(match target {
        "q_proj" => (&mut layer.q_proj, "self_attn", hidden, queries),
        "k_proj" => (&mut layer.k_proj, "self_attn", hidden, keys),
        "v_proj" => (&mut layer.v_proj, "self_attn", hidden, keys),
        "o_proj" => (&mut layer.o_proj, "self_attn", queries, hidden),
        "gate_proj" => (&mut layer.gate_proj, "mlp", hidden, width),
        "up_proj" => (&mut layer.up_proj, "mlp", hidden, width),
        "down_proj" => (&mut layer.down_proj, "mlp", width, hidden),
        _ => return None,
    })
}
