//! Embedding on the device thread: an encoder stays in memory beside the base, since it is small.

use std::path::Path;
use std::sync::Arc;

use autodidact_domain::embedding::is_encoder;
use autodidact_domain::{
    EmbedReport, EmbedderRef, Embeddings, Interrupt, ModelName, ModelRef, ModelSummary, PortError,
    PortResult,
};
use autodidact_engine::LoadedEncoder;

use super::device::{Device, check_digest};

/// The encoder in memory, with the digest it was registered with.
pub(super) struct ResidentEncoder {
    name: ModelName,
    digest: autodidact_domain::Digest,
    encoder: Arc<LoadedEncoder>,
}

impl Device {
    /// Makes vectors, serving people's short questions between passes.
    pub(super) fn embed(
        &mut self,
        embedder: &EmbedderRef,
        texts: &[String],
        interrupt: &Interrupt,
    ) -> PortResult<Embeddings> {
        match embedder {
            EmbedderRef::Encoder(name) => {
                let encoder = self.encoder(name)?;
                let resident = self.resident_name();
                let mut between = || {
                    if let Some(resident) = &resident {
                        self.serve_people(resident);
                    }
                };
                Ok(encoder.embed(texts, &mut between, interrupt)?)
            }
            EmbedderRef::Generator(wanted) => {
                let (model, adapter) = self.model_for_states(wanted)?;
                let mut between = || self.serve_people(&wanted.model);
                Ok(model.embed(adapter.as_deref(), texts, &mut between, interrupt)?)
            }
        }
    }

    /// Counts tokens and unknown ones.
    pub(super) fn embed_report(
        &mut self,
        embedder: &EmbedderRef,
        texts: &[String],
    ) -> PortResult<EmbedReport> {
        match embedder {
            EmbedderRef::Encoder(name) => Ok(self.encoder(name)?.report(texts)?),
            EmbedderRef::Generator(wanted) => {
                Ok(self.model_for_states(wanted)?.0.embed_report(texts)?)
            }
        }
    }

    /// Finds the encoder in memory, or loads it in place of the one there. The base stays.
    fn encoder(&mut self, name: &ModelName) -> PortResult<Arc<LoadedEncoder>> {
        let summary = self.models.get(name)?;
        if let Some(resident) = &self.encoder
            && resident.name == *name
            && resident.digest == summary.digest
        {
            return Ok(Arc::clone(&resident.encoder));
        }
        if !is_encoder(&summary.architecture) {
            return Err(PortError::Invalid(format!(
                "model {name} is no encoder (its architecture is {}): it embeds by its hidden states, as a generator",
                summary.architecture
            )));
        }
        self.encoder = None;
        tracing::info!(model = %name, path = %summary.path, "loading");
        let encoder = Arc::new(self.engine.load_encoder(Path::new(&summary.path))?);
        check_digest(&summary, encoder.info().digest)?;
        self.encoder = Some(ResidentEncoder {
            name: name.clone(),
            digest: summary.digest,
            encoder: Arc::clone(&encoder),
        });
        Ok(encoder)
    }
}

/// Refuses an encoder where a model that generates is needed.
pub(super) fn refuse_encoder(summary: &ModelSummary) -> PortResult<()> {
    if is_encoder(&summary.architecture) {
        return Err(PortError::Invalid(format!(
            "model {} is an encoder ({}): it gives embeddings, and cannot generate, score or be trained; name a model that generates (`autodidact model list` shows them)",
            summary.name, summary.architecture
        )));
    }
    Ok(())
}

/// What a job needs in the model's name, for the queue.
pub(super) fn queued_as(embedder: &EmbedderRef) -> ModelRef {
    match embedder {
        EmbedderRef::Encoder(name) => ModelRef {
            model: name.clone(),
            adapter: None,
        },
        EmbedderRef::Generator(wanted) => wanted.clone(),
    }
}
