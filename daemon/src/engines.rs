//! Every engine under one port: a name that is configured as a remote model goes to its server, any other to the device.

use std::sync::Arc;

use anyhow::{Context, bail};
use autodidact_domain::exchange::{AdapterFile, ExportProgress, ExportedModel};
use autodidact_domain::generation::ResponseLoss;
use autodidact_domain::ports::{Engine, Models, TrainingView};
use autodidact_domain::preflight::{TrainData, TrainNeed};
use autodidact_domain::training::{TrainOptions, TrainProgress};
use autodidact_domain::{
    Account, Checkpoint, CheckpointId, Classifications, ClassifyInput, Completion, Constraint,
    EmbedReport, EmbedderRef, Embeddings, GenerateRequest, Interrupt, Message, ModelName, ModelRef,
    ModelSummary, PortError, PortResult, ScoreRequest, TrainRequest, TrainSegment,
};
use autodidact_remote::{Key, RemoteModels};

use crate::config::{RemoteModelConfig, RemoteModelConfigs};
use crate::device_thread::DeviceThread;

/// The most that a key file may hold.
const MAX_KEY_FILE_BYTES: u64 = 64 << 10;

/// Makes the configured remote models, with their keys. No server is asked anything.
///
/// # Errors
/// Every key that cannot be read, at once.
pub(crate) fn open_remote(
    configs: &RemoteModelConfigs,
    variable: impl Fn(&str) -> Option<String>,
) -> anyhow::Result<RemoteModels> {
    let mut models = Vec::new();
    let mut faults = Vec::new();
    for (name, config) in configs {
        match read_key(config, &variable) {
            Ok(key) => models.push((ModelName::new(name.as_str())?, config.settings.clone(), key)),
            Err(fault) => faults.push(format!("[remote_models.{name}] {fault}")),
        }
    }
    if !faults.is_empty() {
        bail!("{}", faults.join("; "));
    }
    RemoteModels::open(models).context("open the remote models")
}

/// Reads a model's key. Messages name the place, and never a word of what is there.
fn read_key(
    config: &RemoteModelConfig,
    variable: &impl Fn(&str) -> Option<String>,
) -> Result<Option<Key>, String> {
    let (place, text) = match (&config.key_file, &config.key_env) {
        (Some(path), _) => {
            let place = format!("key_file {}", path.display());
            let size = std::fs::metadata(path).map(|metadata| metadata.len());
            let text = match size {
                Ok(size) if size > MAX_KEY_FILE_BYTES => {
                    return Err(format!("{place}: it is longer than a key can be"));
                }
                Ok(_) => std::fs::read_to_string(path).map_err(|error| error.kind()),
                Err(error) => Err(error.kind()),
            };
            (
                place.clone(),
                text.map_err(|kind| format!("{place}: {kind}"))?,
            )
        }
        (None, Some(name)) => {
            let place = format!("key_env {name}");
            let text = variable(name).ok_or_else(|| {
                format!("{place}: the daemon's environment has no such variable; set it before `autodidact serve`")
            })?;
            (place, text)
        }
        (None, None) => return Ok(None),
    };
    match Key::new(&text) {
        Ok(key) => Ok(Some(key)),
        Err(fault) => Err(format!("{place}: {fault}")),
    }
}

/// The device and the remote models.
pub(crate) struct Engines {
    device: Arc<DeviceThread>,
    remote: Arc<RemoteModels>,
}

impl Engines {
    pub(crate) fn new(device: Arc<DeviceThread>, remote: Arc<RemoteModels>) -> Self {
        Self { device, remote }
    }

    fn of(&self, model: &ModelName) -> &dyn Engine {
        match self.remote.get(model) {
            Some(remote) => remote,
            None => &*self.device,
        }
    }
}

impl Engine for Engines {
    fn generate(
        &self,
        model: &ModelRef,
        requests: Vec<GenerateRequest>,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(u64),
    ) -> PortResult<Vec<Completion>> {
        self.of(&model.model)
            .generate(model, requests, interrupt, progress)
    }

    fn generate_paid(
        &self,
        model: &ModelRef,
        requests: Vec<GenerateRequest>,
        account: &dyn Account,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(u64),
    ) -> PortResult<Vec<Completion>> {
        self.of(&model.model)
            .generate_paid(model, requests, account, interrupt, progress)
    }

    fn response_loss(
        &self,
        model: &ModelRef,
        conversations: Vec<Vec<Message>>,
        interrupt: &Interrupt,
    ) -> PortResult<Vec<ResponseLoss>> {
        self.of(&model.model)
            .response_loss(model, conversations, interrupt)
    }

    fn classify(
        &self,
        model: &ModelRef,
        inputs: Vec<ClassifyInput>,
        interrupt: &Interrupt,
    ) -> PortResult<Classifications> {
        self.of(&model.model).classify(model, inputs, interrupt)
    }

    fn train(
        &self,
        request: TrainRequest,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(TrainProgress),
    ) -> PortResult<TrainSegment> {
        self.of(&request.model.model)
            .train(request, interrupt, progress)
    }

    fn generate_stream(
        &self,
        model: &ModelRef,
        requests: Vec<GenerateRequest>,
        interrupt: &Interrupt,
        piece: &mut dyn FnMut(usize, &str),
    ) -> PortResult<Vec<Completion>> {
        self.of(&model.model)
            .generate_stream(model, requests, interrupt, piece)
    }

    fn score(
        &self,
        model: &ModelRef,
        requests: Vec<ScoreRequest>,
        interrupt: &Interrupt,
    ) -> PortResult<Vec<ResponseLoss>> {
        self.of(&model.model).score(model, requests, interrupt)
    }

    fn embed(
        &self,
        embedder: &EmbedderRef,
        texts: Vec<String>,
        interrupt: &Interrupt,
    ) -> PortResult<Embeddings> {
        self.of(embedder.model()).embed(embedder, texts, interrupt)
    }

    fn embed_report(
        &self,
        embedder: &EmbedderRef,
        texts: Vec<String>,
        interrupt: &Interrupt,
    ) -> PortResult<EmbedReport> {
        self.of(embedder.model())
            .embed_report(embedder, texts, interrupt)
    }

    fn export_adapter(&self, adapter: &CheckpointId, format: &str) -> PortResult<Vec<AdapterFile>> {
        self.device.export_adapter(adapter, format)
    }

    fn export_model(
        &self,
        adapter: &CheckpointId,
        format: &str,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(ExportProgress),
    ) -> PortResult<Box<dyn ExportedModel>> {
        self.device
            .export_model(adapter, format, interrupt, progress)
    }

    fn import_adapter(&self, model: &ModelName, files: Vec<AdapterFile>) -> PortResult<Checkpoint> {
        self.of(model).import_adapter(model, files)
    }

    fn check_constraint(&self, constraint: &Constraint) -> Result<(), String> {
        self.device.check_constraint(constraint)
    }

    fn check_training(&self, model: &ModelSummary, options: &TrainOptions) -> Result<(), String> {
        self.device.check_training(model, options)
    }

    fn check_adapter(&self, model: &ModelSummary, adapter: &Checkpoint) -> Result<(), String> {
        self.of(&model.name).check_adapter(model, adapter)
    }

    fn preflight(
        &self,
        model: &ModelSummary,
        options: &TrainOptions,
        data: Option<TrainData<'_>>,
    ) -> PortResult<Option<TrainNeed>> {
        self.of(&model.name).preflight(model, options, data)
    }

    fn training_view(&self, model: &ModelSummary) -> PortResult<Box<dyn TrainingView>> {
        self.of(&model.name).training_view(model)
    }

    fn compute(&self) -> &str {
        self.device.compute()
    }

    fn memory_limit(&self) -> Option<u64> {
        self.device.memory_limit()
    }
}

/// The registered models and the configured remote ones under one port. Only the former are stored.
pub(crate) struct AllModels {
    registered: Arc<dyn Models>,
    remote: Arc<RemoteModels>,
}

impl AllModels {
    /// Puts the two together.
    ///
    /// # Errors
    /// A name that is both.
    pub(crate) fn new(
        registered: Arc<dyn Models>,
        remote: Arc<RemoteModels>,
    ) -> anyhow::Result<Self> {
        let stored = registered.list().context("list the models")?;
        let both: Vec<&str> = stored
            .iter()
            .filter(|model| remote.get(&model.name).is_some())
            .map(|model| model.name.as_str())
            .collect();
        if !both.is_empty() {
            bail!(
                "{} in [remote_models] of the configuration are names of registered models too; give the remote ones other names",
                both.join(", ")
            );
        }
        Ok(Self { registered, remote })
    }

    fn refuse_remote(&self, name: &ModelName) -> PortResult<()> {
        match self.remote.get(name) {
            None => Ok(()),
            Some(_) => Err(PortError::Exists {
                what: "model",
                name: name.to_string(),
                detail: format!(
                    "it is [remote_models.{name}] of the configuration file; change it there, and start the daemon again"
                ),
            }),
        }
    }
}

impl Models for AllModels {
    fn put(&self, summary: &ModelSummary) -> PortResult<()> {
        self.refuse_remote(&summary.name)?;
        self.registered.put(summary)
    }

    fn get(&self, name: &ModelName) -> PortResult<ModelSummary> {
        match self.remote.get(name) {
            Some(remote) => Ok(remote.summary()),
            None => self.registered.get(name),
        }
    }

    fn list(&self) -> PortResult<Vec<ModelSummary>> {
        let mut all = self.registered.list()?;
        all.extend(self.remote.iter().map(|remote| remote.summary()));
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    fn delete(&self, name: &ModelName) -> PortResult<()> {
        self.refuse_remote(name)?;
        self.registered.delete(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_from_file_or_environment_and_faults_show_none_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            Some(path)
        };
        let config = |key_file, key_env: Option<&str>| RemoteModelConfig {
            key_file,
            key_env: key_env.map(String::from),
            ..RemoteModelConfig::default()
        };
        let variable = |name: &str| (name == "THERE").then(|| "sk-secret".to_string());
        let key = |config: &RemoteModelConfig| read_key(config, &variable);
        let expect = Ok(Some(Key::new("sk-secret").unwrap()));
        assert_eq!(key(&config(file("key", "sk-secret\n"), None)), expect);
        assert_eq!(key(&config(None, Some("THERE"))), expect);
        assert_eq!(key(&config(None, None)), Ok(None));
        for wrong in [
            config(file("two", "sk-secret sk-secret"), None),
            config(file("empty", "\n"), None),
            config(Some(folder.path().join("none")), None),
            config(None, Some("MISSING")),
        ] {
            let fault = key(&wrong).unwrap_err();
            assert!(!fault.contains("sk-secret"), "{fault}");
        }
        let configs = RemoteModelConfigs::from([
            ("a".to_string(), config(None, Some("MISSING"))),
            ("b".to_string(), config(None, Some("GONE"))),
        ]);
        let faults = open_remote(&configs, variable).unwrap_err().to_string();
        assert!(
            faults.contains("[remote_models.a] key_env MISSING")
                && faults.contains("[remote_models.b] key_env GONE"),
            "{faults}"
        );
    }
}
