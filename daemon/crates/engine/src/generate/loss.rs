//! How well a model predicts given answers: the forward pass that generates, with logits of the answers' tokens only.

use autodidact_domain::generation::ResponseLoss;
use autodidact_domain::{Interrupt, Message};

use super::CACHE_BUDGET_BYTES;
use crate::engine::LoadedModel;
use crate::kernels::log_sum_exp;
use crate::runtime::cache::KvCache;
use crate::runtime::{Batch, Buffers, MAX_BATCH_TOKENS};
use crate::{Adapter, EngineError};

/// One conversation being scored.
struct Scored {
    conversation: usize,
    ids: Vec<u32>,
    is_response: Vec<bool>,
    computed: usize,
}

impl LoadedModel {
    /// Measures how well the model predicts each conversation's assistant turns, their end-of-turn tokens included.
    ///
    /// Conversations longer than the model's context are scored up to it. A conversation's result is bitwise independent
    /// of the others.
    ///
    /// # Errors
    /// [`EngineError::Template`] where a conversation cannot be laid out, [`EngineError::Invalid`] for an adapter of
    /// another base, [`EngineError::Interrupted`] when interrupted.
    pub fn response_loss(
        &self,
        adapter: Option<&Adapter>,
        conversations: &[Vec<Message>],
        interrupt: &Interrupt,
    ) -> Result<Vec<ResponseLoss>, EngineError> {
        let lora = self.lora_of(adapter)?;
        let shape = self.cache_shape();
        let mut losses = vec![
            ResponseLoss {
                negative_log_likelihood: 0.0,
                tokens: 0
            };
            conversations.len()
        ];
        let mut waiting = 0;
        let (mut active, mut caches) = (Vec::<Scored>::new(), Vec::<KvCache>::new());
        let (mut batch, mut buffers) = (Batch::default(), Buffers::default());
        loop {
            while waiting < conversations.len() && active.len() < self.max_sequences() {
                let scored = self.lay_out(waiting, &conversations[waiting])?;
                let used: usize = caches.iter().map(KvCache::bytes).sum();
                if !active.is_empty() && used + shape.bytes(scored.ids.len()) > CACHE_BUDGET_BYTES {
                    break;
                }
                waiting += 1;
                if scored
                    .is_response
                    .iter()
                    .skip(1)
                    .any(|is_response| *is_response)
                {
                    caches.push(KvCache::new(shape, scored.ids.len())?);
                    active.push(scored);
                }
            }
            if active.is_empty() {
                return Ok(losses);
            }
            if interrupt.is_raised() {
                return Err(EngineError::Interrupted);
            }
            let targets = fill(&mut active, &mut batch);
            let mut shared: Vec<&mut KvCache> = caches.iter_mut().collect();
            self.decoder.forward(
                &self.team,
                &batch,
                &mut shared,
                lora,
                &mut buffers,
                &mut |first, logits| {
                    for (row, (conversation, id)) in logits
                        .chunks_exact(self.config.vocab_size)
                        .zip(&targets[first..])
                    {
                        let loss = &mut losses[*conversation];
                        loss.negative_log_likelihood +=
                            log_sum_exp(self.team.isa(), row) - f64::from(row[*id as usize]);
                        loss.tokens += 1;
                    }
                },
            )?;
            for index in (0..active.len()).rev() {
                if active[index].computed + 1 >= active[index].ids.len() {
                    active.remove(index);
                    caches.remove(index);
                }
            }
        }
    }

    fn lay_out(&self, conversation: usize, messages: &[Message]) -> Result<Scored, EngineError> {
        let (mut ids, mut is_response) = (Vec::new(), Vec::new());
        for span in self.conversation_spans(messages, false)? {
            is_response.resize(is_response.len() + span.ids.len(), span.is_response);
            ids.extend(span.ids);
        }
        ids.truncate(self.config.context_length);
        is_response.truncate(self.config.context_length);
        // What follows the last response is predicted by nobody and predicts nothing that counts.
        let end = is_response
            .iter()
            .rposition(|is_response| *is_response)
            .map_or(0, |last| last + 1);
        ids.truncate(end);
        is_response.truncate(end);
        Ok(Scored {
            conversation,
            ids,
            is_response,
            computed: 0,
        })
    }
}

/// Puts the next tokens in the batch; tells conversation and next token of each whose logits are wanted.
fn fill(active: &mut [Scored], batch: &mut Batch) -> Vec<(usize, u32)> {
    batch.clear();
    let mut targets = Vec::new();
    for (index, scored) in active.iter_mut().enumerate() {
        // The last token is only predicted.
        let left = scored.ids.len() - 1 - scored.computed;
        let count = left.min(MAX_BATCH_TOKENS - batch.ids.len());
        if count == 0 {
            break;
        }
        let from = scored.computed;
        let at = batch.push(index, &scored.ids[from..from + count], from);
        for offset in 0..count {
            if scored.is_response[from + offset + 1] {
                batch.wanted.push(at + offset);
                targets.push((scored.conversation, scored.ids[from + offset + 1]));
            }
        }
        scored.computed += count;
    }
    targets
}
