//! The composition root: puts the parts of a daemon together, and takes them apart in order.

mod access;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use anyhow::{Context, bail};
use autodidact_domain::ports::{Clock, Engine as _, Ports, SystemInfo};
use autodidact_domain::{Event, EventBody, Interrupt, InterruptReason, WorkflowState};
use autodidact_flow::Supervisor;
use autodidact_formats::Reader;
use autodidact_plugin_host::{PluginHost, builtin_components};
use autodidact_server::{Listener, Server};
use autodidact_store::{SCHEMA_VERSION, Store};
use tokio_util::sync::CancellationToken;

use crate::clock::SystemClock;
use crate::config::Config;
use crate::device_thread::{DeviceOptions, DeviceThread};
use crate::engines::{AllModels, Engines, open_remote};
use crate::fault::Fault;
use crate::lock::{self, DataDirLock};
use crate::memory::MemoryLimit;
use crate::model_source::ModelFetcher;
use crate::paths;
use crate::report_files::ReportFolder;
use crate::shutdown;
use crate::tasks::{TaskKind, Tasks};
use crate::watch::{WatchOptions, watch_folders};

/// A running daemon.
pub(crate) struct Daemon {
    shutdown: CancellationToken,
    tasks: Tasks,
    parts: Parts,
    watching: Interrupt,
    // Let go of last, when nothing writes any more.
    _lock: DataDirLock,
}

/// The parts with state, made on a thread that may block.
struct Parts {
    ports: Ports,
    device: Arc<DeviceThread>,
    supervisor: Arc<Supervisor>,
    store: Store,
}

impl Daemon {
    /// Starts a daemon and lets the workflows go on that were running when the last one ended.
    ///
    /// # Errors
    /// When the data directory is taken, an address cannot be had, or what is stored cannot be opened.
    pub(crate) async fn start(config: Config) -> anyhow::Result<Self> {
        let lock = lock::acquire(&config.data_dir)?;
        // Before anything heavy, so that a wrong address shows at once.
        let auth = access::read(&config.tcp)?;
        let mut listeners = vec![Listener::unix(&config.socket)?];
        if let Some(address) = config.tcp.address {
            listeners.push(Listener::tcp(address, &auth).await?);
        }
        let listening: Vec<String> = listeners.iter().map(Listener::address).collect();

        let settings = config.clone();
        let parts = blocking("open the data directory", move || Parts::open(&settings)).await?;

        let shutdown = CancellationToken::new();
        let mut tasks = Tasks::new(shutdown.clone());
        let info = SystemInfo {
            version: env!("CARGO_PKG_VERSION").to_string(),
            data_dir: config.data_dir.display().to_string(),
            compute: parts.device.compute().to_string(),
            threads: u32::try_from(config.threads).unwrap_or(u32::MAX),
            schema_version: SCHEMA_VERSION,
            listening,
        };
        let max_bytes = config.limits.file_mib << 20;
        let limits = autodidact_server::Limits {
            import_bytes: max_bytes,
            ..Default::default()
        };
        let max_plugin_bytes = limits.plugin_bytes;
        parts.ports.events.listen(Box::new(log_of_plugins));
        let server = Server::with_limits(
            parts.ports.clone(),
            Arc::clone(&parts.supervisor),
            info,
            auth,
            limits,
        );
        let stop = shutdown.clone();
        tasks.spawn(TaskKind::Server, async move {
            server
                .serve(listeners, stop.cancelled_owned())
                .await
                .context("serve")
        });

        let supervisor = Arc::clone(&parts.supervisor);
        let resumed =
            blocking("resume the workflows", move || Ok(supervisor.resume_all()?)).await?;
        if resumed > 0 {
            tracing::info!(workflows = resumed, "resumed what was running");
            let ports = parts.ports.clone();
            blocking("list the workflows", move || log_positions(&ports)).await?;
        }

        let watching = Interrupt::new();
        let options = WatchOptions {
            inbox: config.data_dir.join("inbox"),
            folders: config.inbox.clone(),
            max_bytes,
            plugins: config.data_dir.join("plugins"),
            max_plugin_bytes,
        };
        let (ports, supervisor, flag) = (
            parts.ports.clone(),
            Arc::clone(&parts.supervisor),
            watching.clone(),
        );
        tasks.spawn(TaskKind::Watch, async move {
            let work = move || watch_folders(&options, &ports, &supervisor, &flag);
            tokio::task::spawn_blocking(work)
                .await
                .context("watch folders")?
        });
        tracing::info!(data_dir = %config.data_dir.display(), "ready");
        Ok(Self {
            shutdown,
            tasks,
            parts,
            watching,
            _lock: lock,
        })
    }

    /// Lets signals end the daemon.
    pub(crate) fn mind_signals(&mut self) {
        self.tasks.spawn(
            TaskKind::Signals,
            shutdown::watch_signals(self.shutdown.clone()),
        );
    }

    /// Waits until a signal or a failure ends the daemon, and takes it down.
    ///
    /// # Errors
    /// The failure that ended it.
    pub(crate) async fn until_down(self) -> anyhow::Result<()> {
        self.shutdown.cancelled().await;
        match self.stop().await {
            Some(failure) => bail!(failure),
            None => Ok(()),
        }
    }

    /// Takes the daemon down: no more calls, calls and stages to their next safe point, flush, close.
    /// Answers with what failed before, where something did.
    pub(crate) async fn stop(self) -> Option<String> {
        self.shutdown.cancel();
        self.watching.raise(InterruptReason::Shutdown);
        let failure = self.tasks.join().await;
        let parts = self.parts;
        let closed = blocking("close the data directory", move || {
            parts.supervisor.shutdown();
            parts.device.close();
            parts.store.close().context("close the store")
        });
        if let Err(error) = closed.await {
            tracing::error!("{error:#}");
            return failure.or(Some(format!("{error:#}")));
        }
        tracing::info!("down");
        failure
    }
}

impl Parts {
    fn open(config: &Config) -> anyhow::Result<Self> {
        let data_dir = &config.data_dir;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store =
            Store::open(&data_dir.join("store"), Arc::clone(&clock)).context("open the store")?;
        let remote = open_remote(&config.remote_models, |name| std::env::var(name).ok())?;
        let remote = Arc::new(remote);
        let models = Arc::new(AllModels::new(store.models(), Arc::clone(&remote))?);
        let plugins = open_plugins(config, &store)?;
        let exports = data_dir.join("exports");
        crate::exports::clear(&exports).context("clear the folder of exports")?;
        let options = DeviceOptions {
            threads: config.threads,
            compute: config.compute,
            device: config.device,
            queue: config.limits.engine_queue,
            cached_adapters: config.limits.cached_adapters,
            memory: MemoryLimit::new(config.limits.memory_mib),
            exports,
        };
        let device = DeviceThread::start(&options, store.models(), store.checkpoints());
        let device = Arc::new(device.context("start the device thread")?);
        let ports = Ports {
            engine: Arc::new(Engines::new(Arc::clone(&device), remote)),
            journal: store.journal(),
            workflows: store.workflows(),
            datasets: store.datasets(),
            checkpoints: store.checkpoints(),
            events: store.events(),
            models,
            model_source: Arc::new(ModelFetcher::new(paths::cache_dir(
                &paths::process_environment,
            ))),
            plugins,
            reader: Arc::new(Reader),
            requests: store.requests(),
            spending: store.spending(),
            reviews: store.reviews(),
            clock,
            reports: Arc::new(ReportFolder::new(data_dir.join("reports"))),
            embedders: Arc::new(config.embedders.table()),
        };
        let ports = match std::env::var("AUTODIDACT_FAULT") {
            Ok(text) => Fault::parse(&text)?.wrap(ports),
            Err(_) => ports,
        };
        let supervisor = Supervisor::new(ports.clone());
        Ok(Self {
            ports,
            device,
            supervisor,
            store,
        })
    }
}

/// Opens the installed plugins and puts those in force that come with this daemon.
fn open_plugins(
    config: &Config,
    store: &Store,
) -> anyhow::Result<Arc<dyn autodidact_domain::ports::Plugins>> {
    let folder = config.data_dir.join("plugin-store");
    let before = config.data_dir.join("plugins");
    // Versions before this one kept their own files where people put theirs now.
    if before.join("registry.json").is_file() && !folder.exists() {
        std::fs::rename(&before, &folder).context("move the installed plugins")?;
    }
    let host = PluginHost::open(&folder, Default::default()).context("open the plugins")?;
    let own = config.plugins.iter();
    let host = host.with_limits_of(own.map(|(name, plugin)| (name.clone(), plugin.limits())));
    let mut referenced = Vec::new();
    for workflow in store.workflows().list().context("list the workflows")? {
        for plugin in workflow.pinned.plugins {
            referenced.push(plugin.digest);
            referenced.extend(plugin.granted.files.values().map(|file| file.digest));
        }
    }
    let removed = host
        .prune(&referenced)
        .context("remove what no workflow uses")?;
    if !removed.is_empty() {
        tracing::info!(
            components = removed.len(),
            "removed versions of plugins that nothing uses"
        );
    }
    let host: Arc<dyn autodidact_domain::ports::Plugins> = Arc::new(host);
    for (name, component) in builtin_components() {
        match host.install(component, true) {
            Err(error @ autodidact_domain::PortError::Exists { .. }) => tracing::warn!(
                "the built-in plugin {name} stays away: {error} (`autodidact plugin remove {name}`, then start the daemon again)"
            ),
            installed => {
                installed.with_context(|| format!("install the built-in plugin {name}"))?;
            }
        }
    }
    for name in config.plugins.keys().filter(|name| host.get(name).is_err()) {
        tracing::info!("[plugins.{name}] has limits for a plugin that is not installed yet");
    }
    Ok(host)
}

/// Writes what plugins log into the daemon's own log, at a level of its own: an error of a plugin's is none of the daemon's.
fn log_of_plugins(event: &Event) -> bool {
    if let EventBody::PluginLog {
        plugin,
        level,
        message,
    } = &event.body
    {
        let workflow = event.workflow.as_ref().map(ToString::to_string);
        tracing::info!(plugin, level, workflow, "{message}");
    }
    true
}

/// Tells where each resumed run goes on.
fn log_positions(ports: &Ports) -> anyhow::Result<()> {
    for workflow in ports.workflows.list().context("list the workflows")? {
        if workflow.state == WorkflowState::Running && !workflow.message.is_empty() {
            tracing::info!("{} {}", workflow.spec.name, workflow.message);
        }
    }
    Ok(())
}

/// Does work that blocks, off the runtime's own threads.
async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await.context(what)?
}
