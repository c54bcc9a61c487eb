//! `autodidact plugin …`

mod build;
mod grant;
mod install;
mod new;
mod test;

use std::path::Path;

use autodidact_client::v1;
use autodidact_proto::json as messages;
use clap::Subcommand;

use super::dataset::read_bounded;
use super::{Failure, Global, connect, output, request_id};

#[derive(Subcommand)]
pub(super) enum PluginCommand {
    #[command(flatten)]
    Project(ProjectCommand),
    #[command(flatten)]
    Daemon(DaemonCommand),
}

/// What is done in a plugin's project, without a daemon.
#[derive(Subcommand)]
pub(super) enum ProjectCommand {
    /// Make a project for a new plugin, in Rust, Python, JavaScript, C, Zig or AssemblyScript
    #[command(after_help = "\
The project is whole: it has all that it is built on but the language's own tools, which its README names.

Examples:
  autodidact plugin new --kind filter --lang rust my-filter
  autodidact plugin new --kind scorer --lang python my-scorer --into plugins/my-scorer")]
    New(new::NewArgs),
    /// Build a project as its plugin.toml says
    #[command(after_help = "\
Examples:
  autodidact plugin build
  autodidact plugin build my-filter")]
    Build(build::BuildArgs),
}

/// What is asked of a daemon.
#[derive(Subcommand)]
pub(super) enum DaemonCommand {
    /// Check, compile and register a WebAssembly component or core module
    #[command(after_help = "\
A new version of an installed plugin takes its place for new workflows, and for running ones that follow it; others stay on the
version that they were submitted with.

Examples:
  autodidact plugin install my-filter.wasm
  autodidact plugin install my-judge.wasm --grant generate,log
  autodidact plugin install https://example.org/my-filter.wasm --sha256 9f86d081884c7d65…")]
    Install(install::InstallArgs),
    /// Ask a plugin about a dataset's records, without keeping anything: verdicts, time a record, peak memory
    #[command(after_help = "\
Examples:
  autodidact plugin test my-filter.wasm --dataset seeds
  autodidact plugin test length --dataset seeds --plugin-config '{\"instruction\": {\"least\": 5, \"most\": 60}}'
  autodidact plugin test rubric --dataset seeds --grant generate --model smollm --limit 20")]
    Test(test::TestArgs),
    /// Let a plugin use what it asks for, in every workflow that says nothing else
    #[command(after_help = "\
A plugin may use nothing unless it asks for it (`plugin show`) and you grant it, here or in a workflow (`grant: [generate]`).
Workflows take what is granted when they are submitted.

Examples:
  autodidact plugin grant rubric generate --max-tokens 200000
  autodidact plugin grant blocklist data --file words.txt=my-words.txt
  autodidact plugin grant rubric --revoke generate")]
    Grant(grant::GrantArgs),
    /// List the plugins
    List,
    /// Show a plugin's facts
    Show {
        /// The plugin
        name: String,
    },
    /// Let workflows use a plugin
    Enable {
        /// The plugin
        name: String,
    },
    /// Keep new workflows from using a plugin
    Disable {
        /// The plugin
        name: String,
    },
    /// Remove a plugin that does not come with the daemon
    Remove {
        /// The plugin
        name: String,
    },
}

/// The largest component that is sent or fetched; the daemon has a lower bound.
const MAX_COMPONENT_BYTES: usize = 64 << 20;

/// Reads a component, unless it is far too large for one.
fn read_component(path: &Path) -> Result<Vec<u8>, Failure> {
    let size = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    if size > MAX_COMPONENT_BYTES as u64 {
        return Err(Failure::refused(
            "TOO_LARGE",
            format!(
                "{} has {}; no plugin is so large",
                path.display(),
                output::size(size)
            ),
        ));
    }
    read_bounded(path)
}

/// Runs a plugin command.
pub(super) async fn run(command: PluginCommand, global: &Global) -> Result<(), Failure> {
    let command = match command {
        PluginCommand::Project(ProjectCommand::New(args)) => return new::run(&args, global),
        PluginCommand::Project(ProjectCommand::Build(args)) => return build::run(&args, global),
        PluginCommand::Daemon(command) => command,
    };
    let client = connect(global).await?;
    let mut plugins = client.plugins();
    let plugin = match command {
        DaemonCommand::Install(args) => return install::run(&client, args, global).await,
        DaemonCommand::Test(args) => return test::run(&client, args, global).await,
        DaemonCommand::Grant(args) => return grant::run(&client, args, global).await,
        DaemonCommand::Show { name } => {
            plugins
                .get(v1::GetPluginRequest { name })
                .await?
                .into_inner()
                .plugin
        }
        DaemonCommand::Enable { name } => {
            let request = v1::EnablePluginRequest {
                request_id: request_id(),
                name,
            };
            plugins.enable(request).await?.into_inner().plugin
        }
        DaemonCommand::Disable { name } => {
            let request = v1::DisablePluginRequest {
                request_id: request_id(),
                name,
            };
            plugins.disable(request).await?.into_inner().plugin
        }
        DaemonCommand::Remove { name } => {
            plugins
                .remove(v1::RemovePluginRequest {
                    request_id: request_id(),
                    name: name.clone(),
                })
                .await?;
            return if global.json {
                Ok(())
            } else {
                output::line(format!("{name} is removed"))
            };
        }
        DaemonCommand::List => return list(&client, global).await,
    };
    tell(&plugin.unwrap_or_default(), global)
}

async fn list(client: &autodidact_client::Client, global: &Global) -> Result<(), Failure> {
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        let page = client
            .plugins()
            .list(v1::ListPluginsRequest {
                page_size: 0,
                page_token,
            })
            .await?
            .into_inner();
        all.extend(page.plugins);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if global.json {
        return output::json(&messages::list("Plugin", &all));
    }
    let row = |p: &v1::Plugin| {
        let from = if p.builtin { "built in" } else { "installed" };
        let digest = p.digest.chars().take(12).collect();
        vec![
            p.name.clone(),
            p.version.clone(),
            p.kinds.join(", "),
            from.into(),
            state(p).into(),
            digest,
        ]
    };
    let headings = ["NAME", "VERSION", "KINDS", "FROM", "STATE", "DIGEST"];
    output::table(&headings, &all.iter().map(row).collect::<Vec<_>>())
}

fn tell(plugin: &v1::Plugin, global: &Global) -> Result<(), Failure> {
    if global.json {
        return output::json(&messages::of("Plugin", plugin));
    }
    let listed = |names: &[String]| match names {
        [] => "nothing".to_string(),
        names => names.join(", "),
    };
    let granted = plugin.granted.clone().unwrap_or_default();
    let mut granted_told = listed(&granted.capabilities);
    if let Some(tokens) = granted.max_tokens {
        granted_told += &format!("; at most {tokens} tokens of models in a workflow");
    }
    let files = granted.files.iter();
    let files: Vec<String> = files
        .map(|file| format!("{} ({})", file.name, output::size(file.size)))
        .collect();
    let mut facts = vec![
        ("name", plugin.name.clone()),
        ("version", plugin.version.clone()),
        ("kinds", plugin.kinds.join(", ")),
        ("asks for", listed(&plugin.capabilities)),
        ("granted", granted_told),
        ("state", state(plugin).to_string()),
        (
            "from",
            if plugin.builtin {
                "the daemon itself"
            } else {
                "an installation"
            }
            .to_string(),
        ),
        ("size", output::size(plugin.size)),
        ("digest", plugin.digest.clone()),
        ("configuration", plugin.config_schema.clone()),
    ];
    if let Some(reason) = &plugin.quarantine {
        facts.push(("quarantine", output::visible(reason)));
    }
    if !files.is_empty() {
        facts.push(("files", files.join(", ")));
    }
    if let Some(uses) = &plugin.uses {
        facts.push(("used so far", uses_told(uses)));
    }
    output::facts(&facts)
}

fn state(plugin: &v1::Plugin) -> &'static str {
    match (plugin.enabled, &plugin.quarantine) {
        (_, Some(_)) => "quarantine",
        (true, None) => "enabled",
        (false, None) => "disabled",
    }
}

/// Says what a plugin used of what it was granted.
fn uses_told(uses: &v1::PluginUses) -> String {
    let counts = [
        (uses.completions, "completion", "completions"),
        (uses.embeddings, "embedding", "embeddings"),
        (uses.scores, "score", "scores"),
        (uses.tokens, "token", "tokens"),
        (uses.log_lines, "line of log", "lines of log"),
        (uses.files_read, "file read", "files read"),
        (uses.refused, "refusal", "refusals"),
    ];
    let used = counts.iter().filter(|(count, ..)| *count > 0);
    let used: Vec<String> = used
        .map(|(count, one, many)| match count {
            1 => format!("1 {one}"),
            _ => format!("{count} {many}"),
        })
        .collect();
    match used.is_empty() {
        true => "nothing".to_string(),
        false => used.join(", "),
    }
}
