//! Alpaca records.
//!
//! | field | |
//! |---|---|
//! | `instruction` | text |
//! | `input` | text; may be absent, null or empty |
//! | `output` | text |
//! | `system` | text; may be absent, null or empty |
//! | `history` | a list of [question, answer] pairs that came before; may be absent, null or empty |
//!
//! A record with a system text or a history becomes a conversation. It is written as one JSON list, as Alpaca's own file is.

use autodidact_domain::example::join_input;
use autodidact_domain::{Body, Example, Message, Role};
use serde::Serialize;
use serde_json::Value;

use crate::fault::Fault;
use crate::fields::{Fields, optional_list, optional_text, required_text, wrong_type};
use crate::format::{Format, Write, held_elsewhere, to_line};
use crate::metadata::{Metadata, example_leniently};

pub(crate) const FORMAT: Format = Format {
    name: "alpaca",
    fields: "instruction, input?, output, system?, history?",
    recognises,
    read,
    write: Some(Write::list(write)),
};

fn recognises(fields: &Fields) -> bool {
    fields.contains_key("instruction")
        && !fields.contains_key("instances")
        && !fields.contains_key("messages")
}

fn read(fields: &Fields) -> Result<Example, Fault> {
    let instruction = required_text(fields, "instruction")?;
    let input = optional_text(fields, "input")?.unwrap_or("");
    let output = required_text(fields, "output")?;
    let system = optional_text(fields, "system")?.filter(|system| !system.trim().is_empty());
    let history = optional_list(fields, "history")?.unwrap_or_default();
    let body = if system.is_none() && history.is_empty() {
        Body::instruction(instruction, input, output)
    } else {
        let mut messages = Vec::with_capacity(2 * history.len() + 3);
        messages.extend(system.map(|system| Message {
            role: Role::System,
            content: system.to_string(),
        }));
        for turn in history {
            let (question, answer) = question_and_answer(turn)?;
            messages.push(Message::user(question));
            messages.push(Message::assistant(answer));
        }
        let input = (!input.trim().is_empty()).then_some(input);
        messages.push(Message::user(join_input(instruction, input)));
        messages.push(Message::assistant(output));
        Body::Chat { messages }
    };
    Ok(example_leniently(body, fields))
}

/// Reads a record that has no output yet; nothing of one that has, or that is no task of this format.
pub(crate) fn read_unanswered(fields: &Fields) -> Option<Example> {
    let output = optional_text(fields, "output").ok()?.unwrap_or("");
    if !recognises(fields) || !output.trim().is_empty() {
        return None;
    }
    let instruction = required_text(fields, "instruction").ok()?;
    let input = optional_text(fields, "input").ok()?.unwrap_or("");
    let body = Body::instruction(instruction, input, "");
    Some(example_leniently(body, fields))
}

fn question_and_answer(turn: &Value) -> Result<(&str, &str), Fault> {
    let pair = turn.as_array().map(Vec::as_slice);
    if let Some([Value::String(question), Value::String(answer)]) = pair
        && !question.trim().is_empty()
        && !answer.trim().is_empty()
    {
        return Ok((question, answer));
    }
    Err(wrong_type(
        "[question, answer] pairs of text in `history`",
        turn,
    ))
}

/// A record as it is written.
#[derive(Serialize)]
struct Record<'example> {
    instruction: &'example str,
    input: &'example str,
    output: &'example str,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<&'example str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    history: Vec<[&'example str; 2]>,
    #[serde(flatten)]
    metadata: Metadata<'example>,
}

fn write(example: &Example, _position: usize) -> Result<String, &'static str> {
    let metadata = Metadata::of(example);
    let record = match &example.body {
        Body::Instruction { .. } if example.body.output_text().trim().is_empty() => {
            return Err("every record needs an output; `seeds` can do without");
        }
        Body::Instruction {
            instruction,
            input,
            output,
        } => Record {
            instruction,
            input: input.as_deref().unwrap_or(""),
            output: output.as_deref().unwrap_or(""),
            system: None,
            history: Vec::new(),
            metadata,
        },
        Body::Chat { messages } => {
            let (system, turns) = match messages.split_first() {
                Some((first, rest)) if first.role == Role::System => {
                    (Some(first.content.as_str()), rest)
                }
                _ => (None, messages.as_slice()),
            };
            let mut history = question_answer_pairs(turns)?;
            let [instruction, output] = history.pop().ok_or(ONLY_PAIRS)?;
            Record {
                instruction,
                input: "",
                output,
                system,
                history,
                metadata,
            }
        }
        body @ (Body::Text { .. } | Body::Labelled { .. } | Body::Tagged { .. }) => {
            return Err(held_elsewhere(body));
        }
    };
    Ok(to_line(&record))
}

const ONLY_PAIRS: &str = "a conversation must be questions and answers by turns; `chat` takes any";

fn question_answer_pairs(turns: &[Message]) -> Result<Vec<[&str; 2]>, &'static str> {
    turns
        .chunks(2)
        .map(|turn| match turn {
            [question, answer] if question.role == Role::User && answer.role == Role::Assistant => {
                Ok([question.content.as_str(), answer.content.as_str()])
            }
            _ => Err(ONLY_PAIRS),
        })
        .collect()
}
