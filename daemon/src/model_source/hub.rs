//! `hf:` sources: a file or a whole model of a repository on a hub.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use autodidact_domain::{Interrupt, PortError, PortResult};
use autodidact_remote::{Hub, HubFile, HubRevision, Key};

use super::cache::unavailable;
use super::sha256_of;

/// The variables that the hub's own tools read too.
pub(super) const ENDPOINT: &str = "HF_ENDPOINT";
pub(super) const TOKEN: &str = "HF_TOKEN";

/// The files beside the weights that a model's folder may hold.
const COMPANIONS: [&str; 15] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
    "model.safetensors.index.json",
];
/// How often a running download is told of.
const PROGRESS: Duration = Duration::from_secs(2);
const SHAPE: &str = "expected hf:OWNER/NAME[@REVISION] or hf:OWNER/NAME[@REVISION]/FILE.gguf";

/// How the hub is reached.
#[derive(Clone, Debug, Default)]
pub(super) struct HubSettings {
    pub(super) endpoint: Option<String>,
    pub(super) token: Option<String>,
}

/// What a source names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HubSource {
    repository: String,
    revision: String,
    file: Option<String>,
}

impl HubSource {
    /// Reads the part of a source after `hf:`.
    pub(super) fn parse(text: &str) -> PortResult<Self> {
        let bad =
            |what: &str| PortError::Invalid(format!("model source \"hf:{text}\": {what}; {SHAPE}"));
        let mut parts = text.splitn(3, '/');
        let (owner, name) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        // A revision may hold slashes, then it is written with %2F.
        let (name, revision) = match name.split_once('@') {
            Some((name, revision)) => (name, revision.replace("%2F", "/")),
            None => (name, "main".to_string()),
        };
        let is_word = |word: &str| {
            !word.is_empty()
                && !word.starts_with('.')
                && word
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        };
        if !is_word(owner) || !is_word(name) {
            return Err(bad("OWNER/NAME is not one"));
        }
        let is_revision = |revision: &str| revision.split('/').all(is_word);
        if !is_revision(&revision) {
            return Err(bad("the revision is not one"));
        }
        let file = parts.next().map(str::to_string);
        if file
            .as_deref()
            .is_some_and(|file| file.split('/').any(|part| matches!(part, "" | "." | "..")))
        {
            return Err(bad("the file is not one"));
        }
        Ok(Self {
            repository: format!("{owner}/{name}"),
            revision,
            file,
        })
    }

    /// Names the file, or the folder for all of them.
    pub(super) fn file_name(&self) -> &str {
        let path = self.file.as_deref().unwrap_or(&self.repository);
        path.rsplit('/').next().unwrap_or(path)
    }

    /// Downloads what is named into the folder; answers with its place.
    pub(super) fn fetch(
        &self,
        folder: &Path,
        settings: &HubSettings,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(&str),
    ) -> PortResult<PathBuf> {
        let Some(endpoint) = &settings.endpoint else {
            return Err(PortError::Invalid(format!(
                "hf: sources need {ENDPOINT}, the address of the hub (https://…), in the daemon's environment; or give a path, or a pypi: source"
            )));
        };
        let token = settings.token.as_deref().map(Key::new).transpose();
        let token = token.map_err(|fault| PortError::Invalid(format!("{TOKEN}: {fault}")))?;
        let hub = Hub::new(endpoint, token)?;
        progress(&format!(
            "asking the hub for {}@{}",
            self.repository, self.revision
        ));
        let revision = hub.revision(&self.repository, &self.revision, interrupt)?;
        let files = self.choose(&revision)?;
        let total: u64 = files.iter().filter_map(|file| file.size).sum();
        let place = folder.join(self.file_name());
        let (mut done, started, mut told) = (0, Instant::now(), Instant::now());
        for file in files {
            let to = match &self.file {
                Some(_) => place.clone(),
                None => place.join(&file.path),
            };
            let parent = to.parent().unwrap_or(folder);
            std::fs::create_dir_all(parent)
                .map_err(|error| unavailable("create", parent, &error))?;
            progress(&format!("downloading {}", file.path));
            let mut tell = |bytes: u64| {
                if told.elapsed() >= PROGRESS {
                    told = Instant::now();
                    progress(&format!(
                        "downloading {}: {:.0} of {:.0} MB, {:.0} s",
                        file.path,
                        (done + bytes) as f64 / 1e6,
                        total as f64 / 1e6,
                        started.elapsed().as_secs_f64()
                    ));
                }
            };
            hub.download(
                &self.repository,
                &revision.commit,
                file,
                &to,
                interrupt,
                &mut tell,
            )?;
            done += file.size.unwrap_or(0);
            if let Some(expected) = &file.sha256 {
                let found = sha256_of(&[to], interrupt)?;
                if found != *expected {
                    return Err(PortError::Unavailable(format!(
                        "{}/{} came with SHA-256 {found} where the hub lists {expected}; fetch it again",
                        self.repository, file.path
                    )));
                }
            }
        }
        Ok(place)
    }

    /// Chooses the files to fetch.
    fn choose<'a>(&self, revision: &'a HubRevision) -> PortResult<Vec<&'a HubFile>> {
        let refuse = |what: String| {
            PortError::Invalid(format!("{}@{} {what}", self.repository, self.revision))
        };
        let list = |suffix: &str| {
            let names = revision.files.iter().map(|file| file.path.as_str());
            let names: Vec<&str> = names
                .filter(|name| name.ends_with(suffix))
                .take(20)
                .collect();
            names.join(", ")
        };
        if let Some(wanted) = &self.file {
            let found = revision.files.iter().find(|file| file.path == *wanted);
            return found.map(|file| vec![file]).ok_or_else(|| {
                refuse(format!(
                    "holds no {wanted:?}; its GGUF files are: {}",
                    list(".gguf")
                ))
            });
        }
        let is_weights =
            |file: &&HubFile| file.path.ends_with(".safetensors") && !file.path.contains('/');
        let mut weights: Vec<&HubFile> = revision.files.iter().filter(is_weights).collect();
        // Some repositories hold the same weights once more under another name.
        if weights.iter().any(|file| file.path.starts_with("model")) {
            weights.retain(|file| file.path.starts_with("model"));
        }
        let has_config = revision.files.iter().any(|file| file.path == "config.json");
        if weights.is_empty() || !has_config {
            let gguf = list(".gguf");
            return Err(refuse(match gguf.is_empty() {
                true => "holds no config.json with safetensors, and no GGUF file".to_string(),
                false => format!(
                    "holds GGUF files; name one, as in hf:{}/FILE.gguf: {gguf}",
                    self.repository
                ),
            }));
        }
        let companions = revision
            .files
            .iter()
            .filter(|file| COMPANIONS.contains(&file.path.as_str()));
        Ok(companions.chain(weights).collect())
    }
}
