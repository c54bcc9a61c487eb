//! `/v1/chat/completions`: a conversation as JSON.

use autodidact_proto::v1;
use autodidact_proto::v1::generate_request::Prompt;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiError;
use super::answer::Kind;
use super::fields::Fields;
use super::request::{self, Wish};

/// The most tokens of an answer where the call does not say; the context may hold less.
const DEFAULT_MAX_TOKENS: u32 = 2048;

#[derive(Deserialize)]
struct Turn {
    role: String,
    content: Option<Content>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
}

/// Reads and checks a call.
pub(super) fn read(mut fields: Fields) -> Result<Wish, ApiError> {
    let turns: Vec<Turn> = fields.require("messages")?;
    let messages = turns.into_iter().enumerate().map(message);
    let messages = messages.collect::<Result<Vec<_>, _>>()?;
    let old: Option<u32> = fields.take("max_tokens")?;
    let new: Option<u32> = fields.take("max_completion_tokens")?;
    let max_tokens = new.or(old).unwrap_or(DEFAULT_MAX_TOKENS);
    let wants_logprobs = fields.take("logprobs")?.unwrap_or(false);
    let top: Option<u32> = fields.take("top_logprobs")?;
    if top.is_some() && !wants_logprobs {
        return Err(ApiError::field(
            "top_logprobs",
            "it takes `logprobs` to be true",
        ));
    }
    for (name, nothing) in [
        ("tools", vec![json!([])]),
        ("tool_choice", vec![json!("none"), json!("auto")]),
        ("functions", vec![json!([])]),
        ("function_call", vec![json!("none"), json!("auto")]),
        ("modalities", vec![json!(["text"])]),
        ("audio", Vec::<Value>::new()),
        ("prediction", Vec::new()),
        ("web_search_options", Vec::new()),
    ] {
        fields.refuse(name, &nothing)?;
    }
    let prompt = Prompt::Chat(v1::Conversation { messages });
    let logprobs = wants_logprobs.then(|| top.unwrap_or(0));
    request::read(fields, Kind::Chat, vec![prompt], max_tokens, logprobs)
}

fn message((index, turn): (usize, Turn)) -> Result<v1::Message, ApiError> {
    let field = |name: &str| format!("messages[{index}].{name}");
    let role = match turn.role.as_str() {
        "system" | "developer" => v1::Role::System,
        "user" => v1::Role::User,
        "assistant" => v1::Role::Assistant,
        other => {
            return Err(ApiError::field(
                &field("role"),
                format!("expected system, developer, user or assistant, found {other:?}"),
            ));
        }
    };
    let content = match turn.content {
        Some(Content::Text(text)) => text,
        Some(Content::Parts(parts)) => {
            let text = |part: Part| match (part.kind.as_str(), part.text) {
                ("text", Some(text)) => Ok(text),
                (kind, _) => Err(ApiError::field(
                    &field("content"),
                    format!("expected parts of type text, found {kind:?}"),
                )),
            };
            parts.into_iter().map(text).collect::<Result<String, _>>()?
        }
        None => return Err(ApiError::field(&field("content"), "expected a text")),
    };
    Ok(v1::Message {
        role: role.into(),
        content,
    })
}
