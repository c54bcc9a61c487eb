//! Ten steps against PyTorch and PEFT on the same model, batches and first values (`tests/golden/make_tiny.py`).

use std::path::{Path, PathBuf};

use autodidact_domain::{ModelName, ModelRef, NamedTensor};
use candle_core::{Device, Tensor};
use serde_json::Value as Json;

use super::adamw::AdamW;
use super::*;
use crate::models::files::ModelFiles;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../tests/golden")
        .join(name)
}

fn tensors(name: &str) -> Vec<NamedTensor> {
    let tensors = candle_core::safetensors::load(path(name), &Device::Cpu).expect("golden tensors");
    let read = |(name, tensor): (String, Tensor)| {
        let data = tensor
            .flatten_all()
            .and_then(|flat| flat.to_vec1())
            .expect("f32 elements");
        NamedTensor {
            name,
            shape: tensor.dims().to_vec(),
            data,
        }
    };
    tensors.into_iter().map(read).collect()
}

fn numbers(json: &Json) -> Vec<i64> {
    json.as_array()
        .expect("an array")
        .iter()
        .map(|x| x.as_i64().expect("a number"))
        .collect()
}

fn packed(batch: &Json) -> PackedBatch {
    let rows = |field: &str| {
        batch[field]
            .as_array()
            .expect("rows")
            .iter()
            .map(numbers)
            .collect::<Vec<_>>()
    };
    let examples: Vec<EncodedExample> = rows("input_ids")
        .iter()
        .zip(rows("labels"))
        .map(|(ids, labels)| EncodedExample {
            ids: ids.iter().map(|id| *id as u32).collect(),
            is_response: labels.iter().map(|label| *label != -100).collect(),
        })
        .collect();
    PackedBatch::new(&examples)
}

/// The Frobenius norm of the difference, relative to that of what is wanted.
fn distance(got: &NamedTensor, want: &NamedTensor) -> f64 {
    assert_eq!((&got.name, &got.shape), (&want.name, &want.shape));
    let norm = |values: &mut dyn Iterator<Item = f32>| {
        values
            .map(|x| f64::from(x) * f64::from(x))
            .sum::<f64>()
            .sqrt()
    };
    let difference = norm(
        &mut got
            .data
            .iter()
            .zip(&want.data)
            .map(|(got, want)| got - want),
    );
    difference / norm(&mut want.data.iter().copied())
}

fn check(run: &str) {
    let golden: Json =
        serde_json::from_slice(&std::fs::read(path(&format!("{run}.json"))).expect("golden file"))
            .expect("JSON");
    let (files, config, _) = ModelFiles::open(&path("tiny")).expect("the tiny model");
    let weights = Weights::load(&files, &config).expect("its weights");
    let number = |field: &str| golden[field].as_f64().expect("a number");
    let options = TrainOptions {
        r: number("r") as u32,
        lora_alpha: number("lora_alpha") as f32,
        lora_dropout: number("lora_dropout") as f32,
        target_modules: serde_json::from_value(golden["target_modules"].clone()).expect("names"),
        weight_decay: number("weight_decay"),
        max_grad_norm: number("max_grad_norm"),
        ..TrainOptions::default()
    };
    let lora = LoraConfig::new(
        options.r,
        options.lora_alpha,
        options.lora_dropout,
        &options.target_modules,
    )
    .expect("valid");
    let plan = Arc::new(LoraPlan::new(&lora, &config));
    let batches: Vec<PackedBatch> = golden["batches"]
        .as_array()
        .expect("batches")
        .iter()
        .map(packed)
        .collect();
    let max_tokens = batches
        .iter()
        .map(|batch| batch.ids.len())
        .max()
        .expect("there are batches");
    let model = TrainableModel::new(&config, &weights, plan.clone(), max_tokens, max_tokens, 2)
        .expect("threads");
    let parameters = plan
        .read_tensors("", &tensors(&format!("{run}_init.safetensors")))
        .expect("they fit");
    let mut position = Position {
        step: 0,
        optimizer: AdamW::new(&parameters),
        parameters,
    };
    let request = TrainRequest {
        model: ModelRef {
            model: ModelName::new("tiny").expect("a name"),
            adapter: None,
        },
        options,
        examples: Vec::new(),
        seed: 0,
        resume: None,
        steps: 0,
    };
    let steps = golden["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), 10);
    for want in steps {
        let value = |field: &str| want[field].as_f64().expect("a number");
        let batch = &batches[value("batch") as usize];
        let Ok(figures) = step(
            &model,
            &mut position,
            std::slice::from_ref(batch),
            &request,
            value("lr"),
        ) else {
            panic!("{want}")
        };
        assert!(
            (figures.loss - value("loss")).abs() < 1e-4,
            "{run}: loss {}, not {want}",
            figures.loss
        );
        assert!(
            (figures.grad_norm / value("grad_norm") - 1.0).abs() < 1e-3,
            "{run}: norm {}, not {want}",
            figures.grad_norm
        );
    }
    let mut want = tensors(&format!("{run}_final.safetensors"));
    want.sort_by(|a, b| a.name.cmp(&b.name));
    let got = plan.to_tensors("", &position.parameters);
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(&want) {
        let distance = distance(got, want);
        assert!(distance < 1e-3, "{run}: {} is {distance} away", got.name);
    }
}

#[test]
fn ten_steps_on_two_layers_equal_pefts() {
    check("tiny_lora");
}

#[test]
fn ten_steps_on_every_layer_equal_pefts() {
    check("tiny_lora_all");
}
