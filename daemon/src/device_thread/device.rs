//! What the device thread holds: the engine, one base model, and the adapters used last.

use std::path::Path;
use std::sync::Arc;

use autodidact_domain::generation::ResponseLoss;
use autodidact_domain::ports::{Checkpoints, Models};
use autodidact_domain::training::TrainProgress;
use autodidact_domain::{
    CheckpointId, Completion, Digest, GenerateRequest, Interrupt, Message, ModelName, ModelRef,
    ModelSummary, PortError, PortResult, TrainRequest, TrainSegment,
};
use autodidact_engine::{Adapter, Compute, Engine, GenerateObserver, LoadedModel, Weights};

use super::embed::{ResidentEncoder, refuse_encoder};
use super::queue::JobQueue;
use crate::config::ComputePath;

/// The engine with what it has in memory.
pub(super) struct Device {
    pub(super) engine: Engine,
    pub(super) models: Arc<dyn Models>,
    checkpoints: Arc<dyn Checkpoints>,
    queue: Arc<JobQueue<Device>>,
    resident: Option<Resident>,
    /// The encoder used last; it stays when the base changes.
    pub(super) encoder: Option<ResidentEncoder>,
    /// The adapters used last, the latest at the end.
    adapters: Vec<(CheckpointId, Digest, Arc<Adapter>)>,
    cached_adapters: usize,
    /// The base in f32, which training needs; kept from one stretch to the next, let go of when something else comes.
    training_weights: Option<Arc<Weights>>,
}

/// The base in memory.
struct Resident {
    name: ModelName,
    digest: Digest,
    model: Arc<LoadedModel>,
}

impl Device {
    /// Makes a device with nothing loaded.
    pub(super) fn new(
        threads: usize,
        compute: ComputePath,
        cached_adapters: usize,
        models: Arc<dyn Models>,
        checkpoints: Arc<dyn Checkpoints>,
        queue: Arc<JobQueue<Device>>,
    ) -> Self {
        let compute = match compute {
            ComputePath::Exact => Compute::Exact,
            ComputePath::Fast => Compute::Fast,
        };
        Self {
            engine: Engine::new(threads, compute),
            models,
            checkpoints,
            queue,
            resident: None,
            encoder: None,
            adapters: Vec::new(),
            cached_adapters,
            training_weights: None,
        }
    }

    /// Drops everything that a failed job may have left half done; the next job loads it again.
    pub(super) fn forget(&mut self) {
        self.resident = None;
        self.adapters.clear();
        self.training_weights = None;
    }

    /// Completes prompts, serving people's short questions between tokens.
    pub(super) fn generate(
        &mut self,
        wanted: &ModelRef,
        requests: &[GenerateRequest],
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(u64),
    ) -> PortResult<Vec<Completion>> {
        let model = self.model(&wanted.model)?;
        let adapter = self.adapter(wanted, &model)?;
        self.training_weights = None;
        let mut observer = BatchObserver {
            device: self,
            model: &wanted.model,
            progress,
        };
        Ok(model.generate(adapter.as_deref(), requests, &mut observer, interrupt)?)
    }

    /// Finds a model and its adapter for the hidden states they give.
    pub(super) fn model_for_states(
        &mut self,
        wanted: &ModelRef,
    ) -> PortResult<(Arc<LoadedModel>, Option<Arc<Adapter>>)> {
        let model = self.model(&wanted.model)?;
        let adapter = self.adapter(wanted, &model)?;
        self.training_weights = None;
        Ok((model, adapter))
    }

    /// Names the base in memory.
    pub(super) fn resident_name(&self) -> Option<ModelName> {
        self.resident.as_ref().map(|resident| resident.name.clone())
    }

    /// Scores conversations.
    pub(super) fn response_loss(
        &mut self,
        wanted: &ModelRef,
        conversations: &[Vec<Message>],
        interrupt: &Interrupt,
    ) -> PortResult<Vec<ResponseLoss>> {
        let model = self.model(&wanted.model)?;
        let adapter = self.adapter(wanted, &model)?;
        self.training_weights = None;
        Ok(model.response_loss(adapter.as_deref(), conversations, interrupt)?)
    }

    /// Trains a stretch, serving people's short questions between steps.
    pub(super) fn train(
        &mut self,
        request: &TrainRequest,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(TrainProgress),
    ) -> PortResult<TrainSegment> {
        let model = self.model(&request.model.model)?;
        // A run that goes on has its adapter in its checkpoint.
        let start = match &request.model.adapter {
            Some(id) if request.resume.is_none() => Some(self.checkpoints.load(id)?),
            _ => None,
        };
        self.training_weights = Some(model.weights()?);
        let name = &request.model.model;
        let mut step = |figures: TrainProgress| {
            progress(figures);
            self.serve_people(name);
        };
        Ok(model.train(request, start.as_ref(), interrupt, &mut step)?)
    }

    /// Completes prompts, piece by piece.
    pub(super) fn generate_stream(
        &mut self,
        wanted: &ModelRef,
        requests: &[GenerateRequest],
        interrupt: &Interrupt,
        piece: &mut dyn FnMut(usize, &str),
    ) -> PortResult<Vec<Completion>> {
        let model = self.model(&wanted.model)?;
        let adapter = self.adapter(wanted, &model)?;
        for request in requests {
            let (tokens, context) = (
                model.encode(&request.prompt)?.len(),
                model.config().context_length,
            );
            if tokens >= context {
                return Err(PortError::Invalid(format!(
                    "the prompt has {tokens} tokens and the context of {} holds {context}: shorten the prompt, or begin a new talk",
                    wanted.model
                )));
            }
        }
        let mut observer = StreamObserver { piece };
        Ok(model.generate(adapter.as_deref(), requests, &mut observer, interrupt)?)
    }

    /// Does the jobs of people who wait for the model that is at work, one after the other.
    pub(super) fn serve_people(&mut self, model: &ModelName) {
        while let Some(job) = Arc::clone(&self.queue).take_interactive(model) {
            job.run(self);
        }
    }

    /// Finds the model in memory, or loads it in place of the one there.
    fn model(&mut self, name: &ModelName) -> PortResult<Arc<LoadedModel>> {
        let summary = self.models.get(name)?;
        if let Some(resident) = &self.resident
            && resident.name == *name
            && resident.digest == summary.digest
        {
            return Ok(Arc::clone(&resident.model));
        }
        refuse_encoder(&summary)?;
        // Before the new one is read, so that two are never in memory.
        self.forget();
        tracing::info!(model = %name, path = %summary.path, "loading");
        let model = Arc::new(self.engine.load(Path::new(&summary.path))?);
        check_digest(&summary, model.info().digest)?;
        self.resident = Some(Resident {
            name: name.clone(),
            digest: summary.digest,
            model: Arc::clone(&model),
        });
        Ok(model)
    }

    /// Finds the adapter in memory, or loads it from its checkpoint.
    fn adapter(
        &mut self,
        wanted: &ModelRef,
        model: &LoadedModel,
    ) -> PortResult<Option<Arc<Adapter>>> {
        let Some(id) = &wanted.adapter else {
            return Ok(None);
        };
        // A checkpoint of the same name may have been written anew.
        let digest = self.checkpoints.get(id)?.adapter_digest;
        if let Some(position) = self
            .adapters
            .iter()
            .position(|(held, of, _)| held == id && *of == digest)
        {
            let entry = self.adapters.remove(position);
            let adapter = Arc::clone(&entry.2);
            self.adapters.push(entry);
            return Ok(Some(adapter));
        }
        let checkpoint = self.checkpoints.load(id)?;
        let adapter = Arc::new(Adapter::from_checkpoint(model, &checkpoint)?);
        self.adapters.retain(|(held, _, _)| held != id);
        if self.adapters.len() >= self.cached_adapters {
            self.adapters.remove(0);
        }
        self.adapters
            .push((id.clone(), digest, Arc::clone(&adapter)));
        Ok(Some(adapter))
    }
}

/// Refuses files that are not the registered ones any more.
pub(super) fn check_digest(summary: &ModelSummary, found: Digest) -> PortResult<()> {
    if found == summary.digest {
        return Ok(());
    }
    Err(PortError::Corrupt(format!(
        "model {} in {} has changed since it was registered (digest {} instead of {}): put the file back, or remove and add the model",
        summary.name,
        summary.path,
        found.short(),
        summary.digest.short()
    )))
}

/// Counts tokens and lets people in between them.
struct BatchObserver<'a> {
    device: &'a mut Device,
    model: &'a ModelName,
    progress: &'a mut dyn FnMut(u64),
}

impl GenerateObserver for BatchObserver<'_> {
    fn tokens(&mut self, count: u64) {
        (self.progress)(count);
        self.device.serve_people(self.model);
    }
}

/// Passes the pieces of completions on.
struct StreamObserver<'a> {
    piece: &'a mut dyn FnMut(usize, &str),
}

impl GenerateObserver for StreamObserver<'_> {
    fn piece(&mut self, request: usize, text: &str) {
        (self.piece)(request, text);
    }
}
