//! `autodidact quickstart`

use autodidact_domain::Language;
use clap::Args;

use super::{Failure, Global};
use crate::quickstart::{self, QuickstartOptions};

#[derive(Args)]
#[command(after_help = "\
It keeps its data in a directory of its own: ~/.local/share/autodidact/quickstart, or --data-dir.
Interrupting is safe: run it again and it goes on where it was.

Examples:
  autodidact quickstart
  autodidact quickstart --rounds 1 --data-dir ./quickstart-data
  autodidact quickstart --fresh
  autodidact quickstart --lang zh               # 中文快速开始：Gemma 3 270M，消息与报告均为中文
  autodidact quickstart --model gemma-3-270m    # English, on the larger model")]
pub(super) struct QuickstartArgs {
    /// The language to work and to report in
    #[arg(long, default_value = "en", value_parser = ["en", "zh"])]
    lang: String,
    /// How many rounds to run
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// The model: a known one, or one registered in the data directory [default: smollm2-135m-instruct, in Chinese gemma-3-270m]
    #[arg(long)]
    model: Option<String>,
    /// Start anew under a new name instead of going on with the last run
    #[arg(long)]
    fresh: bool,
}

/// Runs the quickstart.
pub(super) async fn run(args: QuickstartArgs, global: &Global) -> Result<(), Failure> {
    let options = QuickstartOptions {
        language: Language::from_code(&args.lang).expect("the parser lets known codes pass"),
        rounds: args.rounds,
        model: args.model,
        fresh: args.fresh,
    };
    quickstart::run(&options, global).await
}
