//! A `tokenizer.json` as the fields of GGUF.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value as Json;

use super::build::{BYTE, CONTROL, SENTENCE_PIECE_BLANK, USER_DEFINED};
use super::pre::PreTokenizer;
use crate::EngineError;
use crate::models::config::ModelConfig;
use crate::models::gguf_writer::Metadata;

/// Further token types of GGUF (`llama_token_type` in llama.h).
const NORMAL: f64 = 1.0;
const UNKNOWN: f64 = 2.0;
const UNUSED: f64 = 5.0;
/// What to do about a vocabulary that GGUF has no fields for.
const ADVICE: &str = "export it as safetensors, and convert it with llama.cpp's own tools";

/// Writes the vocabulary of a `tokenizer.json`; `tokenizer_config` names its padding token.
///
/// # Errors
/// [`EngineError::ModelFile`] where it splits, merges or stands for bytes in a way that GGUF has no name for.
pub(crate) fn write_vocabulary(
    folder: &Path,
    tokenizer: &Json,
    tokenizer_config: &Json,
    config: &ModelConfig,
    metadata: &mut Metadata,
) -> Result<(), EngineError> {
    let path = folder.join("tokenizer.json");
    let unfit = |part: &str, expected: &str, found: &Json| {
        EngineError::unfit(&path, part, expected, found.to_string(), ADVICE)
    };
    let model = &tokenizer["model"];
    if model["type"].as_str().unwrap_or("BPE") != "BPE" {
        return Err(unfit("model.type", "BPE", &model["type"]));
    }
    let Some(merges) = read_merges(model) else {
        return Err(unfit("model.merges", "pairs of tokens", &model["merges"]));
    };
    let vocabulary = Vocabulary::read(tokenizer, config);
    let decoder = tokenizer["decoder"].to_string();
    if decoder.contains("ByteLevel") {
        let pre = PreTokenizer::name_of(tokenizer).ok_or_else(|| {
            let expected = format!("to split as one of {}", PreTokenizer::names().join(", "));
            unfit("pre_tokenizer", &expected, &tokenizer["pre_tokenizer"])
        })?;
        metadata.text("tokenizer.ggml.model", "gpt2");
        metadata.text("tokenizer.ggml.pre", pre);
        let merges = merges.iter().map(|(left, right)| format!("{left} {right}"));
        let merges: Vec<String> = merges.collect();
        metadata.texts("tokenizer.ggml.merges", &merges);
    } else if decoder.contains(SENTENCE_PIECE_BLANK) {
        metadata.text("tokenizer.ggml.model", "llama");
        metadata.text("tokenizer.ggml.pre", "default");
        metadata.numbers("tokenizer.ggml.scores", &vocabulary.scores(&merges));
        metadata.flag("tokenizer.ggml.add_space_prefix", prefixes_blank(tokenizer));
    } else {
        let expected = "to make text of bytes as GPT-2 or SentencePiece do";
        return Err(unfit("decoder", expected, &tokenizer["decoder"]));
    }
    metadata.texts("tokenizer.ggml.tokens", &vocabulary.texts);
    let kinds: Vec<i32> = vocabulary.kinds.iter().map(|kind| *kind as i32).collect();
    metadata.integers("tokenizer.ggml.token_type", &kinds);
    for (key, id) in [
        ("unknown", vocabulary.id(&model["unk_token"])),
        ("padding", vocabulary.id(&tokenizer_config["pad_token"])),
    ] {
        if let Some(id) = id {
            metadata.count(&format!("tokenizer.ggml.{key}_token_id"), id);
        }
    }
    Ok(())
}

/// Reads merges as pairs: a text with a blank between, or two texts.
fn read_merges(model: &Json) -> Option<Vec<(String, String)>> {
    let pair = |merge: &Json| match merge {
        Json::String(text) => {
            let (left, right) = text.split_once(' ')?;
            Some((left.to_string(), right.to_string()))
        }
        pair => Some((pair[0].as_str()?.to_string(), pair[1].as_str()?.to_string())),
    };
    model["merges"].as_array()?.iter().map(pair).collect()
}

/// Tells whether a text is given a blank to begin with.
fn prefixes_blank(tokenizer: &Json) -> bool {
    let normalizer = tokenizer["normalizer"].to_string();
    let pre_tokenizer = &tokenizer["pre_tokenizer"];
    let prepends = matches!(
        pre_tokenizer["prepend_scheme"].as_str(),
        Some("always" | "first")
    );
    normalizer.contains("\"Prepend\"")
        || (pre_tokenizer["type"] == "Metaspace"
            && (prepends || pre_tokenizer["add_prefix_space"] == true))
}

/// Texts and kinds of tokens by id.
struct Vocabulary {
    texts: Vec<String>,
    kinds: Vec<f64>,
}

impl Vocabulary {
    /// Reads as many tokens as the embedding has rows; ids without a token are unused.
    fn read(tokenizer: &Json, config: &ModelConfig) -> Self {
        let count = config.vocab_size;
        let mut texts: Vec<String> = (0..count).map(|id| format!("[PAD{id}]")).collect();
        let mut kinds = vec![UNUSED; count];
        let model = &tokenizer["model"];
        let unknown = model["unk_token"].as_str();
        let falls_back = model["byte_fallback"] == true;
        let tokens = model["vocab"].as_object().into_iter().flatten();
        for (text, id) in tokens {
            let Some(id) = id.as_u64().map(|id| id as usize).filter(|id| *id < count) else {
                continue;
            };
            texts[id] = text.clone();
            kinds[id] = match text.as_str() {
                text if unknown == Some(text) => UNKNOWN,
                text if falls_back && is_byte(text) => BYTE,
                _ => NORMAL,
            };
        }
        for token in tokenizer["added_tokens"].as_array().into_iter().flatten() {
            let (id, text) = (token["id"].as_u64(), token["content"].as_str());
            let (Some(id), Some(text)) = (id.filter(|id| *id < count as u64), text) else {
                continue;
            };
            texts[id as usize] = text.to_string();
            if kinds[id as usize] != UNKNOWN {
                kinds[id as usize] = match token["special"] == true {
                    true => CONTROL,
                    false => USER_DEFINED,
                };
            }
        }
        Self { texts, kinds }
    }

    /// Finds a token that a text, or an object with its text, names.
    fn id(&self, token: &Json) -> Option<usize> {
        let text = token.as_str().or_else(|| token["content"].as_str())?;
        self.texts.iter().position(|known| known == text)
    }

    /// Makes SentencePiece's scores of the order of merges: what is merged first has the highest.
    fn scores(&self, merges: &[(String, String)]) -> Vec<f32> {
        let mut ranks: HashMap<String, usize> = HashMap::new();
        for (rank, (left, right)) in merges.iter().enumerate() {
            ranks.entry(format!("{left}{right}")).or_insert(rank);
        }
        let score = |text: &String| match ranks.get(text) {
            Some(rank) => -(*rank as f32),
            None => -(merges.len() as f32),
        };
        self.texts.iter().map(score).collect()
    }
}

fn is_byte(text: &str) -> bool {
    let hex = text
        .strip_prefix("<0x")
        .and_then(|rest| rest.strip_suffix('>'));
    hex.is_some_and(|hex| hex.len() == 2 && u8::from_str_radix(hex, 16).is_ok())
}

#[cfg(test)]
mod tests {
    use super::super::Tokenizer;
    use super::*;
    use crate::models::files::TextFiles;
    use crate::models::gguf::GgufHeader;

    const WORDS: [&str; 9] = [
        "\u{2581}",
        "a",
        "b",
        "c",
        "ab",
        "bc",
        "\u{2581}a",
        "\u{2581}ab",
        "<tag>",
    ];
    const SCORES: [f32; 9] = [-9.0, -9.0, -9.0, -9.0, -3.0, -1.0, -5.0, -2.0, 0.0];

    fn sentence_piece() -> Metadata {
        let mut texts: Vec<String> = ["<unk>", "<s>", "</s>"].map(String::from).to_vec();
        texts.extend((0..=255u8).map(|byte| format!("<0x{byte:02X}>")));
        let mut kinds = vec![BYTE as i32; texts.len()];
        kinds[..3].copy_from_slice(&[UNKNOWN as i32, CONTROL as i32, CONTROL as i32]);
        let mut scores = vec![0.0; texts.len()];
        texts.extend(WORDS.map(String::from));
        scores.extend(SCORES);
        kinds.resize(texts.len() - 1, NORMAL as i32);
        kinds.push(USER_DEFINED as i32);
        let mut metadata = Metadata::default();
        metadata.text("tokenizer.ggml.model", "llama");
        metadata.texts("tokenizer.ggml.tokens", &texts);
        metadata.integers("tokenizer.ggml.token_type", &kinds);
        metadata.numbers("tokenizer.ggml.scores", &scores);
        metadata.count("tokenizer.ggml.unknown_token_id", 0);
        metadata
    }

    fn read(metadata: &Metadata, config: &ModelConfig) -> (Tokenizer, GgufHeader) {
        let bytes = metadata.header(&[]);
        let path = Path::new("x.gguf");
        let header = GgufHeader::read_from(path, &bytes[..], bytes.len() as u64).unwrap();
        let text = TextFiles::Gguf(header.clone());
        let (tokenizer, _) = Tokenizer::from_files(path, &text, config).unwrap();
        (tokenizer, header)
    }

    /// Merges follow from scores and scores from merges; both ways text gives the same tokens.
    #[test]
    fn a_sentence_piece_vocabulary_goes_to_a_folder_and_back() {
        let config = ModelConfig {
            vocab_size: 3 + 256 + WORDS.len(),
            bos_id: Some(1),
            eos_ids: vec![2],
            add_bos: true,
            ..crate::methods::testing::config()
        };
        let (first, _) = read(&sentence_piece(), &config);
        let json = first.to_json(&config).unwrap();
        let text = TextFiles::HuggingFace {
            tokenizer: json.to_string().into_bytes(),
            tokenizer_config: Json::Null,
            template: None,
        };
        let (second, adds_bos) = Tokenizer::from_files(Path::new("x"), &text, &config).unwrap();
        assert!(adds_bos);
        let settings = first.config_json(&config, None, None);
        assert_eq!(settings["bos_token"], "<s>");
        let mut metadata = Metadata::default();
        write_vocabulary(Path::new("x"), &json, &settings, &config, &mut metadata).unwrap();
        let (third, header) = read(&metadata, &config);
        let (_, original) = read(&sentence_piece(), &config);
        for key in ["tokens", "token_type", "unknown_token_id"] {
            let key = format!("tokenizer.ggml.{key}");
            assert_eq!(header.metadata[&key], original.metadata[&key], "{key}");
        }
        for text in ["ab", "abc", "a b", "é", " a<tag>bc </s>", "", "cab 天"] {
            let ids = first.encode(text).unwrap();
            for other in [&second, &third] {
                assert_eq!(other.encode(text).unwrap(), ids, "{text:?}");
                assert_eq!(other.decode(&ids), first.decode(&ids));
                assert!(other.is_special(2) && !other.is_special(0));
            }
        }
    }

    #[test]
    fn other_kinds_of_vocabularies_are_refused() {
        let config = crate::methods::testing::config();
        let refused = |tokenizer: Json| {
            let mut metadata = Metadata::default();
            let path = Path::new("x");
            write_vocabulary(path, &tokenizer, &Json::Null, &config, &mut metadata)
                .unwrap_err()
                .to_string()
        };
        let unigram = serde_json::json!({"model": {"type": "Unigram"}});
        assert!(refused(unigram).contains("model.type: expected BPE"));
        let plain = serde_json::json!({"model": {"type": "BPE", "merges": []}, "decoder": {"type": "BPEDecoder"}});
        assert!(refused(plain).contains("decoder"));
        let broken = serde_json::json!({"model": {"type": "BPE", "merges": ["ab"]}});
        assert!(refused(broken).contains("model.merges"));
    }
}
