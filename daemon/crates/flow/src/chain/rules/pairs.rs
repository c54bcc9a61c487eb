//! Brackets and quotation marks that do not pair.

use autodidact_text::{without_code, without_quotations};

/// Brackets of both scripts; a full-width one may pair with an ASCII one.
const BRACKETS: [(&str, &str); 7] = [
    ("(（", ")）"),
    ("[［", "]］"),
    ("{｛", "}｝"),
    ("《", "》"),
    ("〈", "〉"),
    ("【", "】"),
    ("〔", "〕"),
];
const CORNERS: [(&str, &str); 2] = [("「", "」"), ("『", "』")];

/// Finds a bracket or quotation mark without its other half.
///
/// Code does not count, and what is quoted may hold any bracket. Single quotation marks are not looked at: most are apostrophes.
pub(super) fn unbalanced(text: &str) -> Option<String> {
    let text = without_code(text);
    let characters: Vec<char> = text.chars().collect();
    let corner = CORNERS.iter().find_map(|pair| unpaired(&characters, *pair));
    corner.or_else(|| quotation_marks(&characters)).or_else(|| {
        let own: Vec<char> = without_quotations(&text).chars().collect();
        BRACKETS.iter().find_map(|pair| unpaired(&own, *pair))
    })
}

/// Finds an odd number of double quotation marks: writers mix curly and straight ones, so their kinds say nothing.
fn quotation_marks(characters: &[char]) -> Option<String> {
    let is_mark = |c: &&char| matches!(**c, '"' | '“' | '”' | '„' | '＂');
    let marks = characters.iter().filter(is_mark).count();
    // 27" is a length.
    let mut pairs = characters.windows(2);
    let has_inches = pairs.any(|pair| pair[0].is_ascii_digit() && matches!(pair[1], '"' | '”'));
    (marks % 2 == 1 && !has_inches).then(|| format!("{marks} quotation marks"))
}

fn unpaired(characters: &[char], (open, close): (&str, &str)) -> Option<String> {
    let mut depth = 0usize;
    for (at, character) in characters.iter().enumerate() {
        if is_face(characters, at) {
            continue;
        }
        if open.contains(*character) {
            depth += 1;
        } else if close.contains(*character) {
            if depth > 0 {
                depth -= 1;
            } else if !is_list_label(characters, at) && !is_half_open(characters, at) {
                return Some(format!("{character} without its other half"));
            }
        }
    }
    let open = open.chars().next().unwrap_or_default();
    (depth > 0
        && !characters
            .iter()
            .enumerate()
            .any(|(at, _)| is_half_open(characters, at)))
    .then(|| format!("{open} without its other half"))
}

/// `a)` and `12）` before an item.
fn is_list_label(characters: &[char], at: usize) -> bool {
    let label = characters[..at]
        .iter()
        .rev()
        .take_while(|c| c.is_alphanumeric());
    matches!(characters[at], ')' | '）') && (1..=2).contains(&label.count())
}

/// `:-)` and the like.
fn is_face(characters: &[char], at: usize) -> bool {
    if !matches!(characters[at], '(' | ')') {
        return false;
    }
    let eyes = characters[..at]
        .strip_suffix(&['-'])
        .unwrap_or(&characters[..at]);
    matches!(eyes, [.., ' ', ':' | ';'] | [':' | ';'])
}

/// An interval that has one of its ends only, such as `[0, 1)`.
fn is_half_open(characters: &[char], at: usize) -> bool {
    let is_inside = |c: &&char| {
        c.is_ascii_digit() || matches!(**c, ',' | '，' | ' ' | '.' | '-' | '∞' | '+' | 'a' | 'b')
    };
    let inside = characters[..at].iter().rev().take_while(is_inside).count();
    let opening = characters[..at].iter().rev().nth(inside);
    inside >= 3
        && matches!(
            (opening, characters[at]),
            (Some('['), ')') | (Some('('), ']') | (Some('［'), '）') | (Some('（'), '］')
        )
}
