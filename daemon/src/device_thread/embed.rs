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
    pub(super) encoder: Arc<LoadedEncoder>,
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
                let mut between = || self.serve_people();
                Ok(encoder.embed(texts, &mut between, interrupt)?)
            }
            EmbedderRef::Generator(wanted) => {
                let (model, adapter) = self.model_for_states(wanted)?;
                let mut between = || self.serve_people();
                Ok(model.embed(adapter.as_deref(), texts, &mut between, interrupt)?)
            }
            EmbedderRef::LastState(wanted) => {
                let (model, adapter) = self.model_for_states(wanted)?;
                let mut between = || self.serve_people();
                Ok(model.embed_last(adapter.as_deref(), texts, &mut between, interrupt)?)
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
            EmbedderRef::Generator(wanted) | EmbedderRef::LastState(wanted) => {
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
        let path = Path::new(&summary.path);
        let encoder = self.engine.load_encoder_within(path, self.available());
        let encoder = Arc::new(encoder.map_err(|error| self.told(error))?);
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
        EmbedderRef::Generator(wanted) | EmbedderRef::LastState(wanted) => wanted.clone(),
    }
}

#[cfg(test)]
mod tests {
    use autodidact_domain::ports::Engine as _;
    use autodidact_domain::{GenerateRequest, Prompt, Sampling};
    use autodidact_engine::Engine;
    use autodidact_store::Store;

    use super::super::{DeviceOptions, DeviceThread};
    use super::*;
    use crate::clock::SystemClock;
    use crate::config::ComputePath;
    use crate::memory::MemoryLimit;

    fn register(store: &Store, name: &str, folder: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../tests/golden")
            .join(folder);
        let info = Engine::inspect(&path).unwrap();
        let summary = ModelSummary {
            name: ModelName::new(name).unwrap(),
            source: path.display().to_string(),
            path: path.display().to_string(),
            sha256: String::new(),
            architecture: info.architecture,
            parameters: info.parameters,
            quantization: info.quantization,
            context_length: info.context_length,
            digest: info.digest,
            details: info.details,
        };
        store.models().put(&summary).unwrap();
    }

    #[test]
    fn an_encoder_embeds_beside_the_base_and_generates_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Arc::new(SystemClock)).unwrap();
        register(&store, "bert", "encoder/bert");
        register(&store, "tiny", "tiny");
        let options = DeviceOptions {
            threads: 1,
            compute: ComputePath::Exact,
            device: autodidact_engine::DeviceChoice::Cpu,
            queue: 4,
            cached_adapters: 1,
            memory: MemoryLimit::new(None),
            exports: folder.path().join("exports"),
        };
        let device = DeviceThread::start(&options, store.models(), store.checkpoints()).unwrap();
        let calm = Interrupt::new();
        let reference = |name: &str| ModelRef {
            model: ModelName::new(name).unwrap(),
            adapter: None,
        };
        let encoder = |name: &str| EmbedderRef::Encoder(ModelName::new(name).unwrap());
        let embed = |embedder: &EmbedderRef| device.embed(embedder, vec!["the cat".into()], &calm);
        let generate = |name: &str| {
            let sampling = Sampling {
                max_tokens: 2,
                ..Sampling::default()
            };
            let request = GenerateRequest::new(Prompt::Text("a".into()), sampling);
            device.generate(&reference(name), vec![request], &calm, &mut |_| {})
        };
        let before = embed(&encoder("bert")).unwrap();
        assert_eq!(before.vectors[0].len(), 32);
        assert!(generate("tiny").is_ok());
        assert_eq!(embed(&encoder("bert")).unwrap(), before);
        let states = embed(&EmbedderRef::Generator(reference("tiny"))).unwrap();
        assert_eq!(states.vectors[0].len(), 96);
        let report = device.embed_report(&encoder("bert"), vec!["☃ the".into()], &calm);
        assert_eq!(report.unwrap().unknown_share(), 0.5);

        let refused = generate("bert").unwrap_err().to_string();
        assert!(refused.contains("bert is an encoder (bert)"), "{refused}");
        let refused = embed(&EmbedderRef::Generator(reference("bert"))).unwrap_err();
        assert!(refused.to_string().contains("is an encoder"), "{refused}");
        let refused = embed(&encoder("tiny")).unwrap_err().to_string();
        assert!(refused.contains("tiny is no encoder"), "{refused}");
    }
}
