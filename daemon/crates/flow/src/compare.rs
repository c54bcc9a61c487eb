//! Two finished workflows side by side: what they were given, what became of their records, and how their models do.

mod evaluations;
mod settings;

use std::collections::BTreeMap;

use autodidact_domain::comparison::{ComparedRun, Comparison, FunnelDifference, StageCounts};
use autodidact_domain::journal::StageName;
use autodidact_domain::ports::Ports;
use autodidact_domain::report::Report;
use autodidact_domain::{
    Language, PortError, PortResult, WorkflowName, WorkflowState, WorkflowSummary,
};

use crate::journaled::given;
use crate::report::final_model;
use crate::stages::evaluate::{Evaluation, Measured, TaskResult};

/// Compares two workflows that are done; `language` is what reasons are told in, the first's own where it is none.
///
/// # Errors
/// [`PortError::Invalid`] where one is not done, or a port's failure.
pub fn compare_workflows(
    ports: &Ports,
    a: &WorkflowName,
    b: &WorkflowName,
    language: Option<Language>,
) -> PortResult<Comparison> {
    let (a, b) = (Side::read(ports, a)?, Side::read(ports, b)?);
    let language = language.unwrap_or(a.report.language);
    Ok(compare(&a, &b, language))
}

/// What is known of one of two workflows.
pub(crate) struct Side {
    workflow: WorkflowSummary,
    report: Report,
    /// Every held-out task's result, by model.
    evaluations: Vec<Evaluation>,
}

impl Side {
    fn read(ports: &Ports, name: &WorkflowName) -> PortResult<Self> {
        let workflow = ports.workflows.get(name)?;
        if workflow.state != WorkflowState::Done {
            return Err(PortError::Invalid(format!(
                "workflow {name} is not done; `autodidact workflow watch {name}` waits for it"
            )));
        }
        let steps = ports.journal.steps(name)?;
        Ok(Self {
            workflow,
            report: ports.workflows.report(name)?,
            evaluations: evaluations(given(&steps, StageName::Evaluate)),
        })
    }
}

/// Puts the results of evaluations' steps together, by model.
fn evaluations(steps: Vec<(u32, Vec<TaskResult>)>) -> Vec<Evaluation> {
    let mut by_round: BTreeMap<u32, Vec<TaskResult>> = BTreeMap::new();
    for (round, results) in steps {
        by_round.entry(round).or_default().extend(results);
    }
    let of = |measured: Measured, results| Evaluation {
        model: measured.name(),
        results,
        judgement: None,
    };
    // Round 0 has the base first, and then what the seeds alone gave, where they were trained on: the same tasks over again.
    let base = by_round.remove(&0).unwrap_or_default();
    let first = base.first().map(|result| result.id);
    let again = base.iter().skip(1).position(|task| Some(task.id) == first);
    let (base, seeds) = base.split_at(again.map_or(base.len(), |place| place + 1));
    let mut evaluations = Vec::new();
    for (measured, results) in [(Measured::Base, base), (Measured::Round(0), seeds)] {
        if !results.is_empty() {
            evaluations.push(of(measured, results.to_vec()));
        }
    }
    let rounds = by_round.into_iter();
    evaluations.extend(rounds.map(|(round, results)| of(Measured::Round(round), results)));
    evaluations
}

/// Compares two workflows by what is known of them.
fn compare(a: &Side, b: &Side, language: Language) -> Comparison {
    Comparison {
        a: run(a),
        b: run(b),
        settings: settings::differences(a, b),
        funnel: funnel(&a.report, &b.report),
        evaluations: evaluations::differences(a, b, language),
    }
}

fn run(side: &Side) -> ComparedRun {
    let report = &side.report;
    let stages = report.rounds.iter().flat_map(|round| &round.stages);
    ComparedRun {
        workflow: report.workflow.clone(),
        state: side.workflow.state,
        final_model: final_model(report).unwrap_or_default(),
        dataset: report.dataset.clone().unwrap_or_default(),
        seconds: report.seconds,
        tokens: stages.map(|stage| stage.tokens).sum(),
    }
}

/// Sets the stages of each round side by side, in the order of the stages.
fn funnel(a: &Report, b: &Report) -> Vec<FunnelDifference> {
    let mut rows: BTreeMap<(u32, usize), FunnelDifference> = BTreeMap::new();
    for (report, is_first) in [(a, true), (b, false)] {
        for round in &report.rounds {
            for stage in &round.stages {
                let known = StageName::ALL.iter();
                let mut known = known.map(|(_, name)| *name);
                let place = known.position(|name| name == stage.name);
                let key = (round.round, place.unwrap_or(StageName::ALL.len()));
                let row = rows.entry(key).or_insert_with(|| FunnelDifference {
                    round: round.round,
                    stage: stage.name.clone(),
                    a: None,
                    b: None,
                });
                let counts = Some(StageCounts {
                    taken: stage.taken,
                    kept: stage.kept,
                    dropped: stage.dropped,
                    out: stage.out,
                });
                match is_first {
                    true => row.a = counts,
                    false => row.b = counts,
                }
            }
        }
    }
    rows.into_values().collect()
}

#[cfg(test)]
mod tests;
