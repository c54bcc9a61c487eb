//! `autodidact workflow verdicts`

use autodidact_client::{Client, v1};
use autodidact_proto::json as messages;
use clap::Args;
use serde_json::json;

use super::stage_name;
use crate::cli::{Failure, Global, output};

#[derive(Args)]
pub(crate) struct VerdictsArgs {
    /// The workflow's name
    name: String,
    /// Those of one round
    #[arg(long)]
    round: Option<u32>,
    /// Those of one stage, such as filter
    #[arg(long, value_parser = parse_stage)]
    stage: Option<v1::Stage>,
    /// Drops only
    #[arg(long)]
    dropped: bool,
    /// Those with one reason code, such as near_duplicate
    #[arg(long)]
    reason: Option<String>,
}

/// Lists the decisions on records.
pub(super) async fn run(
    connection: &Client,
    args: VerdictsArgs,
    global: &Global,
) -> Result<(), Failure> {
    let decision = if args.dropped {
        v1::Decision::Drop
    } else {
        v1::Decision::Unspecified
    };
    let mut request = v1::ListVerdictsRequest {
        workflow: args.name,
        page_size: 0,
        page_token: String::new(),
        round: args.round,
        stage: args.stage.unwrap_or_default().into(),
        decision: decision.into(),
        reason: args.reason.unwrap_or_default(),
    };
    let mut all = Vec::new();
    loop {
        let page = connection
            .workflows()
            .list_verdicts(request.clone())
            .await?
            .into_inner();
        all.extend(page.verdicts);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    if global.json {
        return output::json(&json!({"verdicts": messages::list("Verdict", &all)}));
    }
    let row = |v: &v1::Verdict| {
        vec![
            v.round.to_string(),
            stage_name(v.stage()),
            v.reason.clone(),
            rule(v),
            line(&v.text),
            evidence(v),
        ]
    };
    output::table(
        &["ROUND", "STAGE", "REASON", "RULE", "RECORD", "EVIDENCE"],
        &all.iter().map(row).collect::<Vec<_>>(),
    )
}

/// Shows which rule or plugin decided.
pub(super) fn rule(verdict: &v1::Verdict) -> String {
    let rule = verdict.rule.as_ref();
    rule.map(|rule| format!("{} {}", rule.name, rule.version))
        .unwrap_or_default()
}

/// Shows what a decision rests on, on one line.
pub(super) fn evidence(verdict: &v1::Verdict) -> String {
    let evidence = verdict.evidence.clone().unwrap_or_default();
    let score = evidence
        .score
        .map(|score| format!("{score:.3} "))
        .unwrap_or_default();
    let near = evidence.nearest_text.or(evidence.note).unwrap_or_default();
    line(&format!("{score}{near}"))
}

/// Shows the beginning of a text on one line.
pub(super) fn line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let beginning: String = words.join(" ").chars().take(60).collect();
    output::visible(&beginning)
}

fn parse_stage(name: &str) -> Result<v1::Stage, String> {
    v1::Stage::from_str_name(&format!("STAGE_{}", name.to_uppercase()))
        .filter(|stage| *stage != v1::Stage::Unspecified)
        .ok_or_else(|| format!("no stage is called {name:?}"))
}
