//! The judge's marks, and how far it agrees with people.

use autodidact_domain::report::Report;

use super::{titled_table, with_interval};
use crate::report::document::{Block, Line, numbers, words};

/// Shows what the judge says of every model's answers.
pub(super) fn marks(report: &Report) -> Vec<Block> {
    let language = report.language;
    let Some(judge) = &report.judge else {
        return Vec::new();
    };
    let rows = report.evaluations.iter().filter_map(|evaluation| {
        let marks = evaluation.judge.as_ref()?;
        let of = |name: &str, value: f64, decimals| {
            Line::from(with_interval(value, marks.intervals.get(name), decimals))
        };
        Some(vec![
            evaluation.model.as_str().into(),
            evaluation.language.as_str().into(),
            marks.n.to_string().into(),
            marks.unscored.to_string().into(),
            of("mean_mark", marks.mean_mark, 2),
            of("good_share", marks.good_share, 3),
        ])
    });
    let mut columns = words(language.pick(&["model", "language"], &["模型", "语言"]));
    columns.extend(numbers(language.pick(
        &[
            "marked",
            "no mark",
            "mean mark (1 to 5)",
            "share of 4 and 5",
        ],
        &["已评", "未评", "平均分（1 至 5）", "4 分及以上的比例"],
    )));
    let title = language.pick(
        format!("Marks of the judge {}", judge.model),
        format!("评委 {} 的评分", judge.model),
    );
    titled_table(&title, columns, rows.collect())
}

/// Shows how far the judge agrees with hand labels.
pub(super) fn agreement(report: &Report) -> Vec<Block> {
    let language = report.language;
    let Some(judge) = &report.judge else {
        return Vec::new();
    };
    let rows = judge.agreement.iter().map(|found| {
        let name = match found.language.as_str() {
            "all" => language.pick("all", "全部"),
            code => code,
        };
        let of =
            |name: &str, value: f64| Line::from(with_interval(value, found.intervals.get(name), 3));
        vec![
            name.into(),
            found.n.to_string().into(),
            found.agreed.to_string().into(),
            found.unscored.to_string().into(),
            of("share", found.share),
            of("kappa", found.kappa),
        ]
    });
    let mut columns = words(language.pick(&["labels"], &["标注"]));
    columns.extend(numbers(language.pick(
        &["n", "agreed", "no mark", "share", "Cohen's kappa"],
        &["条数", "一致", "未评", "比例", "Cohen's kappa"],
    )));
    let title = language.pick(
        "The judge's agreement with hand labels",
        "评委与人工标注的一致性",
    );
    let mut blocks = titled_table(title, columns, rows.collect());
    let meaning = language.pick(
        "The judge was asked about answers that people called good or bad as it is asked about held-out ones; 4 and 5 say good, and no mark agrees with nobody. The success rate above needs no judge and comes first.",
        "评委以评留出任务答案的同样方式评了人工标为“好”或“坏”的答案；4 分及以上算“好”，未评不算一致。上面的成功率不依赖评委，是首要指标。",
    );
    blocks.push(Block::Paragraph(meaning.into()));
    blocks
}
