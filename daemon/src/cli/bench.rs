//! `autodidact bench …`: how fast this machine is at each kind of work, in this process and without a daemon.

mod dedup;
mod embed;
mod generate;
mod plugin;
mod train;

use std::path::{Path, PathBuf};

use autodidact_domain::ports::{Clock as _, ModelSource as _};
use autodidact_domain::{Interrupt, InterruptReason, ModelName};
use autodidact_engine::{Compute, DeviceChoice, Engine, EngineError};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{Failure, Global, connect, output};
use crate::clock::SystemClock;
use crate::model_source::{ModelFetcher, known};
use crate::paths;

#[derive(Subcommand)]
pub(super) enum BenchCommand {
    /// Read prompts and continue them: tokens a second
    Generate(generate::GenerateArgs),
    /// Make vectors of sentences: sentences a second
    Embed(embed::EmbedArgs),
    /// Fine-tune: tokens a second
    Train(train::TrainArgs),
    /// Find near-duplicates by ROUGE-L: seconds for all, and for one
    Dedup(dedup::DedupArgs),
    /// Ask plugins about records: microseconds a record, beside the same filter in native code
    Plugin(plugin::PluginArgs),
}

/// What every bench takes.
#[derive(Args)]
pub(in crate::cli) struct Common {
    /// A registered or known model's name, a source, or a path
    #[arg(long)]
    model: String,
    /// Threads of the engine [default: one a core]
    #[arg(long)]
    threads: Option<usize>,
    /// How to compute
    #[arg(long, value_enum, default_value = "fast")]
    compute: ComputeArg,
    /// What generates: cpu, or cuda or cuda:N where it is built in (there exact is f32, fast bf16)
    #[arg(long, default_value = "cpu")]
    device: DeviceChoice,
    /// Runs to take the median of, after one that is not counted
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
}

#[derive(Clone, Copy, ValueEnum)]
pub(in crate::cli) enum ComputeArg {
    /// f32, the reference
    Exact,
    /// Quantised
    Fast,
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl Common {
    fn threads(&self) -> usize {
        self.threads.unwrap_or_else(cores).max(1)
    }

    fn compute(&self) -> Compute {
        match self.compute {
            ComputeArg::Exact => Compute::Exact,
            ComputeArg::Fast => Compute::Fast,
        }
    }

    fn engine(&self) -> Result<Engine, Failure> {
        Engine::on_device(self.threads(), self.compute(), self.device)
            .map_err(|error| Failure::local(error.to_string()))
    }
}

/// Runs a bench.
pub(super) async fn run(command: BenchCommand, global: &Global) -> Result<(), Failure> {
    let model = match &command {
        BenchCommand::Generate(args) => Some(&args.common.model),
        BenchCommand::Embed(args) => Some(&args.common.model),
        BenchCommand::Train(args) => Some(&args.model),
        BenchCommand::Dedup(_) | BenchCommand::Plugin(_) => None,
    };
    let path = match model {
        Some(model) => find_model(model, global).await?,
        None => PathBuf::new(),
    };
    let json = global.json;
    apart(move |interrupt| match &command {
        BenchCommand::Dedup(args) => dedup::run(args, json, interrupt),
        BenchCommand::Plugin(args) => plugin::run(args, json, interrupt),
        BenchCommand::Generate(args) => generate::run(args, &path, json, interrupt),
        BenchCommand::Embed(args) => embed::run(args, &path, json, interrupt),
        BenchCommand::Train(args) => train::run(args, &path, json, interrupt),
    })
    .await
}

/// Does work that computes on a thread of its own; Ctrl-C ends it at the next pass.
async fn apart(
    work: impl FnOnce(&Interrupt) -> Result<(), Failure> + Send + 'static,
) -> Result<(), Failure> {
    let interrupt = Interrupt::new();
    let _raise = RaiseOnDrop(interrupt.clone());
    tokio::task::spawn_blocking(move || work(&interrupt))
        .await
        .map_err(|error| Failure::local(format!("the bench ended early: {error}")))?
}

/// Makes a model's error the command's.
fn refused(path: &Path, error: EngineError) -> Failure {
    match error {
        EngineError::Interrupted => Failure::interrupted(""),
        other => Failure::local(format!("{}: {other}", path.display())),
    }
}

/// Tells the work to stop once nobody waits for it.
struct RaiseOnDrop(Interrupt);

impl Drop for RaiseOnDrop {
    fn drop(&mut self) {
        self.0.raise(InterruptReason::Cancel);
    }
}

/// Finds a model's files: a path, a known name or source, or what a running daemon has under the name.
async fn find_model(model: &str, global: &Global) -> Result<PathBuf, Failure> {
    let path = PathBuf::from(model);
    if path.exists() {
        return Ok(path);
    }
    if known::find(model).is_some() || model.contains(':') {
        let (name, source) = match known::find(model) {
            Some(_) => (model.to_string(), String::new()),
            None => ("bench".to_string(), model.to_string()),
        };
        let fetched = tokio::task::spawn_blocking(move || {
            let name = ModelName::new(name).map_err(|error| Failure::local(error.to_string()))?;
            let fetcher = ModelFetcher::new(paths::cache_dir(&paths::process_environment));
            let mut progress = |line: &str| output::note(line);
            fetcher
                .fetch(&name, &source, None, &Interrupt::new(), &mut progress)
                .map_err(|error| Failure::local(error.to_string()))
        });
        let summary = fetched
            .await
            .map_err(|error| Failure::local(error.to_string()))??;
        return Ok(PathBuf::from(summary.path));
    }
    let request = autodidact_client::v1::GetModelRequest {
        name: model.to_string(),
    };
    let unknown = |why: String| {
        Failure::refused(
            "NOT_FOUND",
            format!(
                "model {model:?} is no file or folder here and none of the known models ({}), and the daemon was asked in vain: {why}",
                known::names()
            ),
        )
    };
    let client = match connect(global).await {
        Ok(client) => client,
        Err(_) => return Err(unknown("none is running".to_string())),
    };
    let answer = client.models().get(request).await;
    let model = answer.map_err(|status| unknown(status.message().to_string()))?;
    let path = model.into_inner().model.map(|model| model.path);
    path.map(PathBuf::from)
        .ok_or_else(|| unknown("it named no path".to_string()))
}

/// One measured piece of work.
struct Figure {
    work: &'static str,
    unit: &'static str,
    model: String,
    compute: String,
    threads: usize,
    batch: usize,
    /// The rate of each run.
    rates: Vec<f64>,
    /// What the process was told to take at most of memory, where that is told before.
    preflight_mb: Option<u64>,
}

impl Figure {
    fn median(&self) -> f64 {
        let mut rates = self.rates.clone();
        rates.sort_by(f64::total_cmp);
        let middle = rates.len() / 2;
        match rates.len() {
            0 => 0.0,
            count if count % 2 == 0 => (rates[middle - 1] + rates[middle]) / 2.0,
            _ => rates[middle],
        }
    }

    /// Writes the object that scripts read, or a line for people.
    fn print(&self, json: bool) -> Result<(), Failure> {
        let peak = SystemClock.peak_rss_mb();
        if json {
            return output::json_line(&self.to_json(peak));
        }
        let spread = self
            .rates
            .iter()
            .fold((f64::MAX, 0f64), |(low, high), rate| {
                (low.min(*rate), high.max(*rate))
            });
        output::line(format!(
            "{:<8} {:>4} at once  {:>9} {} (of {} runs, {} to {}), {}, {}, {} threads, at most {} MiB{}",
            self.work,
            self.batch,
            shown(self.median()),
            self.unit,
            self.rates.len(),
            shown(spread.0),
            shown(spread.1),
            self.model,
            self.compute,
            self.threads,
            peak,
            self.preflight_mb
                .map_or(String::new(), |told| format!(" ({told} told before)"))
        ))
    }

    fn to_json(&self, peak_rss_mb: u64) -> Value {
        let rounded: Vec<f64> = self.rates.iter().map(|rate| round(*rate)).collect();
        let mut object = json!({
            "work": self.work, "model": self.model, "compute": self.compute, "threads": self.threads,
            "batch": self.batch, "median": round(self.median()), "unit": self.unit, "runs": rounded,
            "peak_rss_mb": peak_rss_mb, "version": env!("CARGO_PKG_VERSION"),
        });
        if let Some(told) = self.preflight_mb {
            object["preflight_mb"] = told.into();
        }
        object
    }
}

/// Shows a rate with three digits or more.
fn shown(rate: f64) -> String {
    match rate < 10.0 {
        true => format!("{rate:.2}"),
        false => format!("{rate:.1}"),
    }
}

fn round(rate: f64) -> f64 {
    (rate * 100.0).round() / 100.0
}

/// Forgets the most memory held so far, so that the next reading is of what comes now (proc_pid_clear_refs(5)).
fn forget_peak_memory() {
    // Where the system does not let us, the figure stays the whole process's.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(rates: &[f64]) -> Figure {
        Figure {
            work: "decode",
            unit: "tokens/s",
            model: "m".into(),
            compute: "fast".into(),
            threads: 2,
            batch: 8,
            rates: rates.to_vec(),
            preflight_mb: None,
        }
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(figure(&[3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(figure(&[4.0, 1.0, 2.0, 3.0]).median(), 2.5);
        assert_eq!(figure(&[]).median(), 0.0);
    }

    #[test]
    fn the_object_has_what_scripts_read() {
        let object = figure(&[2.004, 1.0, 3.0]).to_json(7);
        for (key, expect) in [
            ("work", json!("decode")),
            ("compute", json!("fast")),
            ("median", json!(2.0)),
            ("runs", json!([2.0, 1.0, 3.0])),
            ("peak_rss_mb", json!(7)),
        ] {
            assert_eq!(object[key], expect, "{key}");
        }
    }
}
