//! What of a text tells its language: its sentences, without code, addresses, formulas, quotations, titles and remarks in brackets.

use autodidact_plugin::text::outside_of_marks;

/// Opening marks with their closing ones, of what may be in any language. Of code, longer fences come first.
const MARKS: [(&str, &str); 15] = [
    ("```", "```"),
    ("\"\"\"", "\"\"\""),
    ("'''", "'''"),
    ("`", "`"),
    ("$$", "$$"),
    ("“", "”"),
    ("\"", "\""),
    ("「", "」"),
    ("『", "』"),
    ("«", "»"),
    ("《", "》"),
    ("‘", "’"),
    ("(", ")"),
    ("（", "）"),
    ("[", "]"),
];

/// What a line of code has that a sentence has not.
const CODE_MARKS: [&str; 20] = [
    "()", "=>", "->", "==", "!=", " = ", "+=", "</", "/>", "::", "&&", "||", "){", ") {", "):",
    "{{", "}}", "\": ", "<!", "\\n",
];
const CODE_BEGINNINGS: [&str; 26] = [
    "#", "--", "/*", "def ", "class ", "import ", "return ", "//", "$ ", "<", "SELECT ", "INSERT ",
    "UPDATE ", "DELETE ", "CREATE ", "FROM ", "WHERE ", "ORDER ", "GROUP ", "JOIN ", "var ",
    "let ", "const ", "public ", "git ", "@",
];

/// A piece of a text that is in one language, as a rule.
#[derive(Debug, PartialEq)]
pub(crate) struct Sentence<'a> {
    pub(crate) text: &'a str,
    /// Whether it ends as sentences do, and is not a heading, a title or an item.
    pub(crate) is_ended: bool,
}

/// Tells whether a text is one JSON value, or the likes of it.
pub(crate) fn is_data(text: &str) -> bool {
    let text = text.trim();
    (text.starts_with('{') && text.ends_with('}')) || (text.starts_with('[') && text.ends_with(']'))
}

/// Leaves out what is no evidence; a mark without its partner opens nothing, save that a fence of code runs to the end.
///
/// Words that hold what no word of a language holds, such as `a_b`, `x@y.z` and `https://x`, go too.
pub(crate) fn own(text: &str) -> String {
    let text = outside_of_marks(text, &MARKS);
    let mut kept = String::with_capacity(text.len());
    for line in text.lines().filter(|line| !is_code(line.trim())) {
        for word in line.split_inclusive([' ', '\t', '，', '。']) {
            let is_address = word.contains("://")
                || word.starts_with("www.")
                || word.contains(['@', '_', '\\', '=', '<', '{', '^']);
            kept.push_str(if is_address { " " } else { word });
        }
        kept.push('\n');
    }
    kept
}

fn is_code(line: &str) -> bool {
    line.ends_with([';', '{', '}'])
        || CODE_BEGINNINGS
            .iter()
            .any(|begins| line.starts_with(begins))
        || CODE_MARKS.iter().any(|mark| line.contains(mark))
}

/// Cuts a text into sentences, headings and items.
pub(crate) fn sentences(text: &str) -> impl Iterator<Item = Sentence<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut chars = rest.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            let next = chars.peek().map(|(_, next)| *next);
            let ends = match c {
                '.' => next.is_none_or(char::is_whitespace),
                '!' | '?' | '。' | '！' | '？' | '…' | '।' | '؟' => true,
                _ => false,
            };
            if ends || matches!(c, '\n' | ';' | '；' | ':' | '：' | '|') {
                let text = &rest[..at];
                rest = &rest[at + c.len_utf8()..];
                return Some(Sentence {
                    text,
                    is_ended: ends,
                });
            }
        }
        Some(Sentence {
            text: std::mem::take(&mut rest),
            is_ended: false,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tells_no_language_goes() {
        let check = |text: &str, expect: &str| {
            let own = own(text);
            let words: Vec<&str> = own.split_whitespace().collect();
            assert_eq!(words.join(" "), expect, "{text}");
        };
        check("Say “你好” and 「再见」.", "Say and .");
        check("用 `git commit` 提交", "用 提交");
        check("See https://example.com/the/and or a_b now", "See or now");
        check("He (彼) goes", "He goes");
        check("x = the + and\nThis is prose.", "This is prose.");
        check("def f(a):\n    return a\n", "");
        check("SELECT name FROM users", "");
        check("完\n```python\nprint('the')\n```\n好", "完 好");
        check("a \" alone", "a \" alone");
        assert!(is_data(" {\"a\": \"the\"}\n") && is_data("[1]") && !is_data("[1] is"));
    }

    #[test]
    fn sentences_end_at_their_marks() {
        let check = |text: &str, expect: &[(&str, bool)]| {
            let found: Vec<_> = sentences(text)
                .map(|s| (s.text.trim(), s.is_ended))
                .collect();
            assert_eq!(found, expect, "{text}");
        };
        check("It is 3.5 m. No", &[("It is 3.5 m", true), ("No", false)]);
        check(
            "你好。Title: x",
            &[("你好", true), ("Title", false), ("x", false)],
        );
        check("", &[]);
    }
}
