//! What is wrong with a record, without its line, which only the reader knows.

use autodidact_domain::LineFault;
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
    BadCompression,
    BadRow,
    BadYaml,
    BadParquet,
    BadMapping,
    Unfit,
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
            Self::BadCompression => "bad_compression",
            Self::BadRow => "bad_row",
            Self::BadYaml => "bad_yaml",
            Self::BadParquet => "bad_parquet",
            Self::BadMapping => "bad_mapping",
            Self::Unfit => "unfit",
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

impl Fault {
    /// Adds the line, as reports have it.
    pub(crate) fn on_line(self, line: u64) -> LineFault {
        LineFault {
            line,
            reason: self.reason.code().to_string(),
            expected: self.expected,
            found: self.found,
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

/// Lists an object's field names, in the order of the alphabet: whether a file's own is known depends on the build.
pub(crate) fn describe_keys(fields: &serde_json::Map<String, Value>) -> String {
    if fields.is_empty() {
        return "an object without fields".to_string();
    }
    let mut names = String::from("an object with the fields ");
    let mut sorted: Vec<&String> = fields.keys().collect();
    sorted.sort_unstable();
    for (position, name) in sorted.into_iter().enumerate() {
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
