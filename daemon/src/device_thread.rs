//! The one thread that owns the device: it takes jobs by priority and keeps the base and a few adapters in memory.
//!
//! Callers block until their job is done. Between the tokens of long work, and between the operations of a training step,
//! the thread serves a waiting person first: on the model that is at work, or on another one where memory has room for it
//! beside. So a chat answers while a workflow trains.

mod device;
mod embed;
mod queue;
mod session;
#[cfg(test)]
mod tests;
mod train_thread;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use autodidact_domain::exchange::{AdapterFile, ExportProgress, ExportedModel};
use autodidact_domain::generation::{ResponseLoss, ScoreRequest};
use autodidact_domain::ports::{Checkpoints, Engine, Models, TrainingView};
use autodidact_domain::preflight::{TrainData, TrainNeed};
use autodidact_domain::training::TrainProgress;
use autodidact_domain::{
    Checkpoint, CheckpointId, Classifications, ClassifyInput, Completion, Constraint, EmbedReport,
    EmbedderRef, Embeddings, GenerateRequest, Interrupt, Message, ModelName, ModelRef,
    ModelSummary, PortError, PortResult, TrainOptions, TrainRequest, TrainSegment,
};
use autodidact_engine::{Compute, DeviceChoice, TrainPlace};

use crate::config::ComputePath;
use crate::exports::{StagedFolder, StagedModel};
use crate::memory::MemoryLimit;
use device::Device;
use embed::refuse_encoder;
use queue::{GenerateCall, Job, JobQueue, Priority, Told};

/// How often a waiting caller looks at the tokens counted so far.
const PROGRESS_POLL: Duration = Duration::from_millis(100);

/// Messages of progress that may wait for a caller.
const PROGRESS_PLACES: usize = 16;

/// What the device thread is set to.
pub(crate) struct DeviceOptions {
    /// Threads of the engine.
    pub(crate) threads: usize,
    /// The compute path that generates.
    pub(crate) compute: ComputePath,
    /// What generates, scores and gives hidden states.
    pub(crate) device: DeviceChoice,
    /// Jobs that may wait.
    pub(crate) queue: usize,
    /// Adapters kept in memory.
    pub(crate) cached_adapters: usize,
    /// How much memory models may take.
    pub(crate) memory: MemoryLimit,
    /// The folder in which whole models lie while they are handed out.
    pub(crate) exports: PathBuf,
}

/// Queues calls for the thread that owns the device.
pub(crate) struct DeviceThread {
    queue: Arc<JobQueue<Device>>,
    compute: String,
    memory: MemoryLimit,
    checkpoints: Arc<dyn Checkpoints>,
    device: DeviceChoice,
    exports: PathBuf,
    path: Compute,
    threads: usize,
    /// What models hold of memory, in bytes, as it was after the last job.
    held: Arc<AtomicU64>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl DeviceThread {
    /// Opens the device and starts the thread. Models are looked up by name when a job needs them.
    ///
    /// # Errors
    /// When this build has no such device, the device cannot be used, or the thread cannot be started.
    pub(crate) fn start(
        options: &DeviceOptions,
        models: Arc<dyn Models>,
        checkpoints: Arc<dyn Checkpoints>,
    ) -> anyhow::Result<Self> {
        let path = match options.compute {
            ComputePath::Exact => Compute::Exact,
            ComputePath::Fast => Compute::Fast,
        };
        let engine = autodidact_engine::Engine::on_device(options.threads, path, options.device)?;
        let compute = engine.compute_name();
        let queue = Arc::new(JobQueue::new(options.queue));
        let jobs = Arc::clone(&queue);
        let (cached_adapters, memory) = (options.cached_adapters, options.memory);
        let stored = Arc::clone(&checkpoints);
        let held = Arc::new(AtomicU64::new(0));
        let told = Arc::clone(&held);
        let thread = std::thread::Builder::new()
            .name("device".into())
            .spawn(move || {
                let mut device = Device::new(
                    engine,
                    cached_adapters,
                    memory,
                    models,
                    checkpoints,
                    Arc::clone(&jobs),
                );
                while let Some(job) = jobs.take() {
                    job.run(&mut device);
                    told.store(device.held_bytes(), Ordering::Relaxed);
                }
            })?;
        Ok(Self {
            queue,
            compute,
            memory,
            checkpoints: stored,
            device: options.device,
            exports: options.exports.clone(),
            path,
            threads: options.threads,
            held,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Refuses further jobs and waits for the one at work.
    pub(crate) fn close(&self) {
        self.queue.close();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // Every job catches its own panic; there is nothing to learn from the thread's end.
            let _ = thread.join();
        }
    }

    /// Queues work; what it gives is read from the receiver.
    fn submit<P: Send + 'static, R: Send + 'static>(
        &self,
        priority: Priority,
        model: &ModelRef,
        interrupt: &Interrupt,
        capacity: usize,
        work: impl FnOnce(&mut Device, &SyncSender<Update<P, R>>) -> PortResult<R> + Send + 'static,
    ) -> PortResult<Receiver<Update<P, R>>> {
        // One place for the end of the work, so that telling it never blocks the device.
        let (sender, receiver) = sync_channel(capacity + 1);
        let flag = interrupt.clone();
        let job = Job::new(priority, model.model.clone(), move |device: &mut Device| {
            let result = if flag.is_raised() {
                Err(PortError::Interrupted)
            } else {
                catch_unwind(AssertUnwindSafe(|| work(device, &sender))).unwrap_or_else(|panic| {
                    // What the work left half done is not trusted.
                    device.forget();
                    Err(PortError::Internal(format!(
                        "the engine panicked: {}",
                        panic_text(&*panic)
                    )))
                })
            };
            // A caller that is gone wants no answer.
            let _ = sender.try_send(Update::Done(result));
        });
        self.queue.put(job, interrupt)?;
        Ok(receiver)
    }
}

impl DeviceThread {
    /// Does a short piece of work with a base, between others.
    fn exchange<R: Send + 'static>(
        &self,
        model: ModelName,
        work: impl FnOnce(&mut Device) -> PortResult<R> + Send + 'static,
    ) -> PortResult<R> {
        let wanted = ModelRef {
            model: model.clone(),
            adapter: None,
        };
        let interrupt = Interrupt::new();
        let receiver =
            self.submit::<(), _>(Priority::Batch, &wanted, &interrupt, 0, move |device, _| {
                device.begin_work(&model);
                work(device)
            })?;
        finish(&receiver, &mut |()| {})
    }

    /// Queues prompts, which may be served beside others.
    fn submit_prompts<P: Send + 'static>(
        &self,
        priority: Priority,
        model: &ModelRef,
        requests: Vec<GenerateRequest>,
        interrupt: &Interrupt,
        capacity: usize,
        mut hear: impl FnMut(Told<'_>, &SyncSender<Update<P, Vec<Completion>>>) + Send + 'static,
    ) -> PortResult<Receiver<Update<P, Vec<Completion>>>> {
        let (sender, receiver) = sync_channel(capacity + 1);
        let call = GenerateCall {
            model: model.clone(),
            requests,
            priority,
            interrupt: interrupt.clone(),
            tell: Box::new(move |told| hear(told, &sender)),
        };
        self.queue.put(Job::generate(call), interrupt)?;
        Ok(receiver)
    }
}

/// Tells a caller; one that is gone wants nothing.
fn send<T>(sender: &SyncSender<T>, update: T) {
    let _ = sender.try_send(update);
}

impl Drop for DeviceThread {
    fn drop(&mut self) {
        self.close();
    }
}

impl Engine for DeviceThread {
    fn generate(
        &self,
        model: &ModelRef,
        requests: Vec<GenerateRequest>,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(u64),
    ) -> PortResult<Vec<Completion>> {
        let tokens = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&tokens);
        let receiver = self.submit_prompts(
            Priority::Batch,
            model,
            requests,
            interrupt,
            0,
            move |told, sender| match told {
                Told::Token => {
                    counter.fetch_add(1, Ordering::Relaxed);
                }
                Told::Piece(..) => {}
                Told::Done(result) => send(sender, Update::<(), _>::Done(result)),
            },
        )?;
        let mut told = 0;
        let mut tell = |progress: &mut dyn FnMut(u64)| {
            let now = tokens.load(Ordering::Relaxed);
            if now > told {
                progress(now - told);
                told = now;
            }
        };
        loop {
            match receiver.recv_timeout(PROGRESS_POLL) {
                Ok(Update::Done(result)) => {
                    tell(progress);
                    return result;
                }
                Ok(Update::Progress(())) | Err(RecvTimeoutError::Timeout) => tell(progress),
                Err(RecvTimeoutError::Disconnected) => return Err(gone()),
            }
        }
    }

    fn response_loss(
        &self,
        model: &ModelRef,
        conversations: Vec<Vec<Message>>,
        interrupt: &Interrupt,
    ) -> PortResult<Vec<ResponseLoss>> {
        let (wanted, flag) = (model.clone(), interrupt.clone());
        let receiver =
            self.submit::<(), _>(Priority::Batch, model, interrupt, 0, move |device, _| {
                device.response_loss(&wanted, &conversations, &flag)
            })?;
        finish(&receiver, &mut |()| {})
    }

    fn score(
        &self,
        model: &ModelRef,
        requests: Vec<ScoreRequest>,
        interrupt: &Interrupt,
    ) -> PortResult<Vec<ResponseLoss>> {
        let (wanted, flag) = (model.clone(), interrupt.clone());
        let receiver =
            self.submit::<(), _>(Priority::Batch, model, interrupt, 0, move |device, _| {
                device.score(&wanted, &requests, &flag)
            })?;
        finish(&receiver, &mut |()| {})
    }

    fn classify(
        &self,
        model: &ModelRef,
        inputs: Vec<ClassifyInput>,
        interrupt: &Interrupt,
    ) -> PortResult<Classifications> {
        let (wanted, flag) = (model.clone(), interrupt.clone());
        let receiver =
            self.submit::<(), _>(Priority::Batch, model, interrupt, 0, move |device, _| {
                device.classify(&wanted, &inputs, &flag)
            })?;
        finish(&receiver, &mut |()| {})
    }

    fn train(
        &self,
        request: TrainRequest,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(TrainProgress),
    ) -> PortResult<TrainSegment> {
        let (model, flag) = (request.model.clone(), interrupt.clone());
        // A step tells of itself once, so the channel never fills.
        let capacity = request.steps as usize;
        let receiver = self.submit(
            Priority::Train,
            &model,
            interrupt,
            capacity,
            move |device, sender| {
                device.train(request, &flag, &mut |step| {
                    let _ = sender.try_send(Update::Progress(step));
                })
            },
        )?;
        finish(&receiver, progress)
    }

    fn generate_stream(
        &self,
        model: &ModelRef,
        requests: Vec<GenerateRequest>,
        interrupt: &Interrupt,
        piece: &mut dyn FnMut(usize, &str),
    ) -> PortResult<Vec<Completion>> {
        // Every token gives one piece at most, and the end may give a rest.
        let pieces = |request: &GenerateRequest| request.sampling.max_tokens as usize + 1;
        let capacity = requests.iter().map(pieces).sum();
        let receiver = self.submit_prompts(
            Priority::Interactive,
            model,
            requests,
            interrupt,
            capacity,
            |told, sender| match told {
                Told::Token => {}
                Told::Piece(request, text) => {
                    send(sender, Update::Progress((request, text.to_string())));
                }
                Told::Done(result) => send(sender, Update::Done(result)),
            },
        )?;
        finish(&receiver, &mut |(request, text): (usize, String)| {
            piece(request, &text)
        })
    }

    fn embed(
        &self,
        embedder: &EmbedderRef,
        texts: Vec<String>,
        interrupt: &Interrupt,
    ) -> PortResult<Embeddings> {
        let (wanted, flag) = (embedder.clone(), interrupt.clone());
        let model = embed::queued_as(embedder);
        let receiver =
            self.submit::<(), _>(Priority::Batch, &model, interrupt, 0, move |device, _| {
                device.embed(&wanted, &texts, &flag)
            })?;
        finish(&receiver, &mut |()| {})
    }

    fn embed_report(
        &self,
        embedder: &EmbedderRef,
        texts: Vec<String>,
        interrupt: &Interrupt,
    ) -> PortResult<EmbedReport> {
        let wanted = embedder.clone();
        let model = embed::queued_as(embedder);
        let receiver =
            self.submit::<(), _>(Priority::Batch, &model, interrupt, 0, move |device, _| {
                device.embed_report(&wanted, &texts)
            })?;
        finish(&receiver, &mut |()| {})
    }

    fn export_adapter(&self, adapter: &CheckpointId, format: &str) -> PortResult<Vec<AdapterFile>> {
        let (adapter, format) = (adapter.clone(), format.to_string());
        let checkpoint = self.checkpoints.load(&adapter)?;
        let model = checkpoint.meta.model.clone();
        self.exchange(model, move |device| {
            let model = device.model(&checkpoint.meta.model)?;
            Ok(model.export_adapter(&checkpoint, &format)?)
        })
    }

    fn export_model(
        &self,
        adapter: &CheckpointId,
        format: &str,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(ExportProgress),
    ) -> PortResult<Box<dyn ExportedModel>> {
        let checkpoint = self.checkpoints.load(adapter)?;
        let name = checkpoint.meta.model.clone();
        let wanted = ModelRef {
            model: name.clone(),
            adapter: None,
        };
        let (format, flag, exports) = (format.to_string(), interrupt.clone(), self.exports.clone());
        let receiver = self.submit(
            Priority::Batch,
            &wanted,
            interrupt,
            PROGRESS_PLACES,
            move |device, sender| {
                device.begin_work(&name);
                let model = device.model(&name)?;
                let folder = StagedFolder::create(&exports)?;
                let mut between = |done, total| {
                    device.serve_people();
                    // Progress that the caller has no place for is not missed.
                    let _ = sender.try_send(Update::Progress(ExportProgress { done, total }));
                };
                let path = folder.path();
                let merged = model.export_model(&checkpoint, &format, path, &flag, &mut between);
                let merged = merged.map_err(|error| device.told(error))?;
                Ok(StagedModel::open(folder, merged))
            },
        )?;
        let staged = finish(&receiver, progress)?;
        Ok(Box::new(staged))
    }

    fn import_adapter(&self, model: &ModelName, files: Vec<AdapterFile>) -> PortResult<Checkpoint> {
        let name = model.clone();
        self.exchange(model.clone(), move |device| {
            let model = device.model(&name)?;
            Ok(model.import_adapter(name, &files)?)
        })
    }

    fn check_constraint(&self, constraint: &Constraint) -> Result<(), String> {
        autodidact_engine::Engine::check_constraint(constraint)
    }

    fn check_training(&self, model: &ModelSummary, options: &TrainOptions) -> Result<(), String> {
        let path = std::path::Path::new(&model.path);
        let checked = autodidact_engine::Engine::check_training(path, options, self.device);
        checked.map_err(|error| error.to_string())
    }

    fn check_adapter(&self, model: &ModelSummary, adapter: &Checkpoint) -> Result<(), String> {
        let path = std::path::Path::new(&model.path);
        let checked = autodidact_engine::Engine::check_adapter(path, model.digest, adapter);
        checked.map_err(|error| error.to_string())
    }

    fn preflight(
        &self,
        model: &ModelSummary,
        options: &TrainOptions,
        data: Option<TrainData<'_>>,
    ) -> PortResult<Option<TrainNeed>> {
        refuse_encoder(model)?;
        if self.device != DeviceChoice::Cpu {
            // Most of it is the device's, which says itself what does not fit.
            return Ok(None);
        }
        let text = autodidact_engine::TrainingText::open(std::path::Path::new(&model.path))?;
        let held = self.held.load(Ordering::Relaxed);
        let available = self.memory.available(held);
        let place = TrainPlace {
            compute: self.path,
            threads: self.threads,
            // What models hold now is let go of, or is this one.
            available: available.map(|bytes| bytes.saturating_add(held)),
        };
        let mut need = text.need(options, data, place)?;
        need.memory_bound = self.memory.bound();
        Ok(Some(need))
    }

    fn training_view(&self, model: &ModelSummary) -> PortResult<Box<dyn TrainingView>> {
        refuse_encoder(model)?;
        // The text side is read anew: nobody waits for the device, which may be at work for hours.
        let path = std::path::Path::new(&model.path);
        Ok(Box::new(autodidact_engine::TrainingText::open(path)?))
    }

    fn compute(&self) -> &str {
        &self.compute
    }

    fn memory_limit(&self) -> Option<u64> {
        self.memory.total()
    }
}

/// What a caller hears of its job.
enum Update<P, R> {
    /// A piece of it.
    Progress(P),
    /// Its end.
    Done(PortResult<R>),
}

/// Passes progress on until the end comes.
fn finish<P, R>(receiver: &Receiver<Update<P, R>>, progress: &mut dyn FnMut(P)) -> PortResult<R> {
    loop {
        match receiver.recv() {
            Ok(Update::Progress(part)) => progress(part),
            Ok(Update::Done(result)) => return result,
            Err(_) => return Err(gone()),
        }
    }
}

fn gone() -> PortError {
    PortError::Unavailable("the daemon is going down".into())
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_string())
}
