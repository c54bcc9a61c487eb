//! The report for people, in the workflow's first language.

use std::fmt::Write as _;

use autodidact_domain::Language;
use autodidact_domain::model::REMOTE_SOURCE;
use autodidact_domain::report::{EvaluationReport, RemoteModelReport, Report, RoundReport};
use autodidact_domain::training::best_evaluation;

use super::measures::{
    with_interval, write_answer_diversity, write_judge, write_round_diversity, write_seeds,
};
use super::words::{metric_name, reason_name, stage_name, task_type_name};

/// Lays a report out as Markdown.
pub fn to_markdown(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_report(&mut text, report);
    text
}

fn write_report(text: &mut String, report: &Report) -> std::fmt::Result {
    let language = report.language;
    let (seed, compute, seconds) = (report.seed, &report.compute, report.seconds);
    let (memory, rate) = (report.peak_rss_mb, report.tokens_per_second);
    writeln!(text, "# {}\n", report.workflow)?;
    writeln!(
        text,
        "{}\n",
        language.pick(
            format!("Seed {seed}, compute path `{compute}`, {seconds:.0} s of work, {memory} MiB at most, {rate:.0} tokens/s generated."),
            format!("随机种子 {seed}，计算路径 `{compute}`，用时 {seconds:.0} 秒，内存最多 {memory} MiB，生成速度 {rate:.0} 词元/秒。"),
        )
    )?;
    write_seeds(text, language, report.seeds.as_ref())?;
    for round in &report.rounds {
        write_round(text, language, round)?;
        write_round_diversity(text, language, round.round, &round.diversity)?;
    }
    write_evaluations(text, language, &report.evaluations)?;
    let judge = report.judge.as_ref();
    write_judge(text, language, &report.evaluations, judge)?;
    if !report.plugins.is_empty() {
        heading(
            text,
            language.pick("Plugins", "插件"),
            language.pick(
                &["plugin", "version", "digest", "dropped"],
                &["插件", "版本", "摘要", "丢弃"],
            ),
        )?;
        for plugin in &report.plugins {
            let digest = plugin
                .rule
                .digest
                .map(|d| d.to_string())
                .unwrap_or_default();
            writeln!(
                text,
                "| {} | {} | `{digest}` | {} |",
                plugin.rule.name, plugin.rule.version, plugin.dropped
            )?;
        }
        writeln!(text)?;
    }
    if !report.remote_models.is_empty() {
        write_remote_models(text, language, &report.remote_models)?;
    }
    write_texts(text, report)?;
    write_results(text, report)
}

/// Writes a heading with the head of the table under it.
pub(super) fn heading(text: &mut String, title: &str, columns: &[&str]) -> std::fmt::Result {
    writeln!(text, "## {title}\n\n| {} |", columns.join(" | "))?;
    writeln!(text, "|{}", "---|".repeat(columns.len()))
}

fn write_round(text: &mut String, language: Language, round: &RoundReport) -> std::fmt::Result {
    let number = round.round;
    heading(
        text,
        &language.pick(format!("Round {number}"), format!("第 {number} 轮")),
        language.pick(
            &["stage", "in", "kept", "dropped", "out", "reasons", "s"],
            &["阶段", "输入", "保留", "丢弃", "产出", "原因", "秒"],
        ),
    )?;
    for stage in &round.stages {
        let reasons: Vec<String> = stage
            .reasons
            .iter()
            .map(|(code, count)| format!("{} {count}", reason_name(language, code)))
            .collect();
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {:.1} |",
            stage_name(language, &stage.name),
            stage.taken,
            stage.kept,
            stage.dropped,
            stage.out,
            reasons.join(language.pick(", ", "、")),
            stage.seconds
        )?;
    }
    writeln!(text)?;
    if let (Some(first), Some(last)) = (round.losses.first(), round.losses.last()) {
        let (human, generated, replayed) = (round.human, round.generated, round.replayed);
        let steps = round.losses.len();
        writeln!(
            text,
            "{}\n",
            language.pick(
                format!("Trained on {human} human, {generated} generated and {replayed} replayed examples in {steps} steps; loss {first:.3} at the first, {last:.3} at the last."),
                format!("用 {human} 条人工样本、{generated} 条本轮样本和 {replayed} 条早先样本训练 {steps} 步；损失从第一步的 {first:.3} 到最后一步的 {last:.3}。"),
            )
        )?;
    }
    write_eval_losses(text, language, round)?;
    if !round.promotion_reason.is_empty() {
        let end = language.pick(".", "。");
        writeln!(text, "{}{end}\n", round.promotion_reason)?;
    }
    Ok(())
}

/// Writes how the loss over examples that were not trained on went.
fn write_eval_losses(
    text: &mut String,
    language: Language,
    round: &RoundReport,
) -> std::fmt::Result {
    let losses = &round.eval_losses;
    let (Some(first), Some(last), Some(best)) =
        (losses.first(), losses.last(), best_evaluation(losses))
    else {
        return Ok(());
    };
    let (first_loss, last_loss, best_loss) = (first.loss, last.loss, best.loss);
    let adapter_step = round.adapter_step.unwrap_or(last.step);
    let end = match round.stopped_early {
        true => language.pick("; stopped early", "；提前停止"),
        false => "",
    };
    writeln!(
        text,
        "{}\n",
        language.pick(
            format!("Evaluation loss {first_loss:.4} after step {}, {last_loss:.4} after step {}, lowest {best_loss:.4} after step {}; the adapter is that of step {adapter_step}{end}.", first.step, last.step, best.step),
            format!("评估损失：第 {} 步后 {first_loss:.4}，第 {} 步后 {last_loss:.4}，最低为第 {} 步后的 {best_loss:.4}；适配器取自第 {adapter_step} 步{end}。", first.step, last.step, best.step),
        )
    )
}

fn write_evaluations(
    text: &mut String,
    language: Language,
    evaluations: &[EvaluationReport],
) -> std::fmt::Result {
    if evaluations.is_empty() {
        return Ok(());
    }
    heading(
        text,
        language.pick("Held-out tasks", "留出任务"),
        language.pick(
            &[
                "model",
                "language",
                "n",
                "loss",
                "ROUGE-L",
                "success",
                "distinct-2",
            ],
            &[
                "模型",
                "语言",
                "任务数",
                "损失",
                "ROUGE-L",
                "成功率",
                "distinct-2",
            ],
        ),
    )?;
    for evaluation in evaluations {
        let with = |name: &str, value: f64| with_interval(value, evaluation.intervals.get(name), 3);
        let diversity = &evaluation.diversity;
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} |",
            evaluation.model,
            evaluation.language,
            evaluation.n,
            with("heldout_loss", evaluation.heldout_loss),
            with("rouge_l", evaluation.rouge_l),
            with("success_rate", evaluation.success_rate),
            with(
                "distinct_2",
                diversity.get("distinct_2").copied().unwrap_or(0.0)
            )
        )?;
    }
    writeln!(text)?;
    write_task_types(text, language, evaluations)?;
    write_answer_diversity(text, language, evaluations)?;
    writeln!(
        text,
        "{}\n",
        language.pick(
            "Intervals are 95%: Wilson for success and other shares of tasks, the jackknife for diversity, bootstrap for the others. chrF goes up to 100, the other measures to 1.",
            "方括号内为 95% 区间：成功率等任务比例用 Wilson 区间，多样性用刀切法，其余用自助法。chrF 满分为 100，其余指标满分为 1。",
        )
    )
}

/// Writes every type of task with its own measures.
fn write_task_types(
    text: &mut String,
    language: Language,
    evaluations: &[EvaluationReport],
) -> std::fmt::Result {
    if evaluations.iter().all(|e| e.task_types.is_empty()) {
        return Ok(());
    }
    heading(
        text,
        language.pick("Held-out tasks by type", "各类留出任务"),
        language.pick(
            &["model", "language", "type", "n", "succeeded", "measures"],
            &["模型", "语言", "类型", "任务数", "成功数", "指标"],
        ),
    )?;
    for evaluation in evaluations {
        for (name, found) in &evaluation.task_types {
            let measures = found.metrics.iter().map(|(code, value)| {
                let decimals = if code == "chrf" { 1 } else { 3 };
                let name = metric_name(language, code);
                let interval = found.intervals.get(code);
                format!("{name} {}", with_interval(*value, interval, decimals))
            });
            let share = found.succeeded as f64 / found.n.max(1) as f64;
            let succeeded = match found.intervals.get("success_rate") {
                Some(interval) => {
                    let share = with_interval(share, Some(interval), 3);
                    language.pick(
                        format!("{} ({share})", found.succeeded),
                        format!("{}（{share}）", found.succeeded),
                    )
                }
                None => found.succeeded.to_string(),
            };
            writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} |",
                evaluation.model,
                evaluation.language,
                task_type_name(language, name),
                found.n,
                succeeded,
                measures.collect::<Vec<_>>().join(language.pick(", ", "，"))
            )?;
        }
    }
    writeln!(text)
}

fn write_remote_models(
    text: &mut String,
    language: Language,
    models: &[RemoteModelReport],
) -> std::fmt::Result {
    heading(
        text,
        language.pick("Remote models", "远程模型"),
        language.pick(
            &[
                "stage",
                "model",
                "served at",
                "requests",
                "prompt tokens",
                "completion tokens",
                "cost",
            ],
            &[
                "阶段",
                "模型",
                "服务地址",
                "请求数",
                "提示词元",
                "生成词元",
                "费用",
            ],
        ),
    )?;
    let mut uncounted = 0;
    for RemoteModelReport { stage, used } in models {
        uncounted += used.uncounted;
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {:.6} |",
            stage_name(language, stage),
            used.model,
            used.source.trim_start_matches(REMOTE_SOURCE),
            used.requests,
            used.prompt_tokens,
            used.completion_tokens,
            used.cost
        )?;
    }
    writeln!(text)?;
    if uncounted > 0 {
        writeln!(
            text,
            "{}\n",
            language.pick(
                format!("For {uncounted} requests the server did not say how many tokens it used: they count as 0 tokens and cost the most they can have cost."),
                format!("有 {uncounted} 个请求，服务器没有说明用了多少词元：词元按 0 计，费用按可能的最高值计。"),
            )
        )?;
    }
    Ok(())
}

/// Writes what people read for themselves: kept examples, and one prompt answered twice.
fn write_texts(text: &mut String, report: &Report) -> std::fmt::Result {
    let language = report.language;
    if !report.examples.is_empty() {
        writeln!(
            text,
            "## {}\n",
            language.pick("Kept examples", "保留的样本")
        )?;
        let (input, output) = language.pick(("input: ", "output: "), ("输入：", "答案："));
        for example in &report.examples {
            let round = example.round;
            writeln!(
                text,
                "- **{}** {}",
                one_line(&example.instruction),
                language.pick(format!("(round {round})"), format!("（第 {round} 轮）"))
            )?;
            if !example.input.is_empty() {
                writeln!(text, "  - {input}{}", one_line(&example.input))?;
            }
            writeln!(text, "  - {output}{}", one_line(&example.output))?;
        }
        writeln!(text)?;
    }
    if let Some(pair) = &report.before_after {
        let title = language.pick(
            "One held-out prompt, before and after",
            "同一个留出任务，训练前后",
        );
        writeln!(text, "## {title}\n")?;
        for (name, value) in [
            (language.pick("prompt", "任务"), &pair.prompt),
            (language.pick("expected", "参考答案"), &pair.expected),
            ("base", &pair.before),
            (pair.model.as_str(), &pair.after),
        ] {
            writeln!(text, "- {name}: {}", one_line(value))?;
        }
        writeln!(text)?;
    }
    Ok(())
}

fn write_results(text: &mut String, report: &Report) -> std::fmt::Result {
    let language = report.language;
    let none = language.pick("none", "无");
    let or_none = |value: Option<String>| value.unwrap_or_else(|| none.to_string());
    let title = language.pick("What came of it", "结果");
    writeln!(text, "## {title}\n")?;
    let results = [
        (
            language.pick("dataset", "数据集"),
            report.dataset.clone(),
            report.dataset_digest,
        ),
        (
            language.pick("adapter", "适配器"),
            report.adapter.as_ref().map(ToString::to_string),
            report.adapter_digest,
        ),
    ];
    for (name, value, digest) in results {
        let digest = or_none(digest.map(|digest| digest.to_string()));
        let digest = language.pick(format!(" (digest {digest})"), format!("（摘要 {digest}）"));
        writeln!(text, "- {name}: {}{digest}", or_none(value))?;
    }
    Ok(())
}

/// Puts a text on one line and keeps it from being read as table or heading.
pub(super) fn one_line(text: &str) -> String {
    crate::prompts::flatten(text).replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_type_stands_with_its_own_measures_in_the_language_of_the_report() {
        let report = |language: &str| -> Report {
            let interval = serde_json::json!({"low": 0.4, "high": 0.9});
            serde_json::from_value(serde_json::json!({
                "workflow": "w", "state": "done", "language": language, "seed": 1, "compute": "fast",
                "dataset_digest": null, "adapter_digest": null, "adapter": null, "dataset": null,
                "seconds": 1.0, "peak_rss_mb": 9, "tokens_per_second": 1.0, "rounds": [],
                "evaluations": [{"model": "base", "language": "en", "n": 5, "heldout_loss": 1.5,
                    "rouge_l": 0.25, "success_rate": 0.4, "intervals": {}, "diversity": {},
                    "task_types": {
                        "classification": {"n": 3, "succeeded": 2,
                            "metrics": {"accuracy": 0.6667, "macro_f1": 0.5},
                            "intervals": {"accuracy": interval}},
                        "translation": {"n": 1, "succeeded": 0, "metrics": {"chrf": 12.345}},
                        "writing": {"n": 1, "succeeded": 0}}}],
                "examples": [], "before_after": null, "plugins": []}))
            .expect("a report of this or an earlier daemon")
        };
        for (language, rows) in [
            (
                "en",
                [
                    "## Held-out tasks by type",
                    "| base | en | classification | 3 | 2 | accuracy 0.667 [0.400, 0.900], macro-F1 0.500 |",
                    "| base | en | translation | 1 | 0 | chrF 12.3 |",
                    "| base | en | writing | 1 | 0 |  |",
                ],
            ),
            (
                "zh",
                [
                    "## 各类留出任务",
                    "| base | en | 分类 | 3 | 2 | 准确率 0.667 [0.400, 0.900]，宏平均 F1 0.500 |",
                    "| base | en | 翻译 | 1 | 0 | chrF 12.3 |",
                    "| base | en | 写作 | 1 | 0 |  |",
                ],
            ),
        ] {
            let text = to_markdown(&report(language));
            for row in rows {
                assert!(text.contains(row), "{row:?} is missing in\n{text}");
            }
        }
    }
}
