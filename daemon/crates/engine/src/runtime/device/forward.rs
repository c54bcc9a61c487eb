//! The forward pass on a device: as [`Decoder`](crate::runtime::Decoder)'s, in tensor operations.

use candle_core::{DType, Result, Tensor};
use candle_nn::ops::rms_norm;
use candle_nn::rotary_emb::rope_thd;

use super::attention::attend;
use super::cache::{DeviceCache, Pool, lock};
use super::plan::{Plan, Sight};
use super::{DeviceBottleneck, DeviceDecoder, DevicePrefix, DeviceUpdate, DeviceUpdates};
use crate::EngineError;
use crate::methods::{Part, Target};
use crate::models::family::Activation;
use crate::models::weights::LayerWeights;
use crate::runtime::decoder::embed_token;
use crate::runtime::forward::Batch;
use crate::runtime::updates::LayerUpdates;

/// Rows that a matrix is multiplied with at once, the last ones filled up: as many as sequences generate together, which
/// takes a device hardly longer than one. Not measured yet.
const ROWS: usize = 64;

/// What changes about a layer.
type Updates = LayerUpdates<DeviceUpdate, DeviceBottleneck, DevicePrefix>;

impl DeviceDecoder {
    /// As [`Decoder::forward`](crate::runtime::Decoder::forward).
    pub(crate) fn forward(
        &self,
        batch: &Batch,
        caches: &[&DeviceCache],
        updates: Option<&DeviceUpdates>,
        sink: &mut dyn FnMut(usize, &mut [f32]),
    ) -> std::result::Result<(), EngineError> {
        let Some(residual) = self.run_layers(batch, caches, updates)? else {
            return Ok(());
        };
        for (chunk, wanted) in batch.wanted.chunks(ROWS).enumerate() {
            let mut rows: Vec<u32> = wanted.iter().map(|token| *token as u32).collect();
            rows.resize(ROWS, 0);
            let states = self.last_states(&residual, rows)?;
            let logits = multiply(&states, &self.lm_head)?.narrow(0, 0, wanted.len())?;
            sink(chunk * ROWS, &mut logits.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(())
    }

    /// As [`Decoder::hidden_states`](crate::runtime::Decoder::hidden_states).
    pub(crate) fn hidden_states(
        &self,
        batch: &Batch,
        caches: &[&DeviceCache],
        updates: Option<&DeviceUpdates>,
    ) -> std::result::Result<Vec<f32>, EngineError> {
        match self.run_layers(batch, caches, updates)? {
            Some(residual) if !batch.wanted.is_empty() => {
                let rows = batch.wanted.iter().map(|token| *token as u32);
                let states = self.last_states(&residual, rows.collect())?;
                Ok(states.flatten_all()?.to_vec1()?)
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Norms some rows of the residual.
    fn last_states(&self, residual: &Tensor, rows: Vec<u32>) -> Result<Tensor> {
        let rows = Tensor::new(rows, &self.accelerator.device)?;
        self.norm(&residual.index_select(&rows, 0)?, &self.norm)
    }

    /// Runs a batch and fills the caches; gives the residual, `[rows, hidden_size]` f32, its first rows the batch's tokens.
    fn run_layers(
        &self,
        batch: &Batch,
        caches: &[&DeviceCache],
        updates: Option<&DeviceUpdates>,
    ) -> std::result::Result<Option<Tensor>, EngineError> {
        if batch.ids.is_empty() {
            return Ok(None);
        }
        let rows = batch.ids.len().next_multiple_of(ROWS);
        let hidden = self.config.hidden_size;
        let mut embedded = vec![0f32; rows * hidden];
        for (id, row) in batch.ids.iter().zip(embedded.chunks_exact_mut(hidden)) {
            match updates.and_then(|updates| updates.virtual_row(*id, &self.config)) {
                Some(virtual_row) => row.copy_from_slice(virtual_row),
                None => embed_token(&self.files, &self.config, *id, row)?,
            }
        }
        let device = &self.accelerator.device;
        let plan = Plan::new(&self.config, batch, caches, rows, device)?;
        let mut residual = Tensor::from_vec(embedded, (rows, hidden), device)?;
        let (pool, none) = (lock(&self.pool), LayerUpdates::default());
        for (index, layer) in self.layers.iter().enumerate() {
            let updates = updates.map_or(&none, |updates| &updates.layers[index]);
            residual = self.attention(index, layer, updates, &plan, &pool, &residual)?;
            residual = self.feed_forward(layer, updates, &residual)?;
        }
        Ok(Some(residual))
    }

    fn attention(
        &self,
        index: usize,
        layer: &LayerWeights,
        updates: &Updates,
        plan: &Plan,
        pool: &Pool,
        residual: &Tensor,
    ) -> Result<Tensor> {
        let sight = plan.sight(&self.config, index);
        let x = self.norm(residual, &layer.input_norm)?;
        let [q_norm, k_norm] = match &layer.head_norms {
            Some(norms) => norms.each_ref().map(Some),
            None => [None; 2],
        };
        let project = |x: &Tensor, target| project(x, layer, target, updates);
        let queries = project(&x, Target::Q)?;
        let queries = self.turn(&queries, q_norm, sight)?;
        let keys = project(&x, Target::K)?;
        let keys = self.turn(&keys, k_norm, sight)?;
        let values = project(&x, Target::V)?;
        let stored = |rows: &Tensor, prefix: Option<&Tensor>| {
            let rows = plan.with_prefix(&rows.narrow(0, 0, plan.tokens)?, prefix)?;
            rows.to_dtype(self.accelerator.weights)
        };
        let prefix = updates.prefix.as_ref();
        let keys = stored(&keys, prefix.map(|prefix| &prefix.keys))?;
        let values = stored(&values, prefix.map(|prefix| &prefix.values))?;
        pool.write(index, &plan.slots, &keys, &values)?;

        let queries = (queries * f64::from(self.config.attention_scale()))?;
        let mixed = attend(&self.config, sight, &pool.layers[index], &queries)?;
        let branch = project(&mixed, Target::O)?;
        let given = self.norm_branch(branch, layer.attention_norm.as_ref())?;
        after(residual, &given, updates.bottleneck(Part::Attention))
    }

    fn feed_forward(
        &self,
        layer: &LayerWeights,
        updates: &Updates,
        residual: &Tensor,
    ) -> Result<Tensor> {
        let x = self.norm(residual, &layer.feed_forward_norm)?;
        let project = |x: &Tensor, target| project(x, layer, target, updates);
        let gate = project(&x, Target::Gate)?;
        let up = project(&x, Target::Up)?;
        let gate = match self.config.variant.activation {
            Activation::Silu => gate.silu()?,
            Activation::GeluTanh => gate.gelu()?,
        };
        let branch = project(&(gate * up)?, Target::Down)?;
        let given = self.norm_branch(branch, layer.output_norm.as_ref())?;
        after(residual, &given, updates.bottleneck(Part::FeedForward))
    }

    fn norm(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        rms_norm(x, weight, self.config.rms_norm_eps)
    }

    /// Norms what attention or the feed-forward part gave, where the family does.
    fn norm_branch(&self, branch: Tensor, norm: Option<&Tensor>) -> Result<Tensor> {
        match norm {
            Some(norm) => self.norm(&branch, norm),
            None => Ok(branch),
        }
    }

    /// Norms the heads of `x` (`[rows, heads * head_dim]`), where the family does, and turns them to their positions.
    fn turn(&self, x: &Tensor, norm: Option<&Tensor>, sight: &Sight) -> Result<Tensor> {
        let shape = x.shape();
        let mut heads = x.reshape((1, x.dim(0)?, (), self.config.head_dim))?;
        if let Some(norm) = norm {
            heads = self.norm(&heads, norm)?;
        }
        rope_thd(&heads, &sight.cosines, &sight.sines)?.reshape(shape)
    }
}

/// Adds what a part gives to the residual stream, and what a bottleneck makes of it.
fn after(
    residual: &Tensor,
    given: &Tensor,
    bottleneck: Option<&DeviceBottleneck>,
) -> Result<Tensor> {
    let stream = (residual + given)?;
    match bottleneck {
        Some(bottleneck) => bottleneck.add(&stream, given),
        None => Ok(stream),
    }
}

/// Applies a linear layer with its bias and its update to rows (`[rows, in]` f32): `[rows, out]` f32.
fn project(x: &Tensor, layer: &LayerWeights, target: Target, updates: &Updates) -> Result<Tensor> {
    let none = DeviceUpdate::default();
    let update = updates.of(target).unwrap_or(&none);
    let scaled = update.input_factors.as_ref();
    let scaled = scaled.map(|factors| x.broadcast_mul(factors)).transpose()?;
    let x = scaled.as_ref().unwrap_or(x);
    let mut product = multiply(x, layer.linear(target))?;
    if let Some([a, b]) = &update.low_rank {
        product = (product + multiply(&multiply(x, a)?, b)?)?;
    }
    if let Some(factors) = &update.factors {
        product = product.broadcast_mul(factors)?;
    }
    for added in [update.shift.as_ref(), layer.bias(target)]
        .into_iter()
        .flatten()
    {
        product = product.broadcast_add(added)?;
    }
    Ok(product)
}

/// Multiplies rows (`[rows, in]` f32, whole blocks) with a matrix (`[out, in]`) in the matrix's number format, block by
/// block: `[rows, out]` f32.
pub(super) fn multiply(x: &Tensor, matrix: &Tensor) -> Result<Tensor> {
    let (x, matrix) = (x.to_dtype(matrix.dtype())?, matrix.t()?);
    let block = |first: usize| x.narrow(0, first, ROWS)?.matmul(&matrix);
    let blocks = (0..x.dim(0)?).step_by(ROWS).map(block);
    let products = blocks.collect::<Result<Vec<_>>>()?;
    let product = match products.as_slice() {
        [one] => one.clone(),
        several => Tensor::cat(several, 0)?,
    };
    product.to_dtype(DType::F32)
}
