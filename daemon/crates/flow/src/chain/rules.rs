//! The built-in rules on lengths, words and forms.

use autodidact_domain::verdict::Evidence;
use autodidact_domain::workflow::RulesSpec;
use autodidact_domain::{Language, Verdict};

use super::{ChainRecord, note};

/// Words for things that a text model can neither see nor do (the reference's list, with its Chinese counterpart).
const UNANSWERABLE_EN: [&str; 15] = [
    "image", "images", "graph", "graphs", "picture", "pictures", "photo", "photos", "file",
    "files", "map", "maps", "draw", "plot", "video",
];
const UNANSWERABLE_ZH: [&str; 12] = [
    "图片", "图像", "照片", "图表", "文件", "附件", "地图", "画一", "绘制", "视频", "音频", "链接",
];

pub(super) fn judge_instruction(spec: &RulesSpec, record: &ChainRecord) -> Option<Verdict> {
    let tokens = autodidact_text::tokenize(&record.instruction);
    let (min, max) = match record.language {
        Language::En => (spec.min_tokens_en, spec.max_tokens_en),
        Language::Zh => (spec.min_tokens_zh, spec.max_tokens_zh),
    };
    let length = || Evidence {
        score: Some(tokens.len() as f64),
        note: Some(format!("{min} to {max} tokens")),
        ..Evidence::default()
    };
    if (tokens.len() as u64) < u64::from(min) {
        return Some(Verdict::drop("rules", "too_short", length()));
    }
    if tokens.len() as u64 > u64::from(max) {
        return Some(Verdict::drop("rules", "too_long", length()));
    }
    let lower = record.instruction.to_lowercase();
    let blocked = spec
        .blocked_words
        .iter()
        .find(|word| contains_word(&tokens, &lower, &word.to_lowercase()));
    if let Some(word) = blocked {
        return Some(Verdict::drop("rules", "blocked_word", note(word.clone())));
    }
    let unanswerable = UNANSWERABLE_EN
        .iter()
        .chain(&UNANSWERABLE_ZH)
        .find(|word| contains_word(&tokens, &lower, word));
    unanswerable.map(|word| Verdict::drop("rules", "unanswerable", note(*word)))
}

/// Finds a word: a Latin one as a whole token, a phrase or a Chinese one anywhere.
fn contains_word(tokens: &[String], lower: &str, word: &str) -> bool {
    if word.chars().all(|c| c.is_ascii_alphanumeric()) {
        tokens.iter().any(|t| t == word)
    } else {
        lower.contains(word)
    }
}

/// The reference's instance filters.
pub(super) fn judge_instance(record: &ChainRecord) -> Option<Verdict> {
    let output = record.output.trim();
    let input = record.input.trim();
    let drop = |reason: &str, detail: &str| Some(Verdict::drop("rules", reason, note(detail)));
    if output.is_empty() {
        return drop("empty_output", "there is no answer");
    }
    if autodidact_text::normalize(output) == autodidact_text::normalize(input) {
        return drop("output_equals_input", "the answer repeats the input");
    }
    if autodidact_text::normalize(output) == autodidact_text::normalize(&record.instruction) {
        return drop(
            "output_equals_instruction",
            "the answer repeats the instruction",
        );
    }
    if output.ends_with([':', '：']) || input.ends_with([':', '：']) {
        return drop("ends_with_colon", "something should follow the colon");
    }
    None
}
