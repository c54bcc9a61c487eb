//! How byte-level vocabularies split text first, by every name that GGUF has for it, against llama.cpp.

use super::hostile::{Folder, write_tiny};
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

#[test]
fn texts_are_split_as_llama_cpp_splits_them() {
    let golden = golden_json("splits.json");
    let (tokens, merges) = (texts_of(&golden["tokens"]), texts_of(&golden["merges"]));
    let texts = texts_of(&golden["texts"]);
    let folder = Folder::new("splits");
    let mut tried = 0;
    for group in golden["groups"].as_array().unwrap() {
        for pre in texts_of(&group["pre"]) {
            let mut writer = write_tiny();
            writer.text("tokenizer.ggml.pre", &pre);
            writer.texts("tokenizer.ggml.tokens", &tokens);
            writer.texts("tokenizer.ggml.merges", &merges);
            let kinds = (1..=tokens.len()).map(|id| if id == tokens.len() { 3 } else { 1 });
            writer.integers("tokenizer.ggml.token_type", &kinds.collect::<Vec<_>>());
            for name in ["bos_token_id", "eos_token_id"] {
                writer.count(&format!("tokenizer.ggml.{name}"), tokens.len() as u32 - 1);
            }
            // Its special tokens are not of this vocabulary.
            writer.text(
                "tokenizer.chat_template",
                "{% for m in messages %}{{ m.content }}<|end|>{% endfor %}",
            );
            let is_embedding = |name: &str| name == "token_embd.weight";
            writer.tensors.retain(|(name, ..)| !is_embedding(name));
            let width = 96;
            let zeros = vec![0.0; tokens.len() * width];
            writer.tensor("token_embd.weight", &[tokens.len(), width], &zeros);
            let path = folder.write(&format!("{pre}.gguf"), &writer.bytes());
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
