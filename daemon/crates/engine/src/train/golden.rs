//! Ten steps against PyTorch and PEFT on the same model, batches and first values (`tests/golden/make_tiny.py`, `make_methods.py`
//! and `make_heads.py`).

use std::path::{Path, PathBuf};

use autodidact_domain::checkpoint::CheckpointMeta;
use autodidact_domain::{ModelName, ModelRef, NamedTensor};
use candle_core::{Device, Tensor};
use serde_json::Value as Json;

use super::adamw::AdamW;
use super::parameters::Parameters;
use super::*;
use crate::models::files::ModelFiles;
use crate::models::weights::Weights;
use crate::tests::all_logits;
use crate::{Adapter, Compute, Engine};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../tests/golden")
        .join(name)
}

fn tensors(name: &str) -> Vec<NamedTensor> {
    let tensors = candle_core::safetensors::load(path(name), &Device::Cpu).expect("golden tensors");
    let read = |(name, tensor): (String, Tensor)| {
        let data = tensor
            .flatten_all()
            .and_then(|flat| flat.to_vec1())
            .expect("f32 elements");
        NamedTensor {
            name,
            shape: tensor.dims().to_vec(),
            data,
        }
    };
    tensors.into_iter().map(read).collect()
}

fn numbers(json: &Json) -> Vec<i64> {
    json.as_array()
        .expect("an array")
        .iter()
        .map(|x| x.as_i64().expect("a number"))
        .collect()
}

/// What a batch of a task with a head learns: a class a row, or a class a token.
fn classes(labels: &Json) -> Labels {
    match labels.as_i64() {
        Some(class) => Labels::Text(class as u32),
        None => {
            let class = |label: i64| u32::try_from(label).ok();
            Labels::Tokens(numbers(labels).into_iter().map(class).collect())
        }
    }
}

fn packed_classes(batch: &Json, before: Before) -> PackedBatch {
    let rows = |field: &str| batch[field].as_array().expect("rows").iter();
    let examples: Vec<EncodedExample> = rows("input_ids")
        .zip(rows("labels"))
        .map(|(ids, labels)| EncodedExample {
            ids: numbers(ids).into_iter().map(|id| id as u32).collect(),
            labels: classes(labels),
        })
        .collect();
    PackedBatch::new(&examples, before)
}

fn packed(batch: &Json, before: Before) -> PackedBatch {
    let rows = |field: &str| {
        batch[field]
            .as_array()
            .expect("rows")
            .iter()
            .map(numbers)
            .collect::<Vec<_>>()
    };
    let examples: Vec<EncodedExample> = rows("input_ids")
        .iter()
        .zip(rows("labels"))
        .map(|(ids, labels)| {
            let ids = ids.iter().map(|id| *id as u32).collect();
            let is_response = labels.iter().map(|label| *label != -100).collect();
            EncodedExample::of_responses(ids, is_response)
        })
        .collect();
    PackedBatch::new(&examples, before)
}

/// The Frobenius norm of the difference, relative to that of what is wanted.
fn distance(got: &NamedTensor, want: &NamedTensor) -> f64 {
    assert_eq!((&got.name, &got.shape), (&want.name, &want.shape));
    let norm = |values: &mut dyn Iterator<Item = f32>| {
        values
            .map(|x| f64::from(x) * f64::from(x))
            .sum::<f64>()
            .sqrt()
    };
    let difference = norm(
        &mut got
            .data
            .iter()
            .zip(&want.data)
            .map(|(got, want)| got - want),
    );
    difference / norm(&mut want.data.iter().copied())
}

/// One of PEFT's runs.
struct Case {
    name: String,
    /// The base's folder.
    base: PathBuf,
    method: &'static str,
    /// PEFT's settings of the adapter.
    settings: Json,
    /// The adapter before the first step and after the last.
    tensors: [Vec<NamedTensor>; 2],
    golden: Json,
}

impl Case {
    /// One of `make_tiny.py`'s.
    fn tiny(name: &str) -> Self {
        let golden = json(&format!("{name}.json"));
        let settings = ["r", "lora_alpha", "lora_dropout", "target_modules"];
        let settings = settings.map(|field| (field.to_string(), golden[field].clone()));
        Self {
            name: name.into(),
            base: path("tiny"),
            method: "lora",
            settings: Json::Object(settings.into_iter().collect()),
            tensors: ["init", "final"].map(|end| tensors(&format!("{name}_{end}.safetensors"))),
            golden,
        }
    }

    /// One of `make_methods.py`'s.
    fn method(name: &str) -> Self {
        let file = |file: &str| format!("methods/{name}/{file}");
        let golden = json(&file("steps.json"));
        let settings = json(&file("adapter_config.json"));
        Self {
            name: name.into(),
            base: path(golden["base"].as_str().expect("a folder")),
            method: match settings["peft_type"].as_str() {
                Some("IA3") => "ia3",
                Some("PROMPT_TUNING") => "prompt",
                Some("PREFIX_TUNING") => "prefix",
                _ => "lora",
            },
            settings,
            tensors: ["adapter_model", "final"]
                .map(|part| tensors(&file(&format!("{part}.safetensors")))),
            golden,
        }
    }

    /// One of `make_heads.py`'s.
    fn head(name: &str) -> Self {
        let file = |file: &str| format!("methods/{name}/{file}");
        let mut case = match path(&file("adapter_config.json")).exists() {
            true => Self::method(name),
            false => {
                let mut case = Self::full(name);
                case.tensors[0] = tensors(&file("init.safetensors"));
                let modules = case.settings["modules"].as_array_mut().expect("modules");
                modules.retain(|module| module != "score");
                case
            }
        };
        case.settings["task_type"] = case.golden["task_type"].clone();
        case.settings["labels"] = serde_json::json!(["LABEL_0", "LABEL_1", "LABEL_2"]);
        case
    }

    /// One of its runs of a prefix with a network, whose own numbers PEFT does not save.
    fn projection(name: &str) -> Self {
        let tensors = ["init", "final"]
            .map(|part| tensors(&format!("methods/{name}/encoder_{part}.safetensors")));
        Self {
            tensors,
            ..Self::method(name)
        }
    }

    /// One of its runs that train weights themselves, from the base's own on.
    fn full(name: &str) -> Self {
        let file = |file: &str| format!("methods/{name}/{file}");
        let golden = json(&file("steps.json"));
        let trained = tensors(&file("final.safetensors"));
        let modules: Vec<&str> = trained
            .iter()
            .filter_map(|tensor| tensor.name.strip_suffix(".weight"))
            .collect();
        Self {
            name: name.into(),
            base: path(golden["base"].as_str().expect("a folder")),
            method: "full",
            settings: serde_json::json!({ "modules": modules }),
            tensors: [Vec::new(), trained],
            golden,
        }
    }

    /// One of `make_bottleneck.py`'s.
    fn bottleneck(name: &str) -> Self {
        let file = |file: &str| format!("methods/{name}/{file}");
        let golden = json(&file("steps.json"));
        let renamed = |file: String| {
            let renamed = tensors(&file).into_iter().map(|mut tensor| {
                let own = format!(".{}.", crate::methods::BOTTLENECK_NAME);
                tensor.name = tensor.name.replace(&format!(".{name}."), &own);
                tensor
            });
            renamed.collect()
        };
        Self {
            name: name.into(),
            base: path(golden["base"].as_str().expect("a folder")),
            method: "adapter",
            settings: json(&file("adapter_config.json")),
            tensors: ["adapter", "final"].map(|part| renamed(file(&format!("{part}.safetensors")))),
            golden,
        }
    }

    fn checkpoint(&self, base_digest: Digest) -> Checkpoint {
        Checkpoint {
            meta: CheckpointMeta {
                method: self.method.into(),
                model: ModelName::new("tiny").expect("a name"),
                base_digest,
                adapter_config: self.settings.clone(),
                step: 0,
                total_steps: 0,
                trainer_state: Json::Null,
                promoted_from: None,
            },
            adapter: self.tensors[0].clone(),
            optimizer: Vec::new(),
        }
    }

    /// Trains as PEFT did.
    fn check_steps(&self) {
        let Self { name, golden, .. } = self;
        let (files, config, _) = ModelFiles::open(&self.base).expect("the base");
        let weights = Weights::load(&files, &config).expect("its weights");
        let weights = BaseWeights::from(weights);
        let recipe = methods::from_settings(self.method, &self.settings, &config);
        let plan = Arc::new(recipe.expect("PEFT's settings").plan().clone());
        let number = |field: &str| golden[field].as_f64().expect("a number");
        let options = TrainOptions {
            method: self.method.into(),
            weight_decay: number("weight_decay"),
            max_grad_norm: number("max_grad_norm"),
            ..TrainOptions::default()
        };
        let batches = golden["batches"].as_array().expect("batches").iter();
        let before = Before::of(&plan, config.vocab_size);
        let pack = match golden["head_logits"].is_array() {
            true => packed_classes,
            false => packed,
        };
        let batches: Vec<PackedBatch> = batches.map(|batch| pack(batch, before)).collect();
        let max_tokens = batches.iter().map(|batch| batch.ids.len()).max();
        let max_tokens = max_tokens.expect("there are batches");
        let model = TrainableModel::new(&config, &weights, plan.clone(), max_tokens, max_tokens, 2);
        let model = model.expect("threads");
        let parameters = match self.tensors[0].is_empty() {
            true => plan.drawn(1, &weights),
            false => plan.read_tensors("", &self.tensors[0]).expect("they fit"),
        };
        let parameters = Parameters::new(parameters).expect("tensors");
        let mut position = Position {
            step: 0,
            optimizer: AdamW::new(&parameters),
            parameters,
            evaluations: Vec::new(),
        };
        let request = TrainRequest {
            model: ModelRef {
                model: ModelName::new("tiny").expect("a name"),
                adapter: None,
            },
            options,
            examples: Vec::new(),
            eval_examples: Vec::new(),
            seed: 0,
            resume: None,
            steps: 0,
        };
        let steps = golden["steps"].as_array().expect("steps");
        assert_eq!(steps.len(), 10);
        for want in steps {
            let value = |field: &str| want[field].as_f64().expect("a number");
            let batch = std::slice::from_ref(&batches[value("batch") as usize]);
            let rate = value("lr");
            let Ok(figures) = step(&model, &mut position, batch, &request, &plan, rate) else {
                panic!("{name}: {want}")
            };
            let (loss, norm) = (figures.loss, figures.grad_norm);
            assert!(
                (loss - value("loss")).abs() < 1e-4,
                "{name}: loss {loss}, not {want}"
            );
            assert!(
                (norm / value("grad_norm") - 1.0).abs() < 1e-3,
                "{name}: norm {norm}, not {want}"
            );
        }
        let mut want = self.tensors[1].clone();
        want.sort_by(|a, b| a.name.cmp(&b.name));
        let got = plan.to_tensors("", position.parameters.into_values().expect("numbers"));
        assert_eq!(got.len(), want.len());
        for (got, want) in got.iter().zip(&want) {
            let distance = distance(got, want);
            assert!(distance < 1e-3, "{name}: {} is {distance} away", got.name);
        }
    }

    /// Labels a prompt with PEFT's adapter and head, or every one of its tokens.
    fn check_head(&self) {
        let want = self.golden["head_logits"].as_array().expect("logits");
        let ids = numbers(&self.golden["prompt_ids"]).into_iter();
        let ids: Vec<u32> = ids.map(|id| id as u32).collect();
        let model = Engine::new(2, Compute::Exact).load(&self.base);
        let model = model.expect("the base");
        let checkpoint = self.checkpoint(model.info().digest);
        let adapter = Adapter::from_checkpoint(&model, &checkpoint).expect("PEFT's adapter");
        let places = (0..ids.len()).collect();
        let logits =
            model.label_logits(&adapter, vec![(ids, places)], &mut || {}, &Interrupt::new());
        let logits = logits.expect("logits").concat().concat();
        assert_eq!(logits.len(), want.len(), "{}", self.name);
        for (got, want) in logits.iter().zip(want) {
            let want = want.as_f64().expect("a number");
            let apart = (f64::from(*got) - want).abs();
            assert!(apart < 1e-4, "{}: {got}, not {want}", self.name);
        }
    }

    /// Generates with PEFT's adapter.
    fn check_logits(&self) {
        let want = self.golden["last_logits"].as_array().expect("logits");
        let want: Vec<f64> = want.iter().map(|x| x.as_f64().expect("a number")).collect();
        let ids: Vec<u32> = numbers(&self.golden["prompt_ids"])
            .into_iter()
            .map(|id| id as u32)
            .collect();
        let model = Engine::new(2, Compute::Exact).load(&self.base);
        let model = model.expect("the base");
        let checkpoint = self.checkpoint(model.info().digest);
        let adapter = Adapter::from_checkpoint(&model, &checkpoint).expect("PEFT's adapter");
        let updates = model.updates_of(Some(&adapter)).expect("it fits");
        let apart = |updates| {
            let got = all_logits(&model, updates, &ids, 7);
            let pairs = got[ids.len() - 1].iter().zip(&want);
            pairs.fold(0f64, |most, (a, b)| most.max((f64::from(*a) - b).abs()))
        };
        let (with, without) = (apart(updates), apart(None));
        assert!(with < 1e-3, "{}: {with}", self.name);
        assert!(without > 1e-2, "{}: the base alone {without}", self.name);
    }
}

fn json(name: &str) -> Json {
    let text = std::fs::read(path(name)).expect("golden file");
    serde_json::from_slice(&text).expect("JSON")
}

#[test]
fn ten_steps_of_lora_equal_pefts() {
    for name in ["tiny_lora", "tiny_lora_all"] {
        Case::tiny(name).check_steps();
    }
}

#[test]
fn every_method_loads_what_peft_made_and_trains_as_peft_does() {
    for name in [
        "lora_patterns",
        "lora_regex",
        "lora_all_linear",
        "lora_bias",
        "lora_only_bias",
        "dora",
        "dora_biased",
        "ia3",
        "ia3_biased",
        "lora_modules_to_save",
        "lora_norms_to_save",
        "lora_linear_to_save",
        "prompt",
        "prompt_gemma",
        "prefix",
        "prefix_biased",
        "prefix_qwen3",
        "prefix_mistral",
        "prefix_gemma",
    ] {
        let case = Case::method(name);
        case.check_logits();
        case.check_steps();
    }
    let case = Case::projection("prefix_projection");
    case.check_logits();
    case.check_steps();
}

#[test]
fn heads_of_labels_load_what_peft_made_and_train_as_peft_does() {
    for name in [
        "seq_cls_lora",
        "seq_cls_gemma",
        "seq_cls_ia3",
        "seq_cls_prompt",
        "seq_cls_full",
        "token_cls_lora",
        "token_cls_qwen3",
        "token_cls_prompt",
    ] {
        let case = Case::head(name);
        case.check_head();
        case.check_steps();
    }
}

#[test]
fn bottlenecks_load_what_adapter_hub_made_and_train_as_it_does() {
    for name in ["houlsby", "pfeiffer", "pfeiffer_mistral"] {
        let case = Case::bottleneck(name);
        case.check_logits();
        case.check_steps();
    }
}

#[test]
fn weights_themselves_train_as_in_pytorch() {
    for name in ["full", "full_untied", "full_patterns"] {
        Case::full(name).check_steps();
    }
}

#[test]
fn settings_whose_arithmetic_is_not_ours_are_refused() {
    let case = Case::method("lora_patterns");
    let model = Engine::new(1, Compute::Exact).load(&case.base);
    let model = model.expect("the base");
    for (setting, value) in [
        ("lora_bias", Json::from(true)),
        ("init_lora_weights", Json::from("pissa")),
        ("fan_in_fan_out", Json::from(true)),
        ("modules_to_save", serde_json::json!(["lm_head"])),
        ("modules_to_save", serde_json::json!(["lm_heda"])),
        ("layer_replication", serde_json::json!([[0, 1]])),
        ("trainable_token_indices", serde_json::json!([1])),
        ("target_modules", serde_json::json!(["lm_head"])),
        ("rank_pattern", serde_json::json!({"k_proj": 1.5})),
        ("rank_pattern", serde_json::json!({})),
        ("alpha_pattern", serde_json::json!({"(": 1})),
        ("bias", Json::from("some")),
        ("bias", Json::from(1)),
        ("use_dora", Json::from(true)),
        ("layers_to_transform", serde_json::json!([0])),
        ("peft_type", Json::from("IA3")),
    ] {
        let mut checkpoint = case.checkpoint(model.info().digest);
        checkpoint.meta.adapter_config[setting] = value;
        match Adapter::from_checkpoint(&model, &checkpoint) {
            Err(EngineError::Adapter { .. }) => {}
            Err(other) => panic!("{setting}: {other}"),
            Ok(_) => panic!("{setting} is taken"),
        }
    }
}
