//! `autodidact plugin …`

use std::path::PathBuf;

use autodidact_client::v1;
use autodidact_proto::json as messages;
use clap::Subcommand;

use super::dataset::read_bounded;
use super::{Failure, Global, connect, output, request_id};

#[derive(Subcommand)]
pub(super) enum PluginCommand {
    /// Check, compile and register a WebAssembly component
    #[command(after_help = "Example:\n  autodidact plugin install my-filter.wasm")]
    Install {
        /// The component
        file: PathBuf,
    },
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

/// Runs a plugin command.
pub(super) async fn run(command: PluginCommand, global: &Global) -> Result<(), Failure> {
    let client = connect(global).await?;
    let mut plugins = client.plugins();
    let plugin = match command {
        PluginCommand::Install { file } => Some(
            client
                .install_plugin(read_bounded(&file)?, &request_id())
                .await?,
        ),
        PluginCommand::Show { name } => {
            plugins
                .get(v1::GetPluginRequest { name })
                .await?
                .into_inner()
                .plugin
        }
        PluginCommand::Enable { name } => {
            let request = v1::EnablePluginRequest {
                request_id: request_id(),
                name,
            };
            plugins.enable(request).await?.into_inner().plugin
        }
        PluginCommand::Disable { name } => {
            let request = v1::DisablePluginRequest {
                request_id: request_id(),
                name,
            };
            plugins.disable(request).await?.into_inner().plugin
        }
        PluginCommand::Remove { name } => {
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
        PluginCommand::List => return list(&client, global).await,
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
        let state = if p.enabled { "enabled" } else { "disabled" };
        let digest = p.digest.chars().take(12).collect();
        vec![
            p.name.clone(),
            p.version.clone(),
            p.kinds.join(", "),
            from.into(),
            state.into(),
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
    let asked = match plugin.capabilities.as_slice() {
        [] => "nothing".to_string(),
        asked => asked.join(", "),
    };
    output::facts(&[
        ("name", plugin.name.clone()),
        ("version", plugin.version.clone()),
        ("kinds", plugin.kinds.join(", ")),
        ("asks for", asked),
        (
            "state",
            if plugin.enabled {
                "enabled"
            } else {
                "disabled"
            }
            .to_string(),
        ),
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
    ])
}
