//! What a report is made of: one file a kind of section, each a function of the report alone.

mod cost;
mod drops;
mod evaluations;
mod headline;
mod instructions;
mod judge;
mod rounds;
mod seeds;
mod texts;

use autodidact_domain::report::{EvaluationReport, Interval, Report};

use super::document::{Block, Column, Line, Table};

/// A part of every report; it has nothing to say where the report has no figures for it.
pub(super) type Section = fn(&Report) -> Vec<Block>;

/// The sections in their order.
pub(super) const SECTIONS: [Section; 18] = [
    headline::headline,
    seeds::balance,
    seeds::calibrations,
    rounds::rounds,
    instructions::diversity,
    instructions::plans,
    drops::dropped_records,
    evaluations::held_out_tasks,
    evaluations::by_task_type,
    evaluations::meaning_of_intervals,
    evaluations::diversity,
    judge::marks,
    judge::agreement,
    cost::stages,
    cost::remote_models,
    cost::plugins,
    texts::examples,
    texts::results,
];

/// Shows a measure of an evaluation with its interval, where it has one.
fn measured(evaluation: &EvaluationReport, name: &str, value: f64) -> String {
    with_interval(value, evaluation.intervals.get(name), 3)
}

fn with_interval(value: f64, interval: Option<&Interval>, decimals: usize) -> String {
    match interval {
        Some(Interval { low, high }) => {
            format!("{value:.decimals$} [{low:.decimals$}, {high:.decimals$}]")
        }
        None => format!("{value:.decimals$}"),
    }
}

/// Finds the evaluation's name of the model that a run ends with: of the last round that was promoted, else of the last.
pub(crate) fn final_model(report: &Report) -> Option<String> {
    let promoted = report.rounds.iter().rev();
    let promoted = promoted.filter(|round| round.promoted == Some(true));
    let mut models = promoted.map(|round| format!("round-{}", round.round));
    let measured = |name: &String| report.evaluations.iter().any(|e| e.model == *name);
    models
        .find(measured)
        .or_else(|| report.evaluations.last().map(|e| e.model.clone()))
}

/// Makes a heading with a table under it.
fn titled_table(title: &str, columns: Vec<Column>, rows: Vec<Vec<Line>>) -> Vec<Block> {
    vec![
        Block::Heading(title.to_string()),
        Block::Table(Table {
            title: title.to_string(),
            columns,
            rows,
        }),
    ]
}
