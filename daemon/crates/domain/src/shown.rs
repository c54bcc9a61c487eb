//! Texts of plugins, models and files, shown to people.

/// Tells whether a character steers a terminal: a control character, or one that turns the direction of what follows
/// (Unicode Standard Annex 9, section 2).
pub fn steers(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Shows the beginning of a text on one line: ends of lines and tabs as blanks, what else steers a terminal by its escape.
pub fn on_one_line(text: &str, max_characters: usize) -> String {
    let mut shown = String::new();
    for character in text.chars().take(max_characters) {
        match character {
            '\n' | '\r' | '\t' => shown.push(' '),
            other if steers(other) => shown.extend(other.escape_unicode()),
            other => shown.push(other),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_shown_and_the_rest_is_left_alone() {
        for (text, expected) in [
            ("写 a\nb\tc", "写 a b c"),
            ("\u{1b}[31m red", "\\u{1b}[31m red"),
            ("\u{9b}2J \u{202e}x", "\\u{9b}2J \\u{202e}x"),
            ("👩\u{200d}🔬", "👩\u{200d}🔬"),
        ] {
            assert_eq!(on_one_line(text, 100), expected);
        }
        assert_eq!(on_one_line("写诗吧", 2), "写诗");
    }
}
