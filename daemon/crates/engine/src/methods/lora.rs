//! LoRA (Hu et al. 2021) as PEFT has it: W + s·B·A for every target layer, s = lora_alpha / r.
//!
//! Variants: rank-stabilised scales (`use_rslora`, Kalajdzievski 2023), ranks and scales of their own for some layers
//! (`rank_pattern`, `alpha_pattern`), trained biases (`bias`), modules that are trained whole (`modules_to_save`), and weights decomposed into magnitude and direction
//! (`use_dora`, Liu et al. 2024). In training with dropout, DoRA drops what its update takes alone, where PEFT drops what W takes
//! too; what is learned has the same meaning.

use std::collections::BTreeMap;

use autodidact_domain::TrainOptions;
use serde_json::{Value as Json, json};

use super::module::{Module, select_by_suffix};
use super::settings::{Settings, number};
use super::target::{KEY_PREFIX, Patterns, Target, names_of, select};
use super::{Method, Plan, Recipe, SettingsOf};
use crate::EngineError;
use crate::models::config::ModelConfig;

pub(super) const METHOD: Method = Method {
    name: "lora",
    settings: SettingsOf::Peft("LORA"),
    head_prefix: "base_model.model.",
    from_options: |options, config| Ok(Box::new(Lora::new(of_options(options), config)?)),
    from_settings: |settings, config| Ok(Box::new(Lora::new(of_settings(settings)?, config)?)),
};

/// The same while the base stays quantised (QLoRA, Dettmers et al. 2023, in the quantisation of the base's own file).
pub(super) const QUANTISED: Method = Method {
    name: "qlora",
    ..METHOD
};

/// The greatest rank that is taken; beyond it a request is surely a mistake.
const MAX_RANK: u32 = 4096;
/// Where nothing is said: PEFT's choice for Llama and most of its relatives.
const DEFAULT_TARGETS: [&str; 2] = ["q_proj", "v_proj"];
/// What `bias` may be; the first is the default.
const BIASES: [&str; 3] = ["none", "lora_only", "all"];
/// Settings of `adapter_config.json` that change the arithmetic in ways that are not computed here, and the values under which
/// they do not.
const NEUTRAL: &[(&str, &[&str])] = &[
    ("fan_in_fan_out", &["null", "false"]),
    ("layers_pattern", &["null", "[]"]),
    ("layer_replication", &["null", "[]"]),
    ("exclude_modules", &["null", "[]"]),
    ("target_parameters", &["null", "[]"]),
    ("trainable_token_indices", &["null", "[]", "{}"]),
    ("lora_bias", &["null", "false"]),
    ("use_qalora", &["null", "false"]),
    ("use_bdlora", &["null", "false"]),
    ("alora_invocation_tokens", &["null"]),
    ("arrow_config", &["null"]),
    ("kasa_config", &["null"]),
    ("velora_config", &["null"]),
    ("monteclora_config", &["null"]),
    // Others, such as `pissa`, change the base's weights when PEFT loads the adapter.
    (
        "init_lora_weights",
        &["null", "true", "false", "\"gaussian\""],
    ),
];

/// What the method is told.
struct Told {
    r: u32,
    lora_alpha: f32,
    use_rslora: bool,
    use_dora: bool,
    lora_dropout: f32,
    bias: String,
    target_modules: Vec<String>,
    modules_to_save: Vec<String>,
    rank_pattern: BTreeMap<String, f32>,
    alpha_pattern: BTreeMap<String, f32>,
    /// The decoder layers that are adapted; none where all are.
    layers: Option<Vec<usize>>,
}

fn of_options(options: &TrainOptions) -> Told {
    let ranks = options.rank_pattern.iter();
    Told {
        r: options.r,
        lora_alpha: options.lora_alpha,
        use_rslora: options.use_rslora,
        use_dora: options.use_dora,
        lora_dropout: options.lora_dropout,
        bias: options.bias.clone(),
        target_modules: options.target_modules.clone(),
        modules_to_save: options.modules_to_save.clone(),
        rank_pattern: ranks
            .map(|(key, rank)| (key.clone(), *rank as f32))
            .collect(),
        alpha_pattern: options.alpha_pattern.clone(),
        layers: None,
    }
}

fn of_settings(settings: &Json) -> Result<Told, EngineError> {
    let settings = Settings(settings);
    settings.refuse_others(NEUTRAL)?;
    Ok(Told {
        r: settings.count("r", MAX_RANK)?,
        lora_alpha: settings.number("lora_alpha")?,
        use_rslora: settings.flag("use_rslora", false)?,
        use_dora: settings.flag("use_dora", false)?,
        // Of training alone.
        lora_dropout: 0.0,
        bias: settings.choice("bias", &BIASES)?,
        target_modules: settings.some_modules("target_modules")?,
        modules_to_save: settings.modules("modules_to_save")?,
        rank_pattern: settings.patterns("rank_pattern")?,
        alpha_pattern: settings.patterns("alpha_pattern")?,
        layers: settings.layers("layers_to_transform")?,
    })
}

/// A checked configuration on a model.
struct Lora {
    told: Told,
    /// As PEFT reads them.
    target_names: Vec<String>,
    plan: Plan,
}

impl Lora {
    /// Checks a configuration.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] when a rank is 0 or absurd, a `lora_alpha` is no number above 0, `lora_dropout` is not in
    /// [0, 1), `bias` is unknown, or a module or pattern names no layer or is no regular expression.
    fn new(mut told: Told, config: &ModelConfig) -> Result<Self, EngineError> {
        let invalid = |message: String| Err(EngineError::Invalid(message));
        if !(0.0..1.0).contains(&told.lora_dropout) {
            return invalid(format!(
                "lora_dropout: expected a number from 0 to below 1, found {}",
                told.lora_dropout
            ));
        }
        if !BIASES.contains(&told.bias.as_str()) {
            let expected = BIASES.join(", ");
            return invalid(format!(
                "bias: expected one of {expected}, found {:?}",
                told.bias
            ));
        }
        if told.target_modules.is_empty() {
            told.target_modules = DEFAULT_TARGETS.map(String::from).to_vec();
        }
        let mut selection = select("target_modules", &told.target_modules, config)?;
        if let Some(layers) = &told.layers {
            selection.retain(|(layer, _)| layers.contains(layer));
        }
        let mut plan = Plan::new(config);
        let ranks = Patterns::new(
            "rank_pattern",
            told.rank_pattern.iter().map(|(k, v)| (k, *v)),
        )?;
        let alphas = told.alpha_pattern.iter().map(|(k, v)| (k, *v));
        let alphas = Patterns::new("alpha_pattern", alphas)?;
        for (layer, target) in &selection {
            let paths = target.paths(*layer, config);
            let rank = match ranks.find(&paths)? {
                Some(rank) => checked_rank("rank_pattern", f64::from(rank))?,
                None => checked_rank("r", f64::from(told.r))?,
            };
            let alpha = match alphas.find(&paths)? {
                Some(alpha) => checked_alpha("alpha_pattern", alpha)?,
                None => checked_alpha("lora_alpha", told.lora_alpha)?,
            };
            let scale = scale(alpha, rank, told.use_rslora);
            let widths = target.widths(config);
            let place = (*layer, *target);
            plan.add_low_rank(place, widths, rank, scale, told.lora_dropout);
            if told.use_dora {
                plan.add_magnitude(*layer, *target, widths.1);
            }
        }
        let saved = match told.modules_to_save.as_slice() {
            [] => Vec::new(),
            entries => select_by_suffix("modules_to_save", entries, config)?,
        };
        for module in &saved {
            if let Module::Linear(layer, target) = module
                && selection.contains(&(*layer, *target))
            {
                return invalid(format!(
                    "modules_to_save: expected modules that are not target_modules too, found {}",
                    target.path(*layer)
                ));
            }
            plan.add_module(*module, config, KEY_PREFIX);
        }
        for layer in 0..config.layers {
            let is_whole = |target| saved.contains(&Module::Linear(layer, target));
            let targets = Target::ALL.into_iter();
            for target in targets.filter(|t| t.has_bias(config) && !is_whole(*t)) {
                let outputs = target.widths(config).1;
                match selection.contains(&(layer, target)) {
                    true if told.bias != "none" => {
                        let name = target.key(layer, "base_layer.bias");
                        plan.add_bias(layer, target, outputs, name);
                    }
                    false if told.bias == "all" => {
                        plan.add_bias(layer, target, outputs, target.key(layer, "bias"));
                    }
                    _ => {}
                }
            }
        }
        Ok(Self {
            target_names: names_of(&selection, config),
            told,
            plan,
        })
    }
}

impl Recipe for Lora {
    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn adapter_config(&self, base_model: &str) -> Json {
        let Told {
            rank_pattern,
            alpha_pattern,
            ..
        } = &self.told;
        let numbers = |pattern: &BTreeMap<String, f32>| -> BTreeMap<String, Json> {
            let entries = pattern.iter();
            entries
                .map(|(key, value)| (key.clone(), number(*value)))
                .collect()
        };
        json!({
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base_model,
            "r": self.told.r,
            "lora_alpha": number(self.told.lora_alpha),
            "lora_dropout": number(self.told.lora_dropout),
            "target_modules": self.target_names,
            "bias": self.told.bias,
            "fan_in_fan_out": false,
            "modules_to_save": match self.told.modules_to_save.as_slice() {
                [] => Json::Null,
                modules => json!(modules),
            },
            "rank_pattern": numbers(rank_pattern),
            "alpha_pattern": numbers(alpha_pattern),
            "use_rslora": self.told.use_rslora,
            "use_dora": self.told.use_dora,
            "inference_mode": true,
        })
    }
}

fn checked_rank(field: &str, rank: f64) -> Result<usize, EngineError> {
    match rank.fract() == 0.0 && (1.0..=f64::from(MAX_RANK)).contains(&rank) {
        true => Ok(rank as usize),
        false => Err(EngineError::Invalid(format!(
            "{field}: expected 1 to {MAX_RANK}, found {rank}"
        ))),
    }
}

fn checked_alpha(field: &str, alpha: f32) -> Result<f32, EngineError> {
    match alpha.is_finite() && alpha > 0.0 {
        true => Ok(alpha),
        false => Err(EngineError::Invalid(format!(
            "{field}: expected a number above 0, found {alpha}"
        ))),
    }
}

/// Tells what multiplies updates of a rank: lora_alpha / r, or lora_alpha / sqrt(r) where they are rank-stabilised.
fn scale(lora_alpha: f32, rank: usize, use_rslora: bool) -> f32 {
    match use_rslora {
        true => lora_alpha / (rank as f32).sqrt(),
        false => lora_alpha / rank as f32,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::config;
    use super::super::{from_options, from_settings};
    use super::*;
    use crate::models::family::Variant;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    fn options(target_modules: &[&str]) -> TrainOptions {
        TrainOptions {
            target_modules: names(target_modules),
            ..TrainOptions::default()
        }
    }

    fn recipe(options: &TrainOptions) -> Box<dyn Recipe> {
        from_options(options, &config()).expect("valid")
    }

    #[test]
    fn wrong_configurations_are_refused_with_what_was_expected() {
        let check = |change: &dyn Fn(&mut TrainOptions), expect: &str| {
            let mut options = options(&["q_proj"]);
            change(&mut options);
            let error = from_options(&options, &config()).err().expect("refused");
            assert!(error.to_string().contains(expect), "{error}");
        };
        check(&|o| o.r = 0, "r: expected 1");
        check(&|o| o.lora_alpha = f32::NAN, "lora_alpha");
        check(&|o| o.lora_dropout = 1.0, "lora_dropout");
        check(&|o| o.bias = "some".into(), "bias: expected one of none");
        check(
            &|o| o.method = "lroa".into(),
            "method: expected one of lora",
        );
        let key = || "q_proj".to_string();
        check(
            &|o| o.rank_pattern = [(key(), 0)].into(),
            "rank_pattern: expected 1",
        );
        check(
            &|o| o.alpha_pattern = [(key(), -1.0)].into(),
            "alpha_pattern",
        );
    }

    #[test]
    fn tensors_have_pefts_keys_and_shapes_and_come_back() {
        let plan = |r, targets: &[&str]| {
            let options = TrainOptions {
                r,
                ..options(targets)
            };
            recipe(&options).plan().clone()
        };
        let whole = plan(2, &["v_proj", "q_proj", "down_proj", "q_proj"]);
        let values = whole.layers().iter().enumerate().map(|(layer, plan)| {
            let numbers = (0..plan.parameters()).map(|i| (i * 7 + layer) as f32);
            numbers.collect::<Vec<f32>>()
        });
        // Nothing outside of the layers.
        let values: Vec<Vec<f32>> = values.chain([Vec::new()]).collect();
        let tensors = whole.to_tensors("", &values);
        assert_eq!(tensors.len(), 2 * 3 * 2);
        assert!(tensors.windows(2).all(|pair| pair[0].name < pair[1].name));
        let shape = |name: &str| {
            let tensor = tensors.iter().find(|tensor| tensor.name == name);
            tensor.expect(name).shape.clone()
        };
        assert_eq!(
            shape("base_model.model.model.layers.1.self_attn.v_proj.lora_A.weight"),
            [2, 12]
        );
        assert_eq!(
            shape("base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight"),
            [4, 2]
        );
        assert_eq!(
            shape("base_model.model.model.layers.0.mlp.down_proj.lora_A.weight"),
            [2, 20]
        );
        assert_eq!(whole.read_tensors("", &tensors).expect("they fit"), values);
        assert!(whole.read_tensors("", &tensors[1..]).is_err());
        assert!(plan(3, &["q_proj"]).read_tensors("", &tensors).is_err());
        assert!(plan(2, &["q_proj"]).read_tensors("", &tensors).is_err());
    }

    #[test]
    fn layers_have_ranks_and_scales_of_their_own() {
        let mut options = options(&["q_proj", "v_proj"]);
        options.rank_pattern.insert(r"layers\.1\..*".into(), 2);
        options.alpha_pattern.insert("v_proj".into(), 4.0);
        let recipe = recipe(&options);
        let of = |layer: usize, target| {
            let linear = recipe.plan().layer(layer).linear(target);
            let update = linear.low_rank.as_ref().expect("an update");
            (update.rank, update.scale)
        };
        assert_eq!(of(0, Target::Q), (8, 2.0));
        assert_eq!(of(1, Target::Q), (2, 8.0));
        assert_eq!(of(0, Target::V), (8, 0.5));
        assert_eq!(of(1, Target::V), (2, 2.0));
        let written = recipe.adapter_config("tiny");
        assert_eq!(written["rank_pattern"], json!({r"layers\.1\..*": 2}));
        assert_eq!(written["alpha_pattern"], json!({"v_proj": 4}));
        let read = from_settings("lora", &written, &config()).expect("its own settings");
        assert_eq!(read.adapter_config("tiny"), written);
        assert_eq!(read.plan().parameters(), recipe.plan().parameters());
    }

    #[test]
    fn rank_stabilised_updates_are_scaled_by_the_root_of_the_rank() {
        let mut options = TrainOptions {
            r: 16,
            lora_alpha: 8.0,
            ..options(&["q_proj"])
        };
        let scale = |options: &TrainOptions| {
            let recipe = recipe(options);
            let linear = recipe.plan().layer(0).linear(Target::Q).clone();
            linear.low_rank.expect("an update").scale
        };
        assert_eq!(scale(&options), 0.5);
        options.use_rslora = true;
        assert_eq!(scale(&options), 2.0);
        assert_eq!(recipe(&options).adapter_config("tiny")["use_rslora"], true);
    }

    #[test]
    fn biases_are_trained_where_the_family_has_them() {
        let mut options = options(&["q_proj", "o_proj"]);
        let biased = ModelConfig {
            variant: Variant {
                qkv_bias: true,
                ..Variant::default()
            },
            ..config()
        };
        let biases = |options: &TrainOptions, config: &ModelConfig| -> Vec<String> {
            let recipe = from_options(options, config).expect("valid");
            let zeros = recipe.plan().layers().iter();
            let zeros: Vec<_> = zeros.map(|layer| vec![0.0; layer.parameters()]).collect();
            let tensors = recipe.plan().to_tensors("", &zeros).into_iter();
            let names = tensors.map(|tensor| tensor.name);
            let first = "base_model.model.model.layers.0.self_attn.";
            names
                .filter_map(|name| Some(name.strip_prefix(first)?.to_string()))
                .filter(|name| name.ends_with("bias"))
                .collect()
        };
        assert!(biases(&options, &biased).is_empty());
        options.bias = "lora_only".into();
        assert_eq!(biases(&options, &biased), ["q_proj.base_layer.bias"]);
        options.bias = "all".into();
        let all = ["k_proj.bias", "q_proj.base_layer.bias", "v_proj.bias"];
        assert_eq!(biases(&options, &biased), all);
        assert!(biases(&options, &config()).is_empty());
    }

    #[test]
    fn the_adapter_configuration_has_pefts_fields_and_no_others() {
        let options = TrainOptions {
            lora_dropout: 0.1,
            ..options(&["v_proj", "q_proj"])
        };
        let config = recipe(&options).adapter_config("smollm2");
        assert_eq!(config["lora_alpha"].to_string(), "16");
        assert_eq!(config["lora_dropout"].to_string(), "0.1");
        assert_eq!(config["target_modules"], json!(["q_proj", "v_proj"]));
        let fields = config.as_object().expect("an object");
        let mut fields: Vec<&str> = fields.keys().map(String::as_str).collect();
        fields.sort_unstable();
        let mut want = vec![
            "peft_type",
            "task_type",
            "base_model_name_or_path",
            "r",
            "lora_alpha",
            "lora_dropout",
            "target_modules",
            "bias",
            "fan_in_fan_out",
            "modules_to_save",
            "rank_pattern",
            "alpha_pattern",
            "use_rslora",
            "use_dora",
            "inference_mode",
        ];
        want.sort_unstable();
        assert_eq!(fields, want);
    }
}
