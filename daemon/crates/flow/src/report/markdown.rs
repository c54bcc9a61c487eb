//! The report for people.

use std::fmt::Write as _;

use autodidact_domain::model::REMOTE_SOURCE;
use autodidact_domain::report::{
    EvaluationReport, Interval, RemoteModelReport, Report, RoundReport,
};

/// Lays a report out as Markdown.
pub fn to_markdown(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_report(&mut text, report);
    text
}

fn write_report(text: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(text, "# {}\n", report.workflow)?;
    writeln!(
        text,
        "Seed {}, compute path `{}`, {:.0} s of work, {} MiB at most, {:.0} tokens/s generated.\n",
        report.seed, report.compute, report.seconds, report.peak_rss_mb, report.tokens_per_second
    )?;
    for round in &report.rounds {
        write_round(text, round)?;
    }
    write_evaluations(text, &report.evaluations)?;
    if !report.plugins.is_empty() {
        writeln!(
            text,
            "## Plugins\n\n| plugin | version | digest | dropped |\n|---|---|---|---|"
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
        write_remote_models(text, &report.remote_models)?;
    }
    if !report.examples.is_empty() {
        writeln!(text, "## Kept examples\n")?;
        for example in &report.examples {
            writeln!(
                text,
                "- **{}** (round {})",
                one_line(&example.instruction),
                example.round
            )?;
            if !example.input.is_empty() {
                writeln!(text, "  - input: {}", one_line(&example.input))?;
            }
            writeln!(text, "  - output: {}", one_line(&example.output))?;
        }
        writeln!(text)?;
    }
    if let Some(pair) = &report.before_after {
        writeln!(text, "## One held-out prompt, before and after\n")?;
        for (name, value) in [
            ("prompt", &pair.prompt),
            ("expected", &pair.expected),
            ("base", &pair.before),
            (pair.model.as_str(), &pair.after),
        ] {
            writeln!(text, "- {name}: {}", one_line(value))?;
        }
        writeln!(text)?;
    }
    writeln!(text, "## What came of it\n")?;
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "none".to_string());
    writeln!(
        text,
        "- dataset: {} (digest {})",
        or_none(report.dataset.clone()),
        or_none(report.dataset_digest.map(|d| d.to_string()))
    )?;
    writeln!(
        text,
        "- adapter: {} (digest {})",
        or_none(report.adapter.as_ref().map(ToString::to_string)),
        or_none(report.adapter_digest.map(|d| d.to_string()))
    )
}

fn write_round(text: &mut String, round: &RoundReport) -> std::fmt::Result {
    writeln!(
        text,
        "## Round {}\n\n| stage | in | kept | dropped | out | reasons | s |\n|---|---|---|---|---|---|---|",
        round.round
    )?;
    for stage in &round.stages {
        let reasons: Vec<String> = stage
            .reasons
            .iter()
            .map(|(code, count)| format!("{code} {count}"))
            .collect();
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {:.1} |",
            stage.name,
            stage.taken,
            stage.kept,
            stage.dropped,
            stage.out,
            reasons.join(", "),
            stage.seconds
        )?;
    }
    writeln!(text)?;
    if let (Some(first), Some(last)) = (round.losses.first(), round.losses.last()) {
        writeln!(
            text,
            "Trained on {} human, {} generated and {} replayed examples in {} steps; loss {first:.3} at the first, {last:.3} at the last.\n",
            round.human,
            round.generated,
            round.replayed,
            round.losses.len()
        )?;
    }
    if !round.promotion_reason.is_empty() {
        writeln!(text, "{}.\n", round.promotion_reason)?;
    }
    Ok(())
}

fn write_evaluations(text: &mut String, evaluations: &[EvaluationReport]) -> std::fmt::Result {
    if evaluations.is_empty() {
        return Ok(());
    }
    writeln!(
        text,
        "## Held-out tasks\n\n| model | language | n | loss | ROUGE-L | success | distinct-2 |\n|---|---|---|---|---|---|---|"
    )?;
    for evaluation in evaluations {
        let with = |name: &str, value: f64| match evaluation.intervals.get(name) {
            Some(Interval { low, high }) => format!("{value:.3} [{low:.3}, {high:.3}]"),
            None => format!("{value:.3}"),
        };
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {:.3} |",
            evaluation.model,
            evaluation.language,
            evaluation.n,
            with("heldout_loss", evaluation.heldout_loss),
            with("rouge_l", evaluation.rouge_l),
            with("success_rate", evaluation.success_rate),
            evaluation
                .diversity
                .get("distinct_2")
                .copied()
                .unwrap_or(0.0)
        )?;
    }
    writeln!(
        text,
        "\nIntervals are 95%: bootstrap for loss and ROUGE-L, Wilson for success.\n"
    )
}

fn write_remote_models(text: &mut String, models: &[RemoteModelReport]) -> std::fmt::Result {
    writeln!(
        text,
        "## Remote models\n\n| stage | model | served at | requests | prompt tokens | completion tokens | cost |\n|---|---|---|---|---|---|---|"
    )?;
    let mut uncounted = 0;
    for RemoteModelReport { stage, used } in models {
        uncounted += used.uncounted;
        writeln!(
            text,
            "| {stage} | {} | {} | {} | {} | {} | {:.6} |",
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
            "For {uncounted} requests the server did not say how many tokens it used: they count as 0 tokens and cost the most they can have cost.\n"
        )?;
    }
    Ok(())
}

/// Puts a text on one line and keeps it from being read as table or heading.
fn one_line(text: &str) -> String {
    crate::prompts::flatten(text).replace('|', "\\|")
}
