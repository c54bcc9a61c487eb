//! The decoder of tensor operations on candle's own processor device: everything that does not depend on the device, which
//! a GPU shares. `cuda.rs` holds what runs on a GPU itself.

use autodidact_domain::checkpoint::CheckpointMeta;
use autodidact_domain::random::Random;
use autodidact_domain::{
    Checkpoint, Completion, GenerateRequest, Message, ModelName, Prompt, ScoreRequest, TrainOptions,
};
use candle_core::{DType, Device};

use super::adapters::{batch_loss, checkpoint};
use super::batching::{bits, check_rows, requests};
use super::families::{
    FAMILIES, LOGITS, all_linear, all_logits_together, check, check_within, expected,
    methods_to_try,
};
use super::*;
use crate::device::Accelerator;
use crate::methods;
use crate::models::base::BaseWeights;
use crate::models::files::ModelFiles;
use crate::models::weights::LayerWeights;
use crate::runtime::device::DeviceDecoder;
use crate::{Adapter, EngineError, Silent, Urgency};

fn load_as(weights: DType, path: &Path) -> LoadedModel {
    let accelerator = Accelerator {
        device: Device::Cpu,
        weights,
        name: "candle".to_string(),
    };
    Engine::on_accelerator(2, accelerator).load(path).unwrap()
}

fn load(path: &Path) -> LoadedModel {
    load_as(DType::F32, path)
}

fn load_own(path: &Path) -> LoadedModel {
    Engine::new(2, Compute::Exact).load(path).unwrap()
}

/// Every fixture: a family's name, and the folder or file of it.
pub(super) fn family_paths() -> Vec<(&'static str, PathBuf)> {
    let paths = FAMILIES.iter().flat_map(|(family, has_gguf)| {
        let folder = golden_path("families").join(family);
        let file = has_gguf.then(|| (*family, folder.join("model.gguf")));
        [(*family, folder)].into_iter().chain(file)
    });
    paths.collect()
}

pub(super) fn random_ids(seed: u64, count: usize, vocabulary: usize) -> Vec<u32> {
    let mut random = Random::from_seed(seed);
    (0..count)
        .map(|_| random.below(vocabulary) as u32)
        .collect()
}

/// The greatest distance between two models' logits.
pub(super) fn distance(found: &[Vec<f32>], expect: &[Vec<f32>]) -> f32 {
    assert_eq!(found.len(), expect.len());
    let pairs = found.iter().flatten().zip(expect.iter().flatten());
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn every_family_equals_the_reference_in_passes_of_every_shape() {
    for (family, path) in family_paths() {
        let model = load(&path);
        let expected = expected(LOGITS, family);
        let sequences: Vec<&[u32]> = expected.iter().map(|e| e.ids.as_slice()).collect();
        let together = all_logits_together(&model, &sequences);
        for (expected, together) in expected.iter().zip(&together) {
            let what = |how: &str| format!("{}, {how}", path.display());
            let prefill = all_logits(&model, None, &expected.ids, MAX_BATCH_TOKENS);
            check(&what("prefill"), &prefill, expected);
            for chunk in [1, 5] {
                let steps = all_logits(&model, None, &expected.ids, chunk);
                assert_eq!(bits(&prefill), bits(&steps), "{}", what("step by step"));
            }
            assert_eq!(bits(&prefill), bits(together), "{}", what("together"));
        }
    }
}

/// Sequences of several pages and several sizes of attention, windows that left most of them behind among them.
#[test]
fn long_sequences_equal_our_own_decoders() {
    let mut paths = family_paths();
    paths.push(("tiny", golden_path("tiny")));
    for (family, path) in paths {
        let (model, own) = (load(&path), load_own(&path));
        let ids = random_ids(3, 300, model.config.vocab_size);
        let expect = all_logits(&own, None, &ids, MAX_BATCH_TOKENS);
        let found = all_logits(&model, None, &ids, 77);
        let distance = distance(&found, &expect);
        assert!(distance < 1e-4, "{family}: {distance}");
    }
}

#[test]
fn a_row_alone_among_8_and_among_32_on_a_device() {
    check_rows(&load(&golden_path("tiny")), None);
    check_rows(&load(&golden_path("families/gemma3")), None);
}

#[test]
fn completions_are_our_own_decoders_and_depend_on_their_own_request_alone() {
    let (model, own) = (load(&golden_path("tiny")), tiny(Compute::Exact, 2));
    let mut requests = requests();
    let generate = |model: &LoadedModel, requests: &[GenerateRequest]| -> Vec<Completion> {
        model
            .generate(None, requests, &mut Silent, &calm())
            .unwrap()
    };
    let together = generate(&model, &requests);
    for index in [0, 2, 3, 17, 39] {
        let alone = generate(&model, &requests[index..=index]);
        assert_eq!(alone[0], together[index], "{index}");
    }
    for request in &mut requests {
        request.sampling.temperature = 0.0;
    }
    assert_eq!(generate(&model, &requests), generate(&own, &requests));
}

/// Sequences that join and leave while others are at work, and beginnings that are shared, in part of a page too.
#[test]
fn joining_and_leaving_changes_nobodys_completion_on_a_device() {
    let model = load(&golden_path("tiny"));
    let requests = &requests()[..16];
    let expect = model
        .generate(None, requests, &mut Silent, &calm())
        .unwrap();
    let mut session = model.session(None).unwrap();
    let mut numbers = Vec::new();
    let mut found = vec![None; requests.len()];
    while numbers.len() < requests.len() || !session.is_idle() {
        if let Some(request) = requests.get(numbers.len()) {
            let urgency = match numbers.len() % 5 {
                0 => Urgency::Urgent,
                _ => Urgency::Ordinary,
            };
            numbers.push(session.add(request.clone(), urgency).unwrap());
        }
        if numbers.len() == 7 {
            session.abandon(numbers[4]);
        }
        session.step(&mut Silent).unwrap();
        while let Some((number, completion)) = session.take_finished() {
            found[number] = Some(completion);
        }
    }
    for (index, number) in numbers.iter().enumerate() {
        if index != 4 {
            assert_eq!(found[*number].as_ref(), Some(&expect[index]), "{index}");
        }
    }
}

#[test]
fn a_copied_beginning_is_what_would_be_computed() {
    let model = load(&golden_path("families/gemma3"));
    let ids = random_ids(4, 90, model.config.vocab_size);
    let expect = all_logits(&model, None, &ids, MAX_BATCH_TOKENS);
    for shared in [1, 31, 32, 45, 64, 89] {
        let pass = |cache: &mut SequenceCache, ids: &[u32], position: usize| {
            let (mut batch, mut logits) = (Batch::default(), Vec::new());
            batch.push(0, ids, position);
            batch.wanted = (0..ids.len()).collect();
            let mut sink = |_: usize, rows: &mut [f32]| {
                let rows = rows.chunks_exact(model.config.vocab_size);
                logits.extend(rows.map(<[f32]>::to_vec));
            };
            let (team, buffers) = (&model.team, &mut Buffers::default());
            let mut caches = [cache];
            let runner = &model.decoder;
            runner
                .forward(team, &batch, &mut caches, None, buffers, &mut sink)
                .unwrap();
            logits
        };
        let mut donor = model.decoder.new_cache(80).unwrap();
        pass(&mut donor, &ids[..shared.min(80)], 0);
        let shared = shared.min(80);
        let mut heir = model.decoder.new_cache(ids.len()).unwrap();
        heir.copy_prefix(&donor, shared).unwrap();
        // The donor goes on with other tokens, which the heir does not see; then it is gone.
        if shared < 80 {
            pass(&mut donor, &ids[..80 - shared], shared);
        }
        drop(donor);
        let found = pass(&mut heir, &ids[shared..], shared);
        assert_eq!(bits(&found), bits(&expect[shared..]), "{shared}");
    }
}

/// What a broken adapter left in the pool must not reach the next sequence, which masks it out by a weight of zero alone.
#[test]
fn numbers_that_are_none_stay_with_their_sequence() {
    let model = load(&golden_path("tiny"));
    let ids = random_ids(5, 70, model.config.vocab_size);
    let expect = all_logits(&model, None, &ids, MAX_BATCH_TOKENS);
    let golden = golden_json("tiny_lora_all.json");
    let mut checkpoint = checkpoint(&model, &golden, "tiny_lora_all_init.safetensors");
    for tensor in &mut checkpoint.adapter {
        tensor.data.fill(f32::NAN);
    }
    let broken = Adapter::from_checkpoint(&model, &checkpoint).unwrap();
    let broken = model.updates_of(Some(&broken)).unwrap();
    let logits = all_logits(&model, broken, &ids, MAX_BATCH_TOKENS);
    assert!(logits[69].iter().all(|logit| logit.is_nan()));
    let found = all_logits(&model, None, &ids[..40], MAX_BATCH_TOKENS);
    assert_eq!(bits(&found), bits(&expect[..40]));
}

#[test]
fn losses_with_adapters_equal_the_reference_on_a_device() {
    let model = load(&golden_path("tiny"));
    for name in ["tiny_lora", "tiny_lora_all"] {
        let golden = golden_json(&format!("{name}.json"));
        let checkpoint = checkpoint(&model, &golden, &format!("{name}_init.safetensors"));
        let adapter = Adapter::from_checkpoint(&model, &checkpoint).unwrap();
        let expect = golden["steps"][0]["loss"].as_f64().unwrap();
        let found = batch_loss(&model, &adapter, &golden["batches"][0]);
        assert!((found - expect).abs() < 1e-4, "{name}: {found} {expect}");
        assert!(adapter.bytes() > 0);
    }
}

/// An adapter with updates of every matrix, none of them zero.
pub(super) fn full_adapter(model: &LoadedModel) -> Checkpoint {
    method_adapter(model, &all_linear())
}

/// An adapter of a method with numbers that are not those it begins with.
pub(super) fn method_adapter(model: &LoadedModel, options: &TrainOptions) -> Checkpoint {
    let recipe = methods::from_options(options, &model.config).unwrap();
    let plan = recipe.plan();
    let mut parameters = plan.drawn(7, &BaseWeights::Held(model.weights().unwrap()));
    for (layer, values) in parameters.iter_mut().enumerate() {
        for (i, value) in values.iter_mut().enumerate() {
            *value += ((i * 31 + layer * 7) % 19) as f32 / 190.0 - 0.05;
        }
    }
    Checkpoint {
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
    }
}

#[test]
fn adapters_of_every_family_equal_our_own_decoders() {
    for (family, path) in family_paths() {
        let (model, own) = (load(&path), load_own(&path));
        for options in methods_to_try() {
            let checkpoint = method_adapter(&own, &options);
            let [here, there] = [&model, &own].map(|model| {
                let adapter = Adapter::from_checkpoint(model, &checkpoint).unwrap();
                let ids = random_ids(8, 60, model.config.vocab_size);
                let updates = model.updates_of(Some(&adapter)).unwrap();
                all_logits(model, updates, &ids, MAX_BATCH_TOKENS)
            });
            let distance = distance(&here, &there);
            assert!(distance < 1e-4, "{family}, {options:?}: {distance}");
        }
    }
}

#[test]
fn an_adapter_serves_where_it_was_packed_for() {
    let (model, own) = (load(&golden_path("tiny")), tiny(Compute::Exact, 1));
    let checkpoint = full_adapter(&own);
    for (packed_for, used_by) in [(&model, &own), (&own, &model)] {
        let adapter = Adapter::from_checkpoint(packed_for, &checkpoint).unwrap();
        let Err(EngineError::Adapter { part, .. }) = used_by.updates_of(Some(&adapter)) else {
            panic!("an adapter of another device is accepted");
        };
        assert_eq!(part, "device");
    }
}

#[test]
fn states_and_scores_are_our_own_decoders() {
    let (model, own) = (load(&golden_path("tiny")), tiny(Compute::Exact, 2));
    let texts: Vec<String> = ["An owl.", "猫头鹰坐在树上。", "x"]
        .iter()
        .map(|text| text.repeat(20))
        .collect();
    let embed = |model: &LoadedModel| model.embed(None, &texts, &mut || {}, &calm()).unwrap();
    let [here, there] = [embed(&model).vectors, embed(&own).vectors];
    assert!(distance(&here, &there) < 1e-5);
    let request = |index: usize| ScoreRequest {
        prompt: Prompt::Chat(vec![Message::user("Name a bird.")]),
        continuation: "An owl. ".repeat(1 + index * 7 % 30),
    };
    let requests: Vec<ScoreRequest> = (0..12).map(request).collect();
    let score = |model: &LoadedModel| model.score(None, &requests, &mut || {}, &calm()).unwrap();
    for (here, there) in score(&model).iter().zip(&score(&own)) {
        assert_eq!(here.tokens, there.tokens);
        let apart = here.negative_log_likelihood - there.negative_log_likelihood;
        assert!(apart.abs() < 1e-3, "{here:?} {there:?}");
    }
}

/// A format of 16 bits takes the same way as bf16 does on a GPU; candle multiplies f16 on the processor, and no bf16.
#[test]
fn weights_of_16_bits_are_near_the_reference() {
    for (family, path) in family_paths() {
        let model = load_as(DType::F16, &path);
        for expected in expected(LOGITS, family) {
            let logits = all_logits(&model, None, &expected.ids, MAX_BATCH_TOKENS);
            check_within(0.02, &format!("{family} in f16"), &logits, &expected);
        }
        let (half, whole) = (model.decoder.bytes(), load(&path).decoder.bytes());
        assert!(half < whole * 6 / 10, "{half} of {whole}");
        let caches = [DType::F16, DType::F32]
            .map(|weights| load_as(weights, &path).decoder.cache_bytes(100));
        assert_eq!(caches[0] * 2, caches[1]);
    }
    check_rows(&load_as(DType::F16, &golden_path("tiny")), None);
}

#[test]
fn what_computes_is_named_and_what_cannot_be_had_is_refused() {
    assert_eq!(load(&golden_path("tiny")).compute_name(), "f32 on candle");
    assert_eq!(tiny(Compute::Fast, 1).compute_name(), "fast");
    let foreign = load(&golden_path("foreign/olmo2"));
    assert_eq!(foreign.compute_name(), "exact");
    let model = load(&golden_path("tiny"));
    let request = ScoreRequest {
        prompt: Prompt::Text("a".into()),
        continuation: "b".repeat(4000),
    };
    let outcome = model.score(None, &[request], &mut || {}, &calm());
    assert!(matches!(outcome, Err(EngineError::Invalid(_))));
    let mut cache = model.decoder.new_cache(4).unwrap();
    let (mut batch, buffers) = (Batch::default(), &mut Buffers::default());
    batch.push(0, &[model.config.vocab_size as u32], 0);
    let outcome = model.decoder.forward(
        &model.team,
        &batch,
        &mut [&mut cache],
        None,
        buffers,
        &mut |_, _| {},
    );
    assert!(matches!(outcome, Err(EngineError::Invalid(_))));
}

/// Training reads the files, whatever device generates.
#[test]
fn a_model_on_a_device_gives_its_weights_for_training() {
    let (model, own) = (
        load_as(DType::F16, &golden_path("tiny")),
        tiny(Compute::Exact, 1),
    );
    let (here, there) = (model.weights().unwrap(), own.weights().unwrap());
    for (here, there) in here.layers.iter().zip(&there.layers) {
        for (here, there) in here.tensors().zip(there.tensors()) {
            assert!(here.device().is_cpu() && here.dtype() == DType::F32);
            let values = |tensor: &candle_core::Tensor| {
                tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap()
            };
            assert_eq!(values(here), values(there));
        }
    }
}

/// The likeliest tokens after the same text are transformers', and so is the loss.
#[test]
fn the_real_models_equal_transformers_on_a_device() {
    for real in Real::ALL {
        let Some(path) = real.path() else {
            continue;
        };
        let model = load(&path);
        let golden = golden_json(&format!("{}_greedy.json", real.name()));
        for prompt in golden["prompts"].as_array().unwrap() {
            let (ids, new) = (ids_of(&prompt["prompt_ids"]), ids_of(&prompt["new_ids"]));
            let all: Vec<u32> = ids.iter().chain(&new).copied().collect();
            let logits = all_logits(&model, None, &all, MAX_BATCH_TOKENS);
            for (row, id) in logits[ids.len() - 1..].iter().zip(&new) {
                let likeliest = (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]));
                assert_eq!(likeliest, Some(*id as usize), "{real:?}");
            }
            let nll = mean_nll(&model, &ids);
            let expect = prompt["prompt_mean_nll"].as_f64().unwrap();
            assert!((nll - expect).abs() < 1e-4, "{real:?}: {nll} {expect}");
        }
    }
}

/// What a device holds, this machine does not; what is on its way there, it does.
#[test]
fn weights_on_their_way_to_a_device_are_counted() {
    let accelerator = |weights| Accelerator {
        device: Device::Cpu,
        weights,
        name: "candle".to_string(),
    };
    let path = golden_path("tiny");
    let (files, config, _) = ModelFiles::open(&path).unwrap();
    let layer = LayerWeights::load(&files, &config, 0).unwrap();
    let matrices = layer.tensors().filter(|tensor| tensor.rank() == 2);
    let layer: usize = matrices.map(candle_core::Tensor::elem_count).sum();
    let most = layer.max(config.vocab_size * config.hidden_size) as u64;
    for (weights, bytes) in [(DType::F32, 8), (DType::BF16, 6)] {
        let way = DeviceDecoder::bytes_on_their_way(&files, &config, &accelerator(weights));
        assert_eq!(way, most * bytes);
        let engine = Engine::on_accelerator(2, accelerator(weights));
        let refused = engine.load_within(&path, Some(way)).err();
        let Some(EngineError::Memory(text)) = refused else {
            panic!("{refused:?}");
        };
        assert!(text.contains("of the file while they are read"), "{text}");
        let room = way + most * 2 + 1000 * config.vocab_size as u64;
        assert!(engine.load_within(&path, Some(room)).is_ok());
    }
}
