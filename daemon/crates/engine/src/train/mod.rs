//! Resumable fine-tuning: the recipe, read from top to bottom in [`run`].
//!
//! A run is told by its seed, options, examples and base alone. Stopping after any step and going on from the
//! checkpoint gives the straight run's adapter bit for bit, with the same number of threads.

mod adamw;
mod checkpoint;
mod data;
mod evaluation;
mod layout;
mod loaded;
mod model;
mod need;
mod parameters;
mod preflight;
mod preview;
mod schedule;

use std::sync::Arc;
use std::time::Instant;

use autodidact_domain::random::derive_seed;
use autodidact_domain::training::TrainProgress;
use autodidact_domain::{
    Body, Checkpoint, Digest, Interrupt, TrainOptions, TrainRequest, TrainSegment,
};

pub use data::{EncodedExample, Labels};
pub(crate) use layout::TextSide;
pub use preflight::TrainPlace;
pub use preview::TrainingText;

use candle_core::Tensor;

use crate::EngineError;
use crate::memory::Room;
use crate::methods::{self, Plan};
use crate::models::base::BaseWeights;
use crate::models::config::ModelConfig;
use crate::ops::pause::Pause;
use adamw::Moment;
use checkpoint::{Position, Run};
pub(crate) use data::{Before, DataCache, PackedBatch};
use data::{Order, TrainingData};
use evaluation::{Evaluator, stops_early};
pub(crate) use model::TrainableModel;
use need::Sizing;
use parameters::change;
use schedule::Schedule;

/// The base that is trained on.
#[derive(Clone, Copy)]
pub struct Base<'a> {
    /// Its shape.
    pub config: &'a ModelConfig,
    /// Its weights.
    pub weights: &'a BaseWeights,
    /// Its digest, which checkpoints name.
    pub digest: Digest,
    /// How many threads compute; results are the same bit for bit with the same number.
    pub threads: usize,
    /// Splits a text as a prompt is split.
    pub tokenize: &'a dyn Fn(&str) -> Result<Vec<u32>, EngineError>,
    /// Lays an example out as tokens, and tells what is learnt of it.
    pub encode: &'a dyn Fn(&Body) -> Result<EncodedExample, EngineError>,
    /// What was encoded for the stretch before.
    pub(crate) encoded: &'a DataCache,
    /// Where a step stands still while somebody else needs the device.
    pub pause: &'a Pause,
    /// What may be taken beside the weights; the stretch's need is taken from it.
    pub(crate) room: &'a Room,
}

/// Trains for a stretch.
///
/// `init` is where a fresh run starts from, when it goes on with an earlier adapter; a resumed run does not read it.
///
/// # Errors
/// [`EngineError::Invalid`] when the options are wrong or no example has a response; [`EngineError::Diverged`] when the loss is
/// no number any more (with the step and its examples); [`EngineError::Memory`] where there is no room for a step;
/// [`EngineError::Adapter`] when the checkpoint is not of this run or `init` does not fit; [`EngineError::Interrupted`] when the
/// interrupt was raised. In each case the last checkpoint stays what it is.
pub fn run(
    base: Base<'_>,
    mut request: TrainRequest,
    init: Option<Checkpoint>,
    interrupt: &Interrupt,
    progress: &mut dyn FnMut(TrainProgress),
) -> Result<TrainSegment, EngineError> {
    // Its tensors are let go of as they are read: with `full` they are three times the model.
    let resume = request.resume.take();
    let request = &request;
    let options = &request.options;
    check_options(options)?;
    let recipe = methods::from_options(options, base.config)?;
    let plan = Arc::new(recipe.plan().clone());
    let room = base.config.context_length - plan.virtual_tokens();
    let max_length = (options.max_length as usize).min(room);
    let before = Before::of(&plan, base.config.vocab_size);
    let (cache, encode) = (base.encoded, base.encode);
    let data = cache.encode(&request.examples, options, encode, max_length)?;
    let evaluator = Evaluator::new(&base, request, max_length, before)?;
    let batch_size = options.batch_size as usize;
    let order = Order::of(options, request.seed, &data.lengths());
    let total_steps = count_steps(options, &order)?;
    let schedule = Schedule::new(options, total_steps);
    let run = Run {
        request,
        recipe: &*recipe,
        plan: &plan,
        weights: base.weights,
        tokenize: base.tokenize,
        base_digest: base.digest,
        data_digest: data.digest,
        evaluation_digest: evaluator.as_ref().map(|evaluator| evaluator.digest),
        total_steps,
    };
    let first_step = resume.as_ref().map_or(0, |resume| resume.meta.step);
    let evaluated_step = evaluator
        .as_ref()
        .map(|evaluator| evaluator.next_after(first_step, total_steps));
    let last_step = first_step.saturating_add(request.steps).min(total_steps);
    let last_step = last_step.min(evaluated_step.unwrap_or(total_steps));
    let batches_of_step = |step: u32| -> Vec<PackedBatch> {
        let examples = order.batch(step as usize);
        let batches = examples.chunks(batch_size);
        batches.map(|indices| data.batch(indices, before)).collect()
    };
    let mut steps: Vec<Vec<PackedBatch>> = (first_step..last_step).map(batches_of_step).collect();
    let max_tokens = steps
        .iter()
        .flatten()
        .map(|batch| batch.ids.len())
        .max()
        .unwrap_or(0);
    check_memory(&base, request, &data, evaluator.as_ref())?;
    let mut position = match resume {
        Some(checkpoint) => run.resume(checkpoint)?,
        None => run.start(init)?,
    };
    if stops_early(&position.evaluations, options) {
        steps.clear();
    }
    let model = trained_model(&base, &plan, options, max_tokens, max_length)?;
    let stretch_started = Instant::now();
    let (mut losses, mut tokens) = (Vec::with_capacity(steps.len()), 0);
    for batches in &steps {
        if interrupt.is_raised() {
            return Err(EngineError::Interrupted);
        }
        let started = Instant::now();
        let learning_rate = schedule.rate(position.step);
        let figures = step(
            &model,
            &mut position,
            batches,
            request,
            &plan,
            learning_rate,
        )
        .map_err(|error| locate(error, position.step, &order, &data))?;
        let tokens_of_step: usize = batches.iter().map(|batch| batch.ids.len()).sum();
        losses.push(figures.loss);
        tokens += tokens_of_step as u64;
        progress(TrainProgress {
            step: position.step,
            total_steps,
            loss: figures.loss,
            learning_rate,
            grad_norm: figures.grad_norm,
            tokens_per_second: tokens_of_step as f64 / started.elapsed().as_secs_f64().max(1e-9),
        });
        if is_due(options, stretch_started) {
            break;
        }
    }
    let evaluator =
        evaluator.filter(|_| evaluated_step == Some(position.step) && !steps.is_empty());
    let evaluation = match evaluator {
        Some(evaluator) => {
            let (parameters, step) = (&position.parameters, position.step);
            Some(evaluator.measure(&base, options, parameters, step, interrupt)?)
        }
        None => None,
    };
    position.evaluations.extend(evaluation);
    let segment = TrainSegment {
        step: position.step,
        total_steps,
        losses,
        evaluation,
        stopped_early: stops_early(&position.evaluations, options),
        checkpoint: run.checkpoint(position)?,
        tokens,
        truncated: data.truncated,
        refused: data.refused.clone(),
    };
    if segment.is_finished() {
        base.encoded.clear();
    }
    Ok(segment)
}

/// Prepares the base with what is trained about it, as training sees it.
fn trained_model<'a>(
    base: &Base<'a>,
    plan: &Arc<Plan>,
    options: &TrainOptions,
    max_tokens: usize,
    max_length: usize,
) -> Result<TrainableModel<'a>, EngineError> {
    let model = TrainableModel::new(
        base.config,
        base.weights,
        plan.clone(),
        max_tokens,
        max_length + plan.virtual_tokens(),
        base.threads,
    )?;
    Ok(model
        .pausing(base.pause.clone())
        .noising(options.neftune_noise_alpha as f32)
        .checkpointing(options.gradient_checkpointing)
        .smoothing(options.label_smoothing_factor as f32))
}

/// Counts the optimizer steps of the whole run.
fn count_steps(options: &TrainOptions, order: &Order) -> Result<u32, EngineError> {
    if options.max_steps > 0 {
        return Ok(options.max_steps);
    }
    let steps = order.steps_per_epoch() as u64 * u64::from(options.epochs);
    u32::try_from(steps).map_err(|_| {
        EngineError::Invalid(format!(
            "epochs: {} are more steps than can be counted",
            options.epochs
        ))
    })
}

/// Tells whether a stretch has taken as long as there may lie between checkpoints.
fn is_due(options: &TrainOptions, stretch_started: Instant) -> bool {
    let minutes = options.checkpoint_minutes;
    minutes > 0.0 && stretch_started.elapsed().as_secs_f64() >= minutes * 60.0
}

/// Refuses a run that the memory will not suffice for, with what would make it fit.
fn check_memory(
    base: &Base<'_>,
    request: &TrainRequest,
    data: &TrainingData,
    evaluator: Option<&Evaluator>,
) -> Result<(), EngineError> {
    if !base.weights.device().is_cpu() {
        // The states are the device's, which says itself when they do not fit.
        return Ok(());
    }
    let (held, options) = (base.weights.bytes(), &request.options);
    let sizing = Sizing {
        config: base.config,
        lengths: Some(&data.lengths()),
        max_length: request.options.max_length as usize,
        seed: request.seed,
        threads: base.threads,
        weights_in_f32: held * size_of::<f32>() as u64 / options.dtype.bytes(),
        beside: &[],
        evaluated: evaluator.map_or(&[], Evaluator::lengths),
    };
    // The weights have been taken from the room already.
    let room = Some(base.room.bytes()).filter(|room| *room != u64::MAX);
    let available = room.map(|room| room.saturating_add(held));
    let need = sizing.need(&request.options, available)?;
    if let Some(refusal) = need.refusal() {
        return Err(EngineError::Memory(refusal));
    }
    base.room.take(need.memory_bytes().saturating_sub(held));
    Ok(())
}

/// What a step measured.
struct StepFigures {
    loss: f64,
    grad_norm: f64,
}

/// Why a step was not made.
enum StepError {
    /// The loss or the gradient's norm is not a finite number; the position is as it was.
    Diverged(f64, f64),
    Engine(EngineError),
}

/// Computes the mean loss over the targets of all batches and its gradient, a batch at a time.
fn accumulate(
    model: &TrainableModel<'_>,
    position: &Position,
    batches: &[PackedBatch],
    seed: u64,
) -> Result<(f64, Vec<Tensor>), EngineError> {
    let step = position.step.to_string();
    if let [batch] = batches {
        let seed = derive_seed(seed, &["dropout", &step]);
        return model.backward(&position.parameters, batch, seed);
    }
    let targets = |batch: &PackedBatch| batch.targets.rows.len() as f64;
    let all: f64 = batches.iter().map(targets).sum();
    let mut sum: (f64, Vec<Tensor>) = (0.0, Vec::new());
    for (number, batch) in batches.iter().enumerate() {
        let seed = derive_seed(seed, &["dropout", &step, &number.to_string()]);
        let (loss, gradients) = model.backward(&position.parameters, batch, seed)?;
        let share = targets(batch) / all;
        sum.0 += loss * share;
        if sum.1.is_empty() {
            let scaled = gradients.into_iter().map(|slice| slice.affine(share, 0.0));
            sum.1 = scaled.collect::<Result<_, _>>()?;
            continue;
        }
        for (sum, gradient) in sum.1.iter().zip(gradients) {
            change(sum, &gradient, |sum, gradient| {
                let pairs = sum.iter_mut().zip(gradient);
                pairs.for_each(|(sum, gradient)| *sum += gradient * share as f32);
            })?;
        }
    }
    Ok(sum)
}

/// Makes one optimizer step.
fn step(
    model: &TrainableModel<'_>,
    position: &mut Position,
    batches: &[PackedBatch],
    request: &TrainRequest,
    plan: &Plan,
    learning_rate: f64,
) -> Result<StepFigures, StepError> {
    let options = &request.options;
    let (loss, gradients) =
        accumulate(model, position, batches, request.seed).map_err(StepError::Engine)?;
    let engine = |error: candle_core::Error| StepError::Engine(error.into());
    let grad_norm = model.within(|| adamw::norm(&gradients)).map_err(engine)?;
    if !loss.is_finite() || !grad_norm.is_finite() {
        return Err(StepError::Diverged(loss, grad_norm));
    }
    position.step += 1;
    let Position {
        step,
        parameters,
        optimizer,
        ..
    } = position;
    let moment = Moment {
        step: *step,
        learning_rate,
        weight_decay: options.weight_decay,
    };
    let scale = adamw::clipping(grad_norm, options.max_grad_norm);
    model
        .within(|| optimizer.step(parameters, &gradients, scale, &plan.slices(), moment))
        .map_err(engine)?;
    Ok(StepFigures { loss, grad_norm })
}

/// Names the step, batch and examples of a failure.
fn locate(error: StepError, step: u32, order: &Order, data: &TrainingData) -> EngineError {
    match error {
        StepError::Engine(error) => error,
        StepError::Diverged(loss, grad_norm) => {
            let (epoch, batch) = (
                step as usize / order.steps_per_epoch(),
                step as usize % order.steps_per_epoch(),
            );
            let indices = order.batch(step as usize);
            EngineError::Diverged {
                message: format!(
                    "training diverged at step {}, batch {} of epoch {}: the loss is {loss}, the gradient's norm {grad_norm}",
                    step + 1,
                    batch + 1,
                    epoch + 1,
                ),
                examples: indices.iter().map(|index| data.position(*index)).collect(),
            }
        }
    }
}

fn check_options(options: &TrainOptions) -> Result<(), EngineError> {
    let at_least = |name: &str, value: u32, least: u32| match value >= least {
        true => Ok(()),
        false => Err(EngineError::Invalid(format!(
            "{name}: expected at least {least}, found {value}"
        ))),
    };
    at_least("epochs", options.epochs, 1)?;
    at_least("batch_size", options.batch_size, 1)?;
    let accumulated = options.gradient_accumulation_steps;
    at_least("gradient_accumulation_steps", accumulated, 1)?;
    at_least("max_length", options.max_length, 2)?;
    if options.eval_steps == 0 {
        let needs = |name: &str, is_set: bool| match is_set {
            false => Ok(()),
            true => Err(EngineError::Invalid(format!(
                "{name}: expected eval_steps beside it, the steps between evaluations, found none"
            ))),
        };
        let patience = options.early_stopping_patience;
        needs("early_stopping_patience", patience > 0)?;
        needs("load_best_model_at_end", options.load_best_model_at_end)?;
    }
    let within = |name: &str, value: f64, most: f64| match (0.0..=most).contains(&value) {
        true => Ok(()),
        false => Err(EngineError::Invalid(format!(
            "{name}: expected a number from 0 to {most}, found {value}"
        ))),
    };
    within("learning_rate", options.learning_rate, 10.0)?;
    within("weight_decay", options.weight_decay, 10.0)?;
    within("warmup_ratio", options.warmup_ratio, 1.0)?;
    within("decay_ratio", options.decay_ratio, 1.0)?;
    within(
        "label_smoothing_factor",
        options.label_smoothing_factor,
        1.0,
    )?;
    within("neftune_noise_alpha", options.neftune_noise_alpha, 1000.0)?;
    within("checkpoint_minutes", options.checkpoint_minutes, f64::MAX)?;
    let threshold = options.early_stopping_threshold;
    within("early_stopping_threshold", threshold, f64::MAX)?;
    within("max_grad_norm", options.max_grad_norm, f64::MAX)
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod golden;
