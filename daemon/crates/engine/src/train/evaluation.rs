//! Evaluations while a run trains: the loss over examples that are not trained on, and what follows from it.

use std::sync::Arc;

use autodidact_domain::training::best_evaluation;
use autodidact_domain::{Digest, EvalLoss, Interrupt, TrainOptions, TrainRequest};

use super::data::{Before, PackedBatch};
use super::parameters::Parameters;
use super::{Base, TrainableModel};
use crate::EngineError;
use crate::methods;

/// What a run is evaluated on.
pub(super) struct Evaluator {
    /// Optimizer steps between evaluations.
    every: u32,
    batches: Vec<PackedBatch>,
    /// The tokens of each example, those before it apart.
    lengths: Vec<usize>,
    /// Of the encoded examples.
    pub(super) digest: Digest,
    max_length: usize,
}

impl Evaluator {
    /// Lays the examples out in batches as large as training's, in their order; none where a run is never evaluated.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] where evaluations are asked for and no example has a response.
    pub(super) fn new(
        base: &Base<'_>,
        request: &TrainRequest,
        max_length: usize,
        before: Before,
    ) -> Result<Option<Self>, EngineError> {
        let options = &request.options;
        if options.eval_steps == 0 {
            return Ok(None);
        }
        let (cache, encode) = (base.encoded, base.encode);
        let data = cache.encode(&request.eval_examples, options, encode, max_length);
        let data = data.map_err(unfit)?;
        let indices: Vec<usize> = (0..data.len()).collect();
        let batches = indices.chunks(options.batch_size as usize);
        Ok(Some(Self {
            every: options.eval_steps,
            batches: batches.map(|batch| data.batch(batch, before)).collect(),
            lengths: data.lengths(),
            digest: data.digest,
            max_length: max_length + before.tokens,
        }))
    }

    /// Tells the tokens that are computed of each example, those before it apart.
    pub(super) fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Tells the tokens of the largest batch.
    fn max_tokens(&self) -> usize {
        let tokens = self.batches.iter().map(|batch| batch.ids.len());
        tokens.max().unwrap_or(0)
    }

    /// Tells the first step after `step` that is followed by an evaluation, in a run of `total_steps`.
    pub(super) fn next_after(&self, step: u32, total_steps: u32) -> u32 {
        let next = (step / self.every).saturating_add(1);
        next.saturating_mul(self.every).min(total_steps)
    }

    /// Measures the mean loss in nats a response token, by training's own kernels without dropout, noise and smoothing.
    ///
    /// # Errors
    /// [`EngineError::Diverged`] where it is no finite number; [`EngineError::Interrupted`] between batches.
    pub(super) fn measure(
        &self,
        base: &Base<'_>,
        options: &TrainOptions,
        parameters: &Parameters,
        step: u32,
        interrupt: &Interrupt,
    ) -> Result<EvalLoss, EngineError> {
        let without_dropout = TrainOptions {
            lora_dropout: 0.0,
            ..options.clone()
        };
        let recipe = methods::from_options(&without_dropout, base.config)?;
        let model = TrainableModel::new(
            base.config,
            base.weights,
            Arc::new(recipe.plan().clone()),
            self.max_tokens(),
            self.max_length,
            base.threads,
        )?
        .pausing(base.pause.clone());
        let (mut sum, mut tokens) = (0.0, 0.0);
        for batch in &self.batches {
            if interrupt.is_raised() {
                return Err(EngineError::Interrupted);
            }
            let targets = batch.targets.rows.len() as f64;
            sum += model.loss(parameters, batch)? * targets;
            tokens += targets;
        }
        let loss: f64 = sum / tokens;
        match loss.is_finite() {
            true => Ok(EvalLoss { step, loss }),
            false => Err(EngineError::Diverged {
                message: format!(
                    "training diverged: the evaluation after step {step} gives a loss of {loss}"
                ),
                examples: Vec::new(),
            }),
        }
    }
}

/// Says that what is at fault is what evaluations measure.
pub(super) fn unfit(error: EngineError) -> EngineError {
    match error {
        EngineError::Invalid(fault) => EngineError::Invalid(format!("eval_steps: {fault}")),
        other => other,
    }
}

/// Tells whether a run with these evaluations ends, as transformers' `EarlyStoppingCallback` does: the last ones in a row were
/// none of them lower, by more than the threshold, than the lowest before it.
pub(super) fn stops_early(evaluations: &[EvalLoss], options: &TrainOptions) -> bool {
    let patience = options.early_stopping_patience as usize;
    let is_lower = |position: usize| {
        let best = best_evaluation(&evaluations[..position]);
        let threshold = options.early_stopping_threshold;
        best.is_none_or(|best| best.loss - evaluations[position].loss > threshold)
    };
    let without = (0..evaluations.len())
        .rev()
        .take_while(|position| !is_lower(*position));
    patience > 0 && without.count() >= patience
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_after_as_many_evaluations_without_a_lower_loss() {
        let check = |losses: &[f64], patience, threshold, expected| {
            let evaluations: Vec<EvalLoss> = (1..)
                .zip(losses)
                .map(|(step, loss)| EvalLoss { step, loss: *loss })
                .collect();
            let options = TrainOptions {
                early_stopping_patience: patience,
                early_stopping_threshold: threshold,
                ..TrainOptions::default()
            };
            assert_eq!(
                stops_early(&evaluations, &options),
                expected,
                "{losses:?} with patience {patience} and threshold {threshold}"
            );
        };
        check(&[], 1, 0.0, false);
        check(&[3.0, 4.0, 5.0], 0, 0.0, false);
        check(&[3.0, 3.0], 1, 0.0, true);
        check(&[3.0, 2.0, 2.5], 2, 0.0, false);
        check(&[3.0, 2.0, 2.5, 2.0], 2, 0.0, true);
        check(&[3.0, 2.0, 2.5, 1.9], 2, 0.0, false);
        // Lower by less than the threshold does not count, though it is the new lowest.
        check(&[3.0, 2.95, 2.9], 2, 0.1, true);
        check(&[3.0, 2.95, 2.7], 2, 0.1, false);
    }
}
