//! ShareGPT conversations.
//!
//! | field | |
//! |---|---|
//! | `conversations` | a list of `{from, value}` with at least one turn of a person's; a system turn only comes first |
//! | `from` | `system`, `human` (or `user`), `gpt` (or `assistant`, `chatgpt`, `bing`, `bard`) |
//! | `value` | text |
//! | `system` | text, before all turns; may be absent, null or empty |
//!
//! It is written as one JSON list, the system text as the first turn.

use autodidact_domain::{Body, Example, Message, Role};
use serde::Serialize;
use serde_json::Value;

use crate::chat::{check_system_turn, check_user_turn};
use crate::fault::{Fault, Reason};
use crate::fields::{Fields, object, optional_text, required_list, required_text, wrong_type};
use crate::format::{Format, OF_TASKS, Write, held_elsewhere, to_line};
use crate::metadata::{Metadata, example_leniently};

pub(crate) const FORMAT: Format = Format {
    name: "sharegpt",
    fields: "conversations[{from, value}], system?",
    recognises,
    read,
    write: Some(Write::list(write)),
};

/// The names of roles in files; writers take the first of each.
const ROLES: [(&str, Role); 8] = [
    ("system", Role::System),
    ("human", Role::User),
    ("gpt", Role::Assistant),
    ("user", Role::User),
    ("assistant", Role::Assistant),
    ("chatgpt", Role::Assistant),
    ("bing", Role::Assistant),
    ("bard", Role::Assistant),
];

fn recognises(fields: &Fields) -> bool {
    let told = OF_TASKS.iter().filter(|field| fields.contains_key(**field));
    told.eq(["conversations"].iter())
}

fn read(fields: &Fields) -> Result<Example, Fault> {
    let items = required_list(fields, "conversations")?;
    let turns = items.iter().enumerate();
    let mut messages = turns
        .map(|(position, item)| turn(position, item))
        .collect::<Result<Vec<_>, _>>()?;
    check_user_turn(&messages, "conversations")?;
    let system = optional_text(fields, "system")?.filter(|system| !system.trim().is_empty());
    if let Some(system) = system {
        if messages[0].role == Role::System {
            return Err(Fault::new(
                Reason::WrongType,
                "one system text",
                "both `system` and a system turn",
            ));
        }
        let content = system.to_string();
        let role = Role::System;
        messages.insert(0, Message { role, content });
    }
    Ok(example_leniently(Body::Chat { messages }, fields))
}

fn turn(position: usize, item: &Value) -> Result<Message, Fault> {
    let fields = object(item, "objects {from, value} in `conversations`")?;
    let from = required_text(fields, "from")?;
    let known = ROLES.iter().find(|(name, _)| *name == from);
    let (_, role) =
        *known.ok_or_else(|| wrong_type("`system`, `human` or `gpt` in `from`", &from.into()))?;
    check_system_turn(position, role, "conversations")?;
    Ok(Message {
        role,
        content: required_text(fields, "value")?.to_string(),
    })
}

/// A record as it is written.
#[derive(Serialize)]
struct Record<'example> {
    conversations: Vec<Turn<'example>>,
    #[serde(flatten)]
    metadata: Metadata<'example>,
}

#[derive(Serialize)]
struct Turn<'example> {
    from: &'static str,
    value: &'example str,
}

fn write(example: &Example, _position: usize) -> Result<String, &'static str> {
    let messages = match &example.body {
        body @ (Body::Instruction { .. } | Body::Chat { .. }) => body.to_messages(),
        body @ (Body::Text { .. } | Body::Labelled { .. } | Body::Tagged { .. }) => {
            return Err(held_elsewhere(body));
        }
    };
    let turn = |message: &'_ Message| {
        let named = ROLES.iter().find(|(_, role)| *role == message.role);
        named.map_or("human", |(name, _)| name)
    };
    let conversations = messages
        .iter()
        .map(|message| Turn {
            from: turn(message),
            value: &message.content,
        })
        .collect();
    Ok(to_line(&Record {
        conversations,
        metadata: Metadata::of(example),
    }))
}
