//! Adapters of every method through every format and back, on a model of every family.

use autodidact_domain::exchange::{AdapterFile, FORMATS as NAMES};
use autodidact_domain::{ModelName, TrainOptions};

use super::device::{family_paths, method_adapter};
use super::families::methods_to_try;
use super::*;
use crate::exchange::{FORMATS, distance, probe_logits};
use crate::{Adapter, EngineError};

fn family_models() -> impl Iterator<Item = (String, LoadedModel)> {
    family_paths().into_iter().map(|(_, path)| {
        let model = Engine::new(2, Compute::Exact).load(&path).expect("a model");
        (path.display().to_string(), model)
    })
}

fn names() -> ModelName {
    ModelName::new("tiny").expect("a name")
}

/// Low-rank updates alone, with scales and ranks of their own.
fn low_rank() -> TrainOptions {
    TrainOptions {
        r: 4,
        lora_alpha: 6.0,
        use_rslora: true,
        target_modules: vec!["all-linear".into()],
        rank_pattern: [("k_proj".to_string(), 2)].into(),
        alpha_pattern: [(r"layers\.1\.mlp\..*".to_string(), 3.0)].into(),
        ..TrainOptions::default()
    }
}

fn bottleneck() -> TrainOptions {
    TrainOptions {
        method: "adapter".into(),
        ..TrainOptions::default()
    }
}

#[test]
fn the_table_has_the_formats_that_a_call_may_name() {
    assert_eq!(FORMATS.map(|format| format.name), NAMES);
}

#[test]
fn what_is_written_comes_back_with_the_same_logits() {
    for (what, model) in family_models() {
        let is_fused = model.config.variant.fused;
        let checkpoint = method_adapter(&model, &low_rank());
        for format in ["peft", "gguf-lora"] {
            let files = model.export_adapter(&checkpoint, format);
            let files = files.unwrap_or_else(|error| panic!("{what}, {format}: {error}"));
            let read = model
                .import_adapter(names(), &files)
                .expect("it comes back");
            assert_eq!(read.meta.method, "lora");
            let [own, read] = [&checkpoint, &read].map(|checkpoint| {
                let adapter = Adapter::from_checkpoint(&model, checkpoint).expect("it fits");
                probe_logits(&model, Some(&adapter), None).expect("logits")
            });
            assert!(distance(&own, &read) < 1e-5, "{what}, {format}");
        }
        for options in methods_to_try() {
            let checkpoint = method_adapter(&model, &options);
            let written =
                ["peft", "adapterhub"].map(|format| model.export_adapter(&checkpoint, format).ok());
            let files = match (options.method.as_str(), written) {
                // Of whole models, which are no adapters.
                ("full", [None, None]) => continue,
                // A part of a matrix that is one module there.
                ("lora", [None, None]) if is_fused && !options.modules_to_save.is_empty() => {
                    continue;
                }
                ("adapter", [None, Some(files)]) => files,
                (_, [Some(files), None]) => files,
                (_, written) => panic!("{what}, {options:?}: {written:?}"),
            };
            let read = model
                .import_adapter(names(), &files)
                .expect("it comes back");
            match (is_fused, options.prefix_projection) {
                // Layers of one matrix come back with what they share, and a prefix's network stays here.
                (true, _) | (_, true) => assert_eq!(read.meta.method, checkpoint.meta.method),
                (false, false) => assert_eq!(read.adapter, checkpoint.adapter),
            }
            let is_plain = !options.use_dora
                && options.method == "lora"
                && options.bias == "none"
                && options.modules_to_save.is_empty();
            let gguf = model.export_adapter(&checkpoint, "gguf-lora");
            let has_biases = options.bias == "all" && model.config.variant.qkv_bias;
            assert_eq!(
                gguf.is_ok(),
                is_plain || (options.bias == "all" && !has_biases)
            );
        }
    }
}

/// The same tensors with every B zero.
fn idle(weights: &[u8]) -> Vec<u8> {
    let tensors = candle_core::safetensors::load_buffer(weights, &candle_core::Device::Cpu);
    let mut tensors = tensors.expect("tensors");
    for (name, tensor) in &mut tensors {
        if name.contains("lora_B") {
            *tensor = tensor.zeros_like().expect("zeros");
        }
    }
    safetensors::serialize(&tensors, None).expect("tensors")
}

#[test]
fn what_is_damaged_foreign_or_without_effect_is_refused() {
    let (_, model) = family_models().next().expect("a model");
    let checkpoint = method_adapter(&model, &low_rank());
    let refused = |files: &[AdapterFile]| match model.import_adapter(names(), files) {
        Err(error @ EngineError::Adapter { .. }) => error.to_string(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("taken"),
    };
    for format in NAMES {
        let checkpoint = match format {
            "adapterhub" => method_adapter(&model, &bottleneck()),
            _ => checkpoint.clone(),
        };
        let files = model.export_adapter(&checkpoint, format).expect("written");
        let last = files.len() - 1;
        for cut in [
            0,
            3,
            30,
            files[last].bytes.len() / 2,
            files[last].bytes.len() - 1,
        ] {
            let mut files = files.clone();
            files[last].bytes.truncate(cut);
            refused(&files);
        }
        for at in (0..files[last].bytes.len().min(3000)).step_by(7) {
            let mut files = files.clone();
            files[last].bytes[at] ^= 0x55;
            // What a flipped byte leaves readable may be taken; nothing may panic.
            let _ = model.import_adapter(names(), &files);
        }
    }
    assert!(refused(&[]).contains("adapter_config.json"));
    let mut untrained = checkpoint.clone();
    for tensor in &mut untrained.adapter {
        if tensor.name.contains("lora_B") {
            tensor.data.fill(0.0);
        }
    }
    let error = model.export_adapter(&untrained, "peft").expect_err("idle");
    assert!(error.to_string().contains("changes what the base says"));
    // Files that a tool made of one are refused too.
    let mut files = model.export_adapter(&checkpoint, "peft").expect("written");
    files[1].bytes = idle(&files[1].bytes);
    assert!(refused(&files).contains("changes what the base says"));
    let mut endless = checkpoint.clone();
    endless.adapter[0].data.fill(f32::NAN);
    assert!(model.export_adapter(&endless, "peft").is_err());
    assert!(model.export_adapter(&checkpoint, "pft").is_err());
    let mut files = model.export_adapter(&checkpoint, "peft").expect("written");
    let config: Json = serde_json::from_slice(&files[0].bytes).expect("JSON");
    for (field, value) in [
        ("peft_type", Json::from("LOHA")),
        ("r", Json::from(3)),
        ("target_modules", serde_json::json!(["q_proj"])),
        ("lora_alpha", Json::Null),
    ] {
        let mut config = config.clone();
        config[field] = value;
        files[0].bytes = config.to_string().into_bytes();
        refused(&files);
    }
}
