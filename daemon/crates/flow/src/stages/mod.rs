//! One file a stage. `run.rs` puts them in order.

pub(crate) mod evaluate;
pub(crate) mod filter;
pub(crate) mod generate;
pub(crate) mod promote;
pub(crate) mod respond;
pub(crate) mod train;
pub(crate) mod validate;

use autodidact_domain::{Example, Language};

/// Tells an example's language, from what is known or else from its script.
pub(crate) fn language_of(example: &Example, default: Language) -> Language {
    example
        .language
        .or_else(|| autodidact_text::detect_language(example.body.instruction_text()))
        .unwrap_or(default)
}
