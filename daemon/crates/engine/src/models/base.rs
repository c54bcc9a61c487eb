//! A base's weights as training reads them: held in f32, or held in bf16 or kept as the files have them and turned to f32 a layer
//! or a block of rows at a time (QLoRA, Dettmers et al. 2023, with the file's own quantisation).

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use autodidact_domain::training::keeps_base_quantised;
use autodidact_domain::{BaseDtype, TrainOptions};
use candle_core::{DType, Device, Tensor};
use half::bf16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use super::config::ModelConfig;
use super::files::ModelFiles;
use super::tensor_names::{EMBEDDING, HEAD};
use super::weights::{LayerWeights, Weights};
use crate::EngineError;
use crate::methods::Target;
use crate::ops::storage::Reading;

/// Rows of a stored matrix that one task reads and turns to f32.
const ROWS_PER_TASK: usize = 1024;

/// The weights of a base.
#[derive(Clone)]
pub enum BaseWeights {
    /// In f32, on the processor or a device.
    Held(Arc<Weights>),
    /// The matrices in bf16, on the processor.
    Rounded(Arc<Weights>),
    /// In the files, quantised as they are. The operating system keeps what it read of them.
    Stored(Stored),
}

/// Weights in their files.
#[derive(Clone)]
pub struct Stored {
    files: Arc<ModelFiles>,
    config: Arc<ModelConfig>,
    norm: Tensor,
}

impl BaseWeights {
    /// Leaves the weights in their files.
    ///
    /// # Errors
    /// [`EngineError::Io`] when a file cannot be read.
    pub(crate) fn stored(
        files: &Arc<ModelFiles>,
        config: &ModelConfig,
    ) -> Result<Self, EngineError> {
        Ok(Self::Stored(Stored {
            files: files.clone(),
            config: Arc::new(config.clone()),
            norm: LayerWeights::read_norm(files, config, "model.norm.weight")?,
        }))
    }

    /// Tells whether a run's options hold the base like this.
    pub fn is_for(&self, options: &TrainOptions) -> bool {
        let is_stored = keeps_base_quantised(&options.method);
        match self {
            Self::Stored(_) => is_stored,
            Self::Rounded(_) => !is_stored && options.dtype == BaseDtype::BFloat16,
            Self::Held(_) => !is_stored && options.dtype == BaseDtype::Float32,
        }
    }

    /// Tells the bytes that they take in this machine's memory as long as they are held.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Held(weights) if !weights.embed_tokens.device().is_cpu() => 0,
            Self::Held(weights) | Self::Rounded(weights) => {
                let layers = weights.layers.iter().flat_map(LayerWeights::tensors);
                let others = [&weights.embed_tokens, &weights.norm].into_iter();
                let tensors = layers.chain(others).chain(&weights.lm_head);
                let bytes = |tensor: &Tensor| tensor.elem_count() * tensor.dtype().size_in_bytes();
                tensors.map(bytes).sum::<usize>() as u64
            }
            Self::Stored(_) => 0,
        }
    }

    /// Tells the bytes that computing with a base that is rounded or left in its files takes: a layer and a block of the vocabulary
    /// in f32, and in the file's own form while they are read, which has 16 bits a number or fewer.
    pub(crate) fn working_bytes_of(config: &ModelConfig, block: usize) -> u64 {
        let matrix = |target: Target| {
            let (inputs, outputs) = target.widths(config);
            inputs * outputs
        };
        let layer: usize = Target::ALL.into_iter().map(matrix).sum();
        let block = block.min(config.vocab_size) * config.hidden_size;
        (layer.max(block) * (size_of::<f32>() + size_of::<u16>())) as u64
    }

    /// Shows the device that computes with them.
    pub(crate) fn device(&self) -> &Device {
        match self {
            Self::Held(weights) => weights.embed_tokens.device(),
            Self::Rounded(_) | Self::Stored(_) => &Device::Cpu,
        }
    }

    /// Shows a decoder layer, from the input up.
    pub(crate) fn layer(&self, index: usize) -> BaseLayer {
        match self {
            Self::Held(weights) => BaseLayer::Held(weights.layers[index].clone()),
            Self::Rounded(weights) => BaseLayer::Rounded(weights.layers[index].clone()),
            Self::Stored(stored) => BaseLayer::Stored(stored.clone(), index),
        }
    }

    /// Shows the last norm, `[hidden_size]`.
    pub(crate) fn norm(&self) -> &Tensor {
        match self {
            Self::Held(weights) | Self::Rounded(weights) => &weights.norm,
            Self::Stored(stored) => &stored.norm,
        }
    }

    /// Shows the output matrix, `[vocab_size, hidden_size]`.
    pub(crate) fn head(&self) -> BaseMatrix {
        let of = |weights: &Weights| {
            let head = weights.lm_head.as_ref();
            head.unwrap_or(&weights.embed_tokens).clone()
        };
        match self {
            Self::Held(weights) => BaseMatrix::Held(of(weights)),
            Self::Rounded(weights) => BaseMatrix::Rounded(of(weights)),
            Self::Stored(stored) => {
                let name = match stored.config.tie_word_embeddings {
                    true => EMBEDDING,
                    false => HEAD,
                };
                BaseMatrix::Stored(stored.clone(), name)
            }
        }
    }

    /// Shows the embedding of the vocabulary, `[vocab_size, hidden_size]`.
    pub(crate) fn embedding(&self) -> BaseMatrix {
        match self {
            Self::Held(weights) => BaseMatrix::Held(weights.embed_tokens.clone()),
            Self::Rounded(weights) => BaseMatrix::Rounded(weights.embed_tokens.clone()),
            Self::Stored(stored) => BaseMatrix::Stored(stored.clone(), EMBEDDING),
        }
    }

    /// Looks up the embeddings of tokens of the vocabulary, `[tokens, hidden_size]`.
    pub(crate) fn embeddings(&self, ids: &[u32]) -> Result<Tensor, EngineError> {
        match self {
            Self::Held(weights) | Self::Rounded(weights) => {
                let ids = Tensor::new(ids, weights.embed_tokens.device())?;
                let rows = weights.embed_tokens.index_select(&ids, 0)?;
                Ok(rows.to_dtype(DType::F32)?)
            }
            Self::Stored(stored) => {
                let width = stored.config.hidden_size;
                let mut rows = vec![0f32; ids.len() * width];
                for (id, row) in ids.iter().zip(rows.chunks_exact_mut(width)) {
                    stored.files.read_row(EMBEDDING, *id as usize, row)?;
                }
                Ok(Tensor::from_vec(rows, (ids.len(), width), &Device::Cpu)?)
            }
        }
    }
}

impl From<Weights> for BaseWeights {
    fn from(weights: Weights) -> Self {
        Self::Held(Arc::new(weights))
    }
}

/// A decoder layer of a base.
#[derive(Clone)]
pub(crate) enum BaseLayer {
    Held(LayerWeights),
    Rounded(LayerWeights),
    Stored(Stored, usize),
}

impl BaseLayer {
    /// Gives the weights in f32, to be dropped when an operation is through with them.
    pub(crate) fn read(&self) -> Result<LayerWeights, EngineError> {
        match self {
            Self::Held(weights) => Ok(weights.clone()),
            Self::Rounded(weights) => Ok(weights.map(&widened, &|vector| Ok(vector.clone()))?),
            Self::Stored(stored, index) => {
                LayerWeights::load(&stored.files, &stored.config, *index)
            }
        }
    }
}

/// A matrix of a base whose rows are tokens.
#[derive(Clone)]
pub(crate) enum BaseMatrix {
    Held(Tensor),
    Rounded(Tensor),
    Stored(Stored, &'static str),
}

impl BaseMatrix {
    /// Tells (rows, columns).
    pub(crate) fn dims(&self) -> candle_core::Result<(usize, usize)> {
        match self {
            Self::Held(tensor) | Self::Rounded(tensor) => tensor.dims2(),
            Self::Stored(stored, _) => Ok((stored.config.vocab_size, stored.config.hidden_size)),
        }
    }

    /// Begins to read.
    pub(crate) fn reading(&self) -> MatrixReading<'_> {
        match self {
            Self::Held(tensor) => MatrixReading::Held(Reading::of(tensor), tensor),
            Self::Rounded(tensor) => MatrixReading::Rounded(Reading::of(tensor), tensor),
            Self::Stored(stored, name) => MatrixReading::Stored(stored, name),
        }
    }

    /// Gives the whole matrix as a tensor.
    pub(crate) fn whole(&self) -> Result<Tensor, EngineError> {
        match self {
            Self::Held(tensor) => Ok(tensor.clone()),
            Self::Rounded(tensor) => Ok(widened(tensor)?),
            Self::Stored(stored, name) => super::weights::read_tensor(&stored.files, name),
        }
    }
}

/// Turns a matrix of bf16 into one of f32, which holds the same numbers.
fn widened(matrix: &Tensor) -> candle_core::Result<Tensor> {
    let values = widen(Reading::of(matrix).bf16_slice()?);
    Tensor::from_vec(values, matrix.shape(), &Device::Cpu)
}

fn widen(rounded: &[bf16]) -> Vec<f32> {
    const NUMBERS_PER_TASK: usize = 1 << 16;
    let mut values = vec![0f32; rounded.len()];
    let pairs = values.par_chunks_mut(NUMBERS_PER_TASK);
    let pairs = pairs.zip(rounded.par_chunks(NUMBERS_PER_TASK));
    pairs.for_each(|(values, rounded)| rounded.convert_to_f32_slice(values));
    values
}

/// A matrix that is read.
pub(crate) enum MatrixReading<'a> {
    Held(Reading<'a>, &'a Tensor),
    Rounded(Reading<'a>, &'a Tensor),
    Stored(&'a Stored, &'static str),
}

impl MatrixReading<'_> {
    /// Shows some rows in f32.
    pub(crate) fn rows(&self, rows: Range<usize>) -> candle_core::Result<Cow<'_, [f32]>> {
        match self {
            Self::Held(reading, tensor) => {
                let (_, width) = tensor.dims2()?;
                let all = reading.slice()?;
                Ok(Cow::Borrowed(&all[rows.start * width..rows.end * width]))
            }
            Self::Rounded(reading, tensor) => {
                let (_, width) = tensor.dims2()?;
                let all = reading.bf16_slice()?;
                let rounded = &all[rows.start * width..rows.end * width];
                Ok(Cow::Owned(widen(rounded)))
            }
            Self::Stored(stored, name) => {
                let width = stored.config.hidden_size;
                let mut values = vec![0f32; rows.len() * width];
                let tasks = values.par_chunks_mut(ROWS_PER_TASK * width).enumerate();
                let read = |(task, values): (usize, &mut [f32])| {
                    let first = rows.start + task * ROWS_PER_TASK;
                    stored.files.read_rows(name, first, values)
                };
                let read: Result<Vec<()>, EngineError> = tasks.map(read).collect();
                read.map_err(candle_core::Error::wrap)?;
                Ok(Cow::Owned(values))
            }
        }
    }
}
