//! Whole models with adapters of every method in their weights, in every format, on a model of every family.

use autodidact_domain::exchange::{MODEL_FORMATS as NAMES, MergedModel};
use autodidact_domain::{Checkpoint, TrainOptions};

use super::device::{family_paths, method_adapter};
use super::families::methods_to_try;
use super::gguf_writer::tiny_as_gguf;
use super::*;
use crate::exchange::merged::{MODEL_FORMATS, distance};
use crate::{Adapter, EngineError};

fn load(path: &Path) -> LoadedModel {
    Engine::new(2, Compute::Exact).load(path).expect("a model")
}

fn export(
    model: &LoadedModel,
    checkpoint: &Checkpoint,
    format: &str,
    folder: &Path,
) -> Result<MergedModel, EngineError> {
    model.export_model(
        checkpoint,
        format,
        folder,
        &Interrupt::new(),
        &mut |_, _| {},
    )
}

/// Where a format's model lies in a folder.
fn written(format: &str, folder: &Path) -> PathBuf {
    match format {
        "safetensors" => folder.to_path_buf(),
        _ => folder.join("model.gguf"),
    }
}

/// Logits of a text, of a base with its adapter or of a whole model.
fn logits(model: &LoadedModel, checkpoint: Option<&Checkpoint>) -> Vec<f32> {
    let adapter = checkpoint.map(|checkpoint| Adapter::from_checkpoint(model, checkpoint));
    let adapter = adapter.map(|adapter| adapter.expect("it fits"));
    let updates = model.updates_of(adapter.as_ref()).expect("its own");
    let ids: Vec<u32> = (0..40).map(|i| i * 37 % 256).collect();
    all_logits(model, updates, &ids, MAX_BATCH_TOKENS).concat()
}

/// Models of every family and of both kinds of file, of a shape that GGUF has fields for.
fn models() -> Vec<(String, PathBuf, Option<tempfile::TempDir>)> {
    let mut models = Vec::new();
    for (family, path) in family_paths() {
        let name = path.display().to_string();
        if !family.starts_with("gemma3") {
            models.push((name, path, None));
            continue;
        }
        // GGUF knows scores scaled by the width of a head alone, and every sixth layer without a window.
        let copy = golden_copy(&format!("families/{family}"));
        edit_json(&copy.path().join("config.json"), |json| {
            let text = match json["text_config"].is_object() {
                true => &mut json["text_config"],
                false => &mut *json,
            };
            text["query_pre_attn_scalar"] = 16.into();
            if family == "gemma3" {
                let kinds = vec!["sliding_attention"; 3];
                text["layer_types"] = kinds.into();
            }
        });
        models.push((name, copy.path().to_path_buf(), Some(copy)));
    }
    models.push(("tiny".into(), golden_path("tiny"), None));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tiny.gguf");
    std::fs::write(&file, tiny_as_gguf()).unwrap();
    models.push(("tiny.gguf".into(), file, Some(folder)));
    models
}

#[test]
fn the_table_has_the_formats_that_a_call_may_name() {
    assert_eq!(MODEL_FORMATS.map(|format| format.name), NAMES);
}

#[test]
fn every_method_on_every_family_gives_its_logits_as_a_whole_model() {
    for (what, path, _folder) in models() {
        let model = load(&path);
        for options in methods_to_try() {
            let checkpoint = method_adapter(&model, &options);
            let own = logits(&model, Some(&checkpoint));
            let is_tied = model.config.tie_word_embeddings;
            let of_tokens = |module: &String| module == "embed_tokens" || module == "lm_head";
            let fits = match options.method.as_str() {
                "adapter" | "prompt" | "prefix" => false,
                // One matrix cannot be two.
                _ => !(is_tied && options.modules_to_save.iter().any(of_tokens)),
            };
            for (format, most) in [("safetensors", 2e-5), ("gguf-f32", 2e-5)] {
                let out = tempfile::tempdir().unwrap();
                let merged = export(&model, &checkpoint, format, out.path());
                if !fits {
                    let error = merged.expect_err("no place in weights").to_string();
                    assert!(error.contains("beside them"), "{what}, {format}: {error}");
                    continue;
                }
                let merged = merged.unwrap_or_else(|error| panic!("{what}, {format}: {error}"));
                let whole = load(&written(format, out.path()));
                let apart = distance(&own, &logits(&whole, None));
                assert!(apart < most, "{what}, {format}, {options:?}: {apart}");
                assert!(merged.logits_apart < most && merged.base_apart > 1e-3);
                for file in &merged.files {
                    let size = out.path().join(&file.name).metadata().unwrap().len();
                    assert_eq!(size, file.size, "{}", file.name);
                }
            }
        }
    }
}

#[test]
fn rounded_types_stay_near() {
    for (what, path, _folder) in models() {
        let model = load(&path);
        let checkpoint = method_adapter(&model, &methods_to_try()[0]);
        let own = logits(&model, Some(&checkpoint));
        for (format, most) in [("gguf-f16", 2e-3), ("gguf-q8_0", 4e-2), ("gguf-q4_1", 0.5)] {
            let out = tempfile::tempdir().unwrap();
            let merged = export(&model, &checkpoint, format, out.path());
            merged.unwrap_or_else(|error| panic!("{what}, {format}: {error}"));
            let whole = load(&written(format, out.path()));
            let apart = distance(&own, &logits(&whole, None));
            assert!(apart < most, "{what}, {format}: {apart}");
        }
    }
}

/// From folder to GGUF to folder and back, text and weights stay what they are.
#[test]
fn a_model_comes_back_from_the_other_kind_of_file() {
    for (what, path, _folder) in models() {
        let model = load(&path);
        let checkpoint = method_adapter(&model, &TrainOptions::default());
        let own = logits(&model, Some(&checkpoint));
        let first = tempfile::tempdir().unwrap();
        export(&model, &checkpoint, "gguf-f32", first.path()).expect(&what);
        let there = load(&first.path().join("model.gguf"));
        // An adapter that changes one number.
        let mut little = method_adapter(&there, &TrainOptions::default());
        for tensor in &mut little.adapter {
            if tensor.name.contains("lora_B") {
                tensor.data.fill(0.0);
                tensor.data[0] = 1e-3;
            }
        }
        let second = tempfile::tempdir().unwrap();
        export(&there, &little, "safetensors", second.path()).expect(&what);
        let back = load(second.path());
        let apart = distance(&own, &logits(&back, None));
        assert!(apart < 1e-3, "{what}: {apart}");
        let text = "It's 1234 o'clock,\n  naïve 天气 🙂 <|special_3|>";
        let ids = |model: &LoadedModel| model.tokenizer().encode(text).unwrap();
        assert_eq!(ids(&back), ids(&model), "{what}");
        assert_eq!(back.config.bos_id, model.config.bos_id);
        let eos = |model: &LoadedModel| model.config.eos_ids.first().copied();
        assert_eq!(eos(&back), eos(&model));
    }
}

#[test]
fn what_a_format_cannot_say_is_refused_by_name() {
    let refused = |path: &Path, format: &str| {
        let model = load(path);
        let checkpoint = method_adapter(&model, &TrainOptions::default());
        let out = tempfile::tempdir().unwrap();
        let error = export(&model, &checkpoint, format, out.path());
        error.expect_err("refused").to_string()
    };
    let gemma = golden_path("families/gemma3");
    let message = refused(&gemma, "gguf-f16");
    assert!(message.contains("scale of scores"), "{message}");
    let copy = golden_copy("families/gemma3");
    let config = copy.path().join("config.json");
    edit_json(&config, |json| json["query_pre_attn_scalar"] = 16.into());
    let message = refused(copy.path(), "gguf-f16");
    assert!(message.contains("windows of attention"), "{message}");
    let copy = golden_copy("families/qwen2");
    edit_json(&copy.path().join("tokenizer.json"), |json| {
        json["pre_tokenizer"]["use_regex"] = false.into();
    });
    let message = refused(copy.path(), "gguf-f16");
    assert!(message.contains("pre_tokenizer"), "{message}");
    let message = refused(&gemma, "gguf-q5_0");
    assert!(message.contains("expected one of safetensors"), "{message}");
}

#[test]
fn adapters_without_effect_or_of_another_base_are_refused() {
    let model = tiny(Compute::Exact, 2);
    let good = method_adapter(&model, &TrainOptions::default());
    let refused = |checkpoint: &Checkpoint| {
        let out = tempfile::tempdir().unwrap();
        let error = export(&model, checkpoint, "safetensors", out.path());
        error.expect_err("refused").to_string()
    };
    let mut idle = good.clone();
    let mut endless = good.clone();
    for (idle, endless) in idle.adapter.iter_mut().zip(&mut endless.adapter) {
        if idle.name.contains("lora_B") {
            idle.data.fill(0.0);
            endless.data.fill(f32::INFINITY);
        }
    }
    assert!(refused(&idle).contains("changes what the base says"));
    assert!(refused(&endless).contains("no number"));
    let mut foreign = good.clone();
    foreign.meta.base_digest = autodidact_domain::Digest::of(b"another");
    assert!(refused(&foreign).contains("base digest"));
    let mut short = good.clone();
    short.adapter.pop();
    assert!(refused(&short).contains("found none"));
}

#[test]
fn an_export_ends_when_it_is_asked_to() {
    let model = tiny(Compute::Exact, 2);
    let checkpoint = method_adapter(&model, &TrainOptions::default());
    let out = tempfile::tempdir().unwrap();
    let interrupt = Interrupt::new();
    let mut told = Vec::new();
    let mut progress = |done: u64, total: u64| {
        told.push((done, total));
        if done > total / 2 {
            interrupt.raise(autodidact_domain::InterruptReason::Cancel);
        }
    };
    let result = model.export_model(
        &checkpoint,
        "gguf-f16",
        out.path(),
        &interrupt,
        &mut progress,
    );
    assert!(matches!(result, Err(EngineError::Interrupted)));
    assert!(told.windows(2).all(|pair| pair[0].0 <= pair[1].0));
    assert!(told.iter().all(|(done, total)| done <= total));
}

/// Vocabularies of both kinds, at their full size, and weights in every quantisation of their files.
#[test]
fn the_real_models_come_back_as_folders_and_files() {
    for real in Real::ALL {
        let Some(model) = real.load(Compute::Exact) else {
            continue;
        };
        let checkpoint = method_adapter(model, &TrainOptions::default());
        let own = logits(model, Some(&checkpoint));
        for (format, most) in [("safetensors", 1e-4), ("gguf-q8_0", 5e-2)] {
            let out = tempfile::tempdir().unwrap();
            export(model, &checkpoint, format, out.path()).expect(format);
            let whole = load(&written(format, out.path()));
            let apart = distance(&own, &logits(&whole, None));
            assert!(apart < most, "{real:?}, {format}: {apart}");
            for line in golden_lines(&format!("{}_tokens.jsonl", real.name())) {
                let text = line["text"].as_str().unwrap();
                let found = whole.tokenizer().encode(text).unwrap();
                assert_eq!(found, ids_of(&line["ids"]), "{format}: {text:?}");
            }
        }
    }
}
