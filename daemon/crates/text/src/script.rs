//! Which script a character belongs to, and the language that a text's scripts point to.

use autodidact_domain::Language;

use crate::without_quotations;

/// Tells whether a character is a token of its own: a Han ideograph, a kana or a Hangul syllable.
///
/// Punctuation of these scripts (`。`, `・`) is none. Ranges follow the Unicode 16 block list.
pub fn is_cjk(character: char) -> bool {
    is_han(character) || is_kana(character) || is_hangul(character)
}

fn is_han(character: char) -> bool {
    matches!(u32::from(character),
        0x3005..=0x3007 // iteration mark, closing mark, ideographic zero
        | 0x3021..=0x3029 // Hangzhou numerals
        | 0x3400..=0x4DBF // extension A
        | 0x4E00..=0x9FFF // unified ideographs
        | 0xF900..=0xFAFF // compatibility ideographs
        | 0x20000..=0x3FFFF // supplementary and tertiary ideographic planes
    ) && character.is_alphanumeric()
}

fn is_kana(character: char) -> bool {
    matches!(u32::from(character),
        0x3041..=0x309F // hiragana
        | 0x30A0..=0x30FF // katakana
        | 0x31F0..=0x31FF // katakana phonetic extensions
        | 0xFF66..=0xFF9D // half-width katakana
        | 0x1AFF0..=0x1B16F // kana extended-A, extended-B, supplement and small kana
    ) && character.is_alphanumeric()
}

fn is_hangul(character: char) -> bool {
    matches!(u32::from(character), 0xAC00..=0xD7A3)
}

/// Basic Latin to extended-B, Latin extended additional and full-width Latin letters.
fn is_latin(character: char) -> bool {
    character.is_alphabetic()
        && matches!(u32::from(character), 0x41..=0x24F | 0x1E00..=0x1EFF | 0xFF21..=0xFF3A | 0xFF41..=0xFF5A)
}

/// The least share of Han characters, among Han characters and words of other scripts, that makes a text Chinese.
///
/// Below one half, because Chinese instructions often name functions, products and quotations in Latin letters.
const CHINESE_SHARE: f64 = 0.4;
/// The least share of Latin words that makes a text English.
const ENGLISH_SHARE: f64 = 0.6;
/// The share of kana and Hangul from which a text with Han characters is Japanese or Korean rather than Chinese.
///
/// Running Japanese is 40-60% kana.
const FOREIGN_SHARE: f64 = 0.2;

/// Detects the language of an instruction by its scripts; none when neither English's nor Chinese's prevails.
///
/// A Han character, a kana and a Hangul syllable count one each, and so does a word of any other script. What stands in
/// quotation marks is passed over where anything stands outside them, since translation tasks quote other languages.
/// Script is all that is looked at: every text in Latin letters counts as English. It decides between the two languages worked in, by
/// whose rules and prompts a record goes, and takes neither for the other; a third one is [`crate::detect_natural_language`]'s to find,
/// which does take short English for French or Italian.
pub fn detect_language(text: &str) -> Option<Language> {
    let unquoted = Counts::of(&without_quotations(text));
    let counts = if unquoted.total() > 0 {
        unquoted
    } else {
        Counts::of(text)
    };
    if counts.total() == 0 {
        return None;
    }
    let share = |count: usize| count as f64 / counts.total() as f64;
    if share(counts.han) >= CHINESE_SHARE && share(counts.kana_and_hangul) < FOREIGN_SHARE {
        Some(Language::Zh)
    } else if share(counts.latin) >= ENGLISH_SHARE {
        Some(Language::En)
    } else {
        None
    }
}

/// How many units of each script a text holds.
#[derive(Default)]
struct Counts {
    han: usize,
    kana_and_hangul: usize,
    latin: usize,
    other: usize,
}

impl Counts {
    fn of(text: &str) -> Self {
        let mut counts = Self::default();
        let mut in_word = false;
        for character in text.chars() {
            let starts_word = !std::mem::replace(&mut in_word, false);
            if is_han(character) {
                counts.han += 1;
            } else if is_cjk(character) {
                counts.kana_and_hangul += 1;
            } else if character.is_alphabetic() {
                in_word = true;
                if starts_word {
                    let count = if is_latin(character) {
                        &mut counts.latin
                    } else {
                        &mut counts.other
                    };
                    *count += 1;
                }
            }
        }
        counts
    }

    fn total(&self) -> usize {
        self.han + self.kana_and_hangul + self.latin + self.other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cjk_letters_and_nothing_else() {
        for character in "漢字々〇ひらカタﾊ한글𠀀".chars() {
            assert!(is_cjk(character), "{character}");
        }
        for character in "aÉя1９Ａ。、・「ㄱ \u{3099}😀".chars() {
            assert!(!is_cjk(character), "{character}");
        }
    }

    #[test]
    fn languages_by_script() {
        let check = |text: &str, expect| assert_eq!(detect_language(text), expect, "{text}");
        check("Write a poem.", Some(Language::En));
        check("写一首诗。", Some(Language::Zh));
        check("用 Python 写一个函数", Some(Language::Zh));
        check("“ありがとうございます”用中文怎么说？", Some(Language::Zh));
        check("What does \"谢谢你们的帮助\" mean?", Some(Language::En));
        check("\"Hello\"", Some(Language::En));
        check("5\" of snow", Some(Language::En));
        check("図書館は何時に閉まりますか。", None);
        check("도서관은 어디에 있습니까?", None);
        check("Где библиотека?", None);
        check("12 + 3 = ?", None);
        check("", None);
    }

    #[test]
    fn many_unpaired_quotation_marks_take_linear_time() {
        let text = "“".repeat(200_000) + "好";
        assert_eq!(detect_language(&text), Some(Language::Zh));
    }
}
