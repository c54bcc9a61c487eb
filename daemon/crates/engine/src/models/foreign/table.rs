//! The architectures: how each is built, and what its files say otherwise than candle-transformers reads it.

use std::sync::PoisonError;

use candle_core::{DType, Device, Error, IndexOp, Result, Tensor, bail};
use candle_nn::VarBuilder;
use candle_transformers::models;
use serde_json::Value as Json;

use super::{ForeignModel, Weights};

type Build = fn(Json, Weights<'_>) -> Result<Box<dyn ForeignModel>>;

/// One architecture.
pub(super) struct Row {
    /// `model_type` of `config.json`.
    pub(super) name: &'static str,
    /// Builds the model from its configuration, with common names, and its tensors.
    pub(super) build: Build,
    /// Gives fields that are called otherwise, or left out, the names that most architectures have.
    pub(super) rename: fn(&mut Json),
    /// What a tensor of that name is multiplied by as it is read.
    pub(super) factor: fn(&Json, &str) -> f64,
    /// The ways of scaling the rotary embedding that it computes.
    pub(super) rope_scalings: &'static [&'static str],
}

impl Row {
    const fn new(name: &'static str, build: Build) -> Self {
        Self {
            name,
            build,
            rename: |_| {},
            factor: |_, _| 1.0,
            rope_scalings: &[],
        }
    }

    const fn scaling_rope(self, rope_scalings: &'static [&'static str]) -> Self {
        Self {
            rope_scalings,
            ..self
        }
    }

    const fn renamed(self, rename: fn(&mut Json)) -> Self {
        Self { rename, ..self }
    }

    const fn with_factor(self, factor: fn(&Json, &str) -> f64) -> Self {
        Self { factor, ..self }
    }
}

/// Positions of the longest published models of the kind, StarCoder's.
const LONGEST_BIGCODE: usize = 8192;

/// The table.
pub(super) const FOREIGN: &[Row] = &[
    Row::new("deepseek_v2", |config, weights| {
        let model = models::deepseek2::DeepSeekV2::new(&read(config)?, weights.builder)?;
        Ok(Box::new(model))
    })
    .renamed(|config| {
        for field in ["n_group", "topk_group"] {
            set_missing(config, field, 1.into());
        }
        set_missing(config, "attention_bias", false.into());
        // Newer files have it there, under newer names.
        if config["rope_scaling"].is_null() && config["rope_parameters"]["rope_type"] == "yarn" {
            let mut rope = config["rope_parameters"].clone();
            rope["type"] = "yarn".into();
            config["rope_scaling"] = rope;
        }
    })
    .scaling_rope(&["yarn"]),
    // By the tanh form of GELU, 0.0003 off the logits of the exact form that the files ask for.
    Row::new("falcon", |config, weights| {
        let config: models::falcon::Config = read(config)?;
        config.validate()?;
        Ok(Box::new(models::falcon::Falcon::load(
            weights.builder,
            config,
        )?))
    })
    .renamed(|config| {
        // It turns by tables that it makes as it goes.
        set_missing(config, "max_position_embeddings", 2048.into());
        let four_times = config["hidden_size"].as_u64().map(|width| 4 * width);
        let ffn = config["ffn_hidden_size"].as_u64().or(four_times);
        set_missing(config, "intermediate_size", ffn.into());
        for (field, value) in [("hidden_dropout", 0), ("attention_dropout", 0)] {
            set_missing(config, field, value.into());
        }
        set_missing(config, "initializer_range", 0.02.into());
        set_missing(config, "use_cache", true.into());
    }),
    Row::new("gemma", |config, weights| {
        let model = models::gemma::Model::new(false, &read(config)?, weights.builder)?;
        Ok(Box::new(model))
    }),
    Row::new("gemma2", |config, weights| {
        let model = models::gemma2::Model::new(false, &read(config)?, weights.builder)?;
        Ok(Box::new(model))
    }),
    Row::new("glm4", |config, weights| {
        let model = models::glm4_new::ModelForCausalLM::new(&read(config)?, weights.builder)?;
        Ok(Box::new(model))
    }),
    Row::new("gpt_bigcode", |config, weights| {
        refuse_other(&config, "activation_function", "gelu_pytorch_tanh")?;
        let count = |field: &str| match config[field].as_u64() {
            Some(count) => Ok(count as usize),
            None => bail!("{field} is no count"),
        };
        // It keeps a mask of as many rows and columns.
        let longest = count("max_position_embeddings")?;
        if longest > LONGEST_BIGCODE {
            bail!("n_positions {longest}, above {LONGEST_BIGCODE}");
        }
        let config = models::bigcode::Config {
            vocab_size: count("vocab_size")?,
            max_position_embeddings: longest,
            num_hidden_layers: count("num_hidden_layers")?,
            hidden_size: count("hidden_size")?,
            layer_norm_epsilon: config["layer_norm_epsilon"].as_f64().unwrap_or(1e-5),
            n_inner: Some(count("intermediate_size")?),
            num_attention_heads: count("num_attention_heads")?,
            multi_query: config["multi_query"].as_bool().unwrap_or(true),
            use_cache: true,
        };
        let again = move |weights: VarBuilder<'_>| {
            // Its configuration cannot be cloned.
            let config = models::bigcode::Config { ..config };
            models::bigcode::GPTBigCode::load(weights, config)
        };
        Rebuilt::boxed(weights, again, |model, ids, position| {
            model.forward(ids, position)
        })
    })
    .renamed(|config| {
        for (name, theirs) in [
            ("hidden_size", "n_embd"),
            ("num_hidden_layers", "n_layer"),
            ("num_attention_heads", "n_head"),
            ("max_position_embeddings", "n_positions"),
            ("intermediate_size", "n_inner"),
        ] {
            let value = config[theirs].clone();
            set_missing(config, name, value);
        }
        let four_times = config["hidden_size"].as_u64().map(|width| 4 * width);
        set_missing(config, "intermediate_size", four_times.into());
    }),
    Row::new("granite", |config, weights| {
        let config: models::granite::GraniteConfig = read(config)?;
        let config = config.into_config(false);
        let fresh = models::granite::Cache::new(true, DType::F32, &config, &Device::Cpu)?;
        let model = models::granite::Granite::load(weights.builder, &config)?;
        Stateful::boxed(
            model,
            move || Ok(fresh.clone()),
            |model, state, ids, position| model.forward(ids, position, state),
        )
    })
    // All are linear, so the tensors can carry them.
    .with_factor(|config, name| {
        let multiplier = |field: &str| config[field].as_f64().unwrap_or(1.0);
        let part = |name: &str, parts: &[&str]| parts.iter().any(|part| name.contains(part));
        let heads = config["num_attention_heads"].as_f64().unwrap_or(1.0);
        let head_dim = config["hidden_size"].as_f64().unwrap_or(1.0) / heads;
        match name {
            "model.embed_tokens.weight" => multiplier("embedding_multiplier"),
            "lm_head.weight" => 1.0 / multiplier("logits_scaling"),
            // Attention's scores are divided by the root of the width, where they have a factor of their own.
            name if part(name, &["q_proj."]) => {
                multiplier("attention_multiplier") * head_dim.sqrt()
            }
            name if part(name, &["o_proj.", "down_proj."]) => multiplier("residual_multiplier"),
            _ => 1.0,
        }
    }),
    Row::new("granitemoehybrid", |config, weights| {
        use models::granitemoehybrid::{
            GraniteMoeHybrid, GraniteMoeHybridCache, GraniteMoeHybridConfig,
        };
        if config["num_local_experts"]
            .as_u64()
            .is_some_and(|experts| experts > 0)
        {
            bail!(
                "num_local_experts {}: experts are not computed",
                config["num_local_experts"]
            );
        }
        let config: GraniteMoeHybridConfig = read(config)?;
        let config = config.into_config(false);
        let fresh = GraniteMoeHybridCache::new(true, DType::F32, &config, &Device::Cpu)?;
        let model = GraniteMoeHybrid::load(weights.builder, &config)?;
        Stateful::boxed(
            model,
            move || Ok(fresh.clone()),
            |model, state, ids, position| model.forward(ids, position, state),
        )
    })
    .renamed(|config| {
        for layer in config["layer_types"].as_array_mut().into_iter().flatten() {
            match layer.as_str() {
                Some("full_attention") => *layer = "attention".into(),
                Some("linear_attention") => *layer = "mamba".into(),
                _ => {}
            }
        }
    }),
    Row::new("helium", |config, weights| {
        let model = models::helium::Model::new(&read(config)?, weights.builder)?;
        Ok(Box::new(model))
    }),
    Row::new("lfm2", |config, weights| {
        let config: models::lfm2::Lfm2Config = read(config)?;
        let config = config.into_config(false);
        let fresh = models::lfm2::Cache::new(true, DType::F32, &config, &Device::Cpu)?;
        let model = models::lfm2::Model::new(&config, weights.builder)?;
        Stateful::boxed(
            model,
            move || Ok(fresh.clone()),
            |model, state, ids, position| {
                one_by_one(ids, position, |ids, position| {
                    model.forward(ids, position, state)
                })
            },
        )
    })
    .renamed(|config| {
        let tied = config["tie_word_embeddings"].clone();
        set_missing(config, "tie_embedding", tied);
    }),
    Row::new("mamba", |config, weights| {
        refuse_other_epsilon(&config)?;
        refuse_own_head(&weights)?;
        let config: models::mamba::Config = read(config)?;
        let weights = weights
            .builder
            .rename_f(|name| name.replace("embedding.", "embeddings."));
        let model = models::mamba::Model::new(&config, weights.pp("backbone"))?;
        let fresh = move || models::mamba::State::new(1, &config, DType::F32, &Device::Cpu);
        Stateful::boxed(model, fresh, |model, state, ids, _| {
            token_by_token(ids, |id| model.forward(id, state))
        })
    })
    .renamed(|config| {
        rename_mamba(config);
        for (name, theirs) in [("d_model", "hidden_size"), ("n_layer", "num_hidden_layers")] {
            let value = config[theirs].clone();
            set_missing(config, name, value);
        }
    }),
    Row::new("mamba2", |config, weights| {
        refuse_other_epsilon(&config)?;
        refuse_own_head(&weights)?;
        let config: models::mamba2::Config = read(config)?;
        if config.ngroups != 1 {
            bail!("n_groups {}, where 1 is normed as a whole", config.ngroups);
        }
        let model = models::mamba2::Model::new(&config, weights.builder.pp("backbone"))?;
        let fresh = move || models::mamba2::State::new(1, &config, DType::F32, &Device::Cpu);
        Stateful::boxed(model, fresh, |model, state, ids, _| {
            token_by_token(ids, |id| model.forward(id, state))
        })
    })
    .renamed(rename_mamba),
    Row::new("mixtral", |config, weights| {
        let model = models::mixtral::Model::new(&read(config)?, weights.builder)?;
        Ok(Copied::boxed(model, |model, ids, position| {
            model.forward(ids, position)
        }))
    })
    .renamed(|config| {
        without_window(config);
        set_missing(config, "use_flash_attn", false.into());
    }),
    Row::new("olmo", |config, weights| {
        let model = models::olmo::Model::new(&read(config)?, weights.builder)?;
        Ok(Box::new(model))
    }),
    Row::new("olmo2", |config, weights| {
        let model = models::olmo2::Model::new(&read(config)?, weights.builder)?;
        Ok(Box::new(model))
    }),
    Row::new("phi", |config, weights| {
        let model = models::phi::Model::new(&read(config)?, weights.builder)?;
        Ok(Box::new(model))
    }),
    Row::new("qwen2_moe", |config, weights| {
        let model = models::qwen2_moe::Model::new(&read(config)?, weights.builder)?;
        Ok(Box::new(model))
    })
    .renamed(without_window),
    Row::new("qwen3_moe", |config, weights| {
        let model = models::qwen3_moe::ModelForCausalLM::new(&read(config)?, weights.builder)?;
        Ok(Box::new(model))
    })
    .renamed(|config| {
        let layers = config["num_hidden_layers"].clone();
        set_missing(config, "max_window_layers", layers);
        // Newer files have it under this name.
        let experts = config["num_local_experts"].clone();
        set_missing(config, "num_experts", experts);
    }),
    // Embeddings are scaled by the root of the width, where transformers rounds it to bf16.
    Row::new("recurrent_gemma", |config, weights| {
        let weights = weights.builder.pp("model");
        let model = models::recurrent_gemma::Model::new(&read(config)?, weights)?;
        Ok(Copied::boxed(model, |model, ids, position| {
            one_by_one(ids, position, |ids, position| model.forward(ids, position))
        }))
    })
    .renamed(|config| {
        let longest = config["max_seq_len"].as_u64().unwrap_or(8192);
        set_missing(config, "max_position_embeddings", longest.into());
    }),
    Row::new("smollm3", |config, weights| {
        let model = models::smol::smollm3::ModelForCausalLM::new(&read(config)?, weights.builder)?;
        Ok(Box::new(model))
    }),
    Row::new("stablelm", |config, weights| {
        for field in ["qk_layernorm", "use_parallel_residual"] {
            if config[field].as_bool().unwrap_or(false) {
                bail!("{field}, which is not computed");
            }
        }
        let config: models::stable_lm::Config = read(config)?;
        let again = move |weights: VarBuilder<'_>| models::stable_lm::Model::new(&config, weights);
        Rebuilt::boxed(weights, again, |model, ids, position| {
            model.forward(ids, position)
        })
    })
    .renamed(|config| {
        set_missing(config, "use_cache", true.into());
        config["use_flash_attn"] = false.into();
    }),
    Row::new("starcoder2", |config, weights| {
        refuse_own_head(&weights)?;
        let model = models::starcoder2::Model::new(&read(config)?, weights.builder)?;
        Ok(Box::new(model))
    }),
];

macro_rules! foreign {
    ($($model:ty),* $(,)?) => {
        $(impl ForeignModel for $model {
            fn forward(&mut self, ids: &Tensor, position: usize) -> Result<Tensor> {
                <$model>::forward(self, ids, position)
            }

            fn clear(&mut self) -> Result<()> {
                self.clear_kv_cache();
                Ok(())
            }
        })*
    };
}

foreign!(
    models::deepseek2::DeepSeekV2,
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

/// Counts positions itself.
impl ForeignModel for models::phi::Model {
    fn forward(&mut self, ids: &Tensor, _position: usize) -> Result<Tensor> {
        models::phi::Model::forward(self, ids)
    }

    fn clear(&mut self) -> Result<()> {
        self.clear_kv_cache();
        Ok(())
    }
}

/// Counts positions itself, and takes several tokens at the beginning alone.
impl ForeignModel for models::falcon::Falcon {
    fn forward(&mut self, ids: &Tensor, position: usize) -> Result<Tensor> {
        one_by_one(ids, position, |ids, _| {
            models::falcon::Falcon::forward(self, ids)
        })
    }

    fn clear(&mut self) -> Result<()> {
        self.clear_kv_cache();
        Ok(())
    }
}

/// Cannot forget, so that each sequence begins with a copy (of the tables; the tensors are shared).
struct Copied<M> {
    fresh: M,
    model: M,
    forward: fn(&mut M, &Tensor, usize) -> Result<Tensor>,
}

impl<M: Clone + Send + 'static> Copied<M> {
    fn boxed(
        fresh: M,
        forward: fn(&mut M, &Tensor, usize) -> Result<Tensor>,
    ) -> Box<dyn ForeignModel> {
        Box::new(Self {
            model: fresh.clone(),
            fresh,
            forward,
        })
    }
}

impl<M: Clone + Send> ForeignModel for Copied<M> {
    fn forward(&mut self, ids: &Tensor, position: usize) -> Result<Tensor> {
        (self.forward)(&mut self.model, ids, position)
    }

    fn clear(&mut self) -> Result<()> {
        self.model = self.fresh.clone();
        Ok(())
    }
}

/// Can neither forget nor be copied, so that each sequence begins with a model made anew of the same tensors.
struct Rebuilt<M> {
    model: M,
    again: Box<dyn Fn() -> Result<M> + Send>,
    forward: fn(&mut M, &Tensor, usize) -> Result<Tensor>,
}

impl<M: Send + 'static> Rebuilt<M> {
    fn boxed(
        weights: Weights<'_>,
        build: impl Fn(VarBuilder<'_>) -> Result<M> + Send + 'static,
        forward: fn(&mut M, &Tensor, usize) -> Result<Tensor>,
    ) -> Result<Box<dyn ForeignModel>> {
        let model = build(weights.builder)?;
        let given = weights.given.lock().unwrap_or_else(PoisonError::into_inner);
        let tensors = given.clone();
        let again = move || {
            let weights = VarBuilder::from_tensors(tensors.clone(), DType::F32, &Device::Cpu);
            build(weights)
        };
        Ok(Box::new(Self {
            model,
            again: Box::new(again),
            forward,
        }))
    }
}

impl<M: Send> ForeignModel for Rebuilt<M> {
    fn forward(&mut self, ids: &Tensor, position: usize) -> Result<Tensor> {
        (self.forward)(&mut self.model, ids, position)
    }

    fn clear(&mut self) -> Result<()> {
        self.model = (self.again)()?;
        Ok(())
    }
}

/// Has its sequence beside it.
struct Stateful<M, S> {
    model: M,
    state: S,
    fresh: Box<dyn Fn() -> Result<S> + Send>,
    forward: fn(&M, &mut S, &Tensor, usize) -> Result<Tensor>,
}

impl<M: Send + 'static, S: Send + 'static> Stateful<M, S> {
    fn boxed(
        model: M,
        fresh: impl Fn() -> Result<S> + Send + 'static,
        forward: fn(&M, &mut S, &Tensor, usize) -> Result<Tensor>,
    ) -> Result<Box<dyn ForeignModel>> {
        Ok(Box::new(Self {
            model,
            state: fresh()?,
            fresh: Box::new(fresh),
            forward,
        }))
    }
}

impl<M: Send, S: Send> ForeignModel for Stateful<M, S> {
    fn forward(&mut self, ids: &Tensor, position: usize) -> Result<Tensor> {
        (self.forward)(&self.model, &mut self.state, ids, position)
    }

    fn clear(&mut self) -> Result<()> {
        self.state = (self.fresh)()?;
        Ok(())
    }
}

/// Gives what takes several tokens at the beginning of a sequence alone the later ones one by one.
fn one_by_one(
    ids: &Tensor,
    position: usize,
    mut forward: impl FnMut(&Tensor, usize) -> Result<Tensor>,
) -> Result<Tensor> {
    if position == 0 {
        return forward(ids, 0);
    }
    let mut logits = None;
    for at in 0..ids.dim(1)? {
        logits = Some(forward(&ids.narrow(1, at, 1)?, position + at)?);
    }
    logits.ok_or_else(|| Error::msg("no token"))
}

/// Gives what takes one token a call `[1]` all of them.
fn token_by_token(
    ids: &Tensor,
    mut forward: impl FnMut(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let mut logits = None;
    for at in 0..ids.dim(1)? {
        logits = Some(forward(&ids.i((0, at..at + 1))?)?);
    }
    logits.ok_or_else(|| Error::msg("no token"))
}

/// Names what the state-space models lack of what attention has; their states have no length.
fn rename_mamba(config: &mut Json) {
    let twice = config["hidden_size"].as_u64().map(|width| 2 * width);
    set_missing(config, "intermediate_size", twice.into());
    set_missing(config, "num_attention_heads", 1.into());
    set_missing(config, "max_position_embeddings", (1 << 20).into());
    config["pad_vocab_size_multiple"] = 1.into();
}

fn refuse_own_head(weights: &Weights<'_>) -> Result<()> {
    if weights.builder.contains_tensor("lm_head.weight") {
        bail!("lm_head.weight of its own, where the embedding's is used");
    }
    Ok(())
}

/// Refuses norms whose constant is not the one that is built into the state-space models.
fn refuse_other_epsilon(config: &Json) -> Result<()> {
    match config["layer_norm_epsilon"].as_f64() {
        Some(found) if (found - 1e-5).abs() > 1e-9 => {
            bail!("layer_norm_epsilon {found}, where 1e-5 is used")
        }
        _ => Ok(()),
    }
}

fn refuse_other(config: &Json, field: &str, expected: &str) -> Result<()> {
    match config[field].as_str() {
        Some(found) if found != expected => bail!("{field} {found}, where {expected} is used"),
        _ => Ok(()),
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
    serde_json::from_value(config).map_err(|error| Error::msg(format!("config.json: {error}")))
}
