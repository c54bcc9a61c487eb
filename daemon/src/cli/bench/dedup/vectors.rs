//! The same for vectors, by their cosine.

use std::num::NonZeroUsize;
use std::time::Instant;

use autodidact_domain::Interrupt;
use autodidact_domain::embedding::normalized;
use autodidact_domain::ports::Clock as _;
use autodidact_domain::random::Random;
use autodidact_text::{VectorIndex, cosine};
use serde_json::json;

use super::DedupArgs;
use crate::cli::bench::{Failure, forget_peak_memory, output, round};
use crate::clock::SystemClock;

/// Vectors that are held against the index at once, as a chain's waves are; those of a wave against each other too.
const WAVE: usize = 512;
/// Of so many drawn vectors one is an earlier one moved a little, to a cosine of 0.8 to 1.
const ONE_MOVED_OF: usize = 4;

/// Measures and prints.
pub(super) fn run(args: &DedupArgs, json: bool, interrupt: &Interrupt) -> Result<(), Failure> {
    let vectors = draw(args.count as usize, args.dimension as usize);
    forget_peak_memory();
    let mut index = VectorIndex::new(args.threshold);
    let mut kept: Vec<usize> = Vec::new();
    let began = Instant::now();
    for (number, wave) in vectors.chunks(WAVE).enumerate() {
        if interrupt.is_raised() {
            return Err(Failure::interrupted(""));
        }
        let shown: Vec<&[f32]> = wave.iter().map(Vec::as_slice).collect();
        let before = index.len();
        let found = index.nearest_of(&shown);
        for (place, (vector, found)) in wave.iter().zip(found).enumerate() {
            if found.is_none() && index.nearest_from(vector, before).is_none() {
                index.add(vector);
                kept.push(number * WAVE + place);
            }
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let peak = SystemClock.peak_rss_mb();
    check(args, &vectors, &kept)?;
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let dropped = vectors.len() - kept.len();
    if json {
        return output::json_line(&json!({
            "work": "dedup_embedding", "corpus": "drawn", "threshold": args.threshold, "instructions": vectors.len(),
            "dimension": args.dimension, "kept": kept.len(), "seconds": round(seconds), "checked": args.check.min(vectors.len()),
            "threads": threads, "peak_rss_mb": peak, "version": env!("CARGO_PKG_VERSION"),
        }));
    }
    output::line(format!(
        "dedup    {} vectors of {} (drawn) above {}: {seconds:.2} s, {dropped} dropped, {threads} threads, at most {peak} MiB",
        vectors.len(),
        args.dimension,
        args.threshold,
    ))
}

/// Compares the first vectors with every one kept before them.
fn check(args: &DedupArgs, vectors: &[Vec<f32>], kept: &[usize]) -> Result<(), Failure> {
    let mut pool: Vec<usize> = Vec::new();
    for number in 0..args.check.min(vectors.len()) {
        let is_duplicate =
            |other: &usize| cosine(&vectors[*other], &vectors[number]) > args.threshold;
        let is_kept = !pool.iter().any(is_duplicate);
        if is_kept {
            pool.push(number);
        }
        if kept.binary_search(&number).is_ok() != is_kept {
            return Err(Failure::local(format!(
                "comparing vector {} with every one kept before says otherwise",
                number + 1
            )));
        }
    }
    Ok(())
}

/// Draws vectors of length 1.
fn draw(count: usize, dimension: usize) -> Vec<Vec<f32>> {
    let mut random = Random::from_seed(1);
    let mut vectors: Vec<Vec<f32>> = Vec::with_capacity(count);
    while vectors.len() < count {
        let mut fresh: Vec<f32> = (0..dimension)
            .map(|_| random.next_f64() as f32 - 0.5)
            .collect();
        if random.below(ONE_MOVED_OF) == 0 && !vectors.is_empty() {
            let moved = &vectors[random.below(vectors.len())];
            // A part at right angles of tangent t gives a cosine of 1 / sqrt(1 + t^2).
            let tangent = 0.75 * random.next_f64() as f32;
            fresh = normalized(fresh);
            fresh = moved
                .iter()
                .zip(&fresh)
                .map(|(a, b)| a + tangent * b)
                .collect();
        }
        vectors.push(normalized(fresh));
    }
    vectors
}
