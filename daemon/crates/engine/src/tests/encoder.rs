//! Encoders against sentence-transformers, and the states of a generator as vectors.

use std::path::{Path, PathBuf};

use super::*;
use crate::LoadedEncoder;

/// Texts of one to some hundred tokens.
fn ragged(count: usize) -> Vec<String> {
    let words = ["cat", "the", "mat", "a hat", "sat on", "鲸鱼", "and"];
    let text = |index: usize| {
        let count = 1 + index * index % 23;
        let words = (0..count).map(|at| words[(index * 3 + at * 5) % words.len()]);
        words.collect::<Vec<_>>().join(" ")
    };
    (0..count).map(text).collect()
}

fn encoder(name: &str, threads: usize) -> LoadedEncoder {
    let folder = golden_path("encoder").join(name);
    Engine::new(threads, Compute::Fast)
        .load_encoder(&folder)
        .unwrap()
}

#[test]
fn an_encoder_that_the_memory_will_not_suffice_for_is_refused() {
    let folder = golden_path("encoder/bert");
    let load = |bytes| Engine::new(1, Compute::Fast).load_encoder_within(&folder, Some(bytes));
    let bytes = load(1 << 30).expect("it fits").bytes() as u64;
    let message = load(bytes / 2).err().expect("too little").to_string();
    for part in ["encoder/bert", "of weights", "take a smaller encoder"] {
        assert!(message.contains(part), "{part:?} is missing in {message:?}");
    }
    assert!(load(bytes + bytes / 8).is_ok());
}

fn embed(encoder: &LoadedEncoder, texts: &[String]) -> Vec<Vec<f32>> {
    encoder.embed(texts, &mut || {}, &calm()).unwrap().vectors
}

fn floats(json: &Json) -> Vec<f32> {
    let numbers = json.as_array().unwrap().iter();
    numbers.map(|x| x.as_f64().unwrap() as f32).collect()
}

#[test]
fn both_poolings_equal_the_reference() {
    let golden = golden_json("encoder/vectors.json");
    let texts: Vec<String> = serde_json::from_value(golden["texts"].clone()).unwrap();
    for (name, pooling) in [
        ("bert", crate::Pooling::Mean),
        ("roberta", crate::Pooling::Cls),
    ] {
        let encoder = encoder(name, 2);
        assert_eq!(encoder.pooling(), pooling);
        let vectors = embed(&encoder, &texts);
        for (index, vector) in vectors.iter().enumerate() {
            for (found, expect) in vector.iter().zip(floats(&golden[name][index])) {
                assert!(
                    (found - expect).abs() < 1e-5,
                    "{name} {index}: {found} {expect}"
                );
            }
            let length: f32 = vector.iter().map(|x| x * x).sum();
            assert!((length - 1.0).abs() < 1e-5, "{length}");
        }
    }
}

#[test]
fn a_vector_depends_on_its_own_text_alone() {
    let texts = ragged(300);
    for name in ["bert", "roberta"] {
        let (one, two) = (encoder(name, 1), encoder(name, 3));
        let all = embed(&one, &texts);
        assert_eq!(all, embed(&two, &texts), "threads");
        for text in [0, 7, 22] {
            let alone = embed(&two, &texts[text..=text]);
            for count in [8, 32] {
                let first = text - text % count;
                let among = embed(&two, &texts[first..first + count]);
                assert_eq!(
                    among[text - first],
                    alone[0],
                    "{name}: {text} among {count}"
                );
            }
            assert_eq!(all[text], alone[0], "{name}: {text} among all");
        }
    }
}

#[test]
fn unknown_tokens_are_counted_and_interrupts_heard() {
    let encoder = encoder("bert", 1);
    let texts = ["the cat".to_string(), "the ☃ cat 鲸".to_string()];
    let report = encoder.report(&texts).unwrap();
    assert_eq!((report.tokens, report.unknown_tokens), (6, 2));
    assert_eq!(
        encoder.embed(&texts, &mut || {}, &calm()).unwrap().report(),
        report
    );
    assert!(embed(&encoder, &[]).is_empty());
    let interrupt = Interrupt::new();
    interrupt.raise(autodidact_domain::InterruptReason::Pause);
    let refused = encoder.embed(&texts, &mut || {}, &interrupt);
    assert!(matches!(refused, Err(crate::EngineError::Interrupted)));
}

#[test]
fn an_encoder_is_inspected_as_one_and_not_loaded_as_a_generator() {
    let folder = golden_path("encoder/bert");
    let info = Engine::inspect(&folder).unwrap();
    assert_eq!(info.architecture, "bert");
    assert_eq!(
        (info.quantization.as_str(), info.context_length),
        ("F32", 24)
    );
    assert_eq!(encoder("bert", 1).info(), &info);
    let error = Engine::new(1, Compute::Exact).load(&folder).err().unwrap();
    assert!(error.to_string().contains("is an encoder"), "{error}");
    let error = Engine::new(1, Compute::Exact)
        .load_encoder(&golden_path("tiny"))
        .err()
        .unwrap();
    assert!(error.to_string().contains("model_type"), "{error}");
}

/// Copies a folder of the fixture, to be spoilt.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

fn spoilt(name: &str, spoil: impl Fn(&Path)) -> String {
    let folder =
        std::env::temp_dir().join(format!("autodidact-encoder-{}-{name}", std::process::id()));
    copy(&golden_path("encoder/bert"), &folder);
    spoil(&folder);
    let inspected = Engine::inspect(&folder).map(|_| ());
    let loaded = Engine::new(1, Compute::Exact).load_encoder(&folder);
    std::fs::remove_dir_all(&folder).unwrap();
    let message = inspected.expect_err(name).to_string();
    assert_eq!(loaded.err().unwrap().to_string(), message);
    message
}

/// Replaces text in the safetensors header by text of the same length.
fn rename(folder: &Path, from: &str, to: &str) {
    let path = folder.join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    assert_eq!(from.len(), to.len());
    let at = bytes
        .windows(from.len())
        .position(|window| window == from.as_bytes())
        .unwrap();
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    std::fs::write(path, bytes).unwrap();
}

fn edit(folder: &Path, file: &str, from: &str, to: &str) {
    let path = folder.join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from}");
    std::fs::write(path, text.replace(from, to)).unwrap();
}

#[test]
fn damaged_and_strange_folders_are_refused_by_file_and_tensor() {
    type Spoil = Box<dyn Fn(&Path)>;
    let cases: Vec<(&str, Spoil, Vec<&str>)> = vec![
        (
            "missing",
            Box::new(|folder| {
                rename(
                    folder,
                    "encoder.layer.1.output.dense.bias",
                    "encoder.layer.1.output.dense.bond",
                )
            }),
            vec![
                "model.safetensors",
                "encoder.layer.1.output.dense.bias",
                "[32]",
                "none",
            ],
        ),
        (
            "shape",
            Box::new(|folder| {
                edit(
                    folder,
                    "config.json",
                    "\"vocab_size\": 71",
                    "\"vocab_size\": 72",
                )
            }),
            vec!["embeddings.word_embeddings.weight", "[72, 32]", "[71, 32]"],
        ),
        (
            "cut",
            Box::new(|folder| {
                let path = folder.join("model.safetensors");
                let bytes = std::fs::read(&path).unwrap();
                std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
            }),
            vec!["model.safetensors", "within"],
        ),
        (
            "positions",
            Box::new(|folder| {
                edit(
                    folder,
                    "config.json",
                    "\"num_hidden_layers\": 2",
                    "\"num_hidden_layers\": 1",
                )
            }),
            vec!["encoder.layer.1", "only the tensors of bert"],
        ),
        (
            "pooling",
            Box::new(|folder| {
                edit(
                    folder,
                    "1_Pooling/config.json",
                    "mean_tokens\": true, \"pooling_mode_max_tokens\": false",
                    "mean_tokens\": false, \"pooling_mode_max_tokens\": true",
                )
            }),
            vec!["1_Pooling", "max_tokens"],
        ),
        (
            "dense",
            Box::new(|folder| edit(folder, "modules.json", "models.Normalize", "models.Dense")),
            vec!["modules.json", "Dense"],
        ),
        (
            "tokenizer",
            Box::new(|folder| edit(folder, "tokenizer.json", "\"##z\":70", "\"##z\":71")),
            vec!["tokenizer.json", "vocab_size 71", "id 71"],
        ),
        (
            "no-tokenizer",
            Box::new(|folder| std::fs::remove_file(folder.join("tokenizer.json")).unwrap()),
            vec!["tokenizer.json", "none"],
        ),
        (
            "activation",
            Box::new(|folder| edit(folder, "config.json", "\"gelu\"", "\"relu\"")),
            vec!["hidden_act", "relu"],
        ),
    ];
    for (name, spoil, parts) in cases {
        let message = spoilt(name, spoil);
        for part in parts {
            assert!(
                message.contains(part),
                "{name}: {part:?} is missing in {message:?}"
            );
        }
    }
}

#[test]
fn a_generator_embeds_by_its_states_each_text_for_itself() {
    let texts = ragged(32);
    let model = tiny(Compute::Fast, 2);
    let embed = |texts: &[String]| {
        let embeddings = model.embed(None, texts, &mut || {}, &calm()).unwrap();
        embeddings.vectors
    };
    let all = embed(&texts);
    for text in [0, 4, 22] {
        let alone = embed(&texts[text..=text]);
        assert_eq!(all[text], alone[0], "{text} among 32");
        let first = text.min(24);
        assert_eq!(embed(&texts[first..first + 8])[text - first], alone[0]);
        let length: f32 = alone[0].iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-5);
    }
    let long = vec!["the cat ".repeat(200), "x".into()];
    assert_eq!(embed(&long)[0], embed(&long[..1])[0]);
    let empty = model.embed(None, &[String::new()], &mut || {}, &calm());
    assert!(empty.unwrap_err().to_string().contains("text 0 is empty"));
}

/// The states that are pooled are the ones that the output matrix makes logits of, and a text's vector is their mean or the last.
#[test]
fn a_generators_states_give_its_logits_and_their_mean_its_embedding() {
    let model = tiny(Compute::Exact, 1);
    let text = "Name three rivers of Europe.";
    let ids: Vec<u32> = model.tokenizer.encode(text).unwrap();
    let logits = all_logits(&model, None, &ids, MAX_BATCH_TOKENS);
    let mut cache = model.decoder.new_cache(ids.len()).unwrap();
    let (mut batch, mut buffers) = (Batch::default(), Buffers::default());
    batch.push(0, &ids, 0);
    batch.wanted = (0..ids.len()).collect();
    let states = model
        .decoder
        .hidden_states(&model.team, &batch, &mut [&mut cache], None, &mut buffers)
        .unwrap();
    let weights = model.weights().unwrap();
    let head: Vec<Vec<f32>> = weights.embed_tokens.to_vec2().unwrap();
    for (state, logits) in states.chunks_exact(model.config.hidden_size).zip(&logits) {
        for (row, logit) in head.iter().zip(logits) {
            let dot: f32 = row.iter().zip(state).map(|(a, b)| a * b).sum();
            assert!((dot - logit).abs() < 1e-3, "{dot} {logit}");
        }
    }
    let mut mean = vec![0f32; model.config.hidden_size];
    for state in states.chunks_exact(mean.len()) {
        mean.iter_mut().zip(state).for_each(|(sum, x)| *sum += x);
    }
    let length = mean.iter().map(|x| x * x).sum::<f32>().sqrt();
    let embedded = model.embed(None, &[text.to_string()], &mut || {}, &calm());
    for (x, sum) in embedded.unwrap().vectors[0].iter().zip(&mean) {
        assert!((x - sum / length).abs() < 1e-5, "{x} {}", sum / length);
    }
    let last = &states[states.len() - mean.len()..];
    let length = last.iter().map(|x| x * x).sum::<f32>().sqrt();
    let long = "The cat sat on the mat. ".repeat(40);
    let embedded = model.embed_last(None, &[long, text.to_string()], &mut || {}, &calm());
    for (x, state) in embedded.unwrap().vectors[1].iter().zip(last) {
        assert!((x - state / length).abs() < 1e-5, "{x} {}", state / length);
    }
}

/// Set AUTODIDACT_TEST_EMBEDDER to the folder of all-MiniLM-L6-v2.
#[test]
fn the_real_encoder_agrees_with_sentence_transformers() {
    let Some(folder) = std::env::var_os("AUTODIDACT_TEST_EMBEDDER").map(PathBuf::from) else {
        eprintln!("skipped: AUTODIDACT_TEST_EMBEDDER names no folder of all-MiniLM-L6-v2");
        return;
    };
    let encoder = Engine::new(2, Compute::Fast).load_encoder(&folder).unwrap();
    let lines = golden_lines("minilm_vectors.jsonl");
    let texts: Vec<String> = lines
        .iter()
        .map(|line| line["text"].as_str().unwrap().to_string())
        .collect();
    let mut least = 1f64;
    for (vector, line) in embed(&encoder, &texts).iter().zip(&lines) {
        let expect = floats(&line["vector"]);
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter()
                .zip(b)
                .map(|(a, b)| f64::from(*a) * f64::from(*b))
                .sum()
        };
        let cosine = dot(vector, &expect) / (dot(vector, vector) * dot(&expect, &expect)).sqrt();
        least = least.min(cosine);
    }
    assert!(least >= 0.99999, "{least}");
    // Two thirds of Chinese text are unknown to it: the reason that embedders are chosen by language.
    let chinese = encoder
        .report(&[texts[1].clone(), texts[3].clone()])
        .unwrap();
    assert!(
        chinese
            .check(&autodidact_domain::EmbedderRef::Encoder(
                autodidact_domain::ModelName::new("minilm").unwrap()
            ))
            .is_err()
    );
}
