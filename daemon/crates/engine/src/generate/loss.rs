//! How well a model predicts given answers: the forward pass that generates, with logits of the answers' tokens only.

use autodidact_domain::{Interrupt, Message, Prompt, ResponseLoss, ScoreRequest};

use crate::engine::LoadedModel;
use crate::kernels::log_sum_exp;
use crate::runtime::{Batch, Buffers, MAX_BATCH_TOKENS, SequenceCache};
use crate::{Adapter, EngineError};

/// One row being scored.
#[derive(Default)]
struct Scored {
    row: usize,
    ids: Vec<u32>,
    is_response: Vec<bool>,
    computed: usize,
}

impl LoadedModel {
    /// Measures how well the model predicts each conversation's assistant turns, their end-of-turn tokens included.
    ///
    /// Conversations longer than the model's context are scored up to it. A conversation's result is bitwise independent
    /// of the others. `between` is called between the passes, so that the caller's thread can see to other things.
    ///
    /// # Errors
    /// [`EngineError::Template`] where a conversation cannot be laid out, [`EngineError::Invalid`] for an adapter of
    /// another base, [`EngineError::Memory`] where there is no room for a conversation's states,
    /// [`EngineError::Interrupted`] when interrupted.
    pub fn response_loss(
        &self,
        adapter: Option<&Adapter>,
        conversations: &[Vec<Message>],
        between: &mut dyn FnMut(),
        interrupt: &Interrupt,
    ) -> Result<Vec<ResponseLoss>, EngineError> {
        let mut lay_out = |row: usize| {
            let scored = self.lay_out(&conversations[row]);
            let mut scored = scored.map_err(|error| error.of("conversation", row))?;
            scored.truncate(self.config.context_length);
            Ok(scored)
        };
        self.losses(
            adapter,
            conversations.len(),
            &mut lay_out,
            between,
            interrupt,
        )
    }

    /// Measures how well the model predicts each request's continuation.
    ///
    /// After plain text, the continuation's tokens follow the prompt's: both are encoded on their own, as when the model
    /// had generated the one after the other, and no end of the text is counted. After a conversation, the continuation is
    /// the assistant's whole next turn, laid out by the chat template, its end-of-turn token included. A result is bitwise
    /// independent of the others. `between` is called between the passes.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] for an empty prompt, for what the context cannot hold and for an adapter of another base,
    /// before any work, and [`EngineError::Memory`] so too for what the memory cannot; [`EngineError::Template`] where a conversation cannot be laid out, [`EngineError::Interrupted`]
    /// when interrupted.
    pub fn score(
        &self,
        adapter: Option<&Adapter>,
        requests: &[ScoreRequest],
        between: &mut dyn FnMut(),
        interrupt: &Interrupt,
    ) -> Result<Vec<ResponseLoss>, EngineError> {
        let before = self.virtual_ids(self.language_updates_of(adapter)?).len();
        let rows = requests.iter().enumerate();
        let rows = rows.map(|(index, request)| {
            let scored = self.lay_out_request(request, before);
            scored.map_err(|error| error.of_request(index))
        });
        let mut rows = rows.collect::<Result<Vec<_>, _>>()?;
        let mut lay_out = |row: usize| Ok(std::mem::take(&mut rows[row]));
        self.losses(adapter, requests.len(), &mut lay_out, between, interrupt)
    }

    /// Scores as many rows at once as memory allows; they are laid out when their turn comes.
    fn losses(
        &self,
        adapter: Option<&Adapter>,
        rows: usize,
        lay_out: &mut dyn FnMut(usize) -> Result<Scored, EngineError>,
        between: &mut dyn FnMut(),
        interrupt: &Interrupt,
    ) -> Result<Vec<ResponseLoss>, EngineError> {
        let updates = self.language_updates_of(adapter)?;
        let virtual_ids = self.virtual_ids(updates);
        let budget = self.cache_budget();
        let mut losses = vec![
            ResponseLoss {
                negative_log_likelihood: 0.0,
                tokens: 0,
                prompt_tokens: 0,
            };
            rows
        ];
        let mut waiting = 0;
        let mut next: Option<Scored> = None;
        let (mut active, mut caches) = (Vec::<Scored>::new(), Vec::<SequenceCache>::new());
        let (mut batch, mut buffers) = (Batch::default(), Buffers::default());
        loop {
            while active.len() < self.max_sequences() && (next.is_some() || waiting < rows) {
                let scored = match next.take() {
                    Some(scored) => scored,
                    None => {
                        waiting += 1;
                        let mut scored = lay_out(waiting - 1)?;
                        scored.row = waiting - 1;
                        scored.precede(&virtual_ids, self.config.context_length);
                        let given = scored.is_response.iter().filter(|is_one| !**is_one);
                        losses[scored.row].prompt_tokens = given.count() as u32;
                        scored
                    }
                };
                let used: usize = caches.iter().map(SequenceCache::bytes).sum();
                let needed = self.decoder.cache_bytes(scored.ids.len());
                if !active.is_empty() && used + needed > budget {
                    next = Some(scored);
                    break;
                }
                let mut predicted = scored.is_response.iter().skip(1);
                if predicted.any(|is_response| *is_response) {
                    self.check_length(scored.ids.len())?;
                    caches.push(self.decoder.new_cache(scored.ids.len())?);
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
            let mut shared: Vec<&mut SequenceCache> = caches.iter_mut().collect();
            self.decoder.forward(
                &self.team,
                &batch,
                &mut shared,
                updates,
                &mut buffers,
                &mut |first, logits| {
                    for (logits, (row, id)) in logits
                        .chunks_exact(self.config.vocab_size)
                        .zip(&targets[first..])
                    {
                        let loss = &mut losses[*row];
                        loss.negative_log_likelihood +=
                            log_sum_exp(self.team.isa(), logits) - f64::from(logits[*id as usize]);
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
            between();
        }
    }

    fn lay_out(&self, messages: &[Message]) -> Result<Scored, EngineError> {
        let mut scored = Scored::default();
        for span in self.conversation_spans(messages, false)? {
            scored.push(&span.ids, span.is_response);
        }
        Ok(scored)
    }

    fn lay_out_request(
        &self,
        request: &ScoreRequest,
        before: usize,
    ) -> Result<Scored, EngineError> {
        let mut scored = match &request.prompt {
            Prompt::Text(_) => {
                let mut scored = Scored::default();
                scored.push(&self.encode(&request.prompt)?, false);
                if scored.ids.is_empty() {
                    return Err(EngineError::Invalid("the prompt is empty".to_string()));
                }
                scored.push(&self.tokenizer.encode(&request.continuation)?, true);
                scored
            }
            Prompt::Chat(messages) => {
                let mut messages = messages.clone();
                messages.push(Message::assistant(request.continuation.as_str()));
                let mut scored = self.lay_out(&messages)?;
                scored.count_last_only();
                scored
            }
        };
        scored.truncate(usize::MAX);
        let (tokens, context) = (scored.ids.len() + before, self.config.context_length);
        if tokens > context {
            let virtual_tokens = match before {
                0 => String::new(),
                before => format!(", {before} virtual ones of the adapter among them"),
            };
            return Err(EngineError::Invalid(format!(
                "prompt and continuation have {tokens} tokens{virtual_tokens}, and the context holds {context}: shorten them"
            )));
        }
        self.check_length(tokens)?;
        Ok(scored)
    }
}

impl Scored {
    fn push(&mut self, ids: &[u32], is_response: bool) {
        self.ids.extend_from_slice(ids);
        self.is_response.resize(self.ids.len(), is_response);
    }

    /// Puts virtual tokens before the row, and cuts it where the context ends.
    fn precede(&mut self, virtual_ids: &[u32], context: usize) {
        if virtual_ids.is_empty() {
            return;
        }
        self.ids.splice(..0, virtual_ids.iter().copied());
        // The first token counts no more than without them.
        if let Some(first) = self.is_response.first_mut() {
            *first = false;
        }
        let flags = std::iter::repeat_n(false, virtual_ids.len());
        self.is_response.splice(..0, flags);
        self.truncate(context);
    }

    /// Leaves the last answer alone to be counted.
    fn count_last_only(&mut self) {
        let flags = &mut self.is_response;
        let end = flags.iter().rposition(|flag| *flag).map_or(0, |at| at + 1);
        let begin = flags[..end].iter().rposition(|flag| !*flag);
        flags[..begin.unwrap_or(0)].fill(false);
    }

    /// Cuts the row to a length, and behind the last answer: what follows is predicted by nobody and predicts nothing
    /// that counts.
    fn truncate(&mut self, length: usize) {
        self.is_response.truncate(length);
        let last = self.is_response.iter().rposition(|flag| *flag);
        let end = last.map_or(0, |at| at + 1);
        self.ids.truncate(end);
        self.is_response.truncate(end);
    }
}

/// Puts the next tokens in the batch; tells row and next token of each whose logits are wanted.
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
                targets.push((scored.row, scored.ids[from + offset + 1]));
            }
        }
        scored.computed += count;
    }
    targets
}
