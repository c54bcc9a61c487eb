//! `autodidact bench generate`

use std::path::Path;
use std::time::Duration;

use autodidact_domain::Interrupt;
use clap::Args;

use super::{Common, Failure, Figure, forget_peak_memory, refused};
use crate::memory::MemoryLimit;

#[derive(Args)]
#[command(after_help = "\
Prompts are arbitrary tokens that differ from each other, and new tokens are the likeliest; end tokens end nothing.
Prints one line for prefill and one for decode of each batch size: the median over the runs.

Examples:
  autodidact bench generate --model smollm2-135m-instruct
  autodidact bench generate --model ./model.gguf --batch 1,16 --prompt 256 --new 64 --json
  autodidact bench generate --model ./model.gguf --device cuda")]
pub(in crate::cli) struct GenerateArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// Tokens of each prompt
    #[arg(long, default_value_t = 128)]
    prompt: usize,
    /// Tokens to add to each
    #[arg(long, default_value_t = 64)]
    new: usize,
    /// Sequences at once
    #[arg(long, value_delimiter = ',', default_value = "1,8,32")]
    batch: Vec<usize>,
}

/// Measures and prints.
pub(super) fn run(
    args: &GenerateArgs,
    path: &Path,
    json: bool,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let failed = |error| refused(path, error);
    let common = &args.common;
    let engine = common.engine()?;
    let free = MemoryLimit::new(None).available(0);
    let model = engine.load_within(path, free).map_err(failed)?;
    let name = path.file_name().unwrap_or(path.as_os_str());
    for batch in args.batch.iter().copied() {
        forget_peak_memory();
        let figure = |work| Figure {
            work,
            unit: "tokens/s",
            model: name.to_string_lossy().into_owned(),
            compute: model.compute_name(),
            threads: common.threads(),
            batch,
            rates: Vec::new(),
            preflight_mb: None,
        };
        let (mut prefill, mut decode) = (figure("prefill"), figure("decode"));
        for run in 0..=common.runs {
            let times = model.measure_generate(batch, args.prompt, args.new, interrupt);
            let times = times.map_err(failed)?;
            if run > 0 {
                prefill.rates.push(rate(batch * args.prompt, times.prefill));
                decode
                    .rates
                    .push(rate(batch * (args.new - 1), times.decode));
            }
        }
        prefill.print(json)?;
        decode.print(json)?;
    }
    Ok(())
}

fn rate(tokens: usize, time: Duration) -> f64 {
    tokens as f64 / time.as_secs_f64().max(1e-9)
}
