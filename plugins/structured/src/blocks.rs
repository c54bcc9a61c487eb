//! Fenced code blocks, as CommonMark 0.31 (4.5) has them, without the indented ones.

/// A block.
#[derive(Debug, PartialEq)]
pub(crate) struct Block<'a> {
    /// The marks that opened it.
    pub(crate) fence: &'a str,
    /// What it says its code is written in; empty for nothing.
    pub(crate) language: &'a str,
    /// What stands in it.
    pub(crate) code: &'a str,
    pub(crate) is_closed: bool,
    /// Where it begins in the text, and where what follows it begins.
    pub(crate) range: (usize, usize),
}

/// Finds the blocks of a text.
pub(crate) fn find(text: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut at = 0;
    let mut code_start = 0;
    let mut is_open = false;
    for line in text.split_inclusive('\n') {
        let start = at;
        at += line.len();
        let trimmed = line.trim();
        match blocks.last_mut().filter(|_| is_open) {
            Some(block) => {
                let marks = fence(trimmed);
                if marks.len() >= block.fence.len()
                    && marks.len() == trimmed.len()
                    && marks.starts_with(block.fence)
                {
                    block.code = &text[code_start..start];
                    block.is_closed = true;
                    block.range.1 = at;
                    is_open = false;
                }
            }
            None => {
                let marks = fence(trimmed);
                let info = &trimmed[marks.len()..];
                if marks.len() >= 3 && !info.contains('`') {
                    blocks.push(Block {
                        fence: marks,
                        language: info.split_whitespace().next().unwrap_or_default(),
                        code: "",
                        is_closed: false,
                        range: (start, text.len()),
                    });
                    code_start = at;
                    is_open = true;
                }
            }
        }
    }
    if let Some(block) = blocks.last_mut().filter(|_| is_open) {
        block.code = &text[code_start..];
    }
    blocks
}

/// Tells whether a text is nothing but this block.
pub(crate) fn is_whole(text: &str, block: &Block<'_>) -> bool {
    text[..block.range.0].trim().is_empty() && text[block.range.1..].trim().is_empty()
}

/// Measures the backticks or tildes that a line begins with.
fn fence(line: &str) -> &str {
    let mark = match line.chars().next() {
        Some(mark @ ('`' | '~')) => mark,
        _ => return "",
    };
    &line[..line.len() - line.trim_start_matches(mark).len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<(&str, &str, bool)> {
        let blocks = find(text).into_iter();
        blocks.map(|b| (b.language, b.code, b.is_closed)).collect()
    }

    #[test]
    fn blocks_are_found_with_their_language_and_end() {
        assert_eq!(
            shown("a\n```python\nx = 1\n```\nb\n~~~\ny\n~~~~"),
            [("python", "x = 1\n", true), ("", "y\n", true)]
        );
        // A longer fence may hold a shorter one.
        assert_eq!(
            shown("````md\n```\nx\n```\n````"),
            [("md", "```\nx\n```\n", true)]
        );
        assert_eq!(shown("```js\nf()"), [("js", "f()", false)]);
        assert_eq!(shown("```"), [("", "", false)]);
        assert_eq!(shown("use ```x``` here\n```x``` too"), []);
        assert_eq!(shown("中文\n```\n代码\n```"), [("", "代码\n", true)]);
    }
}
