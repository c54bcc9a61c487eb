//! Scores against the reference packages' own, bit for bit.

use std::path::Path;

use autodidact_domain::Language;
use autodidact_text::{chrf, detect_language, rouge_l, tokenize};
use serde::Deserialize;

#[derive(Deserialize)]
struct Pair {
    a: String,
    b: String,
    score: f64,
}

fn pairs(file: &str) -> Vec<Pair> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../tests/golden")
        .join(file);
    let text = std::fs::read_to_string(path).expect("read golden pairs");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("parse golden pair"))
        .collect()
}

#[test]
fn rouge_l_equals_rouge_score() {
    let pairs = pairs("rouge/pairs.jsonl");
    assert!(pairs.len() >= 200);
    for Pair { a, b, score } in pairs {
        assert_eq!(
            rouge_l(&tokenize(&a), &tokenize(&b)).to_bits(),
            score.to_bits(),
            "{a:?} {b:?}"
        );
        assert_eq!(
            rouge_l(&tokenize(&b), &tokenize(&a)).to_bits(),
            score.to_bits(),
            "{b:?} {a:?}"
        );
    }
}

#[test]
fn chrf_equals_sacrebleu() {
    let pairs = pairs("chrf/pairs.jsonl");
    assert!(pairs.len() >= 20);
    for Pair { a, b, score } in pairs {
        assert_eq!(chrf(&a, &b).to_bits(), score.to_bits(), "{a:?} {b:?}");
    }
}

#[test]
fn the_example_instructions_are_in_their_languages() {
    for (name, language) in [("en", Language::En), ("zh", Language::Zh)] {
        for part in ["seeds", "heldout"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join(format!("../../../examples/data/{part}-{name}.jsonl"));
            for line in std::fs::read_to_string(path)
                .expect("read examples")
                .lines()
            {
                let record: serde_json::Value = serde_json::from_str(line).expect("parse example");
                let instruction = record["instruction"]
                    .as_str()
                    .expect("an instruction is text");
                assert_eq!(
                    detect_language(instruction),
                    Some(language),
                    "{instruction}"
                );
            }
        }
    }
}
