//! The tokens that counts, ROUGE-L and the diversity figures are made of.

use crate::is_cjk;

/// Splits a text into tokens: a run of alphanumerics, lower-cased, is one token, and so is each CJK character.
///
/// On ASCII text these are the tokens of `rouge_score` (lower-case, replace `[^a-z0-9]+` by blanks, split).
pub fn tokenize(text: &str) -> Vec<String> {
    Pieces { rest: text }.map(str::to_lowercase).collect()
}

/// Splits a text into words as corpora of entities have them: a run of alphanumerics, with apostrophes, hyphens and points inside of
/// it, is one, and so is each CJK character and every other mark; blanks stand between.
pub fn split_words(text: &str) -> Vec<String> {
    let is_word = |c: char| c.is_alphanumeric() && !is_cjk(c);
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let mut end = first.len_utf8();
        let mut characters = rest[end..].chars().peekable();
        while let Some(c) = characters.next().filter(|_| is_word(first)) {
            let is_inside = matches!(c, '\'' | '’' | '-' | '.')
                && characters.peek().is_some_and(|c| is_word(*c));
            if !is_word(c) && !is_inside {
                break;
            }
            end += c.len_utf8();
        }
        words.push(rest[..end].to_string());
        rest = rest[end..].trim_start();
    }
    words
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

    #[test]
    fn words_keep_their_case_and_marks_stand_alone() {
        let check = |text: &str, expect: &str| {
            let expect: Vec<&str> = expect.split('|').collect();
            assert_eq!(split_words(text), expect, "{text:?}");
        };
        check("Ada lives in Bern.", "Ada|lives|in|Bern|.");
        check(" O'Neil's ex-wife, 3.5 km ", "O'Neil's|ex-wife|,|3.5|km");
        check("王芳住在Bern市。", "王|芳|住|在|Bern|市|。");
        check("(a) -- b", "(|a|)|-|-|b");
        assert!(split_words(" \n ").is_empty());
    }

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
