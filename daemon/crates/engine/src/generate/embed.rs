//! Texts as vectors by a generator: the mean of the last hidden states over a text's tokens, for languages that no
//! encoder at hand knows.

use autodidact_domain::embedding::normalized;
use autodidact_domain::{EmbedReport, Embeddings, Interrupt, Prompt};

use super::MAX_SEQUENCES;
use crate::engine::LoadedModel;
use crate::runtime::{Batch, Buffers, MAX_BATCH_TOKENS, SequenceCache};
use crate::{Adapter, EngineError};

/// One text at work.
struct Text {
    index: usize,
    /// Virtual tokens first, whose states do not count.
    ids: Vec<u32>,
    virtual_tokens: usize,
    computed: usize,
    /// The states of the tokens computed so far, added up in their order.
    sum: Vec<f32>,
}

/// Tokens of a batch that belong to one text.
struct Part {
    active: usize,
    count: usize,
}

impl LoadedModel {
    /// Makes a vector of length 1 of each text, in their order, by the states over the last norm. What is beyond the
    /// model's context is cut off. A text's vector is bitwise independent of the others.
    ///
    /// `between` is called between the passes, so that the caller's thread can see to other things.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] for a text without tokens and for an adapter of another base, [`EngineError::Tokenizer`]
    /// when a text cannot be split, [`EngineError::Memory`] where there is no room for a text's states,
    /// [`EngineError::Interrupted`] when interrupted.
    pub fn embed(
        &self,
        adapter: Option<&Adapter>,
        texts: &[String],
        between: &mut dyn FnMut(),
        interrupt: &Interrupt,
    ) -> Result<Embeddings, EngineError> {
        let updates = self.updates_of(adapter)?;
        let virtual_ids = self.virtual_ids(updates);
        let hidden = self.config.hidden_size;
        let budget = self.cache_budget();
        let report = self.embed_report(texts)?;
        let mut embeddings = Embeddings {
            vectors: vec![Vec::new(); texts.len()],
            tokens: report.tokens,
            unknown_tokens: report.unknown_tokens,
        };
        let mut waiting = 0;
        let (mut active, mut caches) = (Vec::<Text>::new(), Vec::<SequenceCache>::new());
        let (mut batch, mut buffers) = (Batch::default(), Buffers::default());
        loop {
            while waiting < texts.len() && active.len() < MAX_SEQUENCES {
                let text = self.text_ids(waiting, &texts[waiting])?;
                let mut ids = [virtual_ids.as_slice(), &text].concat();
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
                    sum: vec![0.0; hidden],
                });
                waiting += 1;
            }
            if active.is_empty() {
                return Ok(embeddings);
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
                let sum = &mut active[part.active].sum;
                for state in states.by_ref().take(part.count) {
                    sum.iter_mut().zip(state).for_each(|(sum, x)| *sum += x);
                }
            }
            for place in (0..active.len()).rev() {
                if active[place].computed == active[place].ids.len() {
                    let Text {
                        index,
                        ids,
                        virtual_tokens,
                        mut sum,
                        ..
                    } = active.remove(place);
                    let tokens = (ids.len() - virtual_tokens) as f32;
                    sum.iter_mut().for_each(|x| *x /= tokens);
                    embeddings.vectors[index] = normalized(sum);
                    caches.remove(place);
                }
            }
            between();
        }
    }

    /// Counts the texts' tokens and those unknown to the vocabulary, without computing vectors.
    ///
    /// # Errors
    /// [`EngineError::Tokenizer`] when a text cannot be split.
    pub fn embed_report(&self, texts: &[String]) -> Result<EmbedReport, EngineError> {
        let mut report = EmbedReport::default();
        for text in texts {
            let ids = self.tokenizer.encode(text)?;
            let ids = &ids[..ids.len().min(self.config.context_length)];
            report.tokens += ids.len() as u64;
            // Plain text never encodes to special tokens, save the one for what the vocabulary lacks.
            let unknown = ids.iter().filter(|id| self.tokenizer.is_special(**id));
            report.unknown_tokens += unknown.count() as u64;
        }
        Ok(report)
    }

    fn text_ids(&self, index: usize, text: &str) -> Result<Vec<u32>, EngineError> {
        let mut ids = self.encode(&Prompt::Text(text.to_string()))?;
        ids.truncate(self.config.context_length);
        if ids.is_empty() {
            return Err(EngineError::Invalid(format!(
                "text {index} is empty, so there is no vector of it; leave empty texts out"
            )));
        }
        Ok(ids)
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
            count: count - unwanted,
        });
        text.computed += count;
    }
    parts
}
