//! Watched folders: a file that lands in one becomes a version of its dataset, and a component in the folder of plugins is installed.
//!
//! The file system's notices make it quick; a scan every few seconds makes it sure. A file stays where it is and is
//! known by its content's digest; `<file>.report.json` beside it says what became of it.

mod folders;
mod plugins;
mod quiet;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use autodidact_domain::ports::Ports;
use autodidact_domain::{
    DatasetName, Digest, EventBody, FileReport, Interrupt, LineFault, PortError, PortResult,
};
use autodidact_flow::Supervisor;
use autodidact_server::{IncomingFile, import_file};
use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{RecursiveMode, Watcher as _};

use crate::config::InboxFolder;
use crate::files;
use folders::{Candidate, Refusal};
use quiet::QuietFiles;

/// How often all folders are read through.
const SCAN: Duration = Duration::from_secs(3);
/// How often files that are not finished yet are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Notices that may wait; more only bring the next scan forward.
const MAX_NOTICES: usize = 1024;

/// What is watched.
pub(crate) struct WatchOptions {
    /// The folder with one folder a dataset.
    pub(crate) inbox: PathBuf,
    /// Further folders.
    pub(crate) folders: Vec<InboxFolder>,
    /// The largest file taken, in bytes.
    pub(crate) max_bytes: u64,
    /// The folder of plugins.
    pub(crate) plugins: PathBuf,
    /// The largest plugin taken, in bytes.
    pub(crate) max_plugin_bytes: u64,
}

/// Looks after the folders until the interrupt is raised.
///
/// # Errors
/// When the inbox cannot be made. Files and folders that cannot be read are told of and passed over.
pub(crate) fn watch_folders(
    options: &WatchOptions,
    ports: &Ports,
    supervisor: &Arc<Supervisor>,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    use anyhow::Context as _;
    std::fs::create_dir_all(&options.inbox)
        .with_context(|| format!("create inbox {}", options.inbox.display()))?;
    std::fs::create_dir_all(&options.plugins)
        .with_context(|| format!("create the folder {}", options.plugins.display()))?;
    let (sender, notices) = sync_channel(MAX_NOTICES);
    // Without notices (the system has no more watches to give) the scans still find everything.
    let _watcher = start_notices(options, sender);
    let mut watch = Watch {
        options,
        ports,
        supervisor,
        files: QuietFiles::default(),
        told: HashSet::new(),
    };
    while !interrupt.is_raised() {
        watch.look(interrupt);
        wait_for_notice(&notices, &mut watch.files, interrupt);
    }
    Ok(())
}

/// Asks the system for notices of the inbox (with its folders) and of the configured folders.
fn start_notices(
    options: &WatchOptions,
    sender: SyncSender<notify::Event>,
) -> Option<notify::RecommendedWatcher> {
    let handler = move |event: notify::Result<notify::Event>| {
        if let Ok(event) = event
            && tells_of_change(&event.kind)
        {
            // A full channel already means that a look is due.
            let _ = sender.try_send(event);
        }
    };
    let mut watcher = notify::recommended_watcher(handler)
        .inspect_err(|error| {
            tracing::info!(
                "folders are scanned every {} s only: {error}",
                SCAN.as_secs()
            )
        })
        .ok()?;
    let own = [
        (&options.inbox, RecursiveMode::Recursive),
        (&options.plugins, RecursiveMode::NonRecursive),
    ];
    let watched = own.into_iter().chain(
        options
            .folders
            .iter()
            .map(|folder| (&folder.path, RecursiveMode::NonRecursive)),
    );
    for (path, mode) in watched {
        if let Err(error) = watcher.watch(path, mode) {
            tracing::info!(folder = %path.display(), "scanned every {} s only: {error}", SCAN.as_secs());
        }
    }
    Some(watcher)
}

/// Tells whether something in a folder may be new. Our own scans open and close folders: heard, they would call for the
/// next scan at once, and so on without end.
fn tells_of_change(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(access) => *access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

/// Waits until it is time to look again: soon while files are unfinished, at a notice, or at the next scan.
fn wait_for_notice(
    notices: &Receiver<notify::Event>,
    files: &mut QuietFiles,
    interrupt: &Interrupt,
) {
    let until = Instant::now() + if files.any_waiting() { LOOK } else { SCAN };
    while Instant::now() < until && !interrupt.is_raised() {
        match notices.recv_timeout(LOOK) {
            Ok(event) => {
                note(&event, files);
                while let Ok(event) = notices.try_recv() {
                    note(&event, files);
                }
                return;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(LOOK),
        }
    }
}

fn note(event: &notify::Event, files: &mut QuietFiles) {
    let closed = matches!(
        event.kind,
        EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Name(_))
    );
    if closed {
        event.paths.iter().for_each(|path| files.closed(path));
    }
}

struct Watch<'a> {
    options: &'a WatchOptions,
    ports: &'a Ports,
    supervisor: &'a Arc<Supervisor>,
    files: QuietFiles,
    /// What was already told to people, so that each refusal is told once.
    told: HashSet<PathBuf>,
}

impl Watch<'_> {
    /// Reads all folders through and takes the files that are finished.
    fn look(&mut self, interrupt: &Interrupt) {
        let (candidates, refusals) = folders::scan(&self.options.inbox, &self.options.folders);
        let (components, others) = plugins::scan(&self.options.plugins);
        for Refusal { path, reason } in refusals.into_iter().chain(others) {
            self.tell_once(&path, &reason);
        }
        let datasets = candidates.iter().map(|candidate| &candidate.path);
        let present = datasets.chain(components.iter().map(|(path, _)| path));
        let present = present.cloned().collect();
        self.files.keep_only(&present);
        for (path, look) in components {
            if interrupt.is_raised() {
                return;
            }
            let max_bytes = self.options.max_plugin_bytes;
            if self.files.is_finished(&path, look, Instant::now()) {
                match plugins::take(&path, look, max_bytes, self.ports) {
                    Ok(()) => drop(self.told.remove(&path)),
                    Err(error) => self.try_again(&path, &error),
                }
            }
        }
        for candidate in candidates {
            if interrupt.is_raised() {
                return;
            }
            if self
                .files
                .is_finished(&candidate.path, candidate.look, Instant::now())
                && let Err(error) = self.take(&candidate)
            {
                self.try_again(&candidate.path, &error);
            }
        }
    }

    fn try_again(&mut self, path: &Path, error: &PortError) {
        self.files.retry(path, Instant::now());
        if self.is_news(path) {
            tracing::warn!(file = %path.display(), "is tried again until it can be taken: {error}");
            self.publish(
                path,
                format!("it is tried again until it can be taken: {error}"),
            );
        }
    }

    /// Makes a version of a finished file and lays the report beside it.
    fn take(&mut self, candidate: &Candidate) -> PortResult<()> {
        let path = &candidate.path;
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        if candidate.look.size > self.options.max_bytes {
            return self.refuse_large(candidate, &name);
        }
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            // Taken away again, or replaced: the next look sees what is there then.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                self.tell_once(path, &format!("cannot be read: {error}"));
                return Ok(());
            }
        };
        let mapping = match read_mapping(path, self.options.max_bytes) {
            Ok(mapping) => mapping,
            Err(reason) => {
                self.tell_once(path, &reason);
                return Ok(());
            }
        };
        let file = IncomingFile {
            name: &name,
            bytes: &bytes,
            mapping: mapping.as_deref(),
        };
        let digest = file.digest();
        if already_reported(path, digest, &candidate.dataset, self.ports)? {
            return Ok(());
        }
        let imported = import_file(self.ports, self.supervisor, &candidate.dataset, file)?;
        for workflow in &imported.started {
            tracing::info!(workflow = %workflow.spec.name, dataset = %candidate.dataset, "started by a dropped file");
        }
        self.finish(path, &imported.report)
    }

    /// Reports a file that is too large to be read into memory.
    fn refuse_large(&mut self, candidate: &Candidate, name: &str) -> PortResult<()> {
        let path = &candidate.path;
        let digest = match digest_of(path) {
            Ok(digest) => digest,
            Err(error) => {
                self.tell_once(path, &format!("cannot be read: {error}"));
                return Ok(());
            }
        };
        if already_reported(path, digest, &candidate.dataset, self.ports)? {
            return Ok(());
        }
        let expected = format!(
            "at most {} MiB (limits.file_mib)",
            self.options.max_bytes >> 20
        );
        let found = format!("{} bytes", candidate.look.size);
        let message = format!("it is too large: expected {expected}, found {found}");
        self.ports.events.publish(
            None,
            EventBody::FileRefused {
                file: name.to_string(),
                message,
            },
        )?;
        let fault = LineFault {
            line: 0,
            reason: "too_large".into(),
            expected,
            found,
        };
        let report = FileReport {
            file: name.to_string(),
            digest,
            dataset: None,
            accepted: 0,
            refused: 1,
            errors: vec![fault],
        };
        self.finish(path, &report)
    }

    /// Writes the report last, so that a file without one is taken again after a crash.
    fn finish(&mut self, path: &Path, report: &FileReport) -> PortResult<()> {
        tracing::info!(
            file = %path.display(),
            dataset = report.dataset.as_deref().unwrap_or("none"),
            accepted = report.accepted,
            refused = report.refused,
            "took a dropped file"
        );
        let text = serde_json::to_string_pretty(report)
            .map_err(|error| PortError::Internal(error.to_string()))?;
        files::write_atomically(&report_path(path), text.as_bytes()).map_err(|error| {
            PortError::Unavailable(format!("write {}: {error}", report_path(path).display()))
        })
    }

    fn tell_once(&mut self, path: &Path, reason: &str) {
        if self.is_news(path) {
            tracing::info!(path = %path.display(), "is passed over: {reason}");
            self.publish(path, reason.to_string());
        }
    }

    /// Tells whether nobody was told of a path yet, and takes it that now they are.
    fn is_news(&mut self, path: &Path) -> bool {
        self.told.len() < MAX_NOTICES && self.told.insert(path.to_path_buf())
    }

    fn publish(&self, path: &Path, message: String) {
        let body = EventBody::FileRefused {
            file: path.display().to_string(),
            message,
        };
        if let Err(error) = self.ports.events.publish(None, body) {
            tracing::warn!("an event could not be written: {error}");
        }
    }
}

/// Tells whether the report beside a file is about this very content, and the version it names is still there.
fn already_reported(
    path: &Path,
    digest: Digest,
    dataset: &DatasetName,
    ports: &Ports,
) -> PortResult<bool> {
    let report = std::fs::read(report_path(path))
        .ok()
        .and_then(|bytes| serde_json::from_slice::<FileReport>(&bytes).ok());
    match report {
        Some(report) if report.digest == digest && report.dataset.is_none() => Ok(true),
        Some(report) if report.digest == digest => {
            Ok(ports.datasets.by_source_digest(dataset, digest)?.is_some())
        }
        _ => Ok(false),
    }
}

/// Reads the mapping file beside a file, where one stands there; the error is for people.
fn read_mapping(path: &Path, max_bytes: u64) -> Result<Option<Vec<u8>>, String> {
    let Some(mapping) = files::mapping_beside(path) else {
        return Ok(None);
    };
    let name = mapping.display();
    let cannot = |error: std::io::Error| format!("its mapping file {name} cannot be read: {error}");
    let real = mapping.canonicalize().map_err(cannot)?;
    let folder = path.parent().unwrap_or(Path::new(".")).canonicalize();
    if !real.starts_with(folder.map_err(cannot)?) {
        return Err(format!(
            "its mapping file {name} is a link that leaves the folder"
        ));
    }
    let size = std::fs::metadata(&mapping).map_err(cannot)?.len();
    if size > max_bytes {
        return Err(format!(
            "its mapping file {name} is too large: {size} bytes"
        ));
    }
    std::fs::read(&mapping).map(Some).map_err(cannot)
}

/// Names the report that stands beside a file.
fn report_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(folders::REPORT_SUFFIX);
    PathBuf::from(name)
}

/// Digests a file piece by piece.
fn digest_of(path: &Path) -> std::io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(std::fs::File::open(path)?)?;
    Ok(Digest::from_bytes(*hasher.finalize().as_bytes()))
}
