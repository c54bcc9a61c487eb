//! Which characters words begin with, so that most places of a text are passed over without a look at the words.

use super::trie::Growing;

/// A set of the lowest six bits of bytes: who is not in it may be passed over.
#[derive(Clone, Copy, Default)]
pub(super) struct Low(u64);

impl Low {
    fn add(&mut self, byte: u8) {
        self.0 |= 1 << (byte & 0x3F);
    }

    pub(super) fn has(self, byte: u8) -> bool {
        self.0 >> (byte & 0x3F) & 1 == 1
    }
}

/// Which two characters words begin with, as bits: what is not marked begins none.
pub(super) struct Beginnings {
    /// The first characters that are ASCII, and the last bytes in UTF-8 of the others.
    pub(super) in_ascii: Low,
    pub(super) in_others: Low,
    bits: Vec<u64>,
    /// How far a hash is shifted to be a place among the bits.
    shift: u32,
    /// Words of one character, which any other may follow.
    singles: Vec<char>,
    /// What words begin with.
    firsts: Vec<char>,
}

impl Beginnings {
    pub(super) fn new(growing: &Growing) -> Self {
        let pairs: Vec<(char, char)> = growing.pairs().collect();
        // So few are marked that one in sixteen others is taken for one.
        let bits = (pairs.len() * 16).next_power_of_two().max(64);
        let mut beginnings = Self {
            in_ascii: Low::default(),
            in_others: Low::default(),
            bits: vec![0; bits / 64],
            shift: 32 - bits.trailing_zeros(),
            singles: growing.singles().collect(),
            firsts: growing.firsts().collect(),
        };
        for first in growing.firsts() {
            match u8::try_from(first) {
                Ok(byte) if byte.is_ascii() => beginnings.in_ascii.add(byte),
                // Its lowest six bits are those of its last byte.
                _ => beginnings.in_others.add(first as u32 as u8),
            }
        }
        for (first, second) in pairs {
            let at = beginnings.place(first, second);
            beginnings.bits[at / 64] |= 1 << (at % 64);
        }
        beginnings
    }

    pub(super) fn may_begin(&self, first: char, second: Option<char>) -> bool {
        let is_marked = |second| {
            let at = self.place(first, second);
            self.bits[at / 64] >> (at % 64) & 1 == 1
        };
        second.is_some_and(is_marked)
            || (!self.singles.is_empty() && self.singles.binary_search(&first).is_ok())
    }

    /// Tells whether a word begins with a character, whatever follows.
    pub(super) fn begins(&self, first: Option<char>) -> bool {
        first.is_some_and(|first| self.firsts.binary_search(&first).is_ok())
    }

    /// Hashes by multiplying, whose upper bits are the well mixed ones (Knuth, The Art of Computer Programming 3, 6.4).
    fn place(&self, first: char, second: char) -> usize {
        let pair = (first as u32) << 11 ^ second as u32;
        (pair.wrapping_mul(0x9E37_79B1) >> self.shift) as usize
    }
}
