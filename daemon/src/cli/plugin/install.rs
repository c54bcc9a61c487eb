//! `autodidact plugin install`

use std::path::Path;

use autodidact_client::{Client, v1};
use autodidact_domain::Interrupt;
use clap::Args;
use sha2::{Digest as _, Sha256};

use super::{MAX_COMPONENT_BYTES, read_component, tell};
use crate::cli::{Failure, Global, output, request_id};

#[derive(Args)]
pub(crate) struct InstallArgs {
    /// The component or core module: a file, or an https address
    #[arg(value_name = "FILE|URL")]
    from: String,
    /// The SHA-256 that the file must have; an address needs it
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
    /// Grant it what it asks for, in every workflow: log, generate, embed, score
    #[arg(long, value_name = "CAPABILITY", value_delimiter = ',')]
    grant: Vec<String>,
}

/// Installs a plugin.
pub(super) async fn run(
    client: &Client,
    args: InstallArgs,
    global: &Global,
) -> Result<(), Failure> {
    let bytes = match is_address(&args.from) {
        true => fetch(&args.from, args.sha256.as_deref())?,
        false => read_component(Path::new(&args.from))?,
    };
    if let Some(expected) = &args.sha256 {
        check(&args.from, &bytes, expected)?;
    }
    let mut plugin = client.install_plugin(bytes, &request_id()).await?;
    if !args.grant.is_empty() {
        let request = v1::GrantPluginRequest {
            request_id: request_id(),
            name: plugin.name.clone(),
            grant: args.grant,
            ..v1::GrantPluginRequest::default()
        };
        let granted = client.plugins().grant(request).await;
        if granted.is_err() {
            output::note(format!(
                "{} is installed, and was granted nothing",
                plugin.name
            ));
        }
        plugin = granted?.into_inner().plugin.unwrap_or_default();
    }
    tell(&plugin, global)
}

fn is_address(from: &str) -> bool {
    from.starts_with("https://") || from.starts_with("http://")
}

/// Fetches what an address gives. What the network says is trusted for its digest alone.
fn fetch(address: &str, sha256: Option<&str>) -> Result<Vec<u8>, Failure> {
    if sha256.is_none() {
        return Err(Failure::usage(
            "an address needs --sha256, so that what is installed is what you mean; `sha256sum FILE` shows a file's",
        ));
    }
    let fetched = tokio::task::block_in_place(|| {
        autodidact_remote::fetch(address, MAX_COMPONENT_BYTES, &Interrupt::new())
    });
    fetched.map_err(|error| Failure::refused("UNAVAILABLE", error.to_string()))
}

fn check(from: &str, bytes: &[u8], expected: &str) -> Result<(), Failure> {
    let found: String = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    match found.eq_ignore_ascii_case(expected.trim()) {
        true => Ok(()),
        false => Err(Failure::refused(
            "DIGEST_MISMATCH",
            format!("{from} has the SHA-256 {found}, not {expected}; nothing was installed"),
        )),
    }
}
