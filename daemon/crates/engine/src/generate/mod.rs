//! Generation: requests in, completions out, as many sequences at once as memory allows.

mod classify;
mod constraint;
mod embed;
mod loss;
mod measure;
mod sampler;
mod session;
mod states;

pub use measure::GenerateTimes;
pub use session::{Session, Urgency};

use autodidact_domain::{Completion, GenerateRequest, Interrupt, Prompt};

pub(crate) use constraint::{Grammars, check_constraint};

use crate::engine::LoadedModel;
use crate::memory::Need;
use crate::tokenizer::ChatTemplate;
use crate::{Adapter, EngineError};

/// Sequences computed at once: beyond this, throughput hardly grows and memory does.
const MAX_SEQUENCES: usize = 32;
/// What the caches of all sequences may take together; one sequence alone may take more.
const CACHE_BUDGET_BYTES: usize = 768 << 20;

/// Is told what happens while completions grow. Both methods do nothing unless implemented.
pub trait GenerateObserver {
    /// Hears that a request has one more token.
    fn token(&mut self, request: usize) {
        let _ = request;
    }

    /// Hears the next piece of a request's text: whole characters, and never a part of a stop text.
    fn piece(&mut self, request: usize, text: &str) {
        let _ = (request, text);
    }
}

/// Observes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl GenerateObserver for Silent {}

impl LoadedModel {
    /// Continues every prompt; completions come in the order of the requests.
    ///
    /// With a constraint, a completion that does not end for its length or at a stop text is a whole text of that form.
    /// A completion depends on its own request alone, bit for bit, whatever the others are. A prompt that fills the
    /// whole context gives an empty completion that ended for want of room.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] for sampling options out of range, a constraint that cannot be compiled or that no text
    /// fulfils, an empty prompt or an adapter of another base;
    /// [`EngineError::Template`] where a conversation cannot be laid out; [`EngineError::Interrupted`] when interrupted,
    /// between tokens; [`EngineError::Memory`], before any work, for a request that there is no room for.
    pub fn generate(
        &self,
        adapter: Option<&Adapter>,
        requests: &[GenerateRequest],
        observer: &mut dyn GenerateObserver,
        interrupt: &Interrupt,
    ) -> Result<Vec<Completion>, EngineError> {
        let mut session = self.session(adapter)?;
        for (index, request) in requests.iter().enumerate() {
            session
                .add(request.clone(), Urgency::Ordinary)
                .map_err(|error| error.of_request(index))?;
        }
        session.finish(observer, interrupt)?;
        let mut completions: Vec<(usize, Completion)> =
            std::iter::from_fn(|| session.take_finished()).collect();
        completions.sort_by_key(|(number, _)| *number);
        Ok(completions
            .into_iter()
            .map(|(_, completion)| completion)
            .collect())
    }

    /// Lays out and encodes a prompt as generation does.
    ///
    /// # Errors
    /// As [`LoadedModel::generate`].
    pub fn encode(&self, prompt: &Prompt) -> Result<Vec<u32>, EngineError> {
        match prompt {
            Prompt::Text(text) => {
                let mut ids: Vec<u32> = self
                    .config
                    .bos_id
                    .filter(|_| self.config.add_bos)
                    .into_iter()
                    .collect();
                ids.extend(self.tokenizer.encode(text)?);
                Ok(ids)
            }
            Prompt::Chat(messages) => Ok(self
                .conversation_spans(messages, true)?
                .into_iter()
                .flat_map(|span| span.ids)
                .collect()),
        }
    }

    fn encode_prompt(&self, request: &GenerateRequest) -> Result<Vec<u32>, EngineError> {
        sampler::check(request, self.config.vocab_size).map_err(EngineError::Invalid)?;
        let ids = self.encode(&request.prompt)?;
        if ids.is_empty() {
            return Err(EngineError::Invalid("the prompt is empty".to_string()));
        }
        Ok(ids)
    }

    /// Lists what ends a completion's text.
    fn stops(&self, request: &GenerateRequest) -> Vec<String> {
        let next_turn = match &request.prompt {
            Prompt::Chat(_) => self.template.as_ref().and_then(ChatTemplate::next_turn),
            Prompt::Text(_) => None,
        };
        let mut stops = request.sampling.stop.clone();
        stops.extend(next_turn.map(String::from));
        stops
    }

    /// Refuses a sequence whose keys and values there is no room for, whatever else is at work.
    fn check_length(&self, positions: usize) -> Result<(), EngineError> {
        let need = Need {
            what: format!("a sequence of {positions} tokens"),
            parts: &[("keys and values", self.decoder.host_cache_bytes(positions))],
            advice: "shorten the prompt, ask for fewer new tokens, or make more memory available",
        };
        need.check(self.room.bytes())
    }

    /// Tells how many positions a request's sequence may come to have.
    fn positions(&self, prompt: &[u32], request: &GenerateRequest) -> usize {
        let new = request.sampling.max_tokens as usize;
        let most = prompt.len().saturating_add(new);
        most.min(self.config.context_length)
    }

    /// Tells how many bytes the caches of all sequences may take together.
    pub fn cache_budget(&self) -> usize {
        let room = usize::try_from(self.room.bytes()).unwrap_or(usize::MAX);
        match self.decoder.is_on_device() {
            true => CACHE_BUDGET_BYTES,
            false => CACHE_BUDGET_BYTES.min(room),
        }
    }

    /// Tells how many sequences are computed at once.
    fn max_sequences(&self) -> usize {
        match self.decoder.is_foreign() {
            true => 1,
            false => MAX_SEQUENCES,
        }
    }
}
