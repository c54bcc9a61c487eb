//! Tiny models of candle-transformers' architectures against transformers, and generation with them.

use autodidact_domain::{GenerateRequest, Prompt};

use super::families::{check, expected};
use super::*;
use crate::Silent;

const ARCHITECTURES: &[&str] = &[
    "gemma",
    "gemma2",
    "helium",
    "olmo",
    "olmo2",
    "phi",
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
