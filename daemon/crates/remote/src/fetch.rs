//! A file from an address, whole, into memory.

use autodidact_domain::{Interrupt, PortError, PortResult};
use reqwest::{Client, Url};

use crate::background::Background;
use crate::retry::{Failure, Patience, with_retries};
use crate::{RemoteError, http};

/// Fetches what an address gives, at most so many bytes. What it is has to be checked by its digest.
///
/// # Errors
/// [`PortError::Invalid`] for what is no address, plain http to another machine, and what the server refuses;
/// [`PortError::Unavailable`] where it cannot be reached or gives more; [`PortError::Interrupted`].
pub fn fetch(address: &str, max_bytes: usize, interrupt: &Interrupt) -> PortResult<Vec<u8>> {
    let url = Url::parse(address)
        .map_err(|error| PortError::Invalid(format!("{address:?} is no address: {error}")))?;
    if url.scheme() != "https" && !http::is_loopback(address) {
        return Err(PortError::Invalid(format!(
            "{address} is not https, and not on this machine"
        )));
    }
    // It comes before the client, which needs what it sets up for TLS.
    let runtime = Background::start()?;
    let client = http::downloads(&url)?;
    let patience = Patience {
        retries: http::DOWNLOAD_RETRIES,
        base: http::DOWNLOAD_WAIT,
        advice: "Try again later".to_string(),
    };
    let work = with_retries(&patience, async || receive(&client, &url, max_bytes).await);
    runtime.run(interrupt, work)
}

async fn receive(client: &Client, url: &Url, max_bytes: usize) -> Result<Vec<u8>, Failure> {
    let broken = |error: reqwest::Error| {
        let what = format!("{url}: {}", http::chain(&error));
        match error.is_redirect() || error.is_builder() {
            true => Failure::Final(RemoteError::Refused(what)),
            false => Failure::Again { what, after: None },
        }
    };
    let mut response = client.get(url.clone()).send().await.map_err(broken)?;
    let status = response.status();
    if !status.is_success() {
        let after = http::asked_to_wait(&response);
        let what = format!("{url} answered {status}");
        return Err(match http::is_passing(status) {
            true => Failure::Again { what, after },
            false => Failure::Final(RemoteError::Refused(what)),
        });
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if bytes.len() + chunk.len() > max_bytes {
            let what = format!("{url} gives more than {max_bytes} bytes");
            return Err(Failure::Final(RemoteError::Refused(what)));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
