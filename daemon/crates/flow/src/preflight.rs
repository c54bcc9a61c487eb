//! What a train stage takes of memory and disk, told before it starts, and refused where it will not fit.

use autodidact_domain::ports::Ports;
use autodidact_domain::preflight::{CheckpointPlan, Preflight, TrainData};
use autodidact_domain::random::derive_seed;
use autodidact_domain::workflow::{Pinned, TrainSpec};
use autodidact_domain::{EventBody, ModelSummary, PortError, PortResult, WorkflowSpec};

use crate::error::FlowError;
use crate::journaled::Run;
use crate::run::read_dataset;
use crate::stages::train;

/// Derives the seed of a round's training.
pub(crate) fn train_seed(spec: &WorkflowSpec, round: u32) -> u64 {
    derive_seed(spec.seed, &["train", &round.to_string()])
}

fn of(
    ports: &Ports,
    model: &ModelSummary,
    spec: &TrainSpec,
    data: Option<TrainData<'_>>,
    held: u64,
) -> PortResult<Option<Preflight>> {
    let Some(need) = ports.engine.preflight(model, &spec.options, data)? else {
        return Ok(None);
    };
    let options = &spec.options;
    let steps_between = match options.eval_steps {
        0 => options.checkpoint_steps,
        evaluated => options.checkpoint_steps.min(evaluated),
    };
    let between = u64::from(steps_between).max(1);
    // Where evaluations tell a best one, it stays beside the newest.
    let best = u64::from(options.eval_steps > 0);
    let disk = ports.checkpoints.disk_need(CheckpointPlan {
        adapter_bytes: need.adapter_bytes,
        optimizer_bytes: need.optimizer_bytes,
        // Without data, more of them take no more.
        written: need.steps.map_or(u64::MAX, |steps| steps.div_ceil(between)),
        kept: u64::from(options.save_total_limit).max(1) + best,
        held,
    })?;
    Ok(Some(Preflight { need, disk }))
}

/// Tells what a round's training takes, and refuses what will not fit. The run stays where it is, to be resumed when there is
/// room. So many of its checkpoints are there already.
pub(crate) fn check(
    run: &Run,
    round: u32,
    spec: &TrainSpec,
    data: &train::Data<'_>,
    held: usize,
) -> Result<(), FlowError> {
    let data = TrainData {
        examples: &data.bodies,
        evaluated: &data.evaluated,
        seed: train_seed(run.spec(), round),
    };
    let model = &run.workflow.pinned.model;
    let Some(preflight) = of(&run.ports, model, spec, Some(data), held as u64)? else {
        return Ok(());
    };
    let refusal = preflight.refusal();
    let event = EventBody::Preflight { round, preflight };
    run.ports.events.publish(Some(&run.spec().name), event)?;
    match refusal {
        None => Ok(()),
        Some(refusal) => Err(PortError::Unavailable(refusal).into()),
    }
}

/// Tells what the first round's training of a workflow takes, before it is submitted; none where it trains nothing.
///
/// Where the round makes its examples first, it is the most that training on any takes.
pub(crate) fn of_workflow(
    ports: &Ports,
    spec: &WorkflowSpec,
    pinned: &Pinned,
) -> PortResult<Option<Preflight>> {
    let Some(train) = &pinned.train_of(spec) else {
        return Ok(None);
    };
    let stages = &spec.stages;
    let makes_examples = stages.generate.is_some()
        || stages.filter.is_some()
        || stages.respond.is_some()
        || stages.validate.is_some();
    if makes_examples {
        return of(ports, &pinned.model, train, None, 0);
    }
    let human = read_dataset(ports, pinned.seeds.as_ref())?;
    let mixed = train::mix(spec, 1, &human, &[], &[]);
    let share = train.validation_split;
    let measured = read_dataset(ports, pinned.eval_dataset.as_ref())?;
    let data = train::Data::new(spec, 1, &train.options, &mixed, &measured, share);
    // What leaves nothing to train on is told when it runs.
    let (examples, evaluated) = data
        .map(|data| (data.bodies, data.evaluated))
        .unwrap_or_default();
    let data = TrainData {
        examples: &examples,
        evaluated: &evaluated,
        seed: train_seed(spec, 1),
    };
    of(ports, &pinned.model, train, Some(data), 0)
}
