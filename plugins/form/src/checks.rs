//! The checks, one function each, in one table.

mod ending;
mod leftovers;
mod pairs;
mod start;

use autodidact_plugin::text::excerpt;

/// A check: its reason code, and a function that finds the evidence in a trimmed instruction.
///
/// The function's second argument is the most lines allowed.
pub struct Check {
    /// The reason code of a drop.
    pub code: &'static str,
    /// Finds what is wrong, in words for people.
    pub find: fn(&str, usize) -> Option<String>,
}

/// Every check in the order they are asked: the telling ones first, so that the reason is the likeliest cause.
pub const CHECKS: [Check; 10] = [
    Check {
        code: "empty_instruction",
        find: |text, _| text.is_empty().then(|| "no text".to_string()),
    },
    Check {
        code: "template_marker",
        find: |text, _| leftovers::template_marker(text),
    },
    Check {
        code: "several_lines",
        find: several_lines,
    },
    Check {
        code: "list_number",
        find: |text, _| leftovers::list_number(text),
    },
    Check {
        code: "starts_with_punctuation",
        find: |text, _| start::punctuation(text),
    },
    Check {
        code: "starts_lower_case",
        find: |text, _| start::lower_case(text),
    },
    Check {
        code: "unbalanced_brackets",
        find: |text, _| pairs::unbalanced_brackets(text),
    },
    Check {
        code: "unbalanced_quotes",
        find: |text, _| pairs::unbalanced_quotes(text),
    },
    Check {
        code: "ends_with_colon",
        find: |text, _| ending::colon(text),
    },
    Check {
        code: "cut_sentence",
        find: |text, _| ending::cut(text),
    },
];

fn several_lines(text: &str, max_lines: usize) -> Option<String> {
    let lines = text.lines().filter(|line| !line.trim().is_empty()).count();
    (lines > max_lines).then(|| format!("{lines} lines"))
}

/// Quotes a few characters of the text as evidence.
fn quote(text: &str) -> String {
    format!("{:?}", excerpt(text.trim(), 24))
}
