//! Heads of labels: with every method and family, from training to labels, and to other tools and back.

use autodidact_domain::{
    Body, ClassifyInput, ModelName, ModelRef, TrainOptions, TrainRequest, TrainTask,
};

use super::device::method_adapter;
use super::families::FAMILIES;
use super::*;
use crate::models::base::BaseWeights;
use crate::train::{Before, PackedBatch, TrainableModel};
use crate::{Adapter, EngineError, Pause};

const TASKS: [TrainTask; 2] = [
    TrainTask::SequenceClassification,
    TrainTask::TokenClassification,
];
const METHODS: [&str; 7] = [
    "lora", "qlora", "ia3", "adapter", "prompt", "prefix", "full",
];

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| name.to_string()).collect()
}

fn options(method: &str, task_type: TrainTask) -> TrainOptions {
    TrainOptions {
        method: method.into(),
        task_type,
        labels: match task_type {
            TrainTask::TokenClassification => names(&["B-BIRD", "I-BIRD", "O"]),
            _ => names(&["bird", "river"]),
        },
        num_virtual_tokens: 3,
        reduction_factor: 4.0,
        ..TrainOptions::default()
    }
}

/// Examples of a task: texts of two lengths, a label each, or sentences with a tag a word.
fn bodies(task: TrainTask) -> Vec<Body> {
    match task {
        TrainTask::TokenClassification => {
            let tagged = |tokens: &[&str], tags: &[&str]| Body::Tagged {
                tokens: names(tokens),
                tags: names(tags),
            };
            vec![
                tagged(
                    &["A", "grey", "heron", "stands"],
                    &["O", "B-BIRD", "I-BIRD", "O"],
                ),
                tagged(&["The", "river", "is", "deep"], &["O", "O", "O", "O"]),
                tagged(&["苍", "鹭", "站", "着"], &["B-BIRD", "I-BIRD", "O", "O"]),
                tagged(&["An", "owl"], &["O", "B-BIRD"]),
            ]
        }
        _ => {
            let labelled = |text: &str, label: &str| Body::Labelled {
                text: text.into(),
                label: label.into(),
            };
            vec![
                labelled("An owl sits in the old tree.", "bird"),
                labelled("The Rhine is long.", "river"),
                labelled("苍鹭站在水里。", "bird"),
                Body::instruction("Which is it?", "The Danube flows east.", "river"),
            ]
        }
    }
}

fn input(body: &Body) -> ClassifyInput {
    match body {
        Body::Tagged { tokens, .. } => ClassifyInput::Words(tokens.clone()),
        body => ClassifyInput::Text(body.labelled().expect("a label").0.into_owned()),
    }
}

fn labels(body: &Body) -> Vec<String> {
    match body {
        Body::Tagged { tags, .. } => tags.clone(),
        body => vec![body.labelled().expect("a label").1.to_string()],
    }
}

/// Trains to the end; gives the checkpoint and the losses.
fn train(
    model: &LoadedModel,
    options: &TrainOptions,
    stretch: u32,
) -> (autodidact_domain::Checkpoint, Vec<f64>) {
    let mut request = TrainRequest {
        model: ModelRef {
            model: ModelName::new("tiny").unwrap(),
            adapter: None,
        },
        options: options.clone(),
        examples: bodies(options.task_type),
        eval_examples: Vec::new(),
        seed: 5,
        resume: None,
        steps: stretch,
    };
    let mut losses = Vec::new();
    loop {
        let segment = model.train(request.clone(), None, &calm(), &Pause::never(), &mut |_| {});
        let segment = segment.unwrap();
        losses.extend(&segment.losses);
        if segment.is_finished() {
            return (segment.checkpoint, losses);
        }
        request.resume = Some(segment.checkpoint);
    }
}

/// The likeliest labels of each input.
fn classified(
    model: &LoadedModel,
    adapter: &Adapter,
    inputs: &[ClassifyInput],
) -> Vec<Vec<String>> {
    let found = model
        .classify(adapter, inputs, &mut || {}, &calm())
        .unwrap();
    let name = |scores: &autodidact_domain::LabelScores| {
        let best = scores.best().expect("within the context");
        found.labels[best].clone()
    };
    let units = found.results.iter();
    units
        .map(|units| units.iter().map(name).collect())
        .collect()
}

#[test]
fn every_method_learns_a_batch_by_heart_and_resumes_bit_for_bit() {
    let model = tiny(Compute::Exact, 2);
    for task in TASKS {
        for method in METHODS {
            let rate = match method {
                "full" => 2e-3,
                "prompt" | "prefix" | "ia3" => 5e-2,
                _ => 1e-2,
            };
            let options = TrainOptions {
                learning_rate: rate,
                max_steps: 60,
                batch_size: 4,
                warmup_ratio: 0.0,
                ..options(method, task)
            };
            let (checkpoint, losses) = train(&model, &options, 60);
            let last = losses.last().unwrap();
            assert!(*last < losses[0] / 4.0, "{method} {task:?}: {losses:?}");
            let adapter = Adapter::from_checkpoint(&model, &checkpoint).unwrap();
            let inputs: Vec<ClassifyInput> = bodies(task).iter().map(input).collect();
            let expected: Vec<Vec<String>> = bodies(task).iter().map(labels).collect();
            let found = classified(&model, &adapter, &inputs);
            assert_eq!(found, expected, "{method} {task:?}");
            // Alone, the last to the first.
            for (input, expected) in inputs.iter().zip(&expected).rev() {
                let alone = classified(&model, &adapter, std::slice::from_ref(input));
                assert_eq!(alone, std::slice::from_ref(expected), "{method}");
            }
            let (resumed, again) = train(&model, &options, 23);
            assert_eq!((again, &resumed.adapter), (losses, &checkpoint.adapter));
        }
    }
}

#[test]
fn fused_and_plain_training_and_labelling_agree_with_every_method_on_every_family() {
    for (family, _) in FAMILIES {
        let path = golden_path(&format!("families/{family}"));
        let model = Engine::new(2, Compute::Exact).load(&path).unwrap();
        let base = BaseWeights::Held(model.weights().unwrap());
        for task in TASKS {
            for method in METHODS {
                let options = options(method, task);
                let checkpoint = method_adapter(&model, &options);
                let recipe = crate::methods::from_options(&options, &model.config).unwrap();
                let plan = std::sync::Arc::new(recipe.plan().clone());
                let parameters = plan.read_tensors("", &checkpoint.adapter).unwrap();
                let encode = |body: &Body| model.encode_example(body, task, &options.labels);
                let examples = bodies(task);
                let examples = examples.iter().map(|body| encode(body).unwrap());
                let examples: Vec<_> = examples.collect();
                let before = Before::of(&plan, model.config.vocab_size);
                let batch = PackedBatch::new(&examples, before);
                let trainable =
                    TrainableModel::new(&model.config, &base, plan, batch.ids.len(), 256, 2);
                let trainable = trainable.unwrap();
                let (fused, gradients) = trainable
                    .loss_and_gradients(&parameters, &batch, 1)
                    .unwrap();
                let (plain, expected) = trainable
                    .plain_loss_and_gradients(&parameters, &batch, 1)
                    .unwrap();
                assert!(
                    (fused - plain).abs() < 1e-4,
                    "{family} {method}: {fused} {plain}"
                );
                let squares = |slices: &[Vec<f32>]| -> f64 {
                    let numbers = slices.iter().flatten();
                    numbers.map(|x| f64::from(*x) * f64::from(*x)).sum()
                };
                let apart: Vec<Vec<f32>> = gradients
                    .iter()
                    .zip(&expected)
                    .map(|(a, b)| a.iter().zip(b).map(|(a, b)| a - b).collect())
                    .collect();
                let apart = (squares(&apart) / squares(&expected)).sqrt();
                assert!(apart < 1e-3, "{family} {method}: gradients {apart} apart");

                // The mean of what the labels' probabilities say is the loss.
                let adapter = Adapter::from_checkpoint(&model, &checkpoint).unwrap();
                let inputs: Vec<ClassifyInput> = bodies(task).iter().map(input).collect();
                let found = model
                    .classify(&adapter, &inputs, &mut || {}, &calm())
                    .unwrap();
                let (mut sum, mut count) = (0.0, 0.0);
                for (body, units) in bodies(task).iter().zip(&found.results) {
                    for (label, scores) in labels(body).iter().zip(units) {
                        let number = found.labels.iter().position(|name| name == label);
                        sum -= f64::from(scores.0[number.unwrap()]);
                        count += 1.0;
                    }
                }
                let told = sum / count;
                assert!(
                    (told - plain).abs() < 1e-4,
                    "{family} {method}: {told} {plain}"
                );
            }
        }
    }
}

#[test]
fn heads_go_to_other_tools_and_come_back_with_their_labels() {
    let llama = golden_path("families/llama3");
    let phi = golden_path("families/phi3");
    for (path, methods) in [
        (llama, &METHODS[..]),
        (phi, &["lora", "ia3", "prompt", "prefix"]),
    ] {
        let model = Engine::new(2, Compute::Exact).load(&path).unwrap();
        for task in TASKS {
            for method in methods {
                let options = options(method, task);
                let checkpoint = method_adapter(&model, &options);
                let adapter = Adapter::from_checkpoint(&model, &checkpoint).unwrap();
                let inputs: Vec<ClassifyInput> = bodies(task).iter().map(input).collect();
                let own = classified(&model, &adapter, &inputs);
                let format = match *method {
                    "adapter" => "adapterhub",
                    _ => "peft",
                };
                let files = match model.export_adapter(&checkpoint, format) {
                    Ok(files) => files,
                    Err(error) => {
                        assert_eq!(*method, "full", "{error}");
                        continue;
                    }
                };
                let read = model.import_adapter(ModelName::new("tiny").unwrap(), &files);
                let read = read.unwrap_or_else(|error| panic!("{method} {task:?}: {error}"));
                assert_eq!(
                    read.meta.adapter_config["labels"],
                    serde_json::json!(options.labels)
                );
                let read = Adapter::from_checkpoint(&model, &read).unwrap();
                assert_eq!(classified(&model, &read, &inputs), own, "{method} {task:?}");
                // Without the labels' file PEFT's adapters have transformers' names for them.
                if format == "peft" {
                    let files: Vec<_> = files
                        .into_iter()
                        .filter(|f| f.name != "labels.json")
                        .collect();
                    let read = model
                        .import_adapter(ModelName::new("tiny").unwrap(), &files)
                        .unwrap();
                    assert_eq!(read.meta.adapter_config["labels"][1], "LABEL_1");
                }
                for format in ["gguf-lora", "nothing"] {
                    assert!(
                        model.export_adapter(&checkpoint, format).is_err(),
                        "{method}"
                    );
                }
            }
        }
    }
}

#[test]
fn whole_models_have_their_head_in_the_output_matrixs_place() {
    for (base, class) in [
        ("families/llama3", "Llama"),
        ("families/qwen2", "Qwen2"),
        ("families/gemma3", "Gemma3Text"),
        ("families/phi3/model.gguf", "Phi3"),
        ("families/mistral", "Mistral"),
    ] {
        let model = Engine::new(2, Compute::Exact)
            .load(&golden_path(base))
            .unwrap();
        for task in TASKS {
            for method in ["lora", "full"] {
                let options = options(method, task);
                let checkpoint = method_adapter(&model, &options);
                let folder = tempfile::tempdir().unwrap();
                let written = model.export_model(
                    &checkpoint,
                    "safetensors",
                    folder.path(),
                    &calm(),
                    &mut |_, _| {},
                );
                let written = written.unwrap_or_else(|error| panic!("{base} {method}: {error}"));
                assert!(written.logits_apart < 1e-5, "{base} {method}");
                let config = std::fs::read(folder.path().join("config.json")).unwrap();
                let config: Json = serde_json::from_slice(&config).unwrap();
                let kind = match task {
                    TrainTask::TokenClassification => "TokenClassification",
                    _ => "SequenceClassification",
                };
                assert_eq!(config["architectures"][0], format!("{class}For{kind}"));
                assert_eq!(config["id2label"]["1"], options.labels[1]);
                assert_eq!(config["label2id"][&options.labels[1]], 1);
                assert!(config["pad_token_id"].is_number());
                // Nobody continues texts with it.
                let error = Engine::new(1, Compute::Exact).load(folder.path()).err();
                assert!(error.is_some(), "{base}");
            }
        }
        let checkpoint = method_adapter(&model, &options("lora", TASKS[0]));
        let folder = tempfile::tempdir().unwrap();
        let error = model.export_model(
            &checkpoint,
            "gguf-f16",
            folder.path(),
            &calm(),
            &mut |_, _| {},
        );
        let told = error.expect_err("refused").to_string();
        assert!(told.contains("expected safetensors"), "{told}");
    }
}

#[test]
fn heads_of_absurd_shapes_are_refused_before_anything_is_made_of_them() {
    let model = tiny(Compute::Exact, 1);
    let settings = serde_json::json!({"peft_type": "LORA", "task_type": "SEQ_CLS", "r": 2, "lora_alpha": 2,
        "target_modules": ["q_proj"]});
    for shape in [[1usize << 40, 0], [0, 96], [1001, 1]] {
        let elements = shape[0] * shape[1];
        let header = serde_json::json!({"base_model.model.score.weight":
            {"dtype": "F32", "shape": shape, "data_offsets": [0, elements * 4]}});
        let header = header.to_string();
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.bytes());
        bytes.resize(bytes.len() + elements * 4, 0);
        let file = |name: &str, bytes| autodidact_domain::exchange::AdapterFile {
            name: name.into(),
            bytes,
        };
        let files = [
            file("adapter_config.json", settings.to_string().into_bytes()),
            file("adapter_model.safetensors", bytes),
        ];
        let read = model.import_adapter(ModelName::new("tiny").unwrap(), &files);
        let told = read.expect_err("refused").to_string();
        assert!(
            told.contains("score.weight") || told.contains("adapter_model"),
            "{told}"
        );
    }
}

#[test]
fn what_a_head_is_not_for_is_refused() {
    let model = tiny(Compute::Exact, 2);
    let refused = |result: Result<(), EngineError>, expect: &str| {
        let told = result.expect_err(expect).to_string();
        assert!(told.contains(expect), "{told}");
    };
    let [texts, words] = TASKS.map(|task| {
        let checkpoint = method_adapter(&model, &options("lora", task));
        Adapter::from_checkpoint(&model, &checkpoint).unwrap()
    });
    let plain = method_adapter(&model, &TrainOptions::default());
    let plain = Adapter::from_checkpoint(&model, &plain).unwrap();
    let classify = |adapter: &Adapter, input: ClassifyInput| {
        let found = model.classify(adapter, &[input], &mut || {}, &calm());
        found.map(drop)
    };
    let text = |text: &str| ClassifyInput::Text(text.into());
    let sentence = |words: &[&str]| ClassifyInput::Words(names(words));
    refused(classify(&plain, text("x")), "one that continues texts");
    refused(
        classify(&texts, sentence(&["x"])),
        "input 0: expected a text",
    );
    refused(classify(&words, text("x")), "input 0: expected words");
    refused(classify(&texts, text(" ")), "expected a text, found none");
    refused(
        classify(&words, sentence(&["x", ""])),
        "one that says nothing",
    );
    refused(
        classify(&words, sentence(&[])),
        "expected words, found none",
    );
    let told = model
        .session(Some(&texts))
        .err()
        .expect("refused")
        .to_string();
    assert!(told.contains("gives labels (SEQ_CLS)"), "{told}");
    let encode = |body: &Body, task, labels: &[&str]| {
        let encoded = model.encode_example(body, task, &names(labels));
        encoded.map(drop)
    };
    let [labelled, tagged] = TASKS.map(|task| bodies(task)[0].clone());
    refused(
        encode(&labelled, TASKS[1], &["O"]),
        "expected words with a tag each",
    );
    refused(
        encode(&tagged, TASKS[0], &["O"]),
        "expected a text with a label",
    );
    refused(
        encode(&labelled, TASKS[0], &["birds", "river"]),
        "labels: \"bird\" is none of them; did you mean \"birds\"?",
    );
}

#[test]
fn a_text_beyond_the_context_is_judged_by_what_fits_and_words_beyond_it_have_no_figures() {
    let model = tiny(Compute::Exact, 2);
    let long = vec!["heron".to_string(); model.config.context_length];
    let [texts, words] = TASKS.map(|task| {
        let checkpoint = method_adapter(&model, &options("prompt", task));
        Adapter::from_checkpoint(&model, &checkpoint).unwrap()
    });
    let classify = |adapter: &Adapter, input| {
        let found = model.classify(adapter, &[input], &mut || {}, &calm());
        found.unwrap().results.remove(0)
    };
    let whole = classify(&texts, ClassifyInput::Text(long.join(" ")));
    assert_eq!((whole.len(), whole[0].0.len()), (1, 2));
    let found = classify(&words, ClassifyInput::Words(long.clone()));
    assert_eq!(found.len(), long.len());
    assert!(found[0].best().is_some());
    assert!(found.last().unwrap().best().is_none());
}
