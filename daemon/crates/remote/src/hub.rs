//! Files of models on a hub that speaks the Hugging Face Hub's API: what a revision holds, and the files themselves.
//!
//! `GET /api/models/REPOSITORY/revision/REVISION?blobs=true` lists them, `GET /REPOSITORY/resolve/COMMIT/FILE` gives one, by way of
//! redirects. A download that breaks off goes on where it broke.

use std::path::Path;

use autodidact_domain::{Interrupt, PortError, PortResult};
use reqwest::header::{AUTHORIZATION, CONTENT_RANGE, RANGE};
use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;
use tokio::io::AsyncWriteExt;

use crate::background::Background;
use crate::retry::{Failure, Patience, with_retries};
use crate::settings::Key;
use crate::{RemoteError, http};

/// The longest listing read, in bytes.
const MAX_LISTING_BYTES: usize = 32 << 20;

/// A hub.
#[derive(Debug)]
pub struct Hub {
    endpoint: Url,
    token: Option<Key>,
    client: Client,
    patience: Patience,
    runtime: Background,
}

/// What a revision of a repository holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubRevision {
    /// The commit that the revision names now.
    pub commit: String,
    /// Its files.
    pub files: Vec<HubFile>,
}

/// A file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubFile {
    /// Its path in the repository: plain names between slashes.
    pub path: String,
    /// Its length in bytes, where the hub tells.
    pub size: Option<u64>,
    /// Its SHA-256 in hexadecimal, where the hub tells: of large files it does.
    pub sha256: Option<String>,
}

#[derive(Deserialize)]
struct Listing {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    lfs: Option<LargeFile>,
}

#[derive(Deserialize)]
struct LargeFile {
    sha256: String,
}

impl Hub {
    /// Prepares requests to a hub; none is sent.
    ///
    /// # Errors
    /// [`PortError::Invalid`] for an endpoint that is no URL of one.
    pub fn new(endpoint: &str, token: Option<Key>) -> PortResult<Self> {
        if let Some(fault) = crate::RemoteSettings::base_url_fault(endpoint) {
            return Err(PortError::Invalid(format!(
                "the hub's endpoint {endpoint:?}: {fault}"
            )));
        }
        let endpoint = Url::parse(endpoint.trim_end_matches('/'))
            .map_err(|error| PortError::Invalid(format!("the hub's endpoint: {error}")))?;
        // It comes before the client, which needs what it sets up for TLS.
        let runtime = Background::start()?;
        let client = http::downloads(&endpoint)?;
        Ok(Self {
            endpoint,
            token,
            client,
            patience: Patience {
                retries: http::DOWNLOAD_RETRIES,
                base: http::DOWNLOAD_WAIT,
                advice: "Try again later".to_string(),
            },
            runtime,
        })
    }

    /// Lists what a revision (a branch, a tag or a commit) of a repository (`OWNER/NAME`) holds.
    ///
    /// # Errors
    /// [`PortError::Invalid`] where the hub has no such thing or wants a token, [`PortError::Unavailable`] where it cannot be
    /// reached or answers something else, [`PortError::Interrupted`].
    pub fn revision(
        &self,
        repository: &str,
        revision: &str,
        interrupt: &Interrupt,
    ) -> PortResult<HubRevision> {
        let mut url = self.url(&["api", "models"], repository, &["revision", revision]);
        url.set_query(Some("blobs=true"));
        let what = format!("{repository}@{revision}");
        let list = with_retries(&self.patience, async || self.list(&url, &what).await);
        let listing = self.runtime.run(interrupt, list)?;
        let file = |sibling: Sibling| {
            let path = sibling.rfilename;
            is_plain(&path)
                .then_some(HubFile {
                    path,
                    size: sibling.size,
                    sha256: sibling.lfs.map(|file| file.sha256.to_lowercase()),
                })
                .ok_or_else(|| {
                    PortError::Invalid(format!(
                        "{what} on the hub holds a file with an unsafe name"
                    ))
                })
        };
        let files = listing.siblings.into_iter().map(file);
        Ok(HubRevision {
            files: files.collect::<PortResult<_>>()?,
            commit: listing.sha,
        })
    }

    /// Writes a file of a repository to a path where nothing is. `progress` is told the bytes written so far.
    ///
    /// # Errors
    /// As [`Hub::revision`]; [`PortError::Unavailable`] where the file cannot be written or has another length than the hub told.
    pub fn download(
        &self,
        repository: &str,
        commit: &str,
        file: &HubFile,
        to: &Path,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(u64),
    ) -> PortResult<()> {
        let mut parts = vec!["resolve", commit];
        parts.extend(file.path.split('/'));
        let url = self.url(&[], repository, &parts);
        let failed =
            |error: std::io::Error| RemoteError::Failed(format!("write {}: {error}", to.display()));
        let what = format!("{repository}/{}", file.path);
        self.runtime.run(interrupt, async {
            let mut target = tokio::fs::File::create_new(to).await.map_err(failed)?;
            let mut written = 0;
            // A break after some progress begins the count of attempts anew.
            while !with_retries(&self.patience, async || {
                let before = written;
                match self
                    .receive(&url, &what, &mut target, &mut written, progress)
                    .await
                {
                    Ok(()) => Ok(true),
                    Err(Failure::Again { .. }) if written > before => Ok(false),
                    Err(failure) => Err(failure),
                }
            })
            .await?
            {}
            target.sync_all().await.map_err(failed)?;
            match file.size {
                Some(size) if size != written => Err(RemoteError::Failed(format!(
                    "{what} on the hub has {size} bytes by its listing, and {written} came"
                ))),
                _ => Ok(()),
            }
        })
    }

    async fn list(&self, url: &Url, what: &str) -> Result<Listing, Failure> {
        let mut response = self.get(url, what, 0).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| self.broken(&error))?
        {
            if bytes.len() + chunk.len() > MAX_LISTING_BYTES {
                return Err(Failure::Final(RemoteError::Malformed(format!(
                    "the hub's list of {what} is longer than {MAX_LISTING_BYTES} bytes"
                ))));
            }
            bytes.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&bytes).map_err(|error| {
            Failure::Final(RemoteError::Malformed(format!(
                "{} gave no list of {what}: {error}; see that HF_ENDPOINT names a hub",
                self.endpoint
            )))
        })
    }

    /// Receives what is still missing of a file.
    async fn receive(
        &self,
        url: &Url,
        what: &str,
        target: &mut tokio::fs::File,
        written: &mut u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), Failure> {
        let failed = |error: std::io::Error| {
            Failure::Final(RemoteError::Failed(format!(
                "write what came of {what}: {error}"
            )))
        };
        let mut response = self.get(url, what, *written).await?;
        if *written > 0 && !goes_on_at(&response, *written) {
            // A server that knows no ranges begins anew.
            target.set_len(0).await.map_err(failed)?;
            tokio::io::AsyncSeekExt::rewind(target)
                .await
                .map_err(failed)?;
            *written = 0;
        }
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    target.write_all(&chunk).await.map_err(failed)?;
                    *written += chunk.len() as u64;
                    progress(*written);
                }
                Ok(None) => return target.flush().await.map_err(failed),
                Err(error) => {
                    target.flush().await.map_err(failed)?;
                    return Err(self.broken(&error));
                }
            }
        }
    }

    async fn get(&self, url: &Url, what: &str, from: u64) -> Result<Response, Failure> {
        let mut request = self.client.get(url.clone());
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token.bearer());
        }
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        let response = request.send().await.map_err(|error| self.broken(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let after = http::asked_to_wait(&response);
        let advice = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if self.token.is_none() => {
                "it is private, or its terms want to be accepted on the hub: do that, and set HF_TOKEN to a token of yours"
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                "see that HF_TOKEN is right and that its owner has accepted the model's terms on the hub"
            }
            StatusCode::NOT_FOUND => "see that repository, revision and file are spelled right",
            _ => "see that HF_ENDPOINT names a hub",
        };
        let what = format!("the hub {} answered {status} for {what}", self.endpoint);
        Err(match http::is_passing(status) {
            true => Failure::Again { what, after },
            false => Failure::Final(RemoteError::Refused(format!("{what}; {advice}"))),
        })
    }

    fn broken(&self, error: &reqwest::Error) -> Failure {
        let what = format!("the hub {}: {}", self.endpoint, http::chain(error));
        match error.is_redirect() || error.is_builder() {
            true => Failure::Final(RemoteError::Refused(what)),
            false => Failure::Again { what, after: None },
        }
    }

    fn url(&self, before: &[&str], repository: &str, after: &[&str]) -> Url {
        let mut url = self.endpoint.clone();
        url.path_segments_mut()
            .expect("it is checked to be http or https")
            .pop_if_empty()
            .extend(before)
            .extend(repository.split('/'))
            .extend(after);
        url
    }
}

/// Tells whether an answer is the rest of a file from a place on.
fn goes_on_at(response: &Response, from: u64) -> bool {
    let range = response.headers().get(CONTENT_RANGE);
    let range = range.and_then(|value| value.to_str().ok()).unwrap_or("");
    response.status() == StatusCode::PARTIAL_CONTENT
        && range
            .strip_prefix("bytes ")
            .and_then(|range| range.split('-').next())
            == Some(from.to_string().as_str())
}

/// Tells whether a path has plain names only, so that it leads nowhere else.
fn is_plain(path: &str) -> bool {
    path.len() <= 1024
        && path.split('/').all(|name| {
            !matches!(name, "" | "." | "..")
                && !name.contains(|c: char| c == '\\' || c.is_control())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_names_are_known() {
        for good in ["config.json", "1_Pooling/config.json", "a b/模型.gguf"] {
            assert!(is_plain(good), "{good}");
        }
        for bad in [
            "",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a//b",
            "a\\b",
            "a\0b",
            ".",
        ] {
            assert!(!is_plain(bad), "{bad:?}");
        }
    }

    #[test]
    fn addresses_keep_what_is_put_into_them() {
        let hub = Hub::new("http://127.0.0.1:1/hub/", None).unwrap();
        let url = hub.url(&["api", "models"], "me/m", &["revision", "refs/pr/1"]);
        assert_eq!(
            url.as_str(),
            "http://127.0.0.1:1/hub/api/models/me/m/revision/refs%2Fpr%2F1"
        );
        assert!(Hub::new("ftp://x", None).is_err());
        assert!(Hub::new("http://me:secret@x", None).is_err());
    }
}
