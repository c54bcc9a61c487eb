//! A model's weights as f32 candle tensors in Hugging Face's layout, for training.
//!
//! Generation does not use these: it has packed copies of its own. They are made when training asks for them.

use candle_core::{DType, Device, Tensor};
use half::bf16;

use super::config::ModelConfig;
use super::files::ModelFiles;
use super::foreign::is_foreign;
use super::tensor_names::{EMBEDDING, HEAD};
use crate::EngineError;
use crate::methods::{Norm, Target};

/// Every tensor of a decoder, f32 on the CPU.
#[derive(Clone, Debug)]
pub struct Weights {
    /// `[vocab_size, hidden_size]`.
    pub embed_tokens: Tensor,
    /// The decoder's layers, from the input up.
    pub layers: Vec<LayerWeights>,
    /// The last norm, `[hidden_size]`.
    pub norm: Tensor,
    /// `[vocab_size, hidden_size]`; none where the embedding serves.
    pub lm_head: Option<Tensor>,
}

/// The tensors of one layer, f32 on the CPU (a decoder on another device has its own in that device's format), rows of q and k in the order that half-split rope takes. What only some
/// families have is none for the others.
#[derive(Clone, Debug)]
pub struct LayerWeights {
    /// The norm before attention, `[hidden_size]`.
    pub input_norm: Tensor,
    /// The norm of what attention adds, `[hidden_size]`.
    pub attention_norm: Option<Tensor>,
    /// The norm before the feed-forward part, `[hidden_size]`.
    pub feed_forward_norm: Tensor,
    /// The norm of what the feed-forward part adds, `[hidden_size]`.
    pub output_norm: Option<Tensor>,
    /// The norms of each head of q and of k, `[head_dim]`.
    pub head_norms: Option<[Tensor; 2]>,
    /// The biases of q, k and v, `[heads * head_dim]` of their own heads.
    pub qkv_bias: Option<[Tensor; 3]>,
    /// `[heads * head_dim, hidden_size]`.
    pub q_proj: Tensor,
    /// `[kv_heads * head_dim, hidden_size]`.
    pub k_proj: Tensor,
    /// `[kv_heads * head_dim, hidden_size]`.
    pub v_proj: Tensor,
    /// `[hidden_size, heads * head_dim]`.
    pub o_proj: Tensor,
    /// `[intermediate_size, hidden_size]`.
    pub gate_proj: Tensor,
    /// `[intermediate_size, hidden_size]`.
    pub up_proj: Tensor,
    /// `[hidden_size, intermediate_size]`.
    pub down_proj: Tensor,
}

impl Weights {
    /// Refuses a model that can only generate and score.
    pub(crate) fn check_trainable(
        files: &ModelFiles,
        config: &ModelConfig,
    ) -> Result<(), EngineError> {
        match is_foreign(&config.architecture) {
            true => Err(EngineError::unsupported(
                &files.path,
                "architecture",
                "a family of our own decoder, for training",
                format!("{}, which generates and scores", config.architecture),
            )),
            false => Ok(()),
        }
    }

    /// Reads and dequantises every tensor.
    ///
    /// # Errors
    /// [`EngineError::ModelFile`] when a tensor is missing or of another shape than the configuration says,
    /// [`EngineError::Io`] when the file cannot be read.
    pub(crate) fn load(files: &ModelFiles, config: &ModelConfig) -> Result<Self, EngineError> {
        Self::check_trainable(files, config)?;
        let layers = (0..config.layers)
            .map(|index| LayerWeights::load(files, config, index))
            .collect::<Result<_, _>>()?;
        let lm_head = match config.tie_word_embeddings {
            true => None,
            false => Some(read_tensor(files, "lm_head.weight")?),
        };
        Ok(Self {
            embed_tokens: read_tensor(files, "model.embed_tokens.weight")?,
            layers,
            norm: LayerWeights::read_norm(files, config, "model.norm.weight")?,
            lm_head,
        })
    }
}

impl Weights {
    /// As [`Weights::load`], with the matrices rounded to bf16, a part of one in f32 at a time.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn load_rounded(
        files: &ModelFiles,
        config: &ModelConfig,
    ) -> Result<Self, EngineError> {
        Self::check_trainable(files, config)?;
        let layer = |index| {
            let layer = LayerWeights::load(files, config, index)?;
            let layer = layer.map(&|matrix| matrix.to_dtype(DType::BF16), &|vector| {
                Ok(vector.clone())
            });
            Ok::<_, EngineError>(layer?)
        };
        let rows = config.vocab_size;
        let vocabulary = |name: &str| read_rounded(files, name, (rows, config.hidden_size));
        Ok(Self {
            embed_tokens: vocabulary(EMBEDDING)?,
            layers: (0..config.layers).map(layer).collect::<Result<_, _>>()?,
            norm: LayerWeights::read_norm(files, config, "model.norm.weight")?,
            lm_head: match config.tie_word_embeddings {
                true => None,
                false => Some(vocabulary(HEAD)?),
            },
        })
    }

    /// Copies every tensor to a device.
    pub(crate) fn to_device(&self, device: &Device) -> candle_core::Result<Self> {
        let layers = self.layers.iter().map(|layer| layer.to_device(device));
        let head = self.lm_head.as_ref();
        Ok(Self {
            embed_tokens: self.embed_tokens.to_device(device)?,
            layers: layers.collect::<Result<_, _>>()?,
            norm: self.norm.to_device(device)?,
            lm_head: head.map(|head| head.to_device(device)).transpose()?,
        })
    }
}

impl LayerWeights {
    fn to_device(&self, device: &Device) -> candle_core::Result<Self> {
        self.map(&|tensor| tensor.to_device(device), &|tensor| {
            tensor.to_device(device)
        })
    }

    /// Makes other tensors of the matrices, and of the norms and biases.
    pub(crate) fn map(
        &self,
        matrix: &dyn Fn(&Tensor) -> candle_core::Result<Tensor>,
        vector: &dyn Fn(&Tensor) -> candle_core::Result<Tensor>,
    ) -> candle_core::Result<Self> {
        let optional = |tensor: &Option<Tensor>| tensor.as_ref().map(vector).transpose();
        let head_norms = match &self.head_norms {
            Some([q, k]) => Some([vector(q)?, vector(k)?]),
            None => None,
        };
        let qkv_bias = match &self.qkv_bias {
            Some([q, k, v]) => Some([vector(q)?, vector(k)?, vector(v)?]),
            None => None,
        };
        Ok(Self {
            input_norm: vector(&self.input_norm)?,
            attention_norm: optional(&self.attention_norm)?,
            feed_forward_norm: vector(&self.feed_forward_norm)?,
            output_norm: optional(&self.output_norm)?,
            head_norms,
            qkv_bias,
            q_proj: matrix(&self.q_proj)?,
            k_proj: matrix(&self.k_proj)?,
            v_proj: matrix(&self.v_proj)?,
            o_proj: matrix(&self.o_proj)?,
            gate_proj: matrix(&self.gate_proj)?,
            up_proj: matrix(&self.up_proj)?,
            down_proj: matrix(&self.down_proj)?,
        })
    }

    /// Reads and dequantises the tensors of one layer.
    pub(crate) fn load(
        files: &ModelFiles,
        config: &ModelConfig,
        index: usize,
    ) -> Result<Self, EngineError> {
        let variant = &config.variant;
        let name = |part: &str| format!("model.layers.{index}.{part}");
        let part = |part: &str| read_tensor(files, &name(&format!("{part}.weight")));
        let norm = |part: &str| Self::read_norm(files, config, &name(&format!("{part}.weight")));
        let bias = |part: &str| read_tensor(files, &name(&format!("self_attn.{part}_proj.bias")));
        let (q, kv) = (
            config.heads * config.head_dim,
            config.kv_heads * config.head_dim,
        );
        let [q_proj, k_proj, v_proj] = match variant.fused {
            true => rows(&part("self_attn.qkv_proj")?, [q, kv, kv])?,
            false => [
                part("self_attn.q_proj")?,
                part("self_attn.k_proj")?,
                part("self_attn.v_proj")?,
            ],
        };
        let [gate_proj, up_proj] = match variant.fused {
            true => rows(&part("mlp.gate_up_proj")?, [config.intermediate_size; 2])?,
            false => [part("mlp.gate_proj")?, part("mlp.up_proj")?],
        };
        let sandwich = |part: &str| variant.sandwich_norms.then(|| norm(part)).transpose();
        let head_norms =
            || Ok::<_, EngineError>([norm("self_attn.q_norm")?, norm("self_attn.k_norm")?]);
        let biases = || Ok::<_, EngineError>([bias("q")?, bias("k")?, bias("v")?]);
        Ok(Self {
            input_norm: norm("input_layernorm")?,
            attention_norm: sandwich("post_attention_layernorm")?,
            feed_forward_norm: norm(match variant.sandwich_norms {
                true => "pre_feedforward_layernorm",
                false => "post_attention_layernorm",
            })?,
            output_norm: sandwich("post_feedforward_layernorm")?,
            head_norms: variant.qk_norm.then(head_norms).transpose()?,
            qkv_bias: variant.qkv_bias.then(biases).transpose()?,
            q_proj,
            k_proj,
            v_proj,
            o_proj: part("self_attn.o_proj")?,
            gate_proj,
            up_proj,
            down_proj: part("mlp.down_proj")?,
        })
    }

    /// Reads a norm's weights as what the normed numbers are multiplied by.
    pub(crate) fn read_norm(
        files: &ModelFiles,
        config: &ModelConfig,
        name: &str,
    ) -> Result<Tensor, EngineError> {
        let weight = read_tensor(files, name)?;
        match config.variant.norms_less_one {
            true => Ok((weight + 1.0)?),
            false => Ok(weight),
        }
    }

    /// Shows the matrix of a linear layer.
    pub(crate) fn linear(&self, target: Target) -> &Tensor {
        match target {
            Target::Q => &self.q_proj,
            Target::K => &self.k_proj,
            Target::V => &self.v_proj,
            Target::O => &self.o_proj,
            Target::Gate => &self.gate_proj,
            Target::Up => &self.up_proj,
            Target::Down => &self.down_proj,
        }
    }

    /// Shows a norm, where the family has it.
    pub(crate) fn norm(&self, norm: Norm) -> Option<&Tensor> {
        let heads = self.head_norms.as_ref();
        match norm {
            Norm::Input => Some(&self.input_norm),
            Norm::Attention => self.attention_norm.as_ref(),
            Norm::FeedForward => Some(&self.feed_forward_norm),
            Norm::Output => self.output_norm.as_ref(),
            Norm::Queries => heads.map(|[queries, _]| queries),
            Norm::Keys => heads.map(|[_, keys]| keys),
        }
    }

    /// Shows the bias of a linear layer, where it has one.
    pub(crate) fn bias(&self, target: Target) -> Option<&Tensor> {
        // In the order of `Target::ALL`.
        self.qkv_bias.as_ref()?.get(target as usize)
    }

    /// Goes through all tensors.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        let Self {
            input_norm,
            attention_norm,
            feed_forward_norm,
            output_norm,
            head_norms,
            qkv_bias,
            q_proj,
            k_proj,
            v_proj,
            o_proj,
            gate_proj,
            up_proj,
            down_proj,
        } = self;
        let some = [attention_norm, output_norm].into_iter().flatten();
        let heads = head_norms.iter().flatten();
        let biases = qkv_bias.iter().flatten();
        let always = [
            input_norm,
            feed_forward_norm,
            q_proj,
            k_proj,
            v_proj,
            o_proj,
            gate_proj,
            up_proj,
            down_proj,
        ];
        always.into_iter().chain(some).chain(heads).chain(biases)
    }
}

/// Reads a matrix a block of rows at a time, rounded to bf16.
fn read_rounded(
    files: &ModelFiles,
    name: &str,
    (rows, width): (usize, usize),
) -> Result<Tensor, EngineError> {
    const ROWS_AT_ONCE: usize = 4096;
    let mut rounded = Vec::with_capacity(rows * width);
    for first in (0..rows).step_by(ROWS_AT_ONCE) {
        let mut block = vec![0f32; ROWS_AT_ONCE.min(rows - first) * width];
        files.read_rows(name, first, &mut block)?;
        rounded.extend(block.into_iter().map(bf16::from_f32));
    }
    Ok(Tensor::from_vec(rounded, (rows, width), &Device::Cpu)?)
}

/// Cuts a matrix into matrices of so many rows.
fn rows<const N: usize>(matrix: &Tensor, counts: [usize; N]) -> Result<[Tensor; N], EngineError> {
    let mut first = 0;
    let mut parts = Vec::with_capacity(N);
    for count in counts {
        parts.push(matrix.narrow(0, first, count)?.copy()?);
        first += count;
    }
    Ok(parts.try_into().expect("as many parts as counts"))
}

/// Reads a tensor in Hugging Face's layout, f32 on the CPU.
pub(crate) fn read_tensor(files: &ModelFiles, name: &str) -> Result<Tensor, EngineError> {
    let (shape, data) = files.read_f32(name)?;
    Ok(Tensor::from_vec(data, shape, &Device::Cpu)?)
}
