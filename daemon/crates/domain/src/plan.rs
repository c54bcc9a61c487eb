//! What a round asks for: quotas by task type and topic, temperatures, harder versions of what was kept, and how that changes
//! from round to round.

use serde::{Deserialize, Serialize};

use crate::chain::{OnPluginError, PluginTerms};
use crate::{Language, TaskType};

/// A share of the prompts, with what they ask for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quota {
    /// The language it holds for; none holds for all of the workflow's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<Language>,
    /// The form of task that is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_type: Option<TaskType>,
    /// What the tasks are about, in a word or a few.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Its weight beside the other quotas of the same language.
    pub share: f64,
    /// The sampling temperature of its prompts, where it is another than the stage's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
}

impl Quota {
    /// Tells whether a task of this kind is counted by it.
    pub fn counts(
        &self,
        language: Language,
        task_type: Option<TaskType>,
        topic: Option<&str>,
    ) -> bool {
        self.language.is_none_or(|own| own == language)
            && self.task_type.is_none_or(|own| Some(own) == task_type)
            && self.topic.as_deref().is_none_or(|own| Some(own) == topic)
    }
}

/// A share of the prompts that asks for a harder version of an instruction that was kept.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvolveSpec {
    /// The share in the first round, 0 to 1.
    pub share: f64,
    /// What is added to it in each round after; it ends at [`MAX_EVOLVE_SHARE`].
    pub growth: f64,
}

impl Default for EvolveSpec {
    fn default() -> Self {
        Self {
            share: 0.1,
            growth: 0.1,
        }
    }
}

/// The most of a round's prompts that ask for harder versions: without new ones the harder ones run dry.
pub const MAX_EVOLVE_SHARE: f64 = 0.8;

impl EvolveSpec {
    /// Computes the share of a round, counted from 1.
    pub fn share_of(&self, round: u32) -> f64 {
        let grown = self.share + self.growth * f64::from(round.saturating_sub(1));
        grown.clamp(0.0, MAX_EVOLVE_SHARE)
    }
}

/// How failures on the held-out tasks change the next round.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdaptSpec {
    /// How strongly quotas follow failures: a task type whose tasks all fail gets `1 + strength` times the weight of one whose
    /// tasks all succeed.
    pub strength: f64,
    /// The most that one task type may have of a round.
    pub max_share: f64,
    /// By how much a temperature rises or falls at once.
    pub temperature_step: f32,
}

impl Default for AdaptSpec {
    fn default() -> Self {
        Self {
            strength: 2.0,
            max_share: 0.5,
            temperature_step: 0.1,
        }
    }
}

/// What a round asks for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RoundPlan {
    /// The quotas; none asks for tasks of any kind.
    pub quotas: Vec<Quota>,
    /// The sampling temperature where a quota has none of its own.
    pub temperature: f32,
}

/// A change of plan, with its reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanChange {
    /// What changes: `quota en/classification`, `topic travel`, `temperature`.
    pub what: String,
    /// What it was.
    pub before: String,
    /// What it is from the next round on.
    pub after: String,
    /// Why.
    pub reason: String,
}

/// How a template's text is put before a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptStyle {
    /// As a text that the model goes on with, the next item's number open: for base models.
    #[default]
    Continue,
    /// As a user's turn that the model answers: for models that follow instructions.
    Chat,
}

/// A template for prompts that ask for new instructions. In every language it has [`TemplateText`]s with slots in braces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptTemplate {
    /// How it is put before a model.
    pub style: PromptStyle,
    /// For English.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub en: Option<TemplateText>,
    /// For Chinese.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zh: Option<TemplateText>,
}

/// A plugin that writes the prompts which ask for new instructions, and reads what comes back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TemplatePlugin {
    /// The installed plugin.
    pub name: String,
    /// Its configuration, a JSON object.
    pub config: serde_json::Value,
    /// What becomes of a prompt on which the plugin fails: it is dropped, or the workflow stops.
    pub on_error: OnPluginError,
    /// On what terms it takes part.
    #[serde(flatten)]
    pub terms: PluginTerms,
}

impl PromptTemplate {
    /// Finds a language's texts.
    pub fn of(&self, language: Language) -> Option<&TemplateText> {
        language.pick(self.en.as_ref(), self.zh.as_ref())
    }
}

/// A template's texts in one language.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateText {
    /// The whole prompt: `{examples}`, `{next}` (the first new item's number), `{label}`, `{guidance}`, `{count}`.
    pub request: String,
    /// An example in it: `{number}`, `{label}`, `{instruction}`, `{input}`, `{output}`.
    pub example: String,
    /// What stands in `{label}` where the kind of an item is known: `{kind}`. Empty where no items are labelled.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// What stands in `{guidance}` where a kind is asked for: `{kind}`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub guidance: String,
    /// Texts that end a completion.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_counts_what_it_asks_for() {
        let quota = |language, task_type, topic: Option<&str>| Quota {
            language,
            task_type,
            topic: topic.map(str::to_string),
            share: 1.0,
            temperature: None,
        };
        let code = Some(TaskType::Code);
        assert!(quota(None, None, None).counts(Language::En, None, None));
        assert!(quota(None, code, None).counts(Language::En, code, Some("games")));
        assert!(!quota(None, code, None).counts(Language::En, None, None));
        assert!(!quota(Some(Language::Zh), code, None).counts(Language::En, code, None));
        assert!(!quota(None, code, Some("games")).counts(Language::En, code, None));
    }

    #[test]
    fn the_harder_share_grows_and_ends() {
        let evolve = EvolveSpec {
            share: 0.2,
            growth: 0.25,
        };
        let shares: Vec<f64> = (1..=4).map(|round| evolve.share_of(round)).collect();
        assert_eq!(shares, [0.2, 0.45, 0.7, 0.8]);
    }
}
