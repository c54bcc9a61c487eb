//! Reads numbered lists, in either script.

use autodidact_plugin::Finish;
use autodidact_plugin::text::fold_width;

/// Reads the items of a list. Lines before the first number are left out, a line without one goes on with its item until an empty
/// line. The last item of a text that was cut off counts only where it ends like a sentence.
pub(crate) fn read(text: &str, finish: Finish) -> Vec<String> {
    let mut items: Vec<String> = Vec::new();
    let mut is_open = false;
    for line in text.lines() {
        if let Some(item) = after_number(line) {
            items.push(item.to_string());
            is_open = true;
        } else if line.trim().is_empty() {
            is_open = false;
        } else if let Some(last) = items.last_mut().filter(|_| is_open) {
            last.push('\n');
            last.push_str(line.trim());
        }
    }
    let is_whole = |item: &String| item.ends_with(['.', '?', '!', '。', '？', '！', '"', '”']);
    if finish == Finish::Length && items.last().is_some_and(|last| !is_whole(last)) {
        items.pop();
    }
    items
        .iter()
        .map(|item| item.trim().to_string())
        .filter(|item| !item.is_empty())
        .collect()
}

/// Takes a number off a line: `3.`, `3)`, `３．`, `3、`, `（3）`; not that of `3.5 metres`.
fn after_number(line: &str) -> Option<&str> {
    let line = line.trim_start_matches([' ', '\t', '*', '#', '(', '（']);
    let digit = |c: char| fold_width(c).is_ascii_digit();
    let after = line.trim_start_matches(digit);
    let digits = line[..line.len() - after.len()].chars().count();
    let rest = after.strip_prefix(['.', ')', '、', '．', '）', ':', '：'])?;
    let is_decimal = after.starts_with('.') && rest.starts_with(digit);
    ((1..=3).contains(&digits) && !is_decimal)
        .then(|| rest.trim_start_matches(['*', '.', ':']).trim())
}
