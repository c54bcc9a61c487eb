//! Lists of extracted spans, and how well two agree.

use std::collections::HashMap;

use crate::{fold, is_cjk, normalize};

/// Splits an answer that lists spans at `;`, `；`, `,`, `，`, `、` and line ends, and normalises each.
///
/// Bullets and list numbers (`- `, `• `, `2. `) at the start of a span are left out; empty spans too.
pub fn parse_spans(text: &str) -> Vec<String> {
    text.split([';', '；', ',', '，', '、', '\n', '\r'])
        .map(|span| normalize(without_list_mark(span.trim())))
        .filter(|span| !span.is_empty())
        .collect()
}

fn without_list_mark(span: &str) -> &str {
    if let Some(rest) = span.strip_prefix(['-', '*', '•', '·']) {
        return if rest.starts_with(char::is_whitespace) {
            rest
        } else {
            span
        };
    }
    let after_digits = span.trim_start_matches(|c: char| c.is_ascii_digit());
    match after_digits.strip_prefix(['.', ')']) {
        Some(rest) if after_digits.len() < span.len() && rest.starts_with(char::is_whitespace) => {
            rest
        }
        _ => span,
    }
}

/// Finds a span in a text up to width, case, script of Chinese and blanks; gives it as the text writes it.
///
/// A span that begins or ends with a letter or digit does not stand inside of a longer word.
pub fn find_span<'a>(text: &'a str, span: &str) -> Option<&'a str> {
    let needle: Vec<char> = fold(span).chars().filter(|c| !c.is_whitespace()).collect();
    // Each folded character with where the one that it comes from begins and ends.
    let mut folded: Vec<(char, usize, usize)> = Vec::with_capacity(text.len());
    for (at, character) in text.char_indices() {
        let end = at + character.len_utf8();
        let parts = fold(character.encode_utf8(&mut [0; 4]));
        folded.extend(
            parts
                .chars()
                .filter(|c| !c.is_whitespace())
                .map(|c| (c, at, end)),
        );
    }
    if needle.is_empty() {
        return None;
    }
    let is_word = |c: char| c.is_alphanumeric() && !is_cjk(c);
    let windows = folded.windows(needle.len());
    let mut found = windows.filter(|window| window.iter().map(|(c, ..)| c).eq(&needle));
    found.find_map(|window| {
        let (start, end) = (window.first()?.1, window.last()?.2);
        let before = text[..start].chars().next_back();
        let after = text[end..].chars().next();
        let is_cut =
            |inside: char, outside: Option<char>| is_word(inside) && outside.is_some_and(is_word);
        let is_whole = !is_cut(*needle.first()?, before) && !is_cut(*needle.last()?, after);
        is_whole.then(|| &text[start..end])
    })
}

/// Computes the F1 of predicted spans against the right ones, 0 to 1, comparing normalised forms in any order.
///
/// A span counts as often as it stands in both lists. Two empty lists agree fully.
pub fn span_f1<S: AsRef<str>>(predicted: &[S], gold: &[S]) -> f64 {
    if predicted.is_empty() && gold.is_empty() {
        return 1.0;
    }
    let mut left: HashMap<String, usize> = HashMap::new();
    for span in gold {
        *left.entry(normalize(span.as_ref())).or_default() += 1;
    }
    let mut matches = 0usize;
    for span in predicted {
        if let Some(count) = left
            .get_mut(&normalize(span.as_ref()))
            .filter(|count| **count > 0)
        {
            *count -= 1;
            matches += 1;
        }
    }
    2.0 * matches as f64 / (predicted.len() + gold.len()) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_as_people_write_them() {
        let check = |text: &str, expect: &[&str]| assert_eq!(parse_spans(text), expect, "{text:?}");
        check(
            "Prague; Vienna;Budapest.",
            &["prague", "vienna", "budapest"],
        );
        check("白鹭；野鸭、田鼠，鱼", &["白鹭", "野鸭", "田鼠", "鱼"]);
        check(
            "- Chile\r\n- Norway\n\n* Kenya",
            &["chile", "norway", "kenya"],
        );
        check(
            "1. one\n2) two\n3.5 percent\n192.168.1.5",
            &["one", "two", "3.5 percent", "192.168.1.5"],
        );
        check("-5; - ;", &["-5", "-"]);
        check("", &[]);
    }

    #[test]
    fn spans_as_the_text_writes_them() {
        let check = |text, span, expect: Option<&str>| {
            assert_eq!(find_span(text, span), expect, "{span:?} in {text:?}")
        };
        check("Call Ms Ortiz on 555-0142.", "ms ortiz", Some("Ms Ortiz"));
        check("Call Ms  Ortiz.", "Ms Ortiz", Some("Ms  Ortiz"));
        check("电话１３８，找王芳。", "138", Some("１３８"));
        check("我們從成都出發", "我们", Some("我們"));
        check("concatenate cat", "cat", Some("cat"));
        check("concatenate", "cat", None);
        check("5号站台", "5", Some("5"));
        check("15号", "5", None);
        check("Rome", "Paris", None);
        check("Rome", " ", None);
        check("", "a", None);
    }

    #[test]
    fn f1_values() {
        let check = |predicted: &[&str], gold: &[&str], expect: f64| {
            assert_eq!(span_f1(predicted, gold), expect)
        };
        check(&["a", "b"], &["B.", "a"], 1.0);
        check(&["a"], &["a", "b", "c"], 0.5);
        check(&["a", "a", "a"], &["a"], 0.5);
        check(&["x"], &["a"], 0.0);
        check(&[], &["a"], 0.0);
        check(&[], &[], 1.0);
    }
}
