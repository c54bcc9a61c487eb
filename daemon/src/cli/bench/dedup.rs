//! `autodidact bench dedup`: how long finding near-duplicates by ROUGE-L, or by the cosine of vectors, takes.

mod vectors;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use autodidact_domain::Interrupt;
use autodidact_domain::ports::{Clock as _, DatasetReader as _};
use autodidact_domain::random::Random;
use autodidact_formats::Reader;
use autodidact_text::{NearDuplicateIndex, rouge_l, tokenize};
use clap::Args;
use serde_json::json;

use super::{Failure, forget_peak_memory, output, round};
use crate::clock::SystemClock;

/// Tokens of a drawn instruction.
const TOKENS: std::ops::RangeInclusive<usize> = 12..=20;

/// Words of a drawn corpus in each script; those of Chinese are single characters.
const ENGLISH_WORDS: usize = 20_000;
const CHINESE_CHARACTERS: usize = 3_500;

/// Of so many drawn instructions one is another one changed, at a ROUGE-L of about 0.6 to 0.8.
const ONE_CHANGED_OF: usize = 4;

#[derive(Args)]
#[command(after_help = "\
Every instruction is held against those kept before it and dropped above the threshold, on one core.
Without --input they are drawn: words by Zipf's law, 12 to 20 tokens, half of them Chinese, a quarter of them an earlier one
with a fifth to two fifths of its tokens replaced.

Examples:
  autodidact bench dedup
  autodidact bench dedup --threshold 0.5 --json
  autodidact bench dedup --input instructions.jsonl --check 2000
  autodidact bench dedup --embedding --threshold 0.9")]
pub(in crate::cli) struct DedupArgs {
    /// A dataset file, in any form that `dataset import` reads
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Instructions to draw
    #[arg(long, default_value_t = 52_000, conflicts_with = "input", value_parser = clap::value_parser!(u32).range(1..=20_000_000))]
    count: u32,
    /// The ROUGE-L, or with --embedding the cosine, above which an instruction is a duplicate
    #[arg(long, default_value_t = 0.7)]
    threshold: f64,
    /// Compare drawn vectors by their cosine instead, on all cores
    #[arg(long, conflicts_with = "input")]
    embedding: bool,
    /// The vectors' dimension
    #[arg(long, default_value_t = 384, requires = "embedding", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    dimension: u32,
    /// Compare so many of the first with every one kept before, and fail where a decision differs
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    check: usize,
}

/// Measures and prints.
pub(super) fn run(args: &DedupArgs, json: bool, interrupt: &Interrupt) -> Result<(), Failure> {
    if !(0.0..=1.0).contains(&args.threshold) {
        return Err(Failure::local(format!(
            "--threshold: expected a number from 0 to 1, found {}",
            args.threshold
        )));
    }
    if args.embedding {
        return vectors::run(args, json, interrupt);
    }
    let (texts, corpus) = match &args.input {
        Some(path) => (read(path)?, path.display().to_string()),
        None => (draw(args.count as usize), "drawn".to_string()),
    };
    forget_peak_memory();
    let mut index = NearDuplicateIndex::new(args.threshold);
    let (mut kept, mut taken) = (Vec::new(), Vec::with_capacity(texts.len()));
    let began = Instant::now();
    for (number, text) in texts.iter().enumerate() {
        if number % 1024 == 0 && interrupt.is_raised() {
            return Err(Failure::interrupted(""));
        }
        let start = Instant::now();
        let found = index.nearest(text);
        if found.is_none() {
            index.add(text);
            kept.push(number);
        }
        taken.push(start.elapsed());
    }
    let seconds = began.elapsed().as_secs_f64();
    let peak = SystemClock.peak_rss_mb();
    check(args, &texts, &kept, interrupt)?;
    // The last tenth meets the pool as it is at the end.
    let mut last = taken.split_off(taken.len() - taken.len().div_ceil(10));
    let latency = percentile(&mut last, 0.99);
    let dropped = texts.len() - kept.len();
    if json {
        return output::json_line(&json!({
            "work": "dedup", "corpus": corpus, "threshold": args.threshold, "instructions": texts.len(), "kept": kept.len(),
            "seconds": round(seconds), "candidate_p99_us": round(latency.as_secs_f64() * 1e6), "checked": args.check.min(texts.len()),
            "threads": 1, "peak_rss_mb": peak, "version": env!("CARGO_PKG_VERSION"),
        }));
    }
    output::line(format!(
        "dedup    {} instructions ({corpus}) above {}: {seconds:.2} s, {dropped} dropped, a candidate at the end {:.0} us in 99 of 100, 1 thread, at most {peak} MiB",
        texts.len(),
        args.threshold,
        latency.as_secs_f64() * 1e6,
    ))
}

/// Compares the first texts with every one kept before them.
fn check(
    args: &DedupArgs,
    texts: &[String],
    kept: &[usize],
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let count = args.check.min(texts.len());
    let tokens: Vec<Vec<String>> = texts[..count].iter().map(|text| tokenize(text)).collect();
    let mut pool: Vec<usize> = Vec::new();
    for number in 0..count {
        if interrupt.is_raised() {
            return Err(Failure::interrupted(""));
        }
        let is_duplicate =
            |other: &usize| rouge_l(&tokens[*other], &tokens[number]) > args.threshold;
        if !pool.iter().any(is_duplicate) {
            pool.push(number);
        }
        let (ours, theirs) = (
            kept.binary_search(&number).is_ok(),
            pool.last() == Some(&number),
        );
        if ours != theirs {
            return Err(Failure::local(format!(
                "instruction {} was {}, and comparing with every one kept before says otherwise: {:?}",
                number + 1,
                if ours { "kept" } else { "dropped" },
                texts[number]
            )));
        }
    }
    Ok(())
}

/// Reads a dataset file's instructions.
fn read(path: &Path) -> Result<Vec<String>, Failure> {
    let name = path.display();
    let bytes = std::fs::read(path).map_err(|error| Failure::local(format!("{name}: {error}")))?;
    let file = Reader.read(&name.to_string(), &bytes);
    if let Some(fault) = file.faults.first() {
        return Err(Failure::local(format!(
            "{name}, line {}: expected {}, found {} ({} refused in all)",
            fault.line, fault.expected, fault.found, file.refused
        )));
    }
    let bodies = file.examples.iter().map(|example| &example.body);
    let texts: Vec<String> = bodies
        .map(|body| body.instruction_text().into_owned())
        .collect();
    match texts.is_empty() {
        true => Err(Failure::local(format!(
            "{name}: expected instructions, found none"
        ))),
        false => Ok(texts),
    }
}

/// The time within which a share of them ends.
fn percentile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    let place = (times.len() as f64 * share).ceil() as usize;
    times
        .get(place.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

/// Draws instructions.
fn draw(count: usize) -> Vec<String> {
    let mut random = Random::from_seed(1);
    let [english, chinese] = [ENGLISH_WORDS, CHINESE_CHARACTERS].map(Zipf::new);
    let mut drawn: Vec<(bool, Vec<usize>)> = Vec::with_capacity(count);
    let mut texts = Vec::with_capacity(count);
    while texts.len() < count {
        let is_changed = random.below(ONE_CHANGED_OF) == 0 && !drawn.is_empty();
        let (is_chinese, mut words) = match is_changed {
            true => drawn[random.below(drawn.len())].clone(),
            false => {
                let tokens = TOKENS.start() + random.below(TOKENS.end() - TOKENS.start() + 1);
                (random.below(2) == 0, vec![usize::MAX; tokens])
            }
        };
        let zipf = if is_chinese { &chinese } else { &english };
        match is_changed {
            true => {
                // So many others in the same number leave a common subsequence of the rest.
                let share = 0.2 + 0.2 * random.next_f64();
                for place in
                    random.sample(words.len(), (share * words.len() as f64).round() as usize)
                {
                    words[place] = zipf.draw(&mut random);
                }
            }
            false => words
                .iter_mut()
                .for_each(|word| *word = zipf.draw(&mut random)),
        }
        texts.push(written(is_chinese, &words));
        drawn.push((is_chinese, words));
    }
    texts
}

/// Writes words by their numbers.
fn written(is_chinese: bool, words: &[usize]) -> String {
    /// Where the common Chinese characters begin in Unicode.
    const FIRST_CHARACTER: u32 = 0x4E00;
    if is_chinese {
        let character =
            |word: &usize| char::from_u32(FIRST_CHARACTER + *word as u32).unwrap_or('一');
        return words.iter().map(character).collect();
    }
    let word = |word: &usize| {
        let mut letters = String::new();
        let mut rest = *word + 26;
        while rest > 0 {
            letters.push(char::from(b'a' + (rest % 26) as u8));
            rest /= 26;
        }
        letters
    };
    words.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// Draws numbers of which the n-th is as likely as 1/n (Zipf 1949).
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(count: usize) -> Self {
        let mut sum = 0.0;
        let sums = (1..=count).map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        });
        Self(sums.collect())
    }

    fn draw(&self, random: &mut Random) -> usize {
        let all = self.0.last().copied().unwrap_or(0.0);
        let at = random.next_f64() * all;
        self.0
            .partition_point(|sum| *sum <= at)
            .min(self.0.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drawn_corpus_is_as_it_is_said_to_be() {
        let texts = draw(2000);
        let tokens: Vec<Vec<String>> = texts.iter().map(|text| tokenize(text)).collect();
        assert!(tokens.iter().all(|tokens| TOKENS.contains(&tokens.len())));
        let chinese = texts.iter().filter(|text| !text.is_ascii()).count();
        assert!((800..1200).contains(&chinese), "{chinese}");
        let has_neighbour = |number: &usize| {
            let near =
                |other: &Vec<String>| (0.6..=0.8).contains(&rouge_l(other, &tokens[*number]));
            tokens[..*number].iter().any(near)
        };
        let near = (0..texts.len()).filter(has_neighbour).count();
        assert!(near >= texts.len() / 5, "{near}");
        assert_eq!(draw(50), texts[..50]);
    }

    #[test]
    fn the_share_of_times_is_found() {
        let mut times: Vec<Duration> = (1..=100).rev().map(Duration::from_micros).collect();
        assert_eq!(percentile(&mut times, 0.99), Duration::from_micros(99));
        assert_eq!(percentile(&mut times, 1.0), Duration::from_micros(100));
        assert_eq!(percentile(&mut [], 0.99), Duration::ZERO);
    }
}
