//! Lays prompts out by templates, and reads what comes back.

use std::borrow::Cow;

use autodidact_domain::plugin::{TemplateCompletion, TemplateItem, TemplateRequest};
use autodidact_domain::verdict::Evidence;
use autodidact_domain::workflow::{GenerateSpec, PromptStyle, PromptTemplate, TemplateText};
use autodidact_domain::{
    Completion, Decision, Example, FinishReason, GenerateRequest, Language, Message, ModelRef,
    PluginKind, PluginRun, PortError, Prompt, Sampling, TaskType, Verdict,
};

use super::draft::{Content, Draft};
use super::{Item, OrDrop, evolve, parse_items};
use crate::error::FlowError;
use crate::journaled::Run;
use crate::plugins::{self, Bound};
use crate::prompts::{flatten, line_stops};
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

/// Writes the prompts of a stage, and reads what comes back.
#[derive(Clone)]
pub(crate) enum Template {
    /// By texts with slots.
    Texts(Box<PromptTemplate>),
    /// By a plugin.
    Plugin(Box<Bound>),
}

impl Template {
    /// Finds a stage's template.
    ///
    /// # Errors
    /// [`FlowError::Stopped`] where it has no texts for a language of the workflow, or is not there any more.
    pub(crate) fn of(run: &Run, spec: &GenerateSpec) -> Result<Self, FlowError> {
        if let Some(spec) = &spec.template_plugin {
            let plugin = plugins::find(&run.workflow.pinned.plugins, &spec.name)?;
            let kind = PluginKind::Template;
            let bound = Bound::new(plugin, kind, &spec.config, spec.on_error, &spec.terms);
            return Ok(Self::Plugin(Box::new(bound)));
        }
        let template = spec.custom_template.clone();
        let template = template.or_else(|| builtin_template(&spec.template));
        let template = template.ok_or_else(|| {
            FlowError::Stopped(format!(
                "stages.generate.template: {:?} is not a template that this daemon knows",
                spec.template
            ))
        })?;
        let languages = &run.spec().languages;
        match languages
            .iter()
            .find(|language| template.of(**language).is_none())
        {
            None => Ok(Self::Texts(Box::new(template))),
            Some(language) => Err(FlowError::Stopped(format!(
                "stages.generate.custom_template: it has no texts for {language}, one of the workflow's languages"
            ))),
        }
    }

    /// Finds what writes and reads now: where a plugin's new versions are followed, the one in force, which is the step's to its end.
    ///
    /// # Errors
    /// [`FlowError::Held`] where it is in quarantine.
    pub(super) fn now(&self, run: &Run) -> Result<Cow<'_, Self>, FlowError> {
        Ok(match self {
            Self::Texts(_) => Cow::Borrowed(self),
            Self::Plugin(bound) => match bound.now(run)? {
                Cow::Borrowed(_) => Cow::Borrowed(self),
                Cow::Owned(newer) => Cow::Owned(Self::Plugin(Box::new(newer))),
            },
        })
    }

    /// Writes prompts; a drop says why there is none.
    pub(super) fn write(
        &self,
        run: &Run,
        drafts: &[Draft<'_>],
    ) -> Result<Vec<OrDrop<GenerateRequest>>, FlowError> {
        let (style, mut written) = match self {
            Self::Texts(template) => {
                let written = new_ones(drafts)
                    .map(|(draft, examples)| Ok(laid_out(template, draft, examples)));
                (template.style, written.collect::<Vec<_>>())
            }
            Self::Plugin(bound) => {
                let requests: Vec<_> = new_ones(drafts)
                    .map(|(draft, examples)| asked_of_plugin(draft, examples))
                    .collect();
                let rendered = run.ports.plugins.render(&bound.call(run)?, &requests)?;
                let rendered = bound.settle(run, requests.len(), rendered)?;
                let written = rendered.into_iter().map(|rendered| match rendered {
                    Ok(rendered) => Ok(Ok((rendered.prompt, rendered.stop))),
                    Err(error) => failed(bound, error).map(Err),
                });
                let written = written.collect::<Result<Vec<_>, FlowError>>()?;
                // Harder versions are asked for in the form in which the plugin asks.
                let chats = |w: &Result<(Prompt, _), _>| matches!(w, Ok((Prompt::Chat(_), _)));
                let style = match written.iter().any(chats) {
                    true => PromptStyle::Chat,
                    false => PromptStyle::Continue,
                };
                (style, written)
            }
        };
        let mut written = written.drain(..);
        let prompts = drafts.iter().map(|draft| {
            let (prompt, stop) = match &draft.content {
                Content::Examples(_) => written.next().expect("one for each draft of its kind")?,
                Content::Harder(parent) => {
                    let instruction = parent.body.instruction_text();
                    let prompt = evolve::request(style, draft.language, &instruction);
                    (prompt, line_stops())
                }
            };
            let sampling = Sampling {
                stop,
                // A list goes on in its next line.
                early_end: match prompt {
                    Prompt::Text(_) => "\n".to_string(),
                    Prompt::Chat(_) => String::new(),
                },
                ..draft.sampling.clone()
            };
            Ok(GenerateRequest::new(prompt, sampling))
        });
        Ok(prompts.collect())
    }

    /// Asks a model for each prompt that there is. Of a plugin's prompts those that the model's chat template refuses are the plugin's
    /// failures; its own texts are refused as a whole.
    pub(super) fn ask(
        &self,
        run: &Run,
        model: &ModelRef,
        prompts: Vec<OrDrop<GenerateRequest>>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Vec<OrDrop<Completion>>, FlowError> {
        let requests: Vec<GenerateRequest> = prompts.iter().flatten().cloned().collect();
        let said = match (self, run.generate(model, requests.clone(), progress)) {
            (_, Ok(said)) => said.into_iter().map(Ok).collect(),
            (Self::Plugin(bound), Err(FlowError::Port(PortError::Invalid(_)))) => {
                let asked = requests.len();
                let each = requests.into_iter().map(|request| {
                    match run.generate(model, vec![request], progress) {
                        Ok(mut said) => Ok(Ok(said.remove(0))),
                        Err(FlowError::Port(PortError::Invalid(wrong))) => {
                            Ok(Err(format!("wrote a prompt that is refused: {wrong}")))
                        }
                        Err(error) => Err(error),
                    }
                });
                let each = each.collect::<Result<Vec<_>, FlowError>>()?;
                let each = bound.settle(run, asked, PluginRun::of(each))?.into_iter();
                each.map(|said| match said {
                    Ok(said) => Ok(Ok(said)),
                    Err(error) => failed(bound, error).map(Err),
                })
                .collect::<Result<Vec<_>, FlowError>>()?
            }
            (_, Err(error)) => return Err(error),
        };
        let mut said = said.into_iter();
        // A prompt that the template failed to write was never asked.
        let all = prompts
            .into_iter()
            .map(|prompt| prompt.and_then(|_| said.next().expect("one for each request")));
        Ok(all.collect())
    }

    /// Reads the items of what a model said to drafts; a drop says why they could not be read. Where nothing was said there are none.
    pub(super) fn read(
        &self,
        run: &Run,
        drafts: &[Draft<'_>],
        said: &[OrDrop<Completion>],
    ) -> Result<Vec<OrDrop<Vec<Item>>>, FlowError> {
        let said = drafts.iter().zip(said);
        match self {
            Self::Texts(template) => {
                let read = |(draft, said): (&Draft<'_>, &OrDrop<Completion>)| match said {
                    Ok(said) if draft.is_evolved() => read_harder(draft, said),
                    Ok(said) => read_list(template.style, draft, said),
                    Err(_) => Vec::new(),
                };
                Ok(said.map(|said| Ok(read(said))).collect())
            }
            Self::Plugin(bound) => {
                let completions: Vec<_> = said
                    .clone()
                    .filter_map(|(draft, said)| told_to_plugin(draft, said.as_ref().ok()?))
                    .collect();
                let parsed = run.ports.plugins.parse(&bound.call(run)?, &completions)?;
                let parsed = bound.settle(run, completions.len(), parsed)?;
                let mut parsed = parsed.into_iter();
                let read = said.map(|(draft, said)| match said {
                    Err(_) => Ok(Ok(Vec::new())),
                    Ok(said) if draft.is_evolved() => Ok(Ok(read_harder(draft, said))),
                    Ok(said) if said.finish == FinishReason::NoRoom => Ok(Ok(Vec::new())),
                    Ok(_) => match parsed.next().expect("one for each completion") {
                        Ok(items) => {
                            let items = items.into_iter().map(|item| of_plugin(draft, item));
                            Ok(Ok(items.collect()))
                        }
                        Err(error) => failed(bound, error).map(Err),
                    },
                });
                read.collect()
            }
        }
    }
}

/// Picks the drafts that ask for new instructions, with their examples.
fn new_ones<'d, 'a>(
    drafts: &'d [Draft<'a>],
) -> impl Iterator<Item = (&'d Draft<'a>, &'d [&'a Example])> {
    drafts.iter().filter_map(|draft| match &draft.content {
        Content::Examples(examples) => Some((draft, &examples[..])),
        Content::Harder(_) => None,
    })
}

fn laid_out(
    template: &PromptTemplate,
    draft: &Draft<'_>,
    examples: &[&Example],
) -> (Prompt, Vec<String>) {
    let text = template.of(draft.language).cloned().unwrap_or_default();
    let asked = draft.quota.map(|_| draft.kind);
    let prompt = lay_out(template.style, &text, draft.language, examples, asked);
    (prompt, text.stop)
}

fn asked_of_plugin<'d>(draft: &'d Draft<'_>, examples: &'d [&'d Example]) -> TemplateRequest<'d> {
    TemplateRequest {
        language: draft.language,
        examples,
        task_type: draft.kind.task_type,
        topic: draft.kind.topic,
        count: ASKED as u32,
        seed: draft.sampling.seed,
    }
}

/// Lays a completion out for a plugin; none where it is not the plugin's to read.
fn told_to_plugin<'d>(
    draft: &'d Draft<'_>,
    said: &'d Completion,
) -> Option<TemplateCompletion<'d>> {
    match &draft.content {
        Content::Examples(examples) if said.finish != FinishReason::NoRoom => {
            Some(TemplateCompletion {
                request: asked_of_plugin(draft, examples),
                text: &said.text,
                finish: said.finish,
            })
        }
        _ => None,
    }
}

/// Takes a plugin's item, which is of the kind that was asked for where the plugin says nothing else.
fn of_plugin(draft: &Draft<'_>, item: TemplateItem) -> Item {
    let asked = asked_for(draft, item.instruction);
    Item {
        task_type: item.task_type.or(asked.task_type),
        topic: item.topic.or(asked.topic),
        ..asked
    }
}

fn failed(bound: &Bound, error: String) -> Result<Box<Verdict>, FlowError> {
    bound.on_error(&error)?;
    Ok(Box::new(Verdict {
        decision: Decision::Drop,
        reason: plugins::PLUGIN_ERROR.to_string(),
        rule: bound.rule(),
        evidence: Evidence {
            note: Some(error),
            ..Evidence::default()
        },
    }))
}

/// Reads a harder version: one line; one that was cut off says half of what it wants.
fn read_harder(draft: &Draft<'_>, said: &Completion) -> Vec<Item> {
    let instruction = said.text.trim();
    let is_whole = !instruction.is_empty() && said.finish != FinishReason::Length;
    let item = is_whole.then(|| asked_for(draft, instruction.to_string()));
    item.into_iter().collect()
}

fn read_list(style: PromptStyle, draft: &Draft<'_>, said: &Completion) -> Vec<Item> {
    let items = parse_items(&said.text, said.finish, style);
    let is_labelled = draft.kind != Kind::default();
    let items = items.into_iter().map(|item| match is_labelled {
        true => item.without_unknown_label(),
        false => item,
    });
    let labelled = |(place, item): (usize, Item)| match style {
        // The first item's label stood in the prompt; the model labels the others as it likes.
        PromptStyle::Continue if place > 0 => item,
        _ if item.task_type.is_some() => item,
        _ => asked_for(draft, item.instruction),
    };
    items.enumerate().map(labelled).collect()
}

/// Makes an item of the kind that a draft asks for.
fn asked_for(draft: &Draft<'_>, instruction: String) -> Item {
    Item {
        instruction,
        task_type: draft.kind.task_type,
        topic: draft.kind.topic.map(str::to_string),
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
