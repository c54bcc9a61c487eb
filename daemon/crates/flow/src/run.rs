//! Puts the stages of a workflow in order, round by round.

use std::sync::Arc;

use autodidact_domain::figures::JudgeReport;
use autodidact_domain::journal::StageName;
use autodidact_domain::plan::RoundPlan;
use autodidact_domain::ports::Ports;
use autodidact_domain::workflow::TrainSpec;
use autodidact_domain::{
    DatasetName, DatasetSummary, Digest, Example, ModelRef, PortResult, WorkflowSummary,
};

use crate::contamination::Contamination;
use crate::diversity;
use crate::error::FlowError;
use crate::journaled::Run;
use crate::records::{Chains, make_examples, review_round};
use crate::report::{RoundOutcome, RunOutcome};
use crate::shown::look_at_seeds;
use crate::stages::adapt::{self, Known};
use crate::stages::evaluate::{self, Evaluation, Measured};
use crate::stages::generate;
use crate::stages::promote::{self, Compared, Promotion};
use crate::stages::train::{self, Trained};

/// Records read from the store at once.
const PAGE: usize = 1000;

/// Runs a workflow to its end, replaying what the journal has.
pub(crate) fn run_workflow(mut run: Run) -> Result<(), FlowError> {
    let human = read_dataset(&run.ports, run.workflow.pinned.seeds.as_ref())?;
    let held_out = read_dataset(&run.ports, run.workflow.pinned.held_out.as_ref())?;
    let eval_dataset = read_dataset(&run.ports, run.workflow.pinned.eval_dataset.as_ref())?;
    run.contamination = Contamination::new(run.spec().contamination(), &held_out).map(Arc::new);
    let mut outcome = RunOutcome::default();
    let shown = look_at_seeds(&run, &human, &mut outcome)?;
    let mut chains = Chains::build(&mut run, [&human, &shown])?;
    outcome.calibrations.clone_from(&chains.calibrations);
    let first_plan = generate::first_plan(run.spec(), &shown);
    let base = evaluate_base(&mut run, &human, &held_out)?;
    outcome.add_evaluation(&run, base.as_ref(), &held_out);
    outcome.judge = judge_agreement(&mut run)?;
    let given = Given {
        human: &human,
        shown: &shown,
        held_out: &held_out,
        eval_dataset: &eval_dataset,
        first_plan: &first_plan,
    };
    let mut standing = Standing {
        plan: first_plan.clone(),
        incumbent: base,
    };
    let train = run.spec().stages.train.as_ref();
    if train.is_some_and(|train| train.seeds_first) {
        let done = learn(&mut run, 0, &given, &[], &mut standing, &mut outcome)?;
        outcome.rounds.push(done);
        crate::report::write(&run, &outcome, &held_out, false)?;
    }
    for round in 1..=run.spec().rounds {
        // An adapter with a head of labels continues no texts.
        let trains_head = |train: &TrainSpec| train.options.task_type.has_head();
        let has_head = run.spec().stages.train.as_ref().is_some_and(trains_head);
        let generator = ModelRef {
            model: run.spec().model.clone(),
            adapter: outcome.adapter.clone().filter(|_| !has_head),
        };
        let kept = make_examples(
            &mut run,
            round,
            &generator,
            [&human, &shown],
            &outcome.kept,
            &standing.plan,
            &mut chains,
        )?;
        let kept = review_round(&mut run, round, kept, &mut chains)?;
        outcome.dataset = write_dataset(&run, round, &outcome.kept, &kept)?.or(outcome.dataset);
        let done = learn(&mut run, round, &given, &kept, &mut standing, &mut outcome)?;
        outcome.kept.extend(kept);
        outcome.rounds.push(done);
        crate::report::write(&run, &outcome, &held_out, false)?;
    }
    crate::report::write(&run, &outcome, &held_out, true)
}

/// What a run is given, the same in every round.
struct Given<'a> {
    human: &'a [Example],
    /// Those of the human examples that prompts may show.
    shown: &'a [Example],
    held_out: &'a [Example],
    eval_dataset: &'a [Example],
    first_plan: &'a RoundPlan,
}

/// What a round leaves to the next, besides what it kept and trained.
struct Standing {
    plan: RoundPlan,
    /// The evaluation of the model in force.
    incumbent: Option<Evaluation>,
}

/// Runs what comes after a round's records: trains on them, measures, decides on the adapter, and adapts the plan of the next round.
fn learn(
    run: &mut Run,
    round: u32,
    given: &Given<'_>,
    kept: &[Example],
    standing: &mut Standing,
    outcome: &mut RunOutcome,
) -> Result<RoundOutcome, FlowError> {
    let held_out = given.held_out;
    let mut done = RoundOutcome::new(round, kept, run.spec());
    let (language, seed) = (run.spec().languages[0], run.spec().seed);
    done.diversity = diversity::of_instructions(kept, language, seed);
    let pools = [given.human, kept, &outcome.kept];
    if let Some(trained) = train_round(run, round, pools, given.eval_dataset, &mut done)? {
        let candidate = ModelRef {
            model: run.spec().model.clone(),
            adapter: Some(trained.adapter.clone()),
        };
        let evaluation = evaluate_model(run, Measured::Round(round), &candidate, held_out)?;
        let promotion = decide(
            run,
            round,
            standing.incumbent.as_ref(),
            evaluation.as_ref(),
            &trained,
            [kept, given.shown],
        )?;
        outcome.add_evaluation(run, evaluation.as_ref(), held_out);
        if promotion.promoted {
            outcome.adapter = Some(trained.adapter.clone());
            outcome.adapter_digest = Some(trained.adapter_digest);
            if evaluation.is_some() {
                standing.incumbent = evaluation;
            }
        }
        done.trained = Some(trained);
        done.promotion = Some(promotion);
    }
    if let (Some(spec), Some(evaluation)) = (run.spec().stages.adapt, &standing.incumbent) {
        let known = Known {
            first: given.first_plan,
            current: &standing.plan,
            evaluation,
            held_out,
            human: given.human,
        };
        let adapted = adapt::adapt(run, round, &spec, &known)?;
        standing.plan = adapted.plan.clone();
        done.adapted = Some(adapted);
    }
    Ok(done)
}

/// Measures the judge of held-out answers against people, where there is one.
fn judge_agreement(run: &mut Run) -> Result<Option<JudgeReport>, FlowError> {
    let evaluate = run.spec().stages.evaluate.clone();
    let judge = evaluate.and_then(|stage| stage.judge);
    judge
        .map(|judge| evaluate::agreement(run, &judge))
        .transpose()
}

/// Reads a whole version; nothing where there is none.
pub(crate) fn read_dataset(
    ports: &Ports,
    summary: Option<&DatasetSummary>,
) -> PortResult<Vec<Example>> {
    let Some(summary) = summary else {
        return Ok(Vec::new());
    };
    let mut examples = Vec::new();
    loop {
        let page =
            ports
                .datasets
                .records(&summary.name, summary.version, examples.len() as u64, PAGE)?;
        if page.is_empty() {
            return Ok(examples);
        }
        examples.extend(page);
    }
}

fn evaluate_base(
    run: &mut Run,
    human: &[Example],
    held_out: &[Example],
) -> Result<Option<Evaluation>, FlowError> {
    let evaluate = run.spec().stages.evaluate.as_ref();
    let steps = evaluate.map_or(0, |spec| held_out.len().div_ceil(spec.batch as usize));
    let last = steps.checked_sub(1);
    let adapter = match last.is_some_and(|last| !run.has_step(0, StageName::Evaluate, last)) {
        true => train::untrained(run, human)?,
        false => None,
    };
    let base = ModelRef {
        model: run.spec().model.clone(),
        adapter,
    };
    let evaluation = evaluate_model(run, Measured::Base, &base, held_out);
    // Whatever became of it: another start makes it again, the same.
    train::remove_untrained(run)?;
    evaluation
}

fn evaluate_model(
    run: &mut Run,
    measured: Measured,
    model: &ModelRef,
    held_out: &[Example],
) -> Result<Option<Evaluation>, FlowError> {
    let Some(spec) = run.spec().stages.evaluate.clone() else {
        return Ok(None);
    };
    evaluate::evaluate(run, measured, &spec, model, held_out).map(Some)
}

/// Tells a round's dataset version from all others, whoever looks for it.
pub(crate) fn dataset_identity(workflow: &WorkflowSummary, round: u32) -> Digest {
    let name = &workflow.spec.name;
    Digest::of(format!("{name}/{}/{round}", workflow.spec_digest).as_bytes())
}

/// Writes everything kept so far as a dataset version of the workflow's name. Doing it again finds the version there.
fn write_dataset(
    run: &Run,
    round: u32,
    earlier: &[Example],
    kept: &[Example],
) -> Result<Option<DatasetSummary>, FlowError> {
    if kept.is_empty() {
        return Ok(None);
    }
    let spec = run.spec();
    let name = DatasetName::new(spec.name.as_str())
        .map_err(|error| FlowError::Stopped(error.to_string()))?;
    let identity = dataset_identity(&run.workflow, round);
    if let Some(there) = run.ports.datasets.by_source_digest(&name, identity)? {
        return Ok(Some(there));
    }
    let source = format!("workflow {} round {round}", spec.name);
    Ok(Some(run.ports.datasets.put(
        &name,
        &[earlier, kept].concat(),
        &source,
        Some(identity),
    )?))
}

/// Trains on the mix of three pools: human examples, the round's own and those of earlier rounds.
fn train_round(
    run: &mut Run,
    round: u32,
    [human, kept, earlier]: [&[Example]; 3],
    eval_dataset: &[Example],
    done: &mut RoundOutcome,
) -> Result<Option<Trained>, FlowError> {
    let Some(spec) = run.workflow.pinned.train_of(run.spec()) else {
        return Ok(None);
    };
    let mut mixed = train::mix(run.spec(), round, human, kept, earlier);
    mixed.find_overlaps(run.contamination.as_deref());
    (done.human, done.generated, done.replayed) = (mixed.human, mixed.generated, mixed.replayed);
    train::train(run, round, &spec, &mixed, eval_dataset).map(Some)
}

/// Decides on the round's adapter. Without a promote stage every adapter is taken.
fn decide(
    run: &mut Run,
    round: u32,
    incumbent: Option<&Evaluation>,
    candidate: Option<&Evaluation>,
    trained: &Trained,
    [kept, seeds]: [&[Example]; 2],
) -> Result<Promotion, FlowError> {
    let spec = run.spec().stages.promote.clone();
    match (spec, incumbent, candidate) {
        (Some(spec), Some(incumbent), Some(candidate)) => {
            let compared = Compared {
                incumbent,
                candidate,
                kept,
                seeds,
            };
            promote::promote(run, round, &spec, &compared, trained)
        }
        _ => Ok(Promotion {
            promoted: true,
            reason: run.spec().languages[0]
                .pick(
                    "taken: the workflow has no promote stage",
                    "已采用：工作流没有 promote 阶段",
                )
                .to_string(),
        }),
    }
}
