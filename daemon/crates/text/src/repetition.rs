//! Whether a text goes in circles, as small models' answers do.

use std::collections::HashSet;

use crate::tokenize;

/// The n-grams whose repetition is telling (seq-rep-4; Welleck et al. 2020).
const NGRAM: usize = 4;
/// The share of repeated 4-grams from which a text counts as going in circles; ordinary prose stays below 0.1.
const MOST_REPEATED: f64 = 0.5;
/// The least number of 4-grams to judge by: short refrains are no defect.
const FEWEST_NGRAMS: usize = 16;
/// The number of equal tokens in a row that counts as going in circles in a text of any length.
const LONGEST_RUN: usize = 10;

/// Computes the share of n-grams of tokens that repeat an earlier one, 0 to 1; 0 when there are none.
///
/// # Panics
/// When `n` is 0.
pub fn repetition(text: &str, n: usize) -> f64 {
    assert!(n > 0, "an n-gram has at least one token");
    repeated_share(&tokenize(text), n)
}

/// Tells whether a text goes in circles: at least half of its 4-grams repeat earlier ones (of 16 or more), or one token stands
/// ten times in a row.
pub fn has_repetition(text: &str) -> bool {
    let tokens = tokenize(text);
    let enough = tokens.len() >= FEWEST_NGRAMS + NGRAM - 1;
    let run = tokens
        .chunk_by(|a, b| a == b)
        .map(<[String]>::len)
        .max()
        .unwrap_or(0);
    run >= LONGEST_RUN || (enough && repeated_share(&tokens, NGRAM) >= MOST_REPEATED)
}

fn repeated_share(tokens: &[String], n: usize) -> f64 {
    let total = (tokens.len() + 1).saturating_sub(n);
    if total == 0 {
        return 0.0;
    }
    let different: HashSet<&[String]> = tokens.windows(n).collect();
    1.0 - different.len() as f64 / total as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares() {
        assert_eq!(repetition("", 1), 0.0);
        assert_eq!(repetition("a b c", 4), 0.0);
        assert_eq!(repetition("a a a a", 1), 0.75);
        assert_eq!(repetition("哈哈", 1), 0.5);
    }

    #[test]
    fn circles() {
        assert!(has_repetition(&"I am sorry, but I can. ".repeat(10)));
        assert!(has_repetition(&"我很抱歉。".repeat(10)));
        assert!(has_repetition(&"ha ".repeat(10)));
        assert!(!has_repetition(&"ha ".repeat(9)));
        assert!(!has_repetition(
            "Row, row, row your boat, gently down the stream. Merrily, merrily, merrily, merrily, life is but a dream."
        ));
        assert!(!has_repetition("1. 苹果\n2. 香蕉\n3. 橙子"));
    }
}
