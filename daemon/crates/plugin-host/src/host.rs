//! The plugin host: installs, keeps and runs plugins.

mod asking;
mod grants;
mod port;

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use autodidact_domain::capability::GrantChange;
use autodidact_domain::{Capability, Digest, PluginSummary};
use wasmtime::Engine;

use crate::cache::CodeCache;
use crate::component::{self, Loaded};
use crate::loaded::LoadedComponents;
use crate::registry::{Registry, StoredComponent, StoredPlugin};
use crate::sandbox::{Failure, Sandbox};
use crate::ticker::Ticker;
use crate::turns::Turns;
use crate::{Limits, PluginError, files, runtime};

/// Installs, keeps and runs plugins. Safe to share between threads.
///
/// A new component under a known name takes the place of the old one, but the old one stays loadable by its digest,
/// since workflows are bound to digests, until [`PluginHost::prune`] is told that nothing refers to it. Whether a
/// plugin is enabled is for whoever starts workflows to heed: calls by digest run all the same.
///
/// INVARIANT: locks are taken in the order of the fields, and `loaded` is never held during a call into a guest.
pub struct PluginHost {
    folder: PathBuf,
    limits: Limits,
    /// The limits of plugins that have some of their own, by name.
    own_limits: BTreeMap<String, Limits>,
    engine: Engine,
    ticker: Ticker,
    cache: CodeCache,
    /// Held while something new is compiled or installed: one at a time, since compiling takes memory.
    compiling: Mutex<()>,
    /// Held at a component that is compiled or loaded, so that a plugin at work never waits for another's compilation.
    turns: Turns,
    registry: Mutex<Registry>,
    /// Components that are not installed, how many times they are here, and what they say of themselves.
    visitors: Mutex<BTreeMap<Digest, Visitor>>,
    /// Visitors that have left, the latest last.
    gone: Mutex<VecDeque<Digest>>,
    loaded: Mutex<LoadedComponents>,
}

/// The components that were tried and have left whose compiled code is kept.
const MAX_GONE_VISITORS: usize = 8;

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
            turns: Turns::default(),
            registry: Mutex::new(registry),
            visitors: Mutex::default(),
            gone: Mutex::default(),
            loaded: Mutex::default(),
        })
    }

    /// Gives plugins limits of their own, by name. Size of components and configurations, stack and threads are every plugin's.
    #[must_use]
    pub fn with_limits_of(mut self, own: impl IntoIterator<Item = (String, Limits)>) -> Self {
        self.own_limits.extend(own);
        self
    }

    /// Gives what any plugin may take.
    fn widest_limits(&self) -> Limits {
        let mut widest = self.limits.clone();
        for own in self.own_limits.values() {
            widest.memory_bytes = widest.memory_bytes.max(own.memory_bytes);
            widest.table_elements = widest.table_elements.max(own.table_elements);
            widest.call_ms = widest.call_ms.max(own.call_ms);
            widest.output_bytes = widest.output_bytes.max(own.output_bytes);
        }
        widest
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
            lock(&self.loaded).forget(*digest);
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

    /// Keeps the compiled code of the latest components that were tried and not installed, which may be tried or installed next, and
    /// removes that of others.
    fn forget_old_visitors(&self, left: Digest) {
        let _compiling = lock(&self.compiling);
        let oldest = {
            let mut gone = lock(&self.gone);
            gone.retain(|digest| *digest != left);
            gone.push_back(left);
            match gone.len() > MAX_GONE_VISITORS {
                true => gone.pop_front(),
                false => None,
            }
        };
        let Some(oldest) = oldest else {
            return;
        };
        let is_here = lock(&self.registry).components.contains_key(&oldest)
            || lock(&self.visitors).contains_key(&oldest);
        if !is_here {
            lock(&self.loaded).forget(oldest);
            // What cannot be removed now is swept at the next start.
            let _ = self.cache.remove(oldest);
        }
    }

    /// Installs a component with what a person grants it, in one write. Tells what stood under its name before.
    fn install_component(
        &self,
        bytes: &[u8],
        builtin: bool,
        grant: &[Capability],
    ) -> Result<(PluginSummary, Option<PluginSummary>), PluginError> {
        let digest = Digest::of(bytes);
        let _compiling = lock(&self.compiling);
        let known = lock(&self.registry).components.get(&digest).cloned();
        let stored = match known {
            // Earlier daemons did not write it down.
            Some(stored) if stored.sha256.is_empty() => StoredComponent {
                sha256: component::sha256(bytes),
                ..stored
            },
            Some(stored) => stored,
            None => self.examine(digest, bytes)?.1,
        };
        self.check_name_is_free(&stored, digest, builtin)?;
        // What is refused leaves no file behind.
        stand_in(&lock(&self.registry), digest, &stored, builtin, grant)?;
        let path = self.component_path(digest);
        // Also mends a file that was damaged or lost.
        if files::read(&path)?.is_none_or(|found| found != bytes) {
            files::write_atomic(&path, bytes)?;
        }
        let mut registry = lock(&self.registry);
        let name = stored.name.clone();
        let before = registry.summary(name.as_str()).ok();
        let mut changed = registry.clone();
        let plugin = stand_in(&registry, digest, &stored, builtin, grant)?;
        changed.plugins.insert(name.clone(), plugin);
        changed.components.insert(digest, stored);
        self.replace(&mut registry, changed)?;
        Ok((registry.summary(name.as_str())?, before))
    }

    /// Compiles a new component and has it describe itself. The caller holds `compiling`.
    fn examine(
        &self,
        digest: Digest,
        bytes: &[u8],
    ) -> Result<(Arc<Loaded>, StoredComponent), PluginError> {
        let _turn = self.turns.take(digest);
        // What was tried before it was installed was compiled then.
        let cached = self.cache.load(&self.engine, digest);
        let is_new = cached.is_none();
        let component = match cached {
            Some(component) => component,
            None => component::compile(&self.engine, bytes, &self.limits)?,
        };
        let loaded = component::check(&self.engine, digest, &component)?;
        let refused = |doing: &str, failure: Failure| {
            PluginError::Refused(format!("{doing}: {}", failure.into_text()))
        };
        // Whose limits hold is known once it has said its name.
        let widest = self.widest_limits();
        let sandbox = Sandbox::new(&self.engine, &loaded, &widest, &self.ticker);
        let mut sandbox = sandbox.map_err(|failure| refused("instantiate", failure))?;
        let described = sandbox.describe(&widest, &self.ticker);
        let description = described.map_err(|failure| refused("describe", failure))?;
        let stored = component::check_description(description, &loaded, bytes)?;
        let own = self.own_limits.get(stored.name.as_str());
        let most = own.unwrap_or(&self.limits).memory_bytes;
        if sandbox.memory_bytes() > most {
            return Err(PluginError::Refused(format!(
                "instantiate: wanted more than {} MiB of memory (memory_mib of [plugins.{}])",
                most >> 20,
                stored.name
            )));
        }
        if is_new {
            self.cache.store(digest, &component)?;
        }
        let loaded = Arc::new(loaded);
        lock(&self.loaded).keep(Arc::clone(&loaded));
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
        if let Some(loaded) = lock(&self.loaded).get(digest) {
            return Ok(loaded);
        }
        let _turn = self.turns.take(digest);
        if !lock(&self.registry).components.contains_key(&digest) {
            return Err(PluginError::UnknownDigest(digest));
        }
        if let Some(loaded) = lock(&self.loaded).get(digest) {
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
        lock(&self.loaded).keep(loaded.clone());
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

/// Makes what stands under a component's name once it is installed with a grant.
fn stand_in(
    registry: &Registry,
    digest: Digest,
    stored: &StoredComponent,
    builtin: bool,
    grant: &[Capability],
) -> Result<StoredPlugin, PluginError> {
    let before = registry.plugins.get(&stored.name);
    let mut plugin = StoredPlugin {
        in_force: digest,
        enabled: before.is_none_or(|plugin| plugin.enabled),
        builtin: builtin || before.is_some_and(|plugin| plugin.builtin),
        granted: before
            .map(|plugin| plugin.granted.clone())
            .unwrap_or_default(),
    };
    if !grant.is_empty() {
        let change = GrantChange {
            grant: grant.to_vec(),
            ..GrantChange::default()
        };
        let granted = &mut plugin.granted;
        grants::apply(&change, &stored.name, &stored.capabilities, granted)
            .map_err(|error| PluginError::NotInstalled(Box::new(error)))?;
    }
    Ok(plugin)
}

/// Takes a lock. What a panicking thread left is whole: every change is made on a copy or in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
