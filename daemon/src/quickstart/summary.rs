//! The report of a run, laid out for a terminal.

use std::fmt::Write as _;

use autodidact_domain::report::{EvaluationReport, Interval, RoundReport};
use autodidact_domain::{Language, Report};
use autodidact_flow::report::{reason_name, stage_name};
use unicode_width::UnicodeWidthStr as _;

use super::progress::decision;
use crate::cli::output;

/// The most characters of a text that are shown.
const SHOWN_CHARS: usize = 300;

/// Where a reader goes next.
pub(super) struct Places<'a> {
    /// The folder with the report's files.
    pub(super) report_folder: &'a str,
    /// The command that talks with the result.
    pub(super) chat_command: &'a str,
    /// The command that writes the kept dataset to a file.
    pub(super) export_command: Option<String>,
}

/// Lays out a report.
pub(super) fn render(report: &Report, places: &Places<'_>) -> String {
    let mut out = String::new();
    let language = report.language;
    heading(
        &mut out,
        language.pick("What became of the records", "记录的去向"),
    );
    for round in &report.rounds {
        funnel(&mut out, language, round);
    }
    if !report.plugins.is_empty() {
        heading(
            &mut out,
            language.pick("Plugins that took part", "参与的插件"),
        );
        let row = |plugin: &autodidact_domain::report::PluginReport| {
            let digest = plugin
                .rule
                .digest
                .map(|digest| digest.to_string())
                .unwrap_or_default();
            vec![
                plugin.rule.name.clone(),
                plugin.rule.version.clone(),
                plugin.dropped.to_string(),
                plugin.failures.to_string(),
                digest,
            ]
        };
        let rows: Vec<_> = report.plugins.iter().map(row).collect();
        out.push_str(&output::format_table(
            language.pick(
                &["PLUGIN", "VERSION", "DROPPED", "FAILED", "DIGEST"],
                &["插件", "版本", "丢弃", "出错", "摘要"],
            ),
            &rows,
        ));
    }
    if !report.examples.is_empty() {
        heading(
            &mut out,
            language.pick("Some examples that were kept", "部分保留的样本"),
        );
        let (input, answer) = language.pick(("input: ", "answer:"), ("输入：", "答案："));
        for example in &report.examples {
            let round = example.round;
            let round = language.pick(format!("(round {round})"), format!("（第 {round} 轮）"));
            let _ = writeln!(out, "- {round} {}", cut(&example.instruction));
            if !example.input.is_empty() {
                let _ = writeln!(out, "  {input} {}", cut(&example.input));
            }
            let _ = writeln!(out, "  {answer} {}", cut(&example.output));
        }
    }
    if !report.evaluations.is_empty() {
        heading(
            &mut out,
            language.pick(
                "On the held-out tasks (mean and 95% interval)",
                "留出任务上的表现（均值与 95% 区间）",
            ),
        );
        let rows: Vec<_> = report.evaluations.iter().map(evaluation_row).collect();
        let headings = language.pick(
            &["MODEL", "LANGUAGE", "TASKS", "LOSS", "ROUGE-L", "SUCCESS"],
            &["模型", "语言", "任务数", "损失", "ROUGE-L", "成功率"],
        );
        out.push_str(&output::format_table(headings, &rows));
    }
    if let Some(answers) = &report.before_after {
        heading(
            &mut out,
            language.pick("One prompt before and after", "同一个任务，训练前后"),
        );
        let colon = language.pick(":", "：");
        for (name, text) in [
            (language.pick("prompt", "任务"), &answers.prompt),
            (language.pick("expected", "参考"), &answers.expected),
            ("base", &answers.before),
            (&answers.model, &answers.after),
        ] {
            let blanks = " ".repeat(9usize.saturating_sub(name.width()));
            let _ = writeln!(out, "{name}{colon}{blanks}{}", cut(text));
        }
    }
    results(&mut out, report, places);
    out
}

/// Says what the run took and gave, and where to go from there.
fn results(out: &mut String, report: &Report, places: &Places<'_>) {
    let language = report.language;
    heading(out, language.pick("The run", "本次运行"));
    let minutes = report.seconds / 60.0;
    let (rate, compute, memory) = (
        report.tokens_per_second,
        &report.compute,
        report.peak_rss_mb,
    );
    let _ = writeln!(
        out,
        "{}",
        language.pick(
            format!("{minutes:.1} minutes of work, {rate:.0} tokens/s ({compute} compute), at most {memory} MiB of memory"),
            format!("用时 {minutes:.1} 分钟，{rate:.0} 词元/秒（计算路径 {compute}），内存最多 {memory} MiB"),
        )
    );
    let with_digest = |name: &dyn std::fmt::Display, digest: &Option<autodidact_domain::Digest>| {
        let digest = digest.map_or(language.pick("none", "无").to_string(), |d| d.to_string());
        language.pick(
            format!("{name} (digest {digest})"),
            format!("{name}（摘要 {digest}）"),
        )
    };
    if let Some(dataset) = &report.dataset {
        let _ = writeln!(
            out,
            "{}{}",
            language.pick("dataset:  ", "数据集："),
            with_digest(dataset, &report.dataset_digest)
        );
    }
    let adapter = match &report.adapter {
        Some(adapter) => with_digest(adapter, &report.adapter_digest),
        None => language
            .pick(
                "none was promoted; the base stays the generator",
                "没有采用任何适配器，仍由基座模型生成",
            )
            .to_string(),
    };
    let _ = writeln!(out, "{}{adapter}", language.pick("adapter:  ", "适配器："));
    let folder = places.report_folder;
    let _ = writeln!(out, "{}{folder}", language.pick("report:   ", "报告：  "));
    if let Some(command) = &places.export_command {
        let take = language.pick("Take the dataset with you:", "导出数据集：");
        let _ = writeln!(out, "\n{take}\n  {command}");
    }
    let talk = language.pick("Talk with the result:", "与训练结果对话：");
    let _ = writeln!(out, "\n{talk}\n  {}", places.chat_command);
}

fn heading(out: &mut String, text: &str) {
    let _ = writeln!(out, "\n{text}\n{}", "─".repeat(text.width()));
}

fn funnel(out: &mut String, language: Language, round: &RoundReport) {
    let decided = match round.promoted {
        Some(promoted) => decision(language, promoted, &round.promotion_reason),
        None => language
            .pick("nothing to promote", "没有可采用的适配器")
            .to_string(),
    };
    let number = round.round;
    let seeds = match number {
        0 => language.pick(" (the seeds alone)", "（只用种子）"),
        _ => "",
    };
    let _ = writeln!(
        out,
        "{}",
        language.pick(
            format!("Round {number}{seeds}, {decided}"),
            format!("第 {number} 轮{seeds}，{decided}"),
        )
    );
    let row = |stage: &autodidact_domain::report::StageReport| {
        let mut reasons: Vec<_> = stage.reasons.iter().collect();
        reasons.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        let reasons: Vec<_> = reasons
            .iter()
            .map(|(reason, count)| format!("{} {count}", reason_name(language, reason)))
            .collect();
        vec![
            stage_name(language, &stage.name).to_string(),
            stage.taken.to_string(),
            stage.kept.to_string(),
            stage.dropped.to_string(),
            stage.out.to_string(),
            language.pick(
                format!("{:.0} s", stage.seconds),
                format!("{:.0} 秒", stage.seconds),
            ),
            reasons.join(language.pick(", ", "、")),
        ]
    };
    let rows: Vec<_> = round.stages.iter().map(row).collect();
    let headings = language.pick(
        &[
            "STAGE",
            "IN",
            "KEPT",
            "DROPPED",
            "OUT",
            "TIME",
            "DROPPED FOR",
        ],
        &["阶段", "输入", "保留", "丢弃", "产出", "用时", "丢弃原因"],
    );
    out.push_str(&output::format_table(headings, &rows));
    // Single steps see different examples; a quarter of them says more.
    let quarter = round.losses.len().div_ceil(4);
    if quarter > 0 {
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        let (first, last) = (
            mean(&round.losses[..quarter]),
            mean(&round.losses[round.losses.len() - quarter..]),
        );
        let (human, new, earlier) = (round.human, round.generated, round.replayed);
        let steps = round.losses.len();
        let _ = writeln!(
            out,
            "{}",
            language.pick(
                format!("trained on {human} human, {new} new and {earlier} earlier examples in {steps} steps: mean loss {first:.3} in the first quarter, {last:.3} in the last"),
                format!("用 {human} 条人工样本、{new} 条新样本和 {earlier} 条早先样本训练 {steps} 步：前四分之一平均损失 {first:.3}，后四分之一 {last:.3}"),
            )
        );
    }
    out.push('\n');
}

fn evaluation_row(evaluation: &EvaluationReport) -> Vec<String> {
    let interval = |name: &str| evaluation.intervals.get(name).copied();
    let number = |value: f64, interval: Option<Interval>| match interval {
        Some(Interval { low, high }) => format!("{value:.3} [{low:.3}, {high:.3}]"),
        None => format!("{value:.3}"),
    };
    let share = |value: f64, interval: Option<Interval>| match interval {
        Some(Interval { low, high }) => {
            format!(
                "{:.1}% [{:.1}, {:.1}]",
                value * 100.0,
                low * 100.0,
                high * 100.0
            )
        }
        None => format!("{:.1}%", value * 100.0),
    };
    vec![
        evaluation.model.clone(),
        evaluation.language.clone(),
        evaluation.n.to_string(),
        number(evaluation.heldout_loss, interval("heldout_loss")),
        number(evaluation.rouge_l, interval("rouge_l")),
        share(evaluation.success_rate, interval("success_rate")),
    ]
}

/// Puts a text on one line of a readable length.
fn cut(text: &str) -> String {
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if flat.chars().count() <= SHOWN_CHARS {
        return flat;
    }
    flat.chars().take(SHOWN_CHARS).chain("…".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_shows_funnel_examples_scores_and_what_comes_next() {
        let report: Report = serde_json::from_value(serde_json::json!({
            "workflow": "w", "state": "done", "seed": 1, "compute": "fast", "dataset_digest": null,
            "adapter_digest": null, "adapter": "w-round-1", "dataset": "w-kept@1", "seconds": 90.0,
            "peak_rss_mb": 900, "tokens_per_second": 123.4,
            "rounds": [{"round": 1, "promoted": true, "promotion_reason": "the loss fell", "human": 100,
                "generated": 50, "replayed": 0, "losses": [2.0, 1.5],
                "stages": [{"name": "filter", "in": 10, "kept": 7, "dropped": 3, "out": 7,
                            "reasons": {"near_duplicate": 1, "too_short": 2}, "seconds": 1.5}]}],
            "evaluations": [{"model": "base", "language": "en", "n": 100, "heldout_loss": 1.5, "rouge_l": 0.25,
                "success_rate": 0.345, "intervals": {"success_rate": {"low": 0.25, "high": 0.44}},
                "task_types": {}, "diversity": {}}],
            "examples": [{"round": 1, "instruction": "Say\n hi.", "input": "", "output": "Hi."}],
            "before_after": null,
            "plugins": [{"name": "form", "version": "0.1.0", "dropped": 2}],
        }))
        .unwrap();
        let places = Places {
            report_folder: "/r",
            chat_command: "autodidact model chat m",
            export_command: None,
        };
        let text = render(&report, &places);
        for expected in [
            "Round 1, promoted: the loss fell",
            "filter  10  7     3        7    2 s   too_short 2, near_duplicate 1",
            "100 human, 50 new and 0 earlier examples in 2 steps: mean loss 2.000 in the first quarter, 1.500 in the last",
            "- (round 1) Say hi.",
            "base   en        100    1.500  0.250    34.5% [25.0, 44.0]",
            "form    0.1.0    2",
            "1.5 minutes of work, 123 tokens/s (fast compute), at most 900 MiB of memory",
            "adapter:  w-round-1",
            "autodidact model chat m",
        ] {
            assert!(
                text.contains(expected),
                "{expected:?} is missing in\n{text}"
            );
        }
    }

    #[test]
    fn a_chinese_report_is_told_in_chinese() {
        let report: Report = serde_json::from_value(serde_json::json!({
            "workflow": "w", "state": "done", "language": "zh", "seed": 1, "compute": "fast", "dataset_digest": null,
            "adapter_digest": null, "adapter": null, "dataset": "w@1", "seconds": 60.0,
            "peak_rss_mb": 900, "tokens_per_second": 123.4,
            "rounds": [{"round": 1, "promoted": false, "promotion_reason": "已回滚，不能确定更好：…", "human": 100,
                "generated": 50, "replayed": 0, "losses": [2.0, 1.5],
                "stages": [{"name": "filter", "in": 10, "kept": 7, "dropped": 3, "out": 7,
                            "reasons": {"near_duplicate": 1, "too_short": 2}, "seconds": 1.5}]}],
            "evaluations": [{"model": "base", "language": "zh", "n": 100, "heldout_loss": 1.5, "rouge_l": 0.25,
                "success_rate": 0.345, "intervals": {}, "task_types": {}, "diversity": {}}],
            "examples": [{"round": 1, "instruction": "问好。", "input": "早上", "output": "早上好！"}],
            "before_after": {"prompt": "问", "expected": "答", "before": "一", "after": "二", "model": "round-1"},
            "plugins": [{"name": "form", "version": "0.1.0", "dropped": 2}],
        }))
        .unwrap();
        let places = Places {
            report_folder: "/r",
            chat_command: "autodidact model chat m",
            export_command: Some("autodidact dataset export w".to_string()),
        };
        let text = render(&report, &places);
        for expected in [
            "过滤",
            "过短 2、近似重复 1",
            "第 1 轮，已回滚",
            "base：",
            "round-1：",
            "没有采用任何适配器",
        ] {
            assert!(
                text.contains(expected),
                "{expected:?} is missing in\n{text}"
            );
        }
        let in_latin = [
            "autodidact",
            "model",
            "chat",
            "dataset",
            "export",
            "form",
            "base",
            "round",
            "fast",
            "MiB",
            "ROUGE",
            "zh",
        ];
        let words = text.split(|c: char| !c.is_ascii_alphabetic());
        for word in words.filter(|word| word.len() > 1) {
            assert!(
                in_latin.contains(&word),
                "{word:?} is not Chinese in\n{text}"
            );
        }
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(cut(&"字".repeat(400)).chars().count(), SHOWN_CHARS + 1);
    }
}
