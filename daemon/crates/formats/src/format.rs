//! The table of formats.

use autodidact_domain::{Body, Example};

use crate::fault::Fault;
use crate::fields::Fields;
use crate::{alpaca, chat, labelled, seeds, tagged, text};

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
    /// Writes a record as one line of JSON without the line end; the number counts from 1. The error says what the format
    /// has no place for.
    pub(crate) write: fn(&Example, usize) -> Result<String, &'static str>,
}

/// Every format.
pub(crate) const FORMATS: [&Format; 6] = [
    &alpaca::FORMAT,
    &seeds::FORMAT,
    &chat::FORMAT,
    &text::FORMAT,
    &labelled::FORMAT,
    &tagged::FORMAT,
];

/// The names of the formats that can be read and written.
pub const FORMAT_NAMES: [&str; 6] = [
    alpaca::FORMAT.name,
    seeds::FORMAT.name,
    chat::FORMAT.name,
    text::FORMAT.name,
    labelled::FORMAT.name,
    tagged::FORMAT.name,
];

/// The fields that make a record a task or a talk, whatever stands beside them.
pub(crate) const OF_TASKS: [&str; 3] = ["instruction", "instances", "messages"];

/// Tells whether a record is a task or a talk.
pub(crate) fn is_task(fields: &Fields) -> bool {
    OF_TASKS.iter().any(|field| fields.contains_key(*field))
}

/// Says what a body is and which formats hold such, where a format has no place for it.
pub(crate) fn held_elsewhere(body: &Body) -> &'static str {
    match body {
        Body::Instruction { .. } | Body::Chat { .. } => {
            "it is a task or a talk; alpaca and chat hold these"
        }
        Body::Text { .. } => "it is a plain text; `text` holds these",
        Body::Labelled { .. } => "it is a text with its label; `labelled` holds these",
        Body::Tagged { .. } => "it is a sentence in words with tags; `tagged` holds these",
    }
}

/// Finds a format by name.
pub(crate) fn by_name(name: &str) -> Option<&'static Format> {
    FORMATS.into_iter().find(|format| format.name == name)
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
    fn tell_tales() -> [(&'static str, Value); 11] {
        [
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
        for chosen in 0..1u32 << tell_tales.len() {
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
    }
}
