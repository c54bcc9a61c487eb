//! How an instruction ends.

use autodidact_plugin::text::fold_width;

use super::quote;

/// Marks after which a sentence goes on. `=` and `+` stay allowed: "5 + 7 =", "C++".
const OPEN_ENDS: &str = ",;、—–-&/([{“‘「『《〈【";

/// English words that no sentence ends with, unless a mark follows.
const OPEN_WORDS: [&str; 14] = [
    "a", "an", "the", "and", "or", "but", "nor", "because", "than", "whose", "my", "your", "its",
    "their",
];

/// Chinese words that no sentence ends with. Those that also end another word (和 in 总和) are left out.
const OPEN_WORDS_CHINESE: [&str; 11] = [
    "或", "或者", "以及", "并且", "而且", "但是", "因为", "如果", "虽然", "例如", "比如",
];

/// Finds a colon at the end: what should follow is missing.
pub(super) fn colon(text: &str) -> Option<String> {
    (fold_width(text.chars().next_back()?) == ':').then(|| format!("ends with {}", tail(text)))
}

/// Finds an end in the middle of a sentence.
pub(super) fn cut(text: &str) -> Option<String> {
    let last = fold_width(text.chars().next_back()?);
    let word = text
        .rsplit(|c: char| !c.is_alphabetic())
        .next()
        .unwrap_or("");
    let cut = OPEN_ENDS.contains(last)
        || OPEN_WORDS.contains(&word)
        || OPEN_WORDS_CHINESE.iter().any(|word| text.ends_with(word));
    cut.then(|| format!("ends with {}", tail(text)))
}

fn tail(text: &str) -> String {
    let skip = text.chars().count().saturating_sub(16);
    quote(&text.chars().skip(skip).collect::<String>())
}
