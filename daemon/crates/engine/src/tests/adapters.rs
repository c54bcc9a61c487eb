//! Adapters at generation: equal to the reference's loss, and refused where they do not fit.

use autodidact_domain::checkpoint::CheckpointMeta;
use autodidact_domain::{
    Checkpoint, Digest, GenerateRequest, ModelName, NamedTensor, Prompt, TrainOptions,
};
use candle_core::Device;

use super::batching::check_rows;
use super::device::method_adapter;
use super::*;
use crate::{Adapter, EngineError, Silent};

pub(super) fn checkpoint(model: &LoadedModel, golden: &Json, tensors: &str) -> Checkpoint {
    let tensors = candle_core::safetensors::load(golden_path(tensors), &Device::Cpu).unwrap();
    let mut adapter: Vec<NamedTensor> = tensors
        .into_iter()
        .map(|(name, tensor)| NamedTensor {
            name,
            shape: tensor.dims().to_vec(),
            data: tensor.flatten_all().unwrap().to_vec1().unwrap(),
        })
        .collect();
    adapter.sort_by(|a, b| a.name.cmp(&b.name));
    let adapter_config = serde_json::json!({
        "peft_type": "LORA", "r": golden["r"], "lora_alpha": golden["lora_alpha"], "target_modules": golden["target_modules"],
        "bias": "none", "use_rslora": false,
    });
    Checkpoint {
        meta: CheckpointMeta {
            method: "lora".into(),
            model: ModelName::new("tiny").unwrap(),
            base_digest: model.info().digest,
            adapter_config,
            step: 0,
            total_steps: 10,
            trainer_state: Json::Null,
            promoted_from: None,
        },
        adapter,
        optimizer: Vec::new(),
    }
}

/// The reference's loss of a batch: the mean over all labelled tokens.
pub(super) fn batch_loss(model: &LoadedModel, adapter: &Adapter, batch: &Json) -> f64 {
    let lora = model.updates_of(Some(adapter)).unwrap();
    let (mut sum, mut count) = (0.0, 0);
    let rows = batch["input_ids"]
        .as_array()
        .unwrap()
        .iter()
        .zip(batch["labels"].as_array().unwrap());
    for (ids, labels) in rows {
        let logits = all_logits(model, lora, &ids_of(ids), 128);
        for (row, label) in logits.iter().zip(labels.as_array().unwrap().iter().skip(1)) {
            if let Some(label) = label.as_u64() {
                sum += crate::kernels::log_sum_exp(model.team.isa(), row)
                    - f64::from(row[label as usize]);
                count += 1;
            }
        }
    }
    sum / f64::from(count)
}

#[test]
fn losses_with_adapters_equal_the_reference() {
    let model = tiny(Compute::Exact, 2);
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

/// What stands in the base's places is a second decoder, and there must be room for it.
#[test]
fn an_adapter_of_whole_weights_takes_what_they_take_and_is_refused_where_that_is_not_there() {
    let model = tiny(Compute::Exact, 2);
    let options = TrainOptions {
        method: "full".into(),
        ..TrainOptions::default()
    };
    let checkpoint = method_adapter(&model, &options);
    let adapter = Adapter::from_checkpoint(&model, &checkpoint).unwrap();
    let (vocabulary, hidden) = (model.config.vocab_size, model.config.hidden_size);
    let expected = model.packed_bytes() + vocabulary * hidden * size_of::<f32>();
    assert_eq!(adapter.bytes(), expected);
    let little = method_adapter(&model, &TrainOptions::default());
    model.allow(Some(1 << 20));
    let refused = Adapter::from_checkpoint(&model, &checkpoint).err();
    assert!(matches!(refused, Some(EngineError::Memory(_))));
    // One that only adds to the base does not ask for that.
    assert!(Adapter::from_checkpoint(&model, &little).is_ok());
}

#[test]
fn a_row_with_an_adapter_alone_among_8_and_among_32() {
    for compute in [Compute::Exact, Compute::Fast] {
        let model = tiny(compute, 2);
        let golden = golden_json("tiny_lora_all.json");
        let checkpoint = checkpoint(&model, &golden, "tiny_lora_all_final.safetensors");
        let adapter = Adapter::from_checkpoint(&model, &checkpoint).unwrap();
        check_rows(&model, model.updates_of(Some(&adapter)).unwrap());
    }
}

#[test]
fn an_adapter_changes_completions_on_both_paths() {
    for compute in [Compute::Exact, Compute::Fast] {
        let model = tiny(compute, 2);
        let golden = golden_json("tiny_lora_all.json");
        let checkpoint = checkpoint(&model, &golden, "tiny_lora_all_final.safetensors");
        let adapter = Adapter::from_checkpoint(&model, &checkpoint).unwrap();
        let request = GenerateRequest::new(
            Prompt::Text("Come up with".into()),
            Sampling {
                max_tokens: 24,
                ..Sampling::default()
            },
        );
        let requests = vec![request; 9];
        let plain = model
            .generate(None, &requests, &mut Silent, &calm())
            .unwrap();
        let adapted = model
            .generate(Some(&adapter), &requests, &mut Silent, &calm())
            .unwrap();
        assert_ne!(plain[0].text, adapted[0].text);
        assert!(adapted.iter().all(|completion| completion == &adapted[0]));
    }
}

#[test]
fn adapters_that_do_not_fit_are_refused() {
    let model = tiny(Compute::Fast, 1);
    let golden = golden_json("tiny_lora.json");
    let good = checkpoint(&model, &golden, "tiny_lora_init.safetensors");
    let refused = |change: &dyn Fn(&mut Checkpoint)| {
        let mut bad = good.clone();
        change(&mut bad);
        match Adapter::from_checkpoint(&model, &bad) {
            Err(error @ EngineError::Adapter { .. }) => error.to_string(),
            Err(other) => panic!("another error: {other}"),
            Ok(_) => panic!("accepted"),
        }
    };
    let name = &good.adapter[0].name.clone();
    assert!(refused(&|bad| drop(bad.adapter.remove(0))).contains(name));
    assert!(refused(&|bad| bad.adapter[0].shape.reverse()).contains("shape"));
    assert!(refused(&|bad| bad.adapter[0].data.truncate(3)).contains(name));
    assert!(
        refused(&|bad| bad.adapter[0].name = name.replace("layers.0", "layers.9"))
            .contains("layers.0")
    );
    assert!(refused(&|bad| bad.adapter.push(bad.adapter[0].clone())).contains("two"));
    let extra = |bad: &mut Checkpoint| {
        bad.adapter.push(NamedTensor {
            name: "lm_head.lora_A.weight".into(),
            shape: vec![1],
            data: vec![0.0],
        });
    };
    assert!(refused(&extra).contains("lm_head"));
    let another = |bad: &mut Checkpoint| bad.meta.base_digest = Digest::of(b"another");
    let told = refused(&another);
    assert!(
        told.contains("base digest") && told.contains("the same shapes"),
        "{told}"
    );
    // The first tensor in which the bases differ is named.
    let told = refused(&|bad| {
        another(bad);
        for tensor in &mut bad.adapter {
            tensor.shape[1] *= 2;
            tensor.data.extend(tensor.data.clone());
        }
    });
    for part in [name.as_str(), "on this base", "of an adapter of tiny"] {
        assert!(told.contains(part), "{part:?} is missing in {told}");
    }
    assert!(refused(&|bad| bad.meta.method = "ia3".into()).contains("IA3"));
    assert!(refused(&|bad| bad.meta.method = "lroa".into()).contains("one of lora"));
    for (key, value) in [
        ("r", Json::from(0)),
        ("r", Json::from(5)),
        ("lora_alpha", Json::Null),
        ("target_modules", serde_json::json!(["q_proj", "lm_head"])),
        ("target_modules", serde_json::json!([])),
        ("use_rslora", Json::from("yes")),
        ("use_dora", Json::from(true)),
        ("rank_pattern", serde_json::json!({"q_proj": 2})),
    ] {
        refused(&|bad| bad.meta.adapter_config[key] = value.clone());
    }
}
