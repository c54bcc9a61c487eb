//! `plugin new`, `build`, `test` and `install` in every language and kind, as a newcomer runs them.
//!
//! `AUTODIDACT_TEST_PYTHON` names a Python with the packages of `tests/requirements.txt`: it compiles C and Zig and makes components of
//! Python. JavaScript and AssemblyScript need npm on the PATH; Rust needs the target wasm32-unknown-unknown, or what
//! `plugins/build.sh --compiler` makes, in `AUTODIDACT_TEST_GUEST_COMPILER`.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use autodidact_tests::{Home, binary, tell};

const KINDS: [&str; 4] = ["filter", "template", "validator", "scorer"];
/// Of an interpreter of 18 MB, which takes a while to compile each time.
const FEW_KINDS: [&str; 2] = ["filter", "template"];

/// Runs a command of the program where the tools of a language are on the PATH.
fn run(folder: &Path, environment: &[(String, String)], arguments: &[&str]) -> Result<Output> {
    Command::new(binary())
        .args(arguments)
        .current_dir(folder)
        .envs(environment.iter().cloned())
        .output()
        .with_context(|| format!("run {arguments:?}"))
}

fn must(output: Output, what: &str) -> Result<String> {
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{what}: {told}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The environment in which a Python's own programs come first.
fn with_python(python: &str) -> Vec<(String, String)> {
    let programs = Path::new(python).parent().unwrap_or(Path::new("/"));
    let path = std::env::var("PATH").unwrap_or_default();
    let cache = std::env::temp_dir().join("autodidact-tests-zig");
    vec![
        ("PATH".into(), format!("{}:{path}", programs.display())),
        ("ZIG_GLOBAL_CACHE_DIR".into(), cache.display().to_string()),
    ]
}

/// Makes, builds, tries and installs a plugin of each kind.
fn check(language: &str, kinds: &[&str], environment: &[(String, String)]) -> Result<()> {
    let home = Home::new()?;
    let daemon = home.serve(&[])?;
    home.prepare()?;
    let work = tempfile::tempdir()?;
    for kind in kinds {
        let name = format!("my-{kind}");
        let made = ["plugin", "new", &name, "--kind", kind, "--lang", language];
        must(run(work.path(), environment, &made)?, "plugin new")?;
        let project = work.path().join(&name);
        // The standard library is built once for all of them, where it has to be.
        let shared = work.path().join("target");
        std::fs::create_dir_all(&shared)?;
        std::os::unix::fs::symlink(&shared, project.join("target"))?;
        let built = must(
            run(&project, environment, &["plugin", "build", "--json"])?,
            "plugin build",
        )?;
        let built: serde_json::Value = serde_json::from_str(&built)?;
        let component = project.join(built["component"].as_str().context("component")?);
        let component = component.display().to_string();
        let test = [
            "plugin",
            "test",
            &component,
            "--dataset",
            "seeds-en",
            "--limit",
            "20",
        ];
        let shown = home.text(&test)?;
        ensure!(
            shown.contains(&format!("{name} ")),
            "{language} {kind}: {shown}"
        );
        ensure!(
            !shown.contains("plugin_error"),
            "{language} {kind}: {shown}"
        );
        let wrong = [&test[..], &["--plugin-config", "{\"no_such_setting\": 1}"]].concat();
        let refused = home.run(&wrong)?;
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        ensure!(
            !refused.status.success(),
            "{language} {kind} takes any configuration"
        );
        // Some name the setting, some those that there are.
        ensure!(told.contains("setting"), "{language} {kind}: {told}");
        let shown = home.text(&["plugin", "install", &component])?;
        ensure!(
            shown.contains(&format!("kinds          {kind}")),
            "{language} {kind}: {shown}"
        );
    }
    // A folder that is there is not written over.
    let again = ["plugin", "new", "my-filter", "--lang", language];
    ensure!(!run(work.path(), environment, &again)?.status.success());
    ensure!(daemon.terminate()?.success(), "{}", home.log());
    Ok(())
}

fn check_with_python(test: &str, language: &str, kinds: &[&str]) -> Result<()> {
    match std::env::var("AUTODIDACT_TEST_PYTHON") {
        Ok(python) => check(language, kinds, &with_python(&python)),
        Err(_) => {
            tell(&format!(
                "not run, since AUTODIDACT_TEST_PYTHON is not set: {test}"
            ));
            Ok(())
        }
    }
}

fn check_with_npm(test: &str, language: &str) -> Result<()> {
    let found = Command::new("npm").arg("--version").output();
    match found.is_ok_and(|output| output.status.success()) {
        true => check(language, &KINDS, &[]),
        false => {
            tell(&format!("not run, since there is no npm: {test}"));
            Ok(())
        }
    }
}

#[test]
fn plugins_in_c() -> Result<()> {
    check_with_python("plugins_in_c", "c", &KINDS)
}

#[test]
fn plugins_in_zig() -> Result<()> {
    check_with_python("plugins_in_zig", "zig", &KINDS)
}

#[test]
fn plugins_in_python() -> Result<()> {
    check_with_python("plugins_in_python", "python", &FEW_KINDS)
}

#[test]
fn plugins_in_javascript() -> Result<()> {
    check_with_npm("plugins_in_javascript", "javascript")
}

#[test]
fn plugins_in_assemblyscript() -> Result<()> {
    check_with_npm("plugins_in_assemblyscript", "assemblyscript")
}

#[test]
fn plugins_in_rust() -> Result<()> {
    if let Ok(compiler) = std::env::var("AUTODIDACT_TEST_GUEST_COMPILER") {
        let lines = std::fs::read_to_string(&compiler).context("read the compiler's settings")?;
        let settings = lines.lines().filter_map(|line| line.split_once('='));
        let settings: Vec<_> = settings
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect();
        return check("rust", &KINDS, &settings);
    }
    let targets = Command::new("rustup")
        .args(["target", "list", "--installed"])
        .output();
    let targets = targets.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    match targets.is_ok_and(|targets| targets.contains("wasm32-unknown-unknown")) {
        true => check("rust", &KINDS, &[]),
        false => {
            tell("not run, since there is no target wasm32-unknown-unknown: plugins_in_rust");
            Ok(())
        }
    }
}
