//! The answer to a classification is one of its labels.

use autodidact_domain::TaskType;
use autodidact_text::{normalize, tokenize};

use super::{Answer, Finding, cut, note};
use crate::chain::ChainRecord;
use crate::instruction::label_set;

/// Words that may stand around a label without saying anything else, in both languages; Chinese ones by character.
const FILLERS: &str = "
    the a an it its is this that these answer label labels category class classification sentiment type output result of review text
    sentence statement word message email article headline item comment tweet opinion tone correct would be should i think belongs to
    in as classified final
    答 案 标 签 类 别 分 型 结 果 情 感 倾 向 属 于 是 为 这 条 该 句 段 话 文 本 的 应 归 入 输 出 判 断 本 评 论 它 我 认 一 个";

pub(super) fn find(answer: &Answer<'_>) -> Finding {
    if !answer.is(TaskType::Classification) {
        return Finding::Fine;
    }
    let Some(labels) = labels_of(answer.record) else {
        return Finding::Fine;
    };
    let output = answer.output.trim();
    let evidence = || {
        note(format!(
            "{:?} is none of {}",
            cut(output),
            labels.join(", ")
        ))
    };
    let Some(label) = the_label(output, &labels) else {
        return Finding::Wrong(evidence());
    };
    if label == output {
        return Finding::Fine;
    }
    let is_equal = normalize(label) == normalize(output);
    Finding::Corrected {
        output: label.to_string(),
        done: format!("the label is {label:?}, not {:?}", cut(output)),
        otherwise: (!is_equal).then(evidence),
    }
}

/// Lists a task's labels: declared, or those of its instruction.
pub(in crate::chain) fn labels_of(record: &ChainRecord) -> Option<Vec<String>> {
    match record.labels.is_empty() {
        false => Some(record.labels.clone()),
        true => label_set(&record.instruction),
    }
}

/// Finds the one label that an answer gives: it is the label, or names it and nothing else of meaning, or does so in its first line.
pub(in crate::chain) fn the_label<'a>(output: &str, labels: &'a [String]) -> Option<&'a str> {
    let normal = normalize(output);
    let equal = labels.iter().find(|label| normalize(label) == normal);
    if let Some(label) = equal {
        return Some(label);
    }
    let first_line = output.trim().lines().next().unwrap_or_default();
    let mut lines = vec![output];
    if first_line.len() < output.trim().len() {
        lines.push(first_line);
    }
    lines.into_iter().find_map(|line| named_alone(line, labels))
}

/// Finds the one label among words that say nothing else.
fn named_alone<'a>(line: &str, labels: &'a [String]) -> Option<&'a str> {
    let tokens = tokenize(&normalize(line));
    let mut found: Vec<(usize, usize, &'a str)> = Vec::new();
    for label in labels {
        let of_label = tokenize(&normalize(label));
        if of_label.is_empty() {
            continue;
        }
        let windows = tokens.windows(of_label.len()).enumerate();
        let places = windows.filter(|(_, window)| *window == of_label.as_slice());
        found.extend(places.map(|(at, _)| (at, at + of_label.len(), label.as_str())));
    }
    // "not spam" has the label "spam" in it.
    let is_inside = |(start, end, _): &(usize, usize, &str)| {
        let mut others = found.iter();
        others.any(|(s, e, _)| s <= start && end <= e && e - s > end - start)
    };
    let outer: Vec<_> = found.iter().filter(|place| !is_inside(place)).collect();
    let label = outer.first()?.2;
    let is_label = |at: usize| {
        outer
            .iter()
            .any(|(start, end, _)| (*start..*end).contains(&at))
    };
    let is_filler = |token: &str| FILLERS.split_whitespace().any(|filler| filler == token);
    let says_nothing_else = tokens
        .iter()
        .enumerate()
        .all(|(at, token)| is_label(at) || is_filler(token));
    (outer.iter().all(|place| place.2 == label) && says_nothing_else).then_some(label)
}
