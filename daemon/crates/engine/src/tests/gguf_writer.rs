//! Writes the tiny model as GGUF, for tests that change a part of it.

use super::*;

/// Writes GGUF as llama.cpp's converter does, q and k rows interleaved.
pub(super) struct GgufWriter {
    /// Key, value type and value.
    fields: Vec<(String, u32, Vec<u8>)>,
    /// Name, sizes from the innermost, element type and data.
    pub(super) tensors: Vec<(String, Vec<u64>, u32, Vec<u8>)>,
}

impl GgufWriter {
    pub(super) fn new() -> Self {
        Self {
            fields: Vec::new(),
            tensors: Vec::new(),
        }
    }

    /// Adds a field, or puts it in place of the one that has the key.
    fn put(&mut self, key: &str, kind: u32, value: Vec<u8>) {
        match self.fields.iter_mut().find(|(name, _, _)| name == key) {
            Some(field) => (field.1, field.2) = (kind, value),
            None => self.fields.push((key.to_string(), kind, value)),
        }
    }

    pub(super) fn text(&mut self, key: &str, value: &str) {
        let mut bytes = Vec::new();
        put_text(&mut bytes, value);
        self.put(key, 8, bytes);
    }

    pub(super) fn count(&mut self, key: &str, value: u32) {
        self.put(key, 4, value.to_le_bytes().to_vec());
    }

    pub(super) fn number(&mut self, key: &str, value: f32) {
        self.put(key, 6, value.to_le_bytes().to_vec());
    }

    pub(super) fn texts(&mut self, key: &str, values: &[String]) {
        let mut bytes = 8u32.to_le_bytes().to_vec();
        bytes.extend((values.len() as u64).to_le_bytes());
        values.iter().for_each(|value| put_text(&mut bytes, value));
        self.put(key, 9, bytes);
    }

    pub(super) fn integers(&mut self, key: &str, values: &[i32]) {
        let mut bytes = 5u32.to_le_bytes().to_vec();
        bytes.extend((values.len() as u64).to_le_bytes());
        let values = values.iter().flat_map(|value| value.to_le_bytes());
        bytes.extend(values);
        self.put(key, 9, bytes);
    }

    pub(super) fn numbers(&mut self, key: &str, values: &[f32]) {
        let mut bytes = 6u32.to_le_bytes().to_vec();
        bytes.extend((values.len() as u64).to_le_bytes());
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self.put(key, 9, bytes);
    }

    pub(super) fn flag(&mut self, key: &str, value: bool) {
        self.put(key, 7, vec![u8::from(value)]);
    }

    /// Adds an f32 tensor; `shape` outermost first.
    pub(super) fn tensor(&mut self, name: &str, shape: &[usize], data: &[f32]) {
        let sizes = shape.iter().rev().map(|size| *size as u64).collect();
        let bytes = data.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.tensors.push((name.into(), sizes, 0, bytes));
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.fields.len() as u64).to_le_bytes());
        for (key, kind, value) in &self.fields {
            put_text(&mut out, key);
            out.extend(kind.to_le_bytes());
            out.extend(value);
        }
        let mut offset = 0u64;
        for (name, sizes, kind, bytes) in &self.tensors {
            put_text(&mut out, name);
            out.extend((sizes.len() as u32).to_le_bytes());
            sizes.iter().for_each(|size| out.extend(size.to_le_bytes()));
            out.extend(kind.to_le_bytes());
            out.extend(offset.to_le_bytes());
            offset += (bytes.len() as u64).next_multiple_of(32);
        }
        for (_, _, _, bytes) in &self.tensors {
            out.resize(out.len().next_multiple_of(32), 0);
            out.extend(bytes);
        }
        out
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// Tiny as GGUF: the same numbers in the other layout.
pub(super) fn tiny_as_gguf() -> Vec<u8> {
    write_tiny().bytes()
}

pub(super) fn write_tiny() -> GgufWriter {
    let model = tiny(Compute::Exact, 1);
    let config = &model.config;
    let json: Json =
        serde_json::from_slice(&std::fs::read(golden_path("tiny/tokenizer.json")).unwrap())
            .unwrap();
    let mut tokens = vec![String::new(); config.vocab_size];
    for (token, id) in json["model"]["vocab"].as_object().unwrap() {
        tokens[id.as_u64().unwrap() as usize] = token.clone();
    }
    for token in json["added_tokens"].as_array().unwrap() {
        tokens[token["id"].as_u64().unwrap() as usize] = token["content"].as_str().unwrap().into();
    }
    let merge = |merge: &Json| match merge {
        Json::Array(pair) => format!(
            "{} {}",
            pair[0].as_str().unwrap(),
            pair[1].as_str().unwrap()
        ),
        other => other.as_str().unwrap().to_string(),
    };
    let merges: Vec<String> = json["model"]["merges"]
        .as_array()
        .unwrap()
        .iter()
        .map(merge)
        .collect();
    let mut out = GgufWriter::new();
    out.text("general.architecture", "llama");
    for (key, value) in [
        ("block_count", config.layers),
        ("context_length", config.context_length),
        ("embedding_length", config.hidden_size),
        ("feed_forward_length", config.intermediate_size),
        ("attention.head_count", config.heads),
        ("attention.head_count_kv", config.kv_heads),
        ("rope.dimension_count", config.head_dim),
    ] {
        out.count(&format!("llama.{key}"), value as u32);
    }
    out.number(
        "llama.attention.layer_norm_rms_epsilon",
        config.rms_norm_eps,
    );
    out.number("llama.rope.freq_base", config.rope_theta);
    out.text("tokenizer.ggml.model", "gpt2");
    out.text("tokenizer.ggml.pre", "smollm");
    out.texts("tokenizer.ggml.tokens", &tokens);
    out.integers(
        "tokenizer.ggml.token_type",
        &(0..tokens.len())
            .map(|id| if id < 3 { 3 } else { 1 })
            .collect::<Vec<_>>(),
    );
    out.texts("tokenizer.ggml.merges", &merges);
    out.count("tokenizer.ggml.bos_token_id", 1);
    out.count("tokenizer.ggml.eos_token_id", 2);
    let hf: Json =
        serde_json::from_slice(&std::fs::read(golden_path("tiny/tokenizer_config.json")).unwrap())
            .unwrap();
    out.text(
        "tokenizer.chat_template",
        hf["chat_template"].as_str().unwrap(),
    );
    let mut add = |gguf: &str, name: &str, heads: Option<usize>| {
        let (shape, mut data) = model.files.read_f32(name).unwrap();
        if let Some(heads) = heads {
            data = interleave(&data, shape[0], shape[1], heads);
        }
        out.tensor(gguf, &shape, &data);
    };
    add("token_embd.weight", "model.embed_tokens.weight", None);
    add("output_norm.weight", "model.norm.weight", None);
    for layer in 0..config.layers {
        for (gguf, name, heads) in [
            ("attn_norm", "input_layernorm", None),
            ("ffn_norm", "post_attention_layernorm", None),
            ("attn_q", "self_attn.q_proj", Some(config.heads)),
            ("attn_k", "self_attn.k_proj", Some(config.kv_heads)),
            ("attn_v", "self_attn.v_proj", None),
            ("attn_output", "self_attn.o_proj", None),
            ("ffn_gate", "mlp.gate_proj", None),
            ("ffn_up", "mlp.up_proj", None),
            ("ffn_down", "mlp.down_proj", None),
        ] {
            add(
                &format!("blk.{layer}.{gguf}.weight"),
                &format!("model.layers.{layer}.{name}.weight"),
                heads,
            );
        }
    }
    out
}

/// As llama.cpp's converter permutes: `[heads, 2, half, in]` to `[heads, half, 2, in]`.
fn interleave(data: &[f32], rows: usize, width: usize, heads: usize) -> Vec<f32> {
    let head_dim = rows / heads;
    let mut out = Vec::new();
    for head in 0..heads {
        for i in 0..head_dim / 2 {
            for side in 0..2 {
                let row = head * head_dim + side * head_dim / 2 + i;
                out.extend(&data[row * width..][..width]);
            }
        }
    }
    out
}

/// A folder of its own, removed at the end.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("autodidact-engine-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
