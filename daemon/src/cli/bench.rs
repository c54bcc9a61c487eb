//! `autodidact bench …`: what this machine does, measured without a daemon.

mod embed;

use clap::Subcommand;

use super::{Failure, Global};

#[derive(Subcommand)]
pub(super) enum BenchCommand {
    /// Measure how many sentences a second become vectors
    #[command(after_help = "\
Example:
  autodidact bench embed --model path/to/all-MiniLM-L6-v2 --batch 64 --threads 2 --json")]
    Embed(embed::EmbedBench),
}

/// Runs a bench.
pub(super) fn run(command: &BenchCommand, global: &Global) -> Result<(), Failure> {
    match command {
        BenchCommand::Embed(args) => embed::run(args, global),
    }
}
