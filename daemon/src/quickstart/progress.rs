//! Live progress: bars on a terminal, plain lines elsewhere, JSON lines for scripts.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use autodidact_client::v1::{self, event::Body};
use autodidact_proto::json as messages;
use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use crate::cli::{Failure, output};

/// How often an unfinished stage is told of in plain lines.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
/// The drop reasons named beside a bar, the commonest first.
const SHOWN_REASONS: usize = 3;

/// Shows a workflow's progress.
pub(crate) enum Display {
    /// A bar a stage.
    Bars(Bars),
    /// A line now and then.
    Lines(Lines),
    /// Every message as it came.
    JsonLines,
}

impl Display {
    /// Takes bars where stderr is a terminal, lines elsewhere.
    pub(crate) fn for_terminal() -> Self {
        if std::io::stderr().is_terminal() {
            Self::Bars(Bars::default())
        } else {
            Self::Lines(Lines::default())
        }
    }

    /// Prints messages as JSON.
    pub(crate) fn json_lines() -> Self {
        Self::JsonLines
    }

    /// Shows where the workflow stands.
    pub(crate) fn snapshot(&mut self, snapshot: &v1::WorkflowSnapshot) -> Result<(), Failure> {
        match self {
            Self::JsonLines => output::json_line(
                &serde_json::json!({"snapshot": messages::of("WorkflowSnapshot", snapshot)}),
            ),
            Self::Bars(_) | Self::Lines(_) => {
                snapshot.stages.iter().for_each(|stage| self.stage(stage));
                Ok(())
            }
        }
    }

    /// Shows what happened.
    pub(crate) fn event(&mut self, event: &v1::Event) -> Result<(), Failure> {
        if let Self::JsonLines = self {
            return output::json_line(&serde_json::json!({"event": messages::of("Event", event)}));
        }
        match &event.body {
            Some(Body::Stage(stage)) => self.stage(stage),
            Some(Body::Training(training)) => self.training(training),
            Some(body) => {
                if let Some(line) = line_of(body) {
                    self.line(&line);
                }
            }
            None => {}
        }
        Ok(())
    }

    /// Leaves the last figures standing.
    pub(crate) fn finish(&mut self) {
        if let Self::Bars(bars) = self {
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
        match self {
            Self::Bars(bars) => bars.stage(stage),
            Self::Lines(lines) => lines.stage(stage),
            Self::JsonLines => {}
        }
    }

    fn training(&mut self, training: &v1::TrainingProgress) {
        let loss = format!(
            "loss {:.3}, {:.0} tokens/s",
            training.loss, training.tokens_per_second
        );
        match self {
            Self::Bars(bars) => {
                let bar = bars.bar(training.round, v1::Stage::Train);
                bar.set_length(training.total_steps.into());
                bar.set_position(training.step.into());
                bar.set_message(loss);
            }
            Self::Lines(lines) => {
                let done = format!("{}/{} steps, {loss}", training.step, training.total_steps);
                lines.sometimes(training.round, v1::Stage::Train, &done);
            }
            Self::JsonLines => {}
        }
    }

    fn line(&mut self, text: &str) {
        match self {
            // Above the bars, where it stays.
            Self::Bars(bars) => {
                if bars.all.println(text).is_err() {
                    output::note(text);
                }
            }
            Self::Lines(_) => output::note(text),
            Self::JsonLines => {}
        }
    }
}

/// A bar a stage, in the order they begin.
#[derive(Default)]
pub(crate) struct Bars {
    all: MultiProgress,
    stages: BTreeMap<(u32, i32), ProgressBar>,
}

impl Bars {
    fn bar(&mut self, round: u32, stage: v1::Stage) -> &ProgressBar {
        let all = &self.all;
        self.stages.entry((round, stage.into())).or_insert_with(|| {
            // Width and rate first, so that the drop mix at the end is cut on a narrow terminal.
            let style =
                style("{prefix:18} {bar:20} {pos:>4}/{len:<4} {rate:>7} {eta:>4} left  {wide_msg}");
            let bar = all.add(ProgressBar::no_length().with_style(style));
            bar.set_prefix(title(round, stage));
            bar
        })
    }

    fn stage(&mut self, stage: &v1::StageProgress) {
        let is_new = !self.stages.contains_key(&(stage.round, stage.stage));
        let bar = self.bar(stage.round, stage.stage());
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
            bar.set_message(kept_and_dropped(stage));
        }
        if stage.finished {
            bar.set_style(style(
                "{prefix:18} {bar:20} {pos:>4}/{len:<4} in {elapsed}  {wide_msg}",
            ));
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
pub(crate) struct Lines {
    told: BTreeMap<(u32, i32), Told>,
}

struct Told {
    last: Instant,
    finished: bool,
}

impl Lines {
    fn stage(&mut self, stage: &v1::StageProgress) {
        let key = (stage.round, stage.stage);
        if self.told.get(&key).is_some_and(|told| told.finished) {
            return;
        }
        // A training step tells of itself, with its loss.
        if stage.stage() == v1::Stage::Train && !stage.finished {
            return;
        }
        let figures = kept_and_dropped(stage);
        let separator = if figures.is_empty() { "" } else { ", " };
        let text = format!(
            "{}/{} done{separator}{figures}",
            stage.done,
            stage.total.max(stage.done)
        );
        if stage.finished {
            self.told.insert(
                key,
                Told {
                    last: Instant::now(),
                    finished: true,
                },
            );
            output::note(format!(
                "{}: finished; {text}",
                title(stage.round, stage.stage())
            ));
        } else {
            self.sometimes(stage.round, stage.stage(), &text);
        }
    }

    fn sometimes(&mut self, round: u32, stage: v1::Stage, text: &str) {
        let key = (round, stage.into());
        if self
            .told
            .get(&key)
            .is_some_and(|told| told.finished || told.last.elapsed() < LINE_INTERVAL)
        {
            return;
        }
        self.told.insert(
            key,
            Told {
                last: Instant::now(),
                finished: false,
            },
        );
        output::note(format!("{}: {text}", title(round, stage)));
    }
}

fn title(round: u32, stage: v1::Stage) -> String {
    let stage = crate::cli::stage_name(stage);
    if round == 0 {
        format!("base {stage}")
    } else {
        format!("round {round} {stage}")
    }
}

/// Shows the figures of a stage, with the commonest reasons for dropping.
fn kept_and_dropped(stage: &v1::StageProgress) -> String {
    if stage.kept == 0 && stage.dropped == 0 {
        return if stage.tokens > 0 {
            format!("{} tokens", stage.tokens)
        } else {
            String::new()
        };
    }
    let mut reasons: Vec<_> = stage.reasons.iter().collect();
    reasons.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let mut mix: Vec<String> = reasons
        .iter()
        .take(SHOWN_REASONS)
        .map(|(reason, count)| format!("{reason} {count}"))
        .collect();
    if reasons.len() > SHOWN_REASONS {
        mix.push("…".to_string());
    }
    let mix = if mix.is_empty() {
        String::new()
    } else {
        format!(" ({})", mix.join(", "))
    };
    format!("{} kept, {} dropped{mix}", stage.kept, stage.dropped)
}

/// Says how a round was decided, and why; reasons mostly begin with the decision itself.
pub(super) fn decision(promoted: bool, reason: &str) -> String {
    let how = if promoted { "promoted" } else { "rolled back" };
    if reason.is_empty() || reason.starts_with(how) {
        return if reason.is_empty() {
            how.to_string()
        } else {
            reason.to_string()
        };
    }
    format!("{how}: {reason}")
}

/// Says what happened, where a line is worth it.
fn line_of(body: &Body) -> Option<String> {
    match body {
        Body::State(changed) => {
            let state = changed
                .state()
                .as_str_name()
                .trim_start_matches("WORKFLOW_STATE_")
                .to_lowercase();
            let why = if changed.message.is_empty() {
                String::new()
            } else {
                format!(": {}", changed.message)
            };
            Some(format!("the workflow is {state}{why}"))
        }
        Body::Evaluated(found) => Some(format!(
            "{}: held-out loss {:.4}, success rate {:.1}%",
            found.model,
            found.heldout_loss,
            found.success_rate * 100.0
        )),
        Body::Promotion(decided) => Some(format!(
            "round {}: {}",
            decided.round,
            decision(decided.promoted, &decided.message)
        )),
        Body::Warning(warning) => Some(format!("note: {}", warning.message)),
        Body::DatasetVersion(made) => Some(format!(
            "dataset {} has {} records",
            made.dataset, made.records
        )),
        // Bars and lines show these already, or they are of no concern to a watcher.
        Body::Stage(_)
        | Body::Training(_)
        | Body::CheckpointSaved(_)
        | Body::FileRefused(_)
        | Body::PluginChanged(_) => None,
    }
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
        assert_eq!(
            kept_and_dropped(&stage(&[("a", 1), ("b", 7), ("c", 2), ("d", 2)])),
            "5 kept, 12 dropped (b 7, c 2, d 2, …)"
        );
        assert_eq!(kept_and_dropped(&stage(&[])), "5 kept, 0 dropped");
    }

    #[test]
    fn a_decision_is_said_once() {
        assert_eq!(decision(true, "promoted: better"), "promoted: better");
        assert_eq!(decision(false, "worse"), "rolled back: worse");
        assert_eq!(decision(true, ""), "promoted");
    }

    #[test]
    fn the_base_is_called_so() {
        assert_eq!(title(0, v1::Stage::Evaluate), "base evaluate");
        assert_eq!(title(2, v1::Stage::Train), "round 2 train");
    }
}
