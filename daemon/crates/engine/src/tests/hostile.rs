//! Damaged and hostile model files: an error that names the place, never a panic, never an allocation beyond the file.

use super::gguf_writer::{Folder, GgufWriter, tiny_as_gguf, write_tiny};
use super::*;
use crate::EngineError;

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
    move |folder| edit_json(&folder.join(name), change)
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
        copy_golden("tiny", &folder.0);
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
