//! `autodidact`: the daemon, its quickstart and its command line.
//!
//! The composition root is [`serve`]; everything else here either feeds it (configuration, signals, watched folders, the
//! device thread) or talks to it over gRPC like any other client ([`cli`]).

mod cli;
mod clock;
mod config;
mod device_thread;
mod engines;
mod exports;
mod fault;
mod files;
mod lock;
mod memory;
mod model_source;
mod paths;
mod quickstart;
mod report_files;
mod serve;
mod shutdown;
mod tasks;
mod telemetry;
mod tensorboard;
mod watch;

fn main() -> std::process::ExitCode {
    cli::main()
}
