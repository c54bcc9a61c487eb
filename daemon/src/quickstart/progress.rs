//! Live progress: bars on a terminal, plain lines elsewhere, JSON lines for scripts.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use autodidact_client::v1::{self, event::Body};
use autodidact_domain::Language;
use autodidact_domain::preflight::mebibytes;
use autodidact_flow::report::{reason_name, stage_name};
use autodidact_proto::json as messages;
use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use crate::cli::{Failure, output};

/// How often an unfinished stage is told of in plain lines.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
/// The drop reasons named beside a bar, the commonest first.
const SHOWN_REASONS: usize = 3;

/// Shows a workflow's progress.
pub(crate) struct Display {
    language: Language,
    form: Form,
}

enum Form {
    /// A bar a stage.
    Bars(Bars),
    /// A line now and then.
    Lines(Lines),
    /// Every message as it came.
    JsonLines,
}

impl Display {
    /// Takes bars where stderr is a terminal, lines elsewhere.
    pub(crate) fn for_terminal(language: Language) -> Self {
        let form = match std::io::stderr().is_terminal() {
            true => Form::Bars(Bars::default()),
            false => Form::Lines(Lines::default()),
        };
        Self { language, form }
    }

    /// Prints messages as JSON.
    pub(crate) fn json_lines() -> Self {
        Self {
            language: Language::En,
            form: Form::JsonLines,
        }
    }

    /// Tells whether it passes on every message as it came.
    pub(crate) fn is_json(&self) -> bool {
        matches!(self.form, Form::JsonLines)
    }

    /// Shows where the workflow stands.
    pub(crate) fn snapshot(&mut self, snapshot: &v1::WorkflowSnapshot) -> Result<(), Failure> {
        if let Form::JsonLines = self.form {
            return output::json_line(
                &serde_json::json!({"snapshot": messages::of("WorkflowSnapshot", snapshot)}),
            );
        }
        snapshot.stages.iter().for_each(|stage| self.stage(stage));
        Ok(())
    }

    /// Shows what happened.
    pub(crate) fn event(&mut self, event: &v1::Event) -> Result<(), Failure> {
        if let Form::JsonLines = self.form {
            return output::json_line(&serde_json::json!({"event": messages::of("Event", event)}));
        }
        match &event.body {
            Some(Body::Stage(stage)) => self.stage(stage),
            Some(Body::Training(training)) => self.training(training),
            Some(body) => {
                if let Some(line) = line_of(self.language, body) {
                    self.line(&line);
                }
            }
            None => {}
        }
        Ok(())
    }

    /// Leaves the last figures standing.
    pub(crate) fn finish(&mut self) {
        if let Form::Bars(bars) = &self.form {
            bars.stages
                .values()
                .filter(|bar| !bar.is_finished())
                .for_each(ProgressBar::abandon);
        }
    }

    fn stage(&mut self, stage: &v1::StageProgress) {
        // Its end is an event of its own, with the reason.
        if stage.stage() == v1::Stage::Promote {
            return;
        }
        match &mut self.form {
            Form::Bars(bars) => bars.stage(self.language, stage),
            Form::Lines(lines) => lines.stage(self.language, stage),
            Form::JsonLines => {}
        }
    }

    fn training(&mut self, training: &v1::TrainingProgress) {
        let language = self.language;
        let (loss, rate) = (training.loss, training.tokens_per_second);
        let loss = language.pick(
            format!("loss {loss:.3}, {rate:.0} tokens/s"),
            format!("损失 {loss:.3}，{rate:.0} 词元/秒"),
        );
        match &mut self.form {
            Form::Bars(bars) => {
                let bar = bars.bar(language, training.round, v1::Stage::Train);
                bar.set_length(training.total_steps.into());
                bar.set_position(training.step.into());
                bar.set_message(loss);
            }
            Form::Lines(lines) => {
                let (step, total) = (training.step, training.total_steps);
                let done = language.pick(
                    format!("{step}/{total} steps, {loss}"),
                    format!("{step}/{total} 步，{loss}"),
                );
                lines.sometimes(language, training.round, v1::Stage::Train, &done);
            }
            Form::JsonLines => {}
        }
    }

    fn line(&mut self, text: &str) {
        match &self.form {
            // Above the bars, where it stays.
            Form::Bars(bars) => {
                if bars.all.println(text).is_err() {
                    output::note(text);
                }
            }
            Form::Lines(_) => output::note(text),
            Form::JsonLines => {}
        }
    }
}

/// A bar a stage, in the order they begin.
#[derive(Default)]
struct Bars {
    all: MultiProgress,
    stages: BTreeMap<(u32, i32), ProgressBar>,
}

impl Bars {
    fn bar(&mut self, language: Language, round: u32, stage: v1::Stage) -> &ProgressBar {
        let all = &self.all;
        self.stages.entry((round, stage.into())).or_insert_with(|| {
            // Width and rate first, so that the drop mix at the end is cut on a narrow terminal.
            let template = language.pick(
                "{prefix:18} {bar:20} {pos:>4}/{len:<4} {rate:>7} {eta:>4} left  {wide_msg}",
                "{prefix:18} {bar:20} {pos:>4}/{len:<4} {rate:>7} 剩余 {eta:>4}  {wide_msg}",
            );
            let bar = all.add(ProgressBar::no_length().with_style(style(template)));
            bar.set_prefix(title(language, round, stage));
            bar
        })
    }

    fn stage(&mut self, language: Language, stage: &v1::StageProgress) {
        let is_new = !self.stages.contains_key(&(stage.round, stage.stage));
        let bar = self.bar(language, stage.round, stage.stage());
        if bar.is_finished() {
            return;
        }
        bar.set_length(stage.total.max(stage.done));
        bar.set_position(stage.done);
        if is_new {
            // What was done before this watch began says nothing about the speed.
            bar.reset_eta();
        }
        if stage.stage() != v1::Stage::Train {
            bar.set_message(kept_and_dropped(language, stage));
        }
        if stage.finished {
            bar.set_style(style(language.pick(
                "{prefix:18} {bar:20} {pos:>4}/{len:<4} in {elapsed}  {wide_msg}",
                "{prefix:18} {bar:20} {pos:>4}/{len:<4} 用时 {elapsed}  {wide_msg}",
            )));
            bar.abandon();
        }
    }
}

/// Makes a bar's style of a template; `{rate}` has two digits, whatever it measures.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("templates are constants and well formed")
        .with_key("rate", |state: &ProgressState, out: &mut dyn Write| {
            let rate = state.per_sec();
            let digits = if rate < 10.0 { 2 } else { 0 };
            // Nobody can be told that a line could not be shown.
            let _ = write!(out, "{rate:.digits$}/s");
        })
        .progress_chars("━━─")
}

/// A line when a stage begins and ends, and now and then between.
#[derive(Default)]
struct Lines {
    told: BTreeMap<(u32, i32), Told>,
}

struct Told {
    last: Instant,
    text: String,
    finished: bool,
}

impl Lines {
    fn stage(&mut self, language: Language, stage: &v1::StageProgress) {
        let key = (stage.round, stage.stage);
        if self.told.get(&key).is_some_and(|told| told.finished) {
            return;
        }
        // A training step tells of itself, with its loss.
        if stage.stage() == v1::Stage::Train && !stage.finished {
            return;
        }
        let figures = kept_and_dropped(language, stage);
        let separator = match figures.is_empty() {
            true => "",
            false => language.pick(", ", "，"),
        };
        let (done, total) = (stage.done, stage.total.max(stage.done));
        let text = language.pick(
            format!("{done}/{total} done{separator}{figures}"),
            format!("完成 {done}/{total}{separator}{figures}"),
        );
        if stage.finished {
            self.told.insert(
                key,
                Told {
                    last: Instant::now(),
                    text: String::new(),
                    finished: true,
                },
            );
            let title = title(language, stage.round, stage.stage());
            output::note(language.pick(
                format!("{title}: finished; {text}"),
                format!("{title}：结束；{text}"),
            ));
        } else {
            self.sometimes(language, stage.round, stage.stage(), &text);
        }
    }

    fn sometimes(&mut self, language: Language, round: u32, stage: v1::Stage, text: &str) {
        let key = (round, stage.into());
        let said_enough =
            |told: &Told| told.finished || told.text == text || told.last.elapsed() < LINE_INTERVAL;
        if self.told.get(&key).is_some_and(said_enough) {
            return;
        }
        let told = Told {
            last: Instant::now(),
            text: text.to_string(),
            finished: false,
        };
        self.told.insert(key, told);
        let colon = language.pick(": ", "：");
        output::note(format!("{}{colon}{text}", title(language, round, stage)));
    }
}

fn title(language: Language, round: u32, stage: v1::Stage) -> String {
    let code = crate::cli::stage_name(stage);
    let stage = stage_name(language, &code);
    match round {
        0 => language.pick(format!("base {stage}"), format!("基座模型 {stage}")),
        _ => language.pick(
            format!("round {round} {stage}"),
            format!("第 {round} 轮 {stage}"),
        ),
    }
}

/// Shows the figures of a stage, with the commonest reasons for dropping.
fn kept_and_dropped(language: Language, stage: &v1::StageProgress) -> String {
    if stage.kept == 0 && stage.dropped == 0 {
        return match stage.tokens {
            0 => String::new(),
            tokens => language.pick(format!("{tokens} tokens"), format!("{tokens} 词元")),
        };
    }
    let mut reasons: Vec<_> = stage.reasons.iter().collect();
    reasons.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let mut mix: Vec<String> = reasons
        .iter()
        .take(SHOWN_REASONS)
        .map(|(reason, count)| format!("{} {count}", reason_name(language, reason)))
        .collect();
    if reasons.len() > SHOWN_REASONS {
        mix.push("…".to_string());
    }
    let mix = match mix.is_empty() {
        true => String::new(),
        false => language.pick(
            format!(" ({})", mix.join(", ")),
            format!("（{}）", mix.join("、")),
        ),
    };
    let (kept, dropped) = (stage.kept, stage.dropped);
    language.pick(
        format!("{kept} kept, {dropped} dropped{mix}"),
        format!("保留 {kept}，丢弃 {dropped}{mix}"),
    )
}

/// Says how a round was decided, and why; reasons mostly begin with the decision itself.
pub(super) fn decision(language: Language, promoted: bool, reason: &str) -> String {
    let how = match promoted {
        true => language.pick("promoted", "已采用"),
        false => language.pick("rolled back", "已回滚"),
    };
    if reason.is_empty() {
        return how.to_string();
    }
    if reason.starts_with(how) {
        return reason.to_string();
    }
    format!("{how}{}{reason}", language.pick(": ", "："))
}

/// Says what happened, where a line is worth it.
fn line_of(language: Language, body: &Body) -> Option<String> {
    match body {
        Body::State(changed) => {
            let state = state_name(language, changed.state());
            let why = match changed.message.as_str() {
                "" => String::new(),
                message => format!("{}{message}", language.pick(": ", "：")),
            };
            Some(language.pick(
                format!("the workflow is {state}{why}"),
                format!("工作流{state}{why}"),
            ))
        }
        Body::Evaluated(found) => {
            let (model, loss) = (&found.model, found.heldout_loss);
            let success = found.success_rate * 100.0;
            Some(language.pick(
                format!("{model}: held-out loss {loss:.4}, success rate {success:.1}%"),
                format!("{model}：留出任务损失 {loss:.4}，成功率 {success:.1}%"),
            ))
        }
        Body::TrainingEvaluated(found) => {
            let (round, step, loss) = (found.round, found.step, found.loss);
            let best = match (found.stopped_early, found.best_step) {
                (true, best) => language.pick(
                    format!("; training stops here, the lowest was after step {best}"),
                    format!("；训练提前停止，最低在第 {best} 步"),
                ),
                (false, best) if best == step => language
                    .pick(", the lowest so far", "，目前最低")
                    .to_string(),
                (false, best) => language.pick(
                    format!(", the lowest was after step {best}"),
                    format!("，最低在第 {best} 步"),
                ),
            };
            Some(language.pick(
                format!("round {round}: evaluation loss {loss:.4} after step {step}{best}"),
                format!("第 {round} 轮：第 {step} 步后评估损失 {loss:.4}{best}"),
            ))
        }
        Body::Promotion(decided) => {
            let round = decided.round;
            let decision = decision(language, decided.promoted, &decided.message);
            Some(language.pick(
                format!("round {round}: {decision}"),
                format!("第 {round} 轮：{decision}"),
            ))
        }
        Body::TrainingNeed(need) => Some(training_need(language, need)),
        Body::PlanChanged(change) => {
            let (round, what) = (change.round + 1, &change.what);
            let (before, after, reason) = (&change.before, &change.after, &change.reason);
            Some(language.pick(
                format!("round {round} will have {what} at {after} instead of {before}: {reason}"),
                format!("第 {round} 轮的 {what} 由 {before} 改为 {after}：{reason}"),
            ))
        }
        Body::Warning(warning) => Some(format!(
            "{}{}",
            language.pick("note: ", "提示："),
            warning.message
        )),
        Body::DatasetVersion(made) => {
            let (dataset, records) = (&made.dataset, made.records);
            Some(language.pick(
                format!("dataset {dataset} has {records} records"),
                format!("数据集 {dataset} 有 {records} 条记录"),
            ))
        }
        // Bars and lines show these already, or they are of no concern to a watcher.
        Body::Stage(_)
        | Body::Training(_)
        | Body::CheckpointSaved(_)
        | Body::FileRefused(_)
        | Body::PluginChanged(_) => None,
        // The others are in the daemon's log.
        Body::PluginLog(line) => matches!(line.level.as_str(), "warn" | "error").then(|| {
            let v1::PluginLog {
                plugin, message, ..
            } = line;
            language.pick(
                format!("plugin {plugin} says: {message}"),
                format!("插件 {plugin}：{message}"),
            )
        }),
    }
}

/// Says what a run takes of memory and disk.
pub(crate) fn training_need(language: Language, need: &v1::TrainingNeed) -> String {
    let memory = mebibytes(need.memory_bytes);
    let disk = mebibytes(need.disk_bytes);
    let of = |available: Option<u64>| match available.map(mebibytes) {
        Some(free) => language.pick(format!(" (of {free} free)"), format!("（可用 {free}）")),
        None => String::new(),
    };
    let (free_memory, free_disk) = (of(need.memory_available), of(need.disk_available));
    let tokens = need.tokens_at_once;
    let steps = need.steps.map_or(String::new(), |steps| {
        language.pick(format!(", {steps} steps"), format!("，共 {steps} 步"))
    });
    language.pick(
        format!("training takes {memory} of memory{free_memory} and {disk} of disk{free_disk}: batches of up to {tokens} tokens{steps}"),
        format!("训练需要 {memory} 内存{free_memory}和 {disk} 磁盘{free_disk}：每批最多 {tokens} 个词元{steps}"),
    )
}

/// Names a workflow's state for people.
pub(super) fn state_name(language: Language, state: v1::WorkflowState) -> String {
    use v1::WorkflowState as State;
    let english = state
        .as_str_name()
        .trim_start_matches("WORKFLOW_STATE_")
        .to_lowercase();
    let chinese = match state {
        State::Pending => "等待中",
        State::Running => "正在运行",
        State::Paused => "已暂停",
        State::Waiting => "正在等待审核",
        State::Done => "已完成",
        State::Failed => "失败",
        State::Cancelled => "已取消",
        State::Unspecified => "状态未知",
    };
    language.pick(english, chinese.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commonest_reasons_come_first_and_the_rest_is_hinted_at() {
        let stage = |reasons: &[(&str, u64)]| v1::StageProgress {
            kept: 5,
            dropped: reasons.iter().map(|(_, count)| count).sum(),
            reasons: reasons
                .iter()
                .map(|(reason, count)| (reason.to_string(), *count))
                .collect(),
            ..Default::default()
        };
        let four = stage(&[("a", 1), ("near_duplicate", 7), ("c", 2), ("d", 2)]);
        assert_eq!(
            kept_and_dropped(Language::En, &four),
            "5 kept, 12 dropped (near_duplicate 7, c 2, d 2, …)"
        );
        assert_eq!(
            kept_and_dropped(Language::Zh, &four),
            "保留 5，丢弃 12（近似重复 7、c 2、d 2、…）"
        );
        assert_eq!(
            kept_and_dropped(Language::En, &stage(&[])),
            "5 kept, 0 dropped"
        );
    }

    #[test]
    fn a_decision_is_said_once() {
        let check = |language, promoted, reason, expect| {
            assert_eq!(decision(language, promoted, reason), expect);
        };
        check(Language::En, true, "promoted: better", "promoted: better");
        check(Language::En, false, "worse", "rolled back: worse");
        check(Language::En, true, "", "promoted");
        check(Language::Zh, false, "更差", "已回滚：更差");
    }

    #[test]
    fn what_a_run_takes_is_said_in_both_languages() {
        let need = v1::TrainingNeed {
            tokens_at_once: 1024,
            steps: Some(12),
            memory_bytes: 1433 << 20,
            memory_available: Some(9000 << 20),
            disk_bytes: 17 << 20,
            ..Default::default()
        };
        assert_eq!(
            training_need(Language::En, &need),
            "training takes 1433 MiB of memory (of 9000 MiB free) and 17 MiB of disk: batches of up to 1024 tokens, 12 steps"
        );
        assert_eq!(
            training_need(Language::Zh, &need),
            "训练需要 1433 MiB 内存（可用 9000 MiB）和 17 MiB 磁盘：每批最多 1024 个词元，共 12 步"
        );
    }

    #[test]
    fn the_base_is_called_so() {
        let train = v1::Stage::Train;
        assert_eq!(title(Language::En, 0, v1::Stage::Evaluate), "base evaluate");
        assert_eq!(title(Language::En, 2, train), "round 2 train");
        assert_eq!(title(Language::Zh, 2, train), "第 2 轮 训练");
    }
}
