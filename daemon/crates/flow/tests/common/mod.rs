//! Ports in memory, for the loop's own tests: a counting engine, a journal that can be cut anywhere.

mod plugins;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use autodidact_domain::checkpoint::CheckpointMeta;
use autodidact_domain::generation::{ResponseLoss, ScoreRequest};
use autodidact_domain::journal::{RecordedVerdict, StageName};
use autodidact_domain::ports::*;
use autodidact_domain::preflight::{CheckpointPlan, DiskNeed};
use autodidact_domain::training::{TrainProgress, TrainingLog};
use autodidact_domain::*;

/// Everything in memory behind one lock; `steps_left` cuts the run off like a kill would, between two writes.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) state: Mutex<State>,
    pub(crate) steps_left: AtomicU64,
    pub(crate) cut: AtomicBool,
    /// Refuses writes as a full disk does, once so many more were made.
    pub(crate) full_after: Mutex<Option<u64>>,
    /// The step at which training gives no number.
    pub(crate) diverges_at: Mutex<Option<u32>>,
    /// The steps of every training log that was written, with the position from which it was.
    pub(crate) logs: Mutex<Vec<(usize, Vec<u32>)>>,
    /// The events that were told and not kept.
    pub(crate) told: Mutex<Vec<EventBody>>,
    pub(crate) clock_ms: AtomicU64,
    pub(crate) effects: AtomicU64,
    /// Answers that the engine knows, by a part of the question.
    pub(crate) knows: Mutex<Vec<(String, String)>>,
    /// What models say to what they are asked, before all else.
    pub(crate) script: Mutex<Option<Script>>,
    /// Whether who is asked for a mark says something else.
    pub(crate) mumbles: AtomicBool,
    /// Whether an adapter makes every loss higher instead of lower.
    pub(crate) harms: AtomicBool,
}

/// What a model says to a request; none leaves it to chance.
pub(crate) type Script = fn(&ModelRef, &GenerateRequest) -> Option<String>;

#[derive(Default, Clone)]
pub(crate) struct State {
    pub(crate) steps: BTreeMap<(WorkflowName, u32, StageName, u32), Option<serde_json::Value>>,
    pub(crate) verdicts: Vec<(StepKey, RecordedVerdict)>,
    pub(crate) workflows: BTreeMap<WorkflowName, WorkflowSummary>,
    pub(crate) reports: BTreeMap<WorkflowName, Report>,
    pub(crate) datasets: BTreeMap<DatasetName, Vec<(DatasetSummary, Vec<Example>)>>,
    pub(crate) checkpoints: BTreeMap<CheckpointId, Checkpoint>,
    pub(crate) events: Vec<Event>,
    pub(crate) spent: f64,
    pub(crate) reviews: BTreeMap<(WorkflowName, u32), ReviewRound>,
    pub(crate) plugins: plugins::Standing,
}

impl World {
    fn write(&self) -> PortResult<std::sync::MutexGuard<'_, State>> {
        if let Some(left) = self.full_after.lock().expect("no panic").as_mut() {
            if *left == 0 {
                return Err(PortError::Unavailable("the disk is full".into()));
            }
            *left -= 1;
        }
        if self.steps_left.fetch_sub(1, Ordering::SeqCst) == 0 {
            self.cut.store(true, Ordering::SeqCst);
        }
        if self.cut.load(Ordering::SeqCst) {
            self.steps_left.store(0, Ordering::SeqCst);
            return Err(PortError::Interrupted);
        }
        Ok(self
            .state
            .lock()
            .expect("no test panics while it holds the lock"))
    }

    fn read(&self) -> std::sync::MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no test panics while it holds the lock")
    }

    pub(crate) fn revive(&self, steps: u64) {
        self.steps_left.store(steps, Ordering::SeqCst);
        self.cut.store(false, Ordering::SeqCst);
    }
}

pub(crate) struct Fake(pub(crate) Arc<World>);

pub(crate) fn ports(world: &Arc<World>) -> Ports {
    let fake = || Arc::new(Fake(Arc::clone(world)));
    Ports {
        engine: fake(),
        journal: fake(),
        workflows: fake(),
        datasets: fake(),
        checkpoints: fake(),
        events: fake(),
        models: fake(),
        model_source: fake(),
        plugins: fake(),
        reader: fake(),
        requests: fake(),
        spending: fake(),
        reviews: fake(),
        clock: fake(),
        reports: fake(),
        embedders: Arc::default(),
    }
}

fn missing(what: &'static str, name: impl ToString) -> PortError {
    PortError::NotFound {
        what,
        name: name.to_string(),
        nearest: None,
    }
}

/// Words for made-up tasks; two draws of five seldom agree.
const WORDS: [&str; 24] = [
    "river", "copper", "violin", "harvest", "orbit", "lantern", "pepper", "glacier", "window",
    "falcon", "garden", "market", "engine", "cotton", "island", "mirror", "needle", "palace",
    "quarry", "ribbon", "saddle", "temple", "valley", "walnut",
];

fn sentence(random: &mut random::Random, words: usize) -> String {
    let picked: Vec<&str> = (0..words)
        .map(|_| WORDS[random.below(WORDS.len())])
        .collect();
    format!("Describe {} please.", picked.join(" "))
}

/// A vector of length 1: the sum of one for each word.
fn bag_of_words(text: &str) -> Vec<f32> {
    let mut sum = vec![0.0f32; 16];
    for word in text.split_whitespace() {
        let mut random = random::Random::at(0, &[word]);
        sum.iter_mut()
            .for_each(|x| *x += random.next_f64() as f32 - 0.5);
    }
    embedding::normalized(sum)
}

/// A prompt that no model takes.
pub(crate) const REFUSED: &str = "REFUSED";

impl Engine for Fake {
    fn generate(
        &self,
        model: &ModelRef,
        requests: Vec<GenerateRequest>,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(u64),
    ) -> PortResult<Vec<Completion>> {
        if interrupt.is_raised() {
            return Err(PortError::Interrupted);
        }
        self.0.effects.fetch_add(1, Ordering::SeqCst);
        self.0.clock_ms.fetch_add(1000, Ordering::SeqCst);
        let is_refused =
            |request: &GenerateRequest| request.prompt == Prompt::Text(REFUSED.to_string());
        if requests.iter().any(is_refused) {
            return Err(PortError::Invalid("no such turn".to_string()));
        }
        Ok(requests
            .iter()
            .map(|request| {
                progress(3);
                let prompt = format!("{:?}{model:?}", request.prompt);
                let mut random = random::Random::at(request.sampling.seed, &[&prompt]);
                let choices = match &request.constraint {
                    Some(Constraint::Choices(choices)) => choices.as_slice(),
                    _ => &[],
                };
                let knows = self.0.knows.lock().expect("no panic");
                let asked = match &request.prompt {
                    Prompt::Chat(turns) => turns.last().map_or("", |turn| turn.content.as_str()),
                    Prompt::Text(_) => "",
                };
                let known = knows.iter().find(|(part, _)| asked.contains(part));
                let script = *self.0.script.lock().expect("no panic");
                let said = script.and_then(|script| script(model, request));
                let mumbles = self.0.mumbles.load(Ordering::SeqCst);
                let text = match &request.prompt {
                    _ if said.is_some() => said.expect("just looked at"),
                    _ if known.is_some() => known.expect("just looked at").1.clone(),
                    _ if mumbles && choices.iter().any(|choice| choice == "5") => {
                        "splendid".to_string()
                    }
                    _ if !choices.is_empty() => choices[random.below(choices.len())].clone(),
                    Prompt::Text(text) if text.ends_with("Label:") => " right".to_string(),
                    Prompt::Text(text) if text.ends_with("Label: right\nInput:") => {
                        " A thing that is right.".to_string()
                    }
                    Prompt::Text(text) if text.ends_with("Harder task:") => {
                        format!(" {}", sentence(&mut random, 7))
                    }
                    Prompt::Text(text) if text.starts_with("Come up") => match random.below(5) {
                        0 => String::new(),
                        _ => format!(
                            " {}\n10. {}",
                            sentence(&mut random, 5),
                            sentence(&mut random, 2)
                        ),
                    },
                    Prompt::Text(_) => " <noinput>".to_string(),
                    Prompt::Chat(_) if random.below(6) == 0 => "Here it is:".to_string(),
                    Prompt::Chat(_) => sentence(&mut random, 6),
                };
                Completion {
                    text,
                    finish: FinishReason::Eos,
                    prompt_tokens: 9,
                    completion_tokens: 3,
                    logprobs: Vec::new(),
                }
            })
            .collect())
    }

    /// A remote model takes half of what a request may cost; requests are sent one after another.
    fn generate_paid(
        &self,
        model: &ModelRef,
        requests: Vec<GenerateRequest>,
        account: &dyn Account,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(u64),
    ) -> PortResult<Vec<Completion>> {
        if model.model.as_str() != "far" {
            return self.generate(model, requests, interrupt, progress);
        }
        let mut completions = Vec::new();
        for request in requests {
            assert_eq!(account.reserve(2.0)?, Leave::Granted);
            completions.extend(self.generate(model, vec![request], interrupt, progress)?);
            let usage = RemoteUsage {
                model: model.model.clone(),
                source: "remote:http://far/v1".into(),
                prompt_tokens: 9,
                completion_tokens: 3,
                counted: true,
                cost: 1.0,
            };
            account.settle(2.0, &usage)?;
        }
        Ok(completions)
    }

    fn response_loss(
        &self,
        model: &ModelRef,
        conversations: Vec<Vec<Message>>,
        _: &Interrupt,
    ) -> PortResult<Vec<ResponseLoss>> {
        let gain = match self.0.harms.load(Ordering::SeqCst) {
            true => -0.5,
            false => 0.5,
        };
        let better = if model.adapter.is_some() { gain } else { 0.0 };
        Ok(conversations
            .iter()
            .enumerate()
            .map(|(i, _)| ResponseLoss {
                negative_log_likelihood: 8.0 - better + i as f64 % 3.0,
                tokens: 4,
                prompt_tokens: 9,
            })
            .collect())
    }

    /// The longer a text and the more it says of lanterns, the less likely it is.
    fn score(
        &self,
        _: &ModelRef,
        requests: Vec<ScoreRequest>,
        _: &Interrupt,
    ) -> PortResult<Vec<ResponseLoss>> {
        let loss = |request: &ScoreRequest| {
            let words = request.continuation.split_whitespace().count() as u32;
            let odd = request.continuation.matches("lantern").count();
            let asked = format!("{:?}", request.prompt).len() as f64;
            ResponseLoss {
                negative_log_likelihood: f64::from(words) * (3.0 - 1e-3 * asked)
                    + 40.0 * odd as f64,
                tokens: words,
                prompt_tokens: 9,
            }
        };
        Ok(requests.iter().map(loss).collect())
    }

    fn train(
        &self,
        request: TrainRequest,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(TrainProgress),
    ) -> PortResult<TrainSegment> {
        let options = &request.options;
        let in_epochs = request.examples.len().div_ceil(options.batch_size as usize) as u32;
        let total_steps = match options.max_steps {
            0 => in_epochs * options.epochs,
            steps => steps,
        };
        let start = request
            .resume
            .as_ref()
            .map_or(0, |checkpoint| checkpoint.meta.step);
        let evaluated = match options.eval_steps {
            0 => total_steps,
            every => (start / every + 1) * every,
        };
        let step = (start + request.steps).min(evaluated).min(total_steps);
        let mut value = request
            .resume
            .as_ref()
            .map_or(0.0, |checkpoint| checkpoint.adapter[0].data[0]);
        for i in start..step {
            if interrupt.is_raised() {
                return Err(PortError::Interrupted);
            }
            if Some(i + 1) == *self.0.diverges_at.lock().expect("no panic") {
                return Err(PortError::Diverged {
                    message: format!("training diverged at step {}", i + 1),
                    examples: vec![0, 1],
                });
            }
            value += random::Random::at(
                request.seed,
                &[&i.to_string(), &format!("{:?}", request.examples)],
            )
            .next_f64() as f32;
            let figures = TrainProgress {
                step: i + 1,
                total_steps,
                loss: 1.0,
                learning_rate: 0.1,
                grad_norm: 1.0,
                tokens_per_second: 1.0,
            };
            progress(figures);
        }
        let tensor = NamedTensor {
            name: "a".into(),
            shape: vec![1],
            data: vec![value],
        };
        // The loss falls until the fourth step, and rises from there.
        let is_evaluated = options.eval_steps > 0 && step == evaluated.min(total_steps);
        let loss = f64::from(step.abs_diff(4)) + 1.0;
        let evaluation = is_evaluated.then_some(EvalLoss { step, loss });
        let patience = options.early_stopping_patience * options.eval_steps;
        let stopped_early = is_evaluated && patience > 0 && step >= 4 + patience;
        Ok(TrainSegment {
            checkpoint: Checkpoint {
                meta: CheckpointMeta {
                    method: "lora".into(),
                    model: request.model.model,
                    base_digest: Digest::of(b"base"),
                    adapter_config: serde_json::json!({}),
                    step,
                    total_steps,
                    trainer_state: serde_json::json!({}),
                    promoted_from: None,
                },
                adapter: vec![tensor.clone()],
                optimizer: vec![tensor],
            },
            step,
            total_steps,
            losses: vec![1.0; (step - start) as usize],
            evaluation,
            stopped_early,
            tokens: 10,
            truncated: 0,
            refused: Vec::new(),
        })
    }

    fn generate_stream(
        &self,
        model: &ModelRef,
        requests: Vec<GenerateRequest>,
        interrupt: &Interrupt,
        _: &mut dyn FnMut(usize, &str),
    ) -> PortResult<Vec<Completion>> {
        self.generate(model, requests, interrupt, &mut |_| {})
    }

    fn embed(
        &self,
        embedder: &EmbedderRef,
        texts: Vec<String>,
        interrupt: &Interrupt,
    ) -> PortResult<Embeddings> {
        let report = self.embed_report(embedder, texts.clone(), interrupt)?;
        Ok(Embeddings {
            vectors: texts.iter().map(|text| bag_of_words(text)).collect(),
            tokens: report.tokens,
            unknown_tokens: report.unknown_tokens,
        })
    }

    /// Counts letters; an encoder knows those of ASCII alone.
    fn embed_report(
        &self,
        embedder: &EmbedderRef,
        texts: Vec<String>,
        _: &Interrupt,
    ) -> PortResult<EmbedReport> {
        let letters = texts.iter().flat_map(|text| text.chars());
        let knows_all = !matches!(embedder, EmbedderRef::Encoder(_));
        let unknown = letters.clone().filter(|c| !knows_all && !c.is_ascii());
        Ok(EmbedReport {
            tokens: letters.clone().count() as u64,
            unknown_tokens: unknown.count() as u64,
        })
    }

    /// Refuses the regular expression `(` alone.
    fn check_constraint(&self, constraint: &Constraint) -> Result<(), String> {
        match constraint {
            Constraint::Regex(regex) if regex == "(" => Err("unclosed group".to_string()),
            _ => Ok(()),
        }
    }

    fn compute(&self) -> &'static str {
        "exact"
    }
}

impl Journal for Fake {
    fn steps(&self, workflow: &WorkflowName) -> PortResult<Vec<StepRecord>> {
        let state = self.0.read();
        Ok(state
            .steps
            .iter()
            .filter(|((of, ..), _)| of == workflow)
            .map(|((_, round, stage, index), result)| StepRecord {
                key: StepKey {
                    workflow: workflow.clone(),
                    round: *round,
                    stage: *stage,
                    index: *index,
                },
                result: result.clone(),
            })
            .collect())
    }

    fn begin(&self, key: &StepKey) -> PortResult<()> {
        self.0
            .write()?
            .steps
            .entry((key.workflow.clone(), key.round, key.stage, key.index))
            .or_insert(None);
        Ok(())
    }

    fn commit(
        &self,
        key: &StepKey,
        result: serde_json::Value,
        verdicts: &[RecordedVerdict],
    ) -> PortResult<()> {
        let mut state = self.0.write()?;
        let place = (key.workflow.clone(), key.round, key.stage, key.index);
        state.steps.insert(place, Some(result));
        state.verdicts.retain(|(of, _)| of != key);
        state.verdicts.extend(
            verdicts
                .iter()
                .map(|verdict| (key.clone(), verdict.clone())),
        );
        Ok(())
    }

    fn verdicts(
        &self,
        workflow: &WorkflowName,
        from: u64,
        limit: usize,
    ) -> PortResult<Vec<RecordedVerdict>> {
        Ok(self
            .0
            .read()
            .verdicts
            .iter()
            .filter(|(key, _)| key.workflow == *workflow)
            .skip(from as usize)
            .take(limit)
            .map(|(_, v)| v.clone())
            .collect())
    }

    fn verdict_counts(
        &self,
        workflow: &WorkflowName,
        round: u32,
        stage: StageName,
    ) -> PortResult<(u64, u64)> {
        let state = self.0.read();
        let count = |decision| {
            let mine = |v: &&(StepKey, RecordedVerdict)| {
                v.0.workflow == *workflow && v.1.round == round && v.1.stage == stage
            };
            state
                .verdicts
                .iter()
                .filter(mine)
                .filter(|(_, v)| v.verdict.decision == decision)
                .count() as u64
        };
        Ok((count(Decision::Keep), count(Decision::Drop)))
    }
}

impl Workflows for Fake {
    fn create(&self, summary: WorkflowSummary) -> PortResult<WorkflowSummary> {
        Ok(self
            .0
            .read()
            .workflows
            .entry(summary.spec.name.clone())
            .or_insert(summary)
            .clone())
    }

    fn get(&self, name: &WorkflowName) -> PortResult<WorkflowSummary> {
        self.0
            .read()
            .workflows
            .get(name)
            .cloned()
            .ok_or_else(|| missing("workflow", name))
    }

    fn list(&self) -> PortResult<Vec<WorkflowSummary>> {
        Ok(self.0.read().workflows.values().cloned().collect())
    }

    fn set_plugins(
        &self,
        name: &WorkflowName,
        plugins: Vec<PluginSummary>,
    ) -> PortResult<WorkflowSummary> {
        let mut world = self.0.read();
        let workflow = world.workflows.get_mut(name);
        let workflow = workflow.ok_or_else(|| missing("workflow", name))?;
        workflow.pinned.plugins = plugins;
        Ok(workflow.clone())
    }

    fn set_state(
        &self,
        name: &WorkflowName,
        state: WorkflowState,
        message: &str,
    ) -> PortResult<WorkflowSummary> {
        if *self.0.full_after.lock().expect("no panic") == Some(0) {
            return Err(PortError::Unavailable("the disk is full".into()));
        }
        let mut world = self.0.read();
        let workflow = world
            .workflows
            .get_mut(name)
            .ok_or_else(|| missing("workflow", name))?;
        workflow.state = state;
        workflow.message = message.to_string();
        Ok(workflow.clone())
    }

    fn put_report(&self, report: &Report) -> PortResult<()> {
        self.0
            .write()?
            .reports
            .insert(report.workflow.clone(), report.clone());
        Ok(())
    }

    fn report(&self, name: &WorkflowName) -> PortResult<Report> {
        self.0
            .read()
            .reports
            .get(name)
            .cloned()
            .ok_or_else(|| missing("report", name))
    }
}

impl Datasets for Fake {
    fn put(
        &self,
        name: &DatasetName,
        examples: &[Example],
        source: &str,
        source_digest: Option<Digest>,
    ) -> PortResult<DatasetSummary> {
        let mut state = self.0.write()?;
        let versions = state.datasets.entry(name.clone()).or_default();
        let summary = DatasetSummary {
            name: name.clone(),
            version: versions.len() as u32 + 1,
            digest: Digest::of(
                serde_json::to_string(examples)
                    .expect("plain data")
                    .as_bytes(),
            ),
            records: examples.len() as u64,
            created_ms: 0,
            source: source.to_string(),
            source_digest,
        };
        versions.push((summary.clone(), examples.to_vec()));
        Ok(summary)
    }

    fn get(&self, name: &DatasetName, version: Option<u32>) -> PortResult<DatasetSummary> {
        let state = self.0.read();
        let versions = state
            .datasets
            .get(name)
            .ok_or_else(|| missing("dataset", name))?;
        let at = version.map_or(versions.len() - 1, |version| version as usize - 1);
        versions
            .get(at)
            .map(|(summary, _)| summary.clone())
            .ok_or_else(|| missing("dataset", name))
    }

    fn list(&self) -> PortResult<Vec<DatasetSummary>> {
        Ok(self
            .0
            .read()
            .datasets
            .values()
            .filter_map(|v| v.last())
            .map(|(s, _)| s.clone())
            .collect())
    }

    fn records(
        &self,
        name: &DatasetName,
        version: u32,
        from: u64,
        limit: usize,
    ) -> PortResult<Vec<Example>> {
        let state = self.0.read();
        let versions = state
            .datasets
            .get(name)
            .ok_or_else(|| missing("dataset", name))?;
        Ok(versions[version as usize - 1]
            .1
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
        let state = self.0.read();
        let found = state.datasets.get(name).and_then(|v| {
            v.iter()
                .find(|(s, _)| s.source_digest == Some(source_digest))
        });
        Ok(found.map(|(summary, _)| summary.clone()))
    }

    fn delete(&self, name: &DatasetName) -> PortResult<()> {
        self.0.write()?.datasets.remove(name);
        Ok(())
    }
}

impl Checkpoints for Fake {
    fn save(&self, id: &CheckpointId, checkpoint: &Checkpoint) -> PortResult<CheckpointSummary> {
        self.0
            .write()?
            .checkpoints
            .insert(id.clone(), checkpoint.clone());
        Checkpoints::get(self, id)
    }

    fn load(&self, id: &CheckpointId) -> PortResult<Checkpoint> {
        self.0
            .read()
            .checkpoints
            .get(id)
            .cloned()
            .ok_or_else(|| missing("checkpoint", id))
    }

    fn get(&self, id: &CheckpointId) -> PortResult<CheckpointSummary> {
        let checkpoint = self.load(id)?;
        let adapter_digest = checkpoint.adapter_digest();
        Ok(CheckpointSummary {
            id: id.clone(),
            meta: checkpoint.meta,
            adapter_digest,
            size: 4,
            created_ms: 0,
        })
    }

    fn list(&self) -> PortResult<Vec<CheckpointSummary>> {
        let ids: Vec<CheckpointId> = self.0.read().checkpoints.keys().cloned().collect();
        ids.iter().map(|id| Checkpoints::get(self, id)).collect()
    }

    fn disk_need(&self, plan: CheckpointPlan) -> PortResult<DiskNeed> {
        let bytes = plan.adapter_bytes + plan.optimizer_bytes;
        Ok(DiskNeed {
            bytes: bytes.saturating_mul(plan.written),
            available: None,
        })
    }

    fn delete(&self, id: &CheckpointId) -> PortResult<()> {
        self.0.write()?.checkpoints.remove(id);
        Ok(())
    }
}

impl Events for Fake {
    fn publish(&self, workflow: Option<&WorkflowName>, body: EventBody) -> PortResult<Event> {
        let mut state = self.0.read();
        let event = Event {
            sequence: state.events.len() as u64 + 1,
            time_ms: 0,
            workflow: workflow.cloned(),
            body,
        };
        state.events.push(event.clone());
        Ok(event)
    }

    fn tell(&self, _: Option<&WorkflowName>, body: EventBody) {
        self.0.told.lock().expect("no panic").push(body);
    }

    fn after(
        &self,
        sequence: u64,
        _: Option<&WorkflowName>,
        limit: usize,
    ) -> PortResult<Vec<Event>> {
        Ok(self
            .0
            .read()
            .events
            .iter()
            .filter(|e| e.sequence > sequence)
            .take(limit)
            .cloned()
            .collect())
    }

    fn last_sequence(&self) -> u64 {
        self.0.read().events.len() as u64
    }

    fn listen(&self, _: Box<dyn FnMut(&Event) -> bool + Send>) {}
}

impl Models for Fake {
    fn put(&self, _: &ModelSummary) -> PortResult<()> {
        Ok(())
    }

    fn get(&self, name: &ModelName) -> PortResult<ModelSummary> {
        let (source, architecture) = match name.as_str() {
            "tiny" | "second" => ("memory", "llama"),
            "minilm" => ("memory", "bert"),
            "far" => ("remote:http://far/v1", "remote"),
            _ => return Err(missing("model", name)),
        };
        Ok(ModelSummary {
            name: name.clone(),
            source: source.into(),
            path: String::new(),
            sha256: String::new(),
            architecture: architecture.into(),
            parameters: 1,
            quantization: "F32".into(),
            context_length: 1024,
            digest: Digest::of(b"base"),
            details: Default::default(),
        })
    }

    fn list(&self) -> PortResult<Vec<ModelSummary>> {
        ["far", "minilm", "tiny"]
            .map(|name| Models::get(self, &ModelName::new(name).expect("a plain name")))
            .into_iter()
            .collect()
    }

    fn delete(&self, _: &ModelName) -> PortResult<()> {
        Ok(())
    }
}

impl ModelSource for Fake {
    fn fetch(
        &self,
        name: &ModelName,
        _: &str,
        _: Option<&str>,
        _: &Interrupt,
        _: &mut dyn FnMut(&str),
    ) -> PortResult<ModelSummary> {
        Models::get(self, name)
    }
}

impl DatasetReader for Fake {
    fn read(&self, _: &str, _: &[u8]) -> ParsedFile {
        ParsedFile::default()
    }

    fn read_mapped(&self, _: &str, _: &[u8], _: &[u8]) -> ParsedFile {
        ParsedFile::default()
    }

    fn write(&self, _: &str, _: &[Example]) -> PortResult<WrittenFile> {
        Ok(WrittenFile::default())
    }
}

impl Requests for Fake {
    fn recall(&self, _: &str, _: &str, _: Digest) -> PortResult<Option<Vec<u8>>> {
        Ok(None)
    }

    fn remember(&self, _: &str, _: &str, _: Digest, _: &[u8]) -> PortResult<()> {
        Ok(())
    }
}

impl Spending for Fake {
    fn spent(&self, _: &WorkflowName) -> PortResult<f64> {
        Ok(self.0.read().spent)
    }

    fn spend(&self, _: &WorkflowName, cost: f64) -> PortResult<f64> {
        let mut state = self.0.read();
        state.spent += cost;
        Ok(state.spent)
    }
}

impl Reviews for Fake {
    fn lay(&self, workflow: &WorkflowName, round: u32, items: &[ReviewItem]) -> PortResult<u64> {
        let mut state = self.0.write()?;
        let review = state.reviews.entry((workflow.clone(), round)).or_default();
        let before = review.items.len();
        for item in items {
            if !review.items.iter().any(|i| i.example.id == item.example.id) {
                review.items.push(item.clone());
            }
        }
        Ok((review.items.len() - before) as u64)
    }

    fn complete(&self, workflow: &WorkflowName, round: u32, examples: u64) -> PortResult<()> {
        let mut state = self.0.write()?;
        let review = state.reviews.entry((workflow.clone(), round)).or_default();
        review.examples = Some(examples);
        Ok(())
    }

    fn get(&self, workflow: &WorkflowName, round: u32) -> PortResult<ReviewRound> {
        let state = self.0.read();
        let review = state.reviews.get(&(workflow.clone(), round));
        Ok(review.cloned().unwrap_or_default())
    }

    fn rounds(&self, workflow: Option<&WorkflowName>) -> PortResult<Vec<(WorkflowName, u32)>> {
        let state = self.0.read();
        let rounds = state.reviews.keys().cloned();
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
        let mut state = self.0.read();
        let review = state.reviews.get_mut(&(workflow.clone(), round));
        let review = review.ok_or_else(|| missing("review", workflow))?;
        review.decisions.push(decision.clone());
        Ok(decision.clone())
    }

    fn settle(&self, workflow: &WorkflowName, round: u32, counted: u64) -> PortResult<ReviewRound> {
        let mut state = self.0.write()?;
        let review = state.reviews.entry((workflow.clone(), round)).or_default();
        review.settled = review.settled.or(Some(counted));
        Ok(review.clone())
    }
}

impl Clock for Fake {
    fn now_ms(&self) -> u64 {
        self.0.clock_ms.load(Ordering::SeqCst)
    }

    fn peak_rss_mb(&self) -> u64 {
        1
    }
    fn rss_mb(&self) -> u64 {
        1
    }
}

impl ReportFiles for Fake {
    fn write(&self, _: &WorkflowName, _: &ReportTexts) -> PortResult<()> {
        Ok(())
    }

    fn write_training(
        &self,
        _: &WorkflowName,
        _: u32,
        log: &TrainingLog,
        from: usize,
    ) -> PortResult<()> {
        let steps = log.steps.iter().map(|step| step.progress.step).collect();
        self.0.logs.lock().expect("no panic").push((from, steps));
        Ok(())
    }

    fn folder(&self, _: &WorkflowName) -> PathBuf {
        PathBuf::new()
    }
}
