//! Which script a letter belongs to.

use autodidact_plugin::text::is_cjk;

use crate::languages::Language;

/// The script of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Script {
    Latin,
    Han,
    Kana,
    /// One in which one language is written, or several that are not told apart.
    Of(Language),
}

/// Finds the script of a letter by Unicode's blocks; none where it is no letter, or of a script that is not known here.
pub(crate) fn script(c: char) -> Option<Script> {
    let script = match c {
        'a'..='z' | 'A'..='Z' | '\u{FF21}'..='\u{FF3A}' | '\u{FF41}'..='\u{FF5A}' => Script::Latin,
        '\0'..='\u{BF}' | '×' | '÷' => return None,
        '\u{C0}'..='\u{24F}' | '\u{1E00}'..='\u{1EFF}' => Script::Latin,
        '\u{370}'..='\u{3FF}' | '\u{1F00}'..='\u{1FFF}' => Script::Of(Language::Greek),
        '\u{400}'..='\u{52F}' => Script::Of(Language::Cyrillic),
        '\u{590}'..='\u{5FF}' => Script::Of(Language::Hebrew),
        '\u{600}'..='\u{77F}' | '\u{8A0}'..='\u{8FF}' => Script::Of(Language::Arabic),
        '\u{900}'..='\u{97F}' => Script::Of(Language::Devanagari),
        '\u{E00}'..='\u{E7F}' => Script::Of(Language::Thai),
        '\u{1100}'..='\u{11FF}' | '\u{AC00}'..='\u{D7A3}' => Script::Of(Language::Korean),
        // The mark that makes a vowel long counts as what it stands after, and the middle dot as nothing.
        '・' | 'ー' => return None,
        '\u{3041}'..='\u{30FF}' | '\u{FF66}'..='\u{FF9D}' => Script::Kana,
        c if is_cjk(c) => Script::Han,
        _ => return None,
    };
    let is_letter =
        matches!(script, Script::Latin | Script::Han | Script::Kana) || c.is_alphabetic();
    is_letter.then_some(script)
}
