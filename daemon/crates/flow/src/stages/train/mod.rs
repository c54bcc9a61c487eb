//! train: human, generated and replayed examples in, an adapter out, a checkpoint every few optimizer steps.

mod kept;
mod mix;

use std::collections::BTreeSet;

use autodidact_domain::journal::StageName;
use autodidact_domain::training::{StepMetrics, TrainingLog, best_evaluation};
use autodidact_domain::verdict::Evidence;
use autodidact_domain::workflow::TrainSpec;
use autodidact_domain::{
    Checkpoint, CheckpointId, Digest, EvalLoss, EventBody, Example, ModelRef, PortError,
    TrainOptions, TrainRequest, TrainSegment, Verdict,
};
use serde::{Deserialize, Serialize};

use crate::error::FlowError;
use crate::journaled::{Judged, Outcome, Run};
use crate::labels::misfit;
use crate::preflight;
pub(crate) use kept::result_id;
use kept::{Kept, step_id};
pub(crate) use mix::{Data, Mixed, mix};

/// Examples of a batch that a message names.
const NAMED_EXAMPLES: usize = 8;

/// What a round's training gave.
#[derive(Clone, Debug)]
pub(crate) struct Trained {
    pub(crate) adapter: CheckpointId,
    pub(crate) adapter_digest: Digest,
    /// The step that the adapter is of.
    pub(crate) adapter_step: u32,
    pub(crate) losses: Vec<f64>,
    pub(crate) eval_losses: Vec<EvalLoss>,
    pub(crate) stopped_early: bool,
    /// The tokens computed, padding not counted.
    pub(crate) tokens: u64,
}

/// A segment's result in the journal; its tensors are in the checkpoint store.
#[derive(Serialize, Deserialize)]
struct Segment {
    /// Where the run goes on; of the last segment, the round's result.
    checkpoint: CheckpointId,
    adapter_digest: Digest,
    step: u32,
    total_steps: u32,
    losses: Vec<f64>,
    tokens: u64,
    /// Journals of earlier daemons have none of what follows.
    #[serde(default)]
    metrics: Vec<StepMetrics>,
    #[serde(default)]
    evaluation: Option<EvalLoss>,
    #[serde(default)]
    stopped_early: bool,
    /// The step that the round's result is of, where it is not the last.
    #[serde(default)]
    best_step: Option<u32>,
}

/// Trains the round's adapter from the base, segment by segment. `eval_dataset` is what evaluations measure, where that is a
/// dataset of its own.
pub(crate) fn train(
    run: &mut Run,
    round: u32,
    spec: &TrainSpec,
    mixed: &Mixed,
    eval_dataset: &[Example],
) -> Result<Trained, FlowError> {
    let data = Data::new(
        run.spec(),
        round,
        &spec.options,
        mixed,
        eval_dataset,
        spec.validation_split,
    )?;
    let name = run.spec().name.clone();
    let mut kept = Kept::new(spec.options.save_total_limit);
    let mut log = TrainingLog::default();
    let mut written = 0;
    let mut losses = Vec::new();
    let mut tokens = 0;
    let mut is_checked = false;
    // The last checkpoint stays in memory; after a restart it is read from the store.
    let mut last: Option<Checkpoint> = None;
    loop {
        let replayed = run.will_replay(round, StageName::Train);
        if !replayed && !is_checked {
            preflight::check(run, round, spec, &data, kept.count())?;
            is_checked = true;
        }
        let previous = match kept.newest() {
            Some(step) => Some(step_id(&name, round, step)?),
            None => spec.resume_from_checkpoint.clone(),
        };
        let segment: Segment = run.step(round, StageName::Train, |run, _| {
            let resume = match (last.take(), &previous) {
                (Some(checkpoint), _) => Some(checkpoint),
                (None, Some(id)) => Some(run.ports.checkpoints.load(id)?),
                (None, None) => None,
            };
            let (mut trained, metrics) = run_segment(run, round, spec, &data, resume)
                .map_err(|error| name_batch(error, &data, previous.as_ref()))?;
            let segment = save(run, round, spec, &mut trained, metrics, &log.evaluations)?;
            if trained.is_finished() {
                tell_truncated(run, round, spec, &trained, data.bodies.len())?;
            }
            let mut outcome = Outcome::new(segment);
            outcome.verdicts = judge(&data, &trained);
            outcome.out = u64::from(trained.is_finished());
            last = Some(trained.checkpoint);
            Ok(outcome)
        })?;
        if replayed {
            last = None;
        }
        run.progress(
            round,
            StageName::Train,
            u64::from(segment.step),
            u64::from(segment.total_steps),
        );
        losses.extend(&segment.losses);
        tokens += segment.tokens;
        log.steps.extend(&segment.metrics);
        log.evaluations.extend(segment.evaluation);
        for step in kept.add(segment.step, &log.evaluations) {
            run.ports
                .checkpoints
                .delete(&step_id(&name, round, step)?)?;
        }
        let finished = segment.stopped_early || segment.step >= segment.total_steps;
        if finished || !replayed {
            let reports = &run.ports.reports;
            reports.write_training(&name, round, &log, written)?;
            written = log.steps.len();
        }
        if finished {
            kept.finish(run, round)?;
            run.finish_stage(round, StageName::Train)?;
            return Ok(Trained {
                adapter: segment.checkpoint,
                adapter_digest: segment.adapter_digest,
                adapter_step: segment.best_step.unwrap_or(segment.step),
                losses,
                eval_losses: log.evaluations,
                stopped_early: segment.stopped_early,
                tokens,
            });
        }
    }
}

/// Makes what a task with a head is measured against: the bare base with the head that a first round without a start begins with, as
/// a checkpoint of its own; none for a task without one, where the base answers itself.
pub(crate) fn untrained(run: &Run, human: &[Example]) -> Result<Option<CheckpointId>, FlowError> {
    let spec = run.workflow.pinned.train_of(run.spec());
    let Some(spec) = spec.filter(|spec| spec.options.task_type.has_head()) else {
        return Ok(None);
    };
    let id = result_id(&run.spec().name, 0)?;
    let checkpoints = &run.ports.checkpoints;
    // What decides it is pinned, so one that a run before a restart made is the same.
    if checkpoints.get(&id).is_ok() {
        return Ok(Some(id));
    }
    let (task, labels) = (spec.options.task_type, &spec.options.labels);
    let fitting = human.iter().map(|example| &example.body);
    let fitting = fitting.filter(|body| misfit(task, labels, body).is_none());
    let request = TrainRequest {
        model: ModelRef {
            model: run.spec().model.clone(),
            adapter: None,
        },
        options: TrainOptions {
            eval_steps: 0,
            early_stopping_patience: 0,
            load_best_model_at_end: false,
            ..spec.options.clone()
        },
        examples: fitting.cloned().collect(),
        eval_examples: Vec::new(),
        seed: preflight::train_seed(run.spec(), 1),
        resume: None,
        steps: 0,
    };
    let engine = &run.ports.engine;
    let mut begun = engine
        .train(request, &run.interrupt, &mut |_| {})?
        .checkpoint;
    begun.optimizer.clear();
    checkpoints.save(&id, &begun)?;
    Ok(Some(id))
}

/// Removes it once it has been measured, a run's before a restart too.
pub(crate) fn remove_untrained(run: &Run) -> Result<(), FlowError> {
    let train = run.spec().stages.train.as_ref();
    if !train.is_some_and(|train| train.options.task_type.has_head()) {
        return Ok(());
    }
    let id = result_id(&run.spec().name, 0)?;
    match run.ports.checkpoints.get(&id) {
        Ok(_) => Ok(run.ports.checkpoints.delete(&id)?),
        Err(_) => Ok(()),
    }
}

fn run_segment(
    run: &Run,
    round: u32,
    spec: &TrainSpec,
    data: &Data<'_>,
    resume: Option<Checkpoint>,
) -> Result<(TrainSegment, Vec<StepMetrics>), FlowError> {
    let every = spec.options.checkpoint_steps;
    let first_step = resume.as_ref().map_or(0, |checkpoint| checkpoint.meta.step);
    let request = TrainRequest {
        model: ModelRef {
            model: run.spec().model.clone(),
            adapter: spec.init_adapter.clone(),
        },
        options: spec.options.clone(),
        examples: data.bodies.clone(),
        eval_examples: data.evaluated.clone(),
        seed: preflight::train_seed(run.spec(), round),
        resume,
        steps: every - first_step % every,
    };
    let (ports, name) = (&run.ports, &run.spec().name);
    let mut kept = Vec::new();
    let trained = ports
        .engine
        .train(request, &run.interrupt, &mut |progress| {
            let metrics = StepMetrics {
                time_ms: ports.clock.now_ms(),
                progress,
                rss_mb: ports.clock.rss_mb(),
                peak_rss_mb: ports.clock.peak_rss_mb(),
            };
            kept.push(metrics);
            let body = EventBody::Training { round, metrics };
            ports.events.tell(Some(name), body);
            run.progress(
                round,
                StageName::Train,
                u64::from(progress.step),
                u64::from(progress.total_steps),
            );
        })?;
    match spec.resume_from_checkpoint.is_some() && trained.losses.is_empty() {
        false => Ok((trained, kept)),
        true => Err(nothing_left(spec, &trained)),
    }
}

/// Says why a run that should go on from another's end has no step to make.
fn nothing_left(spec: &TrainSpec, trained: &TrainSegment) -> FlowError {
    let (step, total) = (trained.step, trained.total_steps);
    FlowError::Stopped(match trained.stopped_early {
        true => format!(
            "stages.train.early_stopping_patience: the run stopped early at step {step}; give a larger patience, or 0, for it to go on"
        ),
        false => format!(
            "stages.train: the checkpoint stands at step {step}, and epochs: {} with max_steps: {} make {total} in all; raise one of them",
            spec.options.epochs, spec.options.max_steps
        ),
    })
}

/// Saves a segment's checkpoint under a name that round and step decide. The round's result keeps the adapter alone, and after it
/// the segment has that one.
fn save(
    run: &Run,
    round: u32,
    spec: &TrainSpec,
    trained: &mut TrainSegment,
    metrics: Vec<StepMetrics>,
    earlier: &[EvalLoss],
) -> Result<Segment, FlowError> {
    let (ports, name) = (&run.ports, &run.spec().name);
    let step = trained.step;
    let mut id = step_id(name, round, step)?;
    let mut summary = ports.checkpoints.save(&id, &trained.checkpoint)?;
    let evaluations = [earlier, trained.evaluation.as_slice()].concat();
    let best = best_evaluation(&evaluations);
    let best_step = best
        .map(|best| best.step)
        .filter(|best| spec.options.load_best_model_at_end && *best != step);
    if trained.is_finished() {
        // Nothing goes on from the last step, and two checkpoints of a whole model may be more than there is room for.
        let result = &mut trained.checkpoint;
        result.optimizer.clear();
        if let Some(best) = best_step {
            result.adapter.clear();
            *result = ports.checkpoints.load(&step_id(name, round, best)?)?;
            result.optimizer.clear();
        }
        id = result_id(name, round)?;
        summary = ports.checkpoints.save(&id, result)?;
    }
    if let (Some(evaluation), Some(best)) = (trained.evaluation, best) {
        let body = EventBody::TrainingEvaluated {
            round,
            evaluation,
            best_step: best.step,
            stopped_early: trained.stopped_early,
        };
        ports.events.publish(Some(name), body)?;
    }
    let saved = EventBody::CheckpointSaved {
        id: id.to_string(),
        step,
    };
    ports.events.publish(Some(name), saved)?;
    Ok(Segment {
        checkpoint: id,
        adapter_digest: summary.adapter_digest,
        step,
        total_steps: trained.total_steps,
        losses: trained.losses.clone(),
        tokens: trained.tokens,
        metrics,
        evaluation: trained.evaluation,
        stopped_early: trained.stopped_early,
        best_step: best_step.filter(|_| trained.is_finished()),
    })
}

/// Tells of examples that were cut, which the run learnt a part of alone.
fn tell_truncated(
    run: &Run,
    round: u32,
    spec: &TrainSpec,
    trained: &TrainSegment,
    given: usize,
) -> Result<(), FlowError> {
    let cut = trained.truncated;
    let context = run.workflow.pinned.model.context_length;
    let length = context.min(u64::from(spec.options.max_length));
    if cut == 0 {
        return Ok(());
    }
    let message = run.spec().languages[0].pick(
        format!("round {round}: {cut} of {given} examples were cut at max_length = {length} tokens; `autodidact dataset preview` shows where"),
        format!("第 {round} 轮：{given} 条样本中有 {cut} 条在 max_length = {length} 个词元处被截断；`autodidact dataset preview` 可查看位置"),
    );
    let warning = EventBody::Warning { message };
    run.ports.events.publish(Some(&run.spec().name), warning)?;
    Ok(())
}

/// Names the examples on which training diverged, and where one can go on.
fn name_batch(error: FlowError, data: &Data<'_>, last_good: Option<&CheckpointId>) -> FlowError {
    let FlowError::Port(PortError::Diverged { message, examples }) = error else {
        return error;
    };
    let name = |position: &u32| {
        let place = data.trained.get(*position as usize)?;
        let example = &data.mixed.examples[*place];
        let text: String = example.body.instruction_text().chars().take(40).collect();
        Some(format!("{} {text:?}", example.id.short()))
    };
    let mut batch: Vec<String> = examples
        .iter()
        .take(NAMED_EXAMPLES)
        .filter_map(name)
        .collect();
    if examples.len() > NAMED_EXAMPLES {
        batch.push(format!("and {} more", examples.len() - NAMED_EXAMPLES));
    }
    let batch = match batch.is_empty() {
        true => String::new(),
        false => format!("; its examples: {}", batch.join(", ")),
    };
    let start = match last_good {
        Some(id) => format!(
            "the last good checkpoint {id} stands; begin a new run from it (init_adapter: {id}), or a new one,"
        ),
        None => "there is no checkpoint before it; begin a new run".to_string(),
    };
    FlowError::Stopped(format!(
        "{message}{batch}; {start} with a lower learning_rate or max_grad_norm set, and without examples that are at fault"
    ))
}

/// Judges the mix once, with the segment that ends the run: an example is trained on, held out for evaluations, or refused for
/// want of an answer.
fn judge(data: &Data<'_>, trained: &TrainSegment) -> Vec<Judged> {
    if !trained.is_finished() {
        return Vec::new();
    }
    let dropped = |reason: &str, note: &str| {
        let evidence = Evidence {
            note: Some(note.to_string()),
            ..Evidence::default()
        };
        Verdict::drop("train", reason, evidence)
    };
    let refused: BTreeSet<u32> = trained.refused.iter().copied().collect();
    let verdict = |place: usize| match data.trained.binary_search(&place) {
        Err(_) => match (data.mixed.overlaps.get(&place), data.unfit.get(&place)) {
            (Some(overlap), _) => overlap.clone().verdict(),
            (None, Some(reason)) => dropped(reason, "the training task has no place for it"),
            (None, None) => dropped("held_out", "evaluations during training measure it"),
        },
        Ok(position) => {
            let answered = data.bodies[position].is_answered();
            match answered && !refused.contains(&(position as u32)) {
                true => Verdict::keep("train"),
                false => dropped("no_label_token", "no answer token within max_length"),
            }
        }
    };
    let examples = data.mixed.examples.iter().enumerate();
    let judged = examples.map(|(place, example)| Judged {
        record: example.id,
        text: example.body.instruction_text().to_string(),
        verdict: verdict(place),
    });
    judged.collect()
}
