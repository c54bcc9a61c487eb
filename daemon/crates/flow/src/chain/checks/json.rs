//! An answer that is to be JSON is JSON.

use serde_json::Value;

use super::{Answer, Finding, cut, note};

pub(super) fn find(answer: &Answer<'_>) -> Finding {
    if !answer.is_json() {
        return Finding::Fine;
    }
    let text = answer.output.trim();
    let Err(error) = serde_json::from_str::<Value>(text) else {
        return Finding::Fine;
    };
    let evidence = note(format!("it is no JSON: {error}"));
    match inner(text) {
        Some(json) => Finding::Corrected {
            output: json.to_string(),
            done: format!("the words around the JSON left out: {:?}", cut(text)),
            otherwise: Some(evidence),
        },
        None => Finding::Wrong(evidence),
    }
}

/// Finds the one object or array that stands in a text, in a fence or between words.
fn inner(text: &str) -> Option<&str> {
    let mut found = None;
    let mut from = 0;
    while let Some(at) = text[from..].find(['{', '[']).map(|at| from + at) {
        let mut values = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>();
        match values.next() {
            Some(Ok(_)) => {
                let end = at + values.byte_offset();
                // Of several nobody knows which is meant.
                if found.replace(&text[at..end]).is_some() {
                    return None;
                }
                from = end;
            }
            // What begins like a value and is none may be the broken outside of what comes in it.
            _ => return None,
        }
    }
    found
}
