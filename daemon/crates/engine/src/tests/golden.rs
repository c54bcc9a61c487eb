//! Equality with the reference library's values.

use autodidact_domain::{GenerateRequest, Message, Prompt, Role};
use serde_json::Value as Json;

use super::*;
use crate::Silent;

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

fn check_tokens(model: &LoadedModel, name: &str, least: usize) {
    let lines = golden_lines(name);
    assert!(lines.len() >= least);
    for line in &lines {
        let text = line["text"].as_str().unwrap();
        let ids = ids_of(&line["ids"]);
        assert_eq!(model.tokenizer().encode(text).unwrap(), ids, "{text:?}");
    }
}

#[test]
fn real_tokens_equal_llama_cpp() {
    if let Some(model) = real(Compute::Fast) {
        check_tokens(model, "smollm2_tokens.jsonl", 1000);
    }
}

#[test]
fn real_tokens_decode_to_their_text() {
    let Some(model) = real(Compute::Fast) else {
        return;
    };
    let mut exact = 0;
    for line in golden_lines("smollm2_tokens.jsonl") {
        let text = line["text"].as_str().unwrap();
        exact += usize::from(model.tokenizer().decode(&ids_of(&line["ids"])) == text);
    }
    // The vocabulary lacks tokens for a few bytes, which encoding leaves out.
    assert!(exact >= 1170, "{exact}");
}

#[test]
fn real_chat_template_equals_transformers() {
    let Some(model) = real(Compute::Fast) else {
        return;
    };
    for chat in golden_json("smollm2_chat.json")["chats"]
        .as_array()
        .unwrap()
    {
        let messages: Vec<Message> = chat["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(message)
            .collect();
        let template = model.chat_template().unwrap();
        assert_eq!(
            template.render(&messages, false).unwrap(),
            chat["text"].as_str().unwrap()
        );
        assert_eq!(
            template.render(&messages, true).unwrap(),
            chat["text_with_generation_prompt"].as_str().unwrap()
        );
    }
}

fn message(json: &Json) -> Message {
    let role = match json["role"].as_str().unwrap() {
        "system" => Role::System,
        "assistant" => Role::Assistant,
        _ => Role::User,
    };
    Message {
        role,
        content: json["content"].as_str().unwrap().to_string(),
    }
}

#[test]
fn real_greedy_ids_equal_transformers_on_exact() {
    let Some(model) = real(Compute::Exact) else {
        return;
    };
    for prompt in golden_json("smollm2_greedy.json")["prompts"]
        .as_array()
        .unwrap()
    {
        let ids = ids_of(&prompt["prompt_ids"]);
        assert_eq!(greedy(model, &ids, 64).0, ids_of(&prompt["new_ids"]));
        let nll = mean_nll(model, &ids);
        assert!(
            (nll - prompt["prompt_mean_nll"].as_f64().unwrap()).abs() < 1e-4,
            "{nll}"
        );
    }
}

/// The fast path's loss of precision, given the same text before each choice.
#[test]
fn real_fast_is_near_exact() {
    let (Some(fast), Some(exact)) = (real(Compute::Fast), real(Compute::Exact)) else {
        return;
    };
    for prompt in golden_json("smollm2_greedy.json")["prompts"]
        .as_array()
        .unwrap()
    {
        let (ids, new) = (ids_of(&prompt["prompt_ids"]), ids_of(&prompt["new_ids"]));
        let all: Vec<u32> = ids.iter().chain(&new).copied().collect();
        let logits = all_logits(fast, None, &all, MAX_BATCH_TOKENS);
        let likeliest = |row: &Vec<f32>| {
            (0..row.len())
                .max_by(|a, b| row[*a].total_cmp(&row[*b]))
                .unwrap() as u32
        };
        let agreed = logits[ids.len() - 1..]
            .iter()
            .zip(&new)
            .filter(|(row, id)| likeliest(row) == **id)
            .count();
        let (fast_nll, exact_nll) = (mean_nll(fast, &ids), mean_nll(exact, &ids));
        eprintln!(
            "fast agrees on {agreed} of {}; mean NLL exact {exact_nll:.4}, fast {fast_nll:.4}",
            new.len()
        );
        assert!(agreed >= 59, "{agreed} of {}", new.len());
        assert!(
            (fast_nll - exact_nll).abs() < 0.03,
            "{fast_nll} {exact_nll}"
        );
    }
}

#[test]
fn real_answers_questions() {
    // France alone is asked of the exact path: the likeliest two first tokens are so near that activations of bytes may
    // choose the other, and the answer then begins in French.
    for (compute, country, capital) in [
        (Compute::Exact, "France", "Paris"),
        (Compute::Fast, "Germany", "Berlin"),
        (Compute::Fast, "Italy", "Rome"),
    ] {
        let Some(model) = real(compute) else {
            return;
        };
        let question = format!("What is the capital of {country}?");
        let request = GenerateRequest::new(
            Prompt::Chat(vec![Message::user(question)]),
            Sampling {
                max_tokens: 32,
                ..Sampling::default()
            },
        );
        let completion = &model
            .generate(None, &[request], &mut Silent, &calm())
            .unwrap()[0];
        assert!(completion.text.contains(capital), "{completion:?}");
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
    if let Some(path) = real_path() {
        let info = Engine::inspect(&path).unwrap();
        assert_eq!(
            (
                info.parameters,
                info.quantization.as_str(),
                info.context_length
            ),
            (134_515_008, "Q4_1", 8192)
        );
    }
}
