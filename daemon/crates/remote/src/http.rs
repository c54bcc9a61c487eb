//! One request over HTTP: sent, and its failures told apart.

use std::time::{Duration, SystemTime};

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use serde_json::Value;

use crate::error::RemoteError;
use crate::retry::{Failure, retry_after};
use crate::settings::Identity;

/// The longest answer read, in bytes: 64 embeddings of 8192 numbers, or a completion of a million tokens.
pub(crate) const MAX_BODY_BYTES: usize = 32 << 20;
/// How much of a refusal's text is read, in bytes.
const MAX_REFUSAL_BYTES: usize = 64 << 10;
/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long nothing may come over a download.
const SILENCE: Duration = Duration::from_secs(60);
const MAX_REDIRECTS: usize = 10;
/// How often a download that failed in passing is tried again without any progress between.
pub(crate) const DOWNLOAD_RETRIES: u32 = 5;
pub(crate) const DOWNLOAD_WAIT: Duration = Duration::from_millis(500);

/// What the answer is to come as.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Json,
    Events,
}

/// Makes the client of one model. It follows no redirect, since the key would go along.
pub(crate) fn client(identity: &Identity) -> Result<Client, RemoteError> {
    let timeout = Duration::from_secs(identity.settings.timeout_s);
    let mut builder = Client::builder()
        .user_agent(concat!("autodidact/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .connect_timeout(timeout.min(CONNECT_TIMEOUT))
        .pool_max_idle_per_host(identity.settings.concurrency);
    if is_loopback(&identity.settings.base_url) {
        // A proxy elsewhere cannot reach this machine's own servers.
        builder = builder.no_proxy();
    }
    if identity.settings.base_url.starts_with("http://") {
        // It needs no certificates, so a machine without any is no obstacle.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|error| {
        RemoteError::Internal(format!(
            "make a client for remote model {}: {}",
            identity.name,
            chain(&error)
        ))
    })
}

/// Makes a client that downloads files: it follows redirects, but never from https to plain http. A token goes to the host that it is
/// for alone; reqwest takes it off where a redirect leads elsewhere.
pub(crate) fn downloads(address: &Url) -> Result<Client, RemoteError> {
    let careful = redirect::Policy::custom(|attempt| {
        let was_safe = attempt.previous().iter().any(|url| url.scheme() == "https");
        if attempt.previous().len() > MAX_REDIRECTS {
            attempt.error("too many redirects")
        } else if was_safe && attempt.url().scheme() != "https" {
            attempt.error("a redirect from https to plain http")
        } else {
            attempt.follow()
        }
    });
    let mut builder = Client::builder()
        .user_agent(concat!("autodidact/", env!("CARGO_PKG_VERSION")))
        .redirect(careful)
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(SILENCE);
    if is_loopback(address.as_str()) {
        builder = builder.no_proxy();
    }
    if address.scheme() == "http" {
        builder = builder.tls_certs_only([]);
    }
    let failed = |error| RemoteError::Internal(format!("make a client for downloads: {error}"));
    builder.build().map_err(failed)
}

/// Tells whether a refusal may pass by itself.
pub(crate) fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 500 | 502..=504)
}

/// Reads how long a server wants to be left alone.
pub(crate) fn asked_to_wait(response: &Response) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?;
    retry_after(value.to_str().ok()?, SystemTime::now())
}

pub(crate) fn is_loopback(base_url: &str) -> bool {
    reqwest::Url::parse(base_url).is_ok_and(|url| match url.host_str() {
        Some("localhost") => true,
        Some(host) => host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback()),
        None => false,
    })
}

/// One of a model's calls, with what a message about it needs.
pub(crate) struct Call<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) client: &'a Client,
    /// What is added to the base URL.
    pub(crate) path: &'static str,
}

impl Call<'_> {
    /// Sends a request and waits for the beginning of a good answer.
    pub(crate) async fn send(&self, body: &Value, wanted: Wanted) -> Result<Response, Failure> {
        let accept = match wanted {
            Wanted::Json => "application/json",
            Wanted::Events => "text/event-stream",
        };
        let mut request = self
            .client
            .post(self.url())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, accept)
            .body(body.to_string());
        if let Some(key) = &self.identity.key {
            request = request.header(AUTHORIZATION, key.bearer());
        }
        let response = request.send().await.map_err(|error| self.broken(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let after = asked_to_wait(&response);
        let bytes = self.read(response, MAX_REFUSAL_BYTES).await;
        let bytes = bytes.unwrap_or_default();
        let text = self.identity.quote(&refusal_text(&bytes));
        let what = match text.as_str() {
            "" => format!("{} answered {status}", self.place()),
            text => format!("{} answered {status}: {text}", self.place()),
        };
        Err(match is_passing(status) {
            true => Failure::Again { what, after },
            false if is_too_long(&bytes) => Failure::Final(RemoteError::TooLong(format!(
                "{what}; shorten the prompt, or ask for fewer tokens"
            ))),
            false => Failure::Final(RemoteError::Refused(format!(
                "{what}; {}",
                self.advice(status)
            ))),
        })
    }

    /// Reads an answer whole, as JSON.
    pub(crate) async fn json(&self, response: Response) -> Result<Value, Failure> {
        let bytes = self.read(response, MAX_BODY_BYTES).await?;
        serde_json::from_slice(&bytes).map_err(|error| self.not_json(&bytes, &error.to_string()))
    }

    async fn read(&self, mut response: Response, most: usize) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if bytes.len() + chunk.len() > most => {
                    return Err(self.malformed(&format!(
                        "an answer of more than {most} bytes, which is not read to its end"
                    )));
                }
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => return Ok(bytes),
                Err(error) => return Err(self.broken(&error)),
            }
        }
    }

    /// A connection that could not be made, or broke.
    pub(crate) fn broken(&self, error: &reqwest::Error) -> Failure {
        if error.is_builder() {
            return Failure::Final(RemoteError::Internal(format!(
                "{}: {}",
                self.place(),
                chain(error)
            )));
        }
        let what = if error.is_connect() {
            "cannot be reached"
        } else {
            "broke the connection off"
        };
        Failure::Again {
            what: format!("{} {what}: {}", self.place(), chain(error)),
            after: None,
        }
    }

    /// No answer, or no next piece of it, within the time allowed.
    pub(crate) fn late(&self) -> Failure {
        Failure::Again {
            what: format!(
                "{} did not answer within {} s",
                self.place(),
                self.identity.settings.timeout_s
            ),
            after: None,
        }
    }

    pub(crate) fn not_json(&self, bytes: &[u8], error: &str) -> Failure {
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(1024)]);
        let found = match text.trim_start() {
            html if html.starts_with('<') => "a page of HTML".to_string(),
            "" => "nothing".to_string(),
            other => format!("{:?}", self.identity.quote(other)),
        };
        self.malformed(&format!("{found} where JSON was expected ({error})"))
    }

    /// An answer that is none of OpenAI's API.
    pub(crate) fn malformed(&self, what: &str) -> Failure {
        Failure::Final(RemoteError::Malformed(format!(
            "{} answered {what}; see that base_url of [remote_models.{}] is where an OpenAI-compatible API begins, such as http://host:8000/v1",
            self.place(),
            self.identity.name
        )))
    }

    fn advice(&self, status: StatusCode) -> String {
        let section = format!("[remote_models.{}]", self.identity.name);
        match status.as_u16() {
            300..=399 => {
                format!("redirects are not followed: set base_url of {section} to where it leads")
            }
            401 | 403 if self.identity.key.is_none() => {
                format!("it wants a key: name it by key_file or key_env in {section}")
            }
            401 | 403 => {
                format!("see that the key which {section} names is right and may use this model")
            }
            404 => format!(
                "see that base_url and model (now {:?}) of {section} are right, and that its api is one that the server has",
                self.identity.settings.model
            ),
            _ => format!("the request is not sent again; see model, api and extras of {section}"),
        }
    }

    /// Names the model and the call, for messages.
    pub(crate) fn place(&self) -> String {
        format!("remote model {} ({})", self.identity.name, self.url())
    }

    fn url(&self) -> String {
        let base = self.identity.settings.base_url.trim_end_matches('/');
        format!("{base}{}", self.path)
    }
}

/// Takes the message out of a refusal in OpenAI's form; other texts stay as they are.
fn refusal_text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(value) = serde_json::from_slice::<Value>(bytes)
        && let Some(message) = error_message(&value)
    {
        return message;
    }
    if text.trim_start().starts_with('<') {
        return "a page of HTML".to_string();
    }
    text.into_owned()
}

/// Tells whether a refusal is for a prompt that the model's context has no room for: by OpenAI's code, by llama.cpp's type,
/// or by the words of vLLM and others, which give it no name.
fn is_too_long(bytes: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
        return false;
    };
    let error = value.get("error").unwrap_or(&value);
    error["code"] == "context_length_exceeded"
        || error["type"] == "exceed_context_size_error"
        || error_message(&value).is_some_and(|text| text.contains("maximum context length"))
}

/// Finds an error's message: `{"error": {"message": …}}`, `{"error": …}`, `{"message": …}` or FastAPI's `{"detail": …}`.
pub(crate) fn error_message(value: &Value) -> Option<String> {
    let error = value.get("error").filter(|error| !error.is_null());
    let found = match error {
        Some(error) => error.get("message").unwrap_or(error),
        None => value.get("message").or_else(|| value.get("detail"))?,
    };
    Some(match found {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    })
}

/// Joins an error with its causes; the address is in the message already.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_read_in_all_their_forms() {
        let check = |text: &str, expect: &str| {
            assert_eq!(refusal_text(text.as_bytes()), expect);
        };
        check(r#"{"error": {"message": "no", "code": 1}}"#, "no");
        check(r#"{"error": "no"}"#, "no");
        check(r#"{"message": "no"}"#, "no");
        check(r#"{"detail": [{"loc": 1}]}"#, r#"[{"loc":1}]"#);
        check(" <html>", "a page of HTML");
        check("busy", "busy");
    }

    #[test]
    fn a_refusal_for_the_context_is_known_in_all_its_forms() {
        for (text, expect) in [
            (
                r#"{"error": {"message": "no", "code": "context_length_exceeded"}}"#,
                true,
            ),
            (
                r#"{"error": {"code": 400, "type": "exceed_context_size_error"}}"#,
                true,
            ),
            (
                r#"{"message": "This model's maximum context length is 4096 tokens."}"#,
                true,
            ),
            (
                r#"{"error": {"message": "no", "code": "model_not_found"}}"#,
                false,
            ),
            ("maximum context length", false),
            ("", false),
        ] {
            assert_eq!(is_too_long(text.as_bytes()), expect, "{text}");
        }
    }

    #[test]
    fn loopback_is_known_by_name_and_address() {
        for (url, expect) in [
            ("http://localhost:1/v1", true),
            ("http://127.0.0.2/v1", true),
            ("http://[::1]:1/v1", true),
            ("http://example.com/v1", false),
        ] {
            assert_eq!(is_loopback(url), expect, "{url}");
        }
    }
}
