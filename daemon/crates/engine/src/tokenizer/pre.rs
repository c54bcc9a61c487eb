//! How byte-level vocabularies split text before they merge, by the names that GGUF has for it.

use serde_json::Value as Json;

/// GPT-2's splitting pattern without its contractions' case folding (openai/gpt-2, encoder.py).
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// Llama 3's (meta-llama, tokenizer.json).
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Qwen 2's (Qwen, tokenizer.json): digits one by one.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// How a byte-level vocabulary splits text, by GGUF's `tokenizer.ggml.pre` (llama.cpp, `llama-vocab.cpp`).
pub(super) struct PreTokenizer {
    /// Its names; the first is written.
    names: &'static [&'static str],
    /// Cut one after the other.
    pub(super) patterns: &'static [&'static str],
    /// Whether text is brought to NFC first.
    pub(super) composes: bool,
    /// Whether a word that is a token is not merged.
    pub(super) whole_words: bool,
}

const PRE_TOKENIZERS: &[PreTokenizer] = &[
    PreTokenizer {
        names: &["smollm", "starcoder", "refact"],
        patterns: &[r"\p{N}", GPT2],
        composes: false,
        whole_words: false,
    },
    PreTokenizer {
        names: &["gpt-2", "gpt2"],
        patterns: &[GPT2],
        composes: false,
        whole_words: false,
    },
    PreTokenizer {
        names: &["llama-bpe", "llama3", "llama-v3", "pixtral", "falcon3"],
        patterns: &[LLAMA3],
        composes: false,
        whole_words: true,
    },
    PreTokenizer {
        names: &["smaug-bpe", "dbrx"],
        patterns: &[LLAMA3],
        composes: false,
        whole_words: false,
    },
    PreTokenizer {
        names: &["qwen2", "deepseek-r1-qwen"],
        patterns: &[QWEN2],
        composes: true,
        whole_words: false,
    },
];

/// Digits one by one, as `tokenizers` does without a pattern.
const DIGITS: &str = r"\p{N}";

impl PreTokenizer {
    /// Finds GGUF's `tokenizer.ggml.pre`.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        PRE_TOKENIZERS.iter().find(|row| row.names.contains(&name))
    }

    /// Lists all names.
    pub(super) fn names() -> Vec<&'static str> {
        let rows = PRE_TOKENIZERS.iter();
        rows.flat_map(|row| row.names).copied().collect()
    }

    /// Finds what GGUF calls the way in which a `tokenizer.json` splits.
    pub(super) fn name_of(tokenizer: &Json) -> Option<&'static str> {
        let patterns = patterns_of(&tokenizer["pre_tokenizer"])?;
        let composes = match tokenizer["normalizer"]["type"].as_str() {
            None => false,
            Some("NFC") => true,
            Some(_) => return None,
        };
        let whole_words = tokenizer["model"]["ignore_merges"] == true;
        let is_it = |row: &&Self| {
            row.patterns == patterns && row.composes == composes && row.whole_words == whole_words
        };
        PRE_TOKENIZERS.iter().find(is_it)?.names.first().copied()
    }
}

/// Lists the patterns of a byte-level pre-tokenizer; none where it does something else too.
fn patterns_of(step: &Json) -> Option<Vec<String>> {
    match step["type"].as_str()? {
        "Sequence" => {
            let steps = step["pretokenizers"].as_array()?.iter();
            let patterns: Option<Vec<Vec<String>>> = steps.map(patterns_of).collect();
            Some(patterns?.concat())
        }
        "Digits" if step["individual_digits"] == true => Some(vec![DIGITS.into()]),
        "Split" if step["behavior"] == "Isolated" && step["invert"] != true => {
            Some(vec![step["pattern"]["Regex"].as_str()?.into()])
        }
        "ByteLevel" if step["add_prefix_space"] == true => None,
        "ByteLevel" if step["use_regex"] == false => Some(Vec::new()),
        "ByteLevel" => Some(vec![GPT2.into()]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_ways_to_split_are_recognised_in_a_tokenizers_file() {
        let check = |tokenizer: Json, expect: Option<&str>| {
            assert_eq!(PreTokenizer::name_of(&tokenizer), expect, "{tokenizer}");
        };
        let byte_level = |use_regex: bool| {
            let prefix = false;
            json!({"type": "ByteLevel", "add_prefix_space": prefix, "use_regex": use_regex})
        };
        let split = |pattern: &str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
        let all = |steps: Vec<Json>| json!({"type": "Sequence", "pretokenizers": steps});
        check(json!({"pre_tokenizer": byte_level(true)}), Some("gpt-2"));
        let digits = json!({"type": "Digits", "individual_digits": true});
        let smollm = all(vec![digits, byte_level(true)]);
        check(json!({"pre_tokenizer": smollm}), Some("smollm"));
        let llama = all(vec![split(LLAMA3), byte_level(false)]);
        let whole = json!({"ignore_merges": true});
        check(
            json!({"pre_tokenizer": llama, "model": whole}),
            Some("llama-bpe"),
        );
        check(json!({"pre_tokenizer": llama}), Some("smaug-bpe"));
        let qwen = all(vec![split(QWEN2), byte_level(false)]);
        let nfc = json!({"type": "NFC"});
        check(
            json!({"pre_tokenizer": qwen, "normalizer": nfc}),
            Some("qwen2"),
        );
        check(json!({"pre_tokenizer": qwen}), None);
        check(
            json!({"pre_tokenizer": all(vec![split("x"), byte_level(false)])}),
            None,
        );
        check(json!({"pre_tokenizer": {"type": "Whitespace"}}), None);
        let prefix = json!({"type": "ByteLevel", "add_prefix_space": true});
        check(json!({"pre_tokenizer": prefix}), None);
    }
}
