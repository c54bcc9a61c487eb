//! Architectures that candle-transformers has and our decoder has not: they generate and score, one sequence at a time.
//!
//! From Hugging Face folders, in f32. Adding one is a row of [`FOREIGN`].

use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use candle_transformers::models;
use serde_json::Value as Json;

use super::files::ModelFiles;
use super::folder::read_json;
use crate::EngineError;
use crate::device::without_backtrace;

/// A model of candle-transformers with the keys and values of one sequence.
pub(crate) trait ForeignModel: Send {
    /// Reads the tokens `[1, count]` that follow the `position` tokens read before; gives the last one's logits.
    fn forward(&mut self, ids: &Tensor, position: usize) -> Result<Tensor>;

    /// Forgets the sequence.
    fn clear(&mut self);
}

/// Experts that a layer may have; published models have up to 512.
const MOST_EXPERTS: u64 = 4096;

type Build = fn(Json, VarBuilder<'_>) -> Result<Box<dyn ForeignModel>>;

/// The table: `model_type` of `config.json`, and what builds the model.
const FOREIGN: &[(&str, Build)] = &[
    ("gemma", |config, weights| {
        let config = read(config)?;
        Ok(Box::new(models::gemma::Model::new(
            false, &config, weights,
        )?))
    }),
    ("gemma2", |config, weights| {
        let config = read(config)?;
        Ok(Box::new(models::gemma2::Model::new(
            false, &config, weights,
        )?))
    }),
    ("glm4", |config, weights| {
        let config = read(config)?;
        Ok(Box::new(models::glm4_new::ModelForCausalLM::new(
            &config, weights,
        )?))
    }),
    ("helium", |config, weights| {
        let config = read(config)?;
        Ok(Box::new(models::helium::Model::new(&config, weights)?))
    }),
    ("mixtral", |mut config, weights| {
        without_window(&mut config);
        set_missing(&mut config, "use_flash_attn", false.into());
        let model = models::mixtral::Model::new(&read(config)?, weights)?;
        Ok(Box::new(Mixtral {
            fresh: model.clone(),
            model,
        }))
    }),
    ("olmo", |config, weights| {
        let config = read(config)?;
        Ok(Box::new(models::olmo::Model::new(&config, weights)?))
    }),
    ("olmo2", |config, weights| {
        let config = read(config)?;
        Ok(Box::new(models::olmo2::Model::new(&config, weights)?))
    }),
    ("phi", |config, weights| {
        let config = read(config)?;
        Ok(Box::new(models::phi::Model::new(&config, weights)?))
    }),
    ("qwen2_moe", |mut config, weights| {
        without_window(&mut config);
        let config = read(config)?;
        Ok(Box::new(models::qwen2_moe::Model::new(&config, weights)?))
    }),
    ("qwen3_moe", |mut config, weights| {
        let layers = config["num_hidden_layers"].clone();
        set_missing(&mut config, "max_window_layers", layers);
        // Newer files have it under this name.
        let experts = config["num_local_experts"].clone();
        set_missing(&mut config, "num_experts", experts);
        let config = read(config)?;
        Ok(Box::new(models::qwen3_moe::ModelForCausalLM::new(
            &config, weights,
        )?))
    }),
    ("smollm3", |config, weights| {
        let config = read(config)?;
        Ok(Box::new(models::smol::smollm3::ModelForCausalLM::new(
            &config, weights,
        )?))
    }),
    ("starcoder2", |config, weights| {
        let config = read(config)?;
        if weights.contains_tensor("lm_head.weight") {
            candle_core::bail!("lm_head.weight of its own, where the embedding's is used");
        }
        Ok(Box::new(models::starcoder2::Model::new(&config, weights)?))
    }),
];

macro_rules! foreign {
    ($($model:ty),* $(,)?) => {
        $(impl ForeignModel for $model {
            fn forward(&mut self, ids: &Tensor, position: usize) -> Result<Tensor> {
                <$model>::forward(self, ids, position)
            }

            fn clear(&mut self) {
                self.clear_kv_cache();
            }
        })*
    };
}

foreign!(
    models::gemma::Model,
    models::gemma2::Model,
    models::glm4_new::ModelForCausalLM,
    models::helium::Model,
    models::olmo::Model,
    models::olmo2::Model,
    models::qwen2_moe::Model,
    models::qwen3_moe::ModelForCausalLM,
    models::smol::smollm3::ModelForCausalLM,
    models::starcoder2::Model,
);

/// Cannot forget, so that each sequence begins with a copy (of the tables; the tensors are shared).
struct Mixtral {
    fresh: models::mixtral::Model,
    model: models::mixtral::Model,
}

impl ForeignModel for Mixtral {
    fn forward(&mut self, ids: &Tensor, position: usize) -> Result<Tensor> {
        self.model.forward(ids, position)
    }

    fn clear(&mut self) {
        self.model = self.fresh.clone();
    }
}

/// Counts positions itself.
impl ForeignModel for models::phi::Model {
    fn forward(&mut self, ids: &Tensor, _position: usize) -> Result<Tensor> {
        models::phi::Model::forward(self, ids)
    }

    fn clear(&mut self) {
        self.clear_kv_cache();
    }
}

/// Sets what candle-transformers wants and files may leave out or give as null.
fn set_missing(config: &mut Json, field: &str, value: Json) {
    if config[field].is_null() {
        config[field] = value;
    }
}

/// Makes a missing window as wide as the context.
fn without_window(config: &mut Json) {
    let context = config["max_position_embeddings"].clone();
    set_missing(config, "sliding_window", context);
}

fn read<C: serde::de::DeserializeOwned>(config: Json) -> Result<C> {
    serde_json::from_value(config)
        .map_err(|error| candle_core::Error::msg(format!("config.json: {error}")))
}

/// Tells whether an architecture is one of these.
pub(crate) fn is_foreign(architecture: &str) -> bool {
    FOREIGN.iter().any(|(name, _)| *name == architecture)
}

/// Names these architectures.
pub(crate) fn foreign_architectures() -> impl Iterator<Item = &'static str> {
    FOREIGN.iter().map(|(name, _)| *name)
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
    let Some((_, build)) = FOREIGN.iter().find(|(name, _)| *name == architecture) else {
        return Err(refuse("one it does not have".to_string()));
    };
    let mut config = read_json(&files.path.join("config.json"))?;
    // Newer files keep these one level deeper, where candle-transformers does not look.
    for field in ["rope_theta", "partial_rotary_factor"] {
        if config[field].is_null() && config["rope_parameters"][field].is_number() {
            config[field] = config["rope_parameters"][field].clone();
        }
    }
    // Newer files give Gemma's activation under both names, of which candle-transformers takes one alone.
    if let Some(config) = config.as_object_mut()
        && config.contains_key("hidden_activation")
    {
        config.remove("hidden_act");
    }
    // Tables are made for as many as the file says, before the first that is missing is noticed.
    for field in ["num_experts", "num_local_experts"] {
        if let Some(count) = config[field].as_u64().filter(|count| *count > MOST_EXPERTS) {
            return Err(refuse(format!("{field} {count}, above {MOST_EXPERTS}")));
        }
    }
    let fault = Mutex::new(None);
    let tensors = FolderTensors {
        files,
        take,
        fault: &fault,
    };
    let weights = VarBuilder::from_backend(Box::new(tensors), DType::F32, Device::Cpu);
    let built = build(config, weights);
    let fault = fault.into_inner().unwrap_or_else(PoisonError::into_inner);
    built.map_err(|error| fault.unwrap_or_else(|| refuse(without_backtrace(&error))))
}

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
    /// The first tensor that was not as it should be, told as our own error.
    fault: &'a Mutex<Option<EngineError>>,
}

impl FolderTensors<'_> {
    fn find(&self, name: &str, shape: Option<&Shape>) -> std::result::Result<Tensor, EngineError> {
        let damaged = |expected: String, found: String| {
            EngineError::damaged(&self.files.path, name, expected, found)
        };
        let wanted = |shape: &Shape| format!("{:?}", shape.dims());
        let Some((found, _)) = self.files.shape_of(name) else {
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
                let (shape, data) = self.files.read_f32(name)?;
                Tensor::from_vec(data, shape, &Device::Cpu)?
            }
            Take::Pretend => {
                Tensor::zeros((), DType::F32, &Device::Cpu)?.broadcast_as(found.to_vec())?
            }
        })
    }

    fn give(&self, name: &str, shape: Option<&Shape>) -> Result<Tensor> {
        self.find(name, shape).map_err(|error| {
            let text = error.to_string();
            let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
            fault.get_or_insert(error);
            candle_core::Error::msg(text)
        })
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
