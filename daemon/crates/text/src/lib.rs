//! What can be said of text without a model: tokens, overlap, near duplicates, script, language, verbs, diversity and success.
//!
//! Every function is pure and gives the same bits on every run. The rules hold for Chinese and English alike; on ASCII text
//! tokens and ROUGE-L equal those of Google's `rouge_score` package exactly.

mod chinese;
mod chrf;
mod diversity;
mod macro_f1;
mod natural_language;
mod near_duplicate;
mod normalize;
mod quotation;
mod repetition;
mod rouge;
mod script;
mod spans;
mod success;
mod tags;
mod tokens;
mod vector_index;
mod verbs;

pub use chrf::chrf;
pub use diversity::{distinct_n, token_entropy};
pub use macro_f1::macro_f1;
pub use natural_language::{NaturalLanguage, detect_natural_language};
pub use near_duplicate::{Match, NearDuplicateIndex};
pub use normalize::{fold, normalize};
pub use quotation::{without_code, without_quotations};
pub use repetition::{has_repetition, repetition};
pub use rouge::{lcs_length, rouge_l};
pub use script::{detect_language, is_cjk};
pub use spans::{find_span, parse_spans, span_f1};
pub use success::{EXTRACTION_SPAN_F1, OPEN_ROUGE_L, TRANSLATION_CHRF, succeeds, task_type_of};
pub use tags::{TaggedSpan, micro_span_f1, tagged_spans};
pub use tokens::{count_tokens, split_words, tokenize};
pub use vector_index::{VectorIndex, cosine};
pub use verbs::first_verb;
