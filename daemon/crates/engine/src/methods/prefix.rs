//! Prefix tuning (Li and Liang 2021) as PEFT has it: trained keys and values that stand before those of every sequence, in every
//! layer, at positions from 0 on and without rope.
//!
//! With `prefix_projection` a small network makes them, and is what is trained. PEFT writes what it made alone; a checkpoint here
//! holds the network, so that training goes on.

use autodidact_domain::TrainOptions;
use serde_json::{Value as Json, json};

use super::prompt::{MAX_VIRTUAL_TOKENS, checked_tokens};
use super::settings::Settings;
use super::{Method, Plan, Recipe, SettingsOf};
use crate::EngineError;
use crate::models::config::ModelConfig;

pub(super) const METHOD: Method = Method {
    name: "prefix",
    settings: SettingsOf::Peft("PREFIX_TUNING"),
    head_prefix: "base_model.",
    from_options: |options, config| Ok(Box::new(Prefix::new(of_options(options), config)?)),
    from_settings: |settings, config| Ok(Box::new(Prefix::new(of_settings(settings)?, config)?)),
};

/// The greatest width inside of the network; beyond it a request is surely a mistake.
const MAX_ENCODER_HIDDEN: u32 = 65_536;
/// As in `prompt.rs`.
const NEUTRAL: &[(&str, &[&str])] = &[("num_transformer_submodules", &["null", "1"])];

/// What the method is told.
struct Told {
    num_virtual_tokens: u32,
    prefix_projection: bool,
    /// 0 for as many as a key has.
    encoder_hidden_size: u32,
}

fn of_options(options: &TrainOptions) -> Told {
    Told {
        num_virtual_tokens: options.num_virtual_tokens,
        prefix_projection: options.prefix_projection,
        encoder_hidden_size: options.encoder_hidden_size,
    }
}

fn of_settings(settings: &Json) -> Result<Told, EngineError> {
    let settings = Settings(settings);
    settings.refuse_others(NEUTRAL)?;
    let prefix_projection = settings.flag("prefix_projection", false)?;
    Ok(Told {
        num_virtual_tokens: settings.count("num_virtual_tokens", MAX_VIRTUAL_TOKENS)?,
        prefix_projection,
        encoder_hidden_size: match prefix_projection {
            true => settings.count("encoder_hidden_size", MAX_ENCODER_HIDDEN)?,
            false => 0,
        },
    })
}

/// A checked configuration on a model.
struct Prefix {
    tokens: usize,
    /// Of a key.
    width: usize,
    kv_heads: usize,
    layers: usize,
    encoder_hidden: Option<usize>,
    plan: Plan,
}

impl Prefix {
    /// Checks a configuration.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] for no virtual token or more than half the context, and for an absurd network.
    fn new(told: Told, config: &ModelConfig) -> Result<Self, EngineError> {
        let tokens = checked_tokens(told.num_virtual_tokens, config)?;
        if told.encoder_hidden_size > MAX_ENCODER_HIDDEN {
            return Err(EngineError::Invalid(format!(
                "encoder_hidden_size: expected at most {MAX_ENCODER_HIDDEN}, found {}",
                told.encoder_hidden_size
            )));
        }
        let width = config.kv_heads * config.head_dim;
        let hidden = match told.encoder_hidden_size {
            0 => width,
            hidden => hidden as usize,
        };
        let encoder_hidden = told.prefix_projection.then_some(hidden);
        let mut plan = Plan::new(config);
        plan.add_prefix(tokens, width, encoder_hidden);
        Ok(Self {
            tokens,
            width,
            kv_heads: config.kv_heads,
            layers: config.layers,
            encoder_hidden,
            plan,
        })
    }
}

impl Recipe for Prefix {
    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn adapter_config(&self, base_model: &str) -> Json {
        json!({
            "peft_type": "PREFIX_TUNING",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base_model,
            "num_virtual_tokens": self.tokens,
            "token_dim": self.width,
            "num_transformer_submodules": 1,
            "num_attention_heads": self.kv_heads,
            "num_layers": self.layers,
            "encoder_hidden_size": self.encoder_hidden.unwrap_or(self.width),
            "prefix_projection": self.encoder_hidden.is_some(),
            "inference_mode": true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::config;
    use super::super::{from_options, from_settings};
    use super::*;

    #[test]
    fn numbers_have_pefts_keys_and_shapes_with_and_without_a_network() {
        let of = |prefix_projection| TrainOptions {
            method: "prefix".into(),
            num_virtual_tokens: 3,
            prefix_projection,
            encoder_hidden_size: 5,
            ..TrainOptions::default()
        };
        let shapes = |options: &TrainOptions| {
            let recipe = from_options(options, &config()).unwrap();
            let settings = recipe.adapter_config("tiny");
            let read = from_settings("prefix", &settings, &config()).unwrap();
            assert_eq!(read.adapter_config("tiny"), settings);
            let numbers = recipe.plan().parameters();
            let slices = vec![Vec::new(), Vec::new(), vec![0.0; numbers]];
            let tensors = recipe.plan().to_tensors("", &slices).into_iter();
            let shapes = tensors.map(|tensor| (tensor.name, tensor.shape));
            shapes.collect::<Vec<_>>()
        };
        // Two layers, keys of one head of four numbers.
        let table = ("prompt_embeddings".to_string(), vec![3, 16]);
        assert_eq!(shapes(&of(false)), [table]);
        let named = |name: &str, shape: &[usize]| {
            (format!("prompt_encoder.default.{name}"), shape.to_vec())
        };
        let expected = [
            named("embedding.weight", &[3, 4]),
            named("transform.0.bias", &[5]),
            named("transform.0.weight", &[5, 4]),
            named("transform.2.bias", &[16]),
            named("transform.2.weight", &[16, 5]),
        ];
        assert_eq!(shapes(&of(true)), expected);
    }
}
