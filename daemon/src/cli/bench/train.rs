//! `autodidact bench train`: how many tokens a second fine-tuning takes on.

use std::path::Path;

use autodidact_domain::ports::Clock;
use autodidact_domain::training::METHODS;
use autodidact_domain::{BaseDtype, Interrupt, TrainOptions};
use autodidact_engine::{Compute, DeviceChoice, Engine};
use clap::Args;

use super::{Failure, Figure, cores, forget_peak_memory, refused};
use crate::clock::SystemClock;
use crate::memory::MemoryLimit;

#[derive(Args)]
#[command(after_help = "\
Sequences are arbitrary tokens, each of which carries loss. It computes in f32.
Prints one line for each batch size: the median over the steps after the first, and the memory that was taken beside
what a run would have been told to take (preflight_mb).

Examples:
  autodidact bench train --model smollm2-135m-instruct
  autodidact bench train --model smollm2-135m-instruct --targets all-linear --checkpointing
  autodidact bench train --model ./model.gguf --targets q_proj,v_proj,o_proj --batch 1,4 --seq 512 --steps 9 --json")]
pub(in crate::cli) struct TrainArgs {
    /// A registered or known model's name, a source, or a path
    #[arg(long)]
    pub(super) model: String,
    /// Threads of the engine [default: one a core]
    #[arg(long)]
    threads: Option<usize>,
    /// What trains: cpu, or cuda or cuda:N where it is built in
    #[arg(long, default_value_t = DeviceChoice::Cpu)]
    device: DeviceChoice,
    /// How to fine-tune
    #[arg(long, default_value = METHODS[0], value_parser = METHODS)]
    method: String,
    /// The linear layers that the method acts on [default: the method's]
    #[arg(long, value_delimiter = ',')]
    targets: Vec<String>,
    /// Make a layer's inner states again in the backward instead of keeping them
    #[arg(long)]
    checkpointing: bool,
    /// What the frozen weights are held in
    #[arg(long, default_value = "float32", value_parser = BaseDtype::ALL.map(BaseDtype::name))]
    dtype: String,
    /// Train magnitudes of the updated rows too (DoRA)
    #[arg(long)]
    use_dora: bool,
    /// The rank of the updates
    #[arg(long, default_value_t = 8)]
    rank: u32,
    /// Sequences at once
    #[arg(long, value_delimiter = ',', default_value = "4", value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch: Vec<u32>,
    /// Batches a step takes one after the other
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    accumulation: u32,
    /// Tokens of each sequence
    #[arg(long, default_value_t = 256)]
    seq: usize,
    /// Steps; the first is not counted
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    steps: u32,
}

/// Measures and prints.
pub(super) fn run(
    args: &TrainArgs,
    path: &Path,
    json: bool,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let failed = |error| refused(path, error);
    let threads = args.threads.unwrap_or_else(cores).max(1);
    let program_mb = SystemClock.rss_mb();
    let engine = Engine::on_device(threads, Compute::Fast, args.device).map_err(failed)?;
    let free = MemoryLimit::new(None).available(0);
    let model = engine.load_within(path, free).map_err(failed)?;
    let name = path.file_name().unwrap_or(path.as_os_str());
    let mut compute = args.method.clone();
    if args.use_dora {
        compute += ", dora";
    }
    compute += match args.device {
        DeviceChoice::Cpu => " in f32",
        DeviceChoice::Cuda(_) => " in f32 on cuda",
    };
    let dtype = BaseDtype::from_name(&args.dtype).unwrap_or_default();
    if dtype != BaseDtype::Float32 {
        compute += ", weights in bf16";
    }
    if args.checkpointing {
        compute += ", checkpointing";
    }
    for batch in args.batch.iter().copied() {
        forget_peak_memory();
        // What the batches before took is free again.
        model.allow(MemoryLimit::new(None).available(0));
        let options = TrainOptions {
            method: args.method.clone(),
            r: args.rank,
            use_dora: args.use_dora,
            dtype,
            gradient_checkpointing: args.checkpointing,
            target_modules: args.targets.clone(),
            batch_size: batch,
            gradient_accumulation_steps: args.accumulation,
            ..TrainOptions::default()
        };
        let at_a_step = batch as usize * args.accumulation as usize;
        let need = model.train_need(&options, &vec![args.seq; at_a_step]);
        let need = need.map_err(failed)?;
        let rates = model.measure_train(&options, args.seq, args.steps, interrupt);
        let figure = Figure {
            work: "train",
            unit: "tokens/s",
            model: name.to_string_lossy().into_owned(),
            compute: compute.clone(),
            threads,
            batch: batch as usize,
            rates: rates.map_err(failed)?.split_off(1),
            // On a GPU most of it is the GPU's.
            preflight_mb: (args.device == DeviceChoice::Cpu)
                .then(|| program_mb + (need.memory_bytes() >> 20)),
        };
        figure.print(json)?;
    }
    Ok(())
}
