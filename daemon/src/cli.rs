//! The command line: nouns with verbs, one file a group.
//!
//! Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 refused or failed, 2 wrong command line,
//! 130 interrupted.

mod bench;
mod checkpoint;
mod connect;
mod dataset;
mod failure;
mod model;
pub(crate) mod output;
mod plugin;
mod quickstart;
mod review;
mod serve;
mod system;
mod train;
mod workflow;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

pub(crate) use connect::connect;
pub(crate) use failure::Failure;
pub(crate) use model::add as add_model;
pub(crate) use workflow::stage_name;

use crate::config::{Setting, Value};

/// A daemon that lets a language model teach itself: it generates, filters, trains and measures, round after round.
#[derive(Parser)]
#[command(
    name = "autodidact",
    version,
    max_term_width = 110,
    after_help = "\
Examples:
  autodidact quickstart                      watch a model teach itself, from nothing
  autodidact serve                           start the daemon
  autodidact model add smollm2-135m-instruct fetch a known model
  autodidact dataset import seeds my-seeds.jsonl
  autodidact workflow submit self-instruct.yaml --watch
  autodidact train my-run --model smollm2-135m-instruct --data my-data"
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct Global {
    /// The data directory [default: $XDG_DATA_HOME/autodidact/default or ~/.local/share/autodidact/default]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Everywhere")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The configuration file [default: autodidact.toml in the data directory]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Everywhere")]
    pub(crate) config: Option<PathBuf>,
    /// Where the daemon is: unix:PATH, http://HOST:PORT or https://HOST:PORT [default: the socket in the data directory]
    #[arg(
        long,
        global = true,
        value_name = "ADDRESS",
        env = "AUTODIDACT_ADDRESS",
        help_heading = "Everywhere"
    )]
    pub(crate) address: Option<String>,
    /// The file with the bearer token, for an address over TCP
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "AUTODIDACT_TOKEN_FILE",
        help_heading = "Everywhere"
    )]
    pub(crate) token_file: Option<PathBuf>,
    /// Print JSON: data on stdout, errors as one object on stderr
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub(crate) json: bool,
}

/// The table of command groups.
#[derive(Subcommand)]
enum Command {
    /// Start the daemon
    Serve(serve::ServeArgs),
    /// Fetch a small model and let it teach itself, with everything shown
    Quickstart(quickstart::QuickstartArgs),
    /// Submit workflows and follow them
    #[command(subcommand)]
    Workflow(workflow::WorkflowCommand),
    /// Fine-tune a model on a dataset
    Train(train::TrainArgs),
    /// Import, show and export datasets
    #[command(subcommand)]
    Dataset(dataset::DatasetCommand),
    /// Register models and talk to them
    #[command(subcommand)]
    Model(model::ModelCommand),
    /// Show what training made, and choose what is served
    #[command(subcommand)]
    Checkpoint(checkpoint::CheckpointCommand),
    /// Look at what workflows made, and decide what goes on
    #[command(subcommand)]
    Review(review::ReviewCommand),
    /// Install and manage WebAssembly plugins
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),
    /// Measure how fast this machine is
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Show the daemon's state
    #[command(subcommand)]
    System(system::SystemCommand),
}

impl Global {
    /// Turns the flags that are configuration fields into settings.
    pub(crate) fn settings(&self) -> Vec<Setting> {
        let data_dir = self
            .data_dir
            .as_ref()
            .map(|path| flag("data_dir", "--data-dir", path.to_string_lossy()));
        data_dir.into_iter().collect()
    }
}

/// Makes a setting of a flag. Paths are relative to the working directory, and kept absolute.
pub(crate) fn flag(key: &str, name: &str, value: impl Into<String>) -> Setting {
    Setting {
        key: key.to_string(),
        value: Value::Text(value.into()),
        origin: name.to_string(),
        base: std::env::current_dir().unwrap_or_default(),
    }
}

/// Reads the command line, does what it says and tells the exit code.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && std::env::args().any(|arg| arg == "--json") => {
            return Failure::usage(&error.render().to_string()).report(true);
        }
        // Wrong command lines end here, with code 2; so do --help and --version, with 0.
        Err(error) => error.exit(),
    };
    let json = cli.global.json;
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(json),
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::local(format!("start the runtime: {error}")))?;
    let global = cli.global;
    let outcome = match cli.command {
        // These two mind their signals themselves: going down takes care.
        Command::Serve(args) => runtime.block_on(serve::run(args, &global)),
        Command::Quickstart(args) => runtime.block_on(quickstart::run(args, &global)),
        Command::Workflow(command) => {
            runtime.block_on(interruptible(workflow::run(command, &global)))
        }
        Command::Train(args) => runtime.block_on(interruptible(train::run(args, &global))),
        Command::Dataset(command) => {
            runtime.block_on(interruptible(dataset::run(command, &global)))
        }
        Command::Model(command) => runtime.block_on(interruptible(model::run(command, &global))),
        Command::Checkpoint(command) => {
            runtime.block_on(interruptible(checkpoint::run(command, &global)))
        }
        Command::Review(command) => runtime.block_on(interruptible(review::run(command, &global))),
        Command::Plugin(command) => runtime.block_on(interruptible(plugin::run(command, &global))),
        Command::Bench(command) => runtime.block_on(interruptible(bench::run(command, &global))),
        Command::System(command) => runtime.block_on(interruptible(system::run(command, &global))),
    };
    // A thread that waits for the keyboard must not hold the end up.
    runtime.shutdown_background();
    outcome
}

/// Does a client's work until it ends or the user interrupts it.
async fn interruptible(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::select! {
        outcome = work => outcome,
        _ = tokio::signal::ctrl_c() => Err(Failure::interrupted("")),
    }
}

/// Makes an id that tells this call from every other, so that a retry on the way changes nothing twice.
pub(crate) fn request_id() -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    let unique = format!(
        "{} {} {:?}",
        std::process::id(),
        now.as_nanos(),
        std::thread::current().id()
    );
    blake3::hash(unique.as_bytes()).to_hex()[..32].to_string()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_every_command_explains_itself() {
        let mut command = Cli::command();
        command.clone().debug_assert();
        command.build();
        for group in command.get_subcommands() {
            assert!(group.get_about().is_some(), "{}", group.get_name());
            for verb in group.get_subcommands() {
                assert!(
                    verb.get_about().is_some(),
                    "{} {}",
                    group.get_name(),
                    verb.get_name()
                );
            }
        }
    }

    #[test]
    fn every_group_has_its_verbs() {
        let verbs = |group: &str| -> Vec<String> {
            let command = Cli::command();
            let group = command.find_subcommand(group).unwrap();
            group
                .get_subcommands()
                .map(|verb| verb.get_name().to_string())
                .collect()
        };
        assert_eq!(
            verbs("workflow"),
            [
                "fields", "check", "submit", "list", "show", "watch", "pause", "resume", "cancel",
                "verdicts", "report", "lineage", "compare"
            ]
        );
        assert_eq!(
            verbs("dataset"),
            [
                "import", "list", "show", "preview", "filter", "export", "delete", "stats", "diff",
                "dedup"
            ]
        );
        assert_eq!(
            verbs("model"),
            [
                "add", "list", "show", "remove", "generate", "chat", "embed", "classify", "export",
                "import"
            ]
        );
        assert_eq!(verbs("checkpoint"), ["list", "show", "promote"]);
        assert_eq!(
            verbs("review"),
            ["next", "accept", "reject", "edit", "stats"]
        );
        assert_eq!(
            verbs("plugin"),
            [
                "new", "build", "install", "test", "grant", "list", "show", "enable", "disable",
                "remove"
            ]
        );
        assert_eq!(
            verbs("bench"),
            ["generate", "embed", "train", "dedup", "plugin"]
        );
        assert_eq!(verbs("system"), ["info"]);
    }

    #[test]
    fn request_ids_differ() {
        assert_ne!(request_id(), request_id());
    }
}
