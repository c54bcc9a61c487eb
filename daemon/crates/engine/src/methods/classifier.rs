//! A head that gives labels, beside whatever a method trains: that of transformers' models for sequence and token classification.
//!
//! It is one linear layer over the last norm, `score`, with a bias for tokens alone. In settings it is PEFT's `task_type`; the
//! names of the labels stand beside it as `labels`, since PEFT's own settings have no place for them.

use std::collections::BTreeSet;
use std::ops::Range;

use autodidact_domain::training::{MAX_LABELS, shown_labels};
use autodidact_domain::{TrainOptions, TrainTask};
use serde_json::{Value as Json, json};

use super::{Plan, Recipe};
use crate::EngineError;
use crate::models::config::ModelConfig;

/// What PEFT adds to `modules_to_save` of these tasks.
const SAVED_BY_PEFT: [&str; 2] = ["classifier", "score"];
/// The setting in which the labels' names stand.
pub(crate) const LABELS: &str = "labels";

/// What a head is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Labelling {
    /// A text's label or every word's.
    pub(crate) task: TrainTask,
    /// The labels by their numbers.
    pub(crate) labels: Vec<String>,
}

/// Where a head stands in the slice of what is outside of the layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClassifierPlan {
    /// How many labels.
    pub(crate) labels: usize,
    /// `[labels, hidden]`.
    pub(crate) weight: Range<usize>,
    /// `[labels]`.
    pub(crate) bias: Option<Range<usize>>,
}

impl Labelling {
    /// Reads a run's options; none for a task without a head.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] for labels that are too few, not distinct or out of place.
    pub(super) fn of_options(options: &TrainOptions) -> Result<Option<Self>, EngineError> {
        let (task, labels) = (options.task_type, options.labels.clone());
        if !task.has_head() {
            return match labels.is_empty() {
                true => Ok(None),
                false => Err(EngineError::Invalid(format!(
                    "labels: expected task_type SEQ_CLS or TOKEN_CLS beside them, found {}",
                    task.name()
                ))),
            };
        }
        Self::checked(task, labels).map(Some)
    }

    /// Reads an adapter's settings; none for a task without a head.
    ///
    /// # Errors
    /// [`EngineError::Adapter`] where the labels' names are missing or wrong.
    pub(super) fn of_settings(settings: &Json) -> Result<Option<Self>, EngineError> {
        let task = settings["task_type"]
            .as_str()
            .and_then(TrainTask::from_name);
        let Some(task) = task.filter(|task| task.has_head()) else {
            return Ok(None);
        };
        let names = settings[LABELS].as_array();
        let names = names.and_then(|names| {
            let names = names.iter().map(|name| Some(name.as_str()?.to_string()));
            names.collect::<Option<Vec<String>>>()
        });
        let names = names.ok_or_else(|| {
            let part = format!("adapter_config.{LABELS}");
            EngineError::adapter(part, "the labels' names", &settings[LABELS])
        })?;
        Self::checked(task, names).map(Some)
    }

    fn checked(task: TrainTask, labels: Vec<String>) -> Result<Self, EngineError> {
        let distinct: BTreeSet<&String> = labels.iter().collect();
        let is_right = (2..=MAX_LABELS).contains(&labels.len())
            && distinct.len() == labels.len()
            && labels.iter().all(|label| !label.trim().is_empty());
        match is_right {
            true => Ok(Self { task, labels }),
            false => Err(EngineError::Invalid(format!(
                "labels: expected 2 to {MAX_LABELS} different names for task_type {}, found {}",
                task.name(),
                match labels.len() {
                    0 => "none".to_string(),
                    _ => shown_labels(&labels),
                }
            ))),
        }
    }
}

/// Leaves of a headed adapter's settings what its method says, as it says it without a head.
pub(super) fn without_head(settings: &Json) -> Json {
    let mut settings = settings.clone();
    settings["task_type"] = json!(TrainTask::CausalLm.name());
    if let Json::Object(fields) = &mut settings {
        fields.remove(LABELS);
    }
    if let Json::Array(modules) = &mut settings["modules_to_save"] {
        modules.retain(|module| !SAVED_BY_PEFT.iter().any(|saved| module == saved));
        if modules.is_empty() {
            settings["modules_to_save"] = Json::Null;
        }
    }
    settings
}

/// A method's settings with a head beside what they train.
struct WithHead {
    recipe: Box<dyn Recipe>,
    labelling: Labelling,
    plan: Plan,
}

/// Puts a head on a method's model; its tensors' names begin with `prefix`.
///
/// # Errors
/// [`EngineError::Invalid`] where the method trains the output matrix, which such a model does not have.
pub(super) fn with_head(
    recipe: Box<dyn Recipe>,
    labelling: Option<Labelling>,
    prefix: &str,
    config: &ModelConfig,
) -> Result<Box<dyn Recipe>, EngineError> {
    let Some(labelling) = labelling else {
        return Ok(recipe);
    };
    let mut plan = recipe.plan().clone();
    let outside = plan.outside();
    if outside.head().is_some() && outside.head() != outside.embedding() {
        return Err(EngineError::Invalid(format!(
            "task_type: {} has a head of its labels in the place of lm_head; leave lm_head out",
            labelling.task.name()
        )));
    }
    let has_bias = labelling.task == TrainTask::TokenClassification;
    plan.add_classifier(prefix, labelling.labels.len(), config.hidden_size, has_bias);
    Ok(Box::new(WithHead {
        recipe,
        labelling,
        plan,
    }))
}

impl Recipe for WithHead {
    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn adapter_config(&self, base_model: &str) -> Json {
        let mut settings = self.recipe.adapter_config(base_model);
        settings["task_type"] = json!(self.labelling.task.name());
        settings[LABELS] = json!(self.labelling.labels);
        // Of LoRA alone: the others' settings have no such field in every PEFT, and all of them save the head anyway.
        if let Some(modules) = settings.get_mut("modules_to_save") {
            let own = modules.as_array().into_iter().flatten().cloned();
            let peft = SAVED_BY_PEFT.into_iter().map(Json::from);
            *modules = own.chain(peft).collect();
        }
        settings
    }

    fn labelling(&self) -> Option<&Labelling> {
        Some(&self.labelling)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::config;
    use super::super::{from_options, from_settings, method_of};
    use super::*;

    fn options(method: &str, task_type: TrainTask) -> TrainOptions {
        TrainOptions {
            method: method.into(),
            task_type,
            labels: ["no", "yes"].map(String::from).to_vec(),
            num_virtual_tokens: 3,
            reduction_factor: 4.0,
            ..TrainOptions::default()
        }
    }

    #[test]
    fn heads_have_pefts_names_with_every_method_and_come_back() {
        let check = |method: &str, prefix: &str| {
            for task in [
                TrainTask::SequenceClassification,
                TrainTask::TokenClassification,
            ] {
                let recipe = from_options(&options(method, task), &config()).expect(method);
                let zeros = recipe.plan().slices().into_iter();
                let zeros: Vec<_> = zeros.map(|slice| vec![0.0; slice.parameters()]).collect();
                let tensors = recipe.plan().to_tensors("", &zeros);
                let of_head = tensors
                    .iter()
                    .filter(|tensor| tensor.name.contains("score"));
                let of_head: Vec<(&str, &[usize])> = of_head
                    .map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice()))
                    .collect();
                let (bias, weight) = (
                    format!("{prefix}score.bias"),
                    format!("{prefix}score.weight"),
                );
                let expected: &[(&str, &[usize])] = match task {
                    TrainTask::TokenClassification => &[(&bias, &[2]), (&weight, &[2, 12])],
                    _ => &[(&weight, &[2, 12])],
                };
                assert_eq!(of_head, expected, "{method}");
                let settings = recipe.adapter_config("tiny");
                assert_eq!(settings["task_type"], task.name());
                let read = from_settings(method, &settings, &config()).expect(method);
                assert_eq!(read.adapter_config("tiny"), settings);
                assert_eq!(read.labelling(), recipe.labelling());
                let named = method_of(&settings, &config()).expect(method).0;
                assert_eq!(named, method.trim_start_matches('q'));
            }
        };
        for method in ["lora", "qlora", "ia3"] {
            check(method, "base_model.model.");
        }
        check("prompt", "base_model.");
        check("prefix", "base_model.");
        check("adapter", "");
        check("full", "");
    }

    #[test]
    fn wrong_labels_are_refused_with_what_was_expected() {
        let check = |change: &dyn Fn(&mut TrainOptions), expect: &str| {
            let mut options = options("lora", TrainTask::SequenceClassification);
            change(&mut options);
            let error = from_options(&options, &config()).err().expect("refused");
            assert!(error.to_string().contains(expect), "{error}");
        };
        check(&|o| o.labels.clear(), "labels: expected 2 to 1000");
        check(&|o| o.labels.truncate(1), "found no");
        check(&|o| o.labels.push("no".into()), "found no, yes, no");
        check(
            &|o| o.task_type = TrainTask::CausalLm,
            "labels: expected task_type SEQ_CLS or TOKEN_CLS",
        );
        check(
            &|o| o.modules_to_save = vec!["lm_head".into()],
            "leave lm_head out",
        );
    }

    #[test]
    fn full_training_of_a_headed_model_leaves_the_output_matrix_alone() {
        for tie_word_embeddings in [true, false] {
            let config = ModelConfig {
                tie_word_embeddings,
                ..config()
            };
            let full = options("full", TrainTask::SequenceClassification);
            let recipe = from_options(&full, &config).expect("valid");
            let settings = recipe.adapter_config("tiny");
            let modules = settings["modules"].as_array().expect("modules");
            assert!(modules.contains(&json!("model.embed_tokens")));
            assert!(!modules.contains(&json!("lm_head")));
            assert!(from_settings("full", &settings, &config).is_ok());
        }
    }
}
