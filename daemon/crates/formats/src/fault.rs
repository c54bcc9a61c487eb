//! What is wrong with a record, without its line, which only the reader knows.

use serde_json::Value;

/// The stable reason codes of [`autodidact_domain::LineFault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    BadJson,
    MissingField,
    WrongType,
    EmptyField,
    UnknownFormat,
    BadEncoding,
    TooLarge,
    Duplicate,
    WrongLength,
    LabelNotDeclared,
}

impl Reason {
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::BadJson => "bad_json",
            Self::MissingField => "missing_field",
            Self::WrongType => "wrong_type",
            Self::EmptyField => "empty_field",
            Self::UnknownFormat => "unknown_format",
            Self::BadEncoding => "bad_encoding",
            Self::TooLarge => "too_large",
            Self::Duplicate => "duplicate",
            Self::WrongLength => "wrong_length",
            Self::LabelNotDeclared => "label_not_declared",
        }
    }
}

/// Why a record is refused, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) reason: Reason,
    pub(crate) expected: String,
    pub(crate) found: String,
}

impl Fault {
    pub(crate) fn new(
        reason: Reason,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self {
            reason,
            expected: expected.into(),
            found: found.into(),
        }
    }
}

/// The longest excerpt of a file's content that a fault shows, in characters.
const EXCERPT_CHARS: usize = 80;

/// Cuts a text to what a fault can show.
pub(crate) fn excerpt(text: &str) -> String {
    match text.char_indices().nth(EXCERPT_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}

/// Says what kind of JSON value stands somewhere, with a short one's content.
pub(crate) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the string {:?}", excerpt(text)),
        Value::Array(items) => format!("a list of {} items", items.len()),
        Value::Object(fields) => describe_keys(fields),
    }
}

/// Lists an object's field names.
pub(crate) fn describe_keys(fields: &serde_json::Map<String, Value>) -> String {
    if fields.is_empty() {
        return "an object without fields".to_string();
    }
    let mut names = String::from("an object with the fields ");
    for (position, name) in fields.keys().enumerate() {
        if position > 0 {
            names.push_str(", ");
        }
        names.push_str(&excerpt(name));
        if names.len() > 4 * EXCERPT_CHARS {
            break;
        }
    }
    excerpt(&names)
}
