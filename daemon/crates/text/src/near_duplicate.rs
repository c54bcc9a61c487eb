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
/// A common subsequence of k tokens means k shared tokens, so bounds on shared tokens leave out nearly all texts before any is
/// compared. Every text's tokens are put in one order, rarest first. Two texts of m and n tokens whose first shared one in that order
/// is at i and at j (from 0) share at most min(m - i, n - j), and F is at most twice that over m + n (prefix and positional
/// filtering; Chaudhuri, Ganti & Kaushik 2006, Xiao et al. 2008). So a text is listed under its first tokens alone, with their
/// places, and one that is asked about looks its own first tokens up.
#[derive(Clone, Debug)]
pub struct NearDuplicateIndex {
    threshold: f64,
    token_ids: HashMap<String, u32>,
    /// For each token how many texts hold it.
    holders: Vec<u32>,
    /// The same when the order was made, which decides it; tokens that came later are the rarest.
    order: Vec<u32>,
    /// How many texts there were then.
    ordered: usize,
    /// For each token the texts that have it among their first ones.
    postings: Vec<Vec<Posting>>,
    /// The tokens of all texts, one after another.
    tokens: Vec<u32>,
    /// Where each text's tokens end.
    ends: Vec<usize>,
}

/// A text under one of its first tokens.
#[derive(Clone, Copy, Debug)]
struct Posting {
    id: u32,
    /// How many tokens it has.
    len: u32,
    /// The token's place in the order of its tokens.
    place: u32,
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
            holders: Vec::new(),
            order: Vec::new(),
            ordered: 0,
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
    /// At 2^32 texts, different tokens, or tokens of one text.
    pub fn add(&mut self, text: &str) -> usize {
        /// How many more texts there are than when the order was made, until it is made anew.
        const GROWTH: usize = 2;
        /// Of so few an order says nothing.
        const FEW: usize = 256;
        let id = self.ends.len();
        for token in tokenize(text) {
            let next =
                u32::try_from(self.token_ids.len()).expect("an index holds fewer than 2^32 tokens");
            let token = *self.token_ids.entry(token).or_insert(next);
            self.tokens.push(token);
        }
        let known = self.token_ids.len();
        self.holders.resize(known, 0);
        self.order.resize(known, 0);
        self.postings.resize(known, Vec::new());
        self.ends.push(self.tokens.len());
        let mut ranked = self.ranked(id);
        ranked.dedup();
        for token in ranked {
            self.holders[token as usize] += 1;
        }
        if self.len() >= (GROWTH * self.ordered).max(FEW) {
            self.make_order();
        } else {
            self.post(id);
        }
        id
    }

    /// Puts the tokens in order by how many texts hold them, and lists every text anew.
    fn make_order(&mut self) {
        self.order.clone_from(&self.holders);
        self.ordered = self.len();
        self.postings.iter_mut().for_each(Vec::clear);
        (0..self.len()).for_each(|id| self.post(id));
    }

    /// Lists a text under its first tokens.
    fn post(&mut self, id: usize) {
        let number = |count: usize| u32::try_from(count).expect("fewer than 2^32");
        let ranked = self.ranked(id);
        let len = number(ranked.len());
        for (place, token) in ranked[..self.first_of(ranked.len())].iter().enumerate() {
            // The first of several decides.
            if place == 0 || ranked[place - 1] != *token {
                self.postings[*token as usize].push(Posting {
                    id: number(id),
                    len,
                    place: number(place),
                });
            }
        }
    }

    /// Shows a text's tokens in order, each as often as it occurs.
    fn ranked(&self, id: usize) -> Vec<u32> {
        let mut ranked = self.tokens_of(id).to_vec();
        self.rank(&mut ranked);
        ranked
    }

    fn rank(&self, tokens: &mut [u32]) {
        tokens.sort_unstable_by_key(|token| (self.order[*token as usize], *token));
    }

    /// Tells how many of a text's tokens, in order, hold the first that it shares with any text above the threshold.
    fn first_of(&self, len: usize) -> usize {
        // F <= 2k / (len + k) for a common subsequence of k tokens, so F > t asks for k > t·len / (2 - t).
        let least_common = self.threshold * len as f64 / (2.0 - self.threshold);
        let least_common = (least_common - SLACK * len as f64).ceil().max(1.0);
        (len + 1).saturating_sub(least_common as usize).min(len)
    }

    /// Finds the text with the highest score above the threshold; of equal ones, the one added first.
    pub fn nearest(&self, text: &str) -> Option<Match> {
        let query = Query::new(self, &tokenize(text))?;
        let mut shared = Vec::new();
        let mut best: Option<Match> = None;
        for id in self.candidates(&query) {
            let must_beat = best.map_or(self.threshold, |found| found.score);
            let id = id as usize;
            let score = query.score_at_least(must_beat - SLACK, self.tokens_of(id), &mut shared);
            if let Some(score) = score.filter(|&score| score > must_beat) {
                best = Some(Match { id, score });
            }
        }
        best
    }

    /// Finds every text with a score above the threshold, in the order in which they were added.
    pub fn all_near(&self, text: &str) -> Vec<Match> {
        let Some(query) = Query::new(self, &tokenize(text)) else {
            return Vec::new();
        };
        let mut shared = Vec::new();
        let least = self.threshold - SLACK;
        let scored = self.candidates(&query).into_iter().filter_map(|id| {
            let id = id as usize;
            let score = query.score_at_least(least, self.tokens_of(id), &mut shared)?;
            (score > self.threshold).then_some(Match { id, score })
        });
        scored.collect()
    }

    /// Lists, ascending, the texts that may be above the threshold.
    fn candidates(&self, query: &Query) -> Vec<u32> {
        let mut candidates = Vec::new();
        let least = (self.threshold - SLACK) / 2.0;
        let first = self.first_of(query.len).saturating_sub(query.unknown);
        let first = &query.ranked[..first.min(query.ranked.len())];
        for (place, token) in first.iter().enumerate() {
            if place > 0 && first[place - 1] == *token {
                continue;
            }
            let rest = query.len - query.unknown - place;
            for posting in &self.postings[*token as usize] {
                let (len, theirs) = (posting.len as usize, (posting.len - posting.place) as usize);
                if rest.min(theirs) as f64 >= least * (query.len + len) as f64 {
                    candidates.push(posting.id);
                }
            }
        }
        candidates.sort_unstable();
        candidates.dedup();
        candidates
    }

    fn tokens_of(&self, id: usize) -> &[u32] {
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        &self.tokens[start..self.ends[id]]
    }
}

/// A text asked about, in the index's token numbers.
struct Query {
    /// How many tokens it has, also those that no text in the index holds.
    len: usize,
    /// How many of them no text in the index holds; in the order of tokens they are before all others.
    unknown: usize,
    /// The others in order, each as often as it occurs.
    ranked: Vec<u32>,
    numbers: Numbers,
    /// The others as they stand, numbered.
    pattern: Pattern,
}

impl Query {
    /// Looks the tokens up; none when the index holds none of them.
    fn new(index: &NearDuplicateIndex, tokens: &[String]) -> Option<Self> {
        let known: Vec<u32> = tokens
            .iter()
            .filter_map(|token| index.token_ids.get(token).copied())
            .collect();
        if known.is_empty() {
            return None;
        }
        let mut numbers = Numbers::with_room_for(known.len());
        let pattern = known.iter().map(|token| numbers.give(*token)).collect();
        let pattern = Pattern::new(pattern, numbers.count as usize);
        let unknown = tokens.len() - known.len();
        let mut ranked = known;
        index.rank(&mut ranked);
        Some(Self {
            len: tokens.len(),
            unknown,
            ranked,
            numbers,
            pattern,
        })
    }

    /// Scores a text, unless a bound shows that its score is below `least`.
    fn score_at_least(&self, least: f64, tokens: &[u32], shared: &mut Vec<u32>) -> Option<f64> {
        let total = (self.len + tokens.len()) as f64;
        let least_shared = (least * total / 2.0).ceil().max(0.0) as usize;
        let mut others = tokens.len().checked_sub(least_shared)?;
        shared.clear();
        for token in tokens {
            match self.numbers.of(*token) {
                Some(number) => shared.push(number),
                None => others = others.checked_sub(1)?,
            }
        }
        Some(f_measure(
            self.pattern.lcs_length(shared),
            self.len,
            tokens.len(),
        ))
    }
}

/// Numbers of a few tokens, from 0: an open-addressing table that fits a core's nearest cache.
struct Numbers {
    /// A token in the upper half, its number in the lower, or [`FREE`]; a power of two of them, at least half of them free.
    slots: Vec<u64>,
    count: u32,
}

/// No token and number: there are never so many of either.
const FREE: u64 = u64::MAX;

impl Numbers {
    fn with_room_for(tokens: usize) -> Self {
        Self {
            slots: vec![FREE; (2 * tokens).next_power_of_two()],
            count: 0,
        }
    }

    /// Finds the slot that a token has or would have.
    fn slot(&self, token: u32) -> usize {
        /// 2^64 over the golden ratio, which spreads numbers in a row (Knuth, The Art of Computer Programming 3, 6.4).
        const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
        let last = self.slots.len() - 1;
        let spread = u64::from(token).wrapping_mul(SPREAD) >> 32;
        let mut slot = spread as usize & last;
        while self.slots[slot] != FREE && self.slots[slot] >> 32 != u64::from(token) {
            slot = (slot + 1) & last;
        }
        slot
    }

    fn give(&mut self, token: u32) -> u32 {
        let slot = self.slot(token);
        if self.slots[slot] == FREE {
            self.slots[slot] = u64::from(token) << 32 | u64::from(self.count);
            self.count += 1;
        }
        self.slots[slot] as u32
    }

    fn of(&self, token: u32) -> Option<u32> {
        let slot = self.slots[self.slot(token)];
        (slot != FREE).then_some(slot as u32)
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
        let texts: Vec<Vec<String>> = texts.iter().map(|text| tokenize(text)).collect();
        compare_with_all(&texts, text, threshold)
    }

    fn compare_with_all(texts: &[Vec<String>], text: &str, threshold: f64) -> Option<Match> {
        let query = tokenize(text);
        let mut best: Option<Match> = None;
        for (id, other) in texts.iter().enumerate() {
            let score = rouge_l(&query, other);
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
                    let all = index.all_near(&text);
                    let all_of = |texts: &[String]| -> Vec<Match> {
                        let scored = texts.iter().enumerate().map(|(id, other)| Match {
                            id,
                            score: rouge_l(&tokenize(&text), &tokenize(other)),
                        });
                        scored.filter(|found| found.score > threshold).collect()
                    };
                    assert_eq!(all, all_of(&texts), "threshold {threshold}: {text:?}");
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

    #[test]
    fn decides_as_brute_force_does_when_the_order_is_made_anew() {
        for threshold in [0.4, 0.7] {
            let mut random = Random::from_seed(9);
            let mut index = NearDuplicateIndex::new(threshold);
            let mut texts: Vec<String> = Vec::new();
            let (mut found, mut orders) = (0, std::collections::BTreeSet::new());
            for _ in 0..700 {
                let text = draw_text(&mut random);
                let expect = brute_force(&texts, &text, threshold);
                assert_eq!(index.nearest(&text), expect, "{threshold}: {text:?}");
                found += usize::from(expect.is_some());
                index.add(&text);
                orders.insert(index.ordered);
                texts.push(text);
            }
            assert!(found > 20, "only {found} near duplicates");
            assert_eq!(Vec::from_iter(orders), [0, 256, 512]);
        }
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

    /// Draws a text of words as frequent as a language has them, or one near to an earlier one, in either script or both.
    fn draw_instruction(random: &mut Random, earlier: &[String]) -> String {
        const HAN: u32 = 0x4E00;
        let script = random.below(3);
        let word = |random: &mut Random| {
            // The square of an even draw: low numbers are frequent, most are rare.
            let number = random.below(40);
            let number = number * number / 2 + random.below(3);
            let is_han = script == 1 || (script == 2 && random.below(2) == 0);
            if is_han {
                let number = u32::try_from(number).expect("it is small");
                char::from_u32(HAN + number)
                    .expect("an ideograph")
                    .to_string()
            } else {
                format!(" w{number} ")
            }
        };
        let mut tokens = match earlier.len() {
            0 => Vec::new(),
            count if random.below(3) > 0 => tokenize(&earlier[random.below(count)]),
            _ => Vec::new(),
        };
        if tokens.is_empty() {
            let longest = if random.below(20) == 0 { 150 } else { 25 };
            tokens = (0..1 + random.below(longest))
                .map(|_| word(random))
                .collect();
        }
        for _ in 0..random.below(1 + tokens.len() * 2 / 3) {
            let at = random.below(tokens.len());
            match random.below(4) {
                0 if tokens.len() > 1 => drop(tokens.remove(at)),
                1 => tokens.insert(at, word(random)),
                2 => {
                    let other = random.below(tokens.len());
                    tokens.swap(at, other);
                }
                _ => tokens[at] = word(random),
            }
        }
        tokens.join(if script == 1 { "" } else { " " })
    }

    #[test]
    fn decides_as_brute_force_does_on_both_scripts_at_every_threshold() {
        for step in (30..=100).step_by(5) {
            let threshold = f64::from(step) / 100.0;
            let mut random = Random::at(17, &["both scripts", &step.to_string()]);
            let mut index = NearDuplicateIndex::new(threshold);
            let mut texts: Vec<String> = Vec::new();
            let mut tokens: Vec<Vec<String>> = Vec::new();
            let (mut found, mut not_found) = (0, 0);
            // More texts than the index takes to put its tokens in order once.
            for _ in 0..300 {
                let text = draw_instruction(&mut random, &texts);
                let expect = compare_with_all(&tokens, &text, threshold);
                assert_eq!(index.nearest(&text), expect, "{threshold}: {text:?}");
                found += usize::from(expect.is_some());
                not_found += usize::from(expect.is_none());
                index.add(&text);
                tokens.push(tokenize(&text));
                texts.push(text);
            }
            let least = if step <= 90 { 20 } else { 0 };
            assert!(
                found >= least && not_found >= 20,
                "{threshold}: {found} {not_found}"
            );
        }
    }

    proptest! {
        #[test]
        fn keeps_what_brute_force_keeps(
            texts in prop::collection::vec("(写|做|给|a |b |c |d ){1,9}", 1..40),
            threshold in 0.3..=1.0,
        ) {
            // As a filter has it: only what is kept is compared with.
            let mut index = NearDuplicateIndex::new(threshold);
            let mut kept: Vec<String> = Vec::new();
            for text in texts {
                let found = index.nearest(&text);
                prop_assert_eq!(found, brute_force(&kept, &text, threshold));
                if found.is_none() {
                    index.add(&text);
                    kept.push(text);
                }
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
