//! The plugin host: installs, keeps and runs plugins.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ScopedJoinHandle};

use autodidact_domain::capability::{DataFile, GrantChange};
use autodidact_domain::plugin::{
    FilterDecision, PluginScore, PluginStanding, RenderedPrompt, TemplateCompletion, TemplateItem,
    TemplateRequest, Validation,
};
use autodidact_domain::ports::Plugins;
use autodidact_domain::{
    Capability, Digest, Granted, PluginCall, PluginRecord, PluginRun, PluginSummary, PortError,
    PortResult,
};
use serde_json::Value;
use wasmtime::Engine;

use crate::access::Permit;
use crate::batches::{Cost, Run};
use crate::cache::CodeCache;
use crate::component::{self, Loaded};
use crate::pool::{InstanceKey, Pool};
use crate::registry::{self, Registry, StoredComponent, StoredPlugin};
use crate::sandbox::{Call, Failure, Sandbox};
use crate::ticker::Ticker;
use crate::{Limits, PluginError, files, runtime, schema};

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
    /// The limits of plugins that have some of their own, by name.
    own_limits: BTreeMap<String, Limits>,
    engine: Engine,
    ticker: Ticker,
    cache: CodeCache,
    /// Held while something is compiled or installed, so that nothing is compiled twice.
    compiling: Mutex<()>,
    registry: Mutex<Registry>,
    /// Components that are not installed, how many times they are here, and what they say of themselves.
    visitors: Mutex<BTreeMap<Digest, Visitor>>,
    pool: Mutex<Pool>,
}

struct Visitor {
    loaded: Arc<Loaded>,
    stored: StoredComponent,
    times: usize,
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
            own_limits: BTreeMap::new(),
            engine,
            ticker,
            cache,
            compiling: Mutex::default(),
            registry: Mutex::new(registry),
            visitors: Mutex::default(),
            pool: Mutex::default(),
        })
    }

    /// Gives plugins limits of their own, by name. Size of components and configurations, stack and threads are every plugin's.
    #[must_use]
    pub fn with_limits_of(mut self, own: impl IntoIterator<Item = (String, Limits)>) -> Self {
        self.own_limits.extend(own);
        self
    }

    fn limits_of(&self, digest: Digest) -> &Limits {
        if self.own_limits.is_empty() {
            return &self.limits;
        }
        let own = self.with_stored(digest, |stored| self.own_limits.get(stored.name.as_str()));
        own.flatten().unwrap_or(&self.limits)
    }

    /// Removes the components that stand under no name and that no digest in `referenced` names, and files that nobody was granted.
    /// Tells which components.
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
        let granted = registry.plugins.values().map(|plugin| &plugin.granted);
        let granted = granted.flat_map(|granted| granted.files.values());
        let granted = granted
            .map(|file| file.digest)
            .chain(referenced.iter().copied());
        let kept: Vec<PathBuf> = granted.map(|digest| self.data_path(digest)).collect();
        files::sweep(&self.folder, |path| {
            let is_data = path.extension().is_some_and(|ending| ending == files::DATA);
            !is_data || kept.iter().any(|kept| kept == path)
        })?;
        Ok(unused)
    }

    fn install_component(&self, bytes: &[u8], builtin: bool) -> Result<PluginSummary, PluginError> {
        let digest = Digest::of(bytes);
        let _compiling = lock(&self.compiling);
        let known = lock(&self.registry).components.get(&digest).cloned();
        let stored = match known {
            Some(stored) => stored,
            None => self.examine(digest, bytes)?.1,
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
            granted: before
                .map(|plugin| plugin.granted.clone())
                .unwrap_or_default(),
        };
        let name = stored.name.clone();
        changed.plugins.insert(name.clone(), plugin);
        changed.components.insert(digest, stored);
        self.replace(&mut registry, changed)?;
        registry.summary(name.as_str())
    }

    /// Compiles a new component and has it describe itself. The caller holds `compiling`.
    fn examine(
        &self,
        digest: Digest,
        bytes: &[u8],
    ) -> Result<(Arc<Loaded>, StoredComponent), PluginError> {
        // What was tried before it was installed was compiled then.
        let component = match self.cache.load(&self.engine, digest) {
            Some(component) => component,
            None => component::compile(&self.engine, bytes, &self.limits)?,
        };
        let loaded = component::check(&self.engine, digest, &component)?;
        let refused = |doing: &str, failure: Failure| {
            PluginError::Refused(format!("{doing}: {}", failure.into_text()))
        };
        let sandbox = self.instantiate(&loaded);
        let mut sandbox = sandbox.map_err(|failure| refused("instantiate", failure))?;
        let described = sandbox.describe(&self.limits, &self.ticker);
        let description = described.map_err(|failure| refused("describe", failure))?;
        let stored = component::check_description(description, &loaded, bytes.len())?;
        self.cache.store(digest, &component)?;
        let loaded = Arc::new(loaded);
        lock(&self.pool).keep_loaded(Arc::clone(&loaded));
        Ok((loaded, stored))
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
        if let Some(visitor) = lock(&self.visitors).get(&digest) {
            return Ok(Arc::clone(&visitor.loaded));
        }
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

    fn data_path(&self, digest: Digest) -> PathBuf {
        files::by_digest(&self.folder, digest, files::DATA)
    }

    fn instantiate(&self, loaded: &Loaded) -> Result<Sandbox, Failure> {
        let limits = self.limits_of(loaded.digest);
        Sandbox::new(&self.engine, loaded, limits, &self.ticker)
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

    fn schema_of(&self, digest: Digest) -> Result<String, PluginError> {
        let schema = self.with_stored(digest, |stored| stored.config_schema.clone());
        schema.ok_or(PluginError::UnknownDigest(digest))
    }

    /// Looks at what a component, installed or visiting, says of itself.
    fn with_stored<T>(
        &self,
        digest: Digest,
        look: impl FnOnce(&StoredComponent) -> T,
    ) -> Option<T> {
        let registry = lock(&self.registry);
        let visitors = lock(&self.visitors);
        let installed = registry.components.get(&digest);
        let known = installed.or(visitors.get(&digest).map(|visitor| &visitor.stored));
        known.map(look)
    }

    fn config_error(&self, digest: Digest, message: String) -> PluginError {
        let name = self.with_stored(digest, |stored| stored.name.to_string());
        let name = name.unwrap_or_else(|| digest.short());
        PluginError::Config { name, message }
    }

    fn check_config_text(&self, digest: Digest, config: &Value) -> Result<(), PluginError> {
        let text = self.config_text(digest, config)?;
        let loaded = self.load(digest)?;
        let key = instance_key(digest, &text, &Granted::default());
        let idle = lock(&self.pool).take_idle(key);
        let made = idle.map_or_else(|| self.instantiate(&loaded), Ok);
        let answer = made.and_then(|mut sandbox| {
            sandbox.check_config(&self.call(digest, &text, &Permit::none()))?;
            Ok(sandbox)
        });
        match answer {
            Ok(sandbox) => lock(&self.pool).keep_idle(key, sandbox),
            Err(failure) => return Err(self.config_error(digest, failure.into_text())),
        }
        // The plugin's own words are better, but what it lets pass its schema may not.
        let empty = Value::Object(serde_json::Map::new());
        let given = if config.is_null() { &empty } else { config };
        let held = schema::check(&self.schema_of(digest)?, given);
        held.map_err(|faults| self.config_error(digest, faults))
    }

    /// Asks a component about each of `questions`, in batches, which threads share where there are many.
    fn run<Q: Sync, T: Send>(
        &self,
        asked: &PluginCall<'_>,
        questions: &[Q],
        ask: impl Fn(&mut Sandbox, &Call<'_>, &[Q]) -> Result<Vec<Result<T, String>>, Failure> + Sync,
    ) -> PortResult<PluginRun<T>> {
        let text = self.config_text(asked.digest, asked.config)?;
        let loaded = self.load(asked.digest)?;
        let limits = self.limits_of(asked.digest);
        let permit = match &asked.services {
            Some(services) if *asked.granted != Granted::default() => Permit::of(
                asked.granted,
                Arc::clone(services),
                self.folder.clone(),
                limits,
            ),
            _ => Permit::none(),
        };
        let key = instance_key(asked.digest, &text, asked.granted);
        let call = self.call(asked.digest, &text, &permit);
        let batch_records = limits.batch_records.max(1);
        let failures = AtomicUsize::new(0);
        let answer = |questions: &[Q]| -> Result<(Vec<_>, Cost), PortError> {
            let mut run = Run {
                sandbox: lock(&self.pool).take_idle(key),
                make: &|| self.instantiate(&loaded),
                ask: &|sandbox, batch| ask(sandbox, &call, batch),
                overruns: 0,
                failures: (&failures, asked.max_failures),
                cost: Cost::default(),
            };
            let mut answers = Vec::with_capacity(questions.len());
            for batch in questions.chunks(batch_records) {
                run.answer(batch, &mut answers)?;
            }
            if let Some(sandbox) = run.sandbox {
                lock(&self.pool).keep_idle(key, sandbox);
            }
            Ok((answers, run.cost))
        };
        // Below a few batches a thread costs more than it saves. What waits for models needs none, and has them in order, so that a
        // budget ends at the same question every time.
        let batches = questions.len().div_ceil(batch_records);
        let threads = match asked.granted.has_model() {
            true => 1,
            false => self.limits.threads.min(batches / MIN_BATCHES).max(1),
        };
        let parts = match threads {
            1 => vec![answer(questions)?],
            _ => {
                let share = batches.div_ceil(threads) * batch_records;
                let answer = &answer;
                thread::scope(|scope| {
                    let spawn = |part| scope.spawn(move || answer(part));
                    let parts: Vec<_> = questions.chunks(share).map(spawn).collect();
                    let join = |part: ScopedJoinHandle<'_, _>| match part.join() {
                        Ok(answers) => answers,
                        Err(panic) => std::panic::resume_unwind(panic),
                    };
                    parts
                        .into_iter()
                        .map(join)
                        .collect::<Result<Vec<_>, PortError>>()
                })?
            }
        };
        let mut cost = Cost::default();
        let mut answers = Vec::with_capacity(questions.len());
        for (given, part) in parts {
            cost.add(part);
            answers.extend(given);
        }
        Ok(PluginRun {
            answers,
            gave_up: failures.load(Ordering::Relaxed) >= asked.max_failures,
            seconds: cost.busy.as_secs_f64(),
            peak_memory_bytes: cost.peak_memory_bytes as u64,
        })
    }

    fn call<'a>(&'a self, digest: Digest, config: &'a str, permit: &'a Permit) -> Call<'a> {
        Call {
            limits: self.limits_of(digest),
            ticker: &self.ticker,
            config,
            permit,
        }
    }

    fn change_grant(&self, name: &str, change: &GrantChange) -> Result<PluginSummary, PluginError> {
        let mut files_granted = Vec::new();
        for (file, bytes) in &change.files {
            self.check_data(file, bytes)?;
            let digest = Digest::of(bytes);
            files::write_atomic(&self.data_path(digest), bytes)?;
            let size = bytes.len() as u64;
            files_granted.push((file.clone(), DataFile { digest, size }));
        }
        self.change_plugin(name, |registry, summary| {
            let asked = &summary.capabilities;
            if let Some(capability) = change.grant.iter().find(|c| !asked.contains(c)) {
                return Err(PluginError::NotAsked {
                    name: name.to_string(),
                    capability: *capability,
                    asked: asked.clone(),
                });
            }
            let plugin = registry.plugins.get_mut(&summary.name);
            let plugin = plugin.ok_or(PluginError::UnknownDigest(summary.digest))?;
            let granted = &mut plugin.granted;
            granted.capabilities.extend(&change.grant);
            granted.capabilities.retain(|c| !change.revoke.contains(c));
            granted.capabilities.sort();
            granted.capabilities.dedup();
            granted.max_tokens = change.max_tokens.or(granted.max_tokens);
            granted.files.extend(files_granted);
            match granted.has(Capability::Data) {
                true if granted.files.is_empty() => Err(PluginError::NoFiles(name.to_string())),
                true => Ok(()),
                false if !change.files.is_empty() => Err(PluginError::NoData(name.to_string())),
                false => {
                    granted.files.clear();
                    Ok(())
                }
            }
        })?;
        lock(&self.registry).summary(name)
    }

    fn check_data(&self, name: &str, bytes: &[u8]) -> Result<(), PluginError> {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.len() > 64 || !name.chars().all(good) {
            return Err(PluginError::DataFile(format!(
                "{:?} is no name for a file: use 1 to 64 of a-z A-Z 0-9 . _ -",
                name.chars().take(80).collect::<String>()
            )));
        }
        match bytes.len() > self.limits.data_bytes {
            false => Ok(()),
            true => Err(PluginError::DataFile(format!(
                "{name} has {} bytes; at most {} are taken",
                bytes.len(),
                self.limits.data_bytes
            ))),
        }
    }

    /// Changes what is known of a component.
    fn change_component(
        &self,
        digest: Digest,
        change: impl FnOnce(&mut StoredComponent),
    ) -> Result<(), PluginError> {
        let mut registry = lock(&self.registry);
        let mut changed = registry.clone();
        let component = changed.components.get_mut(&digest);
        change(component.ok_or(PluginError::UnknownDigest(digest))?);
        self.replace(&mut registry, changed)
    }
}

impl Plugins for PluginHost {
    fn install(&self, component: &[u8], builtin: bool) -> PortResult<PluginSummary> {
        Ok(self.install_component(component, builtin)?)
    }

    fn visit(&self, component: &[u8]) -> PortResult<PluginSummary> {
        let digest = Digest::of(component);
        let _compiling = lock(&self.compiling);
        if let Some(visitor) = lock(&self.visitors).get_mut(&digest) {
            visitor.times += 1;
            return Ok(registry::visitor(digest, &visitor.stored));
        }
        let (loaded, stored) = self.examine(digest, component)?;
        let summary = registry::visitor(digest, &stored);
        let visitor = Visitor {
            loaded,
            stored,
            times: 1,
        };
        lock(&self.visitors).insert(digest, visitor);
        Ok(summary)
    }

    fn leave(&self, digest: Digest) {
        let mut visitors = lock(&self.visitors);
        if let Some(visitor) = visitors.get_mut(&digest) {
            visitor.times -= 1;
            if visitor.times == 0 {
                visitors.remove(&digest);
            }
        }
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
        self.change_plugin(name, |registry, summary| {
            registry
                .plugins
                .entry(summary.name.clone())
                .and_modify(|plugin| plugin.enabled = enabled);
            // Workflows may be bound to earlier components of the name.
            let of_name = |component: &&mut StoredComponent| component.name == summary.name;
            for component in registry.components.values_mut().filter(of_name) {
                if enabled && component.quarantine.take().is_some() {
                    component.excused = true;
                }
            }
            Ok(())
        })?;
        Ok(lock(&self.registry).summary(name)?)
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

    fn grant(&self, name: &str, change: &GrantChange) -> PortResult<PluginSummary> {
        Ok(self.change_grant(name, change)?)
    }

    fn quarantine(&self, digest: Digest, reason: &str) -> PortResult<()> {
        Ok(self.change_component(digest, |component| {
            component.quarantine = Some(reason.to_string());
        })?)
    }

    fn standing(&self, digest: Digest) -> PortResult<PluginStanding> {
        let registry = lock(&self.registry);
        match registry.components.get(&digest) {
            Some(component) => Ok(component.standing()),
            None if lock(&self.visitors).contains_key(&digest) => Ok(PluginStanding::Trusted),
            None => Err(PluginError::UnknownDigest(digest).into()),
        }
    }

    fn filter(
        &self,
        call: &PluginCall<'_>,
        records: &[PluginRecord<'_>],
    ) -> PortResult<PluginRun<FilterDecision>> {
        self.run(call, records, Sandbox::filter)
    }

    fn validate(
        &self,
        call: &PluginCall<'_>,
        records: &[PluginRecord<'_>],
    ) -> PortResult<PluginRun<Validation>> {
        self.run(call, records, Sandbox::validate)
    }

    fn score(
        &self,
        call: &PluginCall<'_>,
        records: &[PluginRecord<'_>],
    ) -> PortResult<PluginRun<PluginScore>> {
        self.run(call, records, Sandbox::score)
    }

    fn render(
        &self,
        call: &PluginCall<'_>,
        requests: &[TemplateRequest<'_>],
    ) -> PortResult<PluginRun<RenderedPrompt>> {
        self.run(call, requests, Sandbox::render)
    }

    fn parse(
        &self,
        call: &PluginCall<'_>,
        completions: &[TemplateCompletion<'_>],
    ) -> PortResult<PluginRun<Vec<TemplateItem>>> {
        self.run(call, completions, Sandbox::parse)
    }
}

/// Names the instances that may answer for each other: what one was granted, another without that must not know.
fn instance_key(digest: Digest, config: &str, granted: &Granted) -> InstanceKey {
    let mut text = config.to_string();
    if *granted != Granted::default() {
        // A configuration is JSON without zero bytes.
        text.push('\0');
        text.push_str(&serde_json::to_string(granted).expect("names and numbers always serialise"));
    }
    (digest, Digest::of(text.as_bytes()))
}

/// Takes a lock. What a panicking thread left is whole: every change is made on a copy or in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
