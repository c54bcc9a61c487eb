//! Requests for text, checked, and completions.

use autodidact_domain::{
    CheckpointId, Completion, FinishReason, GenerateRequest, Message, ModelName, ModelRef, Prompt,
    Role, Sampling,
};
use autodidact_proto::v1;
use tonic::Status;

use crate::status::{bad_field, bad_name};

/// The most tokens a call may ask for; the model's own context may be shorter.
const MAX_TOKENS: u32 = 32_768;
/// The most stop texts.
const MAX_STOPS: usize = 16;

/// Reads and checks a request.
pub(crate) fn generate_request(
    request: v1::GenerateRequest,
) -> Result<(ModelRef, GenerateRequest), Status> {
    let v1::GenerateRequest {
        model,
        adapter,
        prompt,
        sampling,
    } = request;
    let model = ModelName::new(model).map_err(bad_name("model"))?;
    let adapter = adapter
        .map(CheckpointId::new)
        .transpose()
        .map_err(bad_name("adapter"))?;
    let prompt = match prompt {
        None => return Err(bad_field("prompt", "neither a text nor a chat is set")),
        Some(v1::generate_request::Prompt::Text(text)) => Prompt::Text(text),
        Some(v1::generate_request::Prompt::Chat(chat)) => Prompt::Chat(conversation(chat)?),
    };
    let sampling = self::sampling(sampling.unwrap_or_default())?;
    Ok((
        ModelRef { model, adapter },
        GenerateRequest::new(prompt, sampling),
    ))
}

fn conversation(chat: v1::Conversation) -> Result<Vec<Message>, Status> {
    if chat.messages.is_empty() {
        return Err(bad_field("chat.messages", "at least one is needed"));
    }
    let message = |(index, message): (usize, v1::Message)| {
        let role = match message.role() {
            v1::Role::System => Role::System,
            v1::Role::User => Role::User,
            v1::Role::Assistant => Role::Assistant,
            v1::Role::Unspecified => {
                return Err(bad_field(
                    &format!("chat.messages[{index}].role"),
                    "expected system, user or assistant",
                ));
            }
        };
        Ok(Message {
            role,
            content: message.content,
        })
    };
    chat.messages.into_iter().enumerate().map(message).collect()
}

fn sampling(sampling: v1::Sampling) -> Result<Sampling, Status> {
    let default = Sampling::default();
    let read = Sampling {
        temperature: sampling.temperature.unwrap_or(default.temperature),
        top_k: sampling.top_k.unwrap_or(default.top_k),
        top_p: sampling.top_p.unwrap_or(default.top_p),
        repetition_penalty: sampling
            .repetition_penalty
            .unwrap_or(default.repetition_penalty),
        presence_penalty: sampling
            .presence_penalty
            .unwrap_or(default.presence_penalty),
        max_tokens: sampling.max_tokens.unwrap_or(default.max_tokens),
        stop: sampling.stop,
        seed: sampling.seed.unwrap_or(default.seed),
        ..default
    };
    let within = |field: &str, value: f32, low: f32, high: f32| {
        if (low..=high).contains(&value) {
            return Ok(());
        }
        Err(bad_field(
            &format!("sampling.{field}"),
            format!("expected {low} to {high}, found {value}"),
        ))
    };
    within("temperature", read.temperature, 0.0, 5.0)?;
    within("top_p", read.top_p, 0.01, 1.0)?;
    within("repetition_penalty", read.repetition_penalty, 1.0, 2.0)?;
    within("presence_penalty", read.presence_penalty, -2.0, 2.0)?;
    if !(1..=MAX_TOKENS).contains(&read.max_tokens) {
        return Err(bad_field(
            "sampling.max_tokens",
            format!("expected 1 to {MAX_TOKENS}, found {}", read.max_tokens),
        ));
    }
    if read.stop.len() > MAX_STOPS || read.stop.iter().any(String::is_empty) {
        return Err(bad_field(
            "sampling.stop",
            format!("expected at most {MAX_STOPS} texts, none of them empty"),
        ));
    }
    Ok(read)
}

pub(crate) fn completion(completion: Completion) -> v1::Completion {
    let Completion {
        text,
        finish,
        prompt_tokens,
        completion_tokens,
        logprobs: _,
    } = completion;
    let finish = match finish {
        FinishReason::Eos => v1::FinishReason::Eos,
        FinishReason::Stop => v1::FinishReason::Stop,
        FinishReason::Length => v1::FinishReason::Length,
    };
    v1::Completion {
        text,
        finish: finish.into(),
        prompt_tokens,
        completion_tokens,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_checked() {
        let good = v1::GenerateRequest {
            model: "m".into(),
            adapter: None,
            prompt: Some(v1::generate_request::Prompt::Text("a".into())),
            sampling: None,
        };
        assert!(generate_request(good.clone()).is_ok());
        let sampled = |sampling: v1::Sampling| v1::GenerateRequest {
            sampling: Some(sampling),
            ..good.clone()
        };
        let chat = v1::Conversation {
            messages: vec![v1::Message {
                role: 9,
                content: String::new(),
            }],
        };
        let bad = [
            v1::GenerateRequest {
                model: "../m".into(),
                ..good.clone()
            },
            v1::GenerateRequest {
                prompt: None,
                ..good.clone()
            },
            v1::GenerateRequest {
                prompt: Some(v1::generate_request::Prompt::Chat(chat)),
                ..good.clone()
            },
            sampled(v1::Sampling {
                temperature: Some(f32::NAN),
                ..Default::default()
            }),
            sampled(v1::Sampling {
                top_p: Some(0.0),
                ..Default::default()
            }),
            sampled(v1::Sampling {
                max_tokens: Some(0),
                ..Default::default()
            }),
            sampled(v1::Sampling {
                stop: vec![String::new()],
                ..Default::default()
            }),
        ];
        for request in bad {
            assert!(generate_request(request.clone()).is_err(), "{request:?}");
        }
    }
}
