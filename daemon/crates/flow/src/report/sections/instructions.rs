//! The instructions that rounds kept: how varied and how hard they are, and what failures change for the next round.

use std::collections::BTreeSet;

use autodidact_domain::report::{Interval, Report};

use super::{titled_table, with_interval};
use crate::report::document::{Block, Item, Line, numbers, words};
use crate::report::words::metric_name;

/// Shows diversity and complexity of what each round kept, by language.
pub(super) fn diversity(report: &Report) -> Vec<Block> {
    let language = report.language;
    let of_rounds = report.rounds.iter();
    let found = of_rounds.flat_map(|round| round.diversity.iter().map(move |of| (round, of)));
    let found: Vec<_> = found.collect();
    let known = found.iter().flat_map(|(_, of)| of.figures.keys());
    let known: BTreeSet<&String> = known.collect();
    if known.is_empty() {
        return Vec::new();
    }
    let rows = found.iter().map(|(round, of)| {
        let mut row: Vec<Line> = vec![
            round.round.to_string().into(),
            of.language.as_str().into(),
            of.n.to_string().into(),
        ];
        row.extend(known.iter().map(|code| {
            let value = of.figures.get(*code);
            let shown = value.map(|value| with_interval(*value, of.intervals.get(*code), 3));
            Line::from(shown.unwrap_or_default())
        }));
        let complexity = round.complexity.get(&of.language).map(|measure| {
            let (low, high) = (measure.low, measure.high);
            with_interval(measure.mean, Some(&Interval { low, high }), 2)
        });
        row.push(complexity.unwrap_or_default().into());
        row
    });
    let mut columns = words(language.pick(&["round", "language"], &["轮次", "语言"]));
    let mut names = vec![language.pick("n", "条数")];
    names.extend(known.iter().map(|code| metric_name(language, code)));
    names.push(language.pick("complexity", "复杂度"));
    columns.extend(numbers(&names));
    let title = language.pick("Kept instructions by round", "各轮保留的指令");
    let mut blocks = titled_table(title, columns, rows.collect());
    let meaning = language.pick(
        "Entropies are in bits. Nearest is the mean ROUGE-L to the likest other instruction. Complexity counts demands, limits, steps and length, in a unit of its own: compare rounds of one language.",
        "熵以比特计。最近邻为与最相似的另一条指令的平均 ROUGE-L。复杂度统计要求、限制、步骤与长度，单位自定，只宜在同一语言的各轮之间比较。",
    );
    blocks.push(Block::Paragraph(meaning.into()));
    blocks
}

/// Shows what each round's failures changed, and which seeds would help.
pub(super) fn plans(report: &Report) -> Vec<Block> {
    let language = report.language;
    let changes = report.rounds.iter().flat_map(|round| {
        let changes = round.plan_changes.iter();
        changes.map(move |change| {
            vec![
                (round.round + 1).to_string().into(),
                Line::data(&change.what),
                change.before.as_str().into(),
                change.after.as_str().into(),
                Line::data(&change.reason),
            ]
        })
    });
    let rows: Vec<Vec<Line>> = changes.collect();
    let last = report
        .rounds
        .iter()
        .rev()
        .find(|round| !round.seed_suggestions.is_empty());
    let mut blocks = Vec::new();
    if !rows.is_empty() {
        let names = language.pick(
            &["for round", "what", "before", "after", "reason"],
            &["轮次", "改动", "之前", "之后", "理由"],
        );
        let title = language.pick("Changes of plan", "计划的改动");
        blocks.extend(titled_table(title, words(names), rows));
    }
    if let Some(round) = last {
        let title = language.pick("Seeds that would help", "建议补充的种子");
        blocks.push(Block::Heading(title.to_string()));
        let items = round.seed_suggestions.iter().map(|suggestion| Item {
            line: Line::data(suggestion),
            details: Vec::new(),
        });
        blocks.push(Block::List(items.collect()));
    }
    blocks
}
