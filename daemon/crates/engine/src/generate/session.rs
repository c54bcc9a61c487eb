//! Continuous batching: requests join when there is room and leave when they are done, between any two passes.
//!
//! Each pass takes one token of every sequence that is generating and fills up with prompts; urgent requests come first,
//! then those that came first. A sequence whose prompt begins like one already computed copies that part of its cache,
//! and one whose prompt begins like one being computed waits for it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use autodidact_domain::{Completion, FinishReason, GenerateRequest, Interrupt};

use super::GenerateObserver;
use super::constraint::{Form, Forms};
use super::sampler::{Choice, Sampler};
use crate::engine::LoadedModel;
use crate::runtime::updates::Updates;
use crate::runtime::{Batch, Buffers, MAX_BATCH_TOKENS, SequenceCache};
use crate::tokenizer::stream::TextStream;
use crate::{Adapter, EngineError};

/// A common beginning shorter than this is not worth copying.
const LEAST_SHARED_TOKENS: usize = 16;
/// Sequences beyond the ordinary ones that urgent requests may have.
const URGENT_SEQUENCES: usize = 8;

/// Whether somebody waits for the words as they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Goes before the others, and has places that they do not get.
    Urgent,
    /// Takes what room there is.
    Ordinary,
}

/// Sequences of one model and one adapter that are generated together; others may join at any time.
pub struct Session<'a> {
    model: &'a LoadedModel,
    updates: Option<&'a Updates>,
    /// What stands before every prompt.
    virtual_ids: Vec<u32>,
    /// Requests that have no place yet, the next one first.
    waiting: VecDeque<Waiting>,
    /// Sequences at work, the urgent ones first, and beside them their caches.
    active: Vec<Sequence<'a>>,
    caches: Vec<SequenceCache>,
    /// The last finished sequence, whose beginning the next may share.
    retired: Option<(Vec<u32>, SequenceCache)>,
    /// How many requests were added.
    added: usize,
    finished: VecDeque<(usize, Completion)>,
    forms: Forms,
    batch: Batch,
    buffers: Buffers,
}

/// A request that is laid out.
struct Waiting {
    number: usize,
    urgency: Urgency,
    request: GenerateRequest,
    prompt: Vec<u32>,
    form: Option<Form>,
}

struct Sequence<'a> {
    number: usize,
    urgency: Urgency,
    max_tokens: usize,
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

impl Sequence<'_> {
    fn is_generating(&self) -> bool {
        self.ids.len() > self.prompt_tokens
    }
}

impl LoadedModel {
    /// Begins to generate with an adapter; requests are added to what it gives.
    ///
    /// # Errors
    /// [`EngineError::Adapter`] when the adapter is of another base.
    pub fn session<'a>(&'a self, adapter: Option<&'a Adapter>) -> Result<Session<'a>, EngineError> {
        let updates = self.language_updates_of(adapter)?;
        Ok(Session {
            model: self,
            updates,
            virtual_ids: self.virtual_ids(updates),
            waiting: VecDeque::new(),
            active: Vec::new(),
            caches: Vec::new(),
            retired: None,
            added: 0,
            finished: VecDeque::new(),
            forms: Forms::default(),
            batch: Batch::default(),
            buffers: Buffers::default(),
        })
    }
}

impl Session<'_> {
    /// Adds a request and gives its number: they count from 0.
    ///
    /// # Errors
    /// As [`LoadedModel::generate`]; what was added before is not touched.
    pub fn add(
        &mut self,
        request: GenerateRequest,
        urgency: Urgency,
    ) -> Result<usize, EngineError> {
        let number = self.added;
        let encoded = self.model.encode_prompt(&request)?;
        let prompt = [self.virtual_ids.as_slice(), &encoded].concat();
        let forms = &mut self.forms;
        let form = match &request.constraint {
            Some(constraint) => forms.get(self.model, constraint).map(Some),
            None => Ok(None),
        };
        let form = form.map_err(EngineError::Invalid)?;
        let has_room = prompt.len() < self.model.config.context_length;
        if !has_room || request.sampling.max_tokens == 0 {
            let completion = Completion {
                text: String::new(),
                finish: match has_room {
                    true => FinishReason::Length,
                    false => FinishReason::NoRoom,
                },
                prompt_tokens: encoded.len() as u32,
                completion_tokens: 0,
                logprobs: Vec::new(),
            };
            self.finished.push_back((number, completion));
            self.added += 1;
            return Ok(number);
        }
        self.model
            .check_length(self.model.positions(&prompt, &request))?;
        self.added += 1;
        let place = match urgency {
            Urgency::Urgent => self
                .waiting
                .partition_point(|waiting| waiting.urgency == Urgency::Urgent),
            Urgency::Ordinary => self.waiting.len(),
        };
        let waiting = Waiting {
            number,
            urgency,
            request,
            prompt,
            form,
        };
        self.waiting.insert(place, waiting);
        Ok(number)
    }

    /// Lets go of a request that nobody wants any more; a finished one is finished.
    pub fn abandon(&mut self, number: usize) {
        self.waiting.retain(|waiting| waiting.number != number);
        if let Some(index) = self
            .active
            .iter()
            .position(|sequence| sequence.number == number)
        {
            self.active.remove(index);
            self.caches.remove(index);
        }
    }

    /// Tells whether nothing is left to compute.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.active.is_empty()
    }

    /// Takes the number and completion of a finished request.
    pub fn take_finished(&mut self) -> Option<(usize, Completion)> {
        self.finished.pop_front()
    }

    /// Makes one pass: the next token of every sequence at work.
    ///
    /// # Errors
    /// [`EngineError::Memory`] when not even one sequence fits.
    pub fn step(&mut self, observer: &mut dyn GenerateObserver) -> Result<(), EngineError> {
        self.admit()?;
        if self.active.is_empty() {
            return Ok(());
        }
        let (mut batch, mut buffers) = (
            std::mem::take(&mut self.batch),
            std::mem::take(&mut self.buffers),
        );
        let wanted = self.fill(&mut batch)?;
        let chosen = self.choose(&batch, &wanted, &mut buffers);
        (self.batch, self.buffers) = (batch, buffers);
        self.grow(&wanted, &chosen?, observer);
        self.retire();
        Ok(())
    }

    /// Works everything off.
    pub(super) fn finish(
        &mut self,
        observer: &mut dyn GenerateObserver,
        interrupt: &Interrupt,
    ) -> Result<(), EngineError> {
        while !self.is_idle() {
            if interrupt.is_raised() {
                return Err(EngineError::Interrupted);
            }
            self.step(observer)?;
        }
        Ok(())
    }

    /// Lets waiting requests join while there is room.
    fn admit(&mut self) -> Result<(), EngineError> {
        let budget = self.model.cache_budget();
        while let Some(next) = self.waiting.front() {
            let most = match next.urgency {
                Urgency::Urgent if !self.model.decoder.is_foreign() => {
                    self.model.max_sequences() + URGENT_SEQUENCES
                }
                Urgency::Urgent | Urgency::Ordinary => self.model.max_sequences(),
            };
            if self.active.len() >= most {
                return Ok(());
            }
            let positions = self.model.positions(&next.prompt, &next.request);
            let needed = self.model.decoder.cache_bytes(positions);
            let used: usize = self.caches.iter().map(SequenceCache::bytes).sum();
            let retired = self.retired.as_ref().map_or(0, |(_, cache)| cache.bytes());
            if used + retired + needed > budget {
                self.retired = None;
                if !self.active.is_empty() && used + needed > budget {
                    return Ok(());
                }
            }
            let cache = self.model.decoder.new_cache(positions)?;
            let Some(next) = self.waiting.pop_front() else {
                return Ok(());
            };
            self.join(next, cache)?;
        }
        Ok(())
    }

    fn join(&mut self, waiting: Waiting, cache: SequenceCache) -> Result<(), EngineError> {
        let Waiting {
            number,
            urgency,
            request,
            prompt,
            form,
        } = waiting;
        let place = match urgency {
            Urgency::Urgent => self
                .active
                .partition_point(|sequence| sequence.urgency == Urgency::Urgent),
            Urgency::Ordinary => self.active.len(),
        };
        let sampling = &request.sampling;
        // Where a form decides what may come, it decides over ends too.
        let early_end = match form {
            Some(_) => Vec::new(),
            None => self.model.tokenizer.encode(&sampling.early_end)?,
        };
        let sequence = Sequence {
            number,
            urgency,
            max_tokens: sampling.max_tokens as usize,
            // Those before it are no tokens that can be chosen.
            sampler: Sampler::new(
                self.model,
                &request,
                form,
                early_end,
                &prompt[self.virtual_ids.len()..],
            ),
            stream: TextStream::new(&self.model.tokenizer, self.model.stops(&request)),
            prompt_tokens: prompt.len(),
            ids: prompt,
            computed: 0,
            settled: 0,
            finish: None,
        };
        self.active.insert(place, sequence);
        self.caches.insert(place, cache);
        Ok(())
    }

    /// Puts the next tokens in the batch; tells which sequences get a new token from it, in order of their logits.
    fn fill(&mut self, batch: &mut Batch) -> Result<Vec<usize>, EngineError> {
        batch.clear();
        let mut wanted = Vec::new();
        let mut order: Vec<usize> = (0..self.active.len()).collect();
        // Stable, so that within a kind the first come go first.
        order.sort_by_key(|index| {
            let sequence = &self.active[*index];
            (!sequence.is_generating(), sequence.urgency)
        });
        for index in order {
            let room = MAX_BATCH_TOKENS - batch.ids.len();
            if room == 0 {
                break;
            }
            if self.active[index].computed == 0 && !self.share_prefix(index)? {
                continue;
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
        Ok(wanted)
    }

    /// Copies the longest beginning that a computed sequence shares with this one; tells whether to go on from there,
    /// or to wait for a sequence at work that will soon have more of it.
    ///
    /// A position's keys and values depend on the tokens up to it alone, so the copy equals what would be computed.
    fn share_prefix(&mut self, index: usize) -> Result<bool, EngineError> {
        if self.model.decoder.is_foreign() {
            return Ok(true);
        }
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
        let others = || {
            let others = self.active.iter().enumerate();
            others.filter(|(other, _)| *other != index)
        };
        // Positions that this very batch computes are not there yet: only those of earlier batches are offered.
        let settled =
            others().map(|(other, donor)| (common(&donor.ids[..donor.settled]), Some(other)));
        let retired = self.retired.iter().map(|(ids, _)| (common(ids), None));
        let found = settled.chain(retired).max_by_key(|(shared, _)| *shared);
        let (shared, donor) = found.unwrap_or_default();
        // A prompt that was begun goes on in every pass, so that nobody waits for one who waits.
        let begun = others().filter(|(_, other)| other.computed > 0 && !other.is_generating());
        let soon = begun.map(|(_, other)| common(&other.ids)).max();
        if soon.unwrap_or(0) >= shared + LEAST_SHARED_TOKENS {
            return Ok(false);
        }
        if shared < LEAST_SHARED_TOKENS {
            return Ok(true);
        }
        match donor {
            Some(donor) => {
                let [to, from] = self
                    .caches
                    .get_disjoint_mut([index, donor])
                    .expect("two sequences");
                to.copy_prefix(from, shared)?;
            }
            None => {
                let (_, from) = self.retired.as_ref().expect("the donor was found there");
                self.caches[index].copy_prefix(from, shared)?;
            }
        }
        self.active[index].computed = shared;
        Ok(true)
    }

    /// Runs the batch and chooses the next token of each wanted sequence.
    fn choose(
        &mut self,
        batch: &Batch,
        wanted: &[usize],
        buffers: &mut Buffers,
    ) -> Result<Vec<Choice>, EngineError> {
        let model = self.model;
        let mut caches: Vec<&mut SequenceCache> = self.caches.iter_mut().collect();
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
            self.updates,
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
                observer.token(sequence.number);
                let generated = sequence.ids.len() - sequence.prompt_tokens;
                let is_full = generated >= sequence.max_tokens
                    || sequence.ids.len() >= self.model.config.context_length;
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
                observer.piece(sequence.number, piece);
            }
        }
    }

    /// Lets finished sequences go.
    fn retire(&mut self) {
        let over = |sequence: &Sequence<'_>| sequence.finish.is_some();
        while let Some(index) = self.active.iter().position(over) {
            let sequence = self.active.remove(index);
            let cache = self.caches.remove(index);
            let finish = sequence.finish.expect("found by it");
            let completion = Completion {
                text: sequence.stream.finish(),
                finish,
                prompt_tokens: (sequence.prompt_tokens - self.virtual_ids.len()) as u32,
                completion_tokens: (sequence.ids.len() - sequence.prompt_tokens) as u32,
                logprobs: sequence.sampler.into_logprobs(),
            };
            self.finished.push_back((sequence.number, completion));
            let mut ids = sequence.ids;
            ids.truncate(sequence.computed);
            self.retired = Some((ids, cache));
        }
    }
}
