//! What a generator copies along from the list or template in its prompt.

use autodidact_plugin::text::fold_width;

use super::quote;

/// Words that, at the start of a sentence and before a colon, are a template's field names.
const FIELD_NAMES: [&str; 24] = [
    "input",
    "output",
    "instruction",
    "instructions",
    "response",
    "answer",
    "question",
    "task",
    "q",
    "user",
    "assistant",
    "human",
    "输入",
    "输出",
    "指令",
    "回答",
    "答案",
    "问题",
    "任务",
    "回复",
    "响应",
    "用户",
    "助手",
    "人类",
];

/// Marks of chat and prompt templates, wherever they stand.
const TEMPLATE_MARKS: [&str; 11] = [
    "<noinput>",
    "<no input>",
    "noinput",
    "<无输入>",
    // Their first halves are found by themselves (`special_token`).
    "im_end|>",
    "endoftext|>",
    "eot_id|>",
    "[inst]",
    "[/inst]",
    "###",
    "<start_of_turn>",
];

/// Finds a template's mark or field name, such as `Input:`, `输入：` or `Task 3:`.
pub(super) fn template_marker(text: &str) -> Option<String> {
    // Folded, so that `：` is `:`.
    let folded: String = text
        .chars()
        .map(|c| fold_width(c).to_ascii_lowercase())
        .collect();
    if let Some(mark) = TEMPLATE_MARKS.iter().find(|mark| folded.contains(**mark)) {
        return Some(format!("contains {}", quote(mark)));
    }
    if let Some(mark) = special_token(&folded).or_else(|| slot(&folded)) {
        return Some(format!("contains {}", quote(mark)));
    }
    FIELD_NAMES.iter().find_map(|name| {
        let mut places = folded.match_indices(name).map(|(at, _)| at);
        let found = places
            .any(|at| begins_sentence(&folded[..at]) && names_field(&folded[at + name.len()..]));
        found.then(|| format!("contains {}", quote(&format!("{name}:"))))
    })
}

/// Finds a model's special token, such as `<|im_end|>`, whole or cut. F# and R have `<|` and `|>` too, with a blank beside them.
fn special_token(text: &str) -> Option<&str> {
    text.match_indices("<|")
        .map(|(at, _)| &text[at..])
        .find(|rest| rest[2..].starts_with(|c: char| c.is_ascii_alphabetic()))
}

/// Finds an unfilled slot, `{{name}}`. Braces of JSON and LaTeX hold more than a name or follow a command (`\frac{{a}}{b}`), and
/// a slot between quotation marks or backticks is spoken of.
fn slot(text: &str) -> Option<&str> {
    text.match_indices("{{").find_map(|(at, _)| {
        let rest = &text[at..];
        let length = rest.find("}}")?;
        let name = rest[2..length].trim();
        let named = !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ' '));
        let before = text[..at].chars().next_back().unwrap_or(' ');
        let set = before.is_ascii_alphanumeric() || matches!(before, '}' | '\\' | '^' | '_' | '$');
        let quoted = matches!(before, '`' | '"' | '“' | '「' | '\'' | '‘');
        (named && !set && !quoted).then(|| &rest[..length + 2])
    })
}

/// Tells whether a sentence begins after this text.
fn begins_sentence(before: &str) -> bool {
    let text = before.trim_end_matches([' ', '\t', '*', '#', '<', '[']);
    text.is_empty() || text.ends_with(['\n', '\r', '.', '?', '!', '。', ';', ':', ')', '"', '”'])
}

/// Tells whether the text after a word is a colon, with at most a number in either script or emphasis between.
fn names_field(after: &str) -> bool {
    after
        .trim_start_matches(|c: char| {
            c.is_ascii_digit() || is_chinese_digit(c) || matches!(c, ' ' | '*' | '#' | '>' | ']')
        })
        .starts_with(':')
}

/// Finds a list's number or bullet before the text, or the next item's number inside it.
pub(super) fn list_number(text: &str) -> Option<String> {
    let chars: Vec<char> = text.chars().map(fold_width).collect();
    let length = marker_length(&chars);
    if length > 0 {
        return Some(format!(
            "starts with {}",
            quote(&chars[..length].iter().collect::<String>())
        ));
    }
    let next = (1..chars.len()).find(|at| begins_item(&chars, *at))?;
    Some(format!(
        "next item inside: {}",
        quote(&chars[next..].iter().take(12).collect::<String>())
    ))
}

/// Measures the list marker at the start in characters, 0 for none.
fn marker_length(chars: &[char]) -> usize {
    match chars {
        ['-' | '*' | '·' | '–', ' ', ..] => 2,
        // What is nothing but a bullet needs no blank.
        ['•' | '●' | '■' | '◆' | '▪' | '○', ..] => 1,
        // ① to ⑳
        ['\u{2460}'..='\u{2473}', ..] => 1,
        ['a'..='h' | 'A'..='H', ')', ' ', ..] => 3,
        ['(' | '[', rest @ ..] => {
            let digits = leading_digits(rest).max(leading_chinese_digits(rest));
            let closed = matches!(rest.get(digits), Some(')' | ']'));
            if (1..=3).contains(&digits) && closed {
                digits + 2
            } else {
                0
            }
        }
        _ => number_length(chars).max(chinese_number_length(chars)),
    }
}

/// Measures `1.`, `12)`, `3、` or `4:`; not `3.5`, `3:1` or a year.
fn number_length(chars: &[char]) -> usize {
    let digits = leading_digits(chars);
    let marked = matches!(chars.get(digits), Some('.' | ')' | '、' | ':'));
    let number_goes_on = chars.get(digits + 1).is_some_and(char::is_ascii_digit);
    if (1..=3).contains(&digits) && marked && !number_goes_on {
        digits + 1
    } else {
        0
    }
}

/// Measures `一、` to `十二、`; not `三、四线城市`, which counts on.
fn chinese_number_length(chars: &[char]) -> usize {
    let digits = leading_chinese_digits(chars);
    let marked = chars.get(digits) == Some(&'、');
    let counts_on = chars.get(digits + 1).copied().is_some_and(is_chinese_digit);
    if (1..=3).contains(&digits) && marked && !counts_on {
        digits + 1
    } else {
        0
    }
}

/// Tells whether `2. Name …` begins here, after a finished sentence.
fn begins_item(chars: &[char], at: usize) -> bool {
    let marker = number_length(&chars[at..]);
    let item = marker > 0
        && chars.get(at + marker) == Some(&' ')
        && chars
            .get(at + marker + 1)
            .is_some_and(|c| c.is_alphabetic());
    item && matches!(
        &chars[..at],
        [.., '.' | '?' | '!' | '。', ' '] | [.., '。' | '\n']
    )
}

fn leading_digits(chars: &[char]) -> usize {
    chars.iter().take_while(|c| c.is_ascii_digit()).count()
}

fn leading_chinese_digits(chars: &[char]) -> usize {
    chars.iter().take_while(|c| is_chinese_digit(**c)).count()
}

fn is_chinese_digit(c: char) -> bool {
    "一二三四五六七八九十".contains(c)
}
