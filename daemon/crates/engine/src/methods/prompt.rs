//! Prompt tuning (Lester et al. 2021) as PEFT has it: trained embeddings that stand before every sequence.

use autodidact_domain::TrainOptions;
use serde_json::{Value as Json, json};

use super::plan::Initial;
use super::settings::Settings;
use super::{Method, Plan, Recipe, SettingsOf};
use crate::EngineError;
use crate::models::config::ModelConfig;

pub(super) const METHOD: Method = Method {
    name: "prompt",
    settings: SettingsOf::Peft("PROMPT_TUNING"),
    head_prefix: "base_model.",
    from_options: |options, config| Ok(Box::new(Prompt::new(of_options(options)?, config)?)),
    from_settings: |settings, config| Ok(Box::new(Prompt::new(of_settings(settings)?, config)?)),
};

/// More positions than anybody needs before a prompt.
pub(super) const MAX_VIRTUAL_TOKENS: u32 = 4096;
/// What `prompt_tuning_init` may be; the first is the default.
const INITS: [&str; 2] = ["RANDOM", "TEXT"];
/// Settings that say something else than is computed here, and the values under which they do not.
const NEUTRAL: &[(&str, &[&str])] = &[("num_transformer_submodules", &["null", "1"])];

/// What the method is told.
struct Told {
    num_virtual_tokens: u32,
    /// The text whose tokens' embeddings they begin as; normally drawn numbers without one.
    text: Option<String>,
}

fn of_options(options: &TrainOptions) -> Result<Told, EngineError> {
    let init = options.prompt_tuning_init.as_str();
    let text = &options.prompt_tuning_init_text;
    let invalid = |field: &str, expected: &str, found: &str| {
        let message = format!("{field}: expected {expected}, found {found:?}");
        Err(EngineError::Invalid(message))
    };
    match (init, text.is_empty()) {
        (init, _) if !INITS.contains(&init) => {
            invalid("prompt_tuning_init", "RANDOM or TEXT", init)
        }
        ("TEXT", true) => invalid("prompt_tuning_init_text", "the text to begin with", text),
        ("RANDOM", false) => invalid("prompt_tuning_init", "TEXT where a text is given", init),
        (_, is_random) => Ok(Told {
            num_virtual_tokens: options.num_virtual_tokens,
            text: (!is_random).then(|| text.clone()),
        }),
    }
}

fn of_settings(settings: &Json) -> Result<Told, EngineError> {
    let settings = Settings(settings);
    settings.refuse_others(NEUTRAL)?;
    Ok(Told {
        num_virtual_tokens: settings.count("num_virtual_tokens", MAX_VIRTUAL_TOKENS)?,
        // Of the beginning alone.
        text: None,
    })
}

/// Refuses more virtual tokens than a context can spare.
pub(super) fn checked_tokens(tokens: u32, config: &ModelConfig) -> Result<usize, EngineError> {
    let most = MAX_VIRTUAL_TOKENS.min(u32::try_from(config.context_length / 2).unwrap_or(u32::MAX));
    match (1..=most).contains(&tokens) {
        true => Ok(tokens as usize),
        false => Err(EngineError::Invalid(format!(
            "num_virtual_tokens: expected 1 to {most} (half the context at most), found {tokens}"
        ))),
    }
}

/// A checked configuration on a model.
struct Prompt {
    tokens: usize,
    hidden_size: usize,
    heads: usize,
    layers: usize,
    plan: Plan,
}

impl Prompt {
    /// Checks a configuration.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] for no virtual token or more than half the context.
    fn new(told: Told, config: &ModelConfig) -> Result<Self, EngineError> {
        let tokens = checked_tokens(told.num_virtual_tokens, config)?;
        let mut plan = Plan::new(config);
        // As PyTorch begins an embedding.
        let initial = told.text.map_or(Initial::Normal(1.0), Initial::Text);
        plan.add_prompt(tokens, config.hidden_size, initial);
        Ok(Self {
            tokens,
            hidden_size: config.hidden_size,
            heads: config.heads,
            layers: config.layers,
            plan,
        })
    }
}

impl Recipe for Prompt {
    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn adapter_config(&self, base_model: &str) -> Json {
        json!({
            "peft_type": "PROMPT_TUNING",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base_model,
            "num_virtual_tokens": self.tokens,
            "token_dim": self.hidden_size,
            "num_transformer_submodules": 1,
            "num_attention_heads": self.heads,
            "num_layers": self.layers,
            // How it began is no matter once it is trained, and PEFT would ask for the tokenizer.
            "prompt_tuning_init": "RANDOM",
            "inference_mode": true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::config;
    use super::super::{from_options, from_settings};
    use super::*;

    fn options(tokens: u32, init: &str, text: &str) -> TrainOptions {
        TrainOptions {
            method: "prompt".into(),
            num_virtual_tokens: tokens,
            prompt_tuning_init: init.into(),
            prompt_tuning_init_text: text.into(),
            ..TrainOptions::default()
        }
    }

    #[test]
    fn embeddings_have_pefts_key_and_shape() {
        let recipe = from_options(&options(3, "RANDOM", ""), &config()).unwrap();
        let mut slices = vec![Vec::new(); 2];
        slices.push(vec![0.5; 3 * 12]);
        let tensors = recipe.plan().to_tensors("", &slices);
        let [tensor] = tensors.as_slice() else {
            panic!("one tensor")
        };
        assert_eq!(
            (tensor.name.as_str(), &tensor.shape[..]),
            ("prompt_embeddings", &[3, 12][..])
        );
        let settings = recipe.adapter_config("tiny");
        let read = from_settings("prompt", &settings, &config()).unwrap();
        assert_eq!(read.adapter_config("tiny"), settings);
        assert_eq!(read.plan().virtual_tokens(), 3);
    }

    #[test]
    fn wrong_configurations_are_refused_with_what_was_expected() {
        let refused = |options: TrainOptions| {
            let error = from_options(&options, &config()).err().expect("refused");
            error.to_string()
        };
        assert!(refused(options(0, "RANDOM", "")).contains("num_virtual_tokens: expected 1 to 8"));
        assert!(refused(options(9, "RANDOM", "")).contains("half the context"));
        assert!(refused(options(3, "TEXT", "")).contains("prompt_tuning_init_text"));
        assert!(refused(options(3, "RANDOM", "Hi")).contains("expected TEXT"));
        assert!(refused(options(3, "random", "")).contains("RANDOM or TEXT"));
    }
}
