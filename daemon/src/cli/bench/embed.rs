//! `autodidact bench embed`: how many sentences a second an encoder, or a generator by its states, makes vectors of.

use std::path::Path;
use std::time::Instant;

use autodidact_domain::embedding::is_encoder;
use autodidact_domain::{Embeddings, Interrupt};
use autodidact_engine::{Compute, Engine, EngineError};
use clap::Args;

use super::{Common, Failure, Figure, forget_peak_memory, refused};
use crate::memory::MemoryLimit;

/// The words that sentences are made of, the same as those that the peers embed (tests/bench).
const WORDS: &str = "the quick brown fox jumps over lazy dog while many people write short tasks about science history music food travel and code";
const WORDS_PER_SENTENCE: usize = 20;

#[derive(Args)]
#[command(after_help = "\
Sentences have 20 English words. An encoder computes on the processor in f32, whatever --compute and --device say.
Prints one line for each batch size: the median over the runs.

Examples:
  autodidact bench embed --model all-minilm-l6-v2
  autodidact bench embed --model ./all-MiniLM-L6-v2 --batch 16,64 --runs 9 --json")]
pub(in crate::cli) struct EmbedArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// Sentences at once
    #[arg(long, value_delimiter = ',', default_value = "64")]
    batch: Vec<usize>,
}

/// What makes the vectors.
type Embed<'a> = dyn Fn(&[String]) -> Result<Embeddings, EngineError> + 'a;

/// Measures and prints.
pub(super) fn run(
    args: &EmbedArgs,
    path: &Path,
    json: bool,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let common = &args.common;
    let failed = |error| refused(path, error);
    let engine = common.engine()?;
    let free = MemoryLimit::new(None).available(0);
    let info = Engine::inspect(path).map_err(failed)?;
    if is_encoder(&info.architecture) {
        let encoder = engine.load_encoder_within(path, free).map_err(failed)?;
        let embed = |texts: &[String]| encoder.embed(texts, &mut || {}, interrupt);
        measure(args, path, json, Compute::Exact.as_str(), &embed)
    } else {
        let model = engine.load_within(path, free).map_err(failed)?;
        let embed = |texts: &[String]| model.embed(None, texts, &mut || {}, interrupt);
        measure(args, path, json, &model.compute_name(), &embed)
    }
}

fn measure(
    args: &EmbedArgs,
    path: &Path,
    json: bool,
    compute: &str,
    embed: &Embed<'_>,
) -> Result<(), Failure> {
    for batch in args.batch.iter().copied() {
        forget_peak_memory();
        let texts = sentences(batch);
        let name = path.file_name().unwrap_or(path.as_os_str());
        let mut figure = Figure {
            work: "embed",
            unit: "sentences/s",
            model: name.to_string_lossy().into_owned(),
            compute: compute.to_string(),
            threads: args.common.threads(),
            batch,
            rates: Vec::new(),
            preflight_mb: None,
        };
        for run in 0..=args.common.runs {
            let start = Instant::now();
            embed(&texts).map_err(|error| refused(path, error))?;
            if run > 0 {
                let seconds = start.elapsed().as_secs_f64().max(1e-9);
                figure.rates.push(batch as f64 / seconds);
            }
        }
        figure.print(json)?;
    }
    Ok(())
}

fn sentences(count: usize) -> Vec<String> {
    let words: Vec<&str> = WORDS.split(' ').collect();
    let sentence = |i: usize| {
        let words = (0..WORDS_PER_SENTENCE).map(|j| words[(i * 7 + j * 3) % words.len()]);
        words.collect::<Vec<_>>().join(" ")
    };
    (0..count).map(sentence).collect()
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
}
