//! Architectures that candle-transformers has and our decoder has not: they generate and score, one sequence at a time.
//!
//! From Hugging Face folders, in f32. Adding one is a row of [`table::FOREIGN`].

mod table;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use serde_json::Value as Json;
use table::{FOREIGN, Row};

use super::files::ModelFiles;
use super::folder::read_json;
use crate::EngineError;
use crate::device::without_backtrace;

/// A model of candle-transformers with the keys and values of one sequence.
pub(crate) trait ForeignModel: Send {
    /// Reads the tokens `[1, count]` that follow the `position` tokens read before; gives the last one's logits.
    fn forward(&mut self, ids: &Tensor, position: usize) -> Result<Tensor>;

    /// Forgets the sequence.
    fn clear(&mut self) -> Result<()>;
}

/// Experts that a layer may have; published models have up to 512.
const MOST_EXPERTS: u64 = 4096;

/// What a folder's tensors are asked through, and the tensors that were given, by their names.
struct Weights<'a> {
    builder: VarBuilder<'a>,
    given: Given,
}

/// Tensors by their names; clones share one table.
type Given = Arc<Mutex<HashMap<String, Tensor>>>;

/// Tells whether an architecture is one of these.
pub(crate) fn is_foreign(architecture: &str) -> bool {
    find(architecture).is_some()
}

/// Names these architectures.
pub(crate) fn foreign_architectures() -> impl Iterator<Item = &'static str> {
    FOREIGN.iter().map(|row| row.name)
}

fn find(architecture: &str) -> Option<&'static Row> {
    FOREIGN.iter().find(|row| row.name == architecture)
}

/// Gives an architecture's `config.json` with what it calls otherwise, or leaves out, under the names that most have.
pub(crate) fn with_common_names(architecture: &str, config: &Json) -> Json {
    let mut config = config.clone();
    // Newer files keep these one level deeper, where candle-transformers does not look.
    for field in ["rope_theta", "partial_rotary_factor"] {
        if config[field].is_null() && config["rope_parameters"][field].is_number() {
            config[field] = config["rope_parameters"][field].clone();
        }
    }
    let windows = [&config["sliding_window"], &config["attention_window_size"]];
    let window = windows.into_iter().find_map(Json::as_u64);
    let window = window.filter(|_| config["use_sliding_window"] != false);
    if let Some(row) = find(architecture) {
        (row.rename)(&mut config);
    }
    // Windows are applied to the tokens of one call alone, and to every layer: the context ends where they would matter.
    if let (Some(window), Some(context)) = (window, config["max_position_embeddings"].as_u64()) {
        config["max_position_embeddings"] = context.min(window).into();
    }
    config
}

/// Builds a model from a folder's tensors.
///
/// # Errors
/// [`EngineError::ModelFile`] where its configuration or a tensor is not as candle-transformers wants it,
/// [`EngineError::Io`] when the files cannot be read any more.
pub(crate) fn build(
    architecture: &str,
    files: &ModelFiles,
) -> std::result::Result<Box<dyn ForeignModel>, EngineError> {
    build_of(architecture, files, Take::Read)
}

/// Checks configuration, names and shapes as [`build`] does, without reading a tensor.
///
/// # Errors
/// As [`build`].
pub(crate) fn check(
    architecture: &str,
    files: &ModelFiles,
) -> std::result::Result<(), EngineError> {
    build_of(architecture, files, Take::Pretend).map(|_| ())
}

fn build_of(
    architecture: &str,
    files: &ModelFiles,
    take: Take,
) -> std::result::Result<Box<dyn ForeignModel>, EngineError> {
    let refuse = |found: String| {
        let expected = format!("{architecture} as candle-transformers reads it");
        EngineError::unsupported(&files.path, "config.json", expected, found)
    };
    let Some(row) = find(architecture) else {
        return Err(refuse("one it does not have".to_string()));
    };
    let config = read_json(&files.path.join("config.json"))?;
    let mut config = with_common_names(architecture, &config);
    // What is not read would be left out without a word.
    let rope = [&config["rope_scaling"], &config["rope_parameters"]];
    let kinds = rope.map(|rope| rope["rope_type"].as_str().or(rope["type"].as_str()));
    let kind = kinds.into_iter().flatten().find(|kind| *kind != "default");
    if let Some(kind) = kind.filter(|kind| !row.rope_scalings.contains(kind)) {
        return Err(refuse(format!("rope scaling {kind}")));
    }
    // Newer files give Gemma's activation under both names, of which candle-transformers takes one alone.
    if let Some(config) = config.as_object_mut()
        && config.contains_key("hidden_activation")
    {
        config.remove("hidden_act");
    }
    // Tables are made for as many as the file says, before the first that is missing is noticed.
    for field in [
        "num_experts",
        "num_local_experts",
        "n_routed_experts",
        "n_shared_experts",
    ] {
        if let Some(count) = config[field].as_u64().filter(|count| *count > MOST_EXPERTS) {
            return Err(refuse(format!("{field} {count}, above {MOST_EXPERTS}")));
        }
    }
    let (fault, given) = (Mutex::new(None), Given::default());
    let is_tied = config["tie_word_embeddings"].as_bool().unwrap_or(true);
    let embedding = EMBEDDINGS
        .iter()
        .find(|name| is_tied && files.shape_of(name).is_some());
    let tensors = FolderTensors {
        files,
        take,
        embedding: embedding.copied(),
        factor: &|name| (row.factor)(&config, name),
        given: Given::clone(&given),
        fault: &fault,
    };
    let builder = VarBuilder::from_backend(Box::new(tensors), DType::F32, Device::Cpu);
    // Some of them take it for granted that every tensor is there.
    let built = catch_unwind(AssertUnwindSafe(|| {
        (row.build)(config.clone(), Weights { builder, given })
    }));
    let built = built.unwrap_or_else(|_| {
        let message = "a configuration that it does not expect, and panics on";
        Err(candle_core::Error::msg(message))
    });
    let fault = fault.into_inner().unwrap_or_else(PoisonError::into_inner);
    built.map_err(|error| fault.unwrap_or_else(|| refuse(without_backtrace(&error))))
}

/// What files call the embedding that stands for an output matrix they leave out.
const EMBEDDINGS: &[&str] = &[
    "model.embed_tokens.weight",
    "transformer.word_embeddings.weight",
];

/// What is made of a tensor that a model asks for.
#[derive(Clone, Copy)]
enum Take {
    /// It is read.
    Read,
    /// Zeros of its shape stand for it, which take no memory.
    Pretend,
}

/// A folder's tensors as candle-transformers asks for them.
struct FolderTensors<'a> {
    files: &'a ModelFiles,
    take: Take,
    /// The embedding, which stands for an output matrix that is not there.
    embedding: Option<&'a str>,
    /// What a tensor is multiplied by.
    factor: &'a (dyn Fn(&str) -> f64 + Sync),
    given: Given,
    /// The first tensor that was not as it should be, told as our own error.
    fault: &'a Mutex<Option<EngineError>>,
}

impl FolderTensors<'_> {
    fn find(&self, name: &str, shape: Option<&Shape>) -> std::result::Result<Tensor, EngineError> {
        let damaged = |expected: String, found: String| {
            EngineError::damaged(&self.files.path, name, expected, found)
        };
        let wanted = |shape: &Shape| format!("{:?}", shape.dims());
        let stored = match self.embedding {
            Some(embedding) if name == "lm_head.weight" && !self.contains_tensor(name) => embedding,
            _ => name,
        };
        let Some((found, _)) = self.files.shape_of(stored) else {
            let expected = shape.map_or_else(String::new, |shape| format!(" {}", wanted(shape)));
            return Err(damaged(format!("a tensor{expected}"), "none".into()));
        };
        if let Some(shape) = shape
            && shape.dims() != found
        {
            let expected = format!("shape {}", wanted(shape));
            return Err(damaged(expected, format!("{found:?}")));
        }
        Ok(match self.take {
            Take::Read => {
                let (shape, data) = self.files.read_f32(stored)?;
                let tensor = Tensor::from_vec(data, shape, &Device::Cpu)?;
                match (self.factor)(name) {
                    1.0 => tensor,
                    factor => (tensor * factor)?,
                }
            }
            Take::Pretend => {
                Tensor::zeros((), DType::F32, &Device::Cpu)?.broadcast_as(found.to_vec())?
            }
        })
    }

    fn give(&self, name: &str, shape: Option<&Shape>) -> Result<Tensor> {
        let tensor = self.find(name, shape).map_err(|error| {
            let text = error.to_string();
            let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
            fault.get_or_insert(error);
            candle_core::Error::msg(text)
        })?;
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        given.insert(name.to_string(), tensor.clone());
        Ok(tensor)
    }
}

impl SimpleBackend for FolderTensors<'_> {
    fn get(&self, shape: Shape, name: &str, _: Init, _: DType, _: &Device) -> Result<Tensor> {
        self.give(name, Some(&shape))
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        self.give(name, None)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.files.shape_of(name).is_some()
    }
}
