//! The forward pass on a device: as [`Decoder`](crate::runtime::Decoder)'s, in tensor operations.

use candle_core::{DType, Result, Tensor};
use candle_nn::ops::rms_norm;
use candle_nn::rotary_emb::rope_thd;

use super::attention::attend;
use super::cache::{DeviceCache, Pool, lock};
use super::plan::{Plan, Sight};
use super::{DeviceDecoder, DevicePair};
use crate::EngineError;
use crate::models::family::Activation;
use crate::models::weights::LayerWeights;
use crate::runtime::decoder::embed_token;
use crate::runtime::forward::Batch;
use crate::runtime::lora::LoraLayer;

/// Rows that a matrix is multiplied with at once, the last ones filled up: as many as sequences generate together, which
/// takes a device hardly longer than one. Not measured yet.
const ROWS: usize = 64;

/// Updates of every layer on a device.
type Lora = [LoraLayer<DevicePair>];

impl DeviceDecoder {
    /// As [`Decoder::forward`](crate::runtime::Decoder::forward).
    pub(crate) fn forward(
        &self,
        batch: &Batch,
        caches: &[&DeviceCache],
        lora: Option<&Lora>,
        sink: &mut dyn FnMut(usize, &mut [f32]),
    ) -> std::result::Result<(), EngineError> {
        let Some(residual) = self.run_layers(batch, caches, lora)? else {
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
        lora: Option<&Lora>,
    ) -> std::result::Result<Vec<f32>, EngineError> {
        match self.run_layers(batch, caches, lora)? {
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
        lora: Option<&Lora>,
    ) -> std::result::Result<Option<Tensor>, EngineError> {
        if batch.ids.is_empty() {
            return Ok(None);
        }
        let rows = batch.ids.len().next_multiple_of(ROWS);
        let hidden = self.config.hidden_size;
        let mut embedded = vec![0f32; rows * hidden];
        for (id, row) in batch.ids.iter().zip(embedded.chunks_exact_mut(hidden)) {
            embed_token(&self.files, &self.config, *id, row)?;
        }
        let device = &self.accelerator.device;
        let plan = Plan::new(&self.config, batch, caches, rows, device)?;
        let mut residual = Tensor::from_vec(embedded, (rows, hidden), device)?;
        let (pool, none) = (lock(&self.pool), LoraLayer::default());
        for (index, layer) in self.layers.iter().enumerate() {
            let lora = lora.map_or(&none, |layers| &layers[index]);
            residual = self.attention(index, layer, lora, &plan, &pool, &residual)?;
            residual = self.feed_forward(layer, lora, &residual)?;
        }
        Ok(Some(residual))
    }

    fn attention(
        &self,
        index: usize,
        layer: &LayerWeights,
        lora: &LoraLayer<DevicePair>,
        plan: &Plan,
        pool: &Pool,
        residual: &Tensor,
    ) -> Result<Tensor> {
        let sight = plan.sight(&self.config, index);
        let x = self.norm(residual, &layer.input_norm)?;
        let [q_bias, k_bias, v_bias] = match &layer.qkv_bias {
            Some(biases) => biases.each_ref().map(Some),
            None => [None; 3],
        };
        let [q_norm, k_norm] = match &layer.head_norms {
            Some(norms) => norms.each_ref().map(Some),
            None => [None; 2],
        };
        let queries = project(&x, &layer.q_proj, q_bias, lora.q_proj.as_ref())?;
        let queries = self.turn(&queries, q_norm, sight)?;
        let keys = project(&x, &layer.k_proj, k_bias, lora.k_proj.as_ref())?;
        let keys = self.turn(&keys, k_norm, sight)?;
        let values = project(&x, &layer.v_proj, v_bias, lora.v_proj.as_ref())?;
        let stored = |rows: &Tensor| {
            let rows = rows.narrow(0, 0, plan.tokens)?;
            rows.to_dtype(self.accelerator.weights)
        };
        pool.write(index, &plan.slots, &stored(&keys)?, &stored(&values)?)?;

        let queries = (queries * f64::from(self.config.attention_scale()))?;
        let mixed = attend(&self.config, sight, &pool.layers[index], &queries)?;
        let branch = project(&mixed, &layer.o_proj, None, lora.o_proj.as_ref())?;
        residual + self.norm_branch(branch, layer.attention_norm.as_ref())?
    }

    fn feed_forward(
        &self,
        layer: &LayerWeights,
        lora: &LoraLayer<DevicePair>,
        residual: &Tensor,
    ) -> Result<Tensor> {
        let x = self.norm(residual, &layer.feed_forward_norm)?;
        let gate = project(&x, &layer.gate_proj, None, lora.gate_proj.as_ref())?;
        let up = project(&x, &layer.up_proj, None, lora.up_proj.as_ref())?;
        let gate = match self.config.variant.activation {
            Activation::Silu => gate.silu()?,
            Activation::GeluTanh => gate.gelu()?,
        };
        let branch = project(
            &(gate * up)?,
            &layer.down_proj,
            None,
            lora.down_proj.as_ref(),
        )?;
        residual + self.norm_branch(branch, layer.output_norm.as_ref())?
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

/// Multiplies rows (`[rows, in]` f32) with a matrix, adds its bias and its update: `[rows, out]` f32.
fn project(
    x: &Tensor,
    matrix: &Tensor,
    bias: Option<&Tensor>,
    update: Option<&DevicePair>,
) -> Result<Tensor> {
    let mut product = multiply(x, matrix)?;
    if let Some(bias) = bias {
        product = product.broadcast_add(bias)?;
    }
    match update {
        Some(DevicePair { a, b }) => product + multiply(&multiply(x, a)?, b)?,
        None => Ok(product),
    }
}

/// Multiplies rows (`[rows, in]` f32, whole blocks) with a matrix (`[out, in]`) in the matrix's number format, block by
/// block: `[rows, out]` f32.
fn multiply(x: &Tensor, matrix: &Tensor) -> Result<Tensor> {
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
