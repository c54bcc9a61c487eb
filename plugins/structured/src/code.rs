//! Brackets in code, whatever it is written in.

/// Finds a bracket of code that has lost its partner. Those in strings and comments do not count; where a quotation mark itself is
/// without partner (an apostrophe in a comment of a language that is not known), nothing is found.
pub(crate) fn lost_bracket(code: &str) -> Option<String> {
    let mut open: Vec<char> = Vec::new();
    for line in code.lines() {
        let mut chars = line.chars().peekable();
        let mut quote: Option<char> = None;
        let mut lost = None;
        while let Some(c) = chars.next() {
            match (quote, c) {
                (_, '\\') => {
                    chars.next();
                }
                (Some(mark), c) if c == mark => quote = None,
                (Some(_), _) => {}
                (None, '"' | '\'' | '`') => quote = Some(c),
                (None, '#') => break,
                (None, '/') if chars.peek() == Some(&'/') => break,
                (None, '-') if chars.peek() == Some(&'-') => break,
                (None, '(' | '[' | '{') => open.push(c),
                (None, ')' | ']' | '}') => match open.pop() {
                    Some(partner) if closes(partner, c) => {}
                    found => {
                        lost.get_or_insert((found, c));
                    }
                },
                (None, _) => {}
            }
        }
        if quote.is_some() {
            return None;
        }
        if let Some((found, c)) = lost {
            return Some(match found {
                Some(partner) => format!("{c} where {partner} is open"),
                None => format!("{c} without a partner"),
            });
        }
    }
    open.pop().map(|c| format!("{c} without a partner"))
}

fn closes(open: char, close: char) -> bool {
    matches!((open, close), ('(', ')') | ('[', ']') | ('{', '}'))
}
