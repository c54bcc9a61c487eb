//! The held-out tasks: how base and rounds do on them.

use std::collections::BTreeSet;

use autodidact_domain::report::{Report, TaskTypeReport};

use super::{measured, titled_table, with_interval};
use crate::report::document::{Block, Line, numbers, words};
use crate::report::words::{metric_name, task_type_name};

/// Shows loss, ROUGE-L and success of every model and language.
pub(super) fn held_out_tasks(report: &Report) -> Vec<Block> {
    let language = report.language;
    if report.evaluations.is_empty() {
        return Vec::new();
    }
    let mut columns = words(language.pick(&["model", "language"], &["模型", "语言"]));
    columns.extend(numbers(language.pick(
        &["n", "loss", "ROUGE-L", "success", "distinct-2"],
        &["任务数", "损失", "ROUGE-L", "成功率", "distinct-2"],
    )));
    let rows = report.evaluations.iter().map(|evaluation| {
        let distinct = evaluation.diversity.get("distinct_2");
        vec![
            evaluation.model.as_str().into(),
            evaluation.language.as_str().into(),
            evaluation.n.to_string().into(),
            measured(evaluation, "heldout_loss", evaluation.heldout_loss).into(),
            measured(evaluation, "rouge_l", evaluation.rouge_l).into(),
            measured(evaluation, "success_rate", evaluation.success_rate).into(),
            measured(evaluation, "distinct_2", distinct.copied().unwrap_or(0.0)).into(),
        ]
    });
    let rows = rows.collect();
    titled_table(language.pick("Held-out tasks", "留出任务"), columns, rows)
}

/// Shows every type of task with its own measures.
pub(super) fn by_task_type(report: &Report) -> Vec<Block> {
    let language = report.language;
    let mut rows = Vec::new();
    for evaluation in &report.evaluations {
        for (name, found) in &evaluation.task_types {
            let measures = found.metrics.iter().map(|(code, value)| {
                let decimals = if code == "chrf" { 1 } else { 3 };
                let value = with_interval(*value, found.intervals.get(code), decimals);
                format!("{} {value}", metric_name(language, code))
            });
            let measures: Vec<String> = measures.collect();
            rows.push(vec![
                evaluation.model.as_str().into(),
                evaluation.language.as_str().into(),
                task_type_name(language, name).into(),
                found.n.to_string().into(),
                succeeded(found).into(),
                measures.join(language.pick(", ", "，")).into(),
            ]);
        }
    }
    if rows.is_empty() {
        return Vec::new();
    }
    let mut columns =
        words(language.pick(&["model", "language", "type"], &["模型", "语言", "类型"]));
    columns.extend(numbers(
        language.pick(&["n", "succeeded"], &["任务数", "成功数"]),
    ));
    columns.extend(words(language.pick(&["measures"], &["指标"])));
    titled_table(
        language.pick("Held-out tasks by type", "各类留出任务"),
        columns,
        rows,
    )
}

/// Shows how many tasks succeeded, with their share and its interval.
fn succeeded(found: &TaskTypeReport) -> String {
    let share = found.succeeded as f64 / found.n.max(1) as f64;
    match found.intervals.get("success_rate") {
        Some(interval) => {
            let share = with_interval(share, Some(interval), 3);
            format!("{} ({share})", found.succeeded)
        }
        None => found.succeeded.to_string(),
    }
}

/// Says how the intervals were made.
pub(super) fn meaning_of_intervals(report: &Report) -> Vec<Block> {
    if report.evaluations.is_empty() {
        return Vec::new();
    }
    let text = report.language.pick(
        "Intervals are 95%: Wilson for success and other shares of tasks, the jackknife for diversity, bootstrap for the others. chrF goes up to 100, the other measures to 1.",
        "方括号内为 95% 区间：成功率等任务比例用 Wilson 区间，多样性用刀切法，其余用自助法。chrF 满分为 100，其余指标满分为 1。",
    );
    vec![Block::Paragraph(text.into())]
}

/// Shows how varied the answers are beside how good they are, from round to round.
pub(super) fn diversity(report: &Report) -> Vec<Block> {
    let language = report.language;
    let known = report.evaluations.iter().flat_map(|e| e.diversity.keys());
    let known: BTreeSet<&String> = known.collect();
    if known.is_empty() {
        return Vec::new();
    }
    let mut columns = words(language.pick(&["model", "language"], &["模型", "语言"]));
    let mut names = vec![language.pick("success", "成功率")];
    names.extend(known.iter().map(|code| metric_name(language, code)));
    columns.extend(numbers(&names));
    let rows = report.evaluations.iter().map(|evaluation| {
        let mut row: Vec<Line> = vec![
            evaluation.model.as_str().into(),
            evaluation.language.as_str().into(),
            measured(evaluation, "success_rate", evaluation.success_rate).into(),
        ];
        row.extend(known.iter().map(|code| {
            let value = evaluation.diversity.get(*code);
            let shown = value.map(|value| measured(evaluation, code, *value));
            Line::from(shown.unwrap_or_default())
        }));
        row
    });
    let rows = rows.collect();
    let title = language.pick("Diversity and success by round", "各轮的多样性与成功率");
    titled_table(title, columns, rows)
}
