//! How an instruction begins.

use autodidact_plugin::text::{fold_width, is_cjk};

use super::quote;

/// What may open a good instruction though it is punctuation: quotes, brackets, titles, currency.
const OPENERS: &str = "\"'“‘「『《〈【〔([{`$£¥¢¿¡§";

/// What stands before a word that is written with it: `#include`, `@Override`, `/etc/hosts`, `<div>`, `\frac`, `%d`, `_id`, `&amp;`.
const SIGILS: &str = "#@/<\\%_&";

/// Names that are written in lower case: what is typed into a terminal, and languages' words.
const LOWER_CASE_NAMES: [&str; 32] = [
    "apt",
    "async",
    "awk",
    "bash",
    "brew",
    "cargo",
    "cd",
    "chmod",
    "cmake",
    "const",
    "curl",
    "def",
    "docker",
    "enum",
    "gcc",
    "git",
    "grep",
    "int",
    "kubectl",
    "ls",
    "malloc",
    "matplotlib",
    "npm",
    "numpy",
    "pandas",
    "pip",
    "pytorch",
    "sed",
    "ssh",
    "sudo",
    "vim",
    "yarn",
];

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
    let name = first == '.' && next.is_alphanumeric()
        || SIGILS.contains(first) && (next.is_alphabetic() || next == '_');
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
    (!name && !variable && !is_code(text, &word)).then(|| format!("starts with {}", quote(&word)))
}

/// Tells whether a text begins with a name of programs: `npm`, `printf()`, `os.path`, `my_list`, `std::vector`, `utf8`.
fn is_code(text: &str, word: &str) -> bool {
    let rest = &text[word.len()..];
    let goes_on = rest.starts_with(['(', '_', '[', '='])
        || rest.starts_with("::")
        || rest
            .strip_prefix('.')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphanumeric()));
    goes_on || LOWER_CASE_NAMES.contains(&word) || word.ends_with(|c: char| c.is_ascii_digit())
}

/// Unicode's blocks General Punctuation and CJK Symbols and Punctuation, besides ASCII's and Latin-1's.
fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation()
        || !c.is_alphanumeric()
            && matches!(c, '\u{2010}'..='\u{205E}' | '\u{3001}'..='\u{303F}' | '\u{A1}'..='\u{BF}')
}
