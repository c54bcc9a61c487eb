//! The workflow's model: capabilities `generate`, `embed` and `score`.
//!
//! Everything costs tokens of a budget, and waits for the model; ask for a whole batch at once.

#[cfg(target_family = "wasm")]
use crate::bindings::capabilities::model as host;
pub use crate::bindings::capabilities::model::{
    Completion, Continuation, Finish, Generation, Likelihood, Message, Prompt, Role,
};

impl Generation {
    /// Asks for the likeliest answer to a question, of at most so many tokens.
    pub fn likeliest(question: impl Into<String>, max_tokens: u32) -> Self {
        Self {
            prompt: Prompt::Chat(vec![Message {
                role: Role::User,
                content: question.into(),
            }]),
            max_tokens,
            temperature: 0.0,
            top_p: 1.0,
            seed: 0,
            stop: Vec::new(),
            choices: Vec::new(),
        }
    }

    /// Holds the answer to one of these.
    #[must_use]
    pub fn choosing(mut self, choices: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.choices = choices.into_iter().map(Into::into).collect();
        self
    }
}

/// Generates a completion for each request.
///
/// # Errors
/// Where it is not granted, the budget is spent, or the model fails.
pub fn generate(requests: &[Generation]) -> Result<Vec<Completion>, String> {
    #[cfg(target_family = "wasm")]
    return host::generate(requests);
    #[cfg(not(target_family = "wasm"))]
    outside("generate", requests.len())
}

/// Embeds texts: a vector of length 1 for each.
///
/// # Errors
/// As of [`generate`].
pub fn embed(texts: &[String]) -> Result<Vec<Vec<f32>>, String> {
    #[cfg(target_family = "wasm")]
    return host::embed(texts);
    #[cfg(not(target_family = "wasm"))]
    outside("embed", texts.len())
}

/// Measures how likely the texts are.
///
/// # Errors
/// As of [`generate`].
pub fn score(continuations: &[Continuation]) -> Result<Vec<Likelihood>, String> {
    #[cfg(target_family = "wasm")]
    return host::score(continuations);
    #[cfg(not(target_family = "wasm"))]
    outside("score", continuations.len())
}

#[cfg(not(target_family = "wasm"))]
fn outside<T>(what: &str, asked: usize) -> Result<Vec<T>, String> {
    Err(format!(
        "{what}: outside of the host there is no model ({asked} asked for)"
    ))
}
