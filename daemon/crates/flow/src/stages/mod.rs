//! One file a stage. `run.rs` puts them in order.

pub(crate) mod adapt;
pub(crate) mod evaluate;
pub(crate) mod filter;
pub(crate) mod generate;
pub(crate) mod promote;
pub(crate) mod respond;
pub(crate) mod review;
pub(crate) mod train;
pub(crate) mod validate;

use autodidact_domain::verdict::Evidence;
use autodidact_domain::{Completion, Example, FinishReason, Language, Verdict};

/// Tells an example's language, from what is known or else from its script.
pub(crate) fn language_of(example: &Example, default: Language) -> Language {
    known_language(example, default).unwrap_or(default)
}

/// Tells an example's language as [`language_of`] does; none where it is neither English nor Chinese. A text without letters is of
/// the default one.
pub(crate) fn known_language(example: &Example, default: Language) -> Option<Language> {
    example.language.or_else(|| {
        let text = example.body.instruction_text();
        let is_told = || text.chars().any(char::is_alphabetic);
        autodidact_text::detect_language(&text).or_else(|| (!is_told()).then_some(default))
    })
}

/// The reason code of a prompt that fills a model's context.
pub(crate) const PROMPT_TOO_LONG: &str = "prompt_too_long";

/// Drops what a model was asked by a prompt that fills its context: that is no answer, and no failed one either.
pub(crate) fn prompt_too_long(judge: &str, completion: &Completion) -> Option<Verdict> {
    let note = match completion.prompt_tokens {
        0 => "the model's context has no room for prompt and answer".to_string(),
        tokens => format!(
            "the prompt has {tokens} tokens, and the model's context has no room for an answer"
        ),
    };
    (completion.finish == FinishReason::NoRoom).then(|| {
        Verdict::drop(
            judge,
            PROMPT_TOO_LONG,
            Evidence {
                note: Some(note),
                ..Evidence::default()
            },
        )
    })
}
