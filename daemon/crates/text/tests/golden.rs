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

/// Compares lines of two texts and their score, with tabs between, bit for bit; counts them.
fn check_lines(lines: &str) -> usize {
    for line in lines.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [a, b, score] = fields[..] else {
            panic!("{line:?} has {} fields", fields.len());
        };
        let score: f64 = score.parse().expect("a score is a number");
        for (a, b) in [(a, b), (b, a)] {
            let found = rouge_l(&tokenize(a), &tokenize(b));
            assert_eq!(found.to_bits(), score.to_bits(), "{a:?} {b:?}");
        }
    }
    lines.lines().count()
}

#[test]
fn a_thousand_ascii_scores_equal_rouge_score() {
    let lines = include_str!("../../../../tests/golden/rouge/ascii.tsv");
    assert!(lines.is_ascii());
    assert_eq!(check_lines(lines), 1000);
}

/// Makes 5,000 other pairs where AUTODIDACT_TEST_ROUGE names a Python with rouge_score 0.1.2.
#[test]
fn five_thousand_other_ascii_scores_equal_rouge_score() {
    let Ok(python) = std::env::var("AUTODIDACT_TEST_ROUGE") else {
        return;
    };
    let script =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/golden/rouge/make_ascii.py");
    let made = std::process::Command::new(python)
        .arg(script)
        .args(["5000", "7"])
        .output()
        .expect("run Python");
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{said}");
    let lines = String::from_utf8(made.stdout).expect("ASCII is UTF-8");
    assert_eq!(check_lines(&lines), 5000);
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
