//! `autodidact bench embed`: how many sentences a second an encoder, or a generator by its states, makes vectors of.

use std::path::{Path, PathBuf};
use std::time::Instant;

use autodidact_domain::ports::Clock as _;
use autodidact_domain::{Interrupt, PortResult};
use autodidact_engine::{Compute, Engine};
use clap::Args;
use serde_json::{Value, json};

use crate::cli::{Failure, Global, output};
use crate::clock::SystemClock;

/// Runs before the measured ones: the first reads the files into memory.
const WARM_UP: usize = 1;
/// The words that sentences are made of, the same as those that the peers embed (tests/bench).
const WORDS: &str = "the quick brown fox jumps over lazy dog while many people write short tasks about science history music food travel and code";
const WORDS_PER_SENTENCE: usize = 20;

/// What is measured.
#[derive(Args, Clone, Debug)]
pub(crate) struct EmbedBench {
    /// The folder of an encoder, or a model that generates
    #[arg(long, value_name = "PATH")]
    model: PathBuf,
    /// Sentences at once
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: u32,
    /// Threads [default: all the machine has]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
    /// Measured runs, of which the median is told
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
}

/// Measures, from texts to vectors, and prints one line of JSON or facts for people.
pub(crate) fn run(args: &EmbedBench, global: &Global) -> Result<(), Failure> {
    let threads = args
        .threads
        .map_or_else(all_threads, |threads| threads as usize);
    let texts = sentences(args.batch as usize);
    let failed = |error: autodidact_domain::PortError| Failure::local(error.to_string());
    let measured = measure(&args.model, &texts, threads, args.runs as usize).map_err(failed)?;
    let mut rates: Vec<f64> = measured
        .seconds
        .iter()
        .map(|seconds| texts.len() as f64 / seconds)
        .collect();
    rates.sort_by(f64::total_cmp);
    let median = rates[rates.len() / 2];
    if global.json {
        return output::json_line(&json!({
            "work": "embed",
            "model": args.model.display().to_string(),
            "compute": measured.compute,
            "threads": threads,
            "batch": texts.len(),
            "median": rounded(median),
            "unit": "sentences/s",
            "runs": rates.iter().map(|rate| rounded(*rate)).collect::<Vec<Value>>(),
            "peak_rss_mb": SystemClock.peak_rss_mb(),
            "version": env!("CARGO_PKG_VERSION"),
        }));
    }
    output::facts(&[
        ("work", format!("embed {} sentences", texts.len())),
        ("model", args.model.display().to_string()),
        ("compute", measured.compute.to_string()),
        ("threads", threads.to_string()),
        ("median", format!("{median:.1} sentences/s")),
        ("best", format!("{:.1} sentences/s", rates[rates.len() - 1])),
        ("peak memory", format!("{} MiB", SystemClock.peak_rss_mb())),
    ])
}

/// Seconds of each measured run.
struct Measured {
    compute: &'static str,
    seconds: Vec<f64>,
}

fn measure(path: &Path, texts: &[String], threads: usize, runs: usize) -> PortResult<Measured> {
    let engine = Engine::new(threads, Compute::Fast);
    let info = Engine::inspect(path)?;
    let calm = Interrupt::new();
    let mut seconds = Vec::with_capacity(runs);
    let mut time = |work: &mut dyn FnMut() -> PortResult<usize>| -> PortResult<()> {
        for run in 0..WARM_UP + runs {
            let start = Instant::now();
            let made = work()?;
            debug_assert_eq!(made, texts.len());
            if run >= WARM_UP {
                seconds.push(start.elapsed().as_secs_f64());
            }
        }
        Ok(())
    };
    // An encoder computes in f32 whatever the path; see `autodidact_engine::LoadedEncoder`.
    let compute = if autodidact_domain::embedding::is_encoder(&info.architecture) {
        let encoder = engine.load_encoder(path)?;
        time(&mut || Ok(encoder.embed(texts, &mut || {}, &calm)?.vectors.len()))?;
        Compute::Exact
    } else {
        let model = engine.load(path)?;
        time(&mut || Ok(model.embed(None, texts, &mut || {}, &calm)?.vectors.len()))?;
        engine.compute()
    };
    Ok(Measured {
        compute: compute.as_str(),
        seconds,
    })
}

fn sentences(count: usize) -> Vec<String> {
    let words: Vec<&str> = WORDS.split(' ').collect();
    let sentence = |i: usize| {
        let words = (0..WORDS_PER_SENTENCE).map(|j| words[(i * 7 + j * 3) % words.len()]);
        words.collect::<Vec<_>>().join(" ")
    };
    (0..count).map(sentence).collect()
}

fn all_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Rounds to a tenth, finer than which no run repeats.
fn rounded(rate: f64) -> Value {
    Value::from((rate * 10.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_the_peers() {
        let made = sentences(2);
        assert!(made[0].starts_with("the fox lazy many"), "{}", made[0]);
        assert!(made[1].starts_with("dog people"), "{}", made[1]);
        assert!(made.iter().all(|text| text.split(' ').count() == 20));
    }

    #[test]
    fn a_tiny_encoder_and_a_tiny_generator_are_measured() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
        for (name, compute) in [("encoder/bert", "exact"), ("tiny", "fast")] {
            let measured = measure(&golden.join(name), &sentences(3), 1, 2).unwrap();
            assert_eq!(measured.compute, compute);
            assert_eq!(measured.seconds.len(), 2);
            assert!(measured.seconds.iter().all(|seconds| *seconds > 0.0));
        }
    }
}
