//! Vectors of instructions: by an encoder, or by what a generator is about to say when it is asked for their keyword.

use autodidact_domain::{EmbedderRef, Language, ModelRef, ModelSummary};

use super::frame::Frame;
use crate::embedders::choose_embedder;
use crate::error::FlowError;
use crate::journaled::Run;
use crate::prompts::{keyword_request, show_prompt};

/// Makes the vectors of a language's instructions.
#[derive(Clone)]
pub(super) struct VectorMaker {
    embedder: EmbedderRef,
    language: Language,
    /// What a generator's vectors are seen in.
    frame: Option<Frame>,
}

impl VectorMaker {
    /// Takes a registered model.
    pub(super) fn of(model: &ModelSummary, language: Language) -> Self {
        let embedder = match EmbedderRef::of(model) {
            // A server embeds by itself.
            EmbedderRef::Generator(generator) if !model.is_remote() => {
                EmbedderRef::LastState(generator)
            }
            other => other,
        };
        Self {
            embedder,
            language,
            frame: None,
        }
    }

    /// Takes what the configuration has for the language, or the first encoder that knows the texts, or the workflow's generator.
    pub(super) fn choose(
        run: &Run,
        language: Language,
        texts: &[String],
    ) -> Result<Self, FlowError> {
        let ports = &run.ports;
        let generator = ModelRef {
            model: run.spec().model.clone(),
            adapter: None,
        };
        let embedder = choose_embedder(ports, language, &generator, texts, &run.interrupt)?;
        Ok(Self::of(&ports.models.get(embedder.model())?, language))
    }

    pub(super) fn embedder(&self) -> &EmbedderRef {
        &self.embedder
    }

    /// Learns the frame from texts that people wrote to be different; gives their vectors.
    ///
    /// A generator's vectors have the most in common with each other, whatever they say; an encoder was trained not to.
    pub(super) fn learn(
        &mut self,
        run: &Run,
        texts: Vec<String>,
    ) -> Result<Vec<Vec<f32>>, FlowError> {
        self.frame = None;
        let vectors = self.vectors(run, texts)?;
        if let EmbedderRef::LastState(_) = self.embedder {
            self.frame = Frame::of(&vectors);
        }
        Ok(self.seen(vectors))
    }

    /// Makes the vectors of texts, each of length 1.
    pub(super) fn vectors(
        &self,
        run: &Run,
        texts: Vec<String>,
    ) -> Result<Vec<Vec<f32>>, FlowError> {
        let texts = match self.embedder {
            EmbedderRef::LastState(_) => texts
                .iter()
                .map(|text| show_prompt(&keyword_request(self.language, text)))
                .collect(),
            EmbedderRef::Encoder(_) | EmbedderRef::Generator(_) => texts,
        };
        let engine = &run.ports.engine;
        let vectors = engine.embed(&self.embedder, texts, &run.interrupt)?.vectors;
        Ok(self.seen(vectors))
    }

    fn seen(&self, vectors: Vec<Vec<f32>>) -> Vec<Vec<f32>> {
        match &self.frame {
            Some(frame) => vectors.iter().map(|vector| frame.seen(vector)).collect(),
            None => vectors,
        }
    }
}
