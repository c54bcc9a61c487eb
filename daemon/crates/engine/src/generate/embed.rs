//! Texts as vectors by a generator, for languages that no encoder at hand knows: the mean of the last hidden states over a text's
//! tokens, or the state of its last token alone.

use autodidact_domain::embedding::normalized;
use autodidact_domain::{EmbedReport, Embeddings, Interrupt, Prompt};

use crate::engine::LoadedModel;
use crate::{Adapter, EngineError};

/// Puts a state into the vector of a text, which is told by its number.
type Take<'a> = &'a mut dyn FnMut(usize, &mut [f32], &[f32]);

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
        let mut counts = vec![0u32; texts.len()];
        let mut add = |index: usize, sum: &mut [f32], state: &[f32]| {
            sum.iter_mut().zip(state).for_each(|(sum, x)| *sum += x);
            counts[index] += 1;
        };
        let mut embeddings = self.pool(adapter, texts, &mut add, between, interrupt)?;
        for (vector, count) in embeddings.vectors.iter_mut().zip(counts) {
            let mut mean = std::mem::take(vector);
            mean.iter_mut().for_each(|x| *x /= count as f32);
            *vector = normalized(mean);
        }
        Ok(embeddings)
    }

    /// Makes a vector of length 1 of each text as [`LoadedModel::embed`] does, of the state of its last token alone.
    ///
    /// # Errors
    /// As [`LoadedModel::embed`].
    pub fn embed_last(
        &self,
        adapter: Option<&Adapter>,
        texts: &[String],
        between: &mut dyn FnMut(),
        interrupt: &Interrupt,
    ) -> Result<Embeddings, EngineError> {
        // A text's states come in the order of its tokens.
        let mut replace = |_: usize, last: &mut [f32], state: &[f32]| last.copy_from_slice(state);
        let mut embeddings = self.pool(adapter, texts, &mut replace, between, interrupt)?;
        for vector in &mut embeddings.vectors {
            *vector = normalized(std::mem::take(vector));
        }
        Ok(embeddings)
    }

    /// Lets `take` put every state, told with its text's number, into the text's vector, which begins as zeros.
    fn pool(
        &self,
        adapter: Option<&Adapter>,
        texts: &[String],
        take: Take<'_>,
        between: &mut dyn FnMut(),
        interrupt: &Interrupt,
    ) -> Result<Embeddings, EngineError> {
        let report = self.embed_report(texts)?;
        let mut embeddings = Embeddings {
            vectors: vec![vec![0.0; self.config.hidden_size]; texts.len()],
            tokens: report.tokens,
            unknown_tokens: report.unknown_tokens,
        };
        let mut lay_out = |index: usize| self.text_ids(index, &texts[index]);
        let mut hear = |index: usize, _: usize, state: &[f32]| {
            take(index, &mut embeddings.vectors[index], state);
        };
        let texts = (texts.len(), &mut lay_out as _);
        self.states(adapter, texts, &mut hear, between, interrupt)?;
        Ok(embeddings)
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
