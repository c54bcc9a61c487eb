//! Lays prompts out by templates.

use autodidact_domain::workflow::{GenerateSpec, PromptStyle, PromptTemplate, TemplateText};
use autodidact_domain::{Example, Language, Message, Prompt, TaskType};

use crate::error::FlowError;
use crate::prompts::flatten;
use crate::report::task_type_name;
use crate::spec::builtin_template;

/// Instructions that a request to a model asks for at once.
const ASKED: usize = 8;

/// What a prompt asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Kind<'a> {
    pub(crate) task_type: Option<TaskType>,
    pub(crate) topic: Option<&'a str>,
}

impl Kind<'_> {
    /// Shows it in words: `classification | travel`; none where nothing is known.
    fn shown(&self, language: Language) -> Option<String> {
        let task_type = self
            .task_type
            .map(|task_type| task_type_name(language, task_type.name()).replace('_', " "));
        match (task_type, self.topic) {
            (Some(task_type), Some(topic)) => Some(format!("{task_type} | {topic}")),
            (task_type, topic) => task_type.or_else(|| topic.map(str::to_string)),
        }
    }
}

/// Finds a stage's template.
///
/// # Errors
/// [`FlowError::Stopped`] where it has no texts for a language of the workflow.
pub(crate) fn template_of(
    spec: &GenerateSpec,
    languages: &[Language],
) -> Result<PromptTemplate, FlowError> {
    let template = spec.custom_template.clone();
    let template = template.or_else(|| builtin_template(&spec.template));
    let template = template.ok_or_else(|| {
        FlowError::Stopped(format!(
            "stages.generate.template: {:?} is not a template that this daemon knows",
            spec.template
        ))
    })?;
    match languages
        .iter()
        .find(|language| template.of(**language).is_none())
    {
        None => Ok(template),
        Some(language) => Err(FlowError::Stopped(format!(
            "stages.generate.custom_template: it has no texts for {language}, one of the workflow's languages"
        ))),
    }
}

/// Lays a request out: the examples in their order, then what is asked for.
pub(crate) fn lay_out(
    style: PromptStyle,
    text: &TemplateText,
    language: Language,
    examples: &[&Example],
    asked: Option<Kind<'_>>,
) -> Prompt {
    let label = |kind: Kind<'_>| match (asked, kind.shown(language)) {
        (Some(_), Some(shown)) => text.label.replace("{kind}", &shown),
        _ => String::new(),
    };
    let mut laid_out = String::new();
    for (i, example) in examples.iter().enumerate() {
        let kind = Kind {
            task_type: example.task_type,
            topic: example.topic.as_deref(),
        };
        laid_out.push_str(&fill(
            &text.example,
            &[
                ("{number}", &(i + 1).to_string()),
                ("{label}", &label(kind)),
                ("{instruction}", &flatten(&example.body.instruction_text())),
                ("{input}", &flatten(example.body.input_text())),
                ("{output}", &flatten(&example.body.output_text())),
            ],
        ));
    }
    let kind = asked.unwrap_or_default();
    let guidance = kind
        .shown(language)
        .map(|shown| text.guidance.replace("{kind}", &shown));
    let prompt = fill(
        &text.request,
        &[
            ("{examples}", &laid_out),
            ("{next}", &(examples.len() + 1).to_string()),
            ("{label}", &label(kind)),
            ("{guidance}", &guidance.unwrap_or_default()),
            ("{count}", &ASKED.to_string()),
        ],
    );
    match style {
        PromptStyle::Continue => Prompt::Text(prompt),
        PromptStyle::Chat => Prompt::Chat(vec![Message::user(prompt)]),
    }
}

/// Puts values in a text's slots, each slot once and from left to right, so that what a value says is never a slot.
fn fill(text: &str, slots: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        filled.push_str(&rest[..open]);
        rest = &rest[open..];
        match slots.iter().find(|(slot, _)| rest.starts_with(slot)) {
            Some((slot, value)) => {
                filled.push_str(value);
                rest = &rest[slot.len()..];
            }
            None => {
                filled.push('{');
                rest = &rest[1..];
            }
        }
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use autodidact_domain::Body;

    use super::*;

    fn example(instruction: &str, task_type: TaskType, topic: &str) -> Example {
        Example {
            task_type: Some(task_type),
            topic: Some(topic.to_string()),
            ..Example::human(Body::instruction(instruction, "", "x"))
        }
    }

    fn prompt(name: &str, language: Language, asked: Option<Kind<'_>>) -> String {
        let template = builtin_template(name).unwrap();
        let text = template.of(language).unwrap();
        let examples = [
            example("Name a {next} fruit.", TaskType::QuestionAnswering, "food"),
            example("Is it\na city?", TaskType::Classification, "travel"),
        ];
        let examples: Vec<&Example> = examples.iter().collect();
        match lay_out(template.style, text, language, &examples, asked) {
            Prompt::Text(text) => text,
            Prompt::Chat(messages) => messages[0].content.clone(),
        }
    }

    const ASKED_FOR: Kind<'static> = Kind {
        task_type: Some(TaskType::Translation),
        topic: Some("music"),
    };

    #[test]
    fn the_list_without_quotas_is_the_numbered_list_of_the_paper() {
        assert_eq!(
            prompt("list", Language::En, None),
            "Come up with a series of different tasks:\n\n1. Name a {next} fruit.\n2. Is it a city?\n3."
        );
        assert_eq!(
            prompt("list", Language::Zh, None),
            "请想出一系列各不相同的任务：\n\n1. Name a {next} fruit.\n2. Is it a city?\n3."
        );
    }

    #[test]
    fn the_list_with_a_quota_says_the_kind_of_each_item() {
        assert_eq!(
            prompt("list", Language::En, Some(ASKED_FOR)),
            "Come up with a series of different tasks:\n\n1. [question answering | food] Name a {next} fruit.\n2. [classification | travel] Is it a city?\n3. [translation | music]"
        );
        assert_eq!(
            prompt("list", Language::Zh, Some(ASKED_FOR)),
            "请想出一系列各不相同的任务：\n\n1. [问答 | food] Name a {next} fruit.\n2. [分类 | travel] Is it a city?\n3. [翻译 | music]"
        );
    }

    #[test]
    fn a_request_says_the_kind_in_words() {
        let english = prompt("alpaca", Language::En, Some(ASKED_FOR));
        assert!(
            english.contains("- All are of this kind: translation | music.\n"),
            "{english}"
        );
        assert!(
            english.contains("1. Name a {next} fruit.\n2. Is it a city?\n"),
            "{english}"
        );
        assert!(
            english.ends_with("as a numbered list from 3 on, one on a line, and nothing else.")
        );
        let chinese = prompt("alpaca", Language::Zh, Some(ASKED_FOR));
        assert!(
            chinese.contains("- 全部属于这一类：翻译 | music。\n"),
            "{chinese}"
        );
        assert!(!prompt("alpaca", Language::Zh, None).contains("属于这一类"));
    }
}
