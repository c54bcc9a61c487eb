//! Brackets and quotation marks that have lost their partner.

use autodidact_plugin::text::{fold_width, is_cjk};

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
    let chars: Vec<char> = text.chars().map(fold_bracket).collect();
    BRACKETS.iter().find_map(|pair| unbalanced(&chars, *pair))
}

/// Colons stay as they are, since a full-width one before an opening bracket introduces it and is no face.
fn fold_bracket(c: char) -> char {
    match c {
        '：' | '；' => c,
        _ => fold_width(c),
    }
}

/// Finds quotation marks without partner. Apostrophes look like single quotes, so those are not counted.
pub(super) fn unbalanced_quotes(text: &str) -> Option<String> {
    let chars: Vec<char> = text.chars().collect();
    if let Some(found) = QUOTES.iter().find_map(|pair| unbalanced(&chars, *pair)) {
        return Some(found);
    }
    // Straight and curly marks are mixed freely, so their sum must be even; `5"` and `27”` may be inches.
    let marks = chars
        .iter()
        .filter(|c| matches!(c, '"' | '“' | '”' | '＂'))
        .count();
    let inches = chars.iter().enumerate().any(|(at, c)| {
        let opened = || chars[..at].iter().rev().find(|c| matches!(c, '“' | '”')) == Some(&'“');
        at > 0 && chars[at - 1].is_ascii_digit() && (*c == '"' || *c == '”' && !opened())
    });
    if marks % 2 == 1 && !inches {
        return Some(format!("{marks} quotation marks"));
    }
    let backticks = chars.iter().filter(|c| **c == '`').count();
    (backticks % 2 == 1).then(|| format!("{backticks} backticks"))
}

fn unbalanced(chars: &[char], (open, close): (char, char)) -> Option<String> {
    let mut opened = Vec::new();
    for (at, c) in chars.iter().enumerate() {
        if *c == open {
            opened.push(at);
        } else if *c == close && opened.pop().is_none() && !stands_alone(chars, at) {
            return Some(format!("{close} without {open}"));
        }
    }
    let alone = (0..chars.len())
        .filter(|at| chars[*at] == open && stands_alone(chars, *at))
        .count();
    (opened.len() > alone).then(|| format!("{open} without {close}"))
}

/// Tells whether a bracket needs no partner of its kind.
fn stands_alone(chars: &[char], at: usize) -> bool {
    is_list_label(chars, at) || is_face(chars, at) || is_interval_end(chars, at)
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

/// Tells whether the bracket is the mouth of `:)`, `:-(` or `;)`, which stand after a blank, a mark or Chinese.
fn is_face(chars: &[char], at: usize) -> bool {
    if !matches!(chars[at], '(' | ')') {
        return false;
    }
    let eyes = chars[..at].strip_suffix(&['-']).unwrap_or(&chars[..at]);
    match (eyes, chars[at]) {
        ([.., before, ':' | ';'], _) | ([.., before, '：' | '；'], ')') => {
            !before.is_alphanumeric() || is_cjk(*before)
        }
        ([':' | ';'], _) => true,
        _ => false,
    }
}

/// Tells whether the bracket is an end of a half-open interval, `[0, 1)` or `(a, b]`.
fn is_interval_end(chars: &[char], at: usize) -> bool {
    /// Letters of a word inside, as in `[0, inf)`.
    const LONGEST: usize = 3;
    let inside = |c: &&char| !matches!(c, '(' | ')' | '[' | ']');
    let (other, within) = match chars[at] {
        ')' | ']' => {
            let within: Vec<char> = chars[..at]
                .iter()
                .rev()
                .take_while(inside)
                .copied()
                .collect();
            (at.checked_sub(within.len() + 1), within)
        }
        '(' | '[' => {
            let within: Vec<char> = chars[at + 1..].iter().take_while(inside).copied().collect();
            (Some(at + 1 + within.len()), within)
        }
        _ => return false,
    };
    let mixed = other
        .and_then(|other| chars.get(other))
        .is_some_and(|other| {
            matches!(
                (*other, chars[at]),
                ('[', ')') | ('(', ']') | (')', '[') | (']', '(')
            )
        });
    let commas = within.iter().filter(|c| **c == ',').count();
    let words = within.split(|c| !c.is_alphabetic());
    mixed && commas == 1 && words.map(<[char]>::len).max() <= Some(LONGEST)
}
