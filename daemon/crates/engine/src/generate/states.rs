//! The states over the last norm of every token of many texts, which vectors and labels are made of.

use autodidact_domain::Interrupt;

use super::MAX_SEQUENCES;
use crate::engine::LoadedModel;
use crate::runtime::{Batch, Buffers, MAX_BATCH_TOKENS, SequenceCache};
use crate::{Adapter, EngineError};

/// Lays a text out as tokens, when its turn comes.
type LayOut<'a> = &'a mut dyn FnMut(usize) -> Result<Vec<u32>, EngineError>;

/// One text at work.
struct Text {
    index: usize,
    /// Virtual tokens first, whose states nobody hears of.
    ids: Vec<u32>,
    virtual_tokens: usize,
    computed: usize,
}

/// Tokens of a batch that belong to one text.
struct Part {
    active: usize,
    /// The first one's place in its text.
    first: usize,
    count: usize,
}

impl LoadedModel {
    /// Computes a number of texts, as many at once as memory allows; tells text, place and state `[hidden]` of every token. What is
    /// beyond the model's context is cut off. A state is bitwise independent of the other texts.
    ///
    /// `between` is called between the passes.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] for an adapter of another base, [`EngineError::Memory`] where there is no room for a text's states,
    /// [`EngineError::Interrupted`] when interrupted, and what laying a text out gives.
    pub(super) fn states(
        &self,
        adapter: Option<&Adapter>,
        (texts, lay_out): (usize, LayOut<'_>),
        hear: &mut dyn FnMut(usize, usize, &[f32]),
        between: &mut dyn FnMut(),
        interrupt: &Interrupt,
    ) -> Result<(), EngineError> {
        let updates = self.updates_of(adapter)?;
        let virtual_ids = self.virtual_ids(updates);
        let hidden = self.config.hidden_size;
        let budget = self.cache_budget();
        let mut waiting = 0;
        let (mut active, mut caches) = (Vec::<Text>::new(), Vec::<SequenceCache>::new());
        let (mut batch, mut buffers) = (Batch::default(), Buffers::default());
        loop {
            while waiting < texts && active.len() < MAX_SEQUENCES {
                let mut ids = [virtual_ids.as_slice(), &lay_out(waiting)?].concat();
                ids.truncate(self.config.context_length);
                let used: usize = caches.iter().map(SequenceCache::bytes).sum();
                if !active.is_empty() && used + self.decoder.cache_bytes(ids.len()) > budget {
                    break;
                }
                self.check_length(ids.len())?;
                caches.push(self.decoder.new_cache(ids.len())?);
                active.push(Text {
                    index: waiting,
                    ids,
                    virtual_tokens: virtual_ids.len(),
                    computed: 0,
                });
                waiting += 1;
            }
            if active.is_empty() {
                return Ok(());
            }
            if interrupt.is_raised() {
                return Err(EngineError::Interrupted);
            }
            let parts = fill(&mut active, &mut batch);
            let mut shared: Vec<&mut SequenceCache> = caches.iter_mut().collect();
            let mut states = self
                .decoder
                .hidden_states(&self.team, &batch, &mut shared, updates, &mut buffers)?
                .chunks_exact(hidden);
            for part in &parts {
                let places = part.first..part.first + part.count;
                for (place, state) in places.zip(states.by_ref()) {
                    hear(active[part.active].index, place, state);
                }
            }
            for place in (0..active.len()).rev() {
                if active[place].computed == active[place].ids.len() {
                    active.remove(place);
                    caches.remove(place);
                }
            }
            between();
        }
    }
}

/// Puts the next tokens in the batch; tells whose they are, in their order.
fn fill(active: &mut [Text], batch: &mut Batch) -> Vec<Part> {
    batch.clear();
    let mut parts = Vec::new();
    for (index, text) in active.iter_mut().enumerate() {
        let count = (text.ids.len() - text.computed).min(MAX_BATCH_TOKENS - batch.ids.len());
        if count == 0 {
            break;
        }
        let from = text.computed;
        let first = batch.push(index, &text.ids[from..from + count], from);
        let unwanted = text.virtual_tokens.saturating_sub(from).min(count);
        batch.wanted.extend(first + unwanted..first + count);
        parts.push(Part {
            active: index,
            first: (from + unwanted).saturating_sub(text.virtual_tokens),
            count: count - unwanted,
        });
        text.computed += count;
    }
    parts
}
