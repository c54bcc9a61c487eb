//! A model's chat template: conversations to tokens, and which of these the model has to learn.
//!
//! Which part of the rendered text is whose is found by rendering, never by searching tokens. The conversation is
//! rendered twice, once as it is and once with sentinels (Unicode noncharacters that occur nowhere in it) around every
//! content. Where the second text without its sentinels equals the first, the sentinels' places are the contents'
//! places. Templates that trim contents are met by marking trimmed contents; any other rewriting is refused.
//!
//! Then the text is cut at the special tokens of the template's *own* parts, and what lies between is encoded as plain
//! text: the ids are those of the whole text, but a special token's text inside a content stays text.

use std::ops::Range;
use std::path::{Path, PathBuf};

use autodidact_domain::{Message, Role};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, context};
use serde_json::Value as Json;

use super::Tokenizer;
use crate::EngineError;
use crate::models::config::ModelConfig;
use crate::models::files::TextFiles;

const TEMPLATE_NAME: &str = "chat";
/// Instructions a template may execute; a thousand messages take about a hundredth.
const FUEL: u64 = 10_000_000;
/// How a conversation with a base model is laid out, which has no template of its own: instruction and response under the
/// headings of Stanford Alpaca (Taori et al. 2023), the end token after each response.
const BASE_TEMPLATE: &str = "{% for message in messages %}\
    {% if message.role == 'system' %}{{ message.content + '\\n\\n' }}\
    {% elif message.role == 'user' %}{{ '### Instruction:\\n' + message.content + '\\n\\n### Response:\\n' }}\
    {% else %}{{ message.content + eos_token + '\\n\\n' }}{% endif %}{% endfor %}";
/// What to do about a template that cannot be used.
const TEMPLATE_ADVICE: &str =
    "mend the template, or take it out: conversations are then laid out under Alpaca's headings";
/// What an untuned base model goes on with once it has answered.
const BASE_NEXT_TURN: &str = "\n\n### Instruction:";
/// Noncharacters, which Unicode reserves for such internal use.
const SENTINELS: Range<u32> = 0xFDD0..0xFDF0;

/// A run of tokens that the model either is given or has to give itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The tokens.
    pub ids: Vec<u32>,
    /// Whether they are an assistant's content with the end-of-turn token after it.
    pub is_response: bool,
}

/// A template as a model's files hold it.
pub(crate) struct TemplateSource {
    text: String,
    place: Place,
}

impl TemplateSource {
    /// Shows the Jinja text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

/// Where a template stands, for messages.
#[derive(Clone, Debug)]
struct Place {
    file: PathBuf,
    field: &'static str,
}

/// A compiled chat template.
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    place: Place,
    bos_token: String,
    eos_token: String,
    eos_ids: Vec<u32>,
    /// The text that ends a turn beside the end token.
    next_turn: Option<&'static str>,
}

/// Whose a part of the rendered text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Template,
    Given,
    Response,
}

impl ChatTemplate {
    /// Finds the template that a model's files hold; `path` is the file or folder that was named.
    pub(crate) fn source_in(path: &Path, text: &TextFiles) -> Option<TemplateSource> {
        let found = |file: PathBuf, field, text: String| TemplateSource {
            text,
            place: Place { file, field },
        };
        match text {
            TextFiles::Gguf(header) => {
                let field = "tokenizer.chat_template";
                let value = header.metadata.get(field)?.as_str()?;
                Some(found(path.to_path_buf(), field, value.to_string()))
            }
            TextFiles::HuggingFace {
                template: Some(template),
                ..
            } => {
                let file = path.join("chat_template.jinja");
                Some(found(file, "template", template.clone()))
            }
            TextFiles::HuggingFace {
                tokenizer_config, ..
            } => {
                let field = "chat_template";
                let text = template_in_config(&tokenizer_config[field])?;
                Some(found(path.join("tokenizer_config.json"), field, text))
            }
        }
    }

    /// Finds, compiles and tries out a model's template. A base model, which has none, gets the headings of Alpaca; none
    /// where there is no token either that could end a turn.
    ///
    /// # Errors
    /// [`EngineError::ModelFile`] where the template cannot be read, or cannot lay out a question and its answer.
    pub(crate) fn from_files(
        path: &Path,
        text: &TextFiles,
        tokenizer: &Tokenizer,
        config: &ModelConfig,
    ) -> Result<Option<Self>, EngineError> {
        let special = |id: Option<u32>| {
            id.and_then(|id| tokenizer.special_text(id))
                .unwrap_or_default()
                .to_string()
        };
        let bos_token = special(config.bos_id);
        let eos_token = special(config.eos_ids.first().copied());
        let eos_ids = config.eos_ids.clone();
        let Some(source) = Self::source_in(path, text) else {
            return Ok(match eos_token.is_empty() {
                true => None,
                false => Some(Self::of_base(path, config, bos_token, eos_token)),
            });
        };
        let place = source.place.clone();
        let unfit = |expected: &str, found: String| {
            EngineError::unfit(&place.file, place.field, expected, found, TEMPLATE_ADVICE)
        };
        let template = Self::new(source, bos_token, eos_token, eos_ids)
            .map_err(|error| unfit("a Jinja template", error.to_string()))?;
        match template.try_out(tokenizer) {
            Ok(()) => Ok(Some(template)),
            Err(EngineError::Template { found, .. }) => Err(unfit(
                "a template that lays out a question and its answer",
                found,
            )),
            Err(other) => Err(other),
        }
    }

    /// Makes the layout of a base model.
    fn of_base(path: &Path, config: &ModelConfig, bos_token: String, eos_token: String) -> Self {
        let begin = match config.add_bos {
            true => "{{ bos_token }}",
            false => "",
        };
        let source = TemplateSource {
            text: format!("{begin}{BASE_TEMPLATE}"),
            place: Place {
                file: path.to_path_buf(),
                field: "chat template",
            },
        };
        let template = Self::new(source, bos_token, eos_token, config.eos_ids.clone());
        Self {
            next_turn: Some(BASE_NEXT_TURN),
            ..template.expect("a template of our own compiles")
        }
    }

    /// Lays out what every use of the model needs, so that a template that fails does so before anything is asked of it.
    fn try_out(&self, tokenizer: &Tokenizer) -> Result<(), EngineError> {
        let [question, answer] = [Message::user("Hi."), Message::assistant("Hello.")];
        self.render_spans(tokenizer, std::slice::from_ref(&question), true)?;
        let spans = self.render_spans(tokenizer, &[question, answer], false)?;
        match spans.iter().any(|span| span.is_response) {
            true => Ok(()),
            false => Err(self.failure("a text without the answer")),
        }
    }

    fn failure(&self, found: impl Into<String>) -> EngineError {
        EngineError::template(&self.place.file, self.place.field, found)
    }

    /// Shows the text that ends a turn beside the end token, for a base model without a template of its own.
    pub(crate) fn next_turn(&self) -> Option<&'static str> {
        self.next_turn
    }

    fn new(
        source: TemplateSource,
        bos_token: String,
        eos_token: String,
        eos_ids: Vec<u32>,
    ) -> Result<Self, minijinja::Error> {
        let TemplateSource {
            text: source,
            place,
        } = source;
        let mut environment = Environment::new();
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_fuel(Some(FUEL));
        // As transformers compiles templates (`utils/chat_template_utils.py`).
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()?;
        environment.set_syntax(syntax);
        environment.add_function(
            "raise_exception",
            |message: String| -> Result<String, minijinja::Error> {
                Err(minijinja::Error::new(
                    minijinja::ErrorKind::InvalidOperation,
                    message,
                ))
            },
        );
        environment.add_template_owned(TEMPLATE_NAME, source.clone())?;
        Ok(Self {
            environment,
            source,
            place,
            bos_token,
            eos_token,
            eos_ids,
            next_turn: None,
        })
    }

    #[cfg(test)]
    pub(crate) fn for_tests(source: &str, eos_ids: Vec<u32>) -> Result<Self, minijinja::Error> {
        let source = TemplateSource {
            text: source.to_string(),
            place: Place {
                file: PathBuf::from("tests"),
                field: "template",
            },
        };
        Self::new(source, String::new(), String::new(), eos_ids)
    }

    /// Renders a conversation to text.
    ///
    /// # Errors
    /// [`EngineError::Template`] when the template refuses the conversation or fails.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<String, EngineError> {
        let contents: Vec<String> = messages
            .iter()
            .map(|message| message.content.clone())
            .collect();
        self.render_contents(messages, &contents, add_generation_prompt)
    }

    fn render_contents(
        &self,
        messages: &[Message],
        contents: &[String],
        add_generation_prompt: bool,
    ) -> Result<String, EngineError> {
        let messages: Vec<_> = messages
            .iter()
            .zip(contents)
            .map(
                |(message, content)| context! { role => message.role.as_str(), content => content },
            )
            .collect();
        let template = self
            .environment
            .get_template(TEMPLATE_NAME)
            .map_err(|error| self.failure(error.to_string()))?;
        let values = context! {
            messages,
            add_generation_prompt,
            bos_token => &self.bos_token,
            eos_token => &self.eos_token,
        };
        template
            .render(values)
            .map_err(|error| self.failure(error.to_string()))
    }

    /// Renders a conversation to tokens, response and given ones apart; joined, the spans are the whole text's tokens.
    ///
    /// # Errors
    /// [`EngineError::Template`] when the template refuses the conversation or rewrites contents.
    pub fn render_spans(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<Vec<Span>, EngineError> {
        let text = self.render(messages, add_generation_prompt)?;
        let parts = self.find_parts(messages, add_generation_prompt, &text)?;
        let specials = template_specials(tokenizer, &text, &parts);
        let responses = self.response_ranges(&parts, &specials);
        let is_response = |at: usize| responses.iter().any(|range| range.contains(&at));

        let mut spans = SpanBuilder::default();
        let mut position = 0;
        for (start, end, special) in specials
            .iter()
            .copied()
            .map(|(s, e, id)| (s, e, Some(id)))
            .chain([(text.len(), text.len(), None)])
        {
            for (id, at) in tokenizer.encode_with_starts(&text[position..start])? {
                spans.push(id, is_response(position + at));
            }
            if let Some(id) = special {
                spans.push(id, is_response(start));
            }
            position = end;
        }
        Ok(spans.done)
    }

    /// Finds whose each part of the rendered text is; the parts cover it in order.
    fn find_parts(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        text: &str,
    ) -> Result<Vec<(Range<usize>, Part)>, EngineError> {
        let free = |c: &char| {
            !self.source.contains(*c)
                && messages.iter().all(|message| !message.content.contains(*c))
        };
        let sentinels: Vec<char> = SENTINELS
            .filter_map(char::from_u32)
            .filter(free)
            .take(3)
            .collect();
        let [given, response, end] = sentinels[..] else {
            return Err(self.failure("a conversation with every Unicode noncharacter in it"));
        };
        for trim in [false, true] {
            let mark = |message: &Message| {
                let content = if trim {
                    message.content.trim()
                } else {
                    &message.content
                };
                let start = if message.role == Role::Assistant {
                    response
                } else {
                    given
                };
                // An empty content stays empty, for templates that ask whether there is one.
                if content.is_empty() {
                    String::new()
                } else {
                    format!("{start}{content}{end}")
                }
            };
            let contents: Vec<String> = messages.iter().map(mark).collect();
            let marked = self.render_contents(messages, &contents, add_generation_prompt)?;
            if marked.replace([given, response, end], "") == text
                && let Some(parts) = split_at_sentinels(&marked, given, response, end)
            {
                return Ok(parts);
            }
        }
        Err(self.failure(
            "one that rewrites the messages' contents, so that they cannot be told from its own text",
        ))
    }

    /// Tells where responses lie: each content, and on to the end-of-turn token where one comes before the next content.
    fn response_ranges(
        &self,
        parts: &[(Range<usize>, Part)],
        specials: &[(usize, usize, u32)],
    ) -> Vec<Range<usize>> {
        let contents = parts
            .iter()
            .enumerate()
            .filter(|(_, (_, part))| *part == Part::Response);
        let extend = |(index, (range, _)): (usize, &(Range<usize>, Part))| {
            let limit = parts[index + 1..]
                .iter()
                .find(|(_, part)| *part != Part::Template)
                .map(|(range, _)| range.start);
            let turn_end = specials.iter().find(|(start, _, id)| {
                *start >= range.end
                    && limit.is_none_or(|limit| *start < limit)
                    && self.eos_ids.contains(id)
            });
            range.start..turn_end.map_or(range.end, |(_, end, _)| *end)
        };
        contents.map(extend).collect()
    }
}

/// Cuts marked text; the ranges count without sentinels. None where starts and ends do not take turns.
fn split_at_sentinels(
    marked: &str,
    given: char,
    response: char,
    end: char,
) -> Option<Vec<(Range<usize>, Part)>> {
    let mut parts = Vec::new();
    let (mut start, mut position, mut part) = (0, 0, Part::Template);
    for c in marked.chars() {
        let next = match c {
            c if c == given => Part::Given,
            c if c == response => Part::Response,
            c if c == end => Part::Template,
            other => {
                position += other.len_utf8();
                continue;
            }
        };
        if (part == Part::Template) == (next == Part::Template) {
            return None;
        }
        parts.push((start..position, part));
        (start, part) = (position, next);
    }
    parts.push((start..position, part));
    (part == Part::Template).then_some(parts)
}

fn template_specials(
    tokenizer: &Tokenizer,
    text: &str,
    parts: &[(Range<usize>, Part)],
) -> Vec<(usize, usize, u32)> {
    let own = parts.iter().filter(|(_, part)| *part == Part::Template);
    own.flat_map(|(range, _)| {
        let found = tokenizer.find_specials(&text[range.clone()]);
        found
            .into_iter()
            .map(|(start, end, id)| (range.start + start, range.start + end, id))
    })
    .collect()
}

/// Joins tokens of the same kind to spans.
#[derive(Default)]
struct SpanBuilder {
    done: Vec<Span>,
}

impl SpanBuilder {
    fn push(&mut self, id: u32, is_response: bool) {
        match self.done.last_mut() {
            Some(last) if last.is_response == is_response => last.ids.push(id),
            _ => self.done.push(Span {
                ids: vec![id],
                is_response,
            }),
        }
    }
}

/// Reads `chat_template` of `tokenizer_config.json`: one text, or a list of named ones with a `default`.
fn template_in_config(json: &Json) -> Option<String> {
    match json {
        Json::String(text) => Some(text.clone()),
        Json::Array(named) => named
            .iter()
            .find(|entry| entry["name"] == "default")
            .and_then(|entry| entry["template"].as_str())
            .map(str::to_string),
        _ => None,
    }
}
