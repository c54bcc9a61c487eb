//! How an instruction begins.

use autodidact_plugin::text::{fold_width, is_cjk};

use super::quote;

/// What may open a good instruction though it is punctuation: quotes, brackets, titles, currency.
const OPENERS: &str = "\"'“‘「『《〈【〔([{`$¿¡";

/// Finds punctuation where a sentence should begin.
pub(super) fn punctuation(text: &str) -> Option<String> {
    let mut chars = text.chars().map(fold_width);
    let first = chars.next()?;
    if !is_punctuation(first) || OPENERS.contains(first) {
        return None;
    }
    // "-5 + 3 = ?", ".NET"
    let next = chars.next().unwrap_or(' ');
    let number = matches!(first, '-' | '+' | '−') && next.is_ascii_digit();
    let name = first == '.' && next.is_alphanumeric();
    (!number && !name).then(|| {
        format!(
            "starts with {}",
            quote(&text.chars().take(6).collect::<String>())
        )
    })
}

/// Finds a lower-case beginning, the sign of a sentence's second half. Text with Chinese in it may begin with any word.
pub(super) fn lower_case(text: &str) -> Option<String> {
    if !text.starts_with(char::is_lowercase) || text.chars().any(is_cjk) {
        return None;
    }
    let word: String = text.chars().take_while(|c| c.is_alphanumeric()).collect();
    // "iPhone", "pH"; "x + 2 = 5": names and variables, not fragments.
    let name = word.chars().any(char::is_uppercase);
    let variable = word.chars().count() == 1 && word != "a";
    (!name && !variable).then(|| format!("starts with {}", quote(&word)))
}

/// Unicode's blocks General Punctuation and CJK Symbols and Punctuation, besides ASCII's and Latin-1's.
fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation()
        || !c.is_alphanumeric()
            && matches!(c, '\u{2010}'..='\u{205E}' | '\u{3001}'..='\u{303F}' | '\u{A1}'..='\u{BF}')
}
