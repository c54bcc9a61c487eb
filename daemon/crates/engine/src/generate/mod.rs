//! Generation: requests in, completions out, as many sequences at once as memory allows.

mod embed;
mod loss;
mod sampler;
mod schedule;

use autodidact_domain::{Completion, GenerateRequest, Interrupt, Prompt};

use crate::engine::LoadedModel;
use crate::runtime::cache::CacheShape;
use crate::{Adapter, EngineError};

/// Sequences computed at once: beyond this, throughput hardly grows and memory does.
const MAX_SEQUENCES: usize = 32;
/// What the caches of all sequences may take together; one sequence alone may take more.
const CACHE_BUDGET_BYTES: usize = 768 << 20;

/// Is told what happens while completions grow. Both methods do nothing unless implemented.
pub trait GenerateObserver {
    /// Hears how many tokens were generated since the last call.
    fn tokens(&mut self, count: u64) {
        let _ = count;
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
    /// A completion depends on its own request alone, bit for bit, whatever the others are. A prompt that fills the
    /// whole context gives an empty completion that ended for its length.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] for sampling options out of range, an empty prompt or an adapter of another base;
    /// [`EngineError::Template`] where a conversation cannot be laid out; [`EngineError::Interrupted`] when interrupted,
    /// between tokens; [`EngineError::Memory`] when not even one sequence fits.
    pub fn generate(
        &self,
        adapter: Option<&Adapter>,
        requests: &[GenerateRequest],
        observer: &mut dyn GenerateObserver,
        interrupt: &Interrupt,
    ) -> Result<Vec<Completion>, EngineError> {
        let lora = self.lora_of(adapter)?;
        let prompts = requests
            .iter()
            .enumerate()
            .map(|(index, request)| self.encode_prompt(index, request));
        let prompts = prompts.collect::<Result<Vec<_>, _>>()?;
        schedule::Schedule::new(self, lora, requests, prompts).run(observer, interrupt)
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

    fn encode_prompt(
        &self,
        index: usize,
        request: &GenerateRequest,
    ) -> Result<Vec<u32>, EngineError> {
        sampler::check(&request.sampling)
            .map_err(|fault| EngineError::Invalid(format!("request {index}: {fault}")))?;
        let ids = self.encode(&request.prompt)?;
        if ids.is_empty() {
            return Err(EngineError::Invalid(format!(
                "request {index}: the prompt is empty"
            )));
        }
        Ok(ids)
    }

    fn cache_shape(&self) -> CacheShape {
        CacheShape::of(&self.config)
    }
}
