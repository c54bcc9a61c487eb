//! `autodidact plugin install`

use std::path::Path;

use autodidact_client::{Client, v1};
use autodidact_domain::Interrupt;
use clap::Args;
use sha2::{Digest as _, Sha256};

use super::{MAX_COMPONENT_BYTES, plain_capability, read_component, tell};
use crate::cli::{Failure, Global, output, request_id};

#[derive(Args)]
pub(crate) struct InstallArgs {
    /// The component or core module: a file, or an https address
    #[arg(value_name = "FILE|URL")]
    from: String,
    /// The SHA-256 that the file must have; an address needs it
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
    /// Grant it what it asks for, in every workflow
    #[arg(long, value_name = "CAPABILITY", value_delimiter = ',', value_parser = plain_capability())]
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
    let request_id = request_id();
    let installed = client.install_plugin(bytes, &args.grant, &request_id);
    let installed = installed.await?;
    let plugin = installed.plugin.unwrap_or_default();
    if !global.json {
        output::line(what_happened(&plugin, installed.before.as_ref()))?;
    }
    tell(&plugin, global)
}

/// Says what an installation changed, and what is left to do.
fn what_happened(plugin: &v1::Plugin, before: Option<&v1::Plugin>) -> String {
    let (name, version) = (&plugin.name, &plugin.version);
    let mut happened = match before {
        None => format!("{name} {version} is installed"),
        Some(before) if before.digest == plugin.digest => {
            format!("{name} {version} was installed already")
        }
        Some(before) => format!(
            "{name} {version} is installed in the place of {}; workflows that were submitted with that stay on it, unless they follow",
            before.version
        ),
    };
    let granted = plugin.granted.clone().unwrap_or_default().capabilities;
    let missing: Vec<&str> = plugin.capabilities.iter().map(String::as_str).collect();
    let missing: Vec<&str> = missing
        .into_iter()
        .filter(|asked| !granted.iter().any(|granted| granted == asked))
        .collect();
    if !missing.is_empty() {
        let file = match missing.contains(&"data") {
            true => " --file NAME=PATH",
            false => "",
        };
        happened += &format!(
            "\nit asks for what it may not use yet: `autodidact plugin grant {name} {}{file}`",
            missing.join(" ")
        );
    }
    if !plugin.enabled {
        happened += &format!("\nit is disabled: `autodidact plugin enable {name}`");
    }
    happened + "\n"
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
