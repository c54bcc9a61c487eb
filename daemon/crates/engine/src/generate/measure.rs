//! Measures how fast a model reads and writes, with the forward pass and sampler that generation uses.

use std::time::{Duration, Instant};

use autodidact_domain::{Interrupt, Sampling};

use super::sampler::Sampler;
use crate::EngineError;
use crate::engine::LoadedModel;
use crate::runtime::{Batch, Buffers, MAX_BATCH_TOKENS, SequenceCache};

/// What one run took.
#[derive(Clone, Copy, Debug)]
pub struct GenerateTimes {
    /// From the first prompt token to every sequence's first new token.
    pub prefill: Duration,
    /// The new tokens after the first.
    pub decode: Duration,
}

impl LoadedModel {
    /// Reads `batch` prompts of `prompt` tokens and continues each greedily by `new` tokens, end tokens or not.
    ///
    /// The prompts are pseudo-random ids and differ from each other, so nothing is shared: speed does not depend on them.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] where a count is 0 or a sequence is longer than the context, [`EngineError::Memory`] where
    /// the caches do not fit, [`EngineError::Interrupted`] when interrupted, between passes.
    pub fn measure_generate(
        &self,
        batch: usize,
        prompt: usize,
        new: usize,
        interrupt: &Interrupt,
    ) -> Result<GenerateTimes, EngineError> {
        let context = self.config.context_length;
        if batch == 0 || prompt == 0 || new < 2 || prompt.saturating_add(new) > context {
            return Err(EngineError::Invalid(format!(
                "expected at least one sequence, one token of prompt, two new ones and {context} (the context) in all, found {batch}, {prompt} and {new}"
            )));
        }
        self.check_length(batch.saturating_mul(prompt + new))?;
        let caches: Result<Vec<SequenceCache>, EngineError> = (0..batch)
            .map(|_| self.decoder.new_cache(prompt + new))
            .collect();
        let sampling = Sampling::default();
        let sampler = |_| Sampler::bare(&sampling, &[], self.config.vocab_size);
        let mut run = Run {
            model: self,
            caches: caches?,
            samplers: (0..batch).map(sampler).collect(),
            last: vec![0; batch],
            batch: Batch::default(),
            buffers: Buffers::default(),
        };
        let start = Instant::now();
        for sequence in 0..batch {
            let ids = self.arbitrary_ids(sequence, prompt);
            for from in (0..prompt).step_by(MAX_BATCH_TOKENS) {
                let to = prompt.min(from + MAX_BATCH_TOKENS);
                run.batch.clear();
                let first = run.batch.push(sequence, &ids[from..to], from);
                let wanted: &[usize] = if to == prompt { &[sequence] } else { &[] };
                if to == prompt {
                    run.batch.wanted.push(first + to - from - 1);
                }
                run.pass(wanted, interrupt)?;
            }
        }
        let prefill = start.elapsed();
        let everyone: Vec<usize> = (0..batch).collect();
        let start = Instant::now();
        for step in 0..new - 1 {
            run.batch.clear();
            for sequence in 0..batch {
                let at = run
                    .batch
                    .push(sequence, &[run.last[sequence]], prompt + step);
                run.batch.wanted.push(at);
            }
            run.pass(&everyone, interrupt)?;
        }
        Ok(GenerateTimes {
            prefill,
            decode: start.elapsed(),
        })
    }

    /// Spreads ids over the vocabulary, whose first ids are often special tokens.
    fn arbitrary_ids(&self, sequence: usize, count: usize) -> Vec<u32> {
        let vocabulary = self.config.vocab_size;
        let id = |index: usize| (sequence * 104_729 + index * 7_919 + 113) % vocabulary;
        (0..count).map(|index| id(index) as u32).collect()
    }
}

/// The state of one run.
struct Run<'a> {
    model: &'a LoadedModel,
    caches: Vec<SequenceCache>,
    samplers: Vec<Sampler<'static>>,
    /// Each sequence's newest token.
    last: Vec<u32>,
    batch: Batch,
    buffers: Buffers,
}

impl Run<'_> {
    /// Runs the batch; `wanted` names the sequences of the batch's wanted tokens.
    fn pass(&mut self, wanted: &[usize], interrupt: &Interrupt) -> Result<(), EngineError> {
        if interrupt.is_raised() {
            return Err(EngineError::Interrupted);
        }
        let Self {
            model,
            caches,
            samplers,
            last,
            batch,
            buffers,
        } = self;
        let mut caches: Vec<&mut SequenceCache> = caches.iter_mut().collect();
        model.decoder.forward(
            &model.team,
            batch,
            &mut caches,
            None,
            buffers,
            &mut |first, logits| {
                let rows = logits.chunks_exact_mut(model.config.vocab_size);
                for (row, sequence) in rows.zip(&wanted[first..]) {
                    let choice = samplers[*sequence].next(model.team.isa(), &[], row);
                    last[*sequence] = choice.token.unwrap_or_default();
                }
            },
        )
    }
}
