//! The unit of data: one example with what is known about it.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Digest;
use crate::generation::Prompt;
use crate::id::{CheckpointId, ExampleId, ModelName};

/// Who speaks in a [`Message`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sets the frame of a conversation.
    System,
    /// Asks.
    User,
    /// Answers; in training, its turns carry the loss.
    Assistant,
}

impl Role {
    /// Shows the name chat templates use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
}

impl Message {
    /// Makes a user's turn.
    pub fn user(content: impl Into<String>) -> Self {
        Self {
            role: Role::User,
            content: content.into(),
        }
    }

    /// Makes an assistant's turn.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self {
            role: Role::Assistant,
            content: content.into(),
        }
    }
}

/// What an example says, apart from everything known about it. Field order is the canonical order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Body {
    /// A task, with an input and an answer where it has them.
    Instruction {
        /// What to do.
        instruction: String,
        /// What to do it to; empty text is stored as none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input: Option<String>,
        /// The answer; none for a bare instruction.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<String>,
    },
    /// A conversation of one or more turns.
    Chat {
        /// The turns in order.
        messages: Vec<Message>,
    },
    /// A plain text, of which every token is learnt.
    Text {
        /// The text.
        text: String,
    },
    /// A text of one of some classes.
    Labelled {
        /// The text.
        text: String,
        /// The name of its class.
        label: String,
    },
    /// A sentence in words, each with its tag: `O` outside of all entities, `B-` and `I-` with a type where one begins and goes
    /// on (IOB2, Tjong Kim Sang and Veenstra 1999), or names of other schemes.
    Tagged {
        /// The words, in Chinese often single characters.
        tokens: Vec<String>,
        /// As many tags.
        tags: Vec<String>,
    },
}

impl Body {
    /// Makes an instruction, storing empty input and output as none.
    pub fn instruction(instruction: &str, input: &str, output: &str) -> Self {
        let some = |text: &str| (!text.trim().is_empty()).then(|| text.to_string());
        Self::Instruction {
            instruction: instruction.to_string(),
            input: some(input),
            output: some(output),
        }
    }

    /// Serialises to canonical JSON: fixed field order, no blanks, absent fields left out.
    pub fn canonical_json(&self) -> String {
        serde_json::to_string(self).expect("plain strings and enums always serialise")
    }

    /// Computes the id that this content has.
    pub fn id(&self) -> ExampleId {
        Digest::of(self.canonical_json().as_bytes())
    }

    /// Shows the instruction, the first user turn of a conversation, or a text.
    pub fn instruction_text(&self) -> Cow<'_, str> {
        match self {
            Self::Instruction { instruction, .. } => instruction.into(),
            Self::Chat { messages } => {
                let first = messages.iter().find(|m| m.role == Role::User);
                first.map_or("", |m| m.content.as_str()).into()
            }
            Self::Text { text } | Self::Labelled { text, .. } => text.into(),
            Self::Tagged { tokens, .. } => join_words(tokens).into(),
        }
    }

    /// Shows the input, empty where there is none.
    pub fn input_text(&self) -> &str {
        match self {
            Self::Instruction { input, .. } => input.as_deref().unwrap_or(""),
            _ => "",
        }
    }

    /// Shows the answer, the last assistant turn, a plain text, a label, or tags with blanks between; empty where there is none.
    pub fn output_text(&self) -> Cow<'_, str> {
        match self {
            Self::Instruction { output, .. } => output.as_deref().unwrap_or("").into(),
            Self::Chat { messages } => {
                let last = messages.iter().rfind(|m| m.role == Role::Assistant);
                last.map_or("", |m| m.content.as_str()).into()
            }
            Self::Text { text } => text.into(),
            Self::Labelled { label, .. } => label.into(),
            Self::Tagged { tags, .. } => tags.join(" ").into(),
        }
    }

    /// Puts another answer in the place of its own; none where it has no place for one, as in a plain text.
    pub fn with_output(&self, answer: &str) -> Option<Self> {
        let mut body = self.clone();
        match &mut body {
            Self::Instruction { output, .. } => *output = Some(answer.to_string()),
            Self::Chat { messages } => {
                let last = messages.iter_mut().rfind(|m| m.role == Role::Assistant)?;
                last.content = answer.to_string();
            }
            Self::Labelled { label, .. } => *label = answer.to_string(),
            Self::Text { .. } | Self::Tagged { .. } => return None,
        }
        Some(body)
    }

    /// Shows a text to classify and its label: those of a labelled text, or an instruction with its input and the answer to it.
    pub fn labelled(&self) -> Option<(Cow<'_, str>, &str)> {
        match self {
            Self::Labelled { text, label } => Some((text.into(), label)),
            Self::Instruction {
                instruction,
                input,
                output: Some(output),
            } => Some((join_input(instruction, input.as_deref()).into(), output)),
            _ => None,
        }
    }

    /// Tells whether there is something to learn: an answer, or a text.
    pub fn is_answered(&self) -> bool {
        !self.output_text().trim().is_empty()
    }

    /// Lays the example out as conversation turns; an instruction's input follows it after an empty line. A plain text is the
    /// one conversation that is an answer to nothing, and engines lay it out without a template.
    pub fn to_messages(&self) -> Vec<Message> {
        match self {
            Self::Chat { messages } => messages.clone(),
            Self::Instruction {
                instruction,
                input,
                output,
            } => {
                let mut messages = vec![Message::user(join_input(instruction, input.as_deref()))];
                messages.extend(output.as_deref().map(Message::assistant));
                messages
            }
            Self::Text { text } => vec![Message::assistant(text)],
            Self::Labelled { .. } | Self::Tagged { .. } => vec![
                Message::user(self.instruction_text()),
                Message::assistant(self.output_text()),
            ],
        }
    }

    /// Splits it into what a model is asked when it is measured, and what it should answer: every turn before the last answer,
    /// and that answer; of a plain text its first half, to go on from, and the rest.
    pub fn question(&self) -> (Prompt, Cow<'_, str>) {
        if let Self::Text { text } = self {
            let (beginning, rest) = text.split_at(middle(text));
            return (Prompt::Text(beginning.to_string()), rest.into());
        }
        let mut messages = self.to_messages();
        let answer = messages
            .iter()
            .rposition(|message| message.role == Role::Assistant)
            .filter(|at| messages[..*at].iter().any(|m| m.role == Role::User));
        messages.truncate(answer.unwrap_or(messages.len()));
        (Prompt::Chat(messages), self.output_text())
    }
}

/// Finds the byte after half of a text's characters, and on to the next blank where it has one: no word is cut.
fn middle(text: &str) -> usize {
    let half = text.chars().count().div_ceil(2);
    let after = |(at, _): (usize, char)| at;
    let half = text.char_indices().nth(half).map_or(text.len(), after);
    text[half..]
        .find(char::is_whitespace)
        .map_or(half, |blank| half + blank)
}

/// Joins an instruction and its input the way prompts show them.
pub fn join_input(instruction: &str, input: Option<&str>) -> String {
    match input {
        Some(input) if !input.is_empty() => format!("{instruction}\n\n{input}"),
        _ => instruction.to_string(),
    }
}

/// Joins words: with a blank between, save beside a character that is written without blanks (Chinese, kana, their punctuation).
pub fn join_words(words: &[String]) -> String {
    let mut joined = String::new();
    for word in words {
        if separates(&joined, word) {
            joined.push(' ');
        }
        joined.push_str(word);
    }
    joined
}

/// Tells whether a blank stands between what was written and the next word.
pub fn separates(before: &str, word: &str) -> bool {
    let (Some(last), Some(first)) = (before.chars().next_back(), word.chars().next()) else {
        return false;
    };
    !is_written_close(last) && !is_written_close(first)
}

/// Tells whether a character stands in the blocks of scripts without blanks (The Unicode Standard: CJK symbols, kana, ideographs
/// and their extensions, full-width forms).
fn is_written_close(character: char) -> bool {
    matches!(character, '\u{2E80}'..='\u{A4CF}' | '\u{F900}'..='\u{FAFF}' | '\u{FE30}'..='\u{FE4F}' | '\u{FF00}'..='\u{FFEF}' | '\u{20000}'..='\u{3FFFF}')
}

/// The languages whose rules (length, markers, templates) are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// English (`en`).
    En,
    /// Chinese (`zh`).
    Zh,
}

impl Language {
    /// Shows the ISO 639-1 code.
    pub fn code(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Zh => "zh",
        }
    }

    /// Chooses between what is said in English and in Chinese.
    pub fn pick<T>(self, en: T, zh: T) -> T {
        match self {
            Self::En => en,
            Self::Zh => zh,
        }
    }

    /// Reads an ISO 639-1 code.
    pub fn from_code(code: &str) -> Option<Self> {
        match code {
            "en" => Some(Self::En),
            "zh" => Some(Self::Zh),
            _ => None,
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// The forms of task that quotas, success and failure are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each name says what the task is")]
pub enum TaskType {
    Writing,
    QuestionAnswering,
    Classification,
    Extraction,
    Rewriting,
    Translation,
    Reasoning,
    Code,
    Conversation,
}

impl TaskType {
    /// Every task type with the name that files use.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::Writing, "writing"),
        (Self::QuestionAnswering, "question_answering"),
        (Self::Classification, "classification"),
        (Self::Extraction, "extraction"),
        (Self::Rewriting, "rewriting"),
        (Self::Translation, "translation"),
        (Self::Reasoning, "reasoning"),
        (Self::Code, "code"),
        (Self::Conversation, "conversation"),
    ];

    /// Shows the name that files use.
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(t, _)| *t == self)
            .map(|(_, name)| *name)
            .expect("every task type is in the table")
    }

    /// Reads the name that files use.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, n)| *n == name).map(|(t, _)| *t)
    }
}

/// Whether people or a model wrote an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Written or collected by people.
    Human,
    /// Written by a model in a workflow.
    Generated,
}

/// Where an example comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// Human or generated.
    pub origin: Origin,
    /// The round that generated it, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<u32>,
    /// The examples that stood in its prompt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seeds: Vec<ExampleId>,
    /// The base model that wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelName>,
    /// The adapter on that model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<CheckpointId>,
    /// The example that a reviewer edited into this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited_from: Option<ExampleId>,
    /// The answer as it was before validation corrected it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrected_from: Option<String>,
}

impl Lineage {
    /// Describes an example that people wrote.
    pub fn human() -> Self {
        Self {
            origin: Origin::Human,
            round: None,
            seeds: Vec::new(),
            model: None,
            adapter: None,
            edited_from: None,
            corrected_from: None,
        }
    }
}

/// One example with what is known about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// The content's digest.
    pub id: ExampleId,
    /// The content.
    pub body: Body,
    /// The language of the instruction, where it is told or could be found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<Language>,
    /// The form of task, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_type: Option<TaskType>,
    /// What it is about, in a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// The declared labels of a classification task.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Where it comes from.
    pub lineage: Lineage,
}

impl Example {
    /// Wraps content that people wrote, knowing nothing else about it.
    pub fn human(body: Body) -> Self {
        Self {
            id: body.id(),
            body,
            language: None,
            task_type: None,
            topic: None,
            labels: Vec::new(),
            lineage: Lineage::human(),
        }
    }

    /// Puts a corrected answer in the place of its own, and the one that was there first into its lineage; none where it has no
    /// place for one.
    pub fn with_corrected_output(&self, answer: &str) -> Option<Self> {
        let body = self.body.with_output(answer)?;
        let mut example = Self {
            id: body.id(),
            body,
            ..self.clone()
        };
        let original = || self.body.output_text().into_owned();
        example.lineage.corrected_from.get_or_insert_with(original);
        Some(example)
    }

    /// Gives the content as it was before validation corrected its answer, by whose id the verdicts know it.
    pub fn uncorrected(&self) -> Option<Body> {
        self.body.with_output(self.lineage.corrected_from.as_ref()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_the_content_alone() {
        let body = Body::instruction("Add.", "1 1", "2");
        let mut example = Example::human(body.clone());
        example.topic = Some("numbers".into());
        assert_eq!(example.id, body.id());
        assert_ne!(body.id(), Body::instruction("Add.", "", "2").id());
    }

    #[test]
    fn a_correction_keeps_the_first_original_beside_it() {
        let example = Example::human(Body::instruction("Is it good?", "It broke.", "Label: No."));
        let once = example.with_corrected_output("No").expect("an instruction");
        let twice = once.with_corrected_output("no").expect("an instruction");
        assert_eq!(twice.body.output_text(), "no");
        assert_eq!(twice.id, twice.body.id());
        assert_eq!(twice.uncorrected(), Some(example.body.clone()));
        assert_eq!(example.uncorrected(), None);
        let text = Example::human(Body::Text { text: "a".into() });
        assert_eq!(text.with_corrected_output("b"), None);
        let turns = vec![Message::user("Hi."), Message::assistant("Hello")];
        let chat = Example::human(Body::Chat { messages: turns });
        let corrected = chat.with_corrected_output("Hello.").expect("an answer");
        assert_eq!(corrected.body.output_text(), "Hello.");
    }

    #[test]
    fn a_question_is_all_that_comes_before_the_last_answer() {
        let asked = Body::instruction("Add.", "1 1", "2");
        let prompt = Prompt::Chat(vec![Message::user("Add.\n\n1 1")]);
        assert_eq!(asked.question(), (prompt, "2".into()));
        let system = Message {
            role: Role::System,
            content: "Be brief.".into(),
        };
        let turns = [
            system,
            Message::user("Hi."),
            Message::assistant("Hello."),
            Message::user("Bye."),
        ];
        let check = |messages: &[Message], prompt: &[Message], answer: &str| {
            let messages = messages.to_vec();
            let body = Body::Chat { messages };
            assert_eq!(
                body.question(),
                (Prompt::Chat(prompt.to_vec()), answer.into())
            );
        };
        let answered = [&turns[..], &[Message::assistant("Goodbye.")]].concat();
        check(&answered, &turns, "Goodbye.");
        // A greeting that answers nobody is no answer to ask for.
        check(&turns[2..], &turns[2..], "Hello.");
    }

    #[test]
    fn a_plain_text_is_gone_on_from_its_middle() {
        let check = |text: &str, beginning: &str, rest: &str| {
            let body = Body::Text { text: text.into() };
            assert_eq!(
                body.question(),
                (Prompt::Text(beginning.into()), rest.into())
            );
        };
        check("Oil the rollers daily.", "Oil the rollers", " daily.");
        check("每天给滚轮上油。", "每天给滚", "轮上油。");
        check("a", "a", "");
    }

    #[test]
    fn labels_and_tags_are_answers_to_their_texts() {
        let body = Body::Labelled {
            text: "It broke.".into(),
            label: "negative".into(),
        };
        let asked = Prompt::Chat(vec![Message::user("It broke.")]);
        assert_eq!(body.question(), (asked, "negative".into()));
        assert_eq!(body.labelled(), Some(("It broke.".into(), "negative")));
        let words = |text: &str| text.split('|').map(String::from).collect::<Vec<_>>();
        let check = |tokens: &str, expect: &str| {
            let tags = tokens.split('|').map(|_| "O".to_string()).collect();
            let body = Body::Tagged {
                tokens: words(tokens),
                tags,
            };
            assert_eq!(body.instruction_text(), expect);
            assert!(body.labelled().is_none());
        };
        check("Ada|lives|in|Bern|.", "Ada lives in Bern .");
        check("王|芳|住|在|Bern|市|。", "王芳住在Bern市。");
        let asked = Body::instruction("Is it good?", "It broke.", "no");
        let text = "Is it good?\n\nIt broke.";
        assert_eq!(asked.labelled(), Some((text.into(), "no")));
    }

    #[test]
    fn canonical_json_is_stable() {
        let body = Body::instruction("翻译", " ", "hi");
        assert_eq!(
            body.canonical_json(),
            r#"{"kind":"instruction","instruction":"翻译","output":"hi"}"#
        );
    }
}
