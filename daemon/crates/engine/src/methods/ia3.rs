//! IA3 (Liu et al. 2022) as PEFT has it: learned vectors that multiply what some linear layers give, and what others take.

use autodidact_domain::TrainOptions;
use serde_json::{Value as Json, json};

use super::plan::Initial;
use super::settings::Settings;
use super::target::{Target, names_of, select};
use super::{Method, Plan, Recipe, SettingsOf};
use crate::EngineError;
use crate::models::config::ModelConfig;

pub(super) const METHOD: Method = Method {
    name: "ia3",
    settings: SettingsOf::Peft("IA3"),
    head_prefix: "base_model.model.",
    from_options: |options, config| Ok(Box::new(Ia3::new(of_options(options), config)?)),
    from_settings: |settings, config| Ok(Box::new(Ia3::new(of_settings(settings)?, config)?)),
};

/// The families for which PEFT takes the first of [`DEFAULT_TARGETS`] where nothing is said; for others it takes the second.
const SCALES_KEYS: [&str; 2] = ["llama", "mistral"];
const DEFAULT_TARGETS: [[&str; 3]; 2] = [
    ["k_proj", "v_proj", "down_proj"],
    ["q_proj", "v_proj", "down_proj"],
];
const DEFAULT_FEED_FORWARD: Target = Target::Down;
/// The layers whose input no other layer takes, so that it can be scaled for them alone.
const OWN_INPUT: [Target; 2] = [Target::O, Target::Down];
/// As in `lora.rs`.
const NEUTRAL: &[(&str, &[&str])] = &[
    ("fan_in_fan_out", &["null", "false"]),
    ("modules_to_save", &["null", "[]"]),
    ("exclude_modules", &["null", "[]"]),
];

/// What the method is told.
struct Told {
    target_modules: Vec<String>,
    /// Those of them whose input is scaled; none for the default.
    feedforward_modules: Option<Vec<String>>,
    /// Whether vectors begin as ones, so that nothing changes at first.
    init_ia3_weights: bool,
}

fn of_options(options: &TrainOptions) -> Told {
    Told {
        target_modules: options.target_modules.clone(),
        feedforward_modules: Some(options.feedforward_modules.clone())
            .filter(|modules| !modules.is_empty()),
        init_ia3_weights: options.init_ia3_weights,
    }
}

fn of_settings(settings: &Json) -> Result<Told, EngineError> {
    let settings = Settings(settings);
    settings.refuse_others(NEUTRAL)?;
    Ok(Told {
        target_modules: settings.some_modules("target_modules")?,
        feedforward_modules: Some(settings.modules("feedforward_modules")?),
        init_ia3_weights: settings.flag("init_ia3_weights", true)?,
    })
}

/// A checked configuration on a model.
struct Ia3 {
    target_names: Vec<String>,
    feed_forward_names: Vec<String>,
    init_ia3_weights: bool,
    plan: Plan,
}

impl Ia3 {
    /// Checks a configuration.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] when a module names no layer, or a feed-forward module is no target or shares its input.
    fn new(told: Told, config: &ModelConfig) -> Result<Self, EngineError> {
        let targets = match told.target_modules.is_empty() {
            true => {
                let scales_keys = SCALES_KEYS.contains(&config.architecture.as_str());
                let default = DEFAULT_TARGETS[usize::from(!scales_keys)];
                default.map(String::from).to_vec()
            }
            false => told.target_modules,
        };
        let selection = select("target_modules", &targets, config)?;
        let feed_forward = match &told.feedforward_modules {
            None => {
                let chosen = selection.iter().copied();
                chosen
                    .filter(|(_, target)| *target == DEFAULT_FEED_FORWARD)
                    .collect()
            }
            Some(modules) if modules.is_empty() => Vec::new(),
            Some(modules) => select("feedforward_modules", modules, config)?,
        };
        for (layer, target) in &feed_forward {
            let path = target.path(*layer);
            if !selection.contains(&(*layer, *target)) {
                return Err(EngineError::Invalid(format!(
                    "feedforward_modules: expected some of target_modules, found {path}"
                )));
            }
            if !OWN_INPUT.contains(target) {
                let own = OWN_INPUT.map(Target::name).join(" or ");
                return Err(EngineError::Invalid(format!(
                    "feedforward_modules: expected {own}, whose input no other layer takes, found {path}"
                )));
            }
        }
        let mut plan = Plan::new(config);
        for (layer, target) in &selection {
            // PEFT draws the others normally; drawn evenly they have the same spread.
            let initial = match told.init_ia3_weights {
                true => Initial::Constant(1.0),
                false => Initial::Uniform(3f64.sqrt()),
            };
            let of_input = feed_forward.contains(&(*layer, *target));
            plan.add_scale(*layer, *target, target.widths(config), of_input, initial);
        }
        Ok(Self {
            target_names: names_of(&selection, config),
            feed_forward_names: names_of(&feed_forward, config),
            init_ia3_weights: told.init_ia3_weights,
            plan,
        })
    }
}

impl Recipe for Ia3 {
    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn adapter_config(&self, base_model: &str) -> Json {
        json!({
            "peft_type": "IA3",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base_model,
            "target_modules": self.target_names,
            "feedforward_modules": self.feed_forward_names,
            "fan_in_fan_out": false,
            "modules_to_save": null,
            "init_ia3_weights": self.init_ia3_weights,
            "inference_mode": true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::config;
    use super::super::{from_options, from_settings};
    use super::*;

    fn options(targets: &[&str], feed_forward: &[&str]) -> TrainOptions {
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
        TrainOptions {
            method: "ia3".into(),
            target_modules: names(targets),
            feedforward_modules: names(feed_forward),
            ..TrainOptions::default()
        }
    }

    #[test]
    fn vectors_have_pefts_keys_shapes_and_targets() {
        let recipe = from_options(&options(&[], &[]), &config()).unwrap();
        let settings = recipe.adapter_config("tiny");
        let expected = json!(["k_proj", "v_proj", "down_proj"]);
        assert_eq!(settings["target_modules"], expected);
        assert_eq!(settings["feedforward_modules"], json!(["down_proj"]));
        let zeros = vec![vec![0.0; 4 + 4 + 20]; 2];
        let tensors = recipe.plan().to_tensors("", &zeros);
        let shapes: Vec<(&str, &[usize])> = tensors[..3]
            .iter()
            .map(|tensor| (tensor.name.as_str(), &tensor.shape[..]))
            .collect();
        let first = "base_model.model.model.layers.0.";
        let expected = [
            (format!("{first}mlp.down_proj.ia3_l"), vec![1, 20]),
            (format!("{first}self_attn.k_proj.ia3_l"), vec![4, 1]),
            (format!("{first}self_attn.v_proj.ia3_l"), vec![4, 1]),
        ];
        for ((name, shape), (want, wanted)) in shapes.iter().zip(&expected) {
            assert_eq!((*name, shape.to_vec()), (want.as_str(), wanted.clone()));
        }
        let read = from_settings("ia3", &settings, &config()).unwrap();
        assert_eq!(read.adapter_config("tiny"), settings);
    }

    #[test]
    fn feed_forward_modules_must_be_targets_with_an_input_of_their_own() {
        let refused = |targets: &[&str], feed_forward: &[&str]| {
            let error = from_options(&options(targets, feed_forward), &config());
            error.err().expect("refused").to_string()
        };
        assert!(refused(&["k_proj"], &["down_proj"]).contains("target_modules"));
        assert!(refused(&["up_proj"], &["up_proj"]).contains("o_proj or down_proj"));
        assert!(refused(&["k_prj"], &[]).contains("k_proj"));
    }
}
