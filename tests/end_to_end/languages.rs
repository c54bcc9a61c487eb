//! `plugin new`, `build`, `test` and `install` in every language and kind, as a newcomer runs them.
//!
//! `AUTODIDACT_TEST_PYTHON` names a Python with the packages of `tests/requirements.txt`: it compiles C and Zig and makes components of
//! Python. JavaScript and AssemblyScript need npm on the PATH; Rust needs the target wasm32-unknown-unknown, or what
//! `plugins/build.sh --compiler` makes, in `AUTODIDACT_TEST_GUEST_COMPILER`.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use autodidact_tests::{Home, binary, repository, tell};
use serde_json::Value;

const KINDS: [&str; 4] = ["filter", "template", "validator", "scorer"];

/// Runs a command of the program where the tools of a language are on the PATH.
pub(super) fn run(
    folder: &Path,
    environment: &[(String, String)],
    arguments: &[&str],
) -> Result<Output> {
    Command::new(binary())
        .args(arguments)
        .current_dir(folder)
        .envs(environment.iter().cloned())
        .output()
        .with_context(|| format!("run {arguments:?}"))
}

pub(super) fn must(output: Output, what: &str) -> Result<String> {
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{what}: {told}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Where a language's tools are: the environment that its programs need, or why there are none.
pub(super) fn tools_of(language: &str) -> Result<Result<Vec<(String, String)>, &'static str>> {
    match language {
        "c" | "zig" | "python" => {
            let python = std::env::var("AUTODIDACT_TEST_PYTHON");
            let found = python.map(|python| with_python(&python));
            Ok(found.map_err(|_| "AUTODIDACT_TEST_PYTHON is not set"))
        }
        "javascript" | "assemblyscript" => {
            let found = Command::new("npm").arg("--version").output();
            let is_there = found.is_ok_and(|output| output.status.success());
            Ok(if is_there {
                Ok(Vec::new())
            } else {
                Err("there is no npm")
            })
        }
        _ => rust_tools(),
    }
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

fn rust_tools() -> Result<Result<Vec<(String, String)>, &'static str>> {
    if let Ok(compiler) = std::env::var("AUTODIDACT_TEST_GUEST_COMPILER") {
        let lines = std::fs::read_to_string(&compiler).context("read the compiler's settings")?;
        let settings = lines.lines().filter_map(|line| line.split_once('='));
        let settings = settings.map(|(k, v)| (k.to_string(), v.to_string()));
        return Ok(Ok(settings.collect()));
    }
    let targets = Command::new("rustup")
        .args(["target", "list", "--installed"])
        .output();
    let targets = targets.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let is_there = targets.is_ok_and(|targets| targets.contains("wasm32-unknown-unknown"));
    Ok(if is_there {
        Ok(Vec::new())
    } else {
        Err("there is no target wasm32-unknown-unknown")
    })
}

/// Builds a project; gives its component.
fn build(project: &Path, environment: &[(String, String)]) -> Result<String> {
    // In the folder that projects in Rust share, the next one's component would take the place of this one's.
    static SHARED: Mutex<()> = Mutex::new(());
    let is_shared = project.join("target").is_symlink();
    let lock = is_shared.then(|| SHARED.lock().unwrap_or_else(PoisonError::into_inner));
    let built = must(
        run(project, environment, &["plugin", "build", "--json"])?,
        "plugin build",
    )?;
    let built: Value = serde_json::from_str(&built)?;
    let mut component = project.join(built["component"].as_str().context("component")?);
    if lock.is_some() {
        let own = project.join("built.wasm");
        std::fs::copy(&component, &own).context("copy the component")?;
        component = own;
    }
    Ok(component.display().to_string())
}

/// Has a project in Rust build into one folder with the others, so that the standard library is built once for all of them, where it has
/// to be: in `AUTODIDACT_TEST_GUEST_TARGET`, where the tests' runs keep it, or beside them.
fn share_target(work: &Path, project: &Path) -> Result<()> {
    let kept = std::env::var_os("AUTODIDACT_TEST_GUEST_TARGET");
    let shared = kept.map_or_else(|| work.join("target"), Into::into);
    std::fs::create_dir_all(&shared)?;
    std::os::unix::fs::symlink(&shared, project.join("target")).context("link to the target")
}

/// Makes, builds, tries and installs a plugin of each kind.
fn check(language: &str) -> Result<()> {
    let environment = match tools_of(language)? {
        Ok(environment) => environment,
        Err(missing) => {
            tell(&format!("not run, since {missing}: plugins_in_{language}"));
            return Ok(());
        }
    };
    let environment = &environment[..];
    let home = Home::new()?;
    let daemon = home.serve(&[])?;
    home.prepare()?;
    let work = tempfile::tempdir()?;
    for kind in KINDS {
        let name = format!("my-{kind}");
        let made = ["plugin", "new", &name, "--kind", kind, "--lang", language];
        must(run(work.path(), environment, &made)?, "plugin new")?;
        let project = work.path().join(&name);
        if language == "rust" {
            share_target(work.path(), &project)?;
        }
        let component = build(&project, environment)?;
        let on = ["--dataset", "seeds-en", "--limit", "20"];
        let test = [&["plugin", "test", &component], &on[..]].concat();
        // A template is tried with what a model says to its prompts.
        let model = ["--model", "tiny"];
        let model = if kind == "template" { &model[..] } else { &[] };
        let shown = home.text(&[&test[..], model].concat())?;
        ensure!(
            kind != "template" || shown.contains("parsed"),
            "{language}: {shown}"
        );
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

#[test]
fn plugins_in_c() -> Result<()> {
    check("c")
}

/// A project in JavaScript becomes one in TypeScript as the SDK's page says.
#[test]
fn a_plugin_in_typescript() -> Result<()> {
    if let Err(missing) = tools_of("javascript")? {
        tell(&format!("not run, since {missing}: a_plugin_in_typescript"));
        return Ok(());
    }
    let page = std::fs::read_to_string(repository().join("sdk/javascript/README.md"))?;
    let (_, page) = page.split_once("## TypeScript").context("the section")?;
    let block = |language: &str| -> Result<&str> {
        let (_, block) = page
            .split_once(&format!("```{language}\n"))
            .with_context(|| format!("a block of {language}"))?;
        Ok(block.split_once("\n```").context("its end")?.0)
    };
    let work = tempfile::tempdir()?;
    let made = ["plugin", "new", "typed", "--lang", "javascript"];
    must(run(work.path(), &[], &made)?, "plugin new")?;
    let project = work.path().join("typed");
    let shell = |command: &str| -> Result<String> {
        let shell = Command::new("sh")
            .args(["-ec", command])
            .current_dir(&project)
            .output();
        must(shell.context("run sh")?, command)
    };
    shell(block("sh")?)?;
    let bundle = block("toml")?.split_once("    [\"npx\"").context("npx")?.1;
    let (bundle, _) = bundle.split_once("],\n").context("the step's end")?;
    let manifest = project.join("plugin.toml");
    let steps = std::fs::read_to_string(&manifest)?
        .replace("src/plugin.js", "build/plugin.js")
        .replace(
            "    [\"node\"",
            &format!("    [\"npx\"{bundle}],\n    [\"node\""),
        );
    std::fs::write(&manifest, steps)?;
    std::fs::write(project.join("tsconfig.json"), block("json")?)?;
    shell("npx tsc --noEmit --strict")?;
    let component = build(&project, &[])?;
    let home = Home::new()?;
    let daemon = home.serve(&[])?;
    home.prepare()?;
    let test = ["plugin", "test", &component, "--dataset", "seeds-en"];
    let shown = home.text(&test)?;
    ensure!(
        shown.contains("typed ") && !shown.contains("plugin_error"),
        "{shown}"
    );
    ensure!(daemon.terminate()?.success(), "{}", home.log());
    Ok(())
}

/// A plugin's own tests run in Node.js, where texts cross as they do in the host.
#[test]
fn a_plugin_in_javascript_is_tested_in_node() -> Result<()> {
    if let Err(missing) = tools_of("javascript")? {
        tell(&format!(
            "not run, since {missing}: a_plugin_in_javascript_is_tested_in_node"
        ));
        return Ok(());
    }
    let work = tempfile::tempdir()?;
    let made = ["plugin", "new", "tried", "--lang", "js"];
    must(run(work.path(), &[], &made)?, "plugin new")?;
    let project = work.path().join("tried");
    let guest = repository().join("tests/end_to_end/guests/tried.test.js");
    std::fs::copy(guest, project.join("tried.test.js")).context("copy the test")?;
    let page = std::fs::read_to_string(repository().join("sdk/javascript/README.md"))?;
    let (_, command) = page
        .split_once("`node --import")
        .context("the page's command")?;
    let (command, _) = command.split_once('`').context("its end")?;
    let node = Command::new("sh")
        .args(["-ec", &format!("node --import{command}")])
        .current_dir(&project)
        .output();
    let told = must(node.context("run node")?, "node")?;
    ensure!(told.contains("pass 2") && told.contains("fail 0"), "{told}");
    Ok(())
}

#[test]
fn plugins_in_zig() -> Result<()> {
    check("zig")
}

#[test]
fn plugins_in_python() -> Result<()> {
    check("python")
}

#[test]
fn plugins_in_javascript() -> Result<()> {
    check("javascript")
}

#[test]
fn plugins_in_assemblyscript() -> Result<()> {
    check("assemblyscript")
}

#[test]
fn plugins_in_rust() -> Result<()> {
    check("rust")
}

/// Each language, where its project has its source, and the plugin of `guests` that stands there.
const ASKS: [(&str, &str, &str); 6] = [
    ("rust", "src/lib.rs", "asks.rs"),
    ("c", "src/plugin.c", "asks.c"),
    ("zig", "src/plugin.zig", "asks.zig"),
    ("assemblyscript", "assembly/index.ts", "asks.ts"),
    ("javascript", "src/plugin.js", "asks.js"),
    ("python", "src/plugin.py", "asks.py"),
];

/// As the pages of Python and JavaScript say, whose worlds for a filter are `base`.
fn world(base: &str) -> String {
    format!(
        "package autodidact:plugin@0.1.0;\n\nworld mine {{\n    include {base};\n    include capabilities;\n}}\n"
    )
}

/// The log, the model and files say the same to a plugin in any language. `AUTODIDACT_TEST_MODEL` names a GGUF file of SmolLM2 135M
/// Instruct.
#[test]
fn what_is_granted_is_the_same_in_every_language() -> Result<()> {
    let test = "what_is_granted_is_the_same_in_every_language";
    let Some(model) = std::env::var_os("AUTODIDACT_TEST_MODEL") else {
        tell(&format!(
            "not run, since AUTODIDACT_TEST_MODEL is not set: {test}"
        ));
        return Ok(());
    };
    let home = Home::new()?;
    let daemon = home.serve(&[])?;
    home.prepare()?;
    home.text(&["model", "add", "smol", &model.to_string_lossy()])?;
    let words = home.path().join("words.txt");
    std::fs::write(&words, "苹果 and pear").context("write words")?;
    let work = tempfile::tempdir()?;
    let mut first: Option<(&str, Vec<Value>)> = None;
    for (language, source, guest) in ASKS {
        let environment = match tools_of(language)? {
            Ok(environment) => environment,
            Err(missing) => {
                tell(&format!("not run in {language}, since {missing}: {test}"));
                continue;
            }
        };
        let name = format!("asks-{language}");
        let made = [
            "plugin", "new", &name, "--kind", "filter", "--lang", language,
        ];
        must(run(work.path(), &environment, &made)?, "plugin new")?;
        let project = work.path().join(&name);
        if language == "rust" {
            share_target(work.path(), &project)?;
        }
        let guest = repository().join("tests/end_to_end/guests").join(guest);
        std::fs::copy(guest, project.join(source)).context("copy the source")?;
        let worlds = project.join("sdk/wit/0.1.0");
        if worlds.exists() {
            let base = match language {
                "javascript" => "filter-plugin-utf16",
                _ => "filter-plugin",
            };
            std::fs::write(worlds.join("mine.wit"), world(base)).context("write the world")?;
            let settings = project.join("plugin.toml");
            let read = std::fs::read_to_string(&settings)?;
            std::fs::write(&settings, read.replace(base, "mine"))?;
        }
        let component = build(&project, &environment)?;
        home.text(&["plugin", "install", &component])?;
        let asked = [
            "plugin",
            "test",
            &name,
            "--dataset",
            "seeds-en",
            "--limit",
            "5",
        ];
        let asked = [&asked[..], &["--model", "smol", "--json"]].concat();
        // Not granted it is told so.
        let told = home.text(&asked)?;
        ensure!(
            told.contains("is not granted to this plugin"),
            "{language}: {told}"
        );
        let all = [
            "plugin", "grant", &name, "log", "generate", "embed", "score", "data",
        ];
        let file = format!("words.txt={}", words.display());
        home.text(&[&all[..], &["--file", &file]].concat())?;
        let told = home.text(&asked)?;
        let messages = told.lines().map(serde_json::from_str);
        let messages: Vec<Value> = messages.collect::<Result<_, _>>()?;
        let of = |what: &str| -> Vec<Value> {
            let found = messages.iter().filter_map(|message| message.get(what));
            found.cloned().collect()
        };
        let (lines, summary, records) = (of("log"), of("summary"), of("record"));
        ensure!(
            lines.len() == 1 && lines[0]["message"] == "asked" && lines[0]["level"] == "info",
            "{language}: {told}"
        );
        let uses = &summary[0]["uses"];
        for (used, times) in [
            ("completions", 5),
            ("embeddings", 5),
            ("scores", 5),
            ("refused", 1),
        ] {
            ensure!(uses[used] == times, "{language} {used}: {uses}");
        }
        ensure!(records.len() == 5, "{language}: {told}");
        for record in &records {
            let note = record["note"].as_str().context("note")?;
            ensure!(
                (note.starts_with("yes; 576 numbers, 100; ")
                    || note.starts_with("no; 576 numbers, 100; "))
                    && note
                        .ends_with(" tokens; words.txt: 苹果 and pear; there is no file \"none\""),
                "{language}: {note}"
            );
            ensure!(
                record["score"].as_f64().is_some_and(|score| score < 0.0),
                "{record}"
            );
        }
        match &first {
            None => first = Some((language, records)),
            Some((other, expected)) => {
                ensure!(
                    &records == expected,
                    "{language} and {other}: {records:?} {expected:?}"
                );
            }
        }
    }
    ensure!(first.is_some(), "there is no language to try");
    ensure!(daemon.terminate()?.success(), "{}", home.log());
    Ok(())
}
