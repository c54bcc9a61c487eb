//! Continuous batching: sequences join when there is room and leave when they are done.
//!
//! Each pass takes one token of every sequence that is generating and fills up with prompts, in the order of requests.
//! A sequence whose prompt begins like one already computed copies that part of its cache.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use autodidact_domain::{Completion, FinishReason, GenerateRequest, Interrupt};

use super::constraint::Form;
use super::sampler::{Choice, Sampler};
use super::{CACHE_BUDGET_BYTES, GenerateObserver, MAX_SEQUENCES};
use crate::EngineError;
use crate::engine::LoadedModel;
use crate::runtime::cache::KvCache;
use crate::runtime::lora::LoraLayer;
use crate::runtime::{Batch, Buffers, MAX_BATCH_TOKENS};
use crate::tokenizer::stream::TextStream;

/// A common beginning shorter than this is not worth copying.
const LEAST_SHARED_TOKENS: usize = 16;

/// One call's sequences.
pub(super) struct Schedule<'a> {
    model: &'a LoadedModel,
    lora: Option<&'a [LoraLayer]>,
    requests: &'a [GenerateRequest],
    prompts: Vec<Vec<u32>>,
    /// The compiled constraints, until their sequences join.
    forms: Vec<Option<Form>>,
    waiting: VecDeque<usize>,
    /// Sequences at work, and beside them their caches.
    active: Vec<Sequence<'a>>,
    caches: Vec<KvCache>,
    /// The last finished sequence, whose beginning the next may share.
    retired: Option<(Vec<u32>, KvCache)>,
    completions: Vec<Option<Completion>>,
}

struct Sequence<'a> {
    request: usize,
    /// Prompt and completion.
    ids: Vec<u32>,
    prompt_tokens: usize,
    /// How many positions the cache holds, those of the batch in hand included.
    computed: usize,
    /// How many it held before the batch in hand.
    settled: usize,
    sampler: Sampler<'a>,
    stream: TextStream<'a>,
    finish: Option<FinishReason>,
}

impl<'a> Schedule<'a> {
    pub(super) fn new(
        model: &'a LoadedModel,
        lora: Option<&'a [LoraLayer]>,
        requests: &'a [GenerateRequest],
        prompts: Vec<Vec<u32>>,
        forms: Vec<Option<Form>>,
    ) -> Self {
        Self {
            model,
            lora,
            requests,
            waiting: (0..prompts.len()).collect(),
            completions: vec![None; prompts.len()],
            prompts,
            forms,
            active: Vec::new(),
            caches: Vec::new(),
            retired: None,
        }
    }

    pub(super) fn run(
        mut self,
        observer: &mut dyn GenerateObserver,
        interrupt: &Interrupt,
    ) -> Result<Vec<Completion>, EngineError> {
        let (mut batch, mut buffers) = (Batch::default(), Buffers::default());
        loop {
            self.admit()?;
            if self.active.is_empty() {
                return Ok(self
                    .completions
                    .into_iter()
                    .map(|done| done.expect("every request was worked off"))
                    .collect());
            }
            if interrupt.is_raised() {
                return Err(EngineError::Interrupted);
            }
            let wanted = self.fill(&mut batch);
            let chosen = self.choose(&batch, &wanted, &mut buffers)?;
            self.grow(&wanted, &chosen, observer);
            self.retire();
        }
    }

    /// Lets waiting requests join while there is room.
    fn admit(&mut self) -> Result<(), EngineError> {
        let shape = self.model.cache_shape();
        while self.active.len() < MAX_SEQUENCES {
            let Some(&request) = self.waiting.front() else {
                return Ok(());
            };
            let sampling = &self.requests[request].sampling;
            let model = self.model;
            let prompt_tokens = self.prompts[request].len();
            let context = self.model.config.context_length;
            if prompt_tokens >= context || sampling.max_tokens == 0 {
                self.waiting.pop_front();
                self.completions[request] = Some(Completion {
                    text: String::new(),
                    finish: FinishReason::Length,
                    prompt_tokens: prompt_tokens as u32,
                    completion_tokens: 0,
                    logprobs: Vec::new(),
                });
                continue;
            }
            let positions = prompt_tokens
                .saturating_add(sampling.max_tokens as usize)
                .min(context);
            let used: usize = self.caches.iter().map(KvCache::bytes).sum();
            let retired = self.retired.as_ref().map_or(0, |(_, cache)| cache.bytes());
            if used + retired + shape.bytes(positions) > CACHE_BUDGET_BYTES {
                self.retired = None;
                if !self.active.is_empty() && used + shape.bytes(positions) > CACHE_BUDGET_BYTES {
                    return Ok(());
                }
            }
            self.waiting.pop_front();
            let ids = std::mem::take(&mut self.prompts[request]);
            let form = self.forms[request].take();
            self.caches.push(KvCache::new(shape, positions)?);
            self.active.push(Sequence {
                request,
                sampler: Sampler::new(model, &self.requests[request], form, &ids),
                stream: TextStream::new(&model.tokenizer, &sampling.stop),
                prompt_tokens,
                ids,
                computed: 0,
                settled: 0,
                finish: None,
            });
        }
        Ok(())
    }

    /// Puts the next tokens in the batch; tells which sequences get a new token from it, in order of their logits.
    fn fill(&mut self, batch: &mut Batch) -> Vec<usize> {
        batch.clear();
        let mut wanted = Vec::new();
        let generating = |sequence: &Sequence<'_>| sequence.ids.len() > sequence.prompt_tokens;
        let (first, then): (Vec<usize>, Vec<usize>) =
            (0..self.active.len()).partition(|index| generating(&self.active[*index]));
        for index in first.into_iter().chain(then) {
            let room = MAX_BATCH_TOKENS - batch.ids.len();
            if room == 0 {
                break;
            }
            if self.active[index].computed == 0 {
                self.share_prefix(index);
            }
            let sequence = &mut self.active[index];
            let from = sequence.computed;
            let count = room.min(sequence.ids.len() - from);
            let at = batch.push(index, &sequence.ids[from..from + count], from);
            sequence.computed += count;
            if sequence.computed == sequence.ids.len() {
                batch.wanted.push(at + count - 1);
                wanted.push(index);
            }
        }
        wanted
    }

    /// Copies the longest beginning that a computed sequence shares with this one.
    ///
    /// A position's keys and values depend on the tokens up to it alone, so the copy equals what would be computed.
    fn share_prefix(&mut self, index: usize) {
        let ids = &self.active[index].ids;
        // The last token is always computed: its logits are wanted.
        let limit = ids.len() - 1;
        let common = |other: &[u32]| {
            ids[..limit]
                .iter()
                .zip(other)
                .take_while(|(a, b)| a == b)
                .count()
        };
        let donors = self
            .active
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index);
        // Positions that this very batch computes are not there yet: only those of earlier batches are offered.
        let donors =
            donors.map(|(other, donor)| (common(&donor.ids[..donor.settled]), Some(other)));
        let retired = self.retired.iter().map(|(ids, _)| (common(ids), None));
        let Some((shared, donor)) = donors.chain(retired).max_by_key(|(shared, _)| *shared) else {
            return;
        };
        if shared < LEAST_SHARED_TOKENS {
            return;
        }
        match donor {
            Some(donor) => {
                let [to, from] = self
                    .caches
                    .get_disjoint_mut([index, donor])
                    .expect("two sequences");
                to.copy_prefix(from, shared);
            }
            None => {
                let (_, from) = self.retired.as_ref().expect("the donor was found there");
                self.caches[index].copy_prefix(from, shared);
            }
        }
        self.active[index].computed = shared;
    }

    /// Runs the batch and chooses the next token of each wanted sequence.
    fn choose(
        &mut self,
        batch: &Batch,
        wanted: &[usize],
        buffers: &mut Buffers,
    ) -> Result<Vec<Choice>, EngineError> {
        let model = self.model;
        let mut caches: Vec<&mut KvCache> = self.caches.iter_mut().collect();
        let mut samplers: Vec<Option<&mut Sampler<'_>>> = self
            .active
            .iter_mut()
            .map(|sequence| Some(&mut sequence.sampler))
            .collect();
        let mut chosen = vec![Choice::default(); wanted.len()];
        model.decoder.forward(
            &model.team,
            batch,
            &mut caches,
            self.lora,
            buffers,
            &mut |first, logits| {
                let rows = logits.chunks_exact_mut(model.config.vocab_size);
                let tasks: Vec<_> = rows
                    .zip(&wanted[first..])
                    .zip(&mut chosen[first..])
                    .map(|((row, sequence), chosen)| {
                        Mutex::new((
                            samplers[*sequence]
                                .take()
                                .expect("a sequence is wanted once"),
                            row,
                            chosen,
                        ))
                    })
                    .collect();
                model.team.run(tasks.len(), &|task| {
                    let mut task = tasks[task].lock().unwrap_or_else(PoisonError::into_inner);
                    let (sampler, row, chosen) = &mut *task;
                    **chosen = sampler.next(model.team.isa(), &model.config.eos_ids, row);
                });
            },
        )?;
        Ok(chosen)
    }

    /// Adds the chosen tokens to their sequences.
    fn grow(&mut self, wanted: &[usize], chosen: &[Choice], observer: &mut dyn GenerateObserver) {
        for sequence in &mut self.active {
            sequence.settled = sequence.computed;
        }
        for (index, choice) in wanted.iter().zip(chosen) {
            let sequence = &mut self.active[*index];
            sequence.finish = choice.finish;
            if let Some(id) = choice.token {
                sequence.ids.push(id);
                let generated = sequence.ids.len() - sequence.prompt_tokens;
                let most = self.requests[sequence.request].sampling.max_tokens as usize;
                let is_full =
                    generated >= most || sequence.ids.len() >= self.model.config.context_length;
                sequence.finish = if self.model.config.eos_ids.contains(&id) {
                    Some(FinishReason::Eos)
                } else if sequence.stream.push(id) {
                    Some(FinishReason::Stop)
                } else {
                    choice.finish.or(is_full.then_some(FinishReason::Length))
                };
            }
            let piece = sequence.stream.take_certain(sequence.finish.is_some());
            if !piece.is_empty() {
                observer.piece(sequence.request, piece);
            }
        }
        let tokens = chosen.iter().filter(|choice| choice.token.is_some());
        observer.tokens(tokens.count() as u64);
    }

    /// Lets finished sequences go.
    fn retire(&mut self) {
        for index in (0..self.active.len()).rev() {
            let Some(finish) = self.active[index].finish else {
                continue;
            };
            let sequence = self.active.remove(index);
            let cache = self.caches.remove(index);
            self.completions[sequence.request] = Some(Completion {
                text: sequence.stream.finish(),
                finish,
                prompt_tokens: sequence.prompt_tokens as u32,
                completion_tokens: (sequence.ids.len() - sequence.prompt_tokens) as u32,
                logprobs: sequence.sampler.into_logprobs(),
            });
            let mut ids = sequence.ids;
            ids.truncate(sequence.computed);
            self.retired = Some((ids, cache));
        }
    }
}
