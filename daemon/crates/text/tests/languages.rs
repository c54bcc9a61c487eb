//! Languages of instructions as people write them.

use std::collections::BTreeMap;

use autodidact_text::detect_natural_language;
use serde::Deserialize;

#[derive(Deserialize)]
struct Line {
    language: String,
    text: String,
}

#[test]
fn instructions_of_seven_languages_are_told_apart() {
    let lines: Vec<Line> = include_str!("languages.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).expect("parse line"))
        .collect();
    let mut right: BTreeMap<&str, usize> = BTreeMap::new();
    for line in &lines {
        let found = detect_natural_language(&line.text).map(|language| language.code());
        *right.entry(&line.language).or_default() += usize::from(found == Some(&line.language));
    }
    assert_eq!(
        Vec::from_iter(right.keys().copied()),
        ["de", "en", "es", "fr", "ja", "ko", "zh"]
    );
    for (language, right) in right {
        let count = lines
            .iter()
            .filter(|line| line.language == language)
            .count();
        assert_eq!(count, 20);
        assert!(right * 100 >= 95 * count, "{language}: {right} of {count}");
    }
}

#[test]
fn a_text_without_letters_is_in_no_language() {
    for text in ["", "12 + 3 = ?", "。！？", " \n"] {
        assert_eq!(detect_natural_language(text), None, "{text:?}");
    }
}
