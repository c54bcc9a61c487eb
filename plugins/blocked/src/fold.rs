//! The form in which words and texts are compared.

use autodidact_plugin::text::{fold_width, is_cjk};

/// Half-width katakana from U+FF66 on, in their full-width form; the marks of voiced sounds are set on what stands before them.
const KATAKANA: &str = "ヲァィゥェォャュョッーアイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワン";
/// The half-width marks of voiced sounds, of `ガ` and of `パ`.
const VOICED: char = '\u{FF9E}';
const SEMI_VOICED: char = '\u{FF9F}';

/// Folds case, width and blanks, so that a word is found however it is written.
///
/// A run of white space becomes one blank, at the beginning none. None stays between a Chinese or Japanese character and another one,
/// where it is a matter of taste (`AI模型`, `AI 模型`), unless a line ends there. Characters without width go.
#[derive(Clone)]
pub(crate) struct Fold<'a> {
    text: &'a str,
    /// Where what was not read yet begins.
    at: usize,
    before: Option<char>,
    /// What follows a blank that was given.
    held: Option<char>,
}

/// The white space that was passed and is not settled yet.
#[derive(Clone, Copy, PartialEq)]
enum Blank {
    None,
    Word,
    Line,
}

impl<'a> Fold<'a> {
    /// Begins at a place of a text.
    pub(crate) fn new(text: &'a str, at: usize) -> Self {
        Self {
            text,
            at,
            before: None,
            held: None,
        }
    }

    /// Tells where the character that was given last ends.
    pub(crate) fn end(&self) -> usize {
        self.at
    }

    /// Reads the next character that is neither white space nor without width.
    fn read(&mut self) -> Option<(Blank, char)> {
        let mut blank = Blank::None;
        loop {
            let c = self.text[self.at..].chars().next()?;
            self.at += c.len_utf8();
            match c {
                '\n' => blank = Blank::Line,
                c if c.is_whitespace() => {
                    if blank == Blank::None {
                        blank = Blank::Word;
                    }
                }
                c if has_no_width(c) => {}
                c => return Some((blank, self.voiced(fold_char(c)))),
            }
        }
    }

    /// Sets the half-width mark of a voiced sound that follows on a katakana.
    fn voiced(&mut self, c: char) -> char {
        if !('\u{30AB}'..='\u{30DB}').contains(&c) {
            return c;
        }
        // In Unicode's block the voiced forms follow the plain one.
        let step = match self.text[self.at..].chars().next() {
            Some(VOICED) => 1,
            Some(SEMI_VOICED) => 2,
            _ => return c,
        };
        self.at += VOICED.len_utf8();
        char::from_u32(c as u32 + step).unwrap_or(c)
    }
}

impl Iterator for Fold<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        let c = match self.held.take() {
            Some(held) => held,
            None => {
                let (blank, c) = self.read()?;
                let stays = self.before.is_some_and(|before| {
                    blank == Blank::Line || blank == Blank::Word && is_cjk(before) == is_cjk(c)
                });
                if stays {
                    self.held = Some(c);
                    return Some(' ');
                }
                c
            }
        };
        self.before = Some(c);
        Some(c)
    }
}

/// Folds the case and the width of one character.
pub(crate) fn fold_char(c: char) -> char {
    match c {
        'A'..='Z' => c.to_ascii_lowercase(),
        c if c.is_ascii() || is_cjk(c) => c,
        '\u{FF66}'..'\u{FF9E}' => KATAKANA.chars().nth(c as usize - 0xFF66).unwrap_or(c),
        c => fold_width(c).to_lowercase().next().unwrap_or(c),
    }
}

/// Tells whether a character cannot be seen: joiners, word joiner, byte order mark, soft hyphen.
pub(crate) fn has_no_width(c: char) -> bool {
    matches!(
        c,
        '\u{200B}'..='\u{200D}' | '\u{2060}' | '\u{FEFF}' | '\u{AD}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn width_case_and_blanks_are_folded() {
        let check = |text: &str, expect: &str| {
            assert_eq!(Fold::new(text, 0).collect::<String>(), expect, "{text}");
        };
        check("  As an\tAI \n model ", "as an ai model");
        check("ＡＩ　模型", "ai模型");
        check("作为 AI 模型，我", "作为ai模型,我");
        check("画图 片刻", "画图 片刻");
        check("画图\nA", "画图 a");
        check("ﾋﾞﾃﾞｵ ﾊﾟｽﾜｰﾄﾞ", "ビデオ パスワード");
        check("É\u{200B}cole", "école");
        check("", "");
    }
}
