//! Lists of extracted spans, and how well two agree.

use std::collections::HashMap;

use crate::normalize;

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
