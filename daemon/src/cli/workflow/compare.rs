//! `autodidact workflow compare`

use autodidact_client::{Client, v1};
use autodidact_proto::json as messages;
use clap::Args;

use crate::cli::{Failure, Global, output};

#[derive(Args)]
pub(crate) struct CompareArgs {
    /// The first workflow's name
    a: String,
    /// The second workflow's name
    b: String,
    /// The language of reasons, en or zh [default: the first workflow's]
    #[arg(long, value_parser = ["en", "zh"])]
    language: Option<String>,
}

/// Sets two workflows side by side.
pub(super) async fn run(
    connection: &Client,
    args: CompareArgs,
    global: &Global,
) -> Result<(), Failure> {
    let request = v1::CompareWorkflowsRequest {
        a: args.a,
        b: args.b,
        language: args.language.unwrap_or_default(),
    };
    let answer = connection.workflows().compare(request).await?.into_inner();
    let compared = answer.comparison.unwrap_or_default();
    match global.json {
        true => output::json(&messages::of("Comparison", &compared)),
        false => output::text(&render(&compared)),
    }
}

/// Lays a comparison out for a terminal.
fn render(compared: &v1::Comparison) -> String {
    let (a, b) = (compared.a.clone(), compared.b.clone());
    let (a, b) = (a.unwrap_or_default(), b.unwrap_or_default());
    let names = [a.workflow.as_str(), b.workflow.as_str()];
    let row =
        |name: &str, of: fn(&v1::ComparedRun) -> String| vec![name.to_string(), of(&a), of(&b)];
    let mut text = output::format_table(
        &["", names[0], names[1]],
        &[
            row("ends with", |run| or_none(&run.final_model)),
            row("kept", |run| or_none(&run.dataset)),
            row("seconds", |run| format!("{:.1}", run.seconds)),
            row("tokens", |run| run.tokens.to_string()),
        ],
    );
    text.push_str("\nSettings that differ\n");
    if compared.settings.is_empty() {
        text.push_str("none\n");
    } else {
        let value = |value: &Option<String>| value.clone().unwrap_or("(not set)".to_string());
        let settings = compared.settings.iter();
        let rows: Vec<_> = settings
            .map(|s| vec![s.field.clone(), value(&s.a), value(&s.b)])
            .collect();
        text.push_str(&output::format_table(&["FIELD", names[0], names[1]], &rows));
    }
    if !compared.funnel.is_empty() {
        text.push_str(&format!("\nRecords, {} | {}\n", names[0], names[1]));
        let rows: Vec<_> = compared.funnel.iter().map(funnel_row).collect();
        let headings = ["ROUND", "STAGE", "IN", "KEPT", "DROPPED", "OUT"];
        text.push_str(&output::format_table(&headings, &rows));
    }
    if !compared.evaluations.is_empty() {
        text.push_str("\nOn the held-out tasks (95% intervals)\n");
        let rows = compared.evaluations.iter().flat_map(measure_rows);
        let headings = [
            "MODEL",
            "LANGUAGE",
            "MEASURE",
            names[0],
            names[1],
            "DIFFERENCE",
            "PAIRS",
        ];
        text.push_str(&output::format_table(&headings, &rows.collect::<Vec<_>>()));
        for note in notes(compared) {
            text.push_str(&format!("{note}\n"));
        }
    }
    text
}

fn or_none(text: &str) -> String {
    match text {
        "" => "none".to_string(),
        text => text.to_string(),
    }
}

fn funnel_row(row: &v1::FunnelDifference) -> Vec<String> {
    let both = |of: fn(&v1::StageCounts) -> u64| {
        let shown = |counts: &Option<v1::StageCounts>| {
            counts
                .as_ref()
                .map_or("-".to_string(), |c| of(c).to_string())
        };
        format!("{} | {}", shown(&row.a), shown(&row.b))
    };
    vec![
        row.round.to_string(),
        row.stage.clone(),
        both(|counts| counts.taken),
        both(|counts| counts.kept),
        both(|counts| counts.dropped),
        both(|counts| counts.out),
    ]
}

fn measure_rows(evaluation: &v1::EvaluationDifference) -> Vec<Vec<String>> {
    let model = models(evaluation);
    let measured = evaluation.measures.iter().map(|measure| {
        let with = |value: String, interval: &Option<v1::Interval>| match interval {
            Some(v1::Interval { low, high }) => format!("{value} [{low:.3}, {high:.3}]"),
            None => value,
        };
        let difference = format!("{:+.3}", measure.difference);
        vec![
            model.clone(),
            evaluation.language.clone(),
            measure_name(&measure.measure).to_string(),
            with(format!("{:.3}", measure.a), &measure.a_interval),
            with(format!("{:.3}", measure.b), &measure.b_interval),
            with(difference, &measure.interval),
            measure.pairs.to_string(),
        ]
    });
    measured.collect()
}

fn models(evaluation: &v1::EvaluationDifference) -> String {
    match evaluation.model_a == evaluation.model_b {
        true => evaluation.model_a.clone(),
        false => format!("{} | {}", evaluation.model_a, evaluation.model_b),
    }
}

fn measure_name(measure: &str) -> &str {
    match measure {
        "heldout_loss" => "loss",
        "success_rate" => "success",
        other => other,
    }
}

/// Collects what is to be said of pairs, each once with all that it is said of.
fn notes(compared: &v1::Comparison) -> Vec<String> {
    let mut notes: Vec<(&str, Vec<String>)> = Vec::new();
    for evaluation in &compared.evaluations {
        for measure in evaluation.measures.iter().filter(|m| !m.note.is_empty()) {
            let place = format!(
                "{} {} {}",
                models(evaluation),
                evaluation.language,
                measure_name(&measure.measure)
            );
            match notes.iter_mut().find(|(note, _)| *note == measure.note) {
                Some((_, places)) => places.push(place),
                None => notes.push((&measure.note, vec![place])),
            }
        }
    }
    let all: usize = compared.evaluations.iter().map(|e| e.measures.len()).sum();
    let told = notes
        .iter()
        .map(|(note, places)| match places.len() == all {
            true => note.to_string(),
            false => format!("{}: {note}", places.join(", ")),
        });
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_stand_side_by_side_and_a_reason_stands_once() {
        let counts = |taken| {
            Some(v1::StageCounts {
                taken,
                kept: taken,
                dropped: 0,
                out: taken,
            })
        };
        let run = |workflow: &str, dataset: &str| {
            Some(v1::ComparedRun {
                workflow: workflow.into(),
                final_model: "round-1".into(),
                dataset: dataset.into(),
                seconds: 1.5,
                tokens: 30,
                ..v1::ComparedRun::default()
            })
        };
        let interval = |low, high| Some(v1::Interval { low, high });
        let measure = |measure: &str, paired: bool| v1::MeasureDifference {
            measure: measure.into(),
            a: 2.0,
            a_interval: interval(1.5, 2.5),
            b: 1.5,
            b_interval: None,
            difference: -0.5,
            interval: interval(-0.75, -0.25).filter(|_| paired),
            pairs: if paired { 8 } else { 0 },
            note: if paired { "" } else { "not paired" }.into(),
        };
        let evaluation = |model_b: &str, paired| v1::EvaluationDifference {
            model_a: "base".into(),
            model_b: model_b.into(),
            language: "en".into(),
            measures: vec![
                measure("heldout_loss", paired),
                measure("success_rate", true),
            ],
        };
        let compared = v1::Comparison {
            a: run("one", "one@1"),
            b: run("two", ""),
            settings: vec![v1::SettingDifference {
                field: "seed".into(),
                a: Some("7".into()),
                b: None,
            }],
            funnel: vec![v1::FunnelDifference {
                round: 1,
                stage: "filter".into(),
                a: counts(3),
                b: None,
            }],
            evaluations: vec![evaluation("base", false), evaluation("round-1", true)],
        };
        assert_eq!(
            render(&compared),
            "           one      two
ends with  round-1  round-1
kept       one@1    none
seconds    1.5      1.5
tokens     30       30

Settings that differ
FIELD  one  two
seed   7    (not set)

Records, one | two
ROUND  STAGE   IN     KEPT   DROPPED  OUT
1      filter  3 | -  3 | -  0 | -    3 | -

On the held-out tasks (95% intervals)
MODEL           LANGUAGE  MEASURE  one                   two    DIFFERENCE               PAIRS
base            en        loss     2.000 [1.500, 2.500]  1.500  -0.500                   0
base            en        success  2.000 [1.500, 2.500]  1.500  -0.500 [-0.750, -0.250]  8
base | round-1  en        loss     2.000 [1.500, 2.500]  1.500  -0.500 [-0.750, -0.250]  8
base | round-1  en        success  2.000 [1.500, 2.500]  1.500  -0.500 [-0.750, -0.250]  8
base en loss: not paired
"
        );
    }
}
