//! The report of a run, laid out for a terminal.

use std::fmt::Write as _;

use autodidact_domain::Report;
use autodidact_domain::report::{EvaluationReport, Interval, RoundReport};

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
    heading(&mut out, "What became of the records");
    for round in &report.rounds {
        funnel(&mut out, round);
    }
    if !report.plugins.is_empty() {
        heading(&mut out, "Plugins that took part");
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
                digest,
            ]
        };
        let rows: Vec<_> = report.plugins.iter().map(row).collect();
        out.push_str(&output::format_table(
            &["PLUGIN", "VERSION", "DROPPED", "DIGEST"],
            &rows,
        ));
    }
    if !report.examples.is_empty() {
        heading(&mut out, "Some examples that were kept");
        for example in &report.examples {
            let _ = writeln!(
                out,
                "- (round {}) {}",
                example.round,
                cut(&example.instruction)
            );
            if !example.input.is_empty() {
                let _ = writeln!(out, "  input:  {}", cut(&example.input));
            }
            let _ = writeln!(out, "  answer: {}", cut(&example.output));
        }
    }
    if !report.evaluations.is_empty() {
        heading(&mut out, "On the held-out tasks (mean and 95% interval)");
        let rows: Vec<_> = report.evaluations.iter().map(evaluation_row).collect();
        let headings = ["MODEL", "LANGUAGE", "TASKS", "LOSS", "ROUGE-L", "SUCCESS"];
        out.push_str(&output::format_table(&headings, &rows));
    }
    if let Some(answers) = &report.before_after {
        heading(&mut out, "One prompt before and after");
        let _ = writeln!(out, "prompt:   {}", cut(&answers.prompt));
        let _ = writeln!(out, "expected: {}", cut(&answers.expected));
        let _ = writeln!(out, "base:     {}", cut(&answers.before));
        let _ = writeln!(out, "{}:  {}", answers.model, cut(&answers.after));
    }
    heading(&mut out, "The run");
    let minutes = report.seconds / 60.0;
    let _ = writeln!(
        out,
        "{minutes:.1} minutes of work, {:.0} tokens/s ({} compute), at most {} MiB of memory",
        report.tokens_per_second, report.compute, report.peak_rss_mb
    );
    let digest = |digest: &Option<autodidact_domain::Digest>| {
        digest.map(|d| d.to_string()).unwrap_or("none".into())
    };
    if let Some(dataset) = &report.dataset {
        let _ = writeln!(
            out,
            "dataset:  {dataset} (digest {})",
            digest(&report.dataset_digest)
        );
    }
    match &report.adapter {
        Some(adapter) => {
            let _ = writeln!(
                out,
                "adapter:  {adapter} (digest {})",
                digest(&report.adapter_digest)
            );
        }
        None => out.push_str("adapter:  none was promoted; the base stays the generator\n"),
    }
    let _ = writeln!(out, "report:   {}", places.report_folder);
    if let Some(command) = &places.export_command {
        let _ = writeln!(out, "\nTake the dataset with you:\n  {command}");
    }
    let _ = writeln!(out, "\nTalk with the result:\n  {}", places.chat_command);
    out
}

fn heading(out: &mut String, text: &str) {
    let _ = writeln!(out, "\n{text}\n{}", "─".repeat(text.chars().count()));
}

fn funnel(out: &mut String, round: &RoundReport) {
    let decided = match round.promoted {
        Some(promoted) => decision(promoted, &round.promotion_reason),
        None => "nothing to promote".to_string(),
    };
    let _ = writeln!(out, "Round {}, {decided}", round.round);
    let row = |stage: &autodidact_domain::report::StageReport| {
        let mut reasons: Vec<_> = stage.reasons.iter().collect();
        reasons.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        let reasons: Vec<_> = reasons
            .iter()
            .map(|(reason, count)| format!("{reason} {count}"))
            .collect();
        vec![
            stage.name.clone(),
            stage.taken.to_string(),
            stage.kept.to_string(),
            stage.dropped.to_string(),
            stage.out.to_string(),
            format!("{:.0} s", stage.seconds),
            reasons.join(", "),
        ]
    };
    let rows: Vec<_> = round.stages.iter().map(row).collect();
    out.push_str(&output::format_table(
        &[
            "STAGE",
            "IN",
            "KEPT",
            "DROPPED",
            "OUT",
            "TIME",
            "DROPPED FOR",
        ],
        &rows,
    ));
    // Single steps see different examples; a quarter of them says more.
    let quarter = round.losses.len().div_ceil(4);
    if quarter > 0 {
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        let (first, last) = (
            mean(&round.losses[..quarter]),
            mean(&round.losses[round.losses.len() - quarter..]),
        );
        let _ = writeln!(
            out,
            "trained on {} human, {} new and {} earlier examples in {} steps: mean loss {first:.3} in the first quarter, {last:.3} in the last",
            round.human,
            round.generated,
            round.replayed,
            round.losses.len()
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
    fn long_texts_are_cut() {
        assert_eq!(cut(&"字".repeat(400)).chars().count(), SHOWN_CHARS + 1);
    }
}
