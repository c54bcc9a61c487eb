//! What is left out of every answer, whatever its task: markers, chatter before it, remains of a list, a cut last sentence.

use autodidact_domain::{FinishReason, TaskType};

use super::{Answer, cut};
use crate::prompts::parse_answer;

/// Takes something off an answer; tells what.
type Tidy = fn(&Answer<'_>) -> Option<(String, String)>;

/// All of it, in order.
pub(super) const ALL: [Tidy; 4] = [marker, chatter, list_mark, last_sentence];

/// Words that mark an answer in prompts and logs, in lower case.
const MARKERS: [&str; 10] = [
    "output",
    "answer",
    "response",
    "the answer",
    "final answer",
    "输出",
    "回答",
    "答案",
    "答",
    "回复",
];

/// Takes off "Output:" and 输出：.
fn marker(answer: &Answer<'_>) -> Option<(String, String)> {
    let (before, after) = answer.output.split_once([':', '：'])?;
    let word = before
        .trim()
        .trim_matches(['*', '#', ' ', '"'])
        .to_lowercase();
    let rest = after
        .trim_start_matches(['*', ' ', '\n', '\r', '\t'])
        .trim_end();
    // Questions with their answers are a text of their own.
    let is_dialogue = ["question:", "q:", "问：", "问题：", "问:"]
        .iter()
        .any(|mark| rest.to_lowercase().contains(mark));
    if !MARKERS.contains(&word.as_str()) || rest.is_empty() || is_dialogue {
        return None;
    }
    Some((
        rest.to_string(),
        format!("the marker {:?} left out", before.trim()),
    ))
}

/// How a chat begins before it comes to the answer.
const INTERJECTIONS: [&str; 9] = [
    "sure",
    "certainly",
    "of course",
    "absolutely",
    "no problem",
    "好的",
    "当然",
    "没问题",
    "可以的",
];
const ANNOUNCEMENTS: [&str; 9] = [
    "here is",
    "here's",
    "here are",
    "the translation is",
    "translation",
    "以下是",
    "下面是",
    "这是",
    "译文",
];

/// Takes off a first line such as "Sure! Here is the poem:".
fn chatter(answer: &Answer<'_>) -> Option<(String, String)> {
    let (first, rest) = answer.output.trim_start().split_once('\n')?;
    let line = first.trim().trim_matches('*');
    let lower = line.to_lowercase();
    let begins = |words: &[&str]| words.iter().any(|word| lower.starts_with(word));
    let announces =
        begins(&INTERJECTIONS) || (answer.is(TaskType::Translation) && begins(&ANNOUNCEMENTS));
    let is_one = announces && line.ends_with([':', '：']) && line.chars().count() <= 120;
    (is_one && !rest.trim().is_empty()).then(|| {
        (
            rest.trim().to_string(),
            format!("the words before it left out: {:?}", cut(line)),
        )
    })
}

/// Takes off list marks at the end that nothing follows.
fn list_mark(answer: &Answer<'_>) -> Option<(String, String)> {
    let text = answer.output.trim_end();
    let (before, last) = text.rsplit_once('\n')?;
    let has_list = before
        .lines()
        .any(|line| without_mark(line).is_some_and(|rest| !rest.trim().is_empty()));
    let is_bare = without_mark(last).is_some_and(|rest| rest.trim().is_empty());
    (has_list && is_bare).then(|| {
        (
            before.trim_end().to_string(),
            format!("the list mark {:?} at the end left out", last.trim()),
        )
    })
}

/// Strips a bullet or a list number; none where a line has neither.
fn without_mark(line: &str) -> Option<&str> {
    let line = line.trim();
    if let Some(rest) = line.strip_prefix(['-', '*', '•', '·']) {
        return (rest.is_empty() || rest.starts_with(' ')).then_some(rest);
    }
    let inner = line.strip_prefix(['(', '（']).unwrap_or(line);
    let rest = inner.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = inner.len() - rest.len();
    let marked = rest.strip_prefix(['.', ')', '、', '．', '）'])?;
    let is_number = marked.starts_with(|c: char| c.is_ascii_digit());
    ((1..=3).contains(&digits) && !is_number).then_some(marked)
}

/// Words that no sentence ends with.
const OPEN_ENDS: [&str; 30] = [
    "the", "a", "an", "and", "or", "but", "of", "to", "in", "with", "for", "by", "from", "that",
    "which", "because", "as", "at", "their", "its", "is", "are", "was", "were", "such", "into",
    "than", "while", "if", "when",
];
const OPEN_ENDS_ZH: [&str; 14] = [
    "，", "、", "的", "和", "与", "及", "或", "在", "把", "被", "因为", "但是", "以及", "并且",
];

/// Takes off a last sentence that breaks off after a comma or a word that no sentence ends with.
fn last_sentence(answer: &Answer<'_>) -> Option<(String, String)> {
    let text = answer.output.trim();
    if !answer.is_prose() || text.contains("```") {
        return None;
    }
    let last_word = text
        .rsplit(|c: char| !c.is_alphanumeric())
        .next()
        .unwrap_or_default();
    let is_open = text.ends_with(',')
        || OPEN_ENDS.contains(&last_word)
        || OPEN_ENDS_ZH.iter().any(|end| text.ends_with(end));
    let whole = is_open.then(|| parse_answer(text, FinishReason::Length))??;
    let last = text[whole.len()..].trim().to_string();
    // A poem's lines may end in a comma; a cut line of it is no sentence.
    let ends_whole = whole.ends_with(['.', '!', '?', '。', '！', '？', '”', '"']);
    (ends_whole && !last.is_empty())
        .then(|| (whole, format!("the cut sentence {:?} left out", cut(&last))))
}
