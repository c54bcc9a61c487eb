//! How byte-level vocabularies split text first, by every name that GGUF has for it, against llama.cpp.

use super::gguf_writer::{Folder, GgufWriter, write_tiny};
use super::*;

fn texts_of(json: &Json) -> Vec<String> {
    let texts = json.as_array().unwrap().iter();
    texts
        .map(|text| text.as_str().unwrap().to_string())
        .collect()
}

/// Tells whether a text has accents that stand after their letters.
fn has_accents(text: &str) -> bool {
    text.contains(|c| ('\u{300}'..='\u{36F}').contains(&c))
}

/// A model with another vocabulary in place of its own.
fn write(tokens: &[String], add_vocabulary: impl FnOnce(&mut GgufWriter)) -> Vec<u8> {
    const WIDTH: usize = 96;
    let mut writer = write_tiny();
    writer.texts("tokenizer.ggml.tokens", tokens);
    add_vocabulary(&mut writer);
    // Its own names special tokens that this vocabulary lacks.
    let end = tokens.last().unwrap();
    let template = format!("{{% for m in messages %}}{{{{ m.content }}}}{end}{{% endfor %}}");
    writer.text("tokenizer.chat_template", &template);
    let is_embedding = |name: &str| name == "token_embd.weight";
    writer.tensors.retain(|(name, ..)| !is_embedding(name));
    let zeros = vec![0.0; tokens.len() * WIDTH];
    writer.tensor("token_embd.weight", &[tokens.len(), WIDTH], &zeros);
    writer.bytes()
}

#[test]
fn texts_are_split_as_llama_cpp_splits_them() {
    let golden = golden_json("splits.json");
    let (tokens, merges) = (texts_of(&golden["tokens"]), texts_of(&golden["merges"]));
    let texts = texts_of(&golden["texts"]);
    let folder = Folder::new("splits");
    let mut tried = 0;
    for group in golden["groups"].as_array().unwrap() {
        for pre in texts_of(&group["pre"]) {
            let file = write(&tokens, |writer| {
                writer.text("tokenizer.ggml.pre", &pre);
                writer.texts("tokenizer.ggml.merges", &merges);
                let kinds = (1..=tokens.len()).map(|id| if id == tokens.len() { 3 } else { 1 });
                writer.integers("tokenizer.ggml.token_type", &kinds.collect::<Vec<_>>());
                for name in ["bos_token_id", "eos_token_id"] {
                    writer.count(&format!("tokenizer.ggml.{name}"), tokens.len() as u32 - 1);
                }
            });
            let path = folder.write(&format!("{pre}.gguf"), &file);
            let model = Engine::new(1, Compute::Fast).load(&path).unwrap();
            // Qwen's own tokenizer composes accents before anything else, as ours does and llama.cpp does not.
            let is_qwen = pre.contains("qwen");
            let texts = texts.iter().zip(group["ids"].as_array().unwrap());
            for (text, ids) in texts.filter(|(text, _)| !(is_qwen && has_accents(text))) {
                let found = model.tokenizer().encode(text).unwrap();
                assert_eq!(found, ids_of(ids), "{pre}: {text:?}");
                tried += 1;
            }
        }
    }
    assert!(tried > 2000, "{tried}");
}

#[test]
fn a_blank_before_the_text_is_where_llama_cpp_has_it() {
    let golden = golden_json("splits.json");
    let (texts, golden) = (texts_of(&golden["texts"]), &golden["sentence_piece"]);
    let tokens = texts_of(&golden["tokens"]);
    let scores = golden["scores"].as_array().unwrap().iter();
    let scores: Vec<f32> = scores.map(|score| score.as_f64().unwrap() as f32).collect();
    let folder = Folder::new("sentence-piece");
    for (prefix, lists) in golden["ids"].as_object().unwrap() {
        let file = write(&tokens, |writer| {
            writer.text("tokenizer.ggml.model", "llama");
            writer.numbers("tokenizer.ggml.scores", &scores);
            // Unknown, begin and end, bytes, pieces (llama.cpp, llama.h, llama_token_type).
            let kind = |id: usize| match id {
                0 => 2,
                1 | 2 => 3,
                3..259 => 6,
                _ => 1,
            };
            let kinds: Vec<i32> = (0..tokens.len()).map(kind).collect();
            writer.integers("tokenizer.ggml.token_type", &kinds);
            for (name, id) in [("unknown", 0), ("bos", 1), ("eos", 2)] {
                writer.count(&format!("tokenizer.ggml.{name}_token_id"), id);
            }
            writer.flag("tokenizer.ggml.add_space_prefix", prefix == "true");
        });
        let path = folder.write(&format!("{prefix}.gguf"), &file);
        let model = Engine::new(1, Compute::Fast).load(&path).unwrap();
        for (text, ids) in texts.iter().zip(lists.as_array().unwrap()) {
            let found = model.tokenizer().encode(text).unwrap();
            assert_eq!(found, ids_of(ids), "{prefix}: {text:?}");
        }
    }
}
