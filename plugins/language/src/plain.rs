//! Sees at a glance that a text is in its language, as nearly all are. The bytes of UTF-8 tell scripts without being decoded.

use crate::languages::{Allowed, Language};
use crate::tally::{IDEOGRAPH, SYLLABLE};
use crate::words::{Hits, MAX_BYTES, TABLED, Words, lane};

/// Of so many words one that is of no other language makes a text plainly be in one.
const WORDS_OF_A_HIT: usize = 6;
/// A kana in so many letters may be more than a name in a Chinese text.
const LETTERS_OF_A_KANA: usize = 10;

/// What is plain.
pub(crate) struct Plain {
    allowed: Allowed,
    /// The lanes of the allowed languages that are told by words.
    lanes: u64,
}

#[derive(Default)]
struct Counts {
    latin: usize,
    han: usize,
    kana: usize,
    others: usize,
    words: usize,
    hits: usize,
}

impl Plain {
    pub(crate) fn new(allowed: Allowed) -> Self {
        let is_allowed = |at: &usize| allowed.has(Language::Tabled(*at as u8));
        Self {
            allowed,
            lanes: (0..TABLED.len()).filter(is_allowed).map(lane).sum(),
        }
    }

    /// Tells whether a text is too short to be judged, or its letters leave no doubt.
    pub(crate) fn holds(
        &self,
        text: &str,
        least_letters: usize,
        least_share: f64,
        table: &Words,
    ) -> bool {
        let counts = self.count(text, table);
        let total =
            counts.latin + IDEOGRAPH * (counts.han + counts.others) + SYLLABLE * counts.kana;
        let prevails =
            |letters: usize| letters * 2 > total && letters as f64 >= least_share * total as f64;
        if total < least_letters {
            return true;
        }
        let is_chinese = self.allowed.has(Language::Chinese)
            && prevails(IDEOGRAPH * counts.han)
            && (self.allowed.has(Language::Japanese)
                || counts.kana * LETTERS_OF_A_KANA < counts.han);
        // Of words one in six says that half of them are right, no more.
        let is_tabled = least_share <= 0.5
            && counts.hits * WORDS_OF_A_HIT >= counts.words
            && prevails(counts.latin);
        is_chinese || is_tabled || (self.allowed.any_latin && prevails(counts.latin))
    }

    fn count(&self, text: &str, table: &Words) -> Counts {
        let bytes = text.as_bytes();
        let mut counts = Counts::default();
        let mut at = 0;
        let (mut key, mut length) = (0_u64, 0);
        loop {
            let byte = bytes.get(at).copied().unwrap_or(b' ');
            let letter = byte | 0x20;
            if letter.is_ascii_lowercase() && byte.is_ascii() {
                key = key << 8 | u64::from(letter);
                length += 1;
                counts.latin += 1;
                at += 1;
                continue;
            }
            // Latin letters with accents, from À to ɏ: those of the first half have their capitals 32 before them.
            if let (0xC3..=0xC9, Some(second)) = (byte, bytes.get(at + 1)) {
                let second = if byte == 0xC3 { second | 0x20 } else { *second };
                key = key << 16 | u64::from(byte) << 8 | u64::from(second);
                length += 2;
                counts.latin += 1;
                at += 2;
                continue;
            }
            if length > 0 {
                let hits = if length <= MAX_BYTES {
                    table.find(key)
                } else {
                    Hits::default()
                };
                counts.hits += usize::from(hits.within(self.lanes));
                counts.words += 1;
                (key, length) = (0, 0);
            }
            if at >= bytes.len() {
                return counts;
            }
            at += counts.add_other(&bytes[at..]);
        }
    }
}

impl Counts {
    /// Counts a character that is no Latin letter; gives its bytes.
    fn add_other(&mut self, bytes: &[u8]) -> usize {
        let [first, second, third] = [0, 1, 2].map(|at| bytes.get(at).copied().unwrap_or_default());
        match (first, second) {
            (0..0x80, _) => return 1,
            // From U+4000 to U+9FFF, and extension A before it.
            (0xE4..=0xE9, _) | (0xE3, 0x90..) => self.han += 1,
            // Hiragana and katakana; what stands before them are marks.
            (0xE3, 0x81..=0x83) => self.kana += 1,
            (0xE3, _) | (0xE2, _) => {}
            (0xC2, _) => return 2,
            (0xCA..=0xDF, _) => {
                self.others += 1;
                return 2;
            }
            // Full-width marks and digits stand before the letters.
            (0xEF, 0xBC) if third < 0xA1 => {}
            (0xF0.., 0xA0..) => {
                self.han += 1;
                return 4;
            }
            (0xF0.., _) => return 4,
            _ => self.others += 1,
        }
        3
    }
}
