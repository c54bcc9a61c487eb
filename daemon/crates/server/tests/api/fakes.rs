//! Every port in memory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use autodidact_domain::capability::GrantChange;
use autodidact_domain::checkpoint::CheckpointMeta;
use autodidact_domain::exchange::{ExportProgress, ExportedModel, MergedModel, ModelFile};
use autodidact_domain::generation::{ResponseLoss, ScoreRequest};
use autodidact_domain::journal::{RecordedVerdict, StageName};
use autodidact_domain::plugin::{
    FilterDecision, PluginScore, PluginStanding, RenderedPrompt, TemplateCompletion, TemplateItem,
    TemplateRequest, Validation,
};
use autodidact_domain::ports::*;
use autodidact_domain::preflight::{CheckpointPlan, DiskNeed};
use autodidact_domain::preview::{
    ExamplePreview, NO_LABEL_TOKEN, PreviewRefusal, PreviewSpan, SpanPart,
};
use autodidact_domain::training::{TrainProgress, TrainingLog};
use autodidact_domain::*;

/// A dataset version with its records.
type Version = (DatasetSummary, Vec<Example>);
/// The request's digest and the answer's bytes.
type Answer = (Digest, Vec<u8>);
type Listener = Box<dyn FnMut(&Event) -> bool + Send>;

/// All stores of a daemon that keeps nothing.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) workflows: Mutex<BTreeMap<WorkflowName, WorkflowSummary>>,
    pub(crate) verdicts: Mutex<Vec<RecordedVerdict>>,
    datasets: Mutex<BTreeMap<DatasetName, Vec<Version>>>,
    checkpoints: Mutex<BTreeMap<CheckpointId, Checkpoint>>,
    events: Mutex<EventLog>,
    models: Mutex<BTreeMap<ModelName, ModelSummary>>,
    plugins: Mutex<BTreeMap<String, PluginSummary>>,
    requests: Mutex<BTreeMap<(String, String), Answer>>,
    reviews: Mutex<BTreeMap<(WorkflowName, u32), ReviewRound>>,
    /// Counts what mutations really did.
    pub(crate) imports: AtomicU32,
    /// Generations that were cut off by their caller.
    pub(crate) interrupted: AtomicU32,
    /// Components that are being compiled, and how often plugins were listed.
    pub(crate) compiling: AtomicU32,
    pub(crate) listings: AtomicU32,
}

#[derive(Default)]
struct EventLog {
    durable: Vec<Event>,
    listeners: Vec<Listener>,
}

impl EventLog {
    fn tell(&mut self, event: &Event) {
        self.listeners.retain_mut(|listener| listener(event));
    }
}

impl World {
    pub(crate) fn new() -> Arc<Self> {
        let world = Self::default();
        let tiny = world.model("tiny");
        world.models.lock().unwrap().insert(tiny.name.clone(), tiny);
        Arc::new(world)
    }

    pub(crate) fn ports(self: &Arc<Self>) -> Ports {
        Ports {
            engine: self.clone(),
            journal: self.clone(),
            workflows: self.clone(),
            datasets: self.clone(),
            checkpoints: self.clone(),
            events: self.clone(),
            models: self.clone(),
            model_source: self.clone(),
            plugins: self.clone(),
            reader: self.clone(),
            requests: self.clone(),
            spending: self.clone(),
            reviews: self.clone(),
            clock: self.clone(),
            reports: self.clone(),
            embedders: Arc::default(),
        }
    }

    pub(crate) fn listeners(&self) -> usize {
        self.events.lock().unwrap().listeners.len()
    }

    pub(crate) fn checkpoint(&self, id: &str, elements: usize) -> Checkpoint {
        let meta = CheckpointMeta {
            method: "lora".into(),
            model: ModelName::new("tiny").unwrap(),
            base_digest: Digest::of(b"tiny"),
            adapter_config: serde_json::json!({ "r": 8 }),
            step: 3,
            total_steps: 9,
            trainer_state: serde_json::Value::Null,
            promoted_from: None,
        };
        let tensor = NamedTensor {
            name: "a".into(),
            shape: vec![elements],
            data: vec![0.5; elements],
        };
        let checkpoint = Checkpoint {
            meta,
            adapter: vec![tensor],
            optimizer: Vec::new(),
        };
        self.checkpoints
            .lock()
            .unwrap()
            .insert(CheckpointId::new(id).unwrap(), checkpoint.clone());
        checkpoint
    }

    fn model(&self, name: &str) -> ModelSummary {
        ModelSummary {
            name: ModelName::new(name).unwrap(),
            source: format!("/models/{name}.gguf"),
            path: format!("/models/{name}.gguf"),
            sha256: "0".repeat(64),
            architecture: "llama".into(),
            parameters: 1,
            quantization: "F32".into(),
            context_length: 64,
            digest: Digest::of(name.as_bytes()),
            details: Default::default(),
        }
    }
}

fn logprob() -> TokenLogprob {
    TokenLogprob {
        bytes: vec![0xE4],
        logprob: -0.5,
        top: vec![(vec![b'a'], -0.25)],
    }
}

fn missing<T>(what: &'static str, name: &str) -> PortResult<T> {
    Err(PortError::NotFound {
        what,
        name: name.into(),
        nearest: Some("nearest-name".into()),
    })
}

/// A model whose tokens are words.
struct Words;

impl TrainingView for Words {
    fn context_length(&self) -> usize {
        64
    }

    fn preview(&self, body: &Body, task: TrainTask, max_length: usize) -> ExamplePreview {
        let messages = body.to_messages();
        let words = |message: &Message| message.content.split_whitespace().count();
        let given = messages.iter().filter(|m| m.role != Role::Assistant);
        let given: usize = given.map(words).sum();
        let all: usize = messages.iter().map(words).sum();
        let tokens = all.min(max_length);
        let label_tokens = tokens.saturating_sub(given);
        ExamplePreview {
            spans: vec![PreviewSpan {
                text: messages[0].content.clone(),
                part: SpanPart::Given,
                label: task.has_head().then(|| body.output_text().into_owned()),
            }],
            tokens: tokens as u32,
            label_tokens: label_tokens as u32,
            cut_tokens: (all - tokens) as u32,
            refused: (label_tokens == 0).then(|| PreviewRefusal {
                reason: NO_LABEL_TOKEN,
                message: "nothing to learn".into(),
            }),
        }
    }
}

struct Written(MergedModel, std::io::Cursor<Vec<u8>>);

impl ExportedModel for Written {
    fn model(&self) -> &MergedModel {
        &self.0
    }

    /// Gives a little less than it is asked for, as files may.
    fn read(&mut self, buffer: &mut [u8]) -> PortResult<usize> {
        let most = buffer.len().min(300_000);
        let count = std::io::Read::read(&mut self.1, &mut buffer[..most]);
        count.map_err(|error| PortError::Unavailable(error.to_string()))
    }
}

impl Engine for World {
    /// Works until it is interrupted.
    fn generate(
        &self,
        _: &ModelRef,
        _: Vec<GenerateRequest>,
        interrupt: &Interrupt,
        _: &mut dyn FnMut(u64),
    ) -> PortResult<Vec<Completion>> {
        while !interrupt.is_raised() {
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(PortError::Interrupted)
    }

    fn response_loss(
        &self,
        _: &ModelRef,
        _: Vec<Vec<Message>>,
        _: &Interrupt,
    ) -> PortResult<Vec<ResponseLoss>> {
        Err(PortError::Unavailable("no losses here".into()))
    }

    /// Finds every byte of a continuation as likely as not.
    fn score(
        &self,
        _: &ModelRef,
        requests: Vec<ScoreRequest>,
        interrupt: &Interrupt,
    ) -> PortResult<Vec<ResponseLoss>> {
        let asked_to_wait = requests.iter().any(|r| r.continuation == "forever");
        while asked_to_wait && !interrupt.is_raised() {
            std::thread::sleep(Duration::from_millis(1));
        }
        if interrupt.is_raised() {
            self.interrupted.fetch_add(1, Ordering::SeqCst);
            return Err(PortError::Interrupted);
        }
        let loss = |request: &ScoreRequest| ResponseLoss {
            negative_log_likelihood: request.continuation.len() as f64 * std::f64::consts::LN_2,
            tokens: request.continuation.len() as u32,
            prompt_tokens: 1,
        };
        Ok(requests.iter().map(loss).collect())
    }

    fn train(
        &self,
        _: TrainRequest,
        _: &Interrupt,
        _: &mut dyn FnMut(TrainProgress),
    ) -> PortResult<TrainSegment> {
        Err(PortError::Unavailable("no training here".into()))
    }

    /// Repeats each prompt, word by word; the prompt `forever` until it is interrupted.
    fn generate_stream(
        &self,
        _: &ModelRef,
        requests: Vec<GenerateRequest>,
        interrupt: &Interrupt,
        piece: &mut dyn FnMut(usize, &str),
    ) -> PortResult<Vec<Completion>> {
        let repeat = |(index, request): (usize, GenerateRequest)| {
            let Prompt::Text(text) = request.prompt else {
                return Err(PortError::Invalid("text alone".into()));
            };
            if text == "forever" {
                while !interrupt.is_raised() {
                    piece(index, "again ");
                    std::thread::sleep(Duration::from_millis(1));
                }
                self.interrupted.fetch_add(1, Ordering::SeqCst);
                return Err(PortError::Interrupted);
            }
            text.split_inclusive(' ')
                .for_each(|word| piece(index, word));
            Ok(Completion {
                text,
                finish: FinishReason::Eos,
                prompt_tokens: 1,
                completion_tokens: request.sampling.seed as u32,
                logprobs: request.logprobs.map(|_| logprob()).into_iter().collect(),
            })
        };
        requests.into_iter().enumerate().map(repeat).collect()
    }

    /// Gives a megabyte more than two and a last file of three bytes, telling progress; `endless` until it is interrupted.
    fn export_model(
        &self,
        adapter: &CheckpointId,
        _: &str,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(ExportProgress),
    ) -> PortResult<Box<dyn ExportedModel>> {
        let total = 100;
        (0..=total).for_each(|done| progress(ExportProgress { done, total }));
        while adapter.as_str() == "endless" && !interrupt.is_raised() {
            std::thread::sleep(Duration::from_millis(1));
        }
        if interrupt.is_raised() {
            self.interrupted.fetch_add(1, Ordering::SeqCst);
            return Err(PortError::Interrupted);
        }
        let contents = [vec![7; (3 << 20) + 1], vec![1, 2, 3]];
        let file = |(name, content): (&str, &Vec<u8>)| ModelFile {
            name: name.into(),
            size: content.len() as u64,
        };
        let merged = MergedModel {
            files: ["weights", "text"]
                .into_iter()
                .zip(&contents)
                .map(file)
                .collect(),
            logits_apart: 0.25,
            base_apart: 0.5,
        };
        Ok(Box::new(Written(
            merged,
            std::io::Cursor::new(contents.concat()),
        )))
    }

    /// Gives the length of each text, and works on `forever` until it is interrupted.
    fn embed(
        &self,
        embedder: &EmbedderRef,
        texts: Vec<String>,
        interrupt: &Interrupt,
    ) -> PortResult<Embeddings> {
        while texts.iter().any(|text| text == "forever") {
            if interrupt.is_raised() {
                self.interrupted.fetch_add(1, Ordering::SeqCst);
                return Err(PortError::Interrupted);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let report = self.embed_report(embedder, texts.clone(), interrupt)?;
        Ok(Embeddings {
            vectors: texts
                .iter()
                .map(|text| vec![text.len() as f32, 0.5])
                .collect(),
            tokens: report.tokens,
            unknown_tokens: report.unknown_tokens,
        })
    }

    fn embed_report(
        &self,
        _: &EmbedderRef,
        texts: Vec<String>,
        _: &Interrupt,
    ) -> PortResult<EmbedReport> {
        let letters = texts.iter().flat_map(|text| text.chars());
        Ok(EmbedReport {
            tokens: letters.clone().count() as u64,
            unknown_tokens: letters.filter(|c| !c.is_ascii()).count() as u64,
        })
    }

    /// Finds capitals at the beginning of texts and words; works on the text `forever` until it is interrupted, and lets the word
    /// `beyond` lie beyond its context.
    fn classify(
        &self,
        _: &ModelRef,
        inputs: Vec<ClassifyInput>,
        interrupt: &Interrupt,
    ) -> PortResult<Classifications> {
        while inputs.contains(&ClassifyInput::Text("forever".into())) {
            if interrupt.is_raised() {
                self.interrupted.fetch_add(1, Ordering::SeqCst);
                return Err(PortError::Interrupted);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let scores = |unit: &String| match (unit.as_str(), unit.starts_with(char::is_uppercase)) {
            ("beyond", _) => LabelScores::default(),
            (_, is_capital) => LabelScores(vec![-0.5, if is_capital { -0.25 } else { -0.75 }]),
        };
        let results = inputs.iter().map(|input| match input {
            ClassifyInput::Text(text) => vec![scores(text)],
            ClassifyInput::Words(words) => words.iter().map(scores).collect(),
        });
        Ok(Classifications {
            task: TrainTask::TokenClassification,
            labels: vec!["small".into(), "capital".into()],
            results: results.collect(),
        })
    }

    fn check_constraint(&self, _: &Constraint) -> Result<(), String> {
        Ok(())
    }

    fn training_view(&self, _: &ModelSummary) -> PortResult<Box<dyn TrainingView>> {
        Ok(Box::new(Words))
    }

    fn compute(&self) -> &'static str {
        "exact"
    }
}

impl Journal for World {
    fn steps(&self, _: &WorkflowName) -> PortResult<Vec<StepRecord>> {
        Ok(Vec::new())
    }
    fn begin(&self, _: &StepKey) -> PortResult<()> {
        Ok(())
    }
    fn commit(
        &self,
        _: &StepKey,
        _: serde_json::Value,
        verdicts: &[RecordedVerdict],
    ) -> PortResult<()> {
        self.verdicts.lock().unwrap().extend_from_slice(verdicts);
        Ok(())
    }
    fn verdicts(
        &self,
        _: &WorkflowName,
        from: u64,
        limit: usize,
    ) -> PortResult<Vec<RecordedVerdict>> {
        Ok(self
            .verdicts
            .lock()
            .unwrap()
            .iter()
            .skip(from as usize)
            .take(limit)
            .cloned()
            .collect())
    }
    fn verdict_counts(&self, _: &WorkflowName, _: u32, _: StageName) -> PortResult<(u64, u64)> {
        Ok((0, 0))
    }
}

impl Workflows for World {
    fn create(&self, summary: WorkflowSummary) -> PortResult<WorkflowSummary> {
        let mut workflows = self.workflows.lock().unwrap();
        let name = summary.spec.name.clone();
        match workflows.get(&name) {
            Some(found) if found.spec_digest == summary.spec_digest => Ok(found.clone()),
            Some(_) => Err(PortError::Exists {
                what: "workflow",
                name: name.to_string(),
                detail: "with another spec; choose another name".into(),
            }),
            None => {
                workflows.insert(name, summary.clone());
                Ok(summary)
            }
        }
    }
    fn get(&self, name: &WorkflowName) -> PortResult<WorkflowSummary> {
        self.workflows
            .lock()
            .unwrap()
            .get(name)
            .cloned()
            .map_or_else(|| missing("workflow", name.as_str()), Ok)
    }
    fn list(&self) -> PortResult<Vec<WorkflowSummary>> {
        Ok(self.workflows.lock().unwrap().values().cloned().collect())
    }
    fn set_state(
        &self,
        name: &WorkflowName,
        state: WorkflowState,
        message: &str,
    ) -> PortResult<WorkflowSummary> {
        let mut workflows = self.workflows.lock().unwrap();
        let Some(summary) = workflows.get_mut(name) else {
            return missing("workflow", name.as_str());
        };
        summary.state = state;
        summary.message = message.to_string();
        Ok(summary.clone())
    }
    fn set_plugins(
        &self,
        name: &WorkflowName,
        plugins: Vec<PluginSummary>,
    ) -> PortResult<WorkflowSummary> {
        let mut workflows = self.workflows.lock().unwrap();
        let Some(summary) = workflows.get_mut(name) else {
            return missing("workflow", name.as_str());
        };
        summary.pinned.plugins = plugins;
        Ok(summary.clone())
    }
    fn put_report(&self, _: &Report) -> PortResult<()> {
        Ok(())
    }
    fn report(&self, name: &WorkflowName) -> PortResult<Report> {
        missing("report", name.as_str())
    }
}

impl Datasets for World {
    fn put(
        &self,
        name: &DatasetName,
        examples: &[Example],
        source: &str,
        source_digest: Option<Digest>,
    ) -> PortResult<DatasetSummary> {
        self.imports.fetch_add(1, Ordering::SeqCst);
        let mut datasets = self.datasets.lock().unwrap();
        let versions = datasets.entry(name.clone()).or_default();
        let summary = DatasetSummary {
            name: name.clone(),
            version: versions.len() as u32 + 1,
            digest: Digest::of(serde_json::to_string(examples).unwrap().as_bytes()),
            records: examples.len() as u64,
            created_ms: 1,
            source: source.into(),
            source_digest,
        };
        versions.push((summary.clone(), examples.to_vec()));
        Ok(summary)
    }
    fn get(&self, name: &DatasetName, version: Option<u32>) -> PortResult<DatasetSummary> {
        let datasets = self.datasets.lock().unwrap();
        let versions = datasets.get(name).map(Vec::as_slice).unwrap_or_default();
        let found = match version {
            Some(version) => versions.get(version as usize - 1),
            None => versions.last(),
        };
        found.map_or_else(
            || missing("dataset", name.as_str()),
            |(summary, _)| Ok(summary.clone()),
        )
    }
    fn list(&self) -> PortResult<Vec<DatasetSummary>> {
        Ok(self
            .datasets
            .lock()
            .unwrap()
            .values()
            .map(|versions| versions.last().unwrap().0.clone())
            .collect())
    }
    fn records(
        &self,
        name: &DatasetName,
        version: u32,
        from: u64,
        limit: usize,
    ) -> PortResult<Vec<Example>> {
        let datasets = self.datasets.lock().unwrap();
        let (_, examples) = &datasets[name][version as usize - 1];
        Ok(examples
            .iter()
            .skip(from as usize)
            .take(limit)
            .cloned()
            .collect())
    }
    fn by_source_digest(
        &self,
        name: &DatasetName,
        source_digest: Digest,
    ) -> PortResult<Option<DatasetSummary>> {
        let datasets = self.datasets.lock().unwrap();
        let versions = datasets.get(name).map(Vec::as_slice).unwrap_or_default();
        Ok(versions
            .iter()
            .map(|(s, _)| s)
            .find(|s| s.source_digest == Some(source_digest))
            .cloned())
    }
    fn delete(&self, name: &DatasetName) -> PortResult<()> {
        self.datasets
            .lock()
            .unwrap()
            .remove(name)
            .map_or_else(|| missing("dataset", name.as_str()), |_| Ok(()))
    }
}

impl Checkpoints for World {
    fn save(&self, _: &CheckpointId, _: &Checkpoint) -> PortResult<CheckpointSummary> {
        Err(PortError::Unavailable("nothing is saved here".into()))
    }
    fn load(&self, id: &CheckpointId) -> PortResult<Checkpoint> {
        self.checkpoints
            .lock()
            .unwrap()
            .get(id)
            .cloned()
            .map_or_else(|| missing("checkpoint", id.as_str()), Ok)
    }
    fn get(&self, id: &CheckpointId) -> PortResult<CheckpointSummary> {
        let checkpoint = self.load(id)?;
        let adapter_digest = checkpoint.adapter_digest();
        Ok(CheckpointSummary {
            id: id.clone(),
            meta: checkpoint.meta,
            adapter_digest,
            size: 1,
            created_ms: 1,
        })
    }
    fn list(&self) -> PortResult<Vec<CheckpointSummary>> {
        let ids: Vec<CheckpointId> = self.checkpoints.lock().unwrap().keys().cloned().collect();
        ids.iter().map(|id| Checkpoints::get(self, id)).collect()
    }
    fn disk_need(&self, plan: CheckpointPlan) -> PortResult<DiskNeed> {
        let bytes = plan.adapter_bytes + plan.optimizer_bytes;
        Ok(DiskNeed {
            bytes: bytes.saturating_mul(plan.written),
            available: None,
        })
    }

    fn delete(&self, _: &CheckpointId) -> PortResult<()> {
        Ok(())
    }
}

impl Events for World {
    fn publish(&self, workflow: Option<&WorkflowName>, body: EventBody) -> PortResult<Event> {
        let mut log = self.events.lock().unwrap();
        let event = Event {
            sequence: log.durable.len() as u64 + 1,
            time_ms: 1,
            workflow: workflow.cloned(),
            body,
        };
        log.durable.push(event.clone());
        log.tell(&event);
        Ok(event)
    }
    fn tell(&self, workflow: Option<&WorkflowName>, body: EventBody) {
        let event = Event {
            sequence: 0,
            time_ms: 1,
            workflow: workflow.cloned(),
            body,
        };
        self.events.lock().unwrap().tell(&event);
    }
    fn after(
        &self,
        sequence: u64,
        workflow: Option<&WorkflowName>,
        limit: usize,
    ) -> PortResult<Vec<Event>> {
        let log = self.events.lock().unwrap();
        let events = log.durable.iter().skip(sequence as usize);
        Ok(events
            .filter(|e| workflow.is_none() || e.workflow.as_ref() == workflow)
            .take(limit)
            .cloned()
            .collect())
    }
    fn last_sequence(&self) -> u64 {
        self.events.lock().unwrap().durable.len() as u64
    }
    fn listen(&self, listener: Box<dyn FnMut(&Event) -> bool + Send>) {
        self.events.lock().unwrap().listeners.push(listener);
    }
}

impl Models for World {
    fn put(&self, summary: &ModelSummary) -> PortResult<()> {
        self.models
            .lock()
            .unwrap()
            .insert(summary.name.clone(), summary.clone());
        Ok(())
    }
    fn get(&self, name: &ModelName) -> PortResult<ModelSummary> {
        self.models
            .lock()
            .unwrap()
            .get(name)
            .cloned()
            .map_or_else(|| missing("model", name.as_str()), Ok)
    }
    fn list(&self) -> PortResult<Vec<ModelSummary>> {
        Ok(self.models.lock().unwrap().values().cloned().collect())
    }
    fn delete(&self, name: &ModelName) -> PortResult<()> {
        self.models
            .lock()
            .unwrap()
            .remove(name)
            .map_or_else(|| missing("model", name.as_str()), |_| Ok(()))
    }
}

impl ModelSource for World {
    fn fetch(
        &self,
        name: &ModelName,
        source: &str,
        _: Option<&str>,
        _: &Interrupt,
        progress: &mut dyn FnMut(&str),
    ) -> PortResult<ModelSummary> {
        progress("reading");
        if source == "missing" {
            return Err(PortError::Unavailable("no such file".into()));
        }
        Ok(self.model(name.as_str()))
    }
}

impl Plugins for World {
    /// Refuses `broken`; `slow` is compiled until plugins are listed, or for ten seconds in vain.
    fn install(&self, component: &[u8], builtin: bool) -> PortResult<PluginSummary> {
        if component == b"broken" {
            return Err(PortError::Invalid("it traps".into()));
        }
        if component == b"slow" {
            self.compiling.fetch_add(1, Ordering::SeqCst);
            let started = Instant::now();
            while self.listings.load(Ordering::SeqCst) == 0 {
                if started.elapsed() > Duration::from_secs(10) {
                    return Err(PortError::Unavailable("nobody else was served".into()));
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let summary = PluginSummary {
            name: PluginName::new("form").unwrap(),
            version: "1.0.0".into(),
            kinds: vec![PluginKind::Filter],
            capabilities: Vec::new(),
            granted: Default::default(),
            digest: Digest::of(component),
            sha256: String::new(),
            config_schema: String::new(),
            size: component.len() as u64,
            builtin,
            enabled: true,
            quarantine: None,
        };
        self.plugins
            .lock()
            .unwrap()
            .insert("form".into(), summary.clone());
        Ok(summary)
    }
    fn install_granted(
        &self,
        component: &[u8],
        grant: &[Capability],
    ) -> PortResult<(PluginSummary, Option<PluginSummary>)> {
        let before = Plugins::get(self, "form").ok();
        let mut summary = self.install(component, false)?;
        summary.granted.capabilities = grant.to_vec();
        Ok((summary, before))
    }
    fn list(&self) -> PortResult<Vec<PluginSummary>> {
        self.listings.fetch_add(1, Ordering::SeqCst);
        Ok(self.plugins.lock().unwrap().values().cloned().collect())
    }
    fn get(&self, name: &str) -> PortResult<PluginSummary> {
        self.plugins
            .lock()
            .unwrap()
            .get(name)
            .cloned()
            .map_or_else(|| missing("plugin", name), Ok)
    }
    fn set_enabled(&self, name: &str, enabled: bool) -> PortResult<PluginSummary> {
        let mut plugins = self.plugins.lock().unwrap();
        let Some(plugin) = plugins.get_mut(name) else {
            return missing("plugin", name);
        };
        plugin.enabled = enabled;
        Ok(plugin.clone())
    }
    fn visit(&self, component: &[u8]) -> PortResult<PluginSummary> {
        Ok(PluginSummary {
            digest: Digest::of(component),
            ..self.install(component, false)?
        })
    }
    fn leave(&self, _: Digest) {}
    fn grant(&self, name: &str, change: &GrantChange) -> PortResult<PluginSummary> {
        let mut plugins = self.plugins.lock().unwrap();
        let Some(plugin) = plugins.get_mut(name) else {
            return missing("plugin", name);
        };
        plugin.granted.capabilities.clone_from(&change.grant);
        Ok(plugin.clone())
    }
    fn quarantine(&self, _: Digest, _: &str) -> PortResult<()> {
        Ok(())
    }
    fn standing(&self, _: Digest) -> PortResult<PluginStanding> {
        Ok(PluginStanding::Trusted)
    }
    fn remove(&self, name: &str) -> PortResult<()> {
        self.plugins
            .lock()
            .unwrap()
            .remove(name)
            .map_or_else(|| missing("plugin", name), |_| Ok(()))
    }
    fn check_config(&self, _: Digest, _: &serde_json::Value) -> PortResult<()> {
        Ok(())
    }
    fn filter(
        &self,
        _: &PluginCall<'_>,
        _: &[PluginRecord<'_>],
    ) -> PortResult<PluginRun<FilterDecision>> {
        Err(unused())
    }
    fn validate(
        &self,
        _: &PluginCall<'_>,
        _: &[PluginRecord<'_>],
    ) -> PortResult<PluginRun<Validation>> {
        Err(unused())
    }
    fn score(
        &self,
        _: &PluginCall<'_>,
        _: &[PluginRecord<'_>],
    ) -> PortResult<PluginRun<PluginScore>> {
        Err(unused())
    }
    fn render(
        &self,
        _: &PluginCall<'_>,
        _: &[TemplateRequest<'_>],
    ) -> PortResult<PluginRun<RenderedPrompt>> {
        Err(unused())
    }
    fn parse(
        &self,
        _: &PluginCall<'_>,
        _: &[TemplateCompletion<'_>],
    ) -> PortResult<PluginRun<Vec<TemplateItem>>> {
        Err(unused())
    }
}

fn unused() -> PortError {
    PortError::Unavailable("no plugin runs here".into())
}

impl DatasetReader for World {
    /// Reads an instruction a line; a line `bad` is a fault.
    fn read(&self, _: &str, bytes: &[u8]) -> ParsedFile {
        let text = String::from_utf8_lossy(bytes);
        let mut parsed = ParsedFile {
            format: "lines",
            ..ParsedFile::default()
        };
        for (index, line) in text.lines().enumerate() {
            if line == "bad" {
                parsed.refused += 1;
                parsed.faults.push(LineFault {
                    line: index as u64 + 1,
                    reason: "bad_line".into(),
                    expected: "a good line".into(),
                    found: line.into(),
                });
            } else {
                parsed
                    .examples
                    .push(Example::human(Body::instruction(line, "", "")));
            }
        }
        parsed
    }
    /// Reads the mapping's line before the file's.
    fn read_mapped(&self, file_name: &str, bytes: &[u8], mapping: &[u8]) -> ParsedFile {
        self.read(file_name, &[mapping, b"\n", bytes].concat())
    }

    /// Writes an instruction a line; one that says `unfit` does not fit.
    fn write(&self, format: &str, examples: &[Example]) -> PortResult<WrittenFile> {
        if format != "lines" {
            return Err(PortError::Invalid(format!(
                "unknown format {format:?}; expected lines"
            )));
        }
        let mut file = WrittenFile::default();
        for (example, line) in examples.iter().zip(1..) {
            let text = example.body.instruction_text();
            if text == "unfit" {
                file.refused += 1;
                file.faults.push(LineFault {
                    line,
                    reason: "unfit".into(),
                    expected: "what fits".into(),
                    found: text.into(),
                });
            } else {
                file.written += 1;
                file.bytes.extend(format!("{text}\n").into_bytes());
            }
        }
        Ok(file)
    }
}

impl Requests for World {
    fn recall(&self, method: &str, request_id: &str, body: Digest) -> PortResult<Option<Vec<u8>>> {
        match self
            .requests
            .lock()
            .unwrap()
            .get(&(method.to_string(), request_id.to_string()))
        {
            Some((found, answer)) if *found == body => Ok(Some(answer.clone())),
            Some(_) => Err(PortError::Exists {
                what: "request",
                name: request_id.into(),
                detail: "with another body".into(),
            }),
            None => Ok(None),
        }
    }
    fn remember(
        &self,
        method: &str,
        request_id: &str,
        body: Digest,
        answer: &[u8],
    ) -> PortResult<()> {
        let key = (method.to_string(), request_id.to_string());
        self.requests
            .lock()
            .unwrap()
            .insert(key, (body, answer.to_vec()));
        Ok(())
    }
}

impl Spending for World {
    fn spent(&self, _: &WorkflowName) -> PortResult<f64> {
        Ok(0.0)
    }

    fn spend(&self, _: &WorkflowName, cost: f64) -> PortResult<f64> {
        Ok(cost)
    }
}

impl Reviews for World {
    fn lay(&self, workflow: &WorkflowName, round: u32, items: &[ReviewItem]) -> PortResult<u64> {
        let mut reviews = self.reviews.lock().unwrap();
        let review = reviews.entry((workflow.clone(), round)).or_default();
        review.items.extend_from_slice(items);
        Ok(items.len() as u64)
    }
    fn complete(&self, workflow: &WorkflowName, round: u32, examples: u64) -> PortResult<()> {
        let mut reviews = self.reviews.lock().unwrap();
        let review = reviews.entry((workflow.clone(), round)).or_default();
        review.examples = Some(examples);
        Ok(())
    }
    fn get(&self, workflow: &WorkflowName, round: u32) -> PortResult<ReviewRound> {
        let reviews = self.reviews.lock().unwrap();
        let review = reviews.get(&(workflow.clone(), round));
        Ok(review.cloned().unwrap_or_default())
    }
    fn rounds(&self, workflow: Option<&WorkflowName>) -> PortResult<Vec<(WorkflowName, u32)>> {
        let reviews = self.reviews.lock().unwrap();
        let rounds = reviews.keys().cloned();
        Ok(rounds
            .filter(|(name, _)| workflow.is_none_or(|wanted| wanted == name))
            .collect())
    }
    fn decide(
        &self,
        workflow: &WorkflowName,
        round: u32,
        decision: &ReviewDecision,
    ) -> PortResult<ReviewDecision> {
        let mut reviews = self.reviews.lock().unwrap();
        let Some(review) = reviews.get_mut(&(workflow.clone(), round)) else {
            return missing("review", workflow.as_str());
        };
        review.decisions.push(decision.clone());
        Ok(decision.clone())
    }
    fn settle(&self, workflow: &WorkflowName, round: u32, counted: u64) -> PortResult<ReviewRound> {
        let mut reviews = self.reviews.lock().unwrap();
        let review = reviews.entry((workflow.clone(), round)).or_default();
        review.settled = review.settled.or(Some(counted));
        Ok(review.clone())
    }
}

impl Clock for World {
    fn now_ms(&self) -> u64 {
        1_700_000_000_000
    }
    fn peak_rss_mb(&self) -> u64 {
        42
    }
    fn rss_mb(&self) -> u64 {
        41
    }
}

impl ReportFiles for World {
    fn write(&self, _: &WorkflowName, _: &ReportTexts) -> PortResult<()> {
        Ok(())
    }
    fn write_training(
        &self,
        _: &WorkflowName,
        _: u32,
        _: &TrainingLog,
        _: usize,
    ) -> PortResult<()> {
        Ok(())
    }
    fn folder(&self, workflow: &WorkflowName) -> PathBuf {
        PathBuf::from("/reports").join(workflow.as_str())
    }
}
