//! `autodidact plugin build`

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use crate::cli::{Failure, Global, output};

/// The file that says how a project is built.
const MANIFEST: &str = "plugin.toml";

#[derive(Args)]
pub(crate) struct BuildArgs {
    /// The folder of the project
    #[arg(default_value = ".", value_name = "FOLDER")]
    folder: PathBuf,
}

/// How a project is built.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    /// What it is written in.
    language: String,
    /// The file that comes out, from the project's folder.
    component: PathBuf,
    /// Programs with their arguments, run in the project's folder one after the other.
    steps: Vec<Vec<String>>,
    /// What to install where a step cannot run.
    #[serde(default)]
    needs: String,
}

/// Builds a project.
pub(super) fn run(args: &BuildArgs, global: &Global) -> Result<(), Failure> {
    let folder = &args.folder;
    let manifest = read(folder)?;
    let failed = |error: std::io::Error| Failure::local(format!("make build/: {error}"));
    std::fs::create_dir_all(folder.join("build")).map_err(failed)?;
    for step in &manifest.steps {
        run_step(folder, step, &manifest.needs)?;
    }
    let component = match folder.as_path() == Path::new(".") {
        true => manifest.component.clone(),
        false => folder.join(&manifest.component),
    };
    let size = std::fs::metadata(&component).map_err(|error| {
        Failure::local(format!(
            "the steps ended well, but {}: {error}; see component in {MANIFEST}",
            component.display()
        ))
    })?;
    if global.json {
        return output::json(&json!({
            "language": manifest.language,
            "component": component,
            "size": size.len(),
        }));
    }
    let shown = component.display();
    output::line(format!(
        "{shown}: {}. Next:\n  autodidact plugin test {shown} --dataset DATASET\n  autodidact plugin install {shown}",
        output::size(size.len())
    ))
}

fn read(folder: &Path) -> Result<Manifest, Failure> {
    let path = folder.join(MANIFEST);
    let text = std::fs::read_to_string(&path).map_err(|error| {
        Failure::local(format!(
            "read {}: {error}; `autodidact plugin new` makes a project",
            path.display()
        ))
    })?;
    let manifest: Manifest = toml::from_str(&text)
        .map_err(|error| Failure::local(format!("{}: {error}", path.display())))?;
    match manifest.steps.iter().any(Vec::is_empty) {
        true => Err(Failure::local(format!(
            "{}: a step has no program",
            path.display()
        ))),
        false => Ok(manifest),
    }
}

fn run_step(folder: &Path, step: &[String], needs: &str) -> Result<(), Failure> {
    let told = step.join(" ");
    output::note(format!("$ {told}"));
    let needs = match needs {
        "" => String::new(),
        needs => format!("; if a tool is missing, get it: {needs}"),
    };
    // What programs print is for people: stdout is this command's own.
    let status = Command::new(&step[0])
        .args(&step[1..])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::local(format!("`{told}` failed ({status}){needs}"))),
        Err(error) => Err(Failure::local(format!(
            "cannot run `{}`: {error}{needs}",
            step[0]
        ))),
    }
}
