//! What stands in quotation marks or is code: not the writer's own words.

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
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    // A partner that was once not found ahead will not be found later either, so each is looked for in vain only once.
    let mut missing = [false; MARKS.len()];
    while let Some(c) = rest.chars().next() {
        let found = MARKS
            .iter()
            .position(|(open, _)| rest.starts_with(open))
            .filter(|mark| !missing[*mark]);
        if let Some(mark) = found {
            let (open, close) = MARKS[mark];
            let inside = &rest[open.len()..];
            match inside.find(close) {
                Some(end) => {
                    kept.push(' ');
                    rest = &inside[end + close.len()..];
                    continue;
                }
                None if open == "```" => break,
                None => missing[mark] = true,
            }
        }
        kept.push(c);
        rest = &rest[c.len_utf8()..];
    }
    kept
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
