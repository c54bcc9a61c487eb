//! The tokens that counts, ROUGE-L and the diversity figures are made of.

use crate::is_cjk;

/// Splits a text into tokens: a run of alphanumerics, lower-cased, is one token, and so is each CJK character.
///
/// On ASCII text these are the tokens of `rouge_score` (lower-case, replace `[^a-z0-9]+` by blanks, split).
pub fn tokenize(text: &str) -> Vec<String> {
    Pieces { rest: text }.map(str::to_lowercase).collect()
}

/// Counts a text's tokens without building them.
pub fn count_tokens(text: &str) -> usize {
    Pieces { rest: text }.count()
}

/// The stretches of a text that become tokens, before they are lower-cased.
struct Pieces<'text> {
    rest: &'text str,
}

impl<'text> Iterator for Pieces<'text> {
    type Item = &'text str;

    fn next(&mut self) -> Option<&'text str> {
        let start = self.rest.find(char::is_alphanumeric)?;
        let text = &self.rest[start..];
        let first = text.chars().next()?;
        let end = if is_cjk(first) {
            first.len_utf8()
        } else {
            text.find(|c: char| !c.is_alphanumeric() || is_cjk(c))
                .unwrap_or(text.len())
        };
        let (piece, rest) = text.split_at(end);
        self.rest = rest;
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &[&str]) {
        assert_eq!(tokenize(text), expect, "{text:?}");
        assert_eq!(count_tokens(text), expect.len(), "{text:?}");
    }

    #[test]
    fn tokens_of_both_scripts() {
        check("", &[]);
        check(" .,!。，", &[]);
        check(
            "The cat's 2nd HAT_trick",
            &["the", "cat", "s", "2nd", "hat", "trick"],
        );
        check("用Python3写，函数", &["用", "python3", "写", "函", "数"]);
        check("Élan ÜBER", &["élan", "über"]);
        check("カタ한글abc", &["カ", "タ", "한", "글", "abc"]);
    }
}
