//! Slots of a template that nobody filled.

use autodidact_text::is_cjk;

use super::ending::GAP_WORDS;
use super::{Instruction, find_any, lists, mentions};

/// Words that name what a slot is for.
const SLOT_WORDS: &str = "
    name topic insert your subject text title date company product city country place article sentence word language
    number here 主题 姓名 名称 名字 日期 内容 公司 产品 城市 地点 关键词 填写 此处";

/// Words of tasks that are about slots.
const ABOUT_SLOTS: &str = "
    placeholder template format slot token variable 占位 模板 格式 变量 标记";

/// Marks that language models' own vocabularies have in brackets.
const MODEL_MARKS: [&str; 7] = ["mask", "pad", "cls", "sep", "unk", "bos", "eos"];

/// Words that an aside in brackets begins with.
const ASIDES: &str = "in of the and or to from with for at on by sic if not";

/// Brackets that slots stand in.
const SLOT_BRACKETS: [(char, char); 5] = [
    ('[', ']'),
    ('{', '}'),
    ('<', '>'),
    ('［', '］'),
    ('【', '】'),
];

/// Finds a slot that was left as it is: `[topic]`, `{name}`, `<your city>`, `____`, `XXX`, `某某`.
///
/// A task to fill gaps, or one about placeholders, has them on purpose.
pub(super) fn unfilled(instruction: &Instruction<'_>) -> Option<String> {
    let own = &instruction.own_words;
    let lower = own.to_lowercase();
    if mentions(&lower, ABOUT_SLOTS) {
        return None;
    }
    let in_brackets = SLOT_BRACKETS.iter().find_map(|pair| bracketed(own, *pair));
    let found = in_brackets.or_else(|| crosses(own)).or_else(|| {
        let line = ["___", "＿＿", "某某", "×××", "(   )"]
            .iter()
            .find(|line| own.contains(**line))?;
        (!mentions(&lower, GAP_WORDS)).then(|| (*line).to_string())
    })?;
    Some(format!("unfilled {found:?}"))
}

fn bracketed(text: &str, (open, close): (char, char)) -> Option<String> {
    let mut rest = text;
    let mut before = None;
    while let Some(at) = rest.find(open) {
        before = rest[..at].chars().next_back().or(before);
        let after = &rest[at + open.len_utf8()..];
        let end = after.find(close)?;
        let inside = &after[..end];
        // items[index] and f{x} are code.
        let is_code = before
            .is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '\\' | '$' | ')'));
        if !is_code
            && is_slot(
                inside.trim_matches(['{', '}', ' ']),
                open,
                text.starts_with(open) && at == 0,
            )
        {
            return Some(format!("{open}{inside}{close}"));
        }
        rest = &after[end + close.len_utf8()..];
        before = Some(close);
    }
    None
}

/// Tells whether what stands in brackets is a slot's name.
fn is_slot(inside: &str, open: char, is_first: bool) -> bool {
    let lower = inside.to_lowercase();
    let words = lower
        .split([' ', '_', '-'])
        .filter(|word| !word.is_empty())
        .count();
    let is_name = inside
        .chars()
        .all(|c| c.is_alphabetic() || matches!(c, ' ' | '_' | '-' | '\''));
    let letters = inside.chars().filter(|c| c.is_alphabetic()).count();
    let names_slot = find_any(&lower, SLOT_WORDS).is_some();
    if !is_name || letters < 2 || words > 6 || MODEL_MARKS.contains(&lower.as_str()) {
        return false;
    }
    match open {
        // Tags of markup and titles of notices stand in these too.
        '<' | '【' => {
            names_slot
                && !(open == '【' && is_first)
                && (open == '【' || words > 1 || lower != "title")
        }
        // [in Asia] and [or so] are asides.
        _ => {
            names_slot
                || (words <= 2 && !lists(ASIDES, lower.split(' ').next().unwrap_or_default()))
        }
    }
}

/// Finds a run of the letter X in place of a name.
fn crosses(text: &str) -> Option<String> {
    let characters: Vec<char> = text.chars().collect();
    for (start, run) in runs_of_x(&characters) {
        let end = start + run;
        let before = start.checked_sub(1).map(|at| characters[at]);
        let after = characters.get(end).copied();
        let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() && !is_cjk(c));
        let is_beside_chinese = before.is_some_and(is_cjk) || after.is_some_and(is_cjk);
        // 第XX届 counts in Roman numerals.
        let is_numeral =
            run == 2 && (before == Some('第') || matches!(after, Some('世' | '届' | '号')));
        if !is_word(before) && !is_word(after) && !is_numeral && (run >= 3 || is_beside_chinese) {
            return Some(characters[start..end].iter().collect());
        }
    }
    None
}

/// Lists the runs of two or more X: where each begins and how long it is.
fn runs_of_x(characters: &[char]) -> Vec<(usize, usize)> {
    let is_x = |at: usize| matches!(characters[at], 'X' | 'x' | 'Ｘ');
    let mut runs = Vec::new();
    let mut at = 0;
    while at < characters.len() {
        let run = (at..characters.len()).take_while(|at| is_x(*at)).count();
        if run >= 2 {
            runs.push((at, run));
        }
        at += run.max(1);
    }
    runs
}
