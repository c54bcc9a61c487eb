//! Bottleneck adapters (Houlsby et al. 2019, Pfeiffer et al. 2020) as AdapterHub's `adapters` has them on decoders without norms
//! after their parts: U(z) = up · act(down · z), added to what a part of the layer gives before that goes to the residual stream.
//!
//! `houlsby` (`double_seq_bn`) has one after attention and one after the feed-forward part, on what the part gives; `pfeiffer`
//! (`seq_bn`) has the second alone, on the residual stream with it.

use autodidact_domain::TrainOptions;
use serde_json::{Value as Json, json};

use super::layer_plan::{NonLinearity, Part};
use super::settings::{Settings, number};
use super::{Method, Plan, Recipe, SettingsOf};
use crate::EngineError;
use crate::models::config::ModelConfig;

pub(super) const METHOD: Method = Method {
    name: "adapter",
    settings: SettingsOf::AdapterHub,
    head_prefix: "",
    from_options: |options, config| Ok(Box::new(Bottleneck::new(of_options(options)?, config)?)),
    from_settings: |settings, config| {
        Ok(Box::new(Bottleneck::new(of_settings(settings)?, config)?))
    },
};

/// The adapter's name in its tensors' keys.
pub(crate) const NAME: &str = "default";
/// What `bottleneck` may be.
const FORMS: [&str; 2] = ["pfeiffer", "houlsby"];
/// What `non_linearity` may be.
const NON_LINEARITIES: [(&str, NonLinearity); 2] =
    [("relu", NonLinearity::Relu), ("swish", NonLinearity::Swish)];
/// Settings that change the arithmetic in ways that are not computed here, and the values under which they do not.
const NEUTRAL: &[(&str, &[&str])] = &[
    ("cross_adapter", &["null", "false"]),
    ("inv_adapter", &["null"]),
    ("is_parallel", &["null", "false"]),
    ("ln_after", &["null", "false"]),
    ("ln_before", &["null", "false"]),
    ("scaling", &["null", "1", "1.0"]),
    ("phm_layer", &["null", "false"]),
    ("use_gating", &["null", "false"]),
    ("stochastic_depth", &["null", "0", "0.0"]),
    ("adapter_residual_before_ln", &["null", "false"]),
    ("residual_before_ln", &["null", "true"]),
    ("leave_out", &["null", "[]"]),
    ("original_ln_after", &["null", "true"]),
    ("output_adapter", &["true"]),
];

/// What the method is told.
struct Told {
    /// After attention too.
    mh_adapter: bool,
    /// Whether the residual stream is added before the bottleneck.
    original_ln_before: bool,
    non_linearity: NonLinearity,
    reduction_factor: f32,
}

fn of_options(options: &TrainOptions) -> Result<Told, EngineError> {
    let invalid = |field: &str, expected: String, found: &str| {
        EngineError::Invalid(format!("{field}: expected {expected}, found {found:?}"))
    };
    let is_houlsby = match options.bottleneck.as_str() {
        "houlsby" => true,
        "pfeiffer" => false,
        other => return Err(invalid("bottleneck", FORMS.join(" or "), other)),
    };
    let non_linearity = match options.non_linearity.as_str() {
        "" if is_houlsby => NonLinearity::Swish,
        "" => NonLinearity::Relu,
        name => {
            let known = NON_LINEARITIES.iter().find(|(known, _)| *known == name);
            let names = NON_LINEARITIES.map(|(name, _)| name).join(" or ");
            known
                .ok_or_else(|| invalid("non_linearity", names, name))?
                .1
        }
    };
    Ok(Told {
        mh_adapter: is_houlsby,
        original_ln_before: !is_houlsby,
        non_linearity,
        reduction_factor: options.reduction_factor,
    })
}

fn of_settings(settings: &Json) -> Result<Told, EngineError> {
    let settings = Settings(&settings["config"]);
    settings.refuse_others(NEUTRAL)?;
    let names = NON_LINEARITIES.map(|(name, _)| name);
    let name = settings.choice("non_linearity", &names)?;
    let known = NON_LINEARITIES.iter().find(|(known, _)| *known == name);
    Ok(Told {
        mh_adapter: settings.flag("mh_adapter", false)?,
        original_ln_before: settings.flag("original_ln_before", false)?,
        non_linearity: known.map_or(NonLinearity::Relu, |(_, known)| *known),
        reduction_factor: settings.number("reduction_factor")?,
    })
}

/// A checked configuration on a model.
struct Bottleneck {
    told: Told,
    hidden_size: usize,
    plan: Plan,
}

impl Bottleneck {
    /// Checks a configuration.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] for a reduction that leaves no number, or widens.
    fn new(told: Told, config: &ModelConfig) -> Result<Self, EngineError> {
        let hidden = config.hidden_size;
        let factor = told.reduction_factor;
        if !(1.0..=hidden as f32).contains(&factor) {
            return Err(EngineError::Invalid(format!(
                "reduction_factor: expected 1 to {hidden} (the hidden size), found {factor}"
            )));
        }
        // As `adapters` rounds it.
        let width = (hidden as f32 / factor).floor() as usize;
        let mut plan = Plan::new(config);
        for layer in 0..config.layers {
            for part in Part::ALL {
                let (kind, reads_stream) = match part {
                    Part::Attention if !told.mh_adapter => continue,
                    Part::Attention => ("attention_adapters", false),
                    Part::FeedForward => ("output_adapters", told.original_ln_before),
                };
                let names =
                    |what: &str| format!("model.layers.{layer}.{kind}.adapters.{NAME}.{what}");
                let widths = (hidden, width);
                plan.add_bottleneck(
                    (layer, part),
                    &names,
                    widths,
                    told.non_linearity,
                    reads_stream,
                );
            }
        }
        Ok(Self {
            told,
            hidden_size: hidden,
            plan,
        })
    }
}

impl Recipe for Bottleneck {
    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn adapter_config(&self, base_model: &str) -> Json {
        let Told {
            mh_adapter,
            original_ln_before,
            non_linearity,
            reduction_factor,
        } = self.told;
        let name = NON_LINEARITIES
            .iter()
            .find(|(_, known)| *known == non_linearity);
        json!({
            "config": {
                "adapter_residual_before_ln": false,
                "cross_adapter": false,
                "factorized_phm_W": true,
                "factorized_phm_rule": false,
                "hypercomplex_nonlinearity": "glorot-uniform",
                "init_weights": "bert",
                "inv_adapter": null,
                "inv_adapter_reduction_factor": null,
                "is_parallel": false,
                "learn_phm": true,
                "leave_out": [],
                "ln_after": false,
                "ln_before": false,
                "mh_adapter": mh_adapter,
                "non_linearity": name.map_or("relu", |(name, _)| *name),
                "original_ln_after": true,
                "original_ln_before": original_ln_before,
                "output_adapter": true,
                "phm_bias": true,
                "phm_c_init": "normal",
                "phm_dim": 4,
                "phm_init_range": 0.0001,
                "phm_layer": false,
                "phm_rank": 1,
                "reduction_factor": number(reduction_factor),
                "residual_before_ln": true,
                "scaling": 1.0,
                "shared_W_phm": false,
                "shared_phm_rule": true,
                "stochastic_depth": 0.0,
                "use_gating": false,
            },
            "hidden_size": self.hidden_size,
            "model_name": base_model,
            "name": NAME,
            "version": "adapters.1.3.0",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::config;
    use super::super::{from_options, from_settings, method_of};
    use super::*;

    fn options(bottleneck: &str, reduction_factor: f32) -> TrainOptions {
        TrainOptions {
            method: "adapter".into(),
            bottleneck: bottleneck.into(),
            reduction_factor,
            ..TrainOptions::default()
        }
    }

    #[test]
    fn tensors_have_adapter_hubs_keys_and_shapes() {
        for (form, parts) in [("pfeiffer", 1), ("houlsby", 2)] {
            let recipe = from_options(&options(form, 5.0), &config()).unwrap();
            let settings = recipe.adapter_config("tiny");
            let read = from_settings("adapter", &settings, &config()).unwrap();
            assert_eq!(read.adapter_config("tiny"), settings);
            assert_eq!(method_of(&settings, &config()).unwrap().0, "adapter");
            let numbers = parts * (2 * 12 + 2 + 12 * 2 + 12);
            let slices = [vec![vec![0.0; numbers]; 2], vec![Vec::new()]].concat();
            let tensors = recipe.plan().to_tensors("", &slices);
            assert_eq!(tensors.len(), 2 * 4 * parts);
            let down = "model.layers.1.output_adapters.adapters.default.adapter_down.0.weight";
            let down = tensors.iter().find(|tensor| tensor.name == down);
            assert_eq!(down.expect("it is there").shape, [2, 12]);
        }
    }

    #[test]
    fn wrong_configurations_are_refused_with_what_was_expected() {
        let refused = |options: TrainOptions| {
            let error = from_options(&options, &config()).err().expect("refused");
            error.to_string()
        };
        assert!(refused(options("pfeifer", 4.0)).contains("pfeiffer or houlsby"));
        assert!(refused(options("pfeiffer", 13.0)).contains("reduction_factor: expected 1 to 12"));
        let mut wrong = options("houlsby", 4.0);
        wrong.non_linearity = "gelu".into();
        assert!(refused(wrong).contains("relu or swish"));
        let recipe = from_options(&options("houlsby", 4.0), &config()).unwrap();
        let mut settings = recipe.adapter_config("tiny");
        settings["config"]["is_parallel"] = true.into();
        let error = from_settings("adapter", &settings, &config()).err();
        assert!(error.expect("refused").to_string().contains("is_parallel"));
    }
}
