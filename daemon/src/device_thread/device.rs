//! What the device thread holds: the engine, one base model, and the adapters used last.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};

use autodidact_domain::embedding::is_encoder;
use autodidact_domain::generation::{ResponseLoss, ScoreRequest};
use autodidact_domain::ports::{Checkpoints, Models};
use autodidact_domain::training::TrainProgress;
use autodidact_domain::{
    CheckpointId, Classifications, ClassifyInput, Digest, Interrupt, Message, ModelName, ModelRef,
    ModelSummary, PortError, PortResult, TrainRequest, TrainSegment,
};
use autodidact_engine::{Adapter, BaseWeights, Engine, EngineError, LoadedModel, Pause};

use super::embed::{ResidentEncoder, refuse_encoder};
use super::queue::{JobQueue, Priority};
use super::train_thread::TrainThread;
use crate::memory::{self, MemoryLimit};

/// The engine with what it has in memory.
pub(super) struct Device {
    pub(super) engine: Engine,
    pub(super) models: Arc<dyn Models>,
    checkpoints: Arc<dyn Checkpoints>,
    pub(super) queue: Arc<JobQueue<Device>>,
    resident: Option<Resident>,
    /// A second base, which a person asked for while the first was at work. It goes when other work begins.
    guest: Option<Resident>,
    /// What work that stands still may come to take of memory beside what it holds, in bytes.
    pub(super) reserved: u64,
    /// The encoder used last; it stays when the base changes.
    pub(super) encoder: Option<ResidentEncoder>,
    /// The adapters used last, the latest at the end.
    adapters: Vec<Cached>,
    cached_adapters: usize,
    memory: MemoryLimit,
    /// The base as training needs it; kept from one stretch to the next, let go of when something else comes.
    pub(super) training_weights: Option<BaseWeights>,
    /// Where stretches compute.
    train_thread: TrainThread,
    /// Whose prompts are taken in between: while other work stands still for a person, people's alone.
    pub(super) lowest_served: Priority,
}

/// A base in memory.
struct Resident {
    name: ModelName,
    digest: Digest,
    model: Arc<LoadedModel>,
}

impl Resident {
    fn held_bytes(&self) -> u64 {
        self.model.held_bytes()
    }

    fn is(&self, summary: &ModelSummary) -> bool {
        self.name == summary.name && self.digest == summary.digest
    }
}

/// An adapter in memory.
struct Cached {
    id: CheckpointId,
    /// Of its weights, since a checkpoint of the same name may have been written anew.
    digest: Digest,
    /// The digest of the base that it was read for.
    base: Digest,
    adapter: Arc<Adapter>,
}

impl Device {
    /// Makes a device with nothing loaded.
    pub(super) fn new(
        engine: Engine,
        cached_adapters: usize,
        memory: MemoryLimit,
        models: Arc<dyn Models>,
        checkpoints: Arc<dyn Checkpoints>,
        queue: Arc<JobQueue<Device>>,
    ) -> Self {
        Self {
            engine,
            models,
            checkpoints,
            queue,
            resident: None,
            guest: None,
            reserved: 0,
            encoder: None,
            adapters: Vec::new(),
            cached_adapters,
            memory,
            training_weights: None,
            train_thread: TrainThread::default(),
            lowest_served: Priority::Batch,
        }
    }

    /// Drops everything that a failed job may have left half done; the next job loads it again.
    pub(super) fn forget(&mut self) {
        self.resident = None;
        self.guest = None;
        self.adapters.clear();
        self.training_weights = None;
    }

    /// Makes room for work with a model that is no training: what training needs goes, and what people asked for beside
    /// earlier work.
    pub(super) fn begin_work(&mut self, model: &ModelName) {
        self.training_weights = None;
        self.dismiss_guest(model);
    }

    /// Lets the second base go, unless it is the one that is needed now.
    fn dismiss_guest(&mut self, needed: &ModelName) {
        if let Some(guest) = self.guest.take_if(|guest| guest.name == *needed) {
            self.training_weights = None;
            self.resident = Some(guest);
        }
        self.guest = None;
    }

    /// Finds a model and its adapter for the hidden states they give.
    pub(super) fn model_for_states(
        &mut self,
        wanted: &ModelRef,
    ) -> PortResult<(Arc<LoadedModel>, Option<Arc<Adapter>>)> {
        self.begin_work(&wanted.model);
        let model = self.model(&wanted.model)?;
        let adapter = self.adapter(wanted, &model)?;
        Ok((model, adapter))
    }

    /// Scores conversations, letting people in between passes.
    pub(super) fn response_loss(
        &mut self,
        wanted: &ModelRef,
        conversations: &[Vec<Message>],
        interrupt: &Interrupt,
    ) -> PortResult<Vec<ResponseLoss>> {
        let (model, adapter) = self.model_for_states(wanted)?;
        let mut between = || self.serve_people();
        Ok(model.response_loss(adapter.as_deref(), conversations, &mut between, interrupt)?)
    }

    /// Scores continuations, letting people in between passes.
    pub(super) fn score(
        &mut self,
        wanted: &ModelRef,
        requests: &[ScoreRequest],
        interrupt: &Interrupt,
    ) -> PortResult<Vec<ResponseLoss>> {
        let (model, adapter) = self.model_for_states(wanted)?;
        let mut between = || self.serve_people();
        Ok(model.score(adapter.as_deref(), requests, &mut between, interrupt)?)
    }

    /// Labels texts or words, letting people in between passes.
    pub(super) fn classify(
        &mut self,
        wanted: &ModelRef,
        inputs: &[ClassifyInput],
        interrupt: &Interrupt,
    ) -> PortResult<Classifications> {
        let (model, adapter) = self.model_for_states(wanted)?;
        let adapter = adapter.ok_or_else(|| {
            PortError::Invalid(
                "adapter: expected one trained with task_type SEQ_CLS or TOKEN_CLS, found none"
                    .into(),
            )
        })?;
        let mut between = || self.serve_people();
        Ok(model.classify(&adapter, inputs, &mut between, interrupt)?)
    }

    /// Trains a stretch, serving people's short questions between operations.
    ///
    /// The stretch runs on the training thread, and either that one computes or this one, never both: the other
    /// stands still at a pause meanwhile.
    pub(super) fn train(
        &mut self,
        request: TrainRequest,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(TrainProgress),
    ) -> PortResult<TrainSegment> {
        self.dismiss_guest(&request.model.model);
        let model = self.model(&request.model.model)?;
        // A run that goes on has its adapter in its checkpoint.
        let start = match &request.model.adapter {
            Some(id) if request.resume.is_none() => Some(self.checkpoints.load(id)?),
            _ => None,
        };
        let held = self.training_weights.as_ref();
        if held.is_some_and(|held| !held.is_for(&request.options)) {
            self.training_weights = None;
            model.allow(self.available());
        }
        let weights = model.training_weights(&request.options);
        let weights = weights.map_err(|error| self.told(error))?;
        self.training_weights = Some(weights);
        let (sender, heard) = sync_channel(0);
        let (go_on, gone_on) = sync_channel::<()>(0);
        let pause = {
            let (queue, sender) = (Arc::clone(&self.queue), sender.clone());
            let gone_on = Mutex::new(gone_on);
            Pause::new(move || {
                // The other side only goes when this one has panicked; then there is nobody to wait for.
                if queue.has_interactive() && sender.send(Heard::Paused).is_ok() {
                    let _ = gone_on
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .recv();
                }
            })
        };
        let training = {
            let (model, interrupt) = (Arc::clone(&model), interrupt.clone());
            move || {
                let mut step = |figures: TrainProgress| {
                    let _ = sender.send(Heard::Step(figures));
                };
                let result = catch_unwind(AssertUnwindSafe(|| {
                    model.train(request, start, &interrupt, &pause, &mut step)
                }));
                // Whoever hears of the end may need the room that it takes.
                drop((model, pause));
                let _ = sender.send(Heard::Done(result.map(Box::new)));
            }
        };
        self.train_thread.submit(training)?;
        let segment = loop {
            match heard.recv() {
                Ok(Heard::Step(figures)) => progress(figures),
                Ok(Heard::Paused) => {
                    self.serve_people();
                    let _ = go_on.send(());
                }
                Ok(Heard::Done(Ok(result))) => break (*result).map_err(|error| self.told(error)),
                Ok(Heard::Done(Err(panic))) => resume_unwind(panic),
                Err(_) => break Err(PortError::Internal("training ended without a word".into())),
            }
        };
        // What the steps took is free again.
        memory::give_back_freed();
        model.allow(self.available());
        segment
    }

    /// Does the jobs of people, one after the other, while work stands still; those that there is no memory for beside it
    /// wait for its end.
    pub(super) fn serve_people(&mut self) {
        let lowest = std::mem::replace(&mut self.lowest_served, Priority::Interactive);
        let queue = Arc::clone(&self.queue);
        while let Some(job) = queue.take_interactive(|name| self.can_serve(name)) {
            job.run(self);
        }
        self.lowest_served = lowest;
    }

    /// Tells whether a model can be used beside the work that stands still, or is refused at once.
    fn can_serve(&self, name: &ModelName) -> bool {
        /// Vocabulary, activations, keys and values of a talk.
        const BESIDE_WEIGHTS: u64 = 256 << 20;
        let mut held = self.resident.iter().chain(&self.guest);
        if held.any(|resident| resident.name == *name) {
            return true;
        }
        let Ok(summary) = self.models.get(name) else {
            return true;
        };
        // The file is in memory while its weights are packed. Another guest would go first.
        let guest = self.guest.as_ref().map_or(0, Resident::held_bytes);
        let need = BESIDE_WEIGHTS.saturating_add(summary.details.memory_bytes.saturating_mul(2));
        is_encoder(&summary.architecture)
            || self
                .available()
                .is_none_or(|bytes| need <= bytes.saturating_add(guest))
    }

    /// Finds the model in memory, or loads it: in place of the one there, or beside it while that one is at work.
    pub(super) fn model(&mut self, name: &ModelName) -> PortResult<Arc<LoadedModel>> {
        let summary = self.models.get(name)?;
        let stands_still = self.lowest_served == Priority::Interactive;
        if let Some(resident) = self.resident.as_ref().filter(|held| held.is(&summary)) {
            let model = Arc::clone(&resident.model);
            // While others' work stands still, its caches are held: what they may take was told when they began.
            if !stands_still {
                model.allow(self.available());
            }
            return Ok(model);
        }
        if let Some(guest) = self.guest.as_ref().filter(|held| held.is(&summary)) {
            let model = Arc::clone(&guest.model);
            model.allow(self.available());
            return Ok(model);
        }
        refuse_encoder(&summary)?;
        // Before the new one is read, so that no third is ever in memory, and a second only where there is room.
        match stands_still {
            true => self.guest = None,
            false => self.forget(),
        }
        tracing::info!(model = %name, path = %summary.path, "loading");
        let path = Path::new(&summary.path);
        let model = self.engine.load_within(path, self.available());
        let model = Arc::new(model.map_err(|error| self.told(error))?);
        if !model.info().details.is_batched {
            tracing::warn!(
                model = %name,
                architecture = %model.info().architecture,
                "runs unbatched, in f32 on the processor, and cannot be fine-tuned: the architecture is candle-transformers' alone"
            );
        }
        check_digest(&summary, model.info().digest)?;
        let place = match stands_still {
            true => &mut self.guest,
            false => &mut self.resident,
        };
        *place = Some(Resident {
            name: name.clone(),
            digest: summary.digest,
            model: Arc::clone(&model),
        });
        Ok(model)
    }

    /// Tells the bytes that models hold.
    pub(super) fn held_bytes(&self) -> u64 {
        let bases = self.resident.iter().chain(&self.guest);
        let encoder = self.encoder.as_ref();
        let adapters = self.adapters.iter().map(|held| held.adapter.bytes() as u64);
        bases.map(Resident::held_bytes).sum::<u64>()
            + adapters.sum::<u64>()
            + encoder.map_or(0, |resident| resident.encoder.bytes() as u64)
            + self.training_weights.as_ref().map_or(0, BaseWeights::bytes)
    }

    /// Tells what may be taken beside what the device holds.
    pub(super) fn available(&self) -> Option<u64> {
        let base = self.resident.as_ref().map(|resident| &resident.model);
        let guest = self.guest.as_ref().map_or(0, Resident::held_bytes);
        let available = self.memory.available(self.held_bytes())?;
        // What the work that stands still has been promised stays its own.
        let left = base.filter(|_| self.lowest_served == Priority::Interactive);
        let left = left.and_then(|model| model.left());
        let beside = left.map_or(available, |left| available.min(left.saturating_sub(guest)));
        Some(beside.saturating_sub(self.reserved))
    }

    /// Makes an engine's error the caller's, with where a bound comes from.
    pub(super) fn told(&self, error: EngineError) -> PortError {
        match error {
            EngineError::Memory(message) => {
                EngineError::Memory(self.memory.explain(message)).into()
            }
            other => other.into(),
        }
    }

    /// Finds the adapter in memory, or loads it from its checkpoint.
    pub(super) fn adapter(
        &mut self,
        wanted: &ModelRef,
        model: &LoadedModel,
    ) -> PortResult<Option<Arc<Adapter>>> {
        let Some(id) = &wanted.adapter else {
            return Ok(None);
        };
        // A checkpoint of the same name may have been written anew.
        let digest = self.checkpoints.get(id)?.adapter_digest;
        let base = model.info().digest;
        let is_it = |held: &Cached| held.id == *id && held.digest == digest && held.base == base;
        if let Some(position) = self.adapters.iter().position(is_it) {
            let entry = self.adapters.remove(position);
            let adapter = Arc::clone(&entry.adapter);
            self.adapters.push(entry);
            return Ok(Some(adapter));
        }
        let checkpoint = self.checkpoints.load(id)?;
        let adapter = Arc::new(Adapter::from_checkpoint(model, &checkpoint)?);
        self.adapters.retain(|held| held.id != *id);
        if self.adapters.len() >= self.cached_adapters {
            self.adapters.remove(0);
        }
        self.adapters.push(Cached {
            id: id.clone(),
            digest,
            base,
            adapter: Arc::clone(&adapter),
        });
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

/// What the device hears of a stretch of training.
enum Heard {
    /// A step is made.
    Step(TrainProgress),
    /// It stands still until it is told to go on.
    Paused,
    /// It ended, or panicked.
    Done(std::thread::Result<Box<Result<TrainSegment, EngineError>>>),
}
