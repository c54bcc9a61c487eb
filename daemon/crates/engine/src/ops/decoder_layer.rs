//! A whole decoder layer of the Llama family (Touvron et al. 2023).
//!
//! Takes x `[tokens, hidden]` and the layer's trainable numbers `[parameters]` (laid out by a [`LoraPlan`]), and gives
//! the next x: by our kernels as one operation ([`super::fused_layer`]), or by candle's own.

use std::sync::Arc;

use autodidact_domain::random::Random;
use candle_core::{Result, Tensor};

use super::buffers::BufferPool;
use super::dropout::Dropout;
use super::fused_layer::FusedLayer;
use super::plain;
use super::rope::{Heads, RopeTables};
use super::sequences::Sequences;
use crate::methods::lora::{LoraPlan, Target};
use crate::models::config::ModelConfig;
use crate::models::weights::LayerWeights;

/// What every layer of one batch shares.
pub(crate) struct Batch {
    /// The sequences.
    pub(crate) sequences: Sequences,
    /// The tables of at least the longest one's positions.
    pub(crate) rope: Arc<RopeTables>,
    /// Where the trainable numbers of a layer stand.
    pub(crate) plan: Arc<LoraPlan>,
    /// The epsilon of both norms.
    pub(crate) epsilon: f32,
    /// The query heads; one group a key-and-value head.
    pub(crate) heads: Heads,
    /// The buffers.
    pub(crate) pool: Arc<BufferPool>,
}

impl Batch {
    /// Describes a batch for a model.
    pub(crate) fn new(
        config: &ModelConfig,
        sequences: Sequences,
        rope: Arc<RopeTables>,
        plan: Arc<LoraPlan>,
        pool: Arc<BufferPool>,
    ) -> Self {
        assert!(
            sequences.longest() <= rope.positions(),
            "a sequence longer than its rope tables"
        );
        let heads = Heads {
            groups: config.kv_heads,
            group: config.heads / config.kv_heads,
            head_dim: config.head_dim,
        };
        Self {
            sequences,
            rope,
            plan,
            epsilon: config.rms_norm_eps,
            heads,
            pool,
        }
    }

    pub(super) fn kv_heads(&self) -> Heads {
        Heads {
            group: 1,
            ..self.heads
        }
    }
}

/// One layer on one batch.
pub(crate) struct DecoderLayer {
    /// The frozen weights.
    pub(crate) weights: LayerWeights,
    /// What the layers share.
    pub(crate) batch: Arc<Batch>,
    /// Where the layer's dropout masks of this step come from.
    pub(crate) dropout_key: u64,
    /// Whether anything below wants x's gradient.
    pub(crate) wants_input_gradient: bool,
}

impl DecoderLayer {
    /// Applies the layer by our kernels.
    pub(crate) fn fused(self, x: &Tensor, parameters: &Tensor) -> Result<Tensor> {
        x.apply_op2(parameters, FusedLayer::new(self))
    }

    /// Applies the layer by candle's own operations, on any device.
    pub(crate) fn plain(&self, x: &Tensor, parameters: &Tensor) -> Result<Tensor> {
        let (weights, batch) = (&self.weights, &*self.batch);
        let linear = |x: &Tensor, weight: &Tensor, target: Target| {
            let Some(slot) = batch.plan.slot(target) else {
                return plain::linear(x, weight, None);
            };
            let rank = batch.plan.rank();
            let a = parameters
                .narrow(0, slot.a.start, slot.a.len())?
                .reshape((rank, slot.inputs))?;
            let b = parameters
                .narrow(0, slot.b.start, slot.b.len())?
                .reshape((slot.outputs, rank))?;
            let scale = f64::from(batch.plan.scale());
            plain::linear(
                x,
                weight,
                Some(&plain::LowRank {
                    a: &a,
                    b: &b,
                    scale,
                    dropout: self.dropout(target),
                }),
            )
        };
        let rope = |x: &Tensor| plain::rope(x, &batch.sequences, batch.heads.head_dim, &batch.rope);

        let normed = plain::rms_norm(x, &weights.input_layernorm, batch.epsilon)?;
        let q = rope(&linear(&normed, &weights.q_proj, Target::Q)?)?;
        let k = rope(&linear(&normed, &weights.k_proj, Target::K)?)?;
        let v = linear(&normed, &weights.v_proj, Target::V)?;
        let attended = plain::attention(&q, &k, &v, &batch.sequences, batch.heads)?;
        let middle = (x + linear(&attended, &weights.o_proj, Target::O)?)?;
        let normed = plain::rms_norm(&middle, &weights.post_attention_layernorm, batch.epsilon)?;
        let gate = linear(&normed, &weights.gate_proj, Target::Gate)?;
        let up = linear(&normed, &weights.up_proj, Target::Up)?;
        middle
            + linear(
                &plain::swiglu(&gate, &up)?,
                &weights.down_proj,
                Target::Down,
            )?
    }

    pub(super) fn dropout(&self, target: Target) -> Option<Dropout> {
        let key = Random::from_seed(self.dropout_key.wrapping_add(target as u64)).next_u64();
        Dropout::new(self.batch.plan.dropout(), key)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::methods::lora::LoraConfig;
    use crate::ops::testing::{assert_same_gradients, numbers};

    fn config() -> ModelConfig {
        ModelConfig {
            architecture: "llama".into(),
            vocab_size: 32,
            hidden_size: 24,
            intermediate_size: 40,
            layers: 1,
            heads: 4,
            kv_heads: 2,
            head_dim: 6,
            rms_norm_eps: 1e-5,
            rope_theta: 10_000.0,
            context_length: 64,
            tie_word_embeddings: true,
            eos_ids: vec![],
            bos_id: None,
            add_bos: false,
            variant: Default::default(),
        }
    }

    fn weights(config: &ModelConfig) -> LayerWeights {
        let tensor = |outputs: usize, inputs: usize, seed| {
            let scale = (3.0 / inputs as f32).sqrt();
            let values: Vec<f32> = numbers(outputs * inputs, seed)
                .iter()
                .map(|x| x * scale)
                .collect();
            Tensor::from_vec(values, (outputs, inputs), &Device::Cpu).expect("a tensor")
        };
        let norm = |seed| {
            Tensor::from_vec(
                numbers(config.hidden_size, seed),
                config.hidden_size,
                &Device::Cpu,
            )
            .expect("a tensor")
        };
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let (q, kv) = (
            config.heads * config.head_dim,
            config.kv_heads * config.head_dim,
        );
        LayerWeights {
            input_layernorm: norm(11),
            post_attention_layernorm: norm(12),
            q_proj: tensor(q, hidden, 13),
            k_proj: tensor(kv, hidden, 14),
            v_proj: tensor(kv, hidden, 15),
            o_proj: tensor(hidden, q, 16),
            gate_proj: tensor(inner, hidden, 17),
            up_proj: tensor(inner, hidden, 18),
            down_proj: tensor(hidden, inner, 19),
        }
    }

    fn check(targets: &[&str], dropout: f32) {
        let config = config();
        let targets: Vec<String> = targets.iter().map(|name| name.to_string()).collect();
        let lora = LoraConfig::new(3, 4.0, dropout, &targets).expect("a configuration");
        let plan = Arc::new(LoraPlan::new(&lora, &config));
        let sequences = Sequences::new([7, 1, 5]);
        let tokens = sequences.tokens();
        let rope = Arc::new(RopeTables::new(7, config.head_dim, config.rope_theta));
        let batch = Arc::new(Batch::new(
            &config,
            sequences,
            rope,
            plan.clone(),
            BufferPool::new(tokens),
        ));
        let weights = weights(&config);
        let layer = || DecoderLayer {
            weights: weights.clone(),
            batch: batch.clone(),
            dropout_key: 5,
            wants_input_gradient: true,
        };
        assert_same_gradients(
            &[&[tokens, config.hidden_size], &[plan.parameters()]],
            &|t| layer().fused(&t[0], &t[1]),
            &|t| layer().plain(&t[0], &t[1]),
        );
    }

    #[test]
    fn equals_the_plain_path_and_its_finite_differences() {
        check(&["q_proj", "v_proj"], 0.0);
        check(
            &[
                "q_proj",
                "k_proj",
                "v_proj",
                "o_proj",
                "gate_proj",
                "up_proj",
                "down_proj",
            ],
            0.0,
        );
        check(&["o_proj", "down_proj", "k_proj"], 0.3);
    }
}
