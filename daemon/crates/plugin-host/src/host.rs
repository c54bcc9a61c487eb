//! The plugin host: installs, keeps and runs plugins.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ScopedJoinHandle};

use autodidact_domain::plugin::{
    FilterDecision, PluginScore, RenderedPrompt, TemplateCompletion, TemplateItem, TemplateRequest,
    Validation,
};
use autodidact_domain::ports::{PluginAnswers, Plugins};
use autodidact_domain::{Digest, PluginRecord, PluginSummary, PortResult};
use serde_json::Value;
use wasmtime::Engine;

use crate::batches::Run;
use crate::cache::CodeCache;
use crate::component::{self, Loaded};
use crate::pool::{InstanceKey, Pool};
use crate::records::{self, Batch};
use crate::registry::{Registry, StoredComponent, StoredPlugin};
use crate::sandbox::{Call, Failure, Sandbox};
use crate::ticker::Ticker;
use crate::{Limits, PluginError, answers, files, runtime};

/// The fewest batches that are worth a thread.
const MIN_BATCHES: usize = 4;

/// Installs, keeps and runs plugins. Safe to share between threads.
///
/// A new component under a known name takes the place of the old one, but the old one stays loadable by its digest,
/// since workflows are bound to digests, until [`PluginHost::prune`] is told that nothing refers to it. Whether a
/// plugin is enabled is for whoever starts workflows to heed: calls by digest run all the same.
///
/// INVARIANT: locks are taken in the order of the fields, and `pool` is never held during a call into a guest.
pub struct PluginHost {
    folder: PathBuf,
    limits: Limits,
    engine: Engine,
    ticker: Ticker,
    cache: CodeCache,
    /// Held while something is compiled or installed, so that nothing is compiled twice.
    compiling: Mutex<()>,
    registry: Mutex<Registry>,
    pool: Mutex<Pool>,
}

impl PluginHost {
    /// Opens the plugins of a folder, which is made where there is none. One process at a time.
    ///
    /// # Errors
    /// [`PluginError::Corrupt`] for a registry that cannot be read, [`PluginError::Io`] for a disk that refuses, and
    /// [`PluginError::Runtime`] where this machine cannot run WebAssembly.
    pub fn open(dir: &Path, limits: Limits) -> Result<Self, PluginError> {
        files::create_private_folder(dir)?;
        let registry = Registry::read(dir)?;
        files::sweep(dir, |_| true)?;
        let engine = runtime::make_engine(&limits)?;
        let cache = CodeCache::open(
            dir.join("cache"),
            &engine,
            registry.components.keys().copied(),
        )?;
        let ticker =
            Ticker::start(&engine).map_err(|error| PluginError::Runtime(error.to_string()))?;
        Ok(Self {
            folder: dir.to_path_buf(),
            limits,
            engine,
            ticker,
            cache,
            compiling: Mutex::default(),
            registry: Mutex::new(registry),
            pool: Mutex::default(),
        })
    }

    /// Removes the components that stand under no name and that no digest in `referenced` names. Tells which.
    ///
    /// # Errors
    /// [`PluginError::Io`] for a disk that refuses; nothing that is referred to is lost.
    pub fn prune(&self, referenced: &[Digest]) -> Result<Vec<Digest>, PluginError> {
        let _compiling = lock(&self.compiling);
        let mut registry = lock(&self.registry);
        let in_force = |digest: &Digest| {
            registry
                .plugins
                .values()
                .any(|plugin| plugin.in_force == *digest)
        };
        let unused = registry
            .components
            .keys()
            .filter(|digest| !referenced.contains(digest) && !in_force(digest));
        let unused: Vec<Digest> = unused.copied().collect();
        let mut changed = registry.clone();
        changed
            .components
            .retain(|digest, _| !unused.contains(digest));
        self.replace(&mut registry, changed)?;
        for digest in &unused {
            lock(&self.pool).forget(*digest);
            self.cache.remove(*digest)?;
            files::remove(&self.component_path(*digest))?;
        }
        Ok(unused)
    }

    fn install_component(&self, bytes: &[u8], builtin: bool) -> Result<PluginSummary, PluginError> {
        let digest = Digest::of(bytes);
        let _compiling = lock(&self.compiling);
        let known = lock(&self.registry).components.get(&digest).cloned();
        let stored = match known {
            Some(stored) => stored,
            None => self.examine(digest, bytes)?,
        };
        self.check_name_is_free(&stored, digest, builtin)?;
        let path = self.component_path(digest);
        // Also mends a file that was damaged or lost.
        if files::read(&path)?.is_none_or(|found| found != bytes) {
            files::write_atomic(&path, bytes)?;
        }
        let mut registry = lock(&self.registry);
        let mut changed = registry.clone();
        let before = registry.plugins.get(&stored.name);
        let plugin = StoredPlugin {
            in_force: digest,
            enabled: before.is_none_or(|plugin| plugin.enabled),
            builtin: builtin || before.is_some_and(|plugin| plugin.builtin),
        };
        let name = stored.name.clone();
        changed.plugins.insert(name.clone(), plugin);
        changed.components.insert(digest, stored);
        self.replace(&mut registry, changed)?;
        registry.summary(name.as_str())
    }

    /// Compiles a new component and has it describe itself. The caller holds `compiling`.
    fn examine(&self, digest: Digest, bytes: &[u8]) -> Result<StoredComponent, PluginError> {
        let component = component::compile(&self.engine, bytes, &self.limits)?;
        let loaded = component::check(&self.engine, digest, &component)?;
        let refused = |doing: &str, failure: Failure| {
            PluginError::Refused(format!("{doing}: {}", failure.into_text()))
        };
        let sandbox = self.instantiate(&loaded);
        let mut sandbox = sandbox.map_err(|failure| refused("instantiate", failure))?;
        let described = sandbox.describe(&self.limits, &self.ticker);
        let description = described.map_err(|failure| refused("describe", failure))?;
        let stored = component::check_description(description, &loaded.exports, bytes.len())?;
        self.cache.store(digest, &component)?;
        lock(&self.pool).keep_loaded(Arc::new(loaded));
        Ok(stored)
    }

    fn check_name_is_free(
        &self,
        stored: &StoredComponent,
        digest: Digest,
        builtin: bool,
    ) -> Result<(), PluginError> {
        let registry = lock(&self.registry);
        let detail = match registry.plugins.get(&stored.name) {
            Some(plugin) if plugin.in_force == digest || plugin.builtin == builtin => return Ok(()),
            None => return Ok(()),
            Some(_) if builtin => {
                "a plugin of this name now comes with the daemon; remove yours first"
            }
            Some(_) => "it comes with the daemon; give yours another name",
        };
        Err(PluginError::Exists {
            name: stored.name.to_string(),
            detail: detail.to_string(),
        })
    }

    /// Writes a changed registry, then puts it in force.
    fn replace(&self, registry: &mut Registry, changed: Registry) -> Result<(), PluginError> {
        if *registry != changed {
            changed.write(&self.folder)?;
            *registry = changed;
        }
        Ok(())
    }

    fn change_plugin(
        &self,
        name: &str,
        change: impl FnOnce(&mut Registry, &PluginSummary) -> Result<(), PluginError>,
    ) -> Result<PluginSummary, PluginError> {
        let mut registry = lock(&self.registry);
        let summary = registry.summary(name)?;
        let mut changed = registry.clone();
        change(&mut changed, &summary)?;
        self.replace(&mut registry, changed)?;
        Ok(summary)
    }

    /// Finds a component in memory, in the cache of compiled code, or on disk.
    fn load(&self, digest: Digest) -> Result<Arc<Loaded>, PluginError> {
        if let Some(loaded) = lock(&self.pool).loaded(digest) {
            return Ok(loaded);
        }
        let _compiling = lock(&self.compiling);
        if !lock(&self.registry).components.contains_key(&digest) {
            return Err(PluginError::UnknownDigest(digest));
        }
        if let Some(loaded) = lock(&self.pool).loaded(digest) {
            return Ok(loaded);
        }
        let component = match self.cache.load(&self.engine, digest) {
            Some(component) => component,
            None => {
                let component =
                    component::compile(&self.engine, &self.read_component(digest)?, &self.limits)?;
                // Without an entry it is only compiled again, which is no reason to stop a workflow.
                let _ = self.cache.store(digest, &component);
                component
            }
        };
        let loaded = Arc::new(component::check(&self.engine, digest, &component)?);
        lock(&self.pool).keep_loaded(loaded.clone());
        Ok(loaded)
    }

    fn read_component(&self, digest: Digest) -> Result<Vec<u8>, PluginError> {
        let path = self.component_path(digest);
        match files::read(&path)? {
            Some(bytes) if Digest::of(&bytes) == digest => Ok(bytes),
            found => {
                let what = if found.is_some() {
                    "it is damaged"
                } else {
                    "it is missing"
                };
                Err(PluginError::Corrupt {
                    path,
                    detail: format!("{what}; install the plugin again"),
                })
            }
        }
    }

    fn component_path(&self, digest: Digest) -> PathBuf {
        files::by_digest(&self.folder, digest, "wasm")
    }

    fn instantiate(&self, loaded: &Loaded) -> Result<Sandbox, Failure> {
        Sandbox::new(&self.engine, loaded, &self.limits, &self.ticker)
    }

    /// Writes a configuration down as the guest gets it.
    fn config_text(&self, digest: Digest, config: &Value) -> Result<String, PluginError> {
        let text = match config {
            Value::Null => "{}".to_string(),
            Value::Object(_) => config.to_string(),
            _ => return Err(self.config_error(digest, "expected an object".to_string())),
        };
        if text.len() > self.limits.config_bytes {
            let message = format!(
                "has {} bytes; at most {} are taken",
                text.len(),
                self.limits.config_bytes
            );
            return Err(self.config_error(digest, message));
        }
        Ok(text)
    }

    fn config_error(&self, digest: Digest, message: String) -> PluginError {
        let registry = lock(&self.registry);
        let name = registry
            .components
            .get(&digest)
            .map_or(digest.short(), |component| component.name.to_string());
        PluginError::Config { name, message }
    }

    fn check_config_text(&self, digest: Digest, config: &Value) -> Result<(), PluginError> {
        let text = self.config_text(digest, config)?;
        let loaded = self.load(digest)?;
        let key = instance_key(digest, &text);
        let idle = lock(&self.pool).take_idle(key);
        let made = idle.map_or_else(|| self.instantiate(&loaded), Ok);
        let answer = made.and_then(|mut sandbox| {
            sandbox.check_config(&self.call(&text))?;
            Ok(sandbox)
        });
        match answer {
            Ok(sandbox) => {
                lock(&self.pool).keep_idle(key, sandbox);
                Ok(())
            }
            Err(failure) => Err(self.config_error(digest, failure.into_text())),
        }
    }

    /// Asks a component about each of `questions`, in batches, which threads share where there are many.
    fn run<Q: Sync, A: Send, T>(
        &self,
        digest: Digest,
        config: &Value,
        questions: &[Q],
        ask: impl Fn(&mut Sandbox, &Call<'_>, &[Q]) -> Result<Vec<A>, Failure> + Sync,
        check: impl Fn(A) -> Result<T, String>,
    ) -> Result<PluginAnswers<T>, PluginError> {
        let text = self.config_text(digest, config)?;
        let loaded = self.load(digest)?;
        let key = instance_key(digest, &text);
        let call = self.call(&text);
        let batch_records = self.limits.batch_records.max(1);
        let answer = |questions: &[Q]| {
            let mut run = Run {
                sandbox: lock(&self.pool).take_idle(key),
                make: &|| self.instantiate(&loaded),
                ask: &|sandbox, batch| ask(sandbox, &call, batch),
                overruns: 0,
            };
            let mut answers = Vec::with_capacity(questions.len());
            for batch in questions.chunks(batch_records) {
                run.answer(batch, &mut answers);
            }
            if let Some(sandbox) = run.sandbox {
                lock(&self.pool).keep_idle(key, sandbox);
            }
            answers
        };
        // Below a few batches a thread costs more than it saves.
        let batches = questions.len().div_ceil(batch_records);
        let threads = self.limits.threads.min(batches / MIN_BATCHES).max(1);
        let answers = match threads {
            1 => answer(questions),
            _ => {
                let share = batches.div_ceil(threads) * batch_records;
                let answer = &answer;
                thread::scope(|scope| {
                    let spawn = |part| scope.spawn(move || answer(part));
                    let parts: Vec<_> = questions.chunks(share).map(spawn).collect();
                    let join = |part: ScopedJoinHandle<'_, Vec<_>>| match part.join() {
                        Ok(answers) => answers,
                        Err(panic) => std::panic::resume_unwind(panic),
                    };
                    parts.into_iter().flat_map(join).collect()
                })
            }
        };
        let checked = answers.into_iter().map(|answer| answer.and_then(&check));
        Ok(checked.collect())
    }

    fn call<'a>(&'a self, config: &'a str) -> Call<'a> {
        Call {
            limits: &self.limits,
            ticker: &self.ticker,
            config,
        }
    }
}

impl Plugins for PluginHost {
    fn install(&self, component: &[u8], builtin: bool) -> PortResult<PluginSummary> {
        Ok(self.install_component(component, builtin)?)
    }

    fn list(&self) -> PortResult<Vec<PluginSummary>> {
        let registry = lock(&self.registry);
        let summaries = registry
            .plugins
            .keys()
            .map(|name| registry.summary(name.as_str()));
        Ok(summaries.collect::<Result<_, _>>()?)
    }

    fn get(&self, name: &str) -> PortResult<PluginSummary> {
        Ok(lock(&self.registry).summary(name)?)
    }

    fn set_enabled(&self, name: &str, enabled: bool) -> PortResult<PluginSummary> {
        let before = self.change_plugin(name, |registry, summary| {
            registry
                .plugins
                .entry(summary.name.clone())
                .and_modify(|plugin| plugin.enabled = enabled);
            Ok(())
        })?;
        Ok(PluginSummary { enabled, ..before })
    }

    fn remove(&self, name: &str) -> PortResult<()> {
        self.change_plugin(name, |registry, summary| {
            if summary.builtin {
                return Err(PluginError::Builtin(name.to_string()));
            }
            registry.plugins.remove(&summary.name);
            Ok(())
        })?;
        Ok(())
    }

    fn check_config(&self, digest: Digest, config: &Value) -> PortResult<()> {
        Ok(self.check_config_text(digest, config)?)
    }

    fn filter(
        &self,
        digest: Digest,
        config: &Value,
        records: &[PluginRecord<'_>],
    ) -> PortResult<PluginAnswers<FilterDecision>> {
        Ok(self.run(
            digest,
            config,
            records,
            |sandbox, call, batch| sandbox.filter(call, &Batch::of(batch)),
            |decision| answers::decision(decision, self.limits.note_bytes),
        )?)
    }

    fn validate(
        &self,
        digest: Digest,
        config: &Value,
        records: &[PluginRecord<'_>],
    ) -> PortResult<PluginAnswers<Validation>> {
        Ok(self.run(
            digest,
            config,
            records,
            |sandbox, call, batch| sandbox.validate(call, &Batch::of(batch)),
            |outcome| answers::validation(outcome, self.limits.note_bytes),
        )?)
    }

    fn score(
        &self,
        digest: Digest,
        config: &Value,
        records: &[PluginRecord<'_>],
    ) -> PortResult<PluginAnswers<PluginScore>> {
        Ok(self.run(
            digest,
            config,
            records,
            |sandbox, call, batch| sandbox.score(call, &Batch::of(batch)),
            |scored| answers::score(scored, self.limits.note_bytes),
        )?)
    }

    fn render(
        &self,
        digest: Digest,
        config: &Value,
        requests: &[TemplateRequest<'_>],
    ) -> PortResult<PluginAnswers<RenderedPrompt>> {
        let requests: Vec<_> = requests.iter().map(records::request).collect();
        Ok(self.run(
            digest,
            config,
            &requests,
            Sandbox::render,
            answers::rendered,
        )?)
    }

    fn parse(
        &self,
        digest: Digest,
        config: &Value,
        completions: &[TemplateCompletion<'_>],
    ) -> PortResult<PluginAnswers<Vec<TemplateItem>>> {
        let completions: Vec<_> = completions.iter().map(records::completion).collect();
        Ok(self.run(digest, config, &completions, Sandbox::parse, answers::items)?)
    }
}

fn instance_key(digest: Digest, config: &str) -> InstanceKey {
    (digest, Digest::of(config.as_bytes()))
}

/// Takes a lock. What a panicking thread left is whole: every change is made on a copy or in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
