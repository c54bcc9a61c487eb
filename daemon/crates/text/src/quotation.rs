//! What stands in quotation marks or is code: not the writer's own words.

/// Opening quotation marks with their closing ones.
const QUOTATION_MARKS: [(char, char); 5] = [
    ('“', '”'),
    ('"', '"'),
    ('「', '」'),
    ('『', '』'),
    ('«', '»'),
];

/// Leaves out what stands between paired quotation marks; an unpaired mark opens nothing.
pub fn without_quotations(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    // A closing mark that was once not found ahead will not be found later either, so each is looked for in vain only once.
    let mut missing = [false; QUOTATION_MARKS.len()];
    while let Some(character) = rest.chars().next() {
        let after = &rest[character.len_utf8()..];
        let mark = QUOTATION_MARKS
            .iter()
            .position(|(open, _)| *open == character)
            .filter(|mark| !missing[*mark]);
        if let Some(mark) = mark {
            let close = QUOTATION_MARKS[mark].1;
            if let Some(end) = after.find(close) {
                kept.push(' ');
                rest = &after[end + close.len_utf8()..];
                continue;
            }
            missing[mark] = true;
        }
        kept.push(character);
        rest = after;
    }
    kept
}

/// Leaves out code as Markdown marks it: between fences of three backticks, to the end where the second is missing, and between
/// single ones.
pub fn without_code(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    for (i, part) in text.split("```").enumerate() {
        if i % 2 == 1 {
            kept.push(' ');
            continue;
        }
        let spans: Vec<&str> = part.split('`').collect();
        for (j, span) in spans.iter().enumerate() {
            // The last of an odd number of backticks opens nothing.
            let is_code = j % 2 == 1 && j + 1 < spans.len();
            kept.push_str(if is_code { " " } else { span });
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotations_go() {
        let check = |text: &str, expect: &str| assert_eq!(without_quotations(text), expect);
        check("say “hi” and \"you\" now", "say   and   now");
        check("「你好」是什么意思", " 是什么意思");
        check("5\" of snow", "5\" of snow");
    }

    #[test]
    fn code_goes() {
        let check = |text: &str, expect: &str| assert_eq!(without_code(text), expect);
        check("What does `x += 1` do?", "What does   do?");
        check("Fix it:\n```python\nx = `\n``` now", "Fix it:\n  now");
        check("```\nx", " ");
        check("a ` alone", "a  alone");
    }
}
