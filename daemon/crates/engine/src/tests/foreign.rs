//! Tiny models of candle-transformers' architectures against transformers, and generation with them.

use autodidact_domain::{GenerateRequest, Prompt};

use super::families::{check, expected};
use super::*;
use crate::{EngineError, Silent};

const ARCHITECTURES: &[&str] = &[
    "deepseek_v2",
    "falcon",
    "gemma",
    "gemma2",
    "glm4",
    "gpt_bigcode",
    "granite",
    "granitemoehybrid",
    "helium",
    "lfm2",
    "mamba",
    "mamba2",
    "mixtral",
    "olmo",
    "olmo2",
    "phi",
    "qwen2_moe",
    "qwen3_moe",
    "recurrent_gemma",
    "smollm3",
    "stablelm",
    "starcoder2",
];

fn load(architecture: &str) -> LoadedModel {
    let folder = golden_path("foreign").join(architecture);
    Engine::new(1, Compute::Fast).load(&folder).unwrap()
}

#[test]
fn every_architecture_equals_the_reference() {
    for architecture in ARCHITECTURES {
        let model = load(architecture);
        assert!(!model.info().details.is_batched);
        for expected in expected("foreign/logits.json", architecture) {
            for (how, chunk) in [
                ("step by step", 1),
                ("in chunks", 16),
                ("prefill", MAX_BATCH_TOKENS),
            ] {
                let logits = all_logits(&model, None, &expected.ids, chunk);
                check(&format!("{architecture}, {how}"), &logits, &expected);
            }
        }
    }
}

#[test]
fn they_generate_score_and_refuse_to_train() {
    for architecture in ARCHITECTURES {
        let model = load(architecture);
        let request =
            |text: &str, seed| GenerateRequest::new(Prompt::Text(text.into()), sampled(seed, 12));
        let requests = [
            request("Name a bird.", 1),
            request("Name a bird that", 2),
            request("x", 3),
        ];
        let together = model
            .generate(None, &requests, &mut Silent, &calm())
            .unwrap();
        for (request, expect) in requests.iter().zip(&together) {
            let request = std::slice::from_ref(request);
            let alone = model.generate(None, request, &mut Silent, &calm()).unwrap();
            assert_eq!(&alone[0], expect, "{architecture}");
        }
        let ids = &expected("foreign/logits.json", architecture)[1].ids;
        assert!(mean_nll(&model, ids).is_finite());
        let error = model.weights().unwrap_err().to_string();
        assert!(error.contains(architecture), "{error}");
    }
}

#[test]
fn counts_without_end_are_refused() {
    for (architecture, field) in [
        ("mixtral", "num_local_experts"),
        ("qwen3_moe", "num_experts"),
        ("deepseek_v2", "n_routed_experts"),
        ("gpt_bigcode", "n_positions"),
    ] {
        let folder = golden_copy(&format!("foreign/{architecture}"));
        edit_json(&folder.path().join("config.json"), |config| {
            config[field] = (1u64 << 19).into();
        });
        let error = Engine::inspect(folder.path()).unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    }
}

/// What candle-transformers asks for is looked at when a model is added, and no tensor is read for it.
#[test]
fn tensors_and_fields_that_they_lack_are_named_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let check = |change: &dyn Fn(&mut Json), expect: [&str; 4]| {
        copy_golden("foreign/gemma", folder.path());
        edit_json(&folder.path().join("config.json"), change);
        let Err(EngineError::ModelFile {
            part,
            expected,
            found,
            advice,
            ..
        }) = Engine::inspect(folder.path())
        else {
            panic!("{expect:?}");
        };
        for (found, expect) in [part, expected, found, advice.into()].iter().zip(expect) {
            assert!(found.contains(expect), "{expect:?} is missing in {found:?}");
        }
    };
    let damaged = "fetch it again";
    check(
        &|config| config["num_hidden_layers"] = 3.into(),
        ["model.layers.2.", "a tensor [", "none", damaged],
    );
    check(
        &|config| config["intermediate_size"] = 64.into(),
        ["mlp.", "shape [64, 32]", "[48, 32]", damaged],
    );
    check(
        &|config| config["attention_bias"] = "yes".into(),
        [
            "config.json",
            "gemma as candle-transformers",
            "bool",
            "supported kind",
        ],
    );
}

#[test]
fn what_candle_transformers_panics_on_is_an_error() {
    let folder = golden_copy("foreign/granite");
    edit_json(&folder.path().join("config.json"), |config| {
        config["num_hidden_layers"] = 3.into();
    });
    let error = Engine::inspect(folder.path()).unwrap_err().to_string();
    assert!(error.contains("model.layers.2."), "{error}");
}

#[test]
fn what_would_be_left_out_without_a_word_is_refused() {
    for field in ["rope_scaling", "rope_parameters"] {
        let folder = golden_copy("foreign/olmo2");
        edit_json(&folder.path().join("config.json"), |config| {
            config[field] = serde_json::json!({"rope_type": "yarn", "factor": 4.0});
        });
        let error = Engine::inspect(folder.path()).unwrap_err().to_string();
        assert!(error.contains("rope scaling yarn"), "{error}");
    }
}

#[test]
fn the_context_ends_where_a_window_would_matter() {
    for (architecture, field) in [
        ("gemma2", "sliding_window"),
        ("starcoder2", "sliding_window"),
        ("recurrent_gemma", "attention_window_size"),
        ("qwen3_moe", "sliding_window"),
    ] {
        let folder = golden_copy(&format!("foreign/{architecture}"));
        edit_json(&folder.path().join("config.json"), |config| {
            config[field] = 24.into();
        });
        let described = Engine::inspect(folder.path()).unwrap();
        // Qwen's is not in use.
        let expected = if architecture == "qwen3_moe" { 512 } else { 24 };
        assert_eq!(described.context_length, expected, "{architecture}");
    }
}
