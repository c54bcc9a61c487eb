//! Examples and figures for people.

use autodidact_client::{Client, v1};
use autodidact_proto::json as messages;
use serde_json::json;
use v1::example::Body;

use super::StatsArgs;
use super::decide::short;
use crate::cli::output::visible;
use crate::cli::{Failure, Global, output, stage_name};

/// Shows an example with what is known of it.
pub(super) fn item(item: &v1::ReviewItem) -> Result<(), Failure> {
    output::text(&format_item(item))
}

fn format_item(item: &v1::ReviewItem) -> String {
    let example = item.example.clone().unwrap_or_default();
    let why = match (item.sampled_for(), item.margin) {
        (v1::SampledFor::Doubtful, Some(margin)) => {
            format!("doubtful: {margin} above the least mark")
        }
        _ => "drawn at random".to_string(),
    };
    let known = [
        Some(short(&example.id)),
        Some(format!("{} round {}", item.workflow, item.round)),
        example.language.clone(),
        example.task_type.clone(),
        example.topic.clone(),
        Some(why),
    ];
    let known: Vec<String> = known.into_iter().flatten().collect();
    let mut text = format!("{}\n", known.join(" | "));
    for (name, part) in parts(&example) {
        text.push_str(&format!("\n{name}:\n"));
        for line in visible(&part).lines() {
            text.push_str(&format!("  {line}\n"));
        }
    }
    text.push('\n');
    for verdict in &item.verdicts {
        text.push_str(&format!("{}\n", format_verdict(verdict)));
    }
    if let Some(decision) = &item.decision {
        text.push_str(&format!("{}\n", format_decision(decision)));
    }
    text
}

/// Takes an example apart into what people read.
fn parts(example: &v1::Example) -> Vec<(String, String)> {
    let part = |name: &str, text: &str| (name.to_string(), text.to_string());
    match &example.body {
        Some(Body::Instruction(it)) => {
            let mut parts = vec![part("instruction", &it.instruction)];
            parts.extend(it.input.iter().map(|input| part("input", input)));
            parts.extend(it.output.iter().map(|output| part("output", output)));
            parts
        }
        Some(Body::Chat(chat)) => {
            let said = |message: &v1::Message| {
                let role = message.role().as_str_name().trim_start_matches("ROLE_");
                (role.to_lowercase(), message.content.clone())
            };
            chat.messages.iter().map(said).collect()
        }
        Some(Body::Text(text)) => vec![part("text", text)],
        Some(Body::Labelled(it)) => vec![part("text", &it.text), part("label", &it.label)],
        Some(Body::Tagged(it)) => vec![
            part("words", &it.tokens.join(" ")),
            part("tags", &it.tags.join(" ")),
        ],
        None => Vec::new(),
    }
}

fn format_verdict(verdict: &v1::Verdict) -> String {
    let evidence = verdict.evidence.clone().unwrap_or_default();
    let mark = evidence.score.map(|score| format!(", {score}"));
    let note = evidence.note.map(|note| format!(" ({})", visible(&note)));
    format!(
        "{}: {}{}{}",
        stage_name(verdict.stage()),
        verdict.reason,
        mark.unwrap_or_default(),
        note.unwrap_or_default()
    )
}

fn format_decision(decision: &v1::ReviewDecision) -> String {
    let ruling = ruling_name(decision.ruling());
    let note = match decision.note.as_str() {
        "" => String::new(),
        note => format!(": {}", visible(note)),
    };
    let (who, when) = (&decision.reviewer, output::time(decision.time_ms));
    format!("decided: {ruling} by {who}, {when} UTC{note}")
}

fn ruling_name(ruling: v1::ReviewRuling) -> String {
    let name = ruling.as_str_name().trim_start_matches("REVIEW_RULING_");
    name.to_lowercase()
}

/// Shows what to type next.
pub(super) fn commands(item: &v1::ReviewItem) -> Result<(), Failure> {
    let id = short(&item.example.clone().unwrap_or_default().id);
    output::note(format!(
        "autodidact review accept {id}\nautodidact review reject {id} --note WHY\nautodidact review edit {id}"
    ));
    Ok(())
}

/// Shows where reviews stand.
pub(super) async fn stats(
    client: &Client,
    args: StatsArgs,
    global: &Global,
) -> Result<(), Failure> {
    let request = v1::ReviewStatsRequest {
        workflow: args.workflow.clone().unwrap_or_default(),
        round: args.round,
    };
    let answer = client.reviews().stats(request).await?.into_inner();
    let decisions = match (args.decisions, &args.workflow) {
        (true, Some(workflow)) => decisions(client, workflow, args.round).await?,
        _ => Vec::new(),
    };
    if global.json {
        let mut json = messages::of("ReviewStatsResponse", &answer);
        if args.decisions {
            json["decisions"] = json!(messages::list("ReviewDecision", &decisions));
        }
        return output::json(&json);
    }
    if answer.rounds.is_empty() {
        return output::line(
            "nothing was laid out for review; stages.review in a workflow file does",
        );
    }
    output::text(&format_stats(&answer.rounds))?;
    for stats in &answer.rounds {
        output::line(format!("\n{}: {}", stats.workflow, stats.message))?;
    }
    if args.decisions {
        output::line("")?;
        let row = |decision: &v1::ReviewDecision| {
            vec![
                decision.round.to_string(),
                short(&decision.record),
                ruling_name(decision.ruling()),
                decision.reviewer.clone(),
                output::time(decision.time_ms),
                if decision.in_force { "yes" } else { "no" }.to_string(),
                visible(&decision.note).replace(['\n', '\t'], " "),
            ]
        };
        let headings = [
            "ROUND", "EXAMPLE", "DECIDED", "BY", "AT (UTC)", "COUNTS", "NOTE",
        ];
        output::table(&headings, &decisions.iter().map(row).collect::<Vec<_>>())?;
    }
    Ok(())
}

fn format_stats(rounds: &[v1::ReviewStats]) -> String {
    let row = |stats: &v1::ReviewStats| {
        let share = match stats.reviewed {
            0 => "-".to_string(),
            reviewed => format!(
                "{:.3} [{:.3}, {:.3}]",
                stats.accepted as f64 / reviewed as f64,
                stats.valid_low,
                stats.valid_high
            ),
        };
        let gate = stats.gate_share.map(|gate| gate.to_string());
        let outlook = stats.outlook().as_str_name();
        let outlook = outlook.trim_start_matches("REVIEW_OUTLOOK_").to_lowercase();
        vec![
            stats.workflow.clone(),
            stats.round.to_string(),
            format!("{}/{}", stats.reviewed, stats.sampled),
            stats.accepted.to_string(),
            stats.rejected.to_string(),
            stats.edited.to_string(),
            share,
            gate.unwrap_or("none".to_string()),
            outlook.replace('_', " "),
        ]
    };
    let headings = [
        "WORKFLOW", "ROUND", "REVIEWED", "ACCEPTED", "REJECTED", "EDITED", "VALID", "GATE",
        "OUTLOOK",
    ];
    output::format_table(&headings, &rounds.iter().map(row).collect::<Vec<_>>())
}

async fn decisions(
    client: &Client,
    workflow: &str,
    round: Option<u32>,
) -> Result<Vec<v1::ReviewDecision>, Failure> {
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListReviewDecisionsRequest {
            workflow: workflow.to_string(),
            round,
            page_size: 0,
            page_token,
        };
        let page = client.reviews().list_decisions(request).await?.into_inner();
        all.extend(page.decisions);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_is_shown_with_all_that_helps_to_decide() {
        let example = v1::Example {
            id: "3f2a91c0b7de55aa".into(),
            language: Some("zh".into()),
            task_type: Some("reasoning".into()),
            body: Some(Body::Instruction(v1::Instruction {
                instruction: "求和。".into(),
                input: Some("1\n2".into()),
                output: Some("3\u{1b}[2J".into()),
            })),
            ..Default::default()
        };
        let evidence = v1::Evidence {
            score: Some(4.0),
            note: Some("judge: at least 3".into()),
            ..Default::default()
        };
        let verdict = v1::Verdict {
            stage: v1::Stage::Validate.into(),
            reason: "kept".into(),
            evidence: Some(evidence),
            ..Default::default()
        };
        let item = v1::ReviewItem {
            workflow: "loop".into(),
            round: 2,
            example: Some(example),
            verdicts: vec![verdict],
            sampled_for: v1::SampledFor::Doubtful.into(),
            margin: Some(1.0),
            decision: None,
        };
        let expect = "\
3f2a91c0b7de | loop round 2 | zh | reasoning | doubtful: 1 above the least mark

instruction:
  求和。

input:
  1
  2

output:
  3\\u{1b}[2J

validate: kept, 4 (judge: at least 3)
";
        assert_eq!(format_item(&item), expect);
    }

    #[test]
    fn figures_stand_in_one_line_a_round() {
        let stats = v1::ReviewStats {
            workflow: "loop".into(),
            round: 1,
            sampled: 20,
            reviewed: 7,
            accepted: 6,
            edited: 1,
            valid_low: 0.5477,
            valid_high: 0.9686,
            gate_share: Some(0.8),
            outlook: v1::ReviewOutlook::TooFew.into(),
            ..Default::default()
        };
        let text = format_stats(&[stats]);
        let line = text.lines().nth(1).unwrap_or_default();
        let cells: Vec<&str> = line.split("  ").filter(|cell| !cell.is_empty()).collect();
        let cells: Vec<&str> = cells.iter().map(|cell| cell.trim()).collect();
        let expect = [
            "loop",
            "1",
            "7/20",
            "6",
            "0",
            "1",
            "0.857 [0.548, 0.969]",
            "0.8",
            "too few",
        ];
        assert_eq!(cells, expect);
    }
}
