//! Builds a [`Tokenizer`] from `tokenizer.json` or from a GGUF's vocabulary.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value as Json;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::{NFC, NormalizerWrapper, Prepend, Replace, Sequence as Normalizers};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::{AddedToken, SplitDelimiterBehavior};

use super::pre::PreTokenizer;
use super::{TOKENIZER_ADVICE, Tokenizer};
use crate::EngineError;
use crate::models::config::ModelConfig;
use crate::models::gguf::{GgufHeader, Value};

/// The blank of SentencePiece vocabularies.
pub(super) const SENTENCE_PIECE_BLANK: char = '\u{2581}';
/// The pairs of tokens that make a token may take so many times the memory of the tokens; Gemma's 262,144 take about three.
const MOST_MERGES: usize = 16;
/// The longest token of a SentencePiece vocabulary: every cut of one is looked up.
const MOST_TOKEN_BYTES: usize = 512;
/// Token types of GGUF (`llama_token_type` in llama.h).
pub(crate) const CONTROL: f64 = 3.0;
pub(crate) const USER_DEFINED: f64 = 4.0;
pub(crate) const BYTE: f64 = 6.0;

type Fault = Box<dyn std::error::Error + Send + Sync>;

fn tokenizer_error(error: Fault) -> EngineError {
    EngineError::Tokenizer(error.to_string())
}

/// Reads `tokenizer.json`; tells also whether it puts the begin token before plain text.
pub(super) fn from_json(
    folder: &Path,
    bytes: &[u8],
    config: &ModelConfig,
) -> Result<(Tokenizer, bool), EngineError> {
    let path = folder.join("tokenizer.json");
    let damaged = |error: String| EngineError::damaged(&path, "contents", "a tokenizer", error);
    let mut inner =
        tokenizers::Tokenizer::from_bytes(bytes).map_err(|error| damaged(error.to_string()))?;
    let json: Json = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
    inner.with_truncation(None).map_err(tokenizer_error)?;
    inner.with_padding(None);
    let empty = inner.encode("", true).map_err(tokenizer_error)?;
    let adds_bos = config.bos_id.is_some() && empty.get_ids().first().copied() == config.bos_id;
    inner.with_post_processor(None::<tokenizers::PostProcessorWrapper>);
    inner.set_encode_special_tokens(true);
    let byte_level = json["decoder"].to_string().contains("ByteLevel");
    let sentence_piece = !byte_level && json["decoder"].to_string().contains(SENTENCE_PIECE_BLANK);
    let mut texts = vec![String::new(); config.vocab_size];
    // Those without a row are the special ones of other uses alone (Gemma 3's for images): text never becomes them.
    let added = inner.get_added_tokens_decoder();
    let is_special = |id: u32| added.get(&id).is_some_and(|token| token.special);
    for (text, id) in inner.get_vocab(true) {
        match texts.get_mut(id as usize) {
            Some(slot) => *slot = text,
            None if is_special(id) => {}
            None => {
                return Err(EngineError::unfit(
                    &path,
                    "model.vocab",
                    format!("ids below vocab_size, which is {}", config.vocab_size),
                    format!("{id} for {text:?}"),
                    TOKENIZER_ADVICE,
                ));
            }
        }
    }
    let pieces = (0..)
        .zip(&texts)
        .map(|(id, text)| piece(text, byte_level && !added.contains_key(&id), sentence_piece))
        .collect();
    let specials = added.into_iter().filter(|(_, token)| token.special);
    let specials = specials.map(|(id, token)| (token.content, id)).collect();
    let strips = strips_first_blank(&json["decoder"]);
    Ok((assemble(inner, pieces, specials, strips), adds_bos))
}

/// Tells whether a decoder takes the blank away that the first token of a text was given.
fn strips_first_blank(decoder: &Json) -> bool {
    let parts = decoder["decoders"].as_array();
    match decoder["type"].as_str() {
        Some("Sequence") => parts.is_some_and(|parts| parts.iter().any(strips_first_blank)),
        Some("Strip") => decoder["content"] == " " && decoder["start"] != 0,
        Some("Metaspace") => {
            decoder["prepend_scheme"] != "never" && decoder["add_prefix_space"] != false
        }
        _ => false,
    }
}

/// Builds the tokenizer from a GGUF's vocabulary.
pub(super) fn from_gguf(
    path: &Path,
    header: &GgufHeader,
    config: &ModelConfig,
) -> Result<Tokenizer, EngineError> {
    let field = |key: &str| header.metadata.get(key);
    let Some(Value::Texts(texts)) = field("tokenizer.ggml.tokens") else {
        return Err(EngineError::damaged(
            path,
            "tokenizer.ggml.tokens",
            "a list of texts",
            "none",
        ));
    };
    if texts.is_empty() || texts.len() > config.vocab_size {
        return Err(EngineError::unfit(
            path,
            "tokenizer.ggml.tokens",
            format!("1 to {} texts, the embedding's rows", config.vocab_size),
            texts.len().to_string(),
            TOKENIZER_ADVICE,
        ));
    }
    let kinds = match field("tokenizer.ggml.token_type") {
        None => vec![1.0; texts.len()],
        found => numbers(path, "tokenizer.ggml.token_type", found, texts.len())?.to_vec(),
    };
    let is_special = |id: usize| kinds[id] == CONTROL;
    let specials = (0..texts.len())
        .filter(|id| is_special(*id))
        .map(|id| (texts[id].clone(), id as u32))
        .collect();
    let model = field("tokenizer.ggml.model")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let sentence_piece = match model {
        "gpt2" => false,
        "llama" => true,
        other => {
            return Err(EngineError::unsupported(
                path,
                "tokenizer.ggml.model",
                "gpt2 or llama",
                other,
            ));
        }
    };
    let prefixes_blank = sentence_piece
        && !matches!(
            field("tokenizer.ggml.add_space_prefix"),
            Some(Value::Bool(false))
        );
    let mut inner = if sentence_piece {
        sentence_piece_from_gguf(path, header, texts, &kinds, prefixes_blank)?
    } else {
        byte_level_from_gguf(path, header, texts)?
    };
    add_user_defined(&mut inner, texts, &kinds)?;
    let pieces = texts
        .iter()
        .zip(&kinds)
        .map(|(text, kind)| {
            let byte_level = !sentence_piece && *kind != USER_DEFINED;
            piece(text, byte_level, sentence_piece)
        })
        .collect();
    Ok(assemble(inner, pieces, specials, prefixes_blank))
}

/// Adds the tokens that are cut out of a text before the rest of it is split and merged.
fn add_user_defined(
    inner: &mut tokenizers::Tokenizer,
    texts: &[String],
    kinds: &[f64],
) -> Result<(), EngineError> {
    let tokens = texts
        .iter()
        .zip(kinds)
        .filter(|(_, kind)| **kind == USER_DEFINED)
        .map(|(text, _)| AddedToken::from(text.clone(), false).normalized(false));
    inner.add_tokens(tokens).map_err(tokenizer_error)?;
    Ok(())
}

/// Shows a list of GGUF metadata that has a number for each token.
fn numbers<'a>(
    path: &Path,
    field: &str,
    found: Option<&'a Value>,
    count: usize,
) -> Result<&'a [f64], EngineError> {
    let found = match found {
        Some(Value::Numbers(numbers)) if numbers.len() == count => return Ok(numbers),
        Some(Value::Numbers(numbers)) => format!("{} numbers", numbers.len()),
        Some(_) => "something else".to_string(),
        None => "none".to_string(),
    };
    let expected = format!("a number for each of {count} tokens");
    Err(EngineError::unfit(
        path,
        field,
        expected,
        found,
        TOKENIZER_ADVICE,
    ))
}

fn byte_level_from_gguf(
    path: &Path,
    header: &GgufHeader,
    texts: &[String],
) -> Result<tokenizers::Tokenizer, EngineError> {
    let pre = header
        .metadata
        .get("tokenizer.ggml.pre")
        .and_then(Value::as_str)
        .unwrap_or("gpt-2");
    let row = PreTokenizer::named(pre).ok_or_else(|| {
        let known = PreTokenizer::names().join(", ");
        EngineError::unsupported(path, "tokenizer.ggml.pre", known, pre)
    })?;
    let Some(Value::Texts(merges)) = header.metadata.get("tokenizer.ggml.merges") else {
        return Err(EngineError::damaged(
            path,
            "tokenizer.ggml.merges",
            "a list of texts",
            "none",
        ));
    };
    let pair = |merge: &String| match merge.split_once(' ') {
        Some((left, right)) => Ok((left.to_string(), right.to_string())),
        None => Err(EngineError::damaged(
            path,
            "tokenizer.ggml.merges",
            "two texts with a blank between",
            merge,
        )),
    };
    let merges = merges.iter().map(pair).collect::<Result<Vec<_>, _>>()?;
    let bpe = BPE::builder()
        .vocab_and_merges(vocabulary(texts), merges)
        .ignore_merges(row.whole_words)
        .build();
    let bpe = bpe.map_err(|error| {
        EngineError::damaged(
            path,
            "tokenizer.ggml.merges",
            "merges of known tokens",
            error.to_string(),
        )
    })?;
    let mut inner = tokenizers::Tokenizer::new(bpe);
    let mut steps: Vec<PreTokenizerWrapper> = Vec::new();
    for pattern in row.patterns {
        let pattern = SplitPattern::Regex((*pattern).to_string());
        steps.push(
            Split::new(pattern, SplitDelimiterBehavior::Isolated, false)
                .map_err(tokenizer_error)?
                .into(),
        );
    }
    steps.push(ByteLevel::new(false, true, false).into());
    inner.with_pre_tokenizer(Some(PreTokenizers::new(steps)));
    if row.composes {
        inner
            .with_normalizer(Some(NormalizerWrapper::NFC(NFC)))
            .map_err(tokenizer_error)?;
    }
    Ok(inner)
}

/// Builds SentencePiece's BPE, whose merges follow from the scores: the best-scored whole is merged first.
fn sentence_piece_from_gguf(
    path: &Path,
    header: &GgufHeader,
    texts: &[String],
    kinds: &[f64],
    prefix_blank: bool,
) -> Result<tokenizers::Tokenizer, EngineError> {
    let field = "tokenizer.ggml.scores";
    let scores = numbers(path, field, header.metadata.get(field), texts.len())?;
    let mergeable = |id: usize| ![CONTROL, USER_DEFINED, BYTE].contains(&kinds[id]);
    let field = "tokenizer.ggml.tokens";
    if let Some(text) = texts.iter().find(|text| text.len() > MOST_TOKEN_BYTES) {
        let expected = format!("tokens of at most {MOST_TOKEN_BYTES} bytes");
        let found = format!("one of {}", text.len());
        return Err(EngineError::damaged(path, field, expected, found));
    }
    let mut merges = sentence_piece_merges(texts, mergeable).ok_or_else(|| {
        let expected =
            format!("pairs of tokens that make a token, of at most {MOST_MERGES} times its bytes");
        EngineError::damaged(path, field, expected, "more")
    })?;
    merges.sort_by(|a, b| {
        scores[b.0]
            .total_cmp(&scores[a.0])
            .then(a.1.cmp(&b.1))
            .then(a.2.cmp(&b.2))
    });
    let merges = merges
        .into_iter()
        .map(|(_, left, right)| (texts[left].clone(), texts[right].clone()))
        .collect();
    let mut builder = BPE::builder()
        .vocab_and_merges(vocabulary(texts), merges)
        .byte_fallback(true)
        .fuse_unk(true);
    let unknown = header
        .metadata
        .get("tokenizer.ggml.unknown_token_id")
        .and_then(Value::as_u64);
    if let Some(text) = unknown.and_then(|id| texts.get(id as usize)) {
        builder = builder.unk_token(text.clone());
    }
    let bpe = builder.build();
    let bpe = bpe.map_err(|error| {
        EngineError::damaged(
            path,
            "tokenizer.ggml.tokens",
            "a vocabulary",
            error.to_string(),
        )
    })?;
    let mut inner = tokenizers::Tokenizer::new(bpe);
    let blank = SENTENCE_PIECE_BLANK.to_string();
    let mut steps: Vec<NormalizerWrapper> = Vec::new();
    if prefix_blank {
        steps.push(Prepend::new(blank.clone()).into());
    }
    steps.push(Replace::new(" ", blank).map_err(tokenizer_error)?.into());
    inner
        .with_normalizer(Some(Normalizers::new(steps)))
        .map_err(tokenizer_error)?;
    Ok(inner)
}

/// Finds every pair of tokens that make a third: `(whole, left, right)`. None where those pairs would take more than
/// [`MOST_MERGES`] times the memory of the tokens: each of a thousand tokens "a", "aa", "aaa" and so on has as many pairs
/// as letters.
fn sentence_piece_merges(
    texts: &[String],
    is_mergeable: impl Fn(usize) -> bool,
) -> Option<Vec<(usize, usize, usize)>> {
    let bytes = |text: &String| text.len() + 2 * size_of::<String>();
    let mut room = MOST_MERGES * texts.iter().map(bytes).sum::<usize>();
    let ids: HashMap<&str, usize> = texts
        .iter()
        .enumerate()
        .map(|(id, text)| (text.as_str(), id))
        .collect();
    let mut merges = Vec::new();
    for (whole, text) in texts.iter().enumerate().filter(|(id, _)| is_mergeable(*id)) {
        for (cut, _) in text.char_indices().skip(1) {
            if let (Some(left), Some(right)) = (ids.get(&text[..cut]), ids.get(&text[cut..])) {
                room = room.checked_sub(bytes(text))?;
                merges.push((whole, *left, *right));
            }
        }
    }
    Some(merges)
}

fn vocabulary(texts: &[String]) -> tokenizers::models::bpe::Vocab {
    texts
        .iter()
        .enumerate()
        .map(|(id, text)| (text.clone(), id as u32))
        .collect()
}

fn assemble(
    inner: tokenizers::Tokenizer,
    pieces: Vec<Box<[u8]>>,
    mut specials: Vec<(String, u32)>,
    strips_first_blank: bool,
) -> Tokenizer {
    let mut is_special = vec![false; pieces.len()];
    specials.retain(|(text, id)| !text.is_empty() && (*id as usize) < pieces.len());
    specials.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then(a.cmp(b)));
    for (_, id) in &specials {
        is_special[*id as usize] = true;
    }
    Tokenizer {
        inner,
        pieces,
        specials,
        is_special,
        strips_first_blank,
    }
}

/// Tells the bytes that a token's text stands for.
fn piece(text: &str, byte_level: bool, sentence_piece: bool) -> Box<[u8]> {
    if byte_level && let Some(bytes) = text.chars().map(byte_of).collect::<Option<Vec<u8>>>() {
        return bytes.into();
    }
    if sentence_piece {
        let hex = text
            .strip_prefix("<0x")
            .and_then(|rest| rest.strip_suffix('>'));
        if let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            return Box::new([byte]);
        }
        return text.replace(SENTENCE_PIECE_BLANK, " ").into_bytes().into();
    }
    text.as_bytes().into()
}

/// Reads GPT-2's printable stand-in for a byte: itself where printable, else the n-th such byte is `U+0100 + n`.
fn byte_of(stand_in: char) -> Option<u8> {
    let printable = |byte: u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    match u32::from(stand_in) {
        code @ 0..=255 => Some(code as u8).filter(|byte| printable(*byte)),
        code => (0..=255u8)
            .filter(|byte| !printable(*byte))
            .nth(code as usize - 256),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_one_stand_in() {
        let mut found: Vec<u8> = (0..0x200)
            .filter_map(char::from_u32)
            .filter_map(byte_of)
            .collect();
        found.sort_unstable();
        assert_eq!(found, (0..=255).collect::<Vec<u8>>());
        assert_eq!(byte_of('Ġ'), Some(b' '));
        assert_eq!(byte_of('Ċ'), Some(b'\n'));
    }

    /// Each of 500 tokens "a", "aa" … has as many pairs as letters, and a token of a MiB as many cuts as bytes.
    #[test]
    fn tokens_made_of_each_other_without_end_are_refused() {
        let of_lengths = |lengths: &[usize]| {
            let texts: Vec<String> = lengths.iter().map(|length| "a".repeat(*length)).collect();
            let scores = Value::Numbers(vec![0.0; texts.len()]);
            let header = GgufHeader {
                metadata: [("tokenizer.ggml.scores".to_string(), scores)].into(),
                tensors: Default::default(),
            };
            let kinds = vec![1.0; texts.len()];
            let path = Path::new("model.gguf");
            sentence_piece_from_gguf(path, &header, &texts, &kinds, false).map(|_| ())
        };
        assert!(of_lengths(&[1, 2, 3, 4]).is_ok());
        let refused = |lengths: &[usize]| of_lengths(lengths).unwrap_err().to_string();
        let many: Vec<usize> = (1..=500).collect();
        assert!(refused(&many).contains("at most 16 times"));
        assert!(refused(&[1, 1 << 20]).contains("at most 512 bytes, found one of 1048576"));
    }

    #[test]
    fn sentence_piece_merges_by_score_and_falls_back_to_bytes() {
        let mut texts: Vec<String> = ["<unk>", "<s>", "</s>"].map(String::from).to_vec();
        texts.extend((0..=255u8).map(|byte| format!("<0x{byte:02X}>")));
        let first = texts.len() as u32;
        let words = [
            "\u{2581}",
            "a",
            "b",
            "c",
            "ab",
            "bc",
            "\u{2581}a",
            "\u{2581}ab",
        ];
        texts.extend(words.map(String::from));
        let kinds = (0..texts.len()).map(|id| match id {
            0 => 2.0,
            1 | 2 => CONTROL,
            id if id < first as usize => BYTE,
            _ => 1.0,
        });
        // "bc" scores above "ab", so that "abc" is a + bc.
        let scores = [-9.0, -9.0, -9.0, -9.0, -3.0, -1.0, -5.0, -2.0];
        let scores = std::iter::repeat_n(0.0, first as usize).chain(scores);
        let metadata = [
            ("model", Value::Text("llama".into())),
            ("token_type", Value::Numbers(kinds.collect())),
            ("scores", Value::Numbers(scores.collect())),
            ("unknown_token_id", Value::Unsigned(0)),
            ("tokens", Value::Texts(texts.clone())),
        ];
        let metadata = metadata.map(|(key, value)| (format!("tokenizer.ggml.{key}"), value));
        let header = GgufHeader {
            metadata: metadata.into(),
            tensors: Default::default(),
        };
        let config = ModelConfig {
            architecture: "llama".into(),
            vocab_size: texts.len(),
            hidden_size: 1,
            intermediate_size: 1,
            layers: 1,
            heads: 1,
            kv_heads: 1,
            head_dim: 2,
            rms_norm_eps: 1e-5,
            rope_theta: 1e4,
            context_length: 8,
            tie_word_embeddings: true,
            eos_ids: vec![2],
            bos_id: Some(1),
            add_bos: true,
            variant: Default::default(),
        };
        let tokenizer = from_gguf(Path::new("x"), &header, &config).unwrap();
        let id = |text: &str| texts.iter().position(|token| token == text).unwrap() as u32;
        for (text, expect) in [
            ("ab", vec![id("\u{2581}ab")]),
            ("abc", vec![id("\u{2581}a"), id("bc")]),
            ("a b", vec![id("\u{2581}a"), id("\u{2581}"), id("b")]),
            ("é", vec![id("\u{2581}"), id("<0xC3>"), id("<0xA9>")]),
        ] {
            assert_eq!(tokenizer.encode(text).unwrap(), expect, "{text:?}");
            assert_eq!(tokenizer.decode(&expect), text);
        }
        let attack = tokenizer.encode("</s>").unwrap();
        assert!(!attack.contains(&2));
    }

    #[test]
    fn sentence_piece_text_becomes_bytes() {
        assert_eq!(&*piece("\u{2581}the", false, true), b" the");
        assert_eq!(&*piece("<0xE4>", false, true), [0xE4]);
    }
}
