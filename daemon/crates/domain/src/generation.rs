//! Asking a model for text.

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
    /// Divides (positive) or multiplies (negative) the logits of tokens seen in prompt or completion (Keskar et al. 2019); 1 is off.
    pub repetition_penalty: f32,
    /// Subtracted once from the logits of tokens that the completion holds already; 0 is off.
    pub presence_penalty: f32,
    /// The most tokens to generate.
    pub max_tokens: u32,
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
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            max_tokens: 128,
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
}

/// Why a completion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended its turn.
    Eos,
    /// A stop text came up.
    Stop,
    /// `max_tokens` or the context was reached.
    Length,
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
}

/// How well a model predicts a given answer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResponseLoss {
    /// The sum of negative log-likelihoods over the answer's tokens, in nats.
    pub negative_log_likelihood: f64,
    /// The answer's tokens, its end-of-turn token included.
    pub tokens: u32,
}
