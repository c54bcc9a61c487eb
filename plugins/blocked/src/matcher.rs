//! Finds many words in one pass: a trie whose first two characters are asked for in a table of bits.

mod beginnings;
mod trie;

use autodidact_plugin::text::is_cjk;

use crate::fold::{Fold, fold_char, has_no_width};
use beginnings::Beginnings;
use trie::{Growing, Trie};

/// Words made ready to be looked for. At each place the longest counts, and the search goes on behind it.
pub(crate) struct Matcher {
    words: Vec<String>,
    trie: Trie,
    beginnings: Beginnings,
    /// Whether an entry begins with an ASCII mark, such as `#1`.
    with_marks: bool,
}

impl Matcher {
    /// Makes words ready, and the phrases in which they are let stand.
    ///
    /// # Errors
    /// A text that says which word cannot be looked for, and why.
    pub(crate) fn new(words: &[&str], except: &[&str], plurals: bool) -> Result<Self, String> {
        let mut growing = Growing::new();
        // The words last, so that they win over the same phrase among the exceptions.
        for phrase in except {
            growing.add(phrase, None, plurals)?;
        }
        for (at, word) in words.iter().enumerate() {
            growing.add(word, Some(at as u32), plurals)?;
        }
        let with_marks = growing.firsts().any(|c| c.is_ascii_punctuation());
        Ok(Self {
            words: words.iter().map(|word| (*word).to_string()).collect(),
            beginnings: Beginnings::new(&growing),
            with_marks,
            trie: Trie::of(growing),
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Tells every word that stands in a text, in order.
    pub(crate) fn each<'a>(&'a self, text: &str, mut tell: impl FnMut(&'a str)) {
        let mut at = 0;
        while let Some((end, word)) = self.next(text, at) {
            if let Some(word) = word {
                tell(&self.words[word as usize]);
            }
            at = end;
        }
    }

    /// Tells whether any word stands in a text.
    pub(crate) fn is_in(&self, text: &str) -> bool {
        let mut at = 0;
        while let Some((end, word)) = self.next(text, at) {
            if word.is_some() {
                return true;
            }
            at = end;
        }
        false
    }

    /// Finds the first entry from a place on: where it ends, and its word.
    ///
    /// Nearly all time goes here, so what is not ASCII or a common ideograph, whose bytes tell what it is, is looked up elsewhere.
    fn next(&self, text: &str, from: usize) -> Option<(usize, Option<u32>)> {
        let bytes = text.as_bytes();
        let mut at = from;
        let mut in_word = from > 0 && text[..from].chars().next_back().is_some_and(is_part);
        while let Some(byte) = bytes.get(at) {
            let (may_begin, length) = match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => {
                    let rest = bytes[at + 1..].iter();
                    let length = 1 + rest.take_while(|byte| byte.is_ascii_alphanumeric()).count();
                    let begins = !std::mem::replace(&mut in_word, true)
                        && self.beginnings.in_ascii.has(byte.to_ascii_lowercase());
                    (begins && self.may_begin(text, at), length)
                }
                0..0x80 => {
                    in_word = false;
                    (self.with_marks && self.may_begin_folded(text, at), 1)
                }
                IDEOGRAPH_FIRST..=IDEOGRAPH_LAST => {
                    in_word = false;
                    let begins = bytes
                        .get(at + 2)
                        .is_some_and(|last| self.beginnings.in_others.has(*last));
                    (begins && self.may_begin_ideographic(bytes, at), 3)
                }
                _ => {
                    let c = text[at..].chars().next()?;
                    let begins = !has_no_width(c) && {
                        let was_in_word = std::mem::replace(&mut in_word, is_part(c));
                        !(was_in_word && in_word)
                    };
                    (begins && self.may_begin(text, at), c.len_utf8())
                }
            };
            if may_begin && let Some(found) = self.longest(text, at) {
                return Some(found);
            }
            at += length;
        }
        None
    }

    fn may_begin(&self, text: &str, at: usize) -> bool {
        if let Some([first, second]) = text.as_bytes()[at..].first_chunk()
            && first.is_ascii_alphanumeric()
            && second.is_ascii_alphanumeric()
        {
            let [first, second] = [first, second].map(|byte| char::from(byte.to_ascii_lowercase()));
            return self.beginnings.may_begin(first, Some(second));
        }
        self.may_begin_folded(text, at)
    }

    #[cold]
    fn may_begin_folded(&self, text: &str, at: usize) -> bool {
        let mut folded = Fold::new(text, at);
        let first = folded.next();
        first.is_some_and(|first| self.beginnings.may_begin(first, folded.next()))
    }

    fn may_begin_ideographic(&self, bytes: &[u8], at: usize) -> bool {
        let next = match bytes.get(at + 3) {
            Some(IDEOGRAPH_FIRST..=IDEOGRAPH_LAST) => ideograph(bytes, at + 3),
            // Something else may follow over a blank.
            Some(_) => return self.beginnings.begins(ideograph(bytes, at)),
            None => None,
        };
        ideograph(bytes, at).is_some_and(|first| self.beginnings.may_begin(first, next))
    }

    /// Finds the longest entry that begins at a place.
    fn longest(&self, text: &str, start: usize) -> Option<(usize, Option<u32>)> {
        let mut node = self.trie.root();
        let mut longest = None;
        let mut folded = Fold::new(text, start);
        while let Some(c) = folded.next() {
            let Some(next) = self.trie.next(node, c) else {
                break;
            };
            node = next;
            let goes_on = || is_spaced(c) && folded.clone().next().is_some_and(is_spaced);
            if let Some(end) = node.end.filter(|end| end.is_prefix || !goes_on()) {
                longest = Some((folded.end(), end.word));
            }
        }
        longest
    }
}

/// The first bytes, in UTF-8, of the ideographs from U+4000 to U+9FFF.
const IDEOGRAPH_FIRST: u8 = 0xE4;
const IDEOGRAPH_LAST: u8 = 0xE9;

/// Reads such an ideograph.
fn ideograph(bytes: &[u8], at: usize) -> Option<char> {
    let [first, second, third] = *bytes.get(at..at + 3)?.first_chunk::<3>()?;
    let low = |byte: u8| u32::from(byte & 0x3F);
    char::from_u32(u32::from(first & 0x0F) << 12 | low(second) << 6 | low(third))
}

/// Tells whether a character is part of a word that has blanks around it. Chinese, Japanese, Korean, Thai and its neighbours have none,
/// or set particles on the word.
fn is_spaced(c: char) -> bool {
    match c.is_ascii() {
        true => c.is_ascii_alphanumeric(),
        false => {
            let is_joined = is_cjk(c)
                || matches!(c, '\u{0E00}'..='\u{0EFF}' | '\u{1000}'..='\u{109F}' | '\u{1100}'..='\u{11FF}'
                    | '\u{1780}'..='\u{17FF}' | '\u{AC00}'..='\u{D7A3}');
            !is_joined && c.is_alphanumeric()
        }
    }
}

/// Tells the same of a character that is not folded.
fn is_part(c: char) -> bool {
    is_spaced(fold_char(c))
}

#[cfg(test)]
mod tests;
