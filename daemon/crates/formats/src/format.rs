//! The table of formats.

use autodidact_domain::{Body, Example};

use crate::fault::Fault;
use crate::fields::Fields;
use crate::{
    alpaca, chat, input_target, instructlab, labelled, natural_instructions, preference,
    prompt_completion, question_answer, seeds, sharegpt, tagged, text,
};

/// One dataset format.
pub(crate) struct Format {
    /// The name that reports and `--format` use.
    pub(crate) name: &'static str,
    /// Its tell-tale fields, for people.
    pub(crate) fields: &'static str,
    /// Tells whether a record's fields point to this format. At most one format claims a record.
    pub(crate) recognises: fn(&Fields) -> bool,
    /// Reads a record.
    pub(crate) read: fn(&Fields) -> Result<Example, Fault>,
    /// Writes records; nothing where the format is only read.
    pub(crate) write: Option<Write>,
}

/// How a format is written.
#[derive(Clone, Copy)]
pub(crate) struct Write {
    /// How the records lie in the file.
    pub(crate) layout: Layout,
    /// Writes a record as one line of JSON without the line end; the number counts from 1. The error says what the format has
    /// no place for.
    pub(crate) record: WriteRecord,
}

/// Writes a record.
pub(crate) type WriteRecord = fn(&Example, usize) -> Result<String, &'static str>;

/// How written records lie in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// JSON Lines.
    Lines,
    /// A JSON list, with a record a line.
    List,
}

impl Write {
    pub(crate) const fn lines(record: WriteRecord) -> Self {
        let layout = Layout::Lines;
        Self { layout, record }
    }

    pub(crate) const fn list(record: WriteRecord) -> Self {
        let layout = Layout::List;
        Self { layout, record }
    }
}

/// Every format of records.
pub(crate) const FORMATS: [&Format; 13] = [
    &alpaca::FORMAT,
    &seeds::FORMAT,
    &chat::FORMAT,
    &sharegpt::FORMAT,
    &text::FORMAT,
    &labelled::FORMAT,
    &tagged::FORMAT,
    &natural_instructions::FORMAT,
    &instructlab::FORMAT,
    &preference::FORMAT,
    &prompt_completion::FORMAT,
    &question_answer::FORMAT,
    &input_target::FORMAT,
];

/// The fields that make a record a task or a talk, whatever stands beside them.
pub(crate) const OF_TASKS: [&str; 4] = ["instruction", "instances", "messages", "conversations"];

/// Tells whether a record is a task or a talk.
pub(crate) fn is_task(fields: &Fields) -> bool {
    OF_TASKS.iter().any(|field| fields.contains_key(*field))
}

/// The fields that tell the formats of questions and answers, where a record is no task, talk or text. The first that are all
/// there decide: `question` is beside a `task_description` another thing than alone.
const TELL_TALES: [(&str, &[&str]); 7] = [
    ("natural-instructions", &["Definition"]),
    ("instructlab", &["task_description", "question"]),
    ("preference", &["chosen"]),
    ("preference", &["prompt", "rejected"]),
    ("prompt-completion", &["prompt"]),
    ("question-answer", &["question"]),
    ("input-target", &["input", "target"]),
];

/// Tells whether a record is one of the named format of questions and answers.
pub(crate) fn is_told_as(name: &str, fields: &Fields) -> bool {
    let has = |field: &str| fields.contains_key(field);
    if is_task(fields) || has("text") || has("tokens") || has("ner_tags") {
        return false;
    }
    let told = |(_, tells): &&(&str, &[&str])| tells.iter().all(|field| has(field));
    TELL_TALES
        .iter()
        .find(told)
        .is_some_and(|(format, _)| *format == name)
}

/// Says what a body is and which formats hold such, where a format has no place for it.
pub(crate) fn held_elsewhere(body: &Body) -> &'static str {
    match body {
        Body::Instruction { .. } | Body::Chat { .. } => {
            "it is a task or a talk; alpaca, chat and sharegpt hold these"
        }
        Body::Text { .. } => "it is a plain text; `text` holds these",
        Body::Labelled { .. } => "it is a text with its label; `labelled` holds these",
        Body::Tagged { .. } => "it is a sentence in words with tags; `tagged` holds these",
    }
}

/// Finds the format that claims a record.
pub(crate) fn recognise(fields: &Fields) -> Option<&'static Format> {
    FORMATS
        .into_iter()
        .find(|format| (format.recognises)(fields))
}

/// Serialises a record to one line.
pub(crate) fn to_line(record: &impl serde::Serialize) -> String {
    serde_json::to_string(record).expect("strings, lists and flags always serialise")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// What tells formats apart, with what it usually holds and what else it may.
    fn tell_tales() -> [(&'static str, Value); 23] {
        [
            ("conversations", json!([])),
            ("Definition", json!("a")),
            ("task_description", json!("a")),
            ("prompt", json!("a")),
            ("completion", json!("a")),
            ("chosen", json!("a")),
            ("rejected", json!("a")),
            ("question", json!("a")),
            ("answer", json!("a")),
            ("input", json!("a")),
            ("target", json!("a")),
            ("context", json!("a")),
            ("instruction", json!("a")),
            ("output", json!("b")),
            ("instances", json!([])),
            ("messages", json!([])),
            ("text", json!("a")),
            ("label", json!("b")),
            ("tokens", json!(["a"])),
            ("tokens", json!(7)),
            ("ner_tags", json!(["O"])),
            ("tags", json!(["O"])),
            ("tags", json!(null)),
        ]
    }

    #[test]
    fn at_most_one_format_claims_a_record() {
        let tell_tales = tell_tales();
        // All sets of the eleven last, which formats share, and of any at most five.
        let shared = tell_tales.len() - 11;
        for chosen in 0..1u32 << tell_tales.len() {
            if chosen & ((1 << shared) - 1) != 0 && chosen.count_ones() > 5 {
                continue;
            }
            let fields: Fields = tell_tales
                .iter()
                .enumerate()
                .filter(|(place, _)| chosen >> place & 1 == 1)
                .map(|(_, (name, value))| (name.to_string(), value.clone()))
                .collect();
            let claims = FORMATS.map(|format| (format.recognises)(&fields));
            let count = claims.into_iter().filter(|claims| *claims).count();
            assert!(count <= 1, "{fields:?}: {claims:?}");
        }
    }

    #[test]
    fn a_record_s_fields_decide_on_its_format() {
        let check = |record: Value, expect: Option<&str>| {
            let fields = record.as_object().expect("an object").clone();
            assert_eq!(
                recognise(&fields).map(|format| format.name),
                expect,
                "{record}"
            );
        };
        check(json!({"text": "a"}), Some("text"));
        check(json!({"text": "a", "label": 1}), Some("labelled"));
        check(
            json!({"text": "a", "label": "b", "input": ""}),
            Some("labelled"),
        );
        check(
            json!({"text": "a", "label": "b", "instruction": ""}),
            Some("alpaca"),
        );
        check(json!({"tokens": [], "tags": []}), Some("tagged"));
        check(json!({"tokens": "a b"}), Some("tagged"));
        check(
            json!({"text": "a", "tokens": ["a"], "ner_tags": ["O"]}),
            Some("tagged"),
        );
        // A count of tokens and words that describe the text are no tags of its words.
        check(
            json!({"text": "a", "tokens": 1, "tags": ["news"]}),
            Some("text"),
        );
        check(json!({"text": "a", "tokens": ["a"]}), Some("text"));
        // Either could be what is learnt.
        check(
            json!({"text": "a", "label": "b", "tokens": ["a"], "tags": ["O"]}),
            None,
        );
        check(json!({"label": "b"}), None);
        check(json!({"conversations": []}), Some("sharegpt"));
        check(
            json!({"prompt": "a", "completion": "b"}),
            Some("prompt-completion"),
        );
        check(json!({"prompt": "a", "messages": []}), Some("chat"));
        check(
            json!({"prompt": "a", "chosen": "b", "rejected": "c"}),
            Some("preference"),
        );
        check(json!({"prompt": "a", "rejected": "c"}), Some("preference"));
        check(
            json!({"question": "a", "answer": "b"}),
            Some("question-answer"),
        );
        check(
            json!({"question": "a", "answer": "b", "task_description": "c"}),
            Some("instructlab"),
        );
        check(json!({"input": "a", "target": "b"}), Some("input-target"));
        check(json!({"input": "a", "output": "b"}), None);
        check(json!({"text": "a", "question": "b"}), Some("text"));
    }
}
