//! What the seeds are made of and lack, and the bounds that were measured on them.

use std::collections::BTreeMap;

use autodidact_domain::report::Report;

use super::titled_table;
use crate::report::document::{Block, Item, Line, numbers, words};
use crate::report::words::task_type_name;

/// Shows the seeds' balance, and what to add.
pub(super) fn balance(report: &Report) -> Vec<Block> {
    let language = report.language;
    let Some(seeds) = &report.seeds else {
        return Vec::new();
    };
    let mut kinds: BTreeMap<(&str, &str), (u64, Line)> = BTreeMap::new();
    for cell in &seeds.cells {
        let (count, topics) = kinds.entry((&cell.language, &cell.task_type)).or_default();
        let begun = match *count {
            0 => Line::default(),
            _ => std::mem::take(topics).and(language.pick(", ", "、")),
        };
        let named = match cell.topic.as_str() {
            "unknown" => begun.and(language.pick("unknown", "未注明")),
            topic => begun.and_data(topic),
        };
        *topics = named.and(format!(" {}", cell.n));
        *count += cell.n;
    }
    let rows = kinds
        .into_iter()
        .map(|((code, task_type), (count, topics))| {
            let code = match code {
                "other" => language.pick("other", "其他"),
                code => code,
            };
            let task_type = task_type_name(language, task_type);
            vec![
                code.into(),
                task_type.into(),
                count.to_string().into(),
                topics,
            ]
        });
    let mut columns = words(language.pick(&["language", "task type"], &["语言", "任务类型"]));
    columns.extend(numbers(language.pick(&["n"], &["条数"])));
    columns.extend(words(language.pick(&["topics"], &["主题"])));
    let title = language.pick(
        format!("Seeds: {}", seeds.n),
        format!("种子：{} 条", seeds.n),
    );
    let mut blocks = titled_table(&title, columns, rows.collect());
    blocks.push(match seeds.warnings.is_empty() {
        true => {
            let nothing = language.pick("Nothing is lacking.", "没有缺少的内容。");
            Block::Paragraph(nothing.into())
        }
        false => {
            let warnings = seeds.warnings.iter().map(|warning| Item {
                line: Line::data(&warning.message),
                details: Vec::new(),
            });
            Block::List(warnings.collect())
        }
    });
    blocks
}

/// Shows the bounds of the rules that are measured, with what they were measured on.
pub(super) fn calibrations(report: &Report) -> Vec<Block> {
    let language = report.language;
    if report.calibrations.is_empty() {
        return Vec::new();
    }
    let rows = report.calibrations.iter().map(|found| {
        let measured = found.measured.map(|value| format!("{value:.3}"));
        vec![
            found.rule.as_str().into(),
            found.language.code().into(),
            Line::data(found.model.as_str()),
            format!("{:.3}", found.bound).into(),
            found.seeds.to_string().into(),
            measured.unwrap_or_default().into(),
        ]
    });
    let mut columns =
        words(language.pick(&["rule", "language", "model"], &["规则", "语言", "模型"]));
    columns.extend(numbers(
        language.pick(&["bound", "seeds", "measured"], &["界限", "种子数", "实测"]),
    ));
    let title = language.pick("Bounds measured on the seeds", "在种子上测得的界限");
    let mut blocks = titled_table(title, columns, rows.collect());
    let meaning = language.pick(
        "embedding: duplicates have a greater cosine; measured is the likeness that all but one in a thousand pairs of seeds stay under. perplexity: what has a greater one is dropped; measured is the seeds' geometric mean. difficulty: answers with a greater one do not go with their instruction; 95% of the seeds lie under it, measured is their median.",
        "embedding：余弦相似度更高的算重复，实测值为千分之九百九十九的种子对都低于的相似度。perplexity：困惑度更高的被丢弃，实测值为种子的几何平均。difficulty：值更高的回答与指令不相配，95% 的种子低于界限，实测值为其中位数。",
    );
    blocks.push(Block::Paragraph(meaning.into()));
    blocks
}
