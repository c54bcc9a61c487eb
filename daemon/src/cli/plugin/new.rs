//! `autodidact plugin new`

use std::path::{Path, PathBuf};

use autodidact_domain::PluginName;
use autodidact_plugin_host::builtin_components;
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::cli::{Failure, Global, output};

include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

#[derive(Args)]
pub(crate) struct NewArgs {
    /// The plugin's name: 1 to 64 of a-z A-Z 0-9 . _ -
    name: String,
    /// What it does
    #[arg(long, value_enum, default_value_t = Kind::Filter)]
    kind: Kind,
    /// The language it is written in
    #[arg(long, value_enum)]
    lang: Lang,
    /// The folder of the project [default: the plugin's name]
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Kind {
    /// Keeps or drops records
    Filter,
    /// Writes the prompts that ask for new instructions, and reads the answers
    Template,
    /// Accepts, corrects or drops answered records
    Validator,
    /// Gives records numbers
    Scorer,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Template => "template",
            Self::Validator => "validator",
            Self::Scorer => "scorer",
        }
    }
}

/// The languages that there is an SDK for: each a folder of `sdk/`.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Lang {
    Rust,
    Python,
    #[value(alias = "js")]
    Javascript,
    C,
    Zig,
    #[value(alias = "as")]
    Assemblyscript,
}

impl Lang {
    fn folder(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Python => "python",
            Self::Javascript => "javascript",
            Self::C => "c",
            Self::Zig => "zig",
            Self::Assemblyscript => "assemblyscript",
        }
    }
}

/// Makes a project.
pub(super) fn run(args: &NewArgs, global: &Global) -> Result<(), Failure> {
    let name = PluginName::new(args.name.as_str());
    let name = name.map_err(|error| Failure::usage(&error.to_string()))?;
    if builtin_components()
        .iter()
        .any(|(known, _)| *known == name.as_str())
    {
        return Err(Failure::usage(&format!(
            "{name} comes with the daemon, which would refuse yours; give it another name"
        )));
    }
    let folder = args
        .into
        .clone()
        .unwrap_or_else(|| PathBuf::from(&args.name));
    let files = project(name.as_str(), args.kind, args.lang);
    write(&folder, &files)?;
    if global.json {
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        return output::json(&json!({"folder": folder, "files": names}));
    }
    let shown = folder.display();
    output::line(format!(
        "{shown} is a {} in {}. Next:\n  cd {shown}\n  autodidact plugin build\nREADME.md there says what to edit.",
        args.kind.name(),
        args.lang.folder()
    ))
}

/// Lays a project out: paths in its folder, with their content.
fn project(name: &str, kind: Kind, lang: Lang) -> Vec<(String, String)> {
    let filled = |text: &str| {
        text.replace("{{name}}", name)
            .replace("{{kind}}", kind.name())
    };
    let template = format!("{}/template/", lang.folder());
    let kinds = [Kind::Filter, Kind::Template, Kind::Validator, Kind::Scorer];
    let files = SDK.iter().filter_map(|(path, text)| {
        if let Some(path) = path.strip_prefix(&template) {
            let of = |kind: Kind| path.strip_prefix(&format!("{}/", kind.name()));
            return match of(kind) {
                Some(path) => Some((path.to_string(), filled(text))),
                None if kinds.into_iter().any(|kind| of(kind).is_some()) => None,
                None => Some((path.to_string(), filled(text))),
            };
        }
        let wanted = path.starts_with(&format!("{}/", lang.folder())) || path.starts_with("wit/");
        wanted.then(|| (format!("sdk/{path}"), text.to_string()))
    });
    files.collect()
}

/// Writes a project beside its place, then puts it there whole.
fn write(folder: &Path, files: &[(String, String)]) -> Result<(), Failure> {
    if folder.exists() {
        return Err(Failure::usage(&format!(
            "{} is there already; name another folder with --into",
            folder.display()
        )));
    }
    let failed = |error: std::io::Error| {
        Failure::local(format!("write the project {}: {error}", folder.display()))
    };
    let parent = match folder.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(parent).map_err(failed)?;
    let beside = tempfile::Builder::new()
        .prefix(".new-plugin-")
        .tempdir_in(parent);
    let beside = beside.map_err(failed)?;
    let made = beside.path().join("project");
    for (name, text) in files {
        let path = made.join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(&made)).map_err(failed)?;
        std::fs::write(&path, text).map_err(failed)?;
    }
    std::fs::rename(&made, folder).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_a_project_of_every_kind() {
        for lang in Lang::value_variants() {
            for kind in Kind::value_variants() {
                let files = project("my-plugin", *kind, *lang);
                let text = |name: &str| {
                    let found = files.iter().find(|(path, _)| path == name);
                    found.map_or("", |(_, text)| text.as_str())
                };
                assert!(text("README.md").contains("my-plugin"), "{}", lang.folder());
                assert!(text("plugin.toml").contains(&format!("language = \"{}\"", lang.folder())));
                let sources = files.iter().filter(|(path, _)| !path.starts_with("sdk/"));
                let named = sources.clone().any(|(path, text)| {
                    text.contains("my-plugin") && !path.ends_with(".md") && path != "plugin.toml"
                });
                assert!(named, "{} {}", lang.folder(), kind.name());
                for (path, text) in sources {
                    let slots = ["{{name}}", "{{kind}}"];
                    let left = slots.iter().any(|slot| text.contains(slot));
                    assert!(!left, "{path} has a slot left");
                    assert!(
                        !path.starts_with("filter/") && !path.starts_with("template/"),
                        "{path}"
                    );
                }
                assert!(files.iter().any(|(path, _)| path.starts_with("sdk/wit/")));
            }
        }
    }
}
