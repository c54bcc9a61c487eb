//! What an extraction lists stands in its input.

use autodidact_domain::TaskType;
use autodidact_text::{find_span, normalize};

use super::{Answer, Finding, cut, note};

/// Answers that say that there is nothing to extract.
const NOTHING: [&str; 16] = [
    "none",
    "n/a",
    "na",
    "nothing",
    "no",
    "not mentioned",
    "not specified",
    "none found",
    "unknown",
    "无",
    "没有",
    "未提及",
    "未提到",
    "不存在",
    "没有提到",
    "暂无",
];
/// What joins spans inside of one part of a list.
const JOINS: [&str; 7] = [" and ", " or ", "以及", "和", "与", "及", "或"];
const SEPARATORS: [char; 8] = [';', '；', ',', '，', '、', '\n', '\r', '\t'];

pub(super) fn find(answer: &Answer<'_>) -> Finding {
    if !answer.is(TaskType::Extraction) {
        return Finding::Fine;
    }
    let record = answer.record;
    // A task may have its text in the instruction.
    let source = match record.input.trim() {
        "" => record.instruction.as_str(),
        input => input,
    };
    let output = answer.output.trim();
    if NOTHING.contains(&normalize(output).as_str()) || find_span(source, output).is_some() {
        return written(answer, source, vec![output]);
    }
    let mut parts = Vec::new();
    for part in output.split(SEPARATORS).map(without_mark) {
        if normalize(part).is_empty() || !part.chars().any(|c| c.is_alphanumeric()) {
            continue;
        }
        match spans_of(part, source) {
            Some(spans) => parts.extend(spans),
            None => return Finding::Wrong(note(format!("the input has no {:?}", cut(part)))),
        }
    }
    written(answer, source, parts)
}

/// Finds what of a part stands in the source: all of it, what comes after its name and colon, or what its joins part.
fn spans_of<'a>(part: &'a str, source: &str) -> Option<Vec<&'a str>> {
    let is_there = |span: &&str| find_span(source, span).is_some();
    let bare = part.trim_matches(|c: char| {
        c.is_whitespace() || "\"'“”‘’「」《》[](){}（）【】.。*`".contains(c)
    });
    let after_name = part
        .rsplit([':', '：'])
        .next()
        .map(str::trim)
        .filter(|rest| !rest.is_empty());
    if let Some(span) = [part, bare].into_iter().chain(after_name).find(is_there) {
        return Some(vec![span]);
    }
    let join = JOINS.iter().find(|join| bare.contains(*join))?;
    let spans: Vec<&str> = bare
        .split(join)
        .map(str::trim)
        .filter(|span| !span.is_empty())
        .collect();
    spans.iter().all(is_there).then_some(spans)
}

fn without_mark(part: &str) -> &str {
    let part = part.trim();
    let bullet = part
        .strip_prefix(['-', '*', '•', '·'])
        .filter(|rest| rest.starts_with(' '));
    let number = part.trim_start_matches(|c: char| c.is_ascii_digit());
    let numbered = number
        .strip_prefix(['.', ')', '）'])
        .filter(|rest| number.len() < part.len() && rest.starts_with(' '));
    bullet.or(numbered).unwrap_or(part).trim()
}

/// Writes spans as the source does where they differ in case or width alone.
fn written(answer: &Answer<'_>, source: &str, spans: Vec<&str>) -> Finding {
    let mut output = answer.output.clone();
    let mut changed = Vec::new();
    for span in spans {
        let own = find_span(source, span).filter(|own| *own != span && !source.contains(span));
        if let Some(own) = own {
            output = output.replacen(span, own, 1);
            changed.push(format!("{:?} for {:?}", cut(own), cut(span)));
        }
    }
    if changed.is_empty() {
        return Finding::Fine;
    }
    Finding::Corrected {
        output,
        done: format!("as the input has it: {}", changed.join(", ")),
        otherwise: None,
    }
}
