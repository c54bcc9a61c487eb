//! `autodidact workflow lineage`

use autodidact_client::{Client, v1};
use autodidact_proto::json as messages;
use clap::Args;

use super::stage_name;
use super::verdicts::{evidence, line, rule};
use crate::cli::dataset::tell_record;
use crate::cli::{Failure, Global, output};

/// Digits of an id that are shown, as in `dataset list`.
const SHOWN_DIGITS: usize = 12;

#[derive(Args)]
pub(crate) struct LineageArgs {
    /// The workflow's name
    name: String,
    /// The record's id, or as much of its beginning as no other record's id has
    record: String,
}

/// Tells a record's whole history.
pub(super) async fn run(
    connection: &Client,
    args: LineageArgs,
    global: &Global,
) -> Result<(), Failure> {
    let request = v1::RecordLineageRequest {
        workflow: args.name,
        record: args.record,
    };
    let found = connection.workflows().lineage(request).await?.into_inner();
    if global.json {
        return output::json(&messages::of("RecordLineageResponse", &found));
    }
    tell_subject(&found)?;
    tell_prompt(&found)?;
    tell_verdicts(&found.verdicts)?;
    tell_training(&found.training)?;
    let descendants = found.descendants.unwrap_or_default();
    if found.example.is_some() {
        output::line(format!(
            "\nInstructions from prompts with it: {}, of which {} were kept.",
            descendants.candidates, descendants.kept
        ))?;
    }
    Ok(())
}

fn tell_subject(found: &v1::RecordLineageResponse) -> Result<(), Failure> {
    let standing = match found.standing() {
        v1::RecordStanding::Seed => "written by people, a seed",
        v1::RecordStanding::HeldOut => "written by people, a held-out task",
        v1::RecordStanding::Kept => "kept",
        v1::RecordStanding::Dropped => "dropped",
        v1::RecordStanding::Open => "not decided: its round has not ended",
        v1::RecordStanding::Unspecified => "unknown to this version",
    };
    let lineage = found.example.as_ref().and_then(|e| e.lineage.clone());
    let lineage = lineage.unwrap_or_default();
    let adapter = lineage.adapter.map(|adapter| format!(" with {adapter}"));
    let writer = lineage.model.map_or("people".to_string(), |model| {
        let round = lineage.round.unwrap_or_default();
        let adapter = adapter.unwrap_or_default();
        format!("{model}{adapter}, in round {round}")
    });
    let mut facts = vec![
        ("record", found.record.clone()),
        ("standing", standing.into()),
    ];
    if found.example.is_some() {
        facts.push(("written by", writer));
    }
    let others: Vec<String> = found.ids.iter().skip(1).map(|id| short(id)).collect();
    if !others.is_empty() {
        facts.push(("judged as", others.join(", ")));
    }
    output::facts(&facts)?;
    output::line("")?;
    match &found.example {
        Some(example) => tell_record(example),
        None => output::line(&found.text),
    }
}

fn tell_prompt(found: &v1::RecordLineageResponse) -> Result<(), Failure> {
    if found.prompt.is_empty() {
        return Ok(());
    }
    output::line("\nIn its prompt stood")?;
    let row = |example: &v1::PromptExample| {
        let origin = match example.origin() {
            v1::Origin::Human => "people",
            v1::Origin::Generated => "generated",
            v1::Origin::Unspecified => "",
        };
        let text = example.text.as_deref().map(line);
        vec![
            short(&example.id),
            origin.to_string(),
            text.unwrap_or("(no longer there)".to_string()),
        ]
    };
    let rows: Vec<_> = found.prompt.iter().map(row).collect();
    output::table(&["RECORD", "BY", "INSTRUCTION"], &rows)
}

fn tell_verdicts(verdicts: &[v1::Verdict]) -> Result<(), Failure> {
    if verdicts.is_empty() {
        return output::line("\nNo stage has decided on it.");
    }
    output::line("\nDecisions on it")?;
    let row = |verdict: &v1::Verdict| {
        vec![
            verdict.round.to_string(),
            stage_name(verdict.stage()),
            verdict.reason.clone(),
            rule(verdict),
            short(&verdict.record),
            evidence(verdict),
        ]
    };
    let rows: Vec<_> = verdicts.iter().map(row).collect();
    let headings = ["ROUND", "STAGE", "REASON", "RULE", "AS", "EVIDENCE"];
    output::table(&headings, &rows)
}

fn tell_training(training: &[v1::TrainingUse]) -> Result<(), Failure> {
    if training.is_empty() {
        return output::line("\nNo training run had it.");
    }
    output::line("\nTraining runs that had it")?;
    let row = |training: &v1::TrainingUse| {
        let promoted = match training.promoted {
            Some(true) => "yes",
            Some(false) => "no",
            None => "undecided",
        };
        vec![
            training.workflow.clone(),
            training.round.to_string(),
            training.adapter.clone(),
            training.left_out.clone().unwrap_or("trained on".into()),
            promoted.to_string(),
        ]
    };
    let rows: Vec<_> = training.iter().map(row).collect();
    let headings = ["WORKFLOW", "ROUND", "ADAPTER", "USE", "PROMOTED"];
    output::table(&headings, &rows)
}

fn short(id: &str) -> String {
    id.chars().take(SHOWN_DIGITS).collect()
}
