//! `autodidact plugin …`

mod build;
mod grant;
mod install;
mod new;
mod test;

use std::path::Path;

use autodidact_client::v1;
use autodidact_domain::Capability;
use autodidact_proto::json as messages;
use clap::Subcommand;
use clap::builder::PossibleValuesParser;

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
  autodidact plugin test rubric --dataset seeds --grant generate --model smollm --limit 20
  autodidact plugin test alpaca --dataset seeds --model smollm --limit 30
  autodidact plugin test length --dataset seeds --json | jq -c 'select(.record.verdict == \"too_short\")'

A template writes a prompt of every three records; with --model the model is asked, and the template reads what it says.
--json prints a line for each record and each line of the log, and the summary last.")]
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
    #[command(after_help = "\
Examples:
  autodidact plugin list
  autodidact plugin list --json | jq -r '.[] | select(.builtin | not) | .name'")]
    List,
    /// Show a plugin: what it asks for and may use, its digests, its configuration's schema, what it did so far
    #[command(after_help = "\
Examples:
  autodidact plugin show rubric
  autodidact plugin show length --json | jq -r .config_schema")]
    Show {
        /// The plugin
        name: String,
    },
    /// Let workflows use a plugin
    #[command(after_help = "\
A plugin in quarantine, because it failed too often, goes on as well, and is not put there again.

Examples:
  autodidact plugin enable my-filter
  autodidact workflow resume my-run")]
    Enable {
        /// The plugin
        name: String,
    },
    /// Keep new workflows from using a plugin
    #[command(after_help = "\
Workflows that were submitted with it go on with it.

Examples:
  autodidact plugin disable my-filter")]
    Disable {
        /// The plugin
        name: String,
    },
    /// Remove a plugin that does not come with the daemon
    #[command(after_help = "\
What an unfinished workflow was submitted with stays. A file in the folder of plugins is not removed, and is installed again once it
is put there again.

Examples:
  autodidact plugin remove my-filter")]
    Remove {
        /// The plugin
        name: String,
    },
}

/// Reads what plugins may be granted.
fn capability() -> PossibleValuesParser {
    Capability::ALL.map(|(_, name)| name).into()
}

/// Reads what needs no file with it.
fn plain_capability() -> PossibleValuesParser {
    let plain = Capability::ALL.into_iter();
    let plain = plain.filter(|(capability, _)| *capability != Capability::Data);
    PossibleValuesParser::new(plain.map(|(_, name)| name))
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
                "{} has {}; a plugin has at most {}",
                path.display(),
                output::size(size),
                output::size(MAX_COMPONENT_BYTES as u64)
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
    match command {
        DaemonCommand::Install(args) => install::run(&client, args, global).await,
        DaemonCommand::Test(args) => test::run(&client, args, global).await,
        DaemonCommand::Grant(args) => grant::run(&client, args, global).await,
        DaemonCommand::Show { name } => {
            let request = v1::GetPluginRequest { name };
            let answer = plugins.get(request).await?.into_inner();
            tell(&answer.plugin.unwrap_or_default(), global)
        }
        DaemonCommand::Enable { name } => {
            let request = v1::EnablePluginRequest {
                request_id: request_id(),
                name,
            };
            let answer = plugins.enable(request).await?.into_inner();
            let plugin = answer.plugin.unwrap_or_default();
            let happened = format!("{} is enabled: workflows may use it", plugin.name);
            tell_change(&plugin, &happened, global)
        }
        DaemonCommand::Disable { name } => {
            let request = v1::DisablePluginRequest {
                request_id: request_id(),
                name,
            };
            let answer = plugins.disable(request).await?.into_inner();
            let plugin = answer.plugin.unwrap_or_default();
            let mut happened = format!("{} is disabled: no new workflow may use it", plugin.name);
            if !answer.used_by.is_empty() {
                let used_by = answer.used_by.join(", ");
                happened += &format!("; these were submitted with it and go on: {used_by}");
            }
            tell_change(&plugin, &happened, global)
        }
        DaemonCommand::Remove { name } => {
            plugins
                .remove(v1::RemovePluginRequest {
                    request_id: request_id(),
                    name: name.clone(),
                })
                .await?;
            match global.json {
                true => Ok(()),
                false => output::line(format!("{name} is removed")),
            }
        }
        DaemonCommand::List => list(&client, global).await,
    }
}

/// Says what was done to a plugin.
fn tell_change(plugin: &v1::Plugin, happened: &str, global: &Global) -> Result<(), Failure> {
    match global.json {
        true => tell(plugin, global),
        false => output::line(happened),
    }
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
        ("BLAKE3", plugin.digest.clone()),
        ("SHA-256", plugin.sha256.clone()),
    ];
    if let Some(reason) = &plugin.quarantine {
        facts.push(("quarantine", output::visible(reason)));
    }
    if !files.is_empty() {
        facts.push(("files", files.join(", ")));
    }
    if let Some(uses) = &plugin.uses {
        facts.push(("used so far", uses_told(uses)));
        facts.push(("failed on", questions(plugin.failures)));
    }
    // The longest comes last.
    facts.push(("configuration", plugin.config_schema.clone()));
    output::facts(&facts)
}

fn questions(count: u64) -> String {
    match count {
        0 => "nothing".to_string(),
        1 => "1 question".to_string(),
        count => format!("{count} questions"),
    }
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
