//! `autodidact plugin grant`

use std::path::{Path, PathBuf};

use autodidact_client::{Client, v1};
use clap::Args;

use super::{capability, tell};
use crate::cli::dataset::read_bounded;
use crate::cli::{Failure, Global, output, request_id};

#[derive(Args)]
pub(crate) struct GrantArgs {
    /// The plugin
    name: String,
    /// What it may use from now on, of what it asks for
    #[arg(value_name = "CAPABILITY", value_parser = capability())]
    grant: Vec<String>,
    /// What it may not use any more
    #[arg(long, value_name = "CAPABILITY", value_delimiter = ',', value_parser = capability())]
    revoke: Vec<String>,
    /// The most tokens of models that it may use in a workflow, prompts counted
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u64).range(1..))]
    max_tokens: Option<u64>,
    /// A file that it may read, by the name under which it asks for it [default name: the file's own]; may be given several times
    #[arg(long, value_name = "NAME=PATH", value_parser = named_file)]
    file: Vec<(String, PathBuf)>,
}

/// Changes what a plugin may use.
pub(super) async fn run(client: &Client, args: GrantArgs, global: &Global) -> Result<(), Failure> {
    let changes_something = !args.grant.is_empty() || !args.revoke.is_empty();
    if !changes_something && args.max_tokens.is_none() && args.file.is_empty() {
        return Err(Failure::usage(
            "expected what to grant, --revoke, --max-tokens or --file; `plugin show` says what it asks for",
        ));
    }
    let mut files = Vec::new();
    for (name, path) in args.file {
        let content = read_bounded(&path)?;
        files.push(v1::PluginFileContent { name, content });
    }
    let request = v1::GrantPluginRequest {
        request_id: request_id(),
        name: args.name,
        grant: args.grant,
        revoke: args.revoke,
        max_tokens: args.max_tokens,
        files,
    };
    let answer = client.plugins().grant(request).await?.into_inner();
    let plugin = answer.plugin.unwrap_or_default();
    if !global.json {
        let granted = plugin.granted.clone().unwrap_or_default().capabilities;
        let may = match granted.as_slice() {
            [] => "nothing".to_string(),
            granted => granted.join(", "),
        };
        output::line(format!(
            "{} may use {may} in every workflow that is submitted from now on and says nothing else\n",
            plugin.name
        ))?;
    }
    tell(&plugin, global)
}

/// Reads `NAME=PATH`; a path alone gives its file name.
fn named_file(text: &str) -> Result<(String, PathBuf), String> {
    if let Some((name, path)) = text.split_once('=') {
        return Ok((name.to_string(), PathBuf::from(path)));
    }
    let name = Path::new(text).file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| format!("{text:?} names no file"))?;
    Ok((name.to_string(), PathBuf::from(text)))
}
