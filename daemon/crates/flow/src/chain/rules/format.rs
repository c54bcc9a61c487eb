//! Remains of lists and templates, and instructions that are none.

use autodidact_text::{count_tokens, is_cjk, without_code};

use super::{Instruction, find_any};

/// Marks that an instruction may begin with.
const OPENING_MARKS: &str = "\"'“‘「『《〈【〔([{`$¿¡<@_";

/// Names of a template's fields and of a conversation's roles, as they stand before a colon.
const FIELDS: &str = "
    instruction instructions input output response answer question task user human assistant system 指令 指示 输入 输出 回答
    答案 回复 响应 问题 任务 用户 助手 人类 系统 答";

/// Marks of prompts and chat templates, in lower case.
const TEMPLATE_MARKS: &str = "
    <noinput> <无输入> <| |> [inst] [/inst] <<sys>> <start_of_turn> <end_of_turn> ### <s> </s>";

/// What a line of code begins with; English sentences do not begin so, or are told apart by the marks of code.
const CODE_BEGINNINGS: [&str; 27] = [
    "def ",
    "class ",
    "import ",
    "from ",
    "return ",
    "print(",
    "const ",
    "let ",
    "var ",
    "function ",
    "#include",
    "public ",
    "private ",
    "static ",
    "int ",
    "SELECT ",
    "INSERT ",
    "UPDATE ",
    "DELETE ",
    "CREATE ",
    "FROM ",
    "WHERE ",
    "<?php",
    "if (",
    "for (",
    "while (",
    "for ",
];

/// Finds what shows that an instruction is a piece of a list, of a template or of a program.
pub(super) fn find(instruction: &Instruction<'_>) -> Option<String> {
    let text = instruction.text;
    list_number(text)
        .or_else(|| first_mark(text))
        .or_else(|| template(&instruction.own_words))
        .or_else(|| address(text))
        .or_else(|| code(text))
}

/// Finds the number or bullet of a list's item.
fn list_number(text: &str) -> Option<String> {
    let characters: Vec<char> = text.chars().map(narrow).collect();
    let count = |of: fn(char) -> bool| characters.iter().take_while(|c| of(**c)).count();
    let digits = count(|c| c.is_ascii_digit());
    let chinese = count(|c| "一二三四五六七八九十".contains(c));
    let length = match &characters[..] {
        ['-' | '*' | '•' | '·' | '–' | '●' | '○' | '■', ' ', ..] => 1,
        ['\u{2460}'..='\u{2473}', ..] => 1,
        ['a'..='h' | 'A'..='H', ')', ..] => 2,
        ['(', rest @ ..] => {
            let inside = rest
                .iter()
                .take_while(|c| c.is_ascii_digit() || "一二三四五六七八九十".contains(**c));
            let inside = inside.count();
            if (1..=3).contains(&inside)
                && rest.get(inside) == Some(&')')
                && !continues_sum(&rest[inside + 1..])
            {
                inside + 2
            } else {
                0
            }
        }
        _ if (1..=3).contains(&digits) => {
            let is_mark = matches!(characters.get(digits), Some('.' | ')' | '、' | ':'));
            let goes_on = characters.get(digits + 1).is_some_and(char::is_ascii_digit);
            if is_mark && !goes_on { digits + 1 } else { 0 }
        }
        _ if (1..=3).contains(&chinese) && characters.get(chinese) == Some(&'、') => {
            // 三、五、八中哪个最大 counts numbers up.
            let is_number = |c: &char| "一二三四五六七八九十百千".contains(*c);
            if characters.get(chinese + 1).is_some_and(is_number) {
                0
            } else {
                chinese + 1
            }
        }
        _ => 0,
    };
    let mark: String = characters[..length].iter().collect();
    (length > 0).then(|| format!("starts with {mark:?}"))
}

/// Tells whether a bracket at the beginning is part of a formula.
fn continues_sum(rest: &[char]) -> bool {
    let next = rest.iter().find(|c| !c.is_whitespace());
    next.is_some_and(|c| matches!(c, '+' | '-' | '*' | '/' | '×' | '÷' | '=' | '^' | '<' | '>'))
}

/// Finds punctuation that nothing can begin with.
fn first_mark(text: &str) -> Option<String> {
    let mut characters = text.chars().map(narrow);
    let first = characters.next()?;
    let next = characters.next().unwrap_or(' ');
    let is_mark = first.is_ascii_punctuation()
        || matches!(first, '\u{2010}'..='\u{205E}' | '\u{3001}'..='\u{303F}' | '\u{A1}'..='\u{BF}' | '●' | '■' | '○');
    let is_number = matches!(first, '-' | '+') && next.is_ascii_digit();
    let is_name =
        matches!(first, '.' | '#' | '/' | '\\' | '~') && next.is_alphabetic() && !is_cjk(next);
    (is_mark && !OPENING_MARKS.contains(first) && !is_number && !is_name)
        .then(|| format!("starts with {first:?}"))
}

/// Finds a template's mark, or the name of a field or role at the beginning of a sentence.
fn template(own_words: &str) -> Option<String> {
    let lower: String = own_words.to_lowercase().chars().map(narrow).collect();
    if let Some(mark) = find_any(&lower, TEMPLATE_MARKS) {
        return Some(format!("contains {mark:?}"));
    }
    let field = FIELDS.split_whitespace().find(|name| {
        let mut places = lower.match_indices(name);
        places
            .any(|(at, _)| begins_sentence(&lower[..at]) && names_field(&lower[at + name.len()..]))
    });
    field.map(|name| format!("contains {:?}", format!("{name}:")))
}

fn begins_sentence(before: &str) -> bool {
    let before = before.trim_end_matches([' ', '\t', '*', '#', '[', '<', '【']);
    before.is_empty() || before.ends_with(['\n', '.', '?', '!', ';', ':', '。', ')', ',', '…'])
}

fn names_field(after: &str) -> bool {
    let is_between =
        |c: char| c.is_ascii_digit() || matches!(c, ' ' | '*' | ']' | '>' | '】' | '#');
    after.trim_start_matches(is_between).starts_with(':')
}

/// Finds that nothing but an address is there.
fn address(text: &str) -> Option<String> {
    let lower = text.to_lowercase();
    let is_address = |word: &str| {
        ["http://", "https://", "www.", "ftp://"]
            .iter()
            .any(|beginning| word.starts_with(beginning))
    };
    let mut words = lower.split_whitespace();
    (words.clone().next().is_some() && words.all(is_address))
        .then(|| "an address alone".to_string())
}

/// Finds that nothing but code is there.
fn code(text: &str) -> Option<String> {
    let alone = || "code alone".to_string();
    if text.contains('`') && count_tokens(&without_code(text)) == 0 {
        return Some(alone());
    }
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let begins = lines.next().is_some_and(is_code);
    let is_indented = |line: &str| line.starts_with(['\t', ' ']);
    (begins && lines.all(|line| is_indented(line) || is_code(line))).then(alone)
}

/// Tells whether a line is code and no sentence about it.
fn is_code(line: &str) -> bool {
    let line = line.trim();
    if line.ends_with('?')
        || line
            .chars()
            .any(|c| is_cjk(c) || matches!(c, '？' | '。' | '：'))
    {
        return false;
    }
    let has_marks = line.contains(['=', '(', '{', ';', '*']) || line.ends_with(':');
    let is_statement = CODE_BEGINNINGS
        .iter()
        .any(|beginning| line.starts_with(beginning))
        && (has_marks || line.starts_with("import ") && line.split(' ').count() <= 4);
    let is_closing = !line.contains(char::is_alphanumeric);
    let name = line
        .split(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '.' | '[' | ']')))
        .next();
    let after_name = line[name.unwrap_or("").len()..].trim_start();
    let is_assignment = name.is_some_and(|name| !name.is_empty())
        && (after_name.starts_with("= ")
            || after_name.starts_with("=\"")
            || after_name.starts_with("+="))
        && !line.ends_with('.');
    let is_call = name.is_some_and(|name| !name.is_empty())
        && line[name.unwrap_or("").len()..].starts_with('(')
        && line.ends_with([')', ';', '{', ':']);
    let is_markup = line.starts_with('<') && line.ends_with('>');
    is_statement || is_closing || is_assignment || is_call || is_markup
}

/// Makes a full-width form the ASCII character that it stands for.
fn narrow(character: char) -> char {
    match character {
        '\u{FF01}'..='\u{FF5E}' => {
            char::from_u32(u32::from(character) - 0xFEE0).expect("these code points are ASCII's")
        }
        other => other,
    }
}
