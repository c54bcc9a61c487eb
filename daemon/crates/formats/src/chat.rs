//! Chat messages, as OpenAI's and TRL's formats have them.
//!
//! | field | |
//! |---|---|
//! | `messages` | a list of `{role, content}` with at least one user turn; a system turn only comes first |
//! | `role` | `system` (or `developer`), `user`, `assistant` |
//! | `content` | text |

use autodidact_domain::{Body, Example, Message, Role};
use serde::Serialize;
use serde_json::Value;

use crate::fault::{Fault, Reason};
use crate::fields::{Fields, object, required_list, required_text, wrong_type};
use crate::format::{Format, Write, held_elsewhere, to_line};
use crate::metadata::{Metadata, example_leniently};

pub(crate) const FORMAT: Format = Format {
    name: "chat",
    fields: "messages[{role, content}]",
    recognises,
    read,
    write: Some(Write::lines(write)),
};

/// The names of roles in files.
const ROLES: [(&str, Role); 4] = [
    ("system", Role::System),
    ("developer", Role::System),
    ("user", Role::User),
    ("assistant", Role::Assistant),
];

fn recognises(fields: &Fields) -> bool {
    fields.contains_key("messages") && !fields.contains_key("instances")
}

fn read(fields: &Fields) -> Result<Example, Fault> {
    let messages = turns(fields, "messages")?;
    check_user_turn(&messages, "messages")?;
    Ok(example_leniently(Body::Chat { messages }, fields))
}

/// Reads a field's list of turns.
pub(crate) fn turns(fields: &Fields, name: &str) -> Result<Vec<Message>, Fault> {
    let items = required_list(fields, name)?;
    items
        .iter()
        .enumerate()
        .map(|(position, item)| message(position, item, name))
        .collect()
}

/// Refuses a conversation in which nobody asks.
pub(crate) fn check_user_turn(messages: &[Message], name: &str) -> Result<(), Fault> {
    if messages.iter().any(|message| message.role == Role::User) {
        return Ok(());
    }
    let found = match messages {
        [] => "an empty list",
        _ => "none",
    };
    let expected = format!("a user turn in `{name}`");
    Err(Fault::new(Reason::EmptyField, expected, found))
}

/// Refuses a system turn that is not the first.
pub(crate) fn check_system_turn(position: usize, role: Role, name: &str) -> Result<(), Fault> {
    if role != Role::System || position == 0 {
        return Ok(());
    }
    Err(Fault::new(
        Reason::WrongType,
        format!("the system turn first in `{name}`"),
        format!("it is turn {}", position + 1),
    ))
}

fn message(position: usize, item: &Value, name: &str) -> Result<Message, Fault> {
    let fields = object(item, &format!("objects {{role, content}} in `{name}`"))?;
    let role = required_text(fields, "role")?;
    let known = ROLES.iter().find(|(known, _)| *known == role);
    let (_, role) = *known
        .ok_or_else(|| wrong_type("`system`, `user` or `assistant` in `role`", &role.into()))?;
    check_system_turn(position, role, name)?;
    Ok(Message {
        role,
        content: required_text(fields, "content")?.to_string(),
    })
}

/// A record as it is written.
#[derive(Serialize)]
struct Record<'example> {
    messages: Vec<Turn<'example>>,
    #[serde(flatten)]
    metadata: Metadata<'example>,
}

#[derive(Serialize)]
struct Turn<'example> {
    role: &'static str,
    content: &'example str,
}

fn write(example: &Example, _position: usize) -> Result<String, &'static str> {
    let messages = match &example.body {
        body @ (Body::Instruction { .. } | Body::Chat { .. }) => body.to_messages(),
        body @ (Body::Text { .. } | Body::Labelled { .. } | Body::Tagged { .. }) => {
            return Err(held_elsewhere(body));
        }
    };
    let messages = messages
        .iter()
        .map(|m| Turn {
            role: m.role.as_str(),
            content: &m.content,
        })
        .collect();
    Ok(to_line(&Record {
        messages,
        metadata: Metadata::of(example),
    }))
}
