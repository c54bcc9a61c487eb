//! How much a text repeats itself. Pure functions on text and tokens.

use std::collections::{HashMap, HashSet};

use autodidact_plugin::text::tokens;

/// The longest phrase, in tokens, whose repetition in a row is looked for.
const MAX_PHRASE_TOKENS: usize = 8;

/// Finds the sentence or line that stands most often in a text, with its count; of equals the first.
///
/// Sentences are compared by their tokens, so case and punctuation do not matter; those of fewer than `min_tokens`
/// are left out.
pub(crate) fn commonest_sentence(text: &str, min_tokens: usize) -> Option<(String, usize)> {
    let mut counts: HashMap<Vec<String>, usize> = HashMap::new();
    let mut best: Option<(String, usize)> = None;
    for sentence in text.split(['\n', '.', '!', '?', ';', '。', '！', '？', '；']) {
        let key = tokens(sentence);
        if key.len() < min_tokens.max(1) {
            continue;
        }
        let count = counts.entry(key).or_default();
        *count += 1;
        if best.as_ref().is_none_or(|(_, most)| *count > *most) {
            best = Some((sentence.trim().to_string(), *count));
        }
    }
    best
}

/// What laughter and song are made of, which say the same syllable many times.
const SYLLABLES: [&str; 14] = [
    "哈", "呵", "嘻", "嘿", "啦", "呜", "咚", "ha", "he", "ho", "la", "na", "hee", "tra",
];

/// Tells whether a phrase is a syllable of laughter or song.
pub(crate) fn is_syllable(phrase: &str) -> bool {
    SYLLABLES.contains(&phrase)
}

/// Finds the phrase of at most [`MAX_PHRASE_TOKENS`] tokens that is repeated most often in a row, with its count.
///
/// Phrases of digits alone do not count: tables and sequences hold `0 0 0 0 0`.
pub(crate) fn longest_run(tokens: &[String]) -> Option<(String, usize)> {
    let mut best: Option<(String, usize)> = None;
    for length in 1..=MAX_PHRASE_TOKENS {
        let mut equal = 0;
        for at in length..tokens.len() {
            equal = if tokens[at] == tokens[at - length] {
                equal + 1
            } else {
                0
            };
            let count = equal / length + 1;
            let phrase = &tokens[at + 1 - length..=at];
            let better = best.as_ref().is_none_or(|(_, most)| count > *most);
            if count > 1
                && better
                && phrase
                    .iter()
                    .any(|token| token.chars().any(char::is_alphabetic))
            {
                best = Some((phrase.join(" "), count));
            }
        }
    }
    best
}

/// Measures the share of tokens that lie in a sequence of `ngram` tokens that stood in the text before, 0 to 1.
pub(crate) fn repeated_share(tokens: &[String], ngram: usize) -> f64 {
    if tokens.len() <= ngram {
        return 0.0;
    }
    let mut seen = HashSet::new();
    let mut repeated = 0;
    let mut counted_to = 0;
    for (at, window) in tokens.windows(ngram).enumerate() {
        if !seen.insert(window) {
            repeated += at + ngram - counted_to.max(at);
            counted_to = at + ngram;
        }
    }
    repeated as f64 / tokens.len() as f64
}
