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
    let cut = OPEN_ENDS.contains(last)
        || ends_with_open_word(text)
        || OPEN_WORDS_CHINESE.iter().any(|word| text.ends_with(word));
    cut.then(|| format!("ends with {}", tail(text)))
}

/// Tells whether the last word is one that something follows, and is not spoken of itself.
fn ends_with_open_word(text: &str) -> bool {
    let mut words = text.rsplit(|c: char| !c.is_alphabetic());
    let word = words.next().unwrap_or("");
    if !OPEN_WORDS.contains(&word) {
        return false;
    }
    let mut before = words.filter(|word| !word.is_empty());
    let (link, first) = (before.next().unwrap_or(""), before.next().unwrap_or(""));
    // "the difference between a and an", "when do you use its or their"
    let compared = text.contains("between") || text.contains("use");
    let of_words = compared && matches!(link, "and" | "or") && OPEN_WORDS.contains(&first);
    // "Solve 3a = 12 for a", "the value of a"
    let variable = word == "a" && (text.contains('=') || (first, link) == ("value", "of"));
    !of_words && !variable
}

fn tail(text: &str) -> String {
    let skip = text.chars().count().saturating_sub(16);
    quote(&text.chars().skip(skip).collect::<String>())
}
