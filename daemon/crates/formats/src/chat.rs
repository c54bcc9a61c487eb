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
use crate::format::{Format, held_elsewhere, to_line};
use crate::metadata::{Metadata, example_leniently};

pub(crate) const FORMAT: Format = Format {
    name: "chat",
    fields: "messages[{role, content}]",
    recognises,
    read,
    write,
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
    let items = required_list(fields, "messages")?;
    let messages = items
        .iter()
        .enumerate()
        .map(|(i, item)| message(i, item))
        .collect::<Result<Vec<_>, _>>()?;
    if !messages.iter().any(|message| message.role == Role::User) {
        let found = if messages.is_empty() {
            "an empty list"
        } else {
            "none"
        };
        return Err(Fault::new(
            Reason::EmptyField,
            "a user turn in `messages`",
            found,
        ));
    }
    Ok(example_leniently(Body::Chat { messages }, fields))
}

fn message(position: usize, item: &Value) -> Result<Message, Fault> {
    let fields = object(item, "objects {role, content} in `messages`")?;
    let name = required_text(fields, "role")?;
    let known = ROLES.iter().find(|(role, _)| *role == name);
    let (_, role) = *known
        .ok_or_else(|| wrong_type("`system`, `user` or `assistant` in `role`", &name.into()))?;
    if role == Role::System && position > 0 {
        let found = format!("it is turn {}", position + 1);
        return Err(Fault::new(
            Reason::WrongType,
            "the system turn first in `messages`",
            found,
        ));
    }
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
