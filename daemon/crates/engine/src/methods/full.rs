//! Training the weights themselves: all of them, or those of some modules.

use serde_json::{Value as Json, json};

use super::module::Module;
use super::settings::Settings;
use super::target::select_modules;
use super::{Method, Plan, Recipe, SettingsOf};
use crate::EngineError;
use crate::models::config::ModelConfig;

pub(super) const METHOD: Method = Method {
    name: "full",
    settings: SettingsOf::Weights,
    head_prefix: "",
    from_options: |options, config| {
        let entries = match options.target_modules.as_slice() {
            [] => Entries::All {
                has_head: options.task_type.has_head(),
            },
            entries => Entries::Some(entries),
        };
        Ok(Box::new(Full::new(entries, config)?))
    },
    from_settings: |settings, config| {
        let modules = Settings(settings).some_modules("modules")?;
        Ok(Box::new(Full::new(Entries::Some(&modules), config)?))
    },
};

/// What is trained.
enum Entries<'a> {
    /// Every module; a head of labels stands in the output matrix's place.
    All { has_head: bool },
    /// Modules by their names.
    Some(&'a [String]),
}

/// A checked configuration on a model.
struct Full {
    paths: Vec<String>,
    plan: Plan,
}

impl Full {
    /// Checks a configuration.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] when an entry means no module.
    fn new(entries: Entries<'_>, config: &ModelConfig) -> Result<Self, EngineError> {
        let mut selected = match entries {
            Entries::All { .. } => Module::all(config),
            Entries::Some(entries) => select_modules("target_modules", entries, config)?,
        };
        if let Entries::All { has_head: true } = entries {
            selected.retain(|module| *module != Module::Head);
        }
        let is_tied = config.tie_word_embeddings;
        let means_both = |module: &Module| matches!(module, Module::Embedding | Module::Head);
        // One matrix is both where they are tied.
        let has_both = is_tied && selected.iter().any(means_both);
        let kept = |module: &Module| !(is_tied && means_both(module));
        let mut modules: Vec<Module> = selected.into_iter().filter(kept).collect();
        if has_both {
            modules.insert(0, Module::Embedding);
        }
        let mut plan = Plan::new(config);
        for module in &modules {
            plan.add_module(*module, config, "");
        }
        if has_both {
            plan.tie_head();
        }
        let paths = modules.iter().map(|module| module.path(config));
        Ok(Self {
            paths: paths.collect(),
            plan,
        })
    }
}

impl Recipe for Full {
    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn adapter_config(&self, base_model: &str) -> Json {
        json!({
            "base_model_name_or_path": base_model,
            "modules": self.paths,
        })
    }
}

#[cfg(test)]
mod tests {
    use autodidact_domain::TrainOptions;

    use super::super::testing::config;
    use super::super::{from_options, from_settings};
    use super::*;

    fn names(targets: &[&str], is_tied: bool) -> Vec<String> {
        let config = ModelConfig {
            tie_word_embeddings: is_tied,
            ..config()
        };
        let options = TrainOptions {
            method: "full".into(),
            target_modules: targets.iter().map(|name| name.to_string()).collect(),
            ..TrainOptions::default()
        };
        let recipe = from_options(&options, &config).unwrap();
        let settings = recipe.adapter_config("tiny");
        let read = from_settings("full", &settings, &config).unwrap();
        assert_eq!(read.adapter_config("tiny"), settings);
        let plan = recipe.plan();
        let zeros = plan.slices().into_iter();
        let zeros: Vec<Vec<f32>> = zeros.map(|slice| vec![0.0; slice.parameters()]).collect();
        let tensors = plan.to_tensors("", &zeros).into_iter();
        tensors.map(|tensor| tensor.name).collect()
    }

    #[test]
    fn weights_have_hugging_faces_names_and_tied_ones_are_one() {
        // Seven matrices and two norms a layer, embedding and last norm.
        assert_eq!(names(&[], true).len(), 2 * 9 + 2);
        let untied = names(&[], false);
        assert_eq!(untied.len(), 2 * 9 + 3);
        assert!(untied.contains(&"lm_head.weight".to_string()));
        let chosen = [r"model\.layers\.1\.mlp\..*", "model.norm"];
        let expected = ["down", "gate", "up"];
        let expected = expected.map(|name| format!("model.layers.1.mlp.{name}_proj.weight"));
        let expected = [expected.as_slice(), &["model.norm.weight".into()]].concat();
        assert_eq!(names(&chosen, true), expected);
        assert_eq!(names(&["lm_head"], true), ["model.embed_tokens.weight"]);
    }
}
