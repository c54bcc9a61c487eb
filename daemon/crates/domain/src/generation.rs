//! Asking a model for text.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Message;

/// What a model is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prompt {
    /// Plain text to continue.
    Text(String),
    /// A conversation, laid out by the model's own chat template, with the assistant to speak next.
    Chat(Vec<Message>),
}

/// How the next token is chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 takes the likeliest token; higher flattens the distribution.
    pub temperature: f32,
    /// Keeps the k likeliest tokens; 0 keeps all.
    pub top_k: u32,
    /// Keeps the least set of tokens whose probabilities reach this sum; 1 keeps all.
    pub top_p: f32,
    /// Drops tokens less likely than this share of the likeliest one's probability (Nguyen et al. 2024); 0 keeps all.
    pub min_p: f32,
    /// Divides (positive) or multiplies (negative) the logits of tokens seen in prompt or completion (Keskar et al. 2019); 1 is off.
    pub repetition_penalty: f32,
    /// Subtracted once from the logits of tokens that the completion holds already; 0 is off.
    pub presence_penalty: f32,
    /// Subtracted from the logits of tokens that the completion holds already, once for each time; 0 is off.
    pub frequency_penalty: f32,
    /// Added to the logits of these token ids; minus infinity forbids a token.
    pub logit_bias: BTreeMap<u32, f32>,
    /// The most tokens to generate.
    pub max_tokens: u32,
    /// Before so many tokens a completion does not end by itself (a stop text ends it still).
    #[serde(default)]
    pub min_tokens: u32,
    /// What is written where it would have; empty takes the token that the model would write instead.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub early_end: String,
    /// Texts that end a completion; they are not part of it.
    pub stop: Vec<String>,
    /// The seed of this one completion.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: BTreeMap::new(),
            max_tokens: 128,
            min_tokens: 0,
            early_end: String::new(),
            stop: Vec::new(),
            seed: 0,
        }
    }
}

/// One completion asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GenerateRequest {
    /// What the model is given.
    pub prompt: Prompt,
    /// How it is continued.
    pub sampling: Sampling,
    /// What the text has to be like.
    pub constraint: Option<Constraint>,
    /// Whether a server that knows no such constraints may answer freely; then whoever asked reads the text with care.
    pub constraint_may_lapse: bool,
    /// Asks for log-probabilities: of each chosen token, and of this many of the likeliest ones at its place.
    pub logprobs: Option<u32>,
}

impl GenerateRequest {
    /// Makes a request without constraint or log-probabilities.
    pub fn new(prompt: Prompt, sampling: Sampling) -> Self {
        Self {
            prompt,
            sampling,
            constraint: None,
            constraint_may_lapse: false,
            logprobs: None,
        }
    }
}

/// A form that a completion's whole text has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Constraint {
    /// One of these texts.
    Choices(Vec<String>),
    /// A text that this regular expression matches from beginning to end (syntax of Rust's `regex` without look-around; `\d` is 0 to 9).
    Regex(String),
    /// A JSON value that this JSON schema allows, on one line, its properties in the schema's order.
    JsonSchema(serde_json::Value),
}

/// Why a completion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended its turn, or the text fulfils its constraint and could not go on.
    Eos,
    /// A stop text came up.
    Stop,
    /// `max_tokens` or the context was reached, or no token was left that the constraint and the biases allow.
    Length,
    /// The prompt alone fills the model's context, so there was no room for a token of an answer.
    NoRoom,
}

/// One completion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// The text, without stop texts or special tokens.
    pub text: String,
    /// Why it ended.
    pub finish: FinishReason,
    /// The tokens of the prompt.
    pub prompt_tokens: u32,
    /// The tokens generated.
    pub completion_tokens: u32,
    /// One entry for each of the completion's tokens, where log-probabilities were asked for: the end of the turn and what
    /// was cut off at a stop text have theirs too.
    pub logprobs: Vec<TokenLogprob>,
}

/// How likely a chosen token was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// The token's bytes; a character may be spread over several tokens. Empty for a special token, which has no text.
    pub bytes: Vec<u8>,
    /// The natural logarithm of its probability, before temperature and penalties.
    pub logprob: f32,
    /// The likeliest tokens at its place with theirs, the likeliest first.
    pub top: Vec<(Vec<u8>, f32)>,
}

/// A text to be scored after a prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScoreRequest {
    /// What the model is given.
    pub prompt: Prompt,
    /// What it is to predict: after plain text the text that follows, after a conversation the assistant's whole next turn.
    pub continuation: String,
}

/// How well a model predicts a given answer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResponseLoss {
    /// The sum of negative log-likelihoods over the answer's tokens, in nats.
    pub negative_log_likelihood: f64,
    /// The answer's tokens, its end-of-turn token included.
    pub tokens: u32,
    /// The tokens before them.
    #[serde(default)]
    pub prompt_tokens: u32,
}

impl ResponseLoss {
    /// Computes how many tokens the model hesitates between on average: the exponential of the mean loss, 1 for no tokens.
    pub fn perplexity(&self) -> f64 {
        (self.negative_log_likelihood / f64::from(self.tokens.max(1))).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_of_one_bit_a_token_is_a_choice_of_two() {
        let loss = |negative_log_likelihood, tokens| ResponseLoss {
            negative_log_likelihood,
            tokens,
            prompt_tokens: 1,
        };
        assert!((loss(6.0 * 2f64.ln(), 6).perplexity() - 2.0).abs() < 1e-12);
        assert_eq!(loss(0.0, 0).perplexity(), 1.0);
    }
}
