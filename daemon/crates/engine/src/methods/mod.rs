//! Fine-tuning methods, one recipe file each, in the table [`METHODS`].
//!
//! A recipe reads its settings from a run's options or from an adapter's `adapter_config.json`, and makes a [`Plan`]:
//! the numbers that are trained, where they act (`ops/`, `runtime/`) and what they are called on disk.

mod bottleneck;
mod classifier;
mod full;
mod ia3;
mod layer_plan;
mod lora;
mod module;
mod plan;
mod prefix;
mod prompt;
mod settings;
mod target;
mod virtual_tokens;

use std::collections::BTreeSet;

use autodidact_domain::training::keeps_base_quantised;
use autodidact_domain::{BaseDtype, TrainOptions};
use serde_json::Value as Json;

pub(crate) use bottleneck::NAME as BOTTLENECK_NAME;
pub(crate) use classifier::{LABELS, Labelling};
pub(crate) use layer_plan::{
    BottleneckPlan, LayerPlan, LinearPlan, LowRankPlan, NonLinearity, Part, PrefixPlan, Slice,
};
pub(crate) use module::{Module, Norm};
pub use plan::Plan;
pub(crate) use plan::{Beginning, PROMPT};
pub(crate) use settings::number;
pub use target::Target;
pub(crate) use target::{KEY_PREFIX, nearest};
pub(crate) use virtual_tokens::VirtualTokens;

use crate::EngineError;
use crate::models::config::ModelConfig;
use classifier::{with_head, without_head};

/// A method's checked settings, or what was wrong with them.
type Read = Result<Box<dyn Recipe>, EngineError>;

/// A method.
struct Method {
    /// Its name in workflows and checkpoints.
    name: &'static str,
    /// How the settings of its adapters tell whose they are.
    settings: SettingsOf,
    /// Before the names of the tensors of a head.
    head_prefix: &'static str,
    /// Reads a run's options.
    from_options: fn(&TrainOptions, &ModelConfig) -> Read,
    /// Reads an adapter's settings.
    from_settings: fn(&Json, &ModelConfig) -> Read,
}

/// Every method.
const METHODS: [Method; 7] = [
    lora::METHOD,
    lora::QUANTISED,
    ia3::METHOD,
    bottleneck::METHOD,
    prompt::METHOD,
    prefix::METHOD,
    full::METHOD,
];

/// What settings say about their method.
#[derive(Clone, Copy, Debug, PartialEq)]
enum SettingsOf {
    /// PEFT's `peft_type`.
    Peft(&'static str),
    /// AdapterHub's `config`, an object with the place and form of bottlenecks.
    AdapterHub,
    /// Our own `modules` of a model that is trained itself.
    Weights,
}

impl SettingsOf {
    fn is_said_by(self, settings: &Json) -> bool {
        match self {
            Self::Peft(name) => settings["peft_type"] == name,
            Self::AdapterHub => settings["config"].is_object(),
            Self::Weights => settings["modules"].is_array(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Peft(name) => name,
            Self::AdapterHub => "AdapterHub's config",
            Self::Weights => "modules",
        }
    }
}

/// A method's checked settings for one model.
pub(crate) trait Recipe {
    /// Lays out what is trained.
    fn plan(&self) -> &Plan;

    /// Writes `adapter_config.json`: PEFT's with the fields that every PEFT from 0.10 on reads and no others, or AdapterHub's.
    fn adapter_config(&self, base_model: &str) -> Json;

    /// Tells what its head gives, where it has one.
    fn labelling(&self) -> Option<&Labelling> {
        None
    }
}

/// Reads a run's options.
///
/// # Errors
/// [`EngineError::Invalid`] with the field and what was expected.
pub(crate) fn from_options(options: &TrainOptions, config: &ModelConfig) -> Read {
    let method = METHODS.iter().find(|method| method.name == options.method);
    let method = method.ok_or_else(|| {
        let names = METHODS.map(|method| method.name).join(", ");
        EngineError::Invalid(format!(
            "method: expected one of {names}, found {:?}",
            options.method
        ))
    })?;
    let labelling = Labelling::of_options(options)?;
    let recipe = (method.from_options)(options, config)?;
    check_dtype(options, recipe.plan())?;
    with_head(recipe, labelling, method.head_prefix, config)
}

/// Refuses to round weights that are trained themselves, or that stay quantised anyway.
fn check_dtype(options: &TrainOptions, plan: &Plan) -> Result<(), EngineError> {
    let refuse = |why: &str| {
        Err(EngineError::Invalid(format!(
            "dtype: expected float32, found {}: {why}",
            options.dtype.name()
        )))
    };
    match options.dtype {
        BaseDtype::Float32 => Ok(()),
        _ if keeps_base_quantised(&options.method) => {
            refuse("qlora leaves the base as its files have it")
        }
        _ if plan.replaces_weights() => {
            refuse("weights are trained themselves, and begin as the base's")
        }
        _ => Ok(()),
    }
}

/// Reads the settings of an adapter of any method, and tells the method's name.
///
/// # Errors
/// As [`from_settings`].
pub(crate) fn method_of(
    settings: &Json,
    config: &ModelConfig,
) -> Result<(&'static str, Box<dyn Recipe>), EngineError> {
    let method = METHODS
        .iter()
        .find(|method| method.settings.is_said_by(settings));
    let method = method.ok_or_else(|| {
        let names: BTreeSet<&str> = METHODS.iter().map(|m| m.settings.name()).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let part = "adapter_config.peft_type";
        EngineError::adapter(part, names.join(" or "), &settings["peft_type"])
    })?;
    Ok((method.name, from_settings(method.name, settings, config)?))
}

/// Reads the settings of an adapter, of the method that a checkpoint names.
///
/// # Errors
/// [`EngineError::Adapter`] with the setting and what was expected.
pub(crate) fn from_settings(name: &str, settings: &Json, config: &ModelConfig) -> Read {
    let method = METHODS.iter().find(|method| method.name == name);
    let method = method.ok_or_else(|| {
        let names = METHODS.map(|method| method.name).join(", ");
        EngineError::adapter("method", format!("one of {names}"), name)
    })?;
    let peft_type = &settings["peft_type"];
    if !peft_type.is_null() && !method.settings.is_said_by(settings) {
        let part = "adapter_config.peft_type";
        return Err(EngineError::adapter(
            part,
            method.settings.name(),
            peft_type,
        ));
    }
    let read = || match Labelling::of_settings(settings)? {
        None => (method.from_settings)(settings, config),
        Some(labelling) => {
            let recipe = (method.from_settings)(&without_head(settings), config)?;
            with_head(recipe, Some(labelling), method.head_prefix, config)
        }
    };
    read().map_err(|error| match error {
        EngineError::Invalid(text) => {
            EngineError::adapter("adapter_config", "settings that fit the base", text)
        }
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_the_methods_that_a_workflow_may_name() {
        let names = METHODS.map(|method| method.name);
        assert_eq!(names, autodidact_domain::training::METHODS);
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A small model's shape.
    pub(crate) fn config() -> ModelConfig {
        ModelConfig {
            architecture: "llama".into(),
            vocab_size: 8,
            hidden_size: 12,
            intermediate_size: 20,
            layers: 2,
            heads: 3,
            kv_heads: 1,
            head_dim: 4,
            rms_norm_eps: 1e-5,
            rope_theta: 1e4,
            context_length: 16,
            tie_word_embeddings: true,
            eos_ids: vec![],
            bos_id: None,
            add_bos: false,
            variant: Default::default(),
        }
    }
}
