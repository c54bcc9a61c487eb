//! Completions as OpenAI's objects, whole and in chunks.

use std::time::{SystemTime, UNIX_EPOCH};

use autodidact_proto::v1;
use serde_json::{Value, json};

use super::request::arbitrary;

/// Which of the two interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Chat,
    Text,
}

impl Kind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Chat => "chatcmpl",
            Self::Text => "cmpl",
        }
    }
}

/// What all objects of an answer have in common.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) kind: Kind,
    pub(super) id: String,
    /// The model as the call named it.
    pub(super) model: String,
    /// Seconds since 1970 (UTC).
    pub(super) created: u64,
}

/// The tokens of a call.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    prompt: u64,
    completion: u64,
}

impl Usage {
    /// Counts completions of which `each` belong to one prompt, whose tokens count once.
    pub(super) fn add(&mut self, index: usize, each: usize, completion: &v1::Completion) {
        self.completion += u64::from(completion.completion_tokens);
        if index.is_multiple_of(each.max(1)) {
            self.prompt += u64::from(completion.prompt_tokens);
        }
    }

    fn to_json(self) -> Value {
        json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
        })
    }
}

impl Shape {
    /// Names an answer that begins now.
    pub(super) fn new(kind: Kind, model: String) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            kind,
            id: format!("{}-{:016x}", kind.prefix(), arbitrary()),
            model,
            created: since.map_or(0, |since| since.as_secs()),
        }
    }

    /// Writes the whole answer to a call with this many prompts.
    pub(super) fn whole(&self, completions: &[v1::Completion], prompts: usize) -> Value {
        let each = completions.len() / prompts.max(1);
        let mut usage = Usage::default();
        let mut choices = Vec::with_capacity(completions.len());
        for (index, completion) in completions.iter().enumerate() {
            usage.add(index, each, completion);
            let finish = finish_reason(completion);
            choices.push(match self.kind {
                Kind::Chat => json!({
                    "index": index,
                    "message": {"role": "assistant", "content": completion.text, "refusal": null},
                    "logprobs": self.logprobs(completion),
                    "finish_reason": finish,
                }),
                Kind::Text => json!({
                    "index": index,
                    "text": completion.text,
                    "logprobs": self.logprobs(completion),
                    "finish_reason": finish,
                }),
            });
        }
        let object = match self.kind {
            Kind::Chat => "chat.completion",
            Kind::Text => "text_completion",
        };
        self.object(object, choices, Some(usage.to_json()))
    }

    /// Writes the chunk that opens a choice, where the kind has one.
    pub(super) fn opening(&self, index: usize) -> Option<Value> {
        let delta = json!({"role": "assistant", "content": ""});
        (self.kind == Kind::Chat)
            .then(|| self.chunk(json!({"index": index, "delta": delta, "finish_reason": null})))
    }

    /// Writes a chunk with the next piece of a choice.
    pub(super) fn piece(&self, index: usize, text: &str) -> Value {
        self.chunk(match self.kind {
            Kind::Chat => {
                json!({"index": index, "delta": {"content": text}, "finish_reason": null})
            }
            Kind::Text => json!({"index": index, "text": text, "finish_reason": null}),
        })
    }

    /// Writes the chunk that closes a choice; its text was in those before.
    pub(super) fn closing(&self, index: usize, completion: &v1::Completion) -> Value {
        let (finish, logprobs) = (finish_reason(completion), self.logprobs(completion));
        self.chunk(match self.kind {
            Kind::Chat => {
                json!({"index": index, "delta": {}, "logprobs": logprobs, "finish_reason": finish})
            }
            Kind::Text => {
                json!({"index": index, "text": "", "logprobs": logprobs, "finish_reason": finish})
            }
        })
    }

    /// Writes the last chunk of a call that asked what it used.
    pub(super) fn usage(&self, usage: Usage) -> Value {
        self.object(self.chunk_name(), Vec::new(), Some(usage.to_json()))
    }

    fn chunk(&self, choice: Value) -> Value {
        self.object(self.chunk_name(), vec![choice], None)
    }

    fn chunk_name(&self) -> &'static str {
        match self.kind {
            Kind::Chat => "chat.completion.chunk",
            Kind::Text => "text_completion",
        }
    }

    fn object(&self, name: &str, choices: Vec<Value>, usage: Option<Value>) -> Value {
        let mut object = json!({
            "id": self.id, "object": name, "created": self.created, "model": self.model, "choices": choices,
        });
        if let Some(usage) = usage {
            object["usage"] = usage;
        }
        object
    }

    fn logprobs(&self, completion: &v1::Completion) -> Value {
        if completion.logprobs.is_empty() {
            return Value::Null;
        }
        match self.kind {
            Kind::Chat => {
                let token = |token: &v1::TokenLogprob| {
                    let top = token.top.iter().map(|top| one(&top.bytes, top.logprob));
                    let mut object = one(&token.bytes, token.logprob);
                    object["top_logprobs"] = top.collect();
                    object
                };
                let content: Vec<Value> = completion.logprobs.iter().map(token).collect();
                json!({"content": content, "refusal": null})
            }
            Kind::Text => text_logprobs(&completion.logprobs),
        }
    }
}

fn one(bytes: &[u8], logprob: f32) -> Value {
    json!({"token": String::from_utf8_lossy(bytes), "logprob": logprob, "bytes": bytes})
}

/// Writes the four lists of the older interface; offsets count characters from the beginning of the completion.
fn text_logprobs(logprobs: &[v1::TokenLogprob]) -> Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut offset = 0;
    let (mut tokens, mut chosen, mut top, mut offsets) = (vec![], vec![], vec![], vec![]);
    for token in logprobs {
        let word = text(&token.bytes);
        offsets.push(offset);
        offset += word.chars().count();
        tokens.push(word);
        chosen.push(token.logprob);
        let others = token.top.iter();
        let others = others.map(|other| (text(&other.bytes), json!(other.logprob)));
        top.push(Value::Object(others.collect()));
    }
    json!({"tokens": tokens, "token_logprobs": chosen, "top_logprobs": top, "text_offset": offsets})
}

fn finish_reason(completion: &v1::Completion) -> &'static str {
    match completion.finish() {
        v1::FinishReason::Length => "length",
        v1::FinishReason::Eos | v1::FinishReason::Stop | v1::FinishReason::Unspecified => "stop",
    }
}
