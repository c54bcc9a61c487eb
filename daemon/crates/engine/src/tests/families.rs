//! A tiny model of every family against transformers, from both formats, in passes of every shape.

use super::*;

/// Families, and whether a GGUF stands beside the Hugging Face folder.
const FAMILIES: &[(&str, bool)] = &[
    ("llama3", true),
    ("mistral", false),
    ("qwen2", true),
    ("qwen3", true),
    ("gemma3", false),
    ("phi3", true),
];

const LOGITS: &str = "families/logits.json";

pub(super) struct Expected {
    pub(super) ids: Vec<u32>,
    /// Positions, and the first logits there.
    logits: Vec<(usize, Vec<f64>)>,
}

pub(super) fn expected(file: &str, family: &str) -> Vec<Expected> {
    let golden = golden_json(file);
    let prompts = golden[family].as_array().unwrap().iter();
    prompts
        .map(|prompt| Expected {
            ids: ids_of(&prompt["ids"]),
            logits: prompt["logits"]
                .as_object()
                .unwrap()
                .iter()
                .map(|(at, row)| {
                    let row = row.as_array().unwrap().iter();
                    (
                        at.parse().unwrap(),
                        row.map(|x| x.as_f64().unwrap()).collect(),
                    )
                })
                .collect(),
        })
        .collect()
}

pub(super) fn check(what: &str, found: &[Vec<f32>], expected: &Expected) {
    for (at, row) in &expected.logits {
        for (i, expect) in row.iter().enumerate() {
            let found = f64::from(found[*at][i]);
            assert!(
                (found - expect).abs() < 1e-4,
                "{what}, position {at}, logit {i}: {found} {expect}"
            );
        }
    }
}

/// The logits of every token of several sequences, computed together, ragged as they are.
fn all_logits_together(model: &LoadedModel, sequences: &[&[u32]]) -> Vec<Vec<Vec<f32>>> {
    let mut caches: Vec<KvCache> = sequences
        .iter()
        .map(|ids| KvCache::new(CacheShape::of(&model.config), ids.len()).unwrap())
        .collect();
    let (mut batch, mut buffers) = (Batch::default(), Buffers::default());
    for (number, ids) in sequences.iter().enumerate() {
        batch.push(number, ids, 0);
    }
    batch.wanted = (0..batch.ids.len()).collect();
    let mut all = Vec::new();
    let mut sink = |_: usize, rows: &mut [f32]| {
        let rows = rows.chunks_exact(model.config.vocab_size);
        all.extend(rows.map(<[f32]>::to_vec));
    };
    let mut caches: Vec<&mut KvCache> = caches.iter_mut().collect();
    model
        .decoder
        .forward(
            &model.team,
            &batch,
            &mut caches,
            None,
            &mut buffers,
            &mut sink,
        )
        .unwrap();
    let mut rest = all.into_iter();
    let lengths = sequences.iter().map(|ids| ids.len());
    lengths
        .map(|length| rest.by_ref().take(length).collect())
        .collect()
}

#[test]
fn every_family_equals_the_reference() {
    for (family, has_gguf) in FAMILIES {
        let folder = golden_path("families").join(family);
        let mut paths = vec![folder.clone()];
        paths.extend(has_gguf.then(|| folder.join("model.gguf")));
        for path in paths {
            let model = Engine::new(2, Compute::Exact).load(&path).unwrap();
            let expected = expected(LOGITS, family);
            let sequences: Vec<&[u32]> = expected.iter().map(|e| e.ids.as_slice()).collect();
            let together = all_logits_together(&model, &sequences);
            for (expected, together) in expected.iter().zip(&together) {
                let what = |how: &str| format!("{}, {how}", path.display());
                let prefill = all_logits(&model, None, &expected.ids, MAX_BATCH_TOKENS);
                check(&what("prefill"), &prefill, expected);
                // Bit for bit: a token's result does not depend on how it was computed.
                assert_eq!(&prefill, together, "{}", what("together"));
                let steps = all_logits(&model, None, &expected.ids, 1);
                assert_eq!(prefill, steps, "{}", what("step by step"));
            }
        }
    }
}

#[test]
fn the_fast_path_runs_every_family() {
    for (family, _) in FAMILIES {
        let folder = golden_path("families").join(family);
        let exact = Engine::new(1, Compute::Exact).load(&folder).unwrap();
        let fast = Engine::new(1, Compute::Fast).load(&folder).unwrap();
        let ids = &expected(LOGITS, family)[2].ids;
        let (exact, fast) = (mean_nll(&exact, ids), mean_nll(&fast, ids));
        assert!((exact - fast).abs() < 0.05, "{family}: {exact} {fast}");
    }
}

#[test]
fn only_plain_llamas_are_trained_yet_and_others_say_so() {
    let model = Engine::new(1, Compute::Exact)
        .load(&golden_path("families/qwen3"))
        .unwrap();
    let error = model.weights().unwrap_err().to_string();
    assert!(
        error.contains("qwen3") && error.contains("plain Llama"),
        "{error}"
    );
}
