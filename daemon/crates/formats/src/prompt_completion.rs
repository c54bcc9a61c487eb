//! Prompts with their completions, as TRL's format has them.
//!
//! | field | |
//! |---|---|
//! | `prompt` | text, or a list of `{role, content}` |
//! | `completion` | the same |
//!
//! Two texts become an instruction and its output, lists of turns one conversation.

use autodidact_domain::{Body, Message, Role};
use serde_json::Value;

use crate::chat::{check_user_turn, turns};
use crate::fault::{Fault, Reason};
use crate::fields::{Fields, required_text};
use crate::format::{Format, is_told_as};
use crate::metadata::example_leniently;

pub(crate) const FORMAT: Format = Format {
    name: "prompt-completion",
    fields: "prompt, completion",
    recognises: |fields| is_told_as("prompt-completion", fields),
    read: |fields| Ok(example_leniently(body(fields, "completion")?, fields)),
    write: None,
};

/// Reads a record's `prompt` and the named answer to it.
///
/// An answer that is a whole conversation needs no prompt, and takes the place of one that is a text: it begins with it.
pub(crate) fn body(fields: &Fields, answer: &str) -> Result<Body, Fault> {
    let is_list = |name: &str| matches!(fields.get(name), Some(Value::Array(_)));
    if !is_list("prompt") && !is_list(answer) {
        let prompt = required_text(fields, "prompt")?;
        return Ok(Body::instruction(
            prompt,
            "",
            required_text(fields, answer)?,
        ));
    }
    let last = match is_list(answer) {
        true => turns(fields, answer)?,
        false => vec![Message::assistant(required_text(fields, answer)?)],
    };
    let is_whole = last.iter().any(|message| message.role == Role::User);
    let mut messages = match (is_list("prompt"), is_whole) {
        (true, _) => turns(fields, "prompt")?,
        (false, true) => Vec::new(),
        (false, false) => vec![Message::user(required_text(fields, "prompt")?)],
    };
    // A conversation that repeats its prompt is told once.
    if !is_whole || !last.starts_with(&messages) {
        messages.extend(last.iter().cloned());
    } else {
        messages = last;
    }
    check_user_turn(&messages, "prompt")?;
    let misplaced = messages.iter().skip(1).any(|m| m.role == Role::System);
    if misplaced || messages.last().is_none_or(|m| m.role != Role::Assistant) {
        return Err(Fault::new(
            Reason::WrongType,
            format!("an assistant turn at the end of `{answer}`, and a system turn only first"),
            format!("{} turns that are others", messages.len()),
        ));
    }
    Ok(Body::Chat { messages })
}
