//! A decoder of candle's tensor operations, for devices that have no kernels of ours.
//!
//! Weights, keys and values are in the device's number format; everything between the products, and attention, is f32.
//!
//! INVARIANT: the shape of every matrix product that a token takes part in, and the token's row in attention, follow from
//! the model and the token's own position alone: rows are filled up to whole blocks ([`forward`]), and sequences attend
//! in calls of fixed sizes ([`plan`]). So the same kernel computes a token whatever is in the batch. On the processor this
//! makes rows bitwise independent of each other, which tests hold; CUDA's libraries promise it nowhere.

mod attention;
mod cache;
mod forward;
mod plan;

use std::sync::{Arc, Mutex};

use candle_core::{DType, Tensor};

use crate::EngineError;
use crate::device::{Accelerator, without_backtrace};
use crate::models::config::ModelConfig;
use crate::models::files::ModelFiles;
use crate::models::weights::{LayerWeights, read_tensor};
use crate::runtime::decoder::Decoder;

pub(crate) use cache::DeviceCache;
use cache::Pool;

/// A decoder's weights on a device.
pub(crate) struct DeviceDecoder {
    config: ModelConfig,
    accelerator: Accelerator,
    layers: Vec<LayerWeights>,
    /// `[hidden_size]` f32.
    norm: Tensor,
    /// `[vocab_size, hidden_size]`.
    lm_head: Tensor,
    /// The embedding's rows are read from the files: a token needs one.
    files: Arc<ModelFiles>,
    pool: Arc<Mutex<Pool>>,
}

/// The update of one matrix on a device, f32.
pub(crate) struct DevicePair {
    /// `[r, in]`.
    pub(super) a: Tensor,
    /// `[out, r]`, times lora_alpha / r.
    pub(super) b: Tensor,
}

impl DeviceDecoder {
    /// Reads the weights and moves them to the device, a layer at a time.
    pub(crate) fn load(
        files: &Arc<ModelFiles>,
        config: &ModelConfig,
        accelerator: &Accelerator,
    ) -> Result<Self, EngineError> {
        let layer = |index: usize| {
            let weights = LayerWeights::load(files, config, index)?;
            move_layer(&weights, accelerator).map_err(|error| too_big(accelerator, &error))
        };
        let layers = (0..config.layers).map(layer).collect::<Result<_, _>>()?;
        let head = match config.tie_word_embeddings {
            true => "model.embed_tokens.weight",
            false => "lm_head.weight",
        };
        let head = read_tensor(files, head)?;
        let norm = LayerWeights::read_norm(files, config, "model.norm.weight")?;
        let moved = || Ok((matrix(&head, accelerator)?, vector(&norm, accelerator)?));
        let (lm_head, norm) =
            moved().map_err(|error: candle_core::Error| too_big(accelerator, &error))?;
        Ok(Self {
            config: config.clone(),
            accelerator: accelerator.clone(),
            layers,
            norm,
            lm_head,
            files: files.clone(),
            pool: Arc::new(Mutex::new(Pool::new(config, accelerator)?)),
        })
    }

    /// Tells the most bytes of this machine's own memory that [`DeviceDecoder::load`] takes for weights on their way: a layer
    /// or the head as f32, and in the device's number format.
    pub(crate) fn bytes_on_their_way(
        files: &ModelFiles,
        config: &ModelConfig,
        accelerator: &Accelerator,
    ) -> u64 {
        let bytes = DType::F32.size_in_bytes() + accelerator.weights.size_in_bytes();
        Decoder::most_elements(files, config).saturating_mul(bytes as u64)
    }

    /// Tells the bytes of the weights on the device.
    pub(crate) fn bytes(&self) -> usize {
        let bytes = |tensor: &Tensor| tensor.elem_count() * tensor.dtype().size_in_bytes();
        let layer = |layer: &LayerWeights| layer.tensors().map(bytes).sum::<usize>();
        self.layers.iter().map(layer).sum::<usize>() + bytes(&self.norm) + bytes(&self.lm_head)
    }

    /// Names number format and device.
    pub(crate) fn compute_name(&self) -> String {
        self.accelerator.compute_name()
    }

    /// Makes room for the keys and values of a sequence.
    pub(crate) fn new_cache(&self, positions: usize) -> Result<DeviceCache, EngineError> {
        DeviceCache::new(&self.pool, positions)
    }

    /// Tells the bytes of [`DeviceDecoder::new_cache`].
    pub(crate) fn cache_bytes(&self, positions: usize) -> usize {
        cache::bytes(&self.config, self.accelerator.weights, positions)
    }

    /// Moves the update of one matrix to the device: `a: [r, in]`, `b: [out, r]`, both row by row.
    pub(crate) fn lora_pair(
        &self,
        (a, a_shape): (&[f32], [usize; 2]),
        (b, b_shape): (&[f32], [usize; 2]),
        scale: f32,
    ) -> Result<DevicePair, EngineError> {
        let device = &self.accelerator.device;
        let b: Vec<f32> = b.iter().map(|x| x * scale).collect();
        Ok(DevicePair {
            a: Tensor::from_slice(a, a_shape.as_slice(), device)?,
            b: Tensor::from_vec(b, b_shape.as_slice(), device)?,
        })
    }
}

impl DevicePair {
    pub(crate) fn bytes(&self) -> usize {
        (self.a.elem_count() + self.b.elem_count()) * size_of::<f32>()
    }
}

/// Moves a layer: matrices in the device's number format, norms and biases as they are.
fn move_layer(
    layer: &LayerWeights,
    accelerator: &Accelerator,
) -> candle_core::Result<LayerWeights> {
    let matrix = |tensor: &Tensor| matrix(tensor, accelerator);
    let vector = |tensor: &Tensor| vector(tensor, accelerator);
    let optional = |tensor: &Option<Tensor>| tensor.as_ref().map(vector).transpose();
    let head_norms = match &layer.head_norms {
        Some([q, k]) => Some([vector(q)?, vector(k)?]),
        None => None,
    };
    let qkv_bias = match &layer.qkv_bias {
        Some([q, k, v]) => Some([vector(q)?, vector(k)?, vector(v)?]),
        None => None,
    };
    Ok(LayerWeights {
        input_norm: vector(&layer.input_norm)?,
        attention_norm: optional(&layer.attention_norm)?,
        feed_forward_norm: vector(&layer.feed_forward_norm)?,
        output_norm: optional(&layer.output_norm)?,
        head_norms,
        qkv_bias,
        q_proj: matrix(&layer.q_proj)?,
        k_proj: matrix(&layer.k_proj)?,
        v_proj: matrix(&layer.v_proj)?,
        o_proj: matrix(&layer.o_proj)?,
        gate_proj: matrix(&layer.gate_proj)?,
        up_proj: matrix(&layer.up_proj)?,
        down_proj: matrix(&layer.down_proj)?,
    })
}

fn matrix(tensor: &Tensor, accelerator: &Accelerator) -> candle_core::Result<Tensor> {
    tensor
        .to_dtype(accelerator.weights)?
        .to_device(&accelerator.device)
}

fn vector(tensor: &Tensor, accelerator: &Accelerator) -> candle_core::Result<Tensor> {
    tensor.to_dtype(DType::F32)?.to_device(&accelerator.device)
}

fn too_big(accelerator: &Accelerator, error: &candle_core::Error) -> EngineError {
    EngineError::Memory(format!(
        "the model's weights could not be moved to {}, whose memory may not hold them: {}",
        accelerator.name,
        without_backtrace(error)
    ))
}
