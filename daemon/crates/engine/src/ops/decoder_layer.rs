//! A whole decoder layer of the Llama family (Touvron et al. 2023) and its relatives (`models/family.rs`).
//!
//! Takes x `[tokens, hidden]` and the layer's trainable numbers with its prefix `[taken]` (laid out by a [`Plan`]), and gives
//! the next x: by our kernels as one operation ([`super::fused_layer`]), or by candle's own.

use std::ops::Range;
use std::sync::Arc;

use autodidact_domain::random::Random;
use candle_core::{Result, Tensor};

use super::buffers::BufferPool;
use super::dropout::Dropout;
use super::fused_layer::FusedLayer;
use super::pause::Pause;
use super::plain;
use super::rope::{Heads, RopeTables};
use super::sequences::Sequences;
use crate::methods::{LayerPlan, Norm, Part, Plan, PrefixPlan, Target};
use crate::models::base::BaseLayer;
use crate::models::config::ModelConfig;
use crate::models::family::Activation;

/// What every layer of one batch shares.
pub(crate) struct Batch {
    /// The sequences.
    pub(crate) sequences: Sequences,
    /// Where the trainable numbers of every layer stand.
    pub(crate) plan: Arc<Plan>,
    /// The epsilon of all norms.
    pub(crate) epsilon: f32,
    /// The query heads; one group a key-and-value head.
    pub(crate) heads: Heads,
    /// What attention's scores are multiplied by.
    pub(crate) attention_scale: f32,
    /// The gate's activation.
    pub(crate) activation: Activation,
    /// The buffers.
    pub(crate) pool: Arc<BufferPool>,
    /// Before every larger operation of a layer.
    pub(crate) pause: Pause,
    /// Whether the backward makes a layer's inner states again, so that they are not kept.
    pub(crate) is_checkpointing: bool,
}

impl Batch {
    /// Describes a batch for a model.
    pub(crate) fn new(
        config: &ModelConfig,
        sequences: Sequences,
        plan: Arc<Plan>,
        pool: Arc<BufferPool>,
        pause: Pause,
        is_checkpointing: bool,
    ) -> Self {
        let heads = Heads {
            groups: config.kv_heads,
            group: config.heads / config.kv_heads,
            head_dim: config.head_dim,
        };
        Self {
            sequences,
            plan,
            epsilon: config.rms_norm_eps,
            heads,
            attention_scale: config.attention_scale(),
            activation: config.variant.activation,
            pool,
            pause,
            is_checkpointing,
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
    /// Which of the model's layers it is, from the input up.
    pub(crate) index: usize,
    /// The base's weights.
    pub(crate) weights: BaseLayer,
    /// What the layers share.
    pub(crate) batch: Arc<Batch>,
    /// The tables of at least the longest sequence's positions.
    pub(crate) rope: Arc<RopeTables>,
    /// Positions that a token sees, itself among them.
    pub(crate) window: usize,
    /// Where the layer's dropout masks of this step come from.
    pub(crate) dropout_key: u64,
    /// Whether anything below wants x's gradient.
    pub(crate) wants_input_gradient: bool,
}

impl DecoderLayer {
    /// Applies the layer by our kernels.
    pub(crate) fn fused(self, x: &Tensor, parameters: &Tensor) -> Result<Tensor> {
        assert!(
            self.batch.sequences.longest() <= self.rope.positions(),
            "a sequence longer than its rope tables"
        );
        x.apply_op2(parameters, FusedLayer::new(self))
    }

    /// Applies the layer by candle's own operations, on any device.
    pub(crate) fn plain(&self, x: &Tensor, parameters: &Tensor) -> Result<Tensor> {
        let weights = self.weights.read().map_err(candle_core::Error::wrap)?;
        let (weights, batch) = (&weights, &*self.batch);
        let linear = |x: &Tensor, target: Target| {
            let (weight, bias) = (weights.linear(target), weights.bias(target));
            let plan = self.plan().linear(target);
            plain::linear(x, weight, bias, plan, parameters, self.dropout(target))
        };
        let norm = |x: &Tensor, norm: Norm| {
            let trained = self.plan().norm(norm).map(|range| {
                let trained = parameters.narrow(0, range.start, range.len())?;
                trained + f64::from(batch.plan.norm_offset())
            });
            match (trained.transpose()?.as_ref(), weights.norm(norm)) {
                (Some(weight), _) | (None, Some(weight)) => {
                    plain::rms_norm(x, weight, batch.epsilon)
                }
                (None, None) => Ok(x.clone()),
            }
        };
        let head_dim = batch.heads.head_dim;
        let heads = |x: Tensor, of_heads: Norm| {
            let (tokens, width) = x.dims2()?;
            let heads = x.reshape((tokens * (width / head_dim), head_dim))?;
            let x = norm(&heads, of_heads)?.reshape((tokens, width))?;
            plain::rope(&x, &batch.sequences, head_dim, &self.rope)
        };
        let with_prefix = |rows: Tensor, part: fn(&PrefixPlan) -> &Range<usize>| {
            let Some(plan) = self.plan().prefix() else {
                return Ok(rows);
            };
            let range = part(plan);
            let prefix = parameters.narrow(0, range.start, range.len())?;
            plain::with_prefix(&rows, &prefix, &batch.sequences)
        };
        let with_bottleneck = |stream: Tensor, given: &Tensor, part: Part| {
            let Some(plan) = self.plan().bottleneck(part) else {
                return Ok(stream);
            };
            let taken = match plan.reads_stream {
                true => &stream,
                false => given,
            };
            &stream + plain::bottleneck(taken, plan, parameters)?
        };

        let normed = norm(x, Norm::Input)?;
        let q = linear(&normed, Target::Q)?;
        let k = linear(&normed, Target::K)?;
        let v = with_prefix(linear(&normed, Target::V)?, |plan| &plan.values)?;
        let (q, k) = (heads(q, Norm::Queries)?, heads(k, Norm::Keys)?);
        let k = with_prefix(k, |plan| &plan.keys)?;
        let attended = plain::attention(
            &q,
            &k,
            &v,
            &batch.sequences,
            batch.heads,
            batch.attention_scale,
            self.window,
        )?;
        let given = norm(&linear(&attended, Target::O)?, Norm::Attention)?;
        let middle = with_bottleneck((x + &given)?, &given, Part::Attention)?;
        let normed = norm(&middle, Norm::FeedForward)?;
        let gate = linear(&normed, Target::Gate)?;
        let up = linear(&normed, Target::Up)?;
        let product = plain::gated(&gate, &up, batch.activation)?;
        let given = norm(&linear(&product, Target::Down)?, Norm::Output)?;
        with_bottleneck((middle + &given)?, &given, Part::FeedForward)
    }

    /// Shows what is trained in the layer.
    pub(super) fn plan(&self) -> &LayerPlan {
        self.batch.plan.layer(self.index)
    }

    pub(super) fn dropout(&self, target: Target) -> Option<Dropout> {
        let update = self.plan().linear(target).low_rank.as_ref()?;
        let key = Random::from_seed(self.dropout_key.wrapping_add(target as u64)).next_u64();
        Dropout::new(update.dropout, key)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::methods::from_options;
    use crate::models::family::Variant;
    use crate::models::weights::LayerWeights;
    use crate::ops::testing::{assert_equals_plain, assert_same_gradients, frequencies, numbers};
    use autodidact_domain::TrainOptions;

    const ALL: [&str; 7] = [
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    ];

    fn config(variant: Variant) -> ModelConfig {
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
            variant,
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
        let vector = |width: usize, seed| {
            Tensor::from_vec(numbers(width, seed), width, &Device::Cpu).expect("a tensor")
        };
        let norm = |seed| vector(config.hidden_size, seed);
        let variant = &config.variant;
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let (q, kv) = (
            config.heads * config.head_dim,
            config.kv_heads * config.head_dim,
        );
        LayerWeights {
            input_norm: norm(11),
            attention_norm: variant.sandwich_norms.then(|| norm(20)),
            feed_forward_norm: norm(12),
            output_norm: variant.sandwich_norms.then(|| norm(21)),
            head_norms: variant
                .qk_norm
                .then(|| [vector(config.head_dim, 22), vector(config.head_dim, 23)]),
            qkv_bias: variant
                .qkv_bias
                .then(|| [vector(q, 24), vector(kv, 25), vector(kv, 26)]),
            q_proj: tensor(q, hidden, 13),
            k_proj: tensor(kv, hidden, 14),
            v_proj: tensor(kv, hidden, 15),
            o_proj: tensor(hidden, q, 16),
            gate_proj: tensor(inner, hidden, 17),
            up_proj: tensor(inner, hidden, 18),
            down_proj: tensor(hidden, inner, 19),
        }
    }

    fn check(targets: &[&str], dropout: f32, variant: Variant, window: usize) {
        let options = TrainOptions {
            r: 3,
            lora_alpha: 4.0,
            lora_dropout: dropout,
            ..TrainOptions::default()
        };
        check_method(options, targets, variant, window, false);
    }

    fn check_method(
        options: TrainOptions,
        targets: &[&str],
        variant: Variant,
        window: usize,
        is_checkpointing: bool,
    ) {
        let config = config(variant);
        let options = TrainOptions {
            target_modules: targets.iter().map(|name| name.to_string()).collect(),
            ..options
        };
        let recipe = from_options(&options, &config).expect("a configuration");
        let plan = Arc::new(recipe.plan().clone());
        let parameters = plan.layer(0).taken();
        let sequences = Sequences::new([7, 1, 5]);
        let tokens = sequences.tokens();
        let frequencies = frequencies(config.head_dim, config.rope_theta);
        let rope = Arc::new(RopeTables::new(7, &frequencies));
        let batch = Arc::new(Batch::new(
            &config,
            sequences,
            plan,
            BufferPool::new(tokens),
            Pause::never(),
            is_checkpointing,
        ));
        let weights = weights(&config);
        let layer = || DecoderLayer {
            index: 0,
            weights: BaseLayer::Held(weights.clone()),
            batch: batch.clone(),
            rope: rope.clone(),
            window,
            dropout_key: 5,
            wants_input_gradient: true,
        };
        let shapes: [&[usize]; 2] = [&[tokens, config.hidden_size], &[parameters]];
        let fused = |t: &[Tensor]| layer().fused(&t[0], &t[1]);
        let plain = |t: &[Tensor]| layer().plain(&t[0], &t[1]);
        // The gradient takes norms for constants, which differences do not; `linear.rs` holds them still and takes differences.
        match options.use_dora {
            true => drop(assert_equals_plain(&shapes, &fused, &plain)),
            false => assert_same_gradients(&shapes, &fused, &plain),
        }
    }

    #[test]
    fn equals_the_plain_path_and_its_finite_differences() {
        let plain = Variant::default;
        check(&["q_proj", "v_proj"], 0.0, plain(), usize::MAX);
        check(&ALL, 0.0, plain(), usize::MAX);
        check(&["o_proj", "down_proj", "k_proj"], 0.3, plain(), usize::MAX);
    }

    #[test]
    fn so_do_other_methods_and_what_is_made_again() {
        let plain = Variant::default;
        let biased = || Variant {
            qkv_bias: true,
            ..Variant::default()
        };
        let of = |method: &str, bias: &str| TrainOptions {
            method: method.into(),
            r: 3,
            bias: bias.into(),
            ..TrainOptions::default()
        };
        let ia3 = || of("ia3", "none");
        check_method(ia3(), &[], plain(), usize::MAX, false);
        check_method(ia3(), &ALL, biased(), 3, false);
        check_method(of("lora", "all"), &["q_proj", "o_proj"], biased(), 3, true);
        let dora = |bias| TrainOptions {
            use_dora: true,
            ..of("lora", bias)
        };
        check_method(dora("none"), &ALL, plain(), usize::MAX, true);
        check_method(dora("lora_only"), &ALL, biased(), 3, false);
        let like_gemma = Variant {
            qk_norm: true,
            sandwich_norms: true,
            ..plain()
        };
        check_method(of("lora", "none"), &ALL, like_gemma.clone(), 4, true);
        check_method(dora("none"), &ALL, like_gemma.clone(), 4, true);
        check_method(ia3(), &ALL, like_gemma, 4, true);
    }

    #[test]
    fn so_do_bottlenecks_prefixes_and_trained_weights() {
        let plain = Variant::default;
        let like_gemma = || Variant {
            qk_norm: true,
            sandwich_norms: true,
            published_norms_less_one: true,
            ..plain()
        };
        let biased = || Variant {
            qkv_bias: true,
            ..plain()
        };
        for variant in [plain(), like_gemma(), biased()] {
            for (method, bottleneck) in [
                ("adapter", "pfeiffer"),
                ("adapter", "houlsby"),
                ("prefix", "pfeiffer"),
                ("full", "pfeiffer"),
            ] {
                let options = TrainOptions {
                    method: method.into(),
                    bottleneck: bottleneck.into(),
                    non_linearity: "swish".into(),
                    reduction_factor: 5.0,
                    num_virtual_tokens: 1,
                    ..TrainOptions::default()
                };
                for (window, is_checkpointing) in [(usize::MAX, false), (3, true)] {
                    let options = options.clone();
                    check_method(options, &[], variant.clone(), window, is_checkpointing);
                }
            }
            let options = TrainOptions {
                modules_to_save: vec!["input_layernorm".into(), "k_proj".into()],
                ..TrainOptions::default()
            };
            check_method(options, &["q_proj"], variant, usize::MAX, false);
        }
    }

    #[test]
    fn so_does_what_families_add() {
        let biased = Variant {
            qkv_bias: true,
            ..Variant::default()
        };
        check(&ALL, 0.0, biased, 3);
        let like_gemma = Variant {
            qk_norm: true,
            sandwich_norms: true,
            activation: Activation::GeluTanh,
            attention_scale: Some(0.3),
            ..Variant::default()
        };
        check(&ALL, 0.0, like_gemma.clone(), 3);
        check(&["q_proj", "o_proj", "down_proj"], 0.3, like_gemma, 4);
    }
}
