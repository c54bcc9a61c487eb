//! chrF (Popović 2015): the F score of character n-grams, made for translations.

use std::collections::HashMap;

/// The longest n-grams that count (Popović 2015; sacrebleu's default).
const LONGEST: usize = 6;
/// How much more recall weighs than precision (chrF2; sacrebleu's default).
const BETA: f64 = 2.0;

/// Scores a translation against a reference: chrF2, 0 to 100, as sacrebleu's sentence score defines it.
///
/// Blanks are left out, case and punctuation count. Precision and recall are averaged over those orders 1 to 6 of which both
/// texts have n-grams, and then joined to one F score; where there is no such order the score is 0.
pub fn chrf(hypothesis: &str, reference: &str) -> f64 {
    let hypothesis = without_blanks(hypothesis);
    let reference = without_blanks(reference);
    let (mut precision, mut recall, mut orders) = (0.0, 0.0, 0.0);
    for order in 1..=LONGEST.min(hypothesis.len()).min(reference.len()) {
        let matches = matching_ngrams(&hypothesis, &reference, order) as f64;
        precision += matches / (hypothesis.len() + 1 - order) as f64;
        recall += matches / (reference.len() + 1 - order) as f64;
        orders += 1.0;
    }
    if precision + recall == 0.0 {
        return 0.0;
    }
    precision /= orders;
    recall /= orders;
    let factor = BETA * BETA;
    100.0 * ((1.0 + factor) * precision * recall / (factor * precision + recall))
}

/// Leaves out what Python's `str.split` splits at: Unicode white space and the four ASCII separators.
fn without_blanks(text: &str) -> Vec<char> {
    text.chars()
        .filter(|c| !c.is_whitespace() && !('\x1c'..='\x1f').contains(c))
        .collect()
}

/// Counts the n-grams that both have, each as often as in the one that has fewer.
fn matching_ngrams(hypothesis: &[char], reference: &[char], order: usize) -> usize {
    let mut left: HashMap<&[char], usize> = HashMap::with_capacity(reference.len());
    for ngram in reference.windows(order) {
        *left.entry(ngram).or_default() += 1;
    }
    let mut matches = 0;
    for ngram in hypothesis.windows(order) {
        if let Some(count) = left.get_mut(ngram).filter(|count| **count > 0) {
            *count -= 1;
            matches += 1;
        }
    }
    matches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes() {
        assert_eq!(chrf("", ""), 0.0);
        assert_eq!(chrf("a", ""), 0.0);
        assert_eq!(chrf("abc", "xyz"), 0.0);
        assert_eq!(chrf("谢谢您。", "谢谢您。"), 100.0);
        assert_eq!(chrf("two words", "two  words "), 100.0);
    }
}
