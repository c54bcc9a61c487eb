//! The modules of a decoder that have weights of their own, and what they are called in transformers' models.

use super::target::Target;
use crate::EngineError;
use crate::models::base::BaseWeights;
use crate::models::config::ModelConfig;

/// A norm of a decoder layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Norm {
    /// Before attention.
    Input,
    /// Of what attention adds.
    Attention,
    /// Before the feed-forward part.
    FeedForward,
    /// Of what the feed-forward part adds.
    Output,
    /// Of the heads of q.
    Queries,
    /// Of the heads of k.
    Keys,
}

impl Norm {
    /// All of them, in the order of their discriminants.
    pub(crate) const ALL: [Self; 6] = [
        Self::Input,
        Self::Attention,
        Self::FeedForward,
        Self::Output,
        Self::Queries,
        Self::Keys,
    ];

    /// Tells whether a family's layers have it.
    fn is_in(self, config: &ModelConfig) -> bool {
        match self {
            Self::Input | Self::FeedForward => true,
            Self::Attention | Self::Output => config.variant.sandwich_norms,
            Self::Queries | Self::Keys => config.variant.qk_norm,
        }
    }

    fn name(self, config: &ModelConfig) -> &'static str {
        match self {
            Self::Input => "input_layernorm",
            Self::Attention => "post_attention_layernorm",
            Self::FeedForward if config.variant.sandwich_norms => "pre_feedforward_layernorm",
            Self::FeedForward => "post_attention_layernorm",
            Self::Output => "post_feedforward_layernorm",
            Self::Queries => "self_attn.q_norm",
            Self::Keys => "self_attn.k_norm",
        }
    }
}

/// A module with weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Module {
    /// The rows of tokens that go in.
    Embedding,
    Linear(usize, Target),
    Norm(usize, Norm),
    /// After the last layer.
    LastNorm,
    /// The rows of tokens that come out; its own even where the base has one matrix for both.
    Head,
}

impl Module {
    /// Lists a model's modules, from the input up.
    pub(crate) fn all(config: &ModelConfig) -> Vec<Self> {
        let mut modules = vec![Self::Embedding];
        for layer in 0..config.layers {
            let linear = Target::ALL.map(|target| Self::Linear(layer, target));
            modules.extend(linear);
            let norms = Norm::ALL.into_iter().filter(|norm| norm.is_in(config));
            modules.extend(norms.map(|norm| Self::Norm(layer, norm)));
        }
        modules.extend([Self::LastNorm, Self::Head]);
        modules
    }

    /// Tells the path in transformers' models, without `.weight`.
    pub(crate) fn path(self, config: &ModelConfig) -> String {
        match self {
            Self::Embedding => "model.embed_tokens".into(),
            Self::Linear(layer, target) => target.path(layer),
            Self::Norm(layer, norm) => format!("model.layers.{layer}.{}", norm.name(config)),
            Self::LastNorm => "model.norm".into(),
            Self::Head => "lm_head".into(),
        }
    }

    /// Tells the shape of its weight.
    pub(crate) fn shape(self, config: &ModelConfig) -> Vec<usize> {
        let hidden = config.hidden_size;
        match self {
            Self::Embedding | Self::Head => vec![config.vocab_size, hidden],
            Self::Linear(_, target) => {
                let (inputs, outputs) = target.widths(config);
                vec![outputs, inputs]
            }
            Self::Norm(_, Norm::Queries | Norm::Keys) => vec![config.head_dim],
            Self::Norm(..) | Self::LastNorm => vec![hidden],
        }
    }

    /// Tells whether it is a norm, which weight decay leaves alone.
    pub(crate) fn is_norm(self) -> bool {
        matches!(self, Self::Norm(..) | Self::LastNorm)
    }

    /// Reads the base's weight as Hugging Face has it: `is_less_one` where norms are stored less one.
    pub(super) fn read(
        self,
        base: &BaseWeights,
        is_less_one: bool,
    ) -> Result<Vec<f32>, EngineError> {
        let weight = match self {
            Self::Embedding => base.embedding().whole()?,
            Self::Head => base.head().whole()?,
            Self::LastNorm => base.norm().clone(),
            Self::Linear(layer, target) => base.layer(layer).read()?.linear(target).clone(),
            Self::Norm(layer, norm) => {
                let layer = base.layer(layer).read()?;
                let found = layer.norm(norm).cloned();
                found.ok_or_else(|| EngineError::Invalid("the base has no such norm".into()))?
            }
        };
        let mut values = weight.flatten_all()?.to_vec1::<f32>()?;
        if is_less_one && self.is_norm() {
            values.iter_mut().for_each(|x| *x -= 1.0);
        }
        Ok(values)
    }
}

/// Finds the modules that PEFT's `modules_to_save` means: those whose path ends with an entry.
///
/// # Errors
/// [`EngineError::Invalid`] about `field` when an entry means none.
pub(super) fn select_by_suffix(
    field: &str,
    entries: &[String],
    config: &ModelConfig,
) -> Result<Vec<Module>, EngineError> {
    let all = Module::all(config);
    let paths: Vec<String> = all.iter().map(|module| module.path(config)).collect();
    let mut is_chosen = vec![false; all.len()];
    for entry in entries {
        let mut any = false;
        for (path, is_chosen) in paths.iter().zip(&mut is_chosen) {
            if !entry.is_empty() && path.ends_with(entry.as_str()) {
                (any, *is_chosen) = (true, true);
            }
        }
        if !any {
            let names = Module::names(config);
            let nearest = super::target::nearest(entry, &names);
            return Err(EngineError::Invalid(format!(
                "{field}: no module's path ends with {entry:?}; did you mean {nearest:?}? expected any of {}",
                names.join(", ")
            )));
        }
    }
    let chosen = all.into_iter().zip(is_chosen);
    Ok(chosen
        .filter_map(|(module, is_chosen)| is_chosen.then_some(module))
        .collect())
}

impl Module {
    /// Lists the last parts of all paths, each once.
    pub(super) fn names(config: &ModelConfig) -> Vec<String> {
        let mut names = Vec::new();
        for module in Self::all(config) {
            let path = module.path(config);
            let name = path.rsplit('.').next().unwrap_or_default().to_string();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}
