//! What came of the run, in a few lines.

use autodidact_domain::WorkflowState;
use autodidact_domain::report::{EvaluationReport, Report};

use super::{final_model, measured};
use crate::report::document::{Block, Line, Table, numbers, words};

/// Says what was promoted, and how the model stands on the held-out tasks before and after.
pub(super) fn headline(report: &Report) -> Vec<Block> {
    let language = report.language;
    let (seed, seconds) = (report.seed, report.seconds);
    let (memory, rate) = (report.peak_rss_mb, report.tokens_per_second);
    let run = Line::from(language.pick(
        format!("Seed {seed}, compute path "),
        format!("随机种子 {seed}，计算路径 "),
    ));
    let run = run.and_data(report.compute.as_str()).and(language.pick(
        format!(", {seconds:.0} s of work, {memory} MiB at most, {rate:.0} tokens/s generated."),
        format!("，用时 {seconds:.0} 秒，内存最多 {memory} MiB，生成速度 {rate:.0} 词元/秒。"),
    ));
    let mut blocks = Vec::new();
    if report.state != WorkflowState::Done {
        let text = language.pick(
            "The workflow has not ended; this is what is known so far.",
            "工作流尚未结束，以下是目前已知的结果。",
        );
        blocks.push(Block::Paragraph(text.into()));
    }
    blocks.extend(promoted(report).map(Block::Paragraph));
    blocks.extend(before_and_after(report).map(Block::Table));
    blocks.push(Block::Paragraph(run));
    blocks
}

fn promoted(report: &Report) -> Option<Line> {
    let language = report.language;
    let trained = report
        .rounds
        .iter()
        .filter(|round| round.promoted.is_some());
    let trained = trained.count();
    let promoted = report.rounds.iter().filter(|r| r.promoted == Some(true));
    let promoted: Vec<u32> = promoted.map(|round| round.round).collect();
    let last = match (trained, promoted.last()) {
        (0, _) => return None,
        (_, Some(last)) => last,
        (_, None) => {
            let text = language.pick(
                "No round's adapter was promoted; the base stays the generator.",
                "没有任何一轮的适配器被采用，仍由基座模型生成。",
            );
            return Some(text.into());
        }
    };
    let count = promoted.len();
    let adapter = report.adapter.as_ref().map(ToString::to_string);
    let line = Line::from(language.pick("Adapter ", "已采用适配器 "));
    Some(
        line.and_data(adapter.unwrap_or_default())
            .and(language.pick(
                format!(" of round {last} is promoted ({count} of {trained} trained rounds were)."),
                format!("（第 {last} 轮；训练的 {trained} 轮中采用了 {count} 轮）。"),
            )),
    )
}

/// Sets loss and success of the base beside those of the model that the run ends with.
fn before_and_after(report: &Report) -> Option<Table> {
    let language = report.language;
    let after_name = final_model(report).filter(|name| name != "base")?;
    let of = |name: &str, language: &str| {
        let mut found = report.evaluations.iter();
        found.find(|e| e.model == name && e.language == language)
    };
    let mut rows = Vec::new();
    for before in report.evaluations.iter().filter(|e| e.model == "base") {
        let Some(after) = of(&after_name, &before.language) else {
            continue;
        };
        type Measure = fn(&EvaluationReport) -> f64;
        let measures: [(&str, &str, Measure); 2] = [
            ("heldout_loss", language.pick("loss", "损失"), |e| {
                e.heldout_loss
            }),
            ("success_rate", language.pick("success", "成功率"), |e| {
                e.success_rate
            }),
        ];
        for (name, shown, value) in measures {
            rows.push(vec![
                before.language.as_str().into(),
                shown.into(),
                measured(before, name, value(before)).into(),
                measured(after, name, value(after)).into(),
            ]);
        }
    }
    let title = language.pick(
        "On the held-out tasks, before and after",
        "留出任务上的表现，训练前后",
    );
    let mut columns = words(language.pick(&["language", "measure"], &["语言", "指标"]));
    columns.extend(numbers(&["base", &after_name]));
    (!rows.is_empty()).then(|| Table {
        title: title.to_string(),
        columns,
        rows,
    })
}
