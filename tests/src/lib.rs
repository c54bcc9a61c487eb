//! Drives the real binary: starts and kills daemons, runs commands, reads what they print.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// The repository's root.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ stands in the repository")
        .to_path_buf()
}

/// The built binary, beside the test's own folder.
///
/// # Panics
/// When it was not built: `cargo build --release` first, as `tests/run.sh` does.
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let folder = test
        .parent()
        .and_then(Path::parent)
        .expect("tests run in target/PROFILE/deps");
    let path = folder.join("autodidact");
    assert!(
        path.exists(),
        "{} is missing: run `cargo build --release` first",
        path.display()
    );
    path
}

/// The small trained model that tests work with.
pub fn tiny_model() -> PathBuf {
    repository().join("tests/golden/tiny")
}

/// A data directory with what a user does to it. Removed at the end.
pub struct Home {
    /// The directory.
    pub dir: tempfile::TempDir,
}

impl Home {
    /// Makes an empty data directory.
    pub fn new() -> Result<Self> {
        Ok(Self {
            dir: tempfile::tempdir().context("make a data directory")?,
        })
    }

    /// Shows the data directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .arg("--data-dir")
            .arg(self.path())
            .args(arguments)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Result<Output> {
        self.command(arguments)
            .output()
            .with_context(|| format!("run {arguments:?}"))
    }

    /// Runs a command that must succeed, and reads the JSON it prints.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let output = self.run(&[arguments, &["--json"]].concat())?;
        ensure!(
            output.status.success(),
            "{arguments:?} failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8(output.stdout).context("read output")?;
        serde_json::from_str(&text)
            .with_context(|| format!("read the JSON of {arguments:?}: {text}"))
    }

    /// Runs a command that must succeed, and gives what it prints.
    pub fn text(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments)?;
        ensure!(
            output.status.success(),
            "{arguments:?} failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).context("read output")
    }

    /// Starts a daemon and waits until it answers.
    pub fn serve(&self, environment: &[(&str, &str)]) -> Result<Daemon> {
        let mut daemon = self.spawn_serve(environment)?;
        self.wait_until_answering(&mut daemon)?;
        Ok(daemon)
    }

    /// Waits until a daemon answers.
    pub fn wait_until_answering(&self, daemon: &mut Daemon) -> Result<()> {
        let started = Instant::now();
        while !self.run(&["system", "info", "--json"])?.status.success() {
            if let Some(status) = daemon.child.try_wait().context("look after the daemon")? {
                bail!("the daemon ended with {status}: {}", self.log());
            }
            ensure!(
                started.elapsed() < Duration::from_secs(60),
                "the daemon does not answer: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Starts a daemon as after a crash, reads off its log where the run goes on, and kills it again.
    pub fn position_of_resumption(&self) -> Result<String> {
        let before = self.log().len();
        let daemon = self.serve(&[])?;
        let told = |home: &Self| {
            home.log()[before..]
                .lines()
                .find(|l| l.contains("resumes at"))
                .map(str::to_string)
        };
        let ended = |home: &Self| home.state("tiny-loop").as_deref() == Some("done");
        wait_for("the place of resumption", Duration::from_secs(30), || {
            told(self).is_some() || ended(self)
        })?;
        daemon.kill()?;
        Ok(told(self).unwrap_or_else(|| "done already".to_string()))
    }

    /// Starts a daemon without waiting for it.
    pub fn spawn_serve(&self, environment: &[(&str, &str)]) -> Result<Daemon> {
        self.spawn_with(&["serve"], environment)
    }

    /// Starts a long command in the background; what it logs joins the daemons' log.
    pub fn spawn(&self, arguments: &[&str]) -> Result<Daemon> {
        self.spawn_with(arguments, &[])
    }

    fn spawn_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Daemon> {
        let log = self.path().join("daemon.log");
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .context("open the daemon's log")?;
        let child = self
            .command(arguments)
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .context("start the daemon")?;
        Ok(Daemon { child })
    }

    /// Registers the small model and imports seeds and held-out tasks, as a user would.
    pub fn prepare(&self) -> Result<()> {
        let model = tiny_model();
        self.text(&["model", "add", "tiny", &model.to_string_lossy()])?;
        for name in ["seeds-en", "heldout-en"] {
            let file = repository().join(format!("examples/data/{name}.jsonl"));
            self.text(&["dataset", "import", name, &file.to_string_lossy()])?;
        }
        Ok(())
    }

    /// Imports instructions without answers as a dataset.
    pub fn import_instructions<T: AsRef<str>>(
        &self,
        dataset: &str,
        instructions: impl IntoIterator<Item = T>,
    ) -> Result<()> {
        let line = |instruction: T| {
            let instruction = instruction.as_ref();
            serde_json::json!({"instruction": instruction, "instances": []}).to_string()
        };
        let lines: Vec<String> = instructions.into_iter().map(line).collect();
        let file = self.path().join(format!("{dataset}.jsonl"));
        std::fs::write(&file, lines.join("\n")).context("write the instructions")?;
        self.text(&["dataset", "import", dataset, &file.to_string_lossy()])?;
        Ok(())
    }

    /// Compiles a plugin in C and installs it; the file that it came from lies beside its component.
    pub fn install_c(
        &self,
        python: &str,
        name: &str,
        source: &str,
        arguments: &[&str],
    ) -> Result<PathBuf> {
        let [file, module] =
            ["c", "wasm"].map(|ending| self.path().join(format!("{name}.{ending}")));
        std::fs::write(&file, source).context("write the source")?;
        compile_c(python, &file, &module, arguments)?;
        self.text(&["plugin", "install", &module.to_string_lossy()])?;
        Ok(module)
    }

    /// Writes a workflow file and submits it.
    pub fn submit(&self, yaml: &str) -> Result<Value> {
        let file = self.path().join("workflow.yaml");
        std::fs::write(&file, yaml).context("write workflow")?;
        self.json(&["workflow", "submit", &file.to_string_lossy()])
    }

    /// Reads a workflow's state, or nothing while no daemon answers.
    pub fn state(&self, workflow: &str) -> Option<String> {
        let shown = self.json(&["workflow", "show", workflow]).ok()?;
        find_text(&shown, "state")
    }

    /// Waits until a workflow is done.
    pub fn wait_until_done(&self, workflow: &str, limit: Duration) -> Result<()> {
        let started = Instant::now();
        loop {
            match self.state(workflow).as_deref() {
                Some("done") => return Ok(()),
                Some(ended @ ("failed" | "cancelled")) => {
                    bail!(
                        "{workflow} {ended}: {}",
                        self.text(&["workflow", "show", workflow])?
                    )
                }
                _ => {}
            }
            ensure!(
                started.elapsed() < limit,
                "{workflow} is not done after {limit:?}: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Reads a workflow's report.
    pub fn report(&self, workflow: &str) -> Result<Value> {
        let path = self
            .path()
            .join("reports")
            .join(workflow)
            .join("report.json");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_str(&text).context("read report")
    }

    /// Reads what the daemons logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("daemon.log")).unwrap_or_default()
    }
}

/// A running daemon; killed when dropped.
pub struct Daemon {
    child: Child,
}

impl Daemon {
    /// Kills the daemon as `kill -9` does.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill().context("kill the daemon")?;
        self.child.wait().context("wait for the killed daemon")?;
        Ok(())
    }

    /// Reads the processor time that the daemon has used so far.
    pub fn cpu_time(&self) -> Result<Duration> {
        /// `sysconf(_SC_CLK_TCK)` is 100 on every Linux.
        const TICK: Duration = Duration::from_millis(10);
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        // Fields count from the end of the name, which may hold blanks: utime and stime are the 14th and 15th of all.
        let (_, fields) = stat.rsplit_once(')').context("a process name")?;
        let mut fields = fields.split_whitespace().skip(11);
        let mut ticks = || fields.next().and_then(|field| field.parse::<u32>().ok());
        let (user, system) = (ticks().context("utime")?, ticks().context("stime")?);
        Ok(TICK * (user + system))
    }

    /// Reads the most memory that the daemon has held so far, in MiB.
    pub fn peak_memory_mib(&self) -> Result<f64> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kib: f64 = kib.context("VmHWM")?.trim().parse().context("VmHWM")?;
        Ok(kib / 1024.0)
    }

    /// Asks the daemon to end, and waits.
    pub fn terminate(mut self) -> Result<ExitStatus> {
        send_signal(&self.child, libc::SIGTERM);
        self.wait(Duration::from_secs(30))
    }

    /// Waits for the daemon to end by itself.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().context("wait for the daemon")? {
                return Ok(status);
            }
            ensure!(
                started.elapsed() < limit,
                "the daemon still runs after {limit:?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Tells whether the daemon has ended.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self
            .child
            .try_wait()
            .context("look after the daemon")?
            .is_some())
    }

    /// Waits for the daemon to end by itself, and tells whether it did.
    pub fn ends_within(&mut self, limit: Duration) -> Result<bool> {
        let started = Instant::now();
        while !self.has_ended()? {
            if started.elapsed() > limit {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(true)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(
    unsafe_code,
    reason = "std can only kill; a graceful end needs SIGTERM"
)]
fn send_signal(child: &Child, signal: i32) {
    let pid = i32::try_from(child.id()).expect("a process id fits i32 on Linux");
    // SAFETY: `kill` takes plain numbers; the child has not been waited for, so the id is still its own.
    unsafe {
        libc::kill(pid, signal);
    }
}

/// Finds the first text under a key, anywhere in the tree.
pub fn find_text(value: &Value, key: &str) -> Option<String> {
    match value {
        Value::Object(map) => match map.get(key) {
            Some(Value::String(text)) => Some(text.clone()),
            _ => map.values().find_map(|v| find_text(v, key)),
        },
        Value::Array(items) => items.iter().find_map(|v| find_text(v, key)),
        _ => None,
    }
}

/// Waits until something holds.
pub fn wait_for(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) -> Result<()> {
    let started = Instant::now();
    while !holds() {
        ensure!(
            started.elapsed() < limit,
            "{what} did not come within {limit:?}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Prints a line of a test's account; `--nocapture` shows it.
#[expect(clippy::print_stdout, reason = "a test's account is its data")]
pub fn tell(line: &str) {
    println!("{line}");
}

/// Finds the Python that `AUTODIDACT_TEST_PYTHON` names, whose ziglang compiles C; tells that a test is not run where there is none.
pub fn python_for(test: &str) -> Option<String> {
    let python = std::env::var("AUTODIDACT_TEST_PYTHON").ok();
    if python.is_none() {
        tell(&format!(
            "not run, since AUTODIDACT_TEST_PYTHON is not set: {test}"
        ));
    }
    python
}

/// Compiles a plugin in C with the SDK's headers, by the ziglang of a Python; more arguments go to the compiler. It
/// leaves its cache beside the module.
pub fn compile_c(python: &str, source: &Path, module: &Path, arguments: &[&str]) -> Result<()> {
    let status = Command::new(python)
        .args(["-m", "ziglang", "cc", "--target=wasm32-freestanding", "-O2"])
        .args(["-s", "-nostdlib", "-Wl,--no-entry"])
        .args(arguments)
        .arg("-I")
        .arg(repository().join("sdk/c"))
        .arg(source)
        .arg("-o")
        .arg(module)
        .env("ZIG_GLOBAL_CACHE_DIR", module.with_extension("zig"))
        .status()
        .context("run the compiler")?;
    ensure!(status.success(), "{} is not compiled", source.display());
    Ok(())
}
