//! What stands in quotation marks or is code: not the writer's own words.

use autodidact_plugin::text::outside_of_marks;

/// Opening marks with their closing ones. Of code, longer fences come first.
const MARKS: [(&str, &str); 9] = [
    ("```", "```"),
    ("`", "`"),
    ("“", "”"),
    ("\"", "\""),
    ("「", "」"),
    ("『", "』"),
    ("«", "»"),
    ("《", "》"),
    ("‘", "’"),
];

/// Leaves out quotations, titles and code; a mark without its partner opens nothing, save that a fence runs to the end.
pub(crate) fn own_words(text: &str) -> String {
    outside_of_marks(text, &MARKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotations_titles_and_code_go() {
        let check = |text: &str, expect: &str| assert_eq!(own_words(text), expect, "{text}");
        check("say “hi” and \"you\" now", "say   and   now");
        check("《图》是‘谁’写的", " 是 写的");
        check("What does `open(file)` do?\n```\nx", "What does   do?\n");
        check("a ```x``` b", "a   b");
        check("a 5\" map, it’s a “map", "a 5\" map, it’s a “map");
        check(&"“".repeat(20_000), &"“".repeat(20_000));
    }
}
