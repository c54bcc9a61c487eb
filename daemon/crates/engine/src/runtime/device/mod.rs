//! A decoder of candle's tensor operations, for devices that have no kernels of ours.
//!
//! Weights, keys and values are in the device's number format; everything between the products, and attention, is f32.
//!
//! INVARIANT: the shape of every matrix product that a token takes part in, and the token's row in attention, follow from
//! the model and the token's own position alone: rows are filled up to whole blocks ([`forward`]), and sequences attend
//! in calls of fixed sizes ([`plan`]). So the same kernel computes a token whatever is in the batch. On the processor this
//! makes rows bitwise independent of each other, which tests hold; CUDA's libraries promise it nowhere.

mod attention;
mod bottleneck;
mod cache;
mod forward;
mod plan;

use std::sync::{Arc, Mutex};

use candle_core::{DType, Device, Tensor};

use crate::EngineError;
use crate::device::{Accelerator, without_backtrace};
use crate::models::config::ModelConfig;
use crate::models::files::ModelFiles;
use crate::models::tensor_names::{EMBEDDING, HEAD, LAST_NORM};
use crate::models::weights::{LayerWeights, read_tensor};
use crate::runtime::decoder::Decoder;
use crate::runtime::updates::{LayerUpdates, ModelUpdates, PrefixRows, UpdateParts};

pub(crate) use bottleneck::DeviceBottleneck;
pub(crate) use cache::DeviceCache;
use cache::Pool;

/// A decoder's weights on a device.
pub(crate) struct DeviceDecoder {
    config: ModelConfig,
    accelerator: Accelerator,
    /// Shared with the decoders of adapters that have other weights.
    layers: Vec<Arc<LayerWeights>>,
    /// `[hidden_size]` f32.
    norm: Tensor,
    /// `[vocab_size, hidden_size]`.
    lm_head: Tensor,
    /// The embedding's rows are read from the files: a token needs one.
    files: Arc<ModelFiles>,
    pool: Arc<Mutex<Pool>>,
}

/// What an adapter changes, on a device.
pub(crate) type DeviceUpdates =
    ModelUpdates<DeviceDecoder, LayerUpdates<DeviceUpdate, DeviceBottleneck, DevicePrefix>>;

/// The keys and values of a layer's first positions, `[virtual tokens, kv_heads * head_dim]` f32 each.
pub(crate) struct DevicePrefix {
    pub(super) keys: Tensor,
    pub(super) values: Tensor,
}

/// What an adapter changes about one linear layer (`runtime/updates.rs`), on a device, f32.
#[derive(Default)]
pub(crate) struct DeviceUpdate {
    /// A `[r, in]`, and B `[out, r]` times the update's scale.
    pub(super) low_rank: Option<[Tensor; 2]>,
    /// `[out]`.
    pub(super) factors: Option<Tensor>,
    /// `[out]`.
    pub(super) shift: Option<Tensor>,
    /// `[in]`.
    pub(super) input_factors: Option<Tensor>,
}

impl DeviceDecoder {
    /// Reads the weights and moves them to the device, a layer at a time.
    pub(crate) fn load(
        files: &Arc<ModelFiles>,
        config: &ModelConfig,
        accelerator: &Accelerator,
    ) -> Result<Self, EngineError> {
        let layer = |index: usize| load_layer(files, config, accelerator, index);
        let layers = (0..config.layers).map(layer).collect::<Result<_, _>>()?;
        let head = match config.tie_word_embeddings {
            true => EMBEDDING,
            false => HEAD,
        };
        let head = read_tensor(files, head)?;
        let norm = LayerWeights::read_norm(files, config, LAST_NORM)?;
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

    /// As [`Decoder::with`].
    pub(crate) fn with(&self, replaced: &ModelFiles) -> Result<Self, EngineError> {
        let accelerator = &self.accelerator;
        let layer = |(index, layer): (usize, &Arc<LayerWeights>)| match replaced
            .replaces(&format!("model.layers.{index}."))
        {
            true => load_layer(replaced, &self.config, accelerator, index),
            false => Ok(layer.clone()),
        };
        let layers = self.layers.iter().enumerate().map(layer);
        let norm = LayerWeights::read_norm(replaced, &self.config, LAST_NORM)?;
        Ok(Self {
            config: self.config.clone(),
            accelerator: accelerator.clone(),
            layers: layers.collect::<Result<_, EngineError>>()?,
            norm: vector(&norm, accelerator)?,
            lm_head: match replaced.replaces(HEAD) {
                true => matrix(&read_tensor(replaced, HEAD)?, accelerator)
                    .map_err(|error| too_big(accelerator, &error))?,
                false => self.lm_head.clone(),
            },
            files: Arc::new(replaced.keeping(EMBEDDING)),
            pool: self.pool.clone(),
        })
    }

    /// As [`Decoder::own_bytes`]; an output matrix of its own is not counted.
    pub(crate) fn own_bytes(&self) -> usize {
        let own = |layer: &&Arc<LayerWeights>| Arc::strong_count(layer) == 1;
        let layers = self.layers.iter().filter(own);
        layers.map(|layer| layer_bytes(layer)).sum::<usize>() + self.files.replaced_bytes()
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
        let layers = self.layers.iter().map(|layer| layer_bytes(layer));
        layers.sum::<usize>() + bytes(&self.norm) + bytes(&self.lm_head)
    }

    /// Names number format and device.
    pub(crate) fn compute_name(&self) -> String {
        self.accelerator.compute_name()
    }

    /// Shows the device.
    pub(crate) fn device(&self) -> &Device {
        &self.accelerator.device
    }

    /// Makes room for the keys and values of a sequence.
    pub(crate) fn new_cache(&self, positions: usize) -> Result<DeviceCache, EngineError> {
        DeviceCache::new(&self.pool, positions)
    }

    /// Tells the bytes of [`DeviceDecoder::new_cache`].
    pub(crate) fn cache_bytes(&self, positions: usize) -> usize {
        cache::bytes(&self.config, self.accelerator.weights, positions)
    }

    /// Moves what changes about one linear layer to the device.
    pub(crate) fn update(&self, parts: &UpdateParts<'_>) -> Result<DeviceUpdate, EngineError> {
        let device = &self.accelerator.device;
        let vector = |values: &[f32]| Tensor::from_slice(values, values.len(), device);
        let low_rank = parts.low_rank.as_ref().map(|low_rank| {
            let a = Tensor::from_slice(low_rank.a, (low_rank.rank, low_rank.inputs), device)?;
            let b = low_rank.b.iter().map(|x| x * low_rank.scale).collect();
            let b = Tensor::from_vec(b, (low_rank.outputs, low_rank.rank), device)?;
            Ok::<_, candle_core::Error>([a, b])
        });
        Ok(DeviceUpdate {
            low_rank: low_rank.transpose()?,
            factors: parts.factors.as_deref().map(vector).transpose()?,
            shift: parts.shift.as_deref().map(vector).transpose()?,
            input_factors: parts.input_factors.map(vector).transpose()?,
        })
    }
}

impl DeviceUpdate {
    pub(crate) fn bytes(&self) -> usize {
        let matrices = self.low_rank.iter().flatten();
        let vectors = [&self.factors, &self.shift, &self.input_factors];
        let tensors = matrices.chain(vectors.into_iter().flatten());
        tensors.map(Tensor::elem_count).sum::<usize>() * size_of::<f32>()
    }
}

impl DevicePrefix {
    pub(crate) fn new(rows: &PrefixRows, device: &Device) -> candle_core::Result<Self> {
        let tensor = |rows: &[f32]| Tensor::from_slice(rows, rows.len(), device);
        Ok(Self {
            keys: tensor(&rows.keys)?,
            values: tensor(&rows.values)?,
        })
    }
}

impl LayerUpdates<DeviceUpdate, DeviceBottleneck, DevicePrefix> {
    pub(crate) fn bytes(&self) -> usize {
        let linear = self.linear.iter().flatten().map(DeviceUpdate::bytes);
        let bottlenecks = self.bottlenecks.iter().flatten();
        let bottlenecks = bottlenecks.map(DeviceBottleneck::bytes);
        let prefix = self.prefix.as_ref();
        let prefix = prefix.map_or(0, |prefix| bytes(&prefix.keys) + bytes(&prefix.values));
        linear.chain(bottlenecks).sum::<usize>() + prefix
    }
}

fn bytes(tensor: &Tensor) -> usize {
    tensor.elem_count() * tensor.dtype().size_in_bytes()
}

fn layer_bytes(layer: &LayerWeights) -> usize {
    layer.tensors().map(bytes).sum()
}

fn load_layer(
    files: &ModelFiles,
    config: &ModelConfig,
    accelerator: &Accelerator,
    index: usize,
) -> Result<Arc<LayerWeights>, EngineError> {
    let weights = LayerWeights::load(files, config, index)?;
    let moved = move_layer(&weights, accelerator);
    moved
        .map(Arc::new)
        .map_err(|error| too_big(accelerator, &error))
}

/// Moves a layer: matrices in the device's number format, norms and biases as they are.
fn move_layer(
    layer: &LayerWeights,
    accelerator: &Accelerator,
) -> candle_core::Result<LayerWeights> {
    layer.map(&|tensor| matrix(tensor, accelerator), &|tensor| {
        vector(tensor, accelerator)
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
