//! How varied a set of texts is.

use std::collections::{HashMap, HashSet};

use crate::tokenize;

/// Computes the share of different n-grams of tokens among all (distinct-n; Li et al. 2016), 0 to 1; 0 when there are none.
///
/// N-grams do not reach over the borders of texts.
///
/// # Panics
/// When `n` is 0.
pub fn distinct_n<S: AsRef<str>>(texts: &[S], n: usize) -> f64 {
    assert!(n > 0, "an n-gram has at least one token");
    let texts: Vec<Vec<String>> = texts.iter().map(|text| tokenize(text.as_ref())).collect();
    let mut different: HashSet<&[String]> = HashSet::new();
    let mut total = 0usize;
    for ngram in texts.iter().flat_map(|tokens| tokens.windows(n)) {
        different.insert(ngram);
        total += 1;
    }
    if total == 0 {
        0.0
    } else {
        different.len() as f64 / total as f64
    }
}

/// Computes the Shannon entropy of the tokens of all texts together, in bits a token; 0 when there are none.
pub fn token_entropy<S: AsRef<str>>(texts: &[S]) -> f64 {
    let mut counts: HashMap<String, u64> = HashMap::new();
    for token in texts.iter().flat_map(|text| tokenize(text.as_ref())) {
        *counts.entry(token).or_default() += 1;
    }
    let mut counts: Vec<u64> = counts.into_values().collect();
    // Summed in a fixed order, so that the bits do not depend on the hash map's.
    counts.sort_unstable();
    let total = counts.iter().sum::<u64>() as f64;
    counts
        .iter()
        .map(|&count| count as f64 / total)
        .map(|share| share * (1.0 / share).log2())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinct_shares() {
        assert_eq!(distinct_n::<&str>(&[], 1), 0.0);
        assert_eq!(distinct_n(&["a b", "a c"], 1), 0.75);
        assert_eq!(distinct_n(&["a b", "a b"], 2), 0.5);
        assert_eq!(distinct_n(&["你好", "你们"], 1), 0.75);
        assert_eq!(distinct_n(&["a"], 2), 0.0);
    }

    #[test]
    fn entropies() {
        assert_eq!(token_entropy::<&str>(&[]), 0.0);
        assert_eq!(token_entropy(&["a a", "a"]), 0.0);
        assert_eq!(token_entropy(&["a b", "C d"]), 2.0);
        assert_eq!(token_entropy(&["一二", "一 三"]), 1.5);
    }
}
