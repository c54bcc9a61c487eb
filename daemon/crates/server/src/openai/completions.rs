//! `/v1/completions`: plain text to be continued.

use autodidact_proto::v1::generate_request::Prompt;
use serde_json::json;

use super::ApiError;
use super::answer::Kind;
use super::fields::Fields;
use super::request::{self, OneOrMany, Wish};

/// The most tokens of a completion where the call does not say, as OpenAI's.
const DEFAULT_MAX_TOKENS: u32 = 16;

/// Reads and checks a call.
pub(super) fn read(mut fields: Fields) -> Result<Wish, ApiError> {
    let texts: OneOrMany = fields.require("prompt").map_err(|_| {
        ApiError::field(
            "prompt",
            "expected a text or a list of texts; token ids are not taken",
        )
    })?;
    let prompts: Vec<Prompt> = texts.into_vec().into_iter().map(Prompt::Text).collect();
    let max_tokens: Option<u32> = fields.take("max_tokens")?;
    let logprobs: Option<u32> = fields.take("logprobs")?;
    let best_of: Option<u32> = fields.take("best_of")?;
    if best_of.is_some_and(|count| count > 1) {
        return Err(ApiError::field(
            "best_of",
            "this server does not choose among completions; ask for several by `n` with `logprobs`",
        ));
    }
    fields.refuse("echo", &[json!(false)])?;
    fields.refuse("suffix", &[json!("")])?;
    let max_tokens = max_tokens.unwrap_or(DEFAULT_MAX_TOKENS);
    request::read(fields, Kind::Text, prompts, max_tokens, logprobs)
}
