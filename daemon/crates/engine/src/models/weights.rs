//! A model's weights as f32 candle tensors in Hugging Face's layout, for training.
//!
//! Generation does not use these: it has packed copies of its own. They are made when training asks for them.

use candle_core::{Device, Tensor};

use super::config::ModelConfig;
use super::family::Variant;
use super::files::ModelFiles;
use super::foreign::is_foreign;
use crate::EngineError;

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

/// The tensors of one layer, f32 on the CPU, rows of q and k in the order that half-split rope takes.
#[derive(Clone, Debug)]
pub struct LayerWeights {
    /// The norm before attention, `[hidden_size]`.
    pub input_layernorm: Tensor,
    /// The norm before the feed-forward part, `[hidden_size]`.
    pub post_attention_layernorm: Tensor,
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
    /// Reads and dequantises every tensor.
    ///
    /// # Errors
    /// [`EngineError::ModelFile`] when a tensor is missing or of another shape than the configuration says,
    /// [`EngineError::Io`] when the file cannot be read.
    pub(crate) fn load(files: &ModelFiles, config: &ModelConfig) -> Result<Self, EngineError> {
        if config.variant != Variant::default() || is_foreign(&config.architecture) {
            return Err(EngineError::unsupported(
                &files.path,
                "architecture",
                "a plain Llama, for training",
                format!("{}, which generates and scores", config.architecture),
            ));
        }
        let layers = (0..config.layers)
            .map(|index| LayerWeights::load(files, config, index))
            .collect::<Result<_, _>>()?;
        let lm_head = match config.tie_word_embeddings {
            true => None,
            false => Some(tensor(files, "lm_head.weight")?),
        };
        Ok(Self {
            embed_tokens: tensor(files, "model.embed_tokens.weight")?,
            layers,
            norm: tensor(files, "model.norm.weight")?,
            lm_head,
        })
    }
}

impl LayerWeights {
    fn load(files: &ModelFiles, _config: &ModelConfig, index: usize) -> Result<Self, EngineError> {
        let part = |name: &str| tensor(files, &format!("model.layers.{index}.{name}.weight"));
        Ok(Self {
            input_layernorm: part("input_layernorm")?,
            post_attention_layernorm: part("post_attention_layernorm")?,
            q_proj: part("self_attn.q_proj")?,
            k_proj: part("self_attn.k_proj")?,
            v_proj: part("self_attn.v_proj")?,
            o_proj: part("self_attn.o_proj")?,
            gate_proj: part("mlp.gate_proj")?,
            up_proj: part("mlp.up_proj")?,
            down_proj: part("mlp.down_proj")?,
        })
    }
}

fn tensor(files: &ModelFiles, name: &str) -> Result<Tensor, EngineError> {
    let (shape, data) = files.read_f32(name)?;
    Ok(Tensor::from_vec(data, shape, &Device::Cpu)?)
}
