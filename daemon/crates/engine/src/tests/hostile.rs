//! Damaged and hostile model files: an error that names the place, never a panic, never an allocation beyond the file.

use super::*;
use crate::EngineError;

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
pub(super) struct Folder(PathBuf);

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

#[test]
fn gguf_and_safetensors_of_the_same_weights_are_the_same_model() {
    let folder = Folder::new("same");
    let path = folder.write("tiny.gguf", &tiny_as_gguf());
    let gguf = Engine::new(2, Compute::Exact).load(&path).unwrap();
    let hf = tiny(Compute::Exact, 2);
    assert_eq!(gguf.config.eos_ids[0], hf.config.eos_ids[0]);
    let ids = gguf
        .tokenizer()
        .encode("Write a story about an owl 123 🦉")
        .unwrap();
    assert_eq!(
        ids,
        hf.tokenizer()
            .encode("Write a story about an owl 123 🦉")
            .unwrap()
    );
    assert_eq!(
        all_logits(&gguf, None, &ids, 128),
        all_logits(&hf, None, &ids, 128)
    );
    let q = |model: &LoadedModel| {
        model.weights().unwrap().layers[1]
            .q_proj
            .to_vec2::<f32>()
            .unwrap()
    };
    assert_eq!(q(&gguf), q(&hf));
    let messages = [autodidact_domain::Message::user("Hi.")];
    assert_eq!(
        gguf.conversation_spans(&messages, true).unwrap(),
        hf.conversation_spans(&messages, true).unwrap()
    );
}

fn expect_error(path: &Path, part: &str) {
    match Engine::inspect(path) {
        Err(error) => {
            let text = error.to_string();
            assert!(
                text.contains(part) && text.contains(&path.display().to_string()),
                "{part:?} not in {text:?}"
            );
        }
        Ok(info) => panic!("{part}: accepted as {info:?}"),
    }
}

#[test]
fn faults_are_named_with_file_and_place() {
    let folder = Folder::new("faults");
    let good = tiny_as_gguf();
    expect_error(
        &folder.write("text.gguf", b"hello, this is no model at all"),
        "magic",
    );
    expect_error(&folder.write("empty.gguf", b""), "magic");
    expect_error(
        &folder.write("cut.gguf", &good[..good.len() - 100]),
        "bytes at offset",
    );
    expect_error(
        &folder.write("header.gguf", &good[..2000]),
        "tokenizer.ggml.tokens",
    );
    expect_error(&folder.write("early.gguf", &good[..100]), "left");
    let with = |at: usize, value: u64| {
        let mut bytes = good.clone();
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    expect_error(
        &folder.write("tensors.gguf", &with(8, u64::MAX)),
        "tensor count",
    );
    expect_error(
        &folder.write("fields.gguf", &with(16, 1 << 40)),
        "metadata count",
    );
    expect_error(
        &folder.write("key.gguf", &with(24, u64::MAX / 2)),
        "metadata key 0",
    );
    let missing = folder.0.join("missing.gguf");
    assert!(matches!(
        Engine::inspect(&missing),
        Err(EngineError::Io { .. })
    ));

    let mut other = GgufWriter::new();
    other.text("general.architecture", "mamba");
    expect_error(&folder.write("mamba.gguf", &other.bytes()), "mamba");
    let mut shape = GgufWriter::new();
    shape.text("general.architecture", "llama");
    shape.tensor("token_embd.weight", &[4, 4], &[0.0; 16]);
    expect_error(
        &folder.write("shape.gguf", &shape.bytes()),
        "llama.embedding_length",
    );
}

#[test]
fn a_config_that_is_not_run_is_refused() {
    let config: Json =
        serde_json::from_slice(&std::fs::read(golden_path("tiny/config.json")).unwrap()).unwrap();
    let folder = Folder::new("rope");
    for file in [
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ] {
        std::fs::copy(golden_path("tiny").join(file), folder.0.join(file)).unwrap();
    }
    let with = |key: &str, value: Json| {
        let mut config = config.clone();
        config[key] = value;
        folder.write("config.json", config.to_string().as_bytes());
        Engine::inspect(&folder.0)
    };
    assert!(with("rope_scaling", Json::Null).is_ok());
    assert!(
        with(
            "rope_parameters",
            serde_json::json!({"rope_type": "default", "rope_theta": 10000.0})
        )
        .is_ok()
    );
    for (key, value, part) in [
        (
            "rope_scaling",
            serde_json::json!({"rope_type": "llama3", "factor": 8.0}),
            "rope_scaling.low_freq_factor",
        ),
        (
            "rope_scaling",
            serde_json::json!({"type": "linear", "factor": -2.0}),
            "rope_scaling.factor",
        ),
        (
            "rope_scaling",
            serde_json::json!({"type": "yarn", "factor": 2.0}),
            "yarn",
        ),
        ("model_type", Json::from("mpt"), "mpt"),
        ("sliding_window", Json::from(0), "sliding_window"),
        ("hidden_act", Json::from("gelu"), "gelu"),
        ("attention_bias", Json::from(true), "attention_bias"),
        ("num_attention_heads", Json::from(0), "heads"),
        (
            "num_hidden_layers",
            Json::from(u64::MAX),
            "num_hidden_layers",
        ),
        ("hidden_size", Json::from(-3), "hidden_size"),
        ("num_key_value_heads", Json::from(3), "key-value heads"),
        ("vocab_size", Json::from(1000), "model.embed_tokens.weight"),
        ("eos_token_id", Json::from(5000), "special token id"),
    ] {
        let text = with(key, value).unwrap_err().to_string();
        assert!(text.contains(part), "{key}: {text}");
    }
}

/// Changes something in a copy of the tiny model's folder.
type Spoil<'a> = &'a dyn Fn(&Path);

/// What a refused model's error says: file, part, expected, found, advice.
fn refusal(path: &Path) -> [String; 5] {
    let Err(EngineError::ModelFile {
        file,
        part,
        expected,
        found,
        advice,
    }) = Engine::inspect(path)
    else {
        panic!("{}: {:?}", path.display(), Engine::inspect(path));
    };
    // What is refused when it is added is refused when it is loaded too.
    assert!(Engine::new(1, Compute::Fast).load(path).is_err());
    let file = file.file_name().unwrap().to_string_lossy().into_owned();
    [file, part, expected, found, advice.to_string()]
}

/// Changes a JSON file of a folder.
fn edit<'a>(name: &'a str, change: &'a dyn Fn(&mut Json)) -> impl Fn(&Path) + 'a {
    move |folder| {
        let path = folder.join(name);
        let mut json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut json);
        std::fs::write(&path, json.to_string()).unwrap();
    }
}

fn check_refusal(path: &Path, expect: [&str; 5]) {
    let found = refusal(path);
    for (found, expect) in found.iter().zip(expect) {
        assert!(
            found.contains(expect) && !expect.is_empty(),
            "{expect:?} is missing in {found:?}"
        );
    }
}

#[test]
fn a_gguf_file_names_its_own_tensors_and_fields() {
    let folder = Folder::new("gguf-parts");
    let refuse = |spoil: &dyn Fn(&mut GgufWriter), expect: [&str; 4]| {
        let mut writer = write_tiny();
        spoil(&mut writer);
        let path = folder.write("part.gguf", &writer.bytes());
        let [part, expected, found, advice] = expect;
        check_refusal(&path, ["part.gguf", part, expected, found, advice]);
    };
    let tensor = |writer: &GgufWriter, name: &str| {
        let names = writer.tensors.iter();
        names
            .map(|(name, ..)| name)
            .position(|n| n == name)
            .unwrap()
    };
    let damaged = "fetch it again";
    refuse(
        &|writer| {
            let at = tensor(writer, "blk.1.attn_q.weight");
            writer.tensors.remove(at);
        },
        ["blk.1.attn_q.weight", "a tensor [96, 96]", "none", damaged],
    );
    refuse(
        &|writer| {
            let at = tensor(writer, "blk.0.ffn_norm.weight");
            writer.tensors[at].1 = vec![48, 2];
        },
        ["blk.0.ffn_norm.weight", "shape [96]", "[2, 48]", damaged],
    );
    refuse(
        &|writer| writer.tensor("blk.9.attn_q.weight", &[2], &[0.0; 2]),
        [
            "blk.9.attn_q.weight",
            "only the tensors of llama",
            "too",
            "supported kind",
        ],
    );
    for (code, name) in [(16, "IQ2_XXS"), (39, "MXFP4"), (77, "element type 77")] {
        refuse(
            &|writer| {
                let at = tensor(writer, "blk.1.ffn_up.weight");
                writer.tensors[at].2 = code;
            },
            [
                "blk.1.ffn_up.weight",
                "Q4_0, Q4_1",
                name,
                "one of those quantisations",
            ],
        );
    }
    refuse(
        &|writer| writer.text("general.architecture", "mamba"),
        [
            "general.architecture",
            "llama, qwen2, qwen3, gemma3, phi3",
            "mamba",
            "supported kind",
        ],
    );
    let source = "one and the same source";
    let tokens = |count: usize| (0..count).map(|id| format!("t{id}")).collect::<Vec<_>>();
    refuse(
        &|writer| writer.texts("tokenizer.ggml.tokens", &tokens(2000)),
        ["tokenizer.ggml.tokens", "1 to 1024 texts", "2000", source],
    );
    refuse(
        &|writer| writer.integers("tokenizer.ggml.token_type", &[1; 1000]),
        [
            "tokenizer.ggml.token_type",
            "each of 1024 tokens",
            "1000 numbers",
            source,
        ],
    );
    refuse(
        &|writer| writer.texts("tokenizer.ggml.merges", &["Q zz".to_string()]),
        [
            "tokenizer.ggml.merges",
            "merges of known tokens",
            "zz",
            damaged,
        ],
    );
    refuse(
        &|writer| {
            let few = tokens(300);
            writer.integers("tokenizer.ggml.token_type", &vec![1; few.len()]);
            writer.texts("tokenizer.ggml.merges", &[]);
            writer.texts("tokenizer.ggml.tokens", &few);
        },
        ["tokenizer.ggml.tokens", "1024 rows", "300 tokens", source],
    );
    let template = "tokenizer.chat_template";
    let advice = "mend the template, or take it out";
    refuse(
        &|writer| writer.text(template, "{% for m in messages %}"),
        [template, "a Jinja template", "syntax error", advice],
    );
    refuse(
        &|writer| writer.text(template, "{{ raise_exception('no talk') }}"),
        [template, "a question and its answer", "no talk", advice],
    );
}

#[test]
fn a_folder_names_its_own_files_tensors_and_fields() {
    let folder = Folder::new("folder-parts");
    let refuse = |spoil: Spoil<'_>, expect: [&str; 5]| {
        for file in std::fs::read_dir(golden_path("tiny")).unwrap() {
            let path = file.unwrap().path();
            std::fs::copy(&path, folder.0.join(path.file_name().unwrap())).unwrap();
        }
        spoil(&folder.0);
        check_refusal(&folder.0, expect);
    };
    // Names and types of the same length, so that the header's length stays.
    let header = |from: &'static str, to: &'static str| {
        move |folder: &Path| {
            let path = folder.join("model.safetensors");
            let mut bytes = std::fs::read(&path).unwrap();
            let at = bytes
                .windows(from.len())
                .position(|part| part == from.as_bytes());
            let at = at.unwrap();
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
            std::fs::write(&path, bytes).unwrap();
        }
    };
    let (weights, damaged) = ("model.safetensors", "fetch it again");
    let norm = "model.layers.0.input_layernorm.weight";
    refuse(
        &header(norm, "model.layers.0.input_layernorm.wEight"),
        [weights, norm, "a tensor [96]", "none", damaged],
    );
    refuse(
        &edit("config.json", &|json| {
            json["intermediate_size"] = 200.into()
        }),
        [
            weights,
            "mlp.down_proj.weight",
            "shape [96, 200]",
            "[96, ",
            damaged,
        ],
    );
    refuse(
        &header("\"dtype\":\"F16\"", "\"dtype\":\"I16\""),
        [
            weights,
            ".weight",
            "F32, F16 or BF16",
            "I16",
            "quantised as GGUF",
        ],
    );
    refuse(
        &edit("config.json", &|json| json["model_type"] = "mpt".into()),
        [
            "config.json",
            "model_type",
            "gemma2",
            "mpt",
            "supported kind",
        ],
    );
    let source = "one and the same source";
    refuse(
        &edit("tokenizer.json", &|json| {
            json["model"]["vocab"]["strange"] = 1024.into()
        }),
        [
            "tokenizer.json",
            "model.vocab",
            "below vocab_size, which is 1024",
            "\"strange\"",
            source,
        ],
    );
    refuse(
        &edit("tokenizer.json", &|json| {
            json["model"]["merges"] = Json::Array(vec![]);
            let vocabulary = json["model"]["vocab"].as_object_mut().unwrap();
            vocabulary.retain(|_, id| id.as_u64().unwrap() < 400);
        }),
        [
            "tokenizer.json",
            "model.vocab",
            "1024 rows",
            "400 tokens",
            source,
        ],
    );
    refuse(
        &|folder| std::fs::write(folder.join("tokenizer.json"), "{}").unwrap(),
        [
            "tokenizer.json",
            "contents",
            "a tokenizer",
            "Model missing",
            damaged,
        ],
    );
    let advice = "mend the template, or take it out";
    refuse(
        &edit("tokenizer_config.json", &|json| {
            json["chat_template"] = "{{ messages[0] }".into()
        }),
        [
            "tokenizer_config.json",
            "chat_template",
            "a Jinja template",
            "syntax error",
            advice,
        ],
    );
    refuse(
        &|folder| {
            std::fs::write(
                folder.join("chat_template.jinja"),
                "{{ messages[0].content }}",
            )
            .unwrap();
        },
        [
            "chat_template.jinja",
            "template",
            "a question and its answer",
            "without the answer",
            advice,
        ],
    );
}
