//! Equality with the reference library's values.

use super::*;

#[test]
fn tiny_equals_the_reference() {
    let model = tiny(Compute::Exact, 2);
    for prompt in golden_json("tiny_logits.json")["prompts"]
        .as_array()
        .unwrap()
    {
        let ids = ids_of(&prompt["prompt_ids"]);
        let expect = ids_of(&prompt["new_ids"]);
        let (found, logits) = greedy(&model, &ids, expect.len());
        for (found, expect) in logits.iter().zip(prompt["last_logits"].as_array().unwrap()) {
            assert!(
                (f64::from(*found) - expect.as_f64().unwrap()).abs() < 1e-4,
                "{found} {expect}"
            );
        }
        assert_eq!(found, expect);
    }
}

#[test]
fn tiny_weights_for_training_equal_the_packed_ones() {
    let model = tiny(Compute::Exact, 1);
    let weights = model.weights().unwrap();
    let row = weights
        .embed_tokens
        .get(7)
        .unwrap()
        .to_vec1::<f32>()
        .unwrap();
    let mut embedded = vec![0f32; row.len()];
    let crate::runtime::Runner::Own(decoder) = &model.decoder else {
        panic!("our decoder");
    };
    decoder.embed(7, &mut embedded).unwrap();
    assert_eq!(row, embedded);
    assert_eq!(weights.layers.len(), model.config.layers);
    assert!(
        std::sync::Arc::ptr_eq(&weights, &model.weights().unwrap()),
        "shared while held"
    );
}

#[test]
fn tiny_tokens_equal_the_reference() {
    check_tokens(&tiny(Compute::Fast, 1), "tiny_tokens.jsonl", 100);
}

pub(super) fn check_tokens(model: &LoadedModel, name: &str, least: usize) {
    let lines = golden_lines(name);
    assert!(lines.len() >= least);
    for line in &lines {
        let text = line["text"].as_str().unwrap();
        let ids = ids_of(&line["ids"]);
        assert_eq!(model.tokenizer().encode(text).unwrap(), ids, "{text:?}");
    }
}

#[test]
fn inspect_describes_the_model() {
    let info = Engine::inspect(&golden_path("tiny")).unwrap();
    assert_eq!(
        (
            info.architecture.as_str(),
            info.parameters,
            info.context_length
        ),
        ("llama", 504_672, 1024)
    );
    assert_eq!(info.quantization, "F16");
    assert_eq!(&info, tiny(Compute::Fast, 1).info());
    for (real, expect) in [
        (Real::SmolLm2, (134_515_008, "Q4_1", 8192)),
        (Real::Gemma, (268_098_176, "Q8_0", 32_768)),
    ] {
        let Some(path) = real.path() else { continue };
        let info = Engine::inspect(&path).unwrap();
        let found = (
            info.parameters,
            info.quantization.as_str(),
            info.context_length,
        );
        assert_eq!(found, expect);
    }
}
