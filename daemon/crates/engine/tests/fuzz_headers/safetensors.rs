//! Safetensors: the header of a small good folder, its entries changed before they are written, and its bytes after.

use std::panic::AssertUnwindSafe;
use std::path::Path;

use bolero::TypeGenerator;
use serde_json::{Map, Value as Json, json};

use super::changes::{Number, pick};
use super::{SECONDS, inspect_and_load};

const WIDTH: usize = 32;
const FEED_FORWARD: usize = 64;
const TOKENS: &[&str] = &["<end>", "H", "i", "e", "l", "o", ".", "Hi"];

/// A tensor's entry as it will be written: any JSON may stand in each place.
#[derive(Clone)]
struct Entry {
    name: String,
    dtype: Json,
    shape: Vec<Json>,
    offsets: Vec<Json>,
}

/// What the folder holds beside the weights.
fn write_rest(folder: &Path) -> usize {
    let vocabulary: Map<String, Json> = TOKENS
        .iter()
        .zip(0..)
        .map(|(token, id)| (token.to_string(), json!(id)))
        .collect();
    let end = json!({"id": 0, "content": TOKENS[0], "special": true, "single_word": false, "lstrip": false,
                     "rstrip": false, "normalized": false});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [end], "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "fuse_unk": false, "byte_fallback": false,
                  "vocab": vocabulary, "merges": [["H", "i"]]}
    });
    let config = json!({
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": TOKENS.len(),
        "hidden_size": WIDTH, "intermediate_size": FEED_FORWARD, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-5,
        "max_position_embeddings": 64, "tie_word_embeddings": false, "eos_token_id": 0
    });
    let files = [("tokenizer.json", tokenizer), ("config.json", config)];
    let write = |(name, json): (&str, Json)| {
        let text = json.to_string();
        std::fs::write(folder.join(name), &text).expect("write a file of the folder");
        text.len()
    };
    files.into_iter().map(write).sum()
}

fn good() -> Vec<Entry> {
    let layer = |part: &str| format!("model.layers.0.{part}.weight");
    let tensors = [
        (
            "model.embed_tokens.weight".to_string(),
            vec![TOKENS.len(), WIDTH],
            "F32",
            4,
        ),
        (
            "lm_head.weight".to_string(),
            vec![TOKENS.len(), WIDTH],
            "BF16",
            2,
        ),
        ("model.norm.weight".to_string(), vec![WIDTH], "F32", 4),
        (layer("input_layernorm"), vec![WIDTH], "F32", 4),
        (layer("post_attention_layernorm"), vec![WIDTH], "F32", 4),
        (layer("self_attn.q_proj"), vec![WIDTH, WIDTH], "F16", 2),
        (layer("self_attn.k_proj"), vec![WIDTH / 2, WIDTH], "F16", 2),
        (layer("self_attn.v_proj"), vec![WIDTH / 2, WIDTH], "F16", 2),
        (layer("self_attn.o_proj"), vec![WIDTH, WIDTH], "BF16", 2),
        (layer("mlp.gate_proj"), vec![FEED_FORWARD, WIDTH], "BF16", 2),
        (layer("mlp.up_proj"), vec![FEED_FORWARD, WIDTH], "F32", 4),
        (layer("mlp.down_proj"), vec![WIDTH, FEED_FORWARD], "F32", 4),
    ];
    let mut offset = 0;
    let entry = |(name, shape, dtype, width): (String, Vec<usize>, &str, usize)| {
        let end = offset + shape.iter().product::<usize>() * width;
        let offsets = vec![json!(offset), json!(end)];
        offset = end;
        Entry {
            name,
            dtype: json!(dtype),
            shape: shape.into_iter().map(|size| json!(size)).collect(),
            offsets,
        }
    };
    tensors.map(entry).into()
}

/// Writes the header; the objects are joined by hand, so that a name may come twice.
fn header(entries: &[Entry]) -> Vec<u8> {
    let entry = |entry: &Entry| {
        let object =
            json!({"dtype": entry.dtype, "shape": entry.shape, "data_offsets": entry.offsets});
        format!("{}:{object}", json!(entry.name))
    };
    let entries: Vec<String> = entries.iter().map(entry).collect();
    format!(
        "{{\"__metadata__\":{{\"format\":\"pt\"}},{}}}",
        entries.join(",")
    )
    .into_bytes()
}

/// What may stand where a number or a text should.
#[derive(Clone, Debug, TypeGenerator)]
enum Strange {
    Number(Number),
    Negative(i64),
    Fraction(f64),
    Text(String),
    Nothing,
    /// So many lists in one another.
    Nested(u16),
}

impl Strange {
    fn json(&self) -> Json {
        match self {
            Self::Number(number) => json!(number.value()),
            Self::Negative(number) => json!(number),
            Self::Fraction(number) => json!(number),
            Self::Text(text) => json!(text),
            Self::Nothing => Json::Null,
            // Far enough: serde_json reads 127 at most.
            Self::Nested(depth) => (0..depth % 160).fold(json!([]), |inner, _| json!([inner])),
        }
    }
}

#[derive(Clone, Debug, TypeGenerator)]
enum Change {
    Type(u16, TypeName),
    Size(u16, u16, Strange),
    Offset(u16, u16, Strange),
    Dimension(u16, Number),
    Name(u16, u16),
    Remove(u16),
    Twice(u16),
}

#[derive(Clone, Debug, TypeGenerator)]
enum TypeName {
    Known(u8),
    Any(Strange),
}

impl TypeName {
    fn json(&self) -> Json {
        // The format's own list (safetensors, `tensor.rs`, `Dtype`).
        const NAMES: [&str; 8] = ["F32", "F16", "BF16", "F64", "I64", "U8", "BOOL", "F8_E4M3"];
        match self {
            Self::Known(index) => json!(NAMES[usize::from(*index) % NAMES.len()]),
            Self::Any(strange) => strange.json(),
        }
    }
}

/// Changes to the written bytes.
#[derive(Clone, Debug, TypeGenerator)]
enum Damage {
    Length(Number),
    Byte(u16, u8),
    Cut(u16),
}

fn change(entries: &mut Vec<Entry>, change: &Change) {
    let count = entries.len();
    match change {
        Change::Type(index, name) => {
            if let Some(index) = pick(*index, count) {
                entries[index].dtype = name.json();
            }
        }
        Change::Size(index, at, strange) => {
            if let Some(index) = pick(*index, count)
                && let Some(at) = pick(*at, entries[index].shape.len())
            {
                entries[index].shape[at] = strange.json();
            }
        }
        Change::Offset(index, at, strange) => {
            if let Some(index) = pick(*index, count)
                && let Some(at) = pick(*at, entries[index].offsets.len())
            {
                entries[index].offsets[at] = strange.json();
            }
        }
        Change::Dimension(index, number) => {
            if let Some(index) = pick(*index, count) {
                entries[index].shape.insert(0, json!(number.value()));
            }
        }
        Change::Name(index, other) => {
            if let (Some(index), Some(other)) = (pick(*index, count), pick(*other, count)) {
                entries[index].name = entries[other].name.clone();
            }
        }
        Change::Remove(index) => {
            if let Some(index) = pick(*index, count) {
                entries.remove(index);
            }
        }
        Change::Twice(index) => {
            if let Some(index) = pick(*index, count) {
                entries.push(entries[index].clone());
            }
        }
    }
}

fn write(path: &Path, entries: &[Entry], data: usize, damages: &[Damage]) -> usize {
    let header = header(entries);
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(&header);
    let header = bytes.len();
    bytes.resize(header + data, 0x11);
    for damage in damages {
        match damage {
            Damage::Length(number) => {
                let length = bytes.len().min(8);
                bytes[..length].copy_from_slice(&number.value().to_le_bytes()[..length]);
            }
            Damage::Byte(at, byte) => {
                if let Some(at) = pick(*at, header.min(bytes.len())) {
                    bytes[at] = *byte;
                }
            }
            Damage::Cut(length) => bytes.truncate(usize::from(*length)),
        }
    }
    std::fs::write(path, &bytes).expect("write the file");
    bytes.len()
}

#[test]
fn safetensors_headers() {
    let folder = tempfile::tempdir().unwrap();
    let rest = write_rest(folder.path());
    let good = good();
    let data = good.last().and_then(|entry| entry.offsets[1].as_u64());
    let data = data.expect("an offset that is a number") as usize;
    let path = folder.path().join("model.safetensors");
    let bytes = write(&path, &good, data, &[]);
    autodidact_engine::Engine::inspect(folder.path())
        .expect("the folder that is spoilt below is good");
    inspect_and_load(folder.path(), bytes + rest);
    let place = AssertUnwindSafe((folder.path(), &path, &good));
    bolero::check!()
        .with_test_time(SECONDS)
        .with_type::<(Vec<Change>, Vec<Damage>)>()
        .for_each(|(changes, damages)| {
            let (folder, path, good) = *place;
            let mut entries = good.clone();
            for next in changes.iter().take(4) {
                change(&mut entries, next);
            }
            let damages = &damages[..damages.len().min(2)];
            let bytes = write(path, &entries, data, damages);
            inspect_and_load(folder, bytes + rest);
        });
}
