//! The checkpoints that a round's training makes on its way: what they are called, and which are kept.

use std::collections::BTreeSet;

use autodidact_domain::training::best_evaluation;
use autodidact_domain::{CheckpointId, EvalLoss, WorkflowName};

use crate::error::FlowError;
use crate::journaled::Run;

/// Names the checkpoint that a round's result is.
pub(crate) fn result_id(workflow: &WorkflowName, round: u32) -> Result<CheckpointId, FlowError> {
    checkpoint_id(format!("{workflow}.round-{round}"))
}

/// Names the checkpoint of a step, with its optimizer.
pub(super) fn step_id(
    workflow: &WorkflowName,
    round: u32,
    step: u32,
) -> Result<CheckpointId, FlowError> {
    checkpoint_id(format!("{}{step}", prefix(workflow, round)))
}

fn prefix(workflow: &WorkflowName, round: u32) -> String {
    format!("{workflow}.round-{round}.step-")
}

fn checkpoint_id(text: String) -> Result<CheckpointId, FlowError> {
    CheckpointId::new(text).map_err(|error| FlowError::Stopped(error.to_string()))
}

/// The checkpoints of a round that are there: the newest, as many as are asked for, and the best.
pub(super) struct Kept {
    /// How many of the newest.
    limit: usize,
    steps: BTreeSet<u32>,
}

impl Kept {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            limit: limit as usize,
            steps: BTreeSet::new(),
        }
    }

    /// Tells the newest, where a run goes on.
    pub(super) fn newest(&self) -> Option<u32> {
        self.steps.last().copied()
    }

    /// Counts those that are there.
    pub(super) fn count(&self) -> usize {
        self.steps.len()
    }

    /// Takes a new one in and tells which go. The newest stays as long as the run may go on from it.
    pub(super) fn add(&mut self, step: u32, evaluations: &[EvalLoss]) -> Vec<u32> {
        self.steps.insert(step);
        let best = best_evaluation(evaluations).map(|best| best.step);
        self.drop_others(self.limit.max(1), best)
    }

    fn drop_others(&mut self, limit: usize, best: Option<u32>) -> Vec<u32> {
        let old = self.steps.len().saturating_sub(limit);
        let others = self.steps.iter().take(old);
        let gone: Vec<u32> = others.copied().filter(|step| Some(*step) != best).collect();
        self.steps.retain(|step| !gone.contains(step));
        gone
    }

    /// Removes, at a round's end, every checkpoint of its steps that is not kept: also those that a kill left, since where a
    /// stretch ends may depend on the time.
    pub(super) fn finish(mut self, run: &Run, round: u32) -> Result<(), FlowError> {
        if self.limit == 0 {
            self.steps.clear();
        }
        let prefix = prefix(&run.spec().name, round);
        for summary in run.ports.checkpoints.list()? {
            let step = summary.id.as_str().strip_prefix(&prefix);
            let step = step.and_then(|step| step.parse().ok());
            if step.is_some_and(|step: u32| !self.steps.contains(&step)) {
                run.ports.checkpoints.delete(&summary.id)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_stay_and_the_best() {
        let evaluations = [(2, 3.0), (4, 1.0), (6, 2.0), (8, 2.0)];
        let evaluations = evaluations.map(|(step, loss)| EvalLoss { step, loss });
        let check = |limit, expect: &[u32]| {
            let mut kept = Kept::new(limit);
            for (number, evaluation) in evaluations.iter().enumerate() {
                kept.add(evaluation.step, &evaluations[..=number]);
                assert_eq!(kept.newest(), Some(evaluation.step));
            }
            let steps: Vec<u32> = kept.steps.into_iter().collect();
            assert_eq!(steps, expect, "of {limit}");
        };
        check(0, &[4, 8]);
        check(1, &[4, 8]);
        check(2, &[4, 6, 8]);
        check(9, &[2, 4, 6, 8]);
        let mut unevaluated = Kept::new(2);
        assert!(unevaluated.add(1, &[]).is_empty());
        assert!(unevaluated.add(2, &[]).is_empty());
        assert_eq!(unevaluated.add(3, &[]), [1]);
    }
}
