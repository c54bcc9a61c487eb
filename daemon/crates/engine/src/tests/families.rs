//! A tiny model of every family against transformers, from both formats, in passes of every shape.

use std::sync::Arc;

use autodidact_domain::checkpoint::CheckpointMeta;
use autodidact_domain::{Checkpoint, ModelName, TrainOptions};

use super::*;
use crate::Adapter;
use crate::methods;
use crate::models::base::BaseWeights;
use crate::train::{Before, EncodedExample, PackedBatch, TrainableModel};

/// Families, and whether a GGUF stands beside the Hugging Face folder.
pub(super) const FAMILIES: &[(&str, bool)] = &[
    ("llama3", true),
    ("mistral", false),
    ("qwen2", true),
    ("qwen3", true),
    ("gemma3", false),
    ("phi3", true),
    ("phi3_long", true),
    ("gemma3_seeing", false),
];

pub(super) const LOGITS: &str = "families/logits.json";

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
    check_within(1e-4, what, found, expected);
}

pub(super) fn check_within(tolerance: f64, what: &str, found: &[Vec<f32>], expected: &Expected) {
    for (at, row) in &expected.logits {
        for (i, expect) in row.iter().enumerate() {
            let found = f64::from(found[*at][i]);
            assert!(
                (found - expect).abs() < tolerance,
                "{what}, position {at}, logit {i}: {found} {expect}"
            );
        }
    }
}

/// The logits of every token of several sequences, computed together, ragged as they are.
pub(super) fn all_logits_together(model: &LoadedModel, sequences: &[&[u32]]) -> Vec<Vec<Vec<f32>>> {
    let mut caches: Vec<SequenceCache> = sequences
        .iter()
        .map(|ids| model.decoder.new_cache(ids.len()).unwrap())
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
    let mut caches: Vec<&mut SequenceCache> = caches.iter_mut().collect();
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

/// An adapter on every layer, the same loss and a gradient on the way to it, whichever of the two decoders computes it.
#[test]
fn every_family_is_trained_with_the_loss_it_scores_with() {
    for (family, has_gguf) in FAMILIES {
        let folder = golden_path("families").join(family);
        let mut paths = vec![folder.clone()];
        paths.extend(has_gguf.then(|| folder.join("model.gguf")));
        for path in paths {
            for options in methods_to_try() {
                trained_as_scored(&path, family, &options);
            }
        }
    }
}

/// Trains every linear layer of the decoder.
pub(super) fn all_linear() -> TrainOptions {
    TrainOptions {
        r: 2,
        lora_alpha: 4.0,
        target_modules: vec!["all-linear".into()],
        ..TrainOptions::default()
    }
}

/// Every method, and what changes its arithmetic.
pub(super) fn methods_to_try() -> Vec<TrainOptions> {
    let lora = all_linear();
    let ia3 = TrainOptions {
        method: "ia3".into(),
        ..all_linear()
    };
    let of = |method: &str| TrainOptions {
        method: method.into(),
        target_modules: Vec::new(),
        num_virtual_tokens: 5,
        reduction_factor: 7.0,
        ..lora.clone()
    };
    vec![
        TrainOptions {
            bias: "all".into(),
            rank_pattern: [("mlp.*".to_string(), 3)].into(),
            alpha_pattern: [(r"layers\.0\..*".to_string(), 1.5)].into(),
            use_rslora: true,
            target_modules: vec!["all-linear".into()],
            ..lora.clone()
        },
        TrainOptions {
            use_dora: true,
            bias: "lora_only".into(),
            ..lora.clone()
        },
        // One layer of the decoder alone has updates.
        TrainOptions {
            target_modules: vec![r"model\.layers\.1\..*(q|o|up)_proj".into()],
            ..lora.clone()
        },
        ia3,
        of("adapter"),
        TrainOptions {
            bottleneck: "houlsby".into(),
            ..of("adapter")
        },
        of("prompt"),
        of("prefix"),
        TrainOptions {
            prefix_projection: true,
            encoder_hidden_size: 6,
            ..of("prefix")
        },
        of("full"),
        TrainOptions {
            modules_to_save: ["embed_tokens", "norm", "k_proj"].map(String::from).into(),
            target_modules: vec!["q_proj".into(), "down_proj".into()],
            ..lora.clone()
        },
        TrainOptions {
            modules_to_save: vec!["lm_head".into(), "layers.1.mlp.up_proj".into()],
            target_modules: vec!["q_proj".into()],
            ..lora.clone()
        },
        lora,
    ]
}

fn trained_as_scored(path: &Path, family: &str, options: &TrainOptions) {
    let what = format!("{} {options:?}", path.display());
    let model = Engine::new(2, Compute::Exact).load(path).unwrap();
    let weights = BaseWeights::Held(model.weights().unwrap());
    let recipe = methods::from_options(options, &model.config).unwrap();
    let plan = Arc::new(recipe.plan().clone());
    let mut parameters = plan.drawn(7, &weights);
    for (layer, values) in parameters.iter_mut().enumerate() {
        // B is zero at first; here it is not, so that the updates count.
        for (i, value) in values.iter_mut().enumerate() {
            *value += ((i * 31 + layer * 7) % 19) as f32 / 190.0 - 0.05;
        }
    }
    let examples: Vec<EncodedExample> = expected(LOGITS, family)
        .into_iter()
        .map(|expected| {
            // Nothing predicts the first one, but for virtual tokens.
            let flags = (0..expected.ids.len()).map(|index| index > 0).collect();
            EncodedExample::of_responses(expected.ids, flags)
        })
        .collect();
    let before = Before::of(&plan, model.config.vocab_size);
    let batch = PackedBatch::new(&examples, before);
    let trainable = TrainableModel::new(
        &model.config,
        &weights,
        plan.clone(),
        batch.ids.len(),
        batch.sequences.longest(),
        2,
    );
    let trainable = trainable.unwrap();
    let (loss, gradients) = trainable
        .loss_and_gradients(&parameters, &batch, 0)
        .unwrap();
    let (plain, plain_gradients) = trainable
        .plain_loss_and_gradients(&parameters, &batch, 0)
        .unwrap();
    assert!((loss - plain).abs() < 1e-5, "{what}: {loss} {plain}");
    for (gradient, plain) in gradients.iter().zip(&plain_gradients) {
        let norm =
            |values: &mut dyn Iterator<Item = f32>| values.map(|x| x * x).sum::<f32>().sqrt();
        let distance = norm(&mut gradient.iter().zip(plain).map(|(a, b)| a - b));
        let length = norm(&mut plain.iter().copied());
        assert!(
            (gradient.is_empty() || length > 0.0) && distance <= 1e-3 * length,
            "{what}: {distance} of {length}"
        );
    }

    let checkpoint = Checkpoint {
        meta: CheckpointMeta {
            method: options.method.clone(),
            model: ModelName::new("tiny").unwrap(),
            base_digest: model.info().digest,
            adapter_config: recipe.adapter_config("tiny"),
            step: 0,
            total_steps: 0,
            trainer_state: Json::Null,
            promoted_from: None,
        },
        adapter: plan.to_tensors("", &parameters),
        optimizer: Vec::new(),
    };
    let adapter = Adapter::from_checkpoint(&model, &checkpoint).unwrap();
    let updates = model.updates_of(Some(&adapter)).unwrap();
    let (mut sum, mut count) = (0.0, 0);
    for example in &examples {
        let logits = all_logits(&model, updates, &example.ids, MAX_BATCH_TOKENS);
        for (row, id) in logits.iter().zip(&example.ids[1..]) {
            sum +=
                crate::kernels::log_sum_exp(model.team.isa(), row) - f64::from(row[*id as usize]);
            count += 1;
        }
    }
    let scored = sum / f64::from(count);
    assert!((loss - scored).abs() < 1e-4, "{what}: {loss} {scored}");
}

#[test]
fn what_candle_transformers_alone_has_is_not_trained_and_says_so() {
    let model = Engine::new(1, Compute::Exact)
        .load(&golden_path("foreign/olmo2"))
        .unwrap();
    let error = model.weights().unwrap_err().to_string();
    assert!(
        error.contains("olmo2") && error.contains("for training"),
        "{error}"
    );
}

#[test]
fn the_memory_told_before_loading_is_what_loading_takes() {
    let mut paths: Vec<PathBuf> = vec![golden_path("tiny")];
    for (family, has_gguf) in FAMILIES {
        let folder = golden_path("families").join(family);
        paths.extend(has_gguf.then(|| folder.join("model.gguf")));
        paths.push(folder);
    }
    paths.extend(Real::ALL.into_iter().filter_map(Real::path));
    for path in paths {
        let told = Engine::inspect(&path).unwrap().details;
        let model = Engine::new(1, Compute::Fast).load(&path).unwrap();
        let taken = model.decoder.bytes() as u64;
        assert_eq!(told.memory_bytes, taken, "{}", path.display());
        assert!(told.cache_bytes_per_token > 0 && told.is_batched);
    }
}
