//! The decoder of tensor operations on a GPU, in f32 and bf16: the checks of [`super::device`] that the number format and
//! the device's own kernels may change. Opt-in, as ordinary machines have no GPU: `AUTODIDACT_TEST_CUDA=1`.

use autodidact_domain::{GenerateRequest, Message, Prompt};

use super::adapters::{batch_loss, checkpoint};
use super::batching::{bits, requests};
use super::device::{distance, family_paths, full_adapter, random_ids};
use super::families::{LOGITS, all_logits_together, check_within, expected, methods_to_try};
use super::*;
use crate::models::base::BaseWeights;
use crate::train::{Before, EncodedExample, PackedBatch, TrainableModel};
use crate::{Adapter, DeviceChoice, Silent};

/// How far a logit may be from the reference's, with f32 and with bf16. The fixtures' logits are of the order of one, and
/// bf16 keeps 8 bits of a number.
const TOLERANCES: [(Compute, f64); 2] = [(Compute::Exact, 1e-3), (Compute::Fast, 0.1)];

/// An engine on the first GPU; says so where none is to be used.
fn engine(compute: Compute) -> Option<Engine> {
    if std::env::var_os("AUTODIDACT_TEST_CUDA").is_none() {
        eprintln!("skipped: AUTODIDACT_TEST_CUDA is not set");
        return None;
    }
    Some(Engine::on_device(2, compute, DeviceChoice::Cuda(0)).unwrap())
}

#[test]
fn every_family_is_near_the_reference_on_cuda() {
    for (compute, tolerance) in TOLERANCES {
        let Some(engine) = engine(compute) else {
            return;
        };
        for (family, path) in family_paths() {
            let model = engine.load(&path).unwrap();
            let expected = expected(LOGITS, family);
            let sequences: Vec<&[u32]> = expected.iter().map(|e| e.ids.as_slice()).collect();
            let together = all_logits_together(&model, &sequences);
            for (expected, together) in expected.iter().zip(&together) {
                let what = format!("{}, {}", path.display(), model.compute_name());
                check_within(tolerance, &what, together, expected);
                for chunk in [1, 5, MAX_BATCH_TOKENS] {
                    let alone = all_logits(&model, None, &expected.ids, chunk);
                    check_within(tolerance, &what, &alone, expected);
                    // Not promised by CUDA's libraries, so it is told and not demanded.
                    if bits(&alone) != bits(together) {
                        let distance = distance(&alone, together);
                        eprintln!(
                            "{what}: alone in passes of {chunk} and together differ by {distance}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn long_sequences_and_adapters_are_near_our_own_decoders_on_cuda() {
    for (compute, tolerance) in TOLERANCES {
        let Some(engine) = engine(compute) else {
            return;
        };
        for (family, path) in family_paths() {
            let own = Engine::new(2, Compute::Exact).load(&path).unwrap();
            let model = engine.load(&path).unwrap();
            let checkpoint = full_adapter(&own);
            let ids = random_ids(3, 300, own.config.vocab_size);
            let [there, here] = [&own, &model].map(|model| {
                let adapter = Adapter::from_checkpoint(model, &checkpoint).unwrap();
                let lora = model.updates_of(Some(&adapter)).unwrap();
                let plain = all_logits(model, None, &ids, 77);
                [plain, all_logits(model, lora, &ids, 77)].concat()
            });
            let distance = f64::from(distance(&here, &there));
            // Logits of an adapter are larger than the fixtures', and so are errors of bf16.
            let largest = there
                .iter()
                .flatten()
                .fold(1f32, |most, x| most.max(x.abs()));
            let allowed = tolerance * f64::from(largest);
            assert!(distance < allowed, "{family}, {compute:?}: {distance}");
        }
    }
}

#[test]
fn losses_with_adapters_are_near_the_reference_on_cuda() {
    for (compute, tolerance) in TOLERANCES {
        let Some(engine) = engine(compute) else {
            return;
        };
        let model = engine.load(&golden_path("tiny")).unwrap();
        let golden = golden_json("tiny_lora_all.json");
        let checkpoint = checkpoint(&model, &golden, "tiny_lora_all_init.safetensors");
        let adapter = Adapter::from_checkpoint(&model, &checkpoint).unwrap();
        let expect = golden["steps"][0]["loss"].as_f64().unwrap();
        let found = batch_loss(&model, &adapter, &golden["batches"][0]);
        assert!((found - expect).abs() < tolerance, "{found} {expect}");
    }
}

/// Forty sequences that join, share beginnings and leave; in f32 the likeliest words are our own decoder's.
#[test]
fn many_sequences_are_generated_on_cuda() {
    let mut requests = requests();
    for request in &mut requests {
        request.sampling.temperature = 0.0;
    }
    let generate = |model: &LoadedModel, requests: &[GenerateRequest]| {
        model
            .generate(None, requests, &mut Silent, &calm())
            .unwrap()
    };
    let expect = generate(&tiny(Compute::Exact, 2), &requests);
    for (compute, _) in TOLERANCES {
        let Some(engine) = engine(compute) else {
            return;
        };
        let model = engine.load(&golden_path("tiny")).unwrap();
        let found = generate(&model, &requests);
        let same = found.iter().zip(&expect).filter(|(a, b)| a.text == b.text);
        let (same, all) = (same.count(), expect.len());
        eprintln!(
            "{}: {same} of {all} texts are the exact path's",
            model.compute_name()
        );
        if compute == Compute::Exact {
            assert!(same * 10 >= all * 9, "{same} of {all}");
        }
    }
}

/// The real model answers, and its loss is near the exact path's.
#[test]
fn the_real_model_runs_on_cuda() {
    let (Some(path), Some(engine)) = (Real::SmolLm2.path(), engine(Compute::Fast)) else {
        return;
    };
    let model = engine.load(&path).unwrap();
    let exact = Real::SmolLm2.load(Compute::Exact).unwrap();
    for prompt in golden_json("smollm2_greedy.json")["prompts"]
        .as_array()
        .unwrap()
    {
        let ids = ids_of(&prompt["prompt_ids"]);
        let (here, there) = (mean_nll(&model, &ids), mean_nll(exact, &ids));
        assert!((here - there).abs() < 0.03, "{here} {there}");
    }
    let request = GenerateRequest::new(
        Prompt::Chat(vec![Message::user("What is the capital of France?")]),
        Sampling {
            max_tokens: 32,
            temperature: 0.0,
            ..Sampling::default()
        },
    );
    let text = |model: &LoadedModel| {
        let requests = std::slice::from_ref(&request);
        let completions = model.generate(None, requests, &mut Silent, &calm());
        completions.unwrap().remove(0).text
    };
    eprintln!("{}: {}", model.compute_name(), text(&model));
    let Some(engine) = self::engine(Compute::Exact) else {
        return;
    };
    assert_eq!(text(&engine.load(&path).unwrap()), text(exact));
}

/// The plain operations on the GPU have the loss and gradients that our kernels have, for every method.
#[test]
fn training_on_cuda_is_the_processors() {
    let Some(_) = engine(Compute::Exact) else {
        return;
    };
    let device = candle_core::Device::new_cuda(0).unwrap();
    for (family, path) in family_paths() {
        let model = Engine::new(2, Compute::Exact).load(&path).unwrap();
        let weights = model.weights().unwrap();
        let on_device = BaseWeights::from(weights.to_device(&device).unwrap());
        let weights = BaseWeights::Held(weights);
        let examples = expected(LOGITS, family).into_iter();
        let examples: Vec<EncodedExample> = examples
            .map(|expected| {
                let flags = vec![true; expected.ids.len()];
                EncodedExample::of_responses(expected.ids, flags)
            })
            .collect();
        for options in methods_to_try() {
            let recipe = crate::methods::from_options(&options, &model.config).unwrap();
            let plan = std::sync::Arc::new(recipe.plan().clone());
            let before = Before::of(&plan, model.config.vocab_size);
            let batch = PackedBatch::new(&examples, before);
            let tokens = batch.ids.len();
            let mut parameters = plan.drawn(7, &weights);
            for (i, value) in parameters.iter_mut().flatten().enumerate() {
                *value += (i % 19) as f32 / 190.0 - 0.05;
            }
            let [here, there] = [&weights, &on_device].map(|weights| {
                let plan = plan.clone();
                let model = TrainableModel::new(&model.config, weights, plan, tokens, tokens, 2);
                let model = model.unwrap();
                model.loss_and_gradients(&parameters, &batch, 3).unwrap()
            });
            assert!((here.0 - there.0).abs() < 1e-3, "{family} {options:?}");
            for (layer, (here, there)) in here.1.iter().zip(&there.1).enumerate() {
                let what = format!("{family} {options:?} layer {layer}");
                crate::ops::testing::assert_close(&what, there, here, 1e-2);
            }
        }
    }
}
