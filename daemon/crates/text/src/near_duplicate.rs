//! An index that finds the nearest of many texts by ROUGE-L without comparing with each.

use std::collections::HashMap;

use crate::rouge::{Pattern, f_measure};
use crate::tokenize;

/// How far bounds are relaxed, so that rounding in the scores (some 1e-16) can never prune a text that brute force would find.
const SLACK: f64 = 1e-9;

/// A text in the index that is near the one asked about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Match {
    /// The number that [`NearDuplicateIndex::add`] gave it.
    pub id: usize,
    /// ROUGE-L's F measure, above the index's threshold.
    pub score: f64,
}

/// Finds near duplicates by ROUGE-L: exactly those, with exactly the scores, that comparing with every text would find.
///
/// Two bounds leave out most texts. F is at most 2·min(m, n) / (m + n) for token counts m and n. And a common subsequence of k
/// tokens means k shared tokens, so a text above the threshold shares at least one of the m - k + 1 rarest tokens of the one
/// asked about (prefix filtering; Chaudhuri, Ganti & Kaushik 2006): only those tokens' lists of texts are read.
#[derive(Clone, Debug)]
pub struct NearDuplicateIndex {
    threshold: f64,
    token_ids: HashMap<String, u32>,
    /// For each token, the texts that hold it, ascending.
    postings: Vec<Vec<u32>>,
    /// The tokens of all texts, one after another.
    tokens: Vec<u32>,
    /// Where each text's tokens end.
    ends: Vec<usize>,
}

impl NearDuplicateIndex {
    /// Makes an empty index that reports texts with a score above `threshold`, which is brought into 0..=1.
    ///
    /// At 1 nothing is ever reported, and so at a threshold that is not a number.
    pub fn new(threshold: f64) -> Self {
        let threshold = if threshold.is_nan() {
            1.0
        } else {
            threshold.clamp(0.0, 1.0)
        };
        Self {
            threshold,
            token_ids: HashMap::new(),
            postings: Vec::new(),
            tokens: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Counts the texts in the index.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Tells whether the index holds no text.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Adds a text and gives its number; they count from 0.
    ///
    /// # Panics
    /// At 2^32 texts.
    pub fn add(&mut self, text: &str) -> usize {
        let id = self.ends.len();
        let posting = u32::try_from(id).expect("an index holds fewer than 2^32 texts");
        for token in tokenize(text) {
            let next =
                u32::try_from(self.token_ids.len()).expect("an index holds fewer than 2^32 tokens");
            let token = *self.token_ids.entry(token).or_insert(next);
            if token == next && self.postings.len() == next as usize {
                self.postings.push(Vec::new());
            }
            let list = &mut self.postings[token as usize];
            if list.last() != Some(&posting) {
                list.push(posting);
            }
            self.tokens.push(token);
        }
        self.ends.push(self.tokens.len());
        id
    }

    /// Finds the text with the highest score above the threshold; of equal ones, the one added first.
    pub fn nearest(&self, text: &str) -> Option<Match> {
        let query = Query::new(self, &tokenize(text))?;
        let mut shared = Vec::new();
        let mut best: Option<Match> = None;
        for id in self.candidates(&query) {
            let must_beat = best.map_or(self.threshold, |found| found.score);
            let score = query.score_at_least(must_beat - SLACK, self.tokens_of(id), &mut shared);
            if let Some(score) = score.filter(|&score| score > must_beat) {
                best = Some(Match { id, score });
            }
        }
        best
    }

    /// Lists, ascending, the texts that hold one of the query's rarest tokens.
    fn candidates(&self, query: &Query) -> Vec<usize> {
        let mut seen = vec![0u64; self.len().div_ceil(64)];
        for &token in query.rarest(self.threshold) {
            for &id in &self.postings[token as usize] {
                seen[id as usize / 64] |= 1 << (id % 64);
            }
        }
        let mut candidates = Vec::new();
        for (position, mut word) in seen.into_iter().enumerate() {
            while word != 0 {
                candidates.push(position * 64 + word.trailing_zeros() as usize);
                word &= word - 1;
            }
        }
        candidates
    }

    fn tokens_of(&self, id: usize) -> &[u32] {
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        &self.tokens[start..self.ends[id]]
    }
}

/// The mark of a token that the query lacks.
const ABSENT: u32 = u32::MAX;

/// A text asked about, in the index's token numbers.
struct Query {
    /// How many tokens it has, also those that no text in the index holds.
    len: usize,
    /// Its tokens that some text in the index holds, rarest first, each as often as it occurs.
    by_rarity: Vec<u32>,
    /// For each of the index's tokens its number within the query, or [`ABSENT`].
    local_ids: Vec<u32>,
    /// Its tokens that some text in the index holds, in order.
    pattern: Pattern,
}

impl Query {
    /// Looks the tokens up; none when the index holds none of them.
    fn new(index: &NearDuplicateIndex, tokens: &[String]) -> Option<Self> {
        let mut by_rarity: Vec<u32> = tokens
            .iter()
            .filter_map(|token| index.token_ids.get(token).copied())
            .collect();
        if by_rarity.is_empty() {
            return None;
        }
        let mut local_ids = vec![ABSENT; index.postings.len()];
        let mut vocabulary = 0;
        let mut pattern = Vec::with_capacity(by_rarity.len());
        for &token in &by_rarity {
            let local = &mut local_ids[token as usize];
            if *local == ABSENT {
                *local = vocabulary;
                vocabulary += 1;
            }
            pattern.push(*local);
        }
        by_rarity.sort_unstable_by_key(|&token| (index.postings[token as usize].len(), token));
        let pattern = Pattern::new(pattern, vocabulary as usize);
        Some(Self {
            len: tokens.len(),
            by_rarity,
            local_ids,
            pattern,
        })
    }

    /// Shows the tokens of which every text above the threshold holds at least one.
    fn rarest(&self, threshold: f64) -> &[u32] {
        // F <= 2k / (m + k) for a common subsequence of k tokens, so F > t asks for k > t·m / (2 - t).
        let least_common = (threshold * self.len as f64 / (2.0 - threshold)
            - SLACK * self.len as f64)
            .ceil()
            .max(1.0);
        let unknown = self.len - self.by_rarity.len();
        let prefix = (self.len + 1)
            .saturating_sub(least_common as usize)
            .saturating_sub(unknown);
        &self.by_rarity[..prefix.min(self.by_rarity.len())]
    }

    /// Scores a text, unless a bound shows that its score is below `least`.
    fn score_at_least(&self, least: f64, tokens: &[u32], shared: &mut Vec<u32>) -> Option<f64> {
        let total = (self.len + tokens.len()) as f64;
        if 2.0 * (self.len.min(tokens.len()) as f64) / total < least {
            return None;
        }
        shared.clear();
        shared.extend(
            tokens
                .iter()
                .map(|&token| self.local_ids[token as usize])
                .filter(|&local| local != ABSENT),
        );
        if 2.0 * shared.len() as f64 / total < least {
            return None;
        }
        Some(f_measure(
            self.pattern.lcs_length(shared),
            self.len,
            tokens.len(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use autodidact_domain::random::Random;
    use proptest::prelude::*;

    use super::*;
    use crate::rouge_l;

    /// Compares with every text.
    fn brute_force(texts: &[String], text: &str, threshold: f64) -> Option<Match> {
        let query = tokenize(text);
        let mut best: Option<Match> = None;
        for (id, other) in texts.iter().enumerate() {
            let score = rouge_l(&query, &tokenize(other));
            if score > best.map_or(threshold, |found| found.score) {
                best = Some(Match { id, score });
            }
        }
        best
    }

    /// Draws a text of a small vocabulary, so that near duplicates are common and ties occur.
    fn draw_text(random: &mut Random) -> String {
        const ENGLISH: &str =
            "write a short poem about the sea and name two cities in list of words for me";
        const CHINESE: &str = "请写一首关于大海的短诗并列出两个城市名称给我";
        let english: Vec<&str> = ENGLISH.split(' ').collect();
        let chinese: Vec<char> = CHINESE.chars().collect();
        let longest = if random.below(50) == 0 { 200 } else { 14 };
        let mut text = String::new();
        let mixed = random.below(3);
        for _ in 0..random.below(longest) {
            if mixed == 0 || (mixed == 2 && random.below(2) == 0) {
                text.push_str(english[random.below(english.len())]);
                text.push(' ');
            } else {
                text.push(chinese[random.below(chinese.len())]);
            }
        }
        text
    }

    #[test]
    fn decides_as_brute_force_does() {
        let mut found = 0;
        for step in 3..=10 {
            let threshold = f64::from(step) / 10.0;
            for seed in 0..6 {
                let mut random = Random::at(seed, &["near-duplicate", &step.to_string()]);
                let mut index = NearDuplicateIndex::new(threshold);
                let mut texts: Vec<String> = Vec::new();
                for _ in 0..150 {
                    let text = draw_text(&mut random);
                    let expect = brute_force(&texts, &text, threshold);
                    assert_eq!(
                        index.nearest(&text),
                        expect,
                        "threshold {threshold} seed {seed}: {text:?}"
                    );
                    found += usize::from(expect.is_some());
                    assert_eq!(index.add(&text), texts.len());
                    texts.push(text);
                }
            }
        }
        assert!(
            found > 500,
            "only {found} near duplicates: the test proves little"
        );
    }

    proptest! {
        #[test]
        fn decides_as_brute_force_does_on_any_text(
            texts in prop::collection::vec("[a-c ]{0,12}|[一二三，]{0,9}|\\PC{0,12}", 0..24),
            threshold in 0.0..=1.0,
        ) {
            let mut index = NearDuplicateIndex::new(threshold);
            for text in &texts {
                index.add(text);
            }
            for text in &texts {
                prop_assert_eq!(index.nearest(text), brute_force(&texts, text, threshold));
            }
        }
    }

    #[test]
    fn ties_go_to_the_lowest_number() {
        let mut index = NearDuplicateIndex::new(0.7);
        for text in ["列出三种水果。", "Name three fruits.", "name THREE fruits"] {
            index.add(text);
        }
        assert_eq!(
            index.nearest("Name three fruits!"),
            Some(Match { id: 1, score: 1.0 })
        );
        assert_eq!(
            index.nearest("列出三种水果"),
            Some(Match { id: 0, score: 1.0 })
        );
        assert_eq!(index.nearest("Something else entirely"), None);
        assert_eq!(index.nearest(""), None);
        assert_eq!(index.len(), 3);
    }

    #[test]
    fn the_threshold_itself_is_not_above() {
        let mut index = NearDuplicateIndex::new(0.5);
        index.add("a b c d");
        assert_eq!(index.nearest("a b x y"), None);
        assert!(NearDuplicateIndex::new(f64::NAN).is_empty());
    }
}
