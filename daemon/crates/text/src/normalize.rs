//! The form in which two texts are compared for being the same.

use unicode_normalization::UnicodeNormalization;

use crate::chinese::simplified;
use crate::is_cjk;

/// Brings a text into the form in which exact duplicates, labels and spans are compared.
///
/// Width and compatibility forms are folded (NFKC), letters lower-cased, traditional Chinese characters simplified, invisible
/// characters left out, runs of blanks made one, blanks beside CJK characters dropped, and sentence punctuation, quotation marks
/// and brackets at either end removed, unless nothing else is there. Signs that carry meaning at an end (`C++`, `12%`, `-5`) stay.
pub fn normalize(text: &str) -> String {
    let single_spaced = with_single_blanks(&fold(text));
    let trimmed = single_spaced.trim_matches(|c: char| c == ' ' || is_outer_punctuation(c));
    if trimmed.is_empty() {
        single_spaced
    } else {
        trimmed.to_string()
    }
}

/// Folds what does not change what a text says: width, compatibility forms, case, script of Chinese, invisible characters.
pub fn fold(text: &str) -> String {
    let visible = text.chars().filter(|&c| !is_invisible(c));
    let lower = visible.nfkc().collect::<String>().to_lowercase();
    lower.nfkc().map(simplified).collect()
}

/// Soft hyphen, zero-width characters and direction marks.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{AD}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2064}' | '\u{FEFF}')
}

/// What may stand at an end without meaning anything; full-width forms were folded before.
fn is_outer_punctuation(character: char) -> bool {
    matches!(
        character,
        '.' | ',' | ';' | ':' | '!' | '?' | '"' | '\'' | '`' | '*' | '_' | '~' | '(' | ')' | '[' | ']' | '{' | '}' | '<' | '>'
            | '。' | '、' | '·' | '“' | '”' | '‘' | '’' | '«' | '»' | '—' | '–'
            | '¿' | '¡' | '\u{3008}'..='\u{3011}' | '\u{3014}'..='\u{301B}'
    )
}

fn with_single_blanks(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut previous = None;
    let mut blank = false;
    for character in text.chars() {
        if character.is_whitespace() {
            blank = true;
            continue;
        }
        if blank && previous.is_some_and(|before| !is_cjk(before) && !is_cjk(character)) {
            out.push(' ');
        }
        out.push(character);
        previous = Some(character);
        blank = false;
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn equal_texts_become_equal() {
        let check = |text: &str, expect: &str| assert_eq!(normalize(text), expect, "{text:?}");
        check("  Write a\n poem. ", "write a poem");
        check("“写一首 诗！”", "写一首诗");
        check("ＡＢＣ１２３", "abc123");
        check("用 Python 写", "用python写");
        check("**Positive**.", "positive");
        check("e\u{301}t\u{200B}e\u{301}", "été");
        check("C++", "c++");
        check("-5", "-5");
        check("12%.", "12%");
        check("?!", "?!");
        check("？！", "?!");
        check("", "");
        check(" \n", "");
        check("《骆驼祥子》", "骆驼祥子");
        check("請寫一首關於「大海」的詩。", "请写一首关于「大海」的诗");
        check("列出三种國家", "列出三种国家");
    }

    proptest! {
        #[test]
        fn blanks_case_and_final_punctuation_never_matter(text in "[a-zA-Z一-三é ]{0,20}", end in "[ .!?。！？]{0,3}") {
            let changed = format!(" \n{}{end}", text.to_uppercase().replace(' ', "  "));
            prop_assert!(text.trim().is_empty() || normalize(&text) == normalize(&changed), "{:?} {:?}", text, changed);
        }

        #[test]
        fn the_script_of_chinese_never_matters(text in "[一-龥a-z，。 ]{0,20}") {
            let simple: String = text.chars().map(simplified).collect();
            prop_assert_eq!(normalize(&text), normalize(&simple));
        }

        #[test]
        fn once_is_enough(text in "[\\PC\u{200B}\n]{0,20}|[a-z一 .!。“”(),，]{0,16}|[一-龥薴苧㐀-䶵]{0,12}") {
            let once = normalize(&text);
            prop_assert_eq!(normalize(&once), once);
        }
    }
}
