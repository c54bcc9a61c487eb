//! Taking typed fields out of a JSON object, with faults that name the field.

use serde_json::Value;

use crate::fault::{Fault, Reason, describe, describe_keys};

/// A record's fields by name.
pub(crate) type Fields = serde_json::Map<String, Value>;

/// A required text that says something.
pub(crate) fn required_text<'fields>(
    fields: &'fields Fields,
    name: &str,
) -> Result<&'fields str, Fault> {
    let text = optional_text(fields, name)?;
    let missing = || {
        Fault::new(
            Reason::MissingField,
            format!("a string `{name}`"),
            describe_keys(fields),
        )
    };
    let text = text.ok_or_else(missing)?;
    if text.trim().is_empty() {
        return Err(Fault::new(
            Reason::EmptyField,
            format!("text in `{name}`"),
            "an empty string",
        ));
    }
    Ok(text)
}

/// A text that may be absent or null.
pub(crate) fn optional_text<'fields>(
    fields: &'fields Fields,
    name: &str,
) -> Result<Option<&'fields str>, Fault> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(wrong_type(format!("a string `{name}`"), other)),
    }
}

/// A list that may be absent or null.
pub(crate) fn optional_list<'fields>(
    fields: &'fields Fields,
    name: &str,
) -> Result<Option<&'fields [Value]>, Fault> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items)),
        Some(other) => Err(wrong_type(format!("a list `{name}`"), other)),
    }
}

/// A list that must be there, be it empty.
pub(crate) fn required_list<'fields>(
    fields: &'fields Fields,
    name: &str,
) -> Result<&'fields [Value], Fault> {
    let missing = || {
        Fault::new(
            Reason::MissingField,
            format!("a list `{name}`"),
            describe_keys(fields),
        )
    };
    optional_list(fields, name)?.ok_or_else(missing)
}

/// Yes or no, where told.
pub(crate) fn optional_flag(fields: &Fields, name: &str) -> Result<Option<bool>, Fault> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(other) => Err(wrong_type(format!("true or false in `{name}`"), other)),
    }
}

/// A list item that must be an object.
pub(crate) fn object<'value>(value: &'value Value, what: &str) -> Result<&'value Fields, Fault> {
    value.as_object().ok_or_else(|| wrong_type(what, value))
}

/// A fault that shows the value found.
pub(crate) fn wrong_type(expected: impl Into<String>, found: &Value) -> Fault {
    Fault::new(Reason::WrongType, expected, describe(found))
}
