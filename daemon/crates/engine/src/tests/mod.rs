//! Tests over whole models: golden values of the reference library, independence of rows, hostile files.

mod adapters;
mod batching;
#[cfg(feature = "cuda")]
mod cuda;
mod device;
mod encoder;
mod families;
mod foreign;
mod forms;
mod golden;
mod hostile;
mod scores;
mod text;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use autodidact_domain::{Interrupt, Sampling};
use serde_json::Value as Json;

use crate::runtime::lora::Updates;
use crate::runtime::{Batch, Buffers, MAX_BATCH_TOKENS, SequenceCache};
use crate::{Compute, Engine, LoadedModel};

fn golden_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../tests/golden")
        .join(name)
}

fn golden_json(name: &str) -> Json {
    serde_json::from_slice(&std::fs::read(golden_path(name)).unwrap()).unwrap()
}

fn golden_lines(name: &str) -> Vec<Json> {
    let text = std::fs::read_to_string(golden_path(name)).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn ids_of(json: &Json) -> Vec<u32> {
    json.as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_u64().unwrap() as u32)
        .collect()
}

fn tiny(compute: Compute, threads: usize) -> LoadedModel {
    Engine::new(threads, compute)
        .load(&golden_path("tiny"))
        .unwrap()
}

/// The real model's file, where the environment names one; says so where not.
fn real_path() -> Option<PathBuf> {
    let path = std::env::var_os("AUTODIDACT_TEST_MODEL").map(PathBuf::from);
    if path.is_none() {
        eprintln!("skipped: AUTODIDACT_TEST_MODEL names no GGUF of SmolLM2-135M-Instruct");
    }
    path
}

/// The real model, loaded once for all tests.
fn real(compute: Compute) -> Option<&'static LoadedModel> {
    static EXACT: OnceLock<Option<LoadedModel>> = OnceLock::new();
    static FAST: OnceLock<Option<LoadedModel>> = OnceLock::new();
    let cell = if compute == Compute::Exact {
        &EXACT
    } else {
        &FAST
    };
    cell.get_or_init(|| Some(Engine::new(2, compute).load(&real_path()?).unwrap()))
        .as_ref()
}

/// The logits of every token, computed in passes of at most `chunk` tokens.
fn all_logits(
    model: &LoadedModel,
    lora: Option<&Updates>,
    ids: &[u32],
    chunk: usize,
) -> Vec<Vec<f32>> {
    let mut cache = model.decoder.new_cache(ids.len()).unwrap();
    let (mut batch, mut buffers) = (Batch::default(), Buffers::default());
    let mut all = Vec::new();
    let mut position = 0;
    for part in ids.chunks(chunk.min(MAX_BATCH_TOKENS)) {
        batch.clear();
        batch.push(0, part, position);
        batch.wanted = (0..part.len()).collect();
        let mut sink = |_: usize, rows: &mut [f32]| {
            all.extend(
                rows.chunks_exact(model.config.vocab_size)
                    .map(<[f32]>::to_vec),
            );
        };
        model
            .decoder
            .forward(
                &model.team,
                &batch,
                &mut [&mut cache],
                lora,
                &mut buffers,
                &mut sink,
            )
            .unwrap();
        position += part.len();
    }
    all
}

/// The likeliest continuation, past ends of turns too; and the logits it starts from.
fn greedy(model: &LoadedModel, prompt: &[u32], count: usize) -> (Vec<u32>, Vec<f32>) {
    let mut cache = model.decoder.new_cache(prompt.len() + count).unwrap();
    let (mut batch, mut buffers) = (Batch::default(), Buffers::default());
    let (mut ids, mut first, mut position) = (prompt.to_vec(), None, 0);
    while ids.len() < prompt.len() + count {
        batch.clear();
        let last = batch.push(0, &ids[position..], position) + ids.len() - position - 1;
        batch.wanted.push(last);
        position = ids.len();
        let mut logits = Vec::new();
        let mut sink = |_: usize, rows: &mut [f32]| logits = rows.to_vec();
        model
            .decoder
            .forward(
                &model.team,
                &batch,
                &mut [&mut cache],
                None,
                &mut buffers,
                &mut sink,
            )
            .unwrap();
        ids.push(
            (0..logits.len())
                .max_by(|a, b| logits[*a].total_cmp(&logits[*b]))
                .unwrap() as u32,
        );
        first.get_or_insert(logits);
    }
    (ids.split_off(prompt.len()), first.unwrap())
}

/// The mean negative log-likelihood of each token after the first.
fn mean_nll(model: &LoadedModel, ids: &[u32]) -> f64 {
    let logits = all_logits(model, None, ids, MAX_BATCH_TOKENS);
    let nll = |(logits, id): (&Vec<f32>, &u32)| {
        crate::kernels::log_sum_exp(model.team.isa(), logits) - f64::from(logits[*id as usize])
    };
    logits.iter().zip(&ids[1..]).map(nll).sum::<f64>() / (ids.len() - 1) as f64
}

fn sampled(seed: u64, max_tokens: u32) -> Sampling {
    Sampling {
        temperature: 0.9,
        top_p: 0.95,
        repetition_penalty: 1.1,
        max_tokens,
        seed,
        ..Sampling::default()
    }
}

fn calm() -> Interrupt {
    Interrupt::new()
}
