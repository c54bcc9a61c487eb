//! Each round: its funnel, its training with curves, and what was decided.

use autodidact_domain::Language;
use autodidact_domain::report::{Report, RoundReport};
use autodidact_domain::training::best_evaluation;

use crate::report::document::{Block, Chart, Line, Series, Table, numbers, words};
use crate::report::words::{reason_name, stage_name};

/// Tells of every round.
pub(super) fn rounds(report: &Report) -> Vec<Block> {
    let of = |round| self::round(report.language, round);
    report.rounds.iter().flat_map(of).collect()
}

fn round(language: Language, round: &RoundReport) -> Vec<Block> {
    let number = round.round;
    let title = match number {
        0 => language
            .pick("Round 0, the seeds alone", "第 0 轮，只用种子")
            .to_string(),
        _ => language.pick(format!("Round {number}"), format!("第 {number} 轮")),
    };
    let mut blocks = vec![
        Block::Heading(title.clone()),
        funnel(language, round, title),
    ];
    let sentences = [
        training(language, round),
        evaluation(language, round),
        decision(language, round),
    ];
    blocks.extend(curves(language, round));
    blocks.extend(sentences.into_iter().flatten().map(Block::Paragraph));
    blocks
}

fn funnel(language: Language, round: &RoundReport, title: String) -> Block {
    let mut columns = words(language.pick(&["stage"], &["阶段"]));
    columns.extend(numbers(language.pick(
        &["in", "kept", "dropped", "out"],
        &["输入", "保留", "丢弃", "产出"],
    )));
    columns.extend(words(language.pick(&["reasons"], &["原因"])));
    columns.extend(numbers(language.pick(&["s"], &["秒"])));
    let rows = round.stages.iter().map(|stage| {
        let mut reasons = Line::default();
        for (place, (code, count)) in stage.reasons.iter().enumerate() {
            if place > 0 {
                reasons = reasons.and(language.pick(", ", "、"));
            }
            // A plugin may call its reasons what it likes.
            reasons = reasons.and_data(reason_name(language, code));
            reasons = reasons.and(format!(" {count}"));
        }
        let counts = [stage.taken, stage.kept, stage.dropped, stage.out];
        let mut row = vec![Line::from(stage_name(language, &stage.name))];
        row.extend(counts.iter().map(|count| Line::from(count.to_string())));
        row.extend([reasons, format!("{:.1}", stage.seconds).into()]);
        row
    });
    Block::Table(Table {
        title,
        columns,
        rows: rows.collect(),
    })
}

fn training(language: Language, round: &RoundReport) -> Option<Line> {
    let (first, last) = (round.losses.first()?, round.losses.last()?);
    let (human, generated, replayed) = (round.human, round.generated, round.replayed);
    let steps = round.losses.len();
    let text = language.pick(
        format!("Trained on {human} human, {generated} generated and {replayed} replayed examples in {steps} steps; loss {first:.3} at the first, {last:.3} at the last."),
        format!("用 {human} 条人工样本、{generated} 条本轮样本和 {replayed} 条早先样本训练 {steps} 步；损失从第一步的 {first:.3} 到最后一步的 {last:.3}。"),
    );
    Some(text.into())
}

/// Says how the loss over examples that were not trained on went.
fn evaluation(language: Language, round: &RoundReport) -> Option<Line> {
    let losses = &round.eval_losses;
    let (first, last, best) = (losses.first()?, losses.last()?, best_evaluation(losses)?);
    let (first_loss, last_loss, best_loss) = (first.loss, last.loss, best.loss);
    let adapter_step = round.adapter_step.unwrap_or(last.step);
    let end = match round.stopped_early {
        true => language.pick("; stopped early", "；提前停止"),
        false => "",
    };
    let text = language.pick(
        format!("Evaluation loss {first_loss:.4} after step {}, {last_loss:.4} after step {}, lowest {best_loss:.4} after step {}; the adapter is that of step {adapter_step}{end}.", first.step, last.step, best.step),
        format!("评估损失：第 {} 步后 {first_loss:.4}，第 {} 步后 {last_loss:.4}，最低为第 {} 步后的 {best_loss:.4}；适配器取自第 {adapter_step} 步{end}。", first.step, last.step, best.step),
    );
    Some(text.into())
}

fn decision(language: Language, round: &RoundReport) -> Option<Line> {
    let end = language.pick(".", "。");
    let reason = &round.promotion_reason;
    (!reason.is_empty()).then(|| format!("{reason}{end}").into())
}

/// Draws training and evaluation loss over the optimizer steps.
fn curves(language: Language, round: &RoundReport) -> Option<Block> {
    let finite = |points: Vec<(f64, f64)>| -> Vec<(f64, f64)> {
        let mut points = points;
        points.retain(|(_, loss)| loss.is_finite());
        points
    };
    let trained = (1..).map(f64::from).zip(round.losses.iter().copied());
    let evaluated = round.eval_losses.iter();
    let evaluated = evaluated.map(|found| (f64::from(found.step), found.loss));
    let series = [
        (
            language.pick("training loss", "训练损失"),
            finite(trained.collect()),
        ),
        (
            language.pick("evaluation loss", "评估损失"),
            finite(evaluated.collect()),
        ),
    ];
    let series = series.into_iter().filter(|(_, points)| !points.is_empty());
    let series: Vec<Series> = series
        .map(|(name, points)| Series {
            name: name.to_string(),
            points,
        })
        .collect();
    if series.is_empty() {
        return None;
    }
    let told = series.iter().map(|series| describe(language, series));
    let number = round.round;
    Some(Block::Chart(Chart {
        title: language.pick(
            format!("Loss over the steps of round {number}"),
            format!("第 {number} 轮各步的损失"),
        ),
        description: told.collect::<Vec<_>>().join(language.pick(" ", "")),
        x: language.pick("step", "步").to_string(),
        series,
    }))
}

fn describe(language: Language, series: &Series) -> String {
    let name = &series.name;
    let lower = |a: &(f64, f64), b: &(f64, f64)| a.1.total_cmp(&b.1);
    let lowest = series.points.iter().copied().min_by(lower);
    let ends = series.points.first().zip(series.points.last());
    let (Some((low_step, low)), Some(((_, first), (_, last)))) = (lowest, ends) else {
        return String::new();
    };
    language.pick(
        format!("The {name} begins at {first:.3} and ends at {last:.3}; its lowest value is {low:.3}, at step {low_step:.0}."),
        format!("{name}从 {first:.3} 开始，到 {last:.3} 结束；最低为第 {low_step:.0} 步的 {low:.3}。"),
    )
}
