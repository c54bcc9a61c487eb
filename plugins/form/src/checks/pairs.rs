//! Brackets and quotation marks that have lost their partner.

use autodidact_plugin::text::fold_width;

const BRACKETS: [(char, char); 8] = [
    ('(', ')'),
    ('[', ']'),
    ('{', '}'),
    ('《', '》'),
    ('〈', '〉'),
    ('【', '】'),
    ('〔', '〕'),
    ('〖', '〗'),
];

const QUOTES: [(char, char); 2] = [('「', '」'), ('『', '』')];

/// Finds brackets without partner. Full-width ones count as half-width: `（a)` is a common slip, not a fragment.
pub(super) fn unbalanced_brackets(text: &str) -> Option<String> {
    let chars: Vec<char> = text.chars().map(fold_width).collect();
    BRACKETS.iter().find_map(|pair| unbalanced(&chars, *pair))
}

/// Finds quotation marks without partner. Apostrophes look like single quotes, so those are not counted.
pub(super) fn unbalanced_quotes(text: &str) -> Option<String> {
    let chars: Vec<char> = text.chars().collect();
    if let Some(found) = QUOTES.iter().find_map(|pair| unbalanced(&chars, *pair)) {
        return Some(found);
    }
    // Straight and curly marks are mixed freely, so their sum must be even; `5"` may be inches.
    let marks = chars
        .iter()
        .filter(|c| matches!(c, '"' | '“' | '”' | '＂'))
        .count();
    let inches = chars
        .windows(2)
        .any(|pair| pair[0].is_ascii_digit() && pair[1] == '"');
    if marks % 2 == 1 && !inches {
        return Some(format!("{marks} quotation marks"));
    }
    let backticks = chars.iter().filter(|c| **c == '`').count();
    (backticks % 2 == 1).then(|| format!("{backticks} backticks"))
}

fn unbalanced(chars: &[char], (open, close): (char, char)) -> Option<String> {
    let mut depth = 0usize;
    for (at, c) in chars.iter().enumerate() {
        if is_face(chars, at) {
            continue;
        }
        if *c == open {
            depth += 1;
        } else if *c == close {
            if depth > 0 {
                depth -= 1;
            } else if !is_list_label(chars, at) {
                return Some(format!("{close} without {open}"));
            }
        }
    }
    (depth > 0).then(|| format!("{open} without {close}"))
}

/// Tells whether the bracket closes a label such as `a)` or `12)`.
fn is_list_label(chars: &[char], at: usize) -> bool {
    let label = chars[..at]
        .iter()
        .rev()
        .take_while(|c| c.is_alphanumeric())
        .count();
    chars[at] == ')' && (1..=2).contains(&label)
}

/// Tells whether the bracket is the mouth of `:)`, `:-(` or `;)`.
fn is_face(chars: &[char], at: usize) -> bool {
    if !matches!(chars[at], '(' | ')') {
        return false;
    }
    let eyes = chars[..at].strip_suffix(&['-']).unwrap_or(&chars[..at]);
    matches!(eyes, [.., ' ', ':' | ';'] | [':' | ';'])
}
