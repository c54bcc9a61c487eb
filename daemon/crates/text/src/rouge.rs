//! The longest common subsequence and ROUGE-L (Lin 2004), bit-parallel.

use std::collections::HashMap;
use std::hash::Hash;

/// Measures how much two token sequences have in common: ROUGE-L's F measure, 0 to 1, the same both ways round.
///
/// F = 2PR / (P + R) with P = LCS / |a| and R = LCS / |b|, in the order of operations of the `rouge_score` package, so that
/// equal tokens give equal bits. An empty sequence scores 0.
pub fn rouge_l<T: Eq + Hash>(a: &[T], b: &[T]) -> f64 {
    f_measure(lcs_length(a, b), a.len(), b.len())
}

/// ROUGE-L's F measure from the length of the common subsequence and of both sequences.
pub(crate) fn f_measure(common: usize, a_len: usize, b_len: usize) -> f64 {
    if common == 0 {
        return 0.0;
    }
    let precision = common as f64 / a_len as f64;
    let recall = common as f64 / b_len as f64;
    2.0 * precision * recall / (precision + recall)
}

/// Computes the length of the longest common subsequence in O(|a|·|b| / 64) steps and O(|a| + |b|) memory.
pub fn lcs_length<T: Eq + Hash>(a: &[T], b: &[T]) -> usize {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let mut ids: HashMap<&T, u32> = HashMap::with_capacity(short.len());
    let mut id_of = |token| {
        let next = u32::try_from(ids.len()).expect("a sequence holds fewer than 2^32 tokens");
        *ids.entry(token).or_insert(next)
    };
    let pattern: Vec<u32> = short.iter().map(&mut id_of).collect();
    let text: Vec<u32> = long
        .iter()
        .filter_map(|token| ids.get(token).copied())
        .collect();
    Pattern::new(pattern, ids.len()).lcs_length(&text)
}

/// A sequence prepared to be compared with many others, its tokens numbered from 0.
pub(crate) struct Pattern {
    ids: Vec<u32>,
    /// For each token the positions it stands at, one bit each; kept for patterns of one block, which nearly all are.
    single_block: Option<Vec<u64>>,
    vocabulary: usize,
}

impl Pattern {
    /// Prepares a sequence whose tokens are all below `vocabulary`.
    pub(crate) fn new(ids: Vec<u32>, vocabulary: usize) -> Self {
        let single_block = (ids.len() <= 64).then(|| {
            let mut masks = vec![0; vocabulary];
            fill_masks(&mut masks, &ids);
            masks
        });
        Self {
            ids,
            single_block,
            vocabulary,
        }
    }

    /// Computes the length of the longest common subsequence with `text`, whose tokens that the pattern lacks were left out.
    ///
    /// The bit-vector recurrence of Hyyrö (2004): V starts as all ones; for each token of the text, with U = V & mask,
    /// V becomes (V + U) | (V - U); the zeros of V count the common subsequence. Longer patterns go block by block: what
    /// passes from one block to the next is the addition's carry at each position of the text.
    pub(crate) fn lcs_length(&self, text: &[u32]) -> usize {
        if let Some(masks) = &self.single_block {
            return run_block(masks, text, self.ids.len(), &mut NoCarries);
        }
        let mut carries = vec![0u64; text.len().div_ceil(64)];
        let mut masks = vec![0; self.vocabulary];
        let mut length = 0;
        for block in self.ids.chunks(64) {
            fill_masks(&mut masks, block);
            length += run_block(&masks, text, block.len(), &mut carries);
            block.iter().for_each(|&id| masks[id as usize] = 0);
        }
        length
    }
}

fn fill_masks(masks: &mut [u64], block: &[u32]) {
    for (position, &id) in block.iter().enumerate() {
        masks[id as usize] |= 1 << position;
    }
}

/// The carries between two blocks, one bit for each position of the text.
trait Carries {
    /// Gives the carry that comes in at a position, and keeps the one that goes out.
    fn exchange(&mut self, position: usize, out: impl FnOnce(bool) -> bool);
}

/// A pattern of one block: nothing comes in, and nobody needs what goes out.
struct NoCarries;

impl Carries for NoCarries {
    fn exchange(&mut self, _position: usize, out: impl FnOnce(bool) -> bool) {
        out(false);
    }
}

impl Carries for Vec<u64> {
    fn exchange(&mut self, position: usize, out: impl FnOnce(bool) -> bool) {
        let bit = 1 << (position % 64);
        let word = &mut self[position / 64];
        if out(*word & bit != 0) {
            *word |= bit;
        } else {
            *word &= !bit;
        }
    }
}

fn run_block(masks: &[u64], text: &[u32], block_len: usize, carries: &mut impl Carries) -> usize {
    let mut state = u64::MAX;
    for (position, &id) in text.iter().enumerate() {
        let mask = masks[id as usize];
        carries.exchange(position, |carry_in| {
            let matched = state & mask;
            let (sum, first) = state.overflowing_add(matched);
            let (sum, second) = sum.overflowing_add(u64::from(carry_in));
            state = sum | (state & !mask);
            first | second
        });
    }
    let used = if block_len == 64 {
        u64::MAX
    } else {
        (1 << block_len) - 1
    };
    (!state & used).count_ones() as usize
}

#[cfg(test)]
mod tests {
    use autodidact_domain::random::Random;

    use super::*;

    /// The textbook table.
    fn slow_lcs_length<T: Eq>(a: &[T], b: &[T]) -> usize {
        let mut row = vec![0; b.len() + 1];
        for x in a {
            let mut diagonal = 0;
            for (j, y) in b.iter().enumerate() {
                let above = row[j + 1];
                row[j + 1] = if x == y {
                    diagonal + 1
                } else {
                    above.max(row[j])
                };
                diagonal = above;
            }
        }
        row[b.len()]
    }

    #[test]
    fn equals_the_textbook_table() {
        let mut random = Random::from_seed(11);
        for round in 0..3000 {
            let longest = if round % 10 == 0 { 400 } else { 70 };
            let vocabulary = 1 + random.below(30);
            let mut draw = || {
                let len = random.below(longest);
                (0..len)
                    .map(|_| random.below(vocabulary))
                    .collect::<Vec<_>>()
            };
            let (a, b) = (draw(), draw());
            let expect = slow_lcs_length(&a, &b);
            assert_eq!(lcs_length(&a, &b), expect, "{a:?} {b:?}");
            assert_eq!(lcs_length(&b, &a), expect, "{a:?} {b:?}");
        }
    }

    #[test]
    fn block_borders() {
        for len in [1, 63, 64, 65, 127, 128, 129, 1000] {
            let a: Vec<usize> = (0..len).collect();
            assert_eq!(lcs_length(&a, &a), len);
            let same = vec![7; len];
            assert_eq!(lcs_length(&same, &vec![7; 2 * len]), len);
        }
    }

    #[test]
    fn extremes() {
        assert_eq!(rouge_l::<u8>(&[], &[]), 0.0);
        assert_eq!(rouge_l(&[1], &[]), 0.0);
        assert_eq!(rouge_l(&[1], &[2]), 0.0);
        assert_eq!(rouge_l(&[1, 2, 3], &[1, 2, 3]), 1.0);
        assert_eq!(
            rouge_l(&crate::tokenize("你好世界"), &crate::tokenize("你好地球")),
            0.5
        );
    }
}
