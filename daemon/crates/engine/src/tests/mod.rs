//! Tests over whole models: golden values of the reference library, independence of rows, hostile files.

mod adapters;
mod batching;
#[cfg(feature = "cuda")]
mod cuda;
mod device;
mod encoder;
mod exchange;
mod families;
mod foreign;
mod forms;
mod gguf_writer;
mod golden;
mod heads;
mod hostile;
mod merged;
mod quantized;
mod real;
mod scores;
mod splits;
mod text;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use autodidact_domain::{Interrupt, Sampling};
use serde_json::Value as Json;

use crate::runtime::updates::Updates;
use crate::runtime::{Batch, Buffers, MAX_BATCH_TOKENS, SequenceCache};
use crate::{Compute, Engine, LoadedModel};

fn golden_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../tests/golden")
        .join(name)
}

/// A copy of a folder of golden files, for tests that change a part of it.
fn golden_copy(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy_golden(name, folder.path());
    folder
}

fn copy_golden(name: &str, to: &Path) {
    for file in std::fs::read_dir(golden_path(name)).unwrap() {
        let path = file.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// Changes a JSON file.
fn edit_json(path: &Path, change: impl FnOnce(&mut Json)) {
    let mut json = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    change(&mut json);
    std::fs::write(path, json.to_string()).unwrap();
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

/// The models that people use, tested where the environment names their files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Real {
    SmolLm2,
    Gemma,
}

impl Real {
    const ALL: [Self; 2] = [Self::SmolLm2, Self::Gemma];

    /// What its fixtures' names begin with.
    fn name(self) -> &'static str {
        match self {
            Self::SmolLm2 => "smollm2",
            Self::Gemma => "gemma",
        }
    }

    /// The model's file, where the environment names one; says so where not.
    fn path(self) -> Option<PathBuf> {
        let (variable, what) = match self {
            Self::SmolLm2 => ("AUTODIDACT_TEST_MODEL", "SmolLM2-135M-Instruct, Q4_1"),
            Self::Gemma => ("AUTODIDACT_TEST_GEMMA", "Gemma 3 270M, Q4_K_M"),
        };
        let path = std::env::var_os(variable).map(PathBuf::from);
        if path.is_none() {
            eprintln!("skipped: {variable} names no GGUF of {what}");
        }
        path
    }

    /// The model, loaded once for all tests.
    fn load(self, compute: Compute) -> Option<&'static LoadedModel> {
        static MODELS: [[OnceLock<Option<LoadedModel>>; 2]; 2] =
            [const { [const { OnceLock::new() }; 2] }; 2];
        MODELS[self as usize][compute as usize]
            .get_or_init(|| Some(Engine::new(2, compute).load(&self.path()?).unwrap()))
            .as_ref()
    }
}

/// The logits of every token, computed in passes of at most `chunk` tokens.
pub(crate) fn all_logits(
    model: &LoadedModel,
    updates: Option<&Updates>,
    ids: &[u32],
    chunk: usize,
) -> Vec<Vec<f32>> {
    let mut all = Vec::new();
    each_logits(model, updates, ids, chunk, &mut |_, row| {
        all.push(row.to_vec())
    });
    all
}

/// Shows the logits of every token with its position, computed in passes of at most `chunk` tokens.
fn each_logits(
    model: &LoadedModel,
    updates: Option<&Updates>,
    ids: &[u32],
    chunk: usize,
    sink: &mut dyn FnMut(usize, &[f32]),
) {
    // Virtual tokens go first, and their logits are nobody's.
    let before = model.virtual_ids(updates);
    let ids = &[before.as_slice(), ids].concat();
    let mut cache = model.decoder.new_cache(ids.len()).unwrap();
    let (mut batch, mut buffers) = (Batch::default(), Buffers::default());
    let mut position = 0;
    for part in ids.chunks(chunk.min(MAX_BATCH_TOKENS)) {
        batch.clear();
        batch.push(0, part, position);
        batch.wanted = (0..part.len()).collect();
        let mut each = |first: usize, rows: &mut [f32]| {
            let rows = rows.chunks_exact(model.config.vocab_size);
            for (number, row) in (position + first..).zip(rows) {
                if let Some(number) = number.checked_sub(before.len()) {
                    sink(number, row);
                }
            }
        };
        model
            .decoder
            .forward(
                &model.team,
                &batch,
                &mut [&mut cache],
                updates,
                &mut buffers,
                &mut each,
            )
            .unwrap();
        position += part.len();
    }
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
        ids.push(argmax(&logits));
        first.get_or_insert(logits);
    }
    (ids.split_off(prompt.len()), first.unwrap())
}

/// What a model thinks of each token of a text.
struct Judged {
    /// The likeliest token after each token.
    likeliest: Vec<u32>,
    /// The mean negative log-likelihood of each token after the first.
    mean_nll: f64,
}

/// Goes over a text in the longest passes, and keeps no logits.
fn judge(model: &LoadedModel, ids: &[u32]) -> Judged {
    let mut likeliest = Vec::new();
    let mut nll = 0.0;
    each_logits(model, None, ids, MAX_BATCH_TOKENS, &mut |position, row| {
        likeliest.push(argmax(row));
        if let Some(next) = ids.get(position + 1) {
            nll +=
                crate::kernels::log_sum_exp(model.team.isa(), row) - f64::from(row[*next as usize]);
        }
    });
    let mean_nll = nll / (ids.len() - 1) as f64;
    Judged {
        likeliest,
        mean_nll,
    }
}

fn mean_nll(model: &LoadedModel, ids: &[u32]) -> f64 {
    judge(model, ids).mean_nll
}

fn argmax(row: &[f32]) -> u32 {
    (0..row.len())
        .max_by(|a, b| row[*a].total_cmp(&row[*b]))
        .unwrap() as u32
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
