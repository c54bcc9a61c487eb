//! A server's answer as a completion of ours.

use autodidact_domain::{Completion, Constraint, FinishReason, GenerateRequest, TokenLogprob};
use serde::Deserialize;
use serde_json::Value;

use crate::error::RemoteError;
use crate::http::{Call, error_message};
use crate::logprobs::Logprobs;
use crate::pay::Usage;
use crate::retry::Failure;
use crate::stop::first_stop;

/// One choice is asked for; a server that sends more than these is at fault.
const MAX_CHOICES: usize = 16;

/// An answer, or one event of a streamed one. What is not named here is skipped.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Answer {
    #[serde(default)]
    pub(crate) choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Value>,
}

/// One continuation, or a piece of it.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Choice {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    message: Option<Content>,
    #[serde(default)]
    delta: Option<Content>,
    #[serde(default)]
    pub(crate) finish_reason: Option<String>,
    /// vLLM's: the stop text that came up, where one did.
    #[serde(default)]
    pub(crate) stop_reason: Option<Value>,
    #[serde(default)]
    pub(crate) logprobs: Option<Logprobs>,
}

#[derive(Debug, Default, Deserialize)]
struct Content {
    #[serde(default)]
    content: Option<String>,
}

impl Answer {
    /// Reads an answer or an event, and refuses what is none.
    pub(crate) fn read(call: &Call<'_>, value: Value) -> Result<Self, Failure> {
        if value.get("choices").is_none() {
            let text = error_message(&value).unwrap_or_else(|| value.to_string());
            let text = call.identity.quote(&text);
            return Err(call.malformed(&format!("{text:?} in place of choices")));
        }
        let answer: Self = serde_json::from_value(value)
            .map_err(|error| call.malformed(&format!("choices that cannot be read ({error})")))?;
        if answer.choices.len() > MAX_CHOICES {
            let count = answer.choices.len();
            return Err(call.malformed(&format!("{count} choices where one was asked for")));
        }
        Ok(answer)
    }

    /// Reads the tokens used, where the server says both numbers.
    pub(crate) fn usage(&self) -> Option<Usage> {
        let usage = self.usage.as_ref()?;
        usage.get("prompt_tokens")?;
        Usage::deserialize(usage).ok()
    }

    /// Makes the completion of an answer that came whole.
    pub(crate) fn into_parts(self, call: &Call<'_>) -> Result<(Parts, Option<Usage>), Failure> {
        let usage = self.usage();
        let Some(choice) = self.choices.into_iter().next() else {
            return Err(call.malformed("no choice"));
        };
        let parts = Parts {
            finish_reason: choice.finish_reason.clone(),
            stop_reason: choice.stop_reason.clone(),
            text: choice.piece().to_string(),
            logprobs: choice.logprobs.map(Logprobs::read).unwrap_or_default(),
        };
        Ok((parts, usage))
    }
}

impl Choice {
    /// Shows its text, in whichever place this kind of answer has it.
    pub(crate) fn piece(&self) -> &str {
        self.text
            .as_deref()
            .or_else(|| content_of(&self.message))
            .or_else(|| content_of(&self.delta))
            .unwrap_or("")
    }
}

fn content_of(content: &Option<Content>) -> Option<&str> {
    content.as_ref()?.content.as_deref()
}

/// What a completion is made of.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) text: String,
    pub(crate) finish_reason: Option<String>,
    pub(crate) stop_reason: Option<Value>,
    pub(crate) logprobs: Vec<TokenLogprob>,
}

impl Parts {
    /// Makes the completion: the text up to the first stop text, and why it ended.
    pub(crate) fn into_completion(
        mut self,
        call: &Call<'_>,
        request: &GenerateRequest,
        stops: &[String],
        usage: Option<Usage>,
    ) -> Result<Completion, Failure> {
        let stop_at = first_stop(&self.text, stops);
        if let Some(at) = stop_at {
            self.text.truncate(at);
        }
        let named_stop = matches!(self.stop_reason, Some(Value::String(_)));
        let finish = match self.finish_reason.as_deref() {
            _ if stop_at.is_some() => FinishReason::Stop,
            // A text that a filter of the server's cut off is as incomplete as one cut off by its length.
            Some("length" | "content_filter") => FinishReason::Length,
            _ if named_stop => FinishReason::Stop,
            _ => FinishReason::Eos,
        };
        check_constraint(call, request, &self.text, finish)?;
        let mut bytes = 0;
        self.logprobs.retain(|token| {
            let within = bytes < self.text.len();
            bytes += token.bytes.len();
            within
        });
        let usage = usage.unwrap_or_default();
        let count = |tokens: u64| u32::try_from(tokens).unwrap_or(u32::MAX);
        Ok(Completion {
            text: self.text,
            finish,
            prompt_tokens: count(usage.prompt_tokens),
            completion_tokens: count(usage.completion_tokens),
            logprobs: self.logprobs,
        })
    }
}

/// Sees that a server which took a constraint kept to it, as far as that can be told here.
fn check_constraint(
    call: &Call<'_>,
    request: &GenerateRequest,
    text: &str,
    finish: FinishReason,
) -> Result<(), Failure> {
    let kept = match &request.constraint {
        Some(Constraint::Choices(choices)) => choices.iter().any(|choice| choice == text),
        Some(Constraint::JsonSchema(_)) if finish != FinishReason::Length => {
            serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
        }
        _ => true,
    };
    if kept || request.constraint_may_lapse {
        return Ok(());
    }
    Err(Failure::Final(RemoteError::Malformed(format!(
        "{} answered {:?}, which is not of the form asked for: its server passed the constraint over; set constraints of [remote_models.{}] to a form that it knows",
        call.place(),
        call.identity.quote(text),
        call.identity.name
    ))))
}
