//! Adapters as other tools know them: one module a matrix, where some families hold several linear layers in one (Phi-3).
//!
//! Out, the layers' updates become one: their A stand one below the other, their B in blocks along the diagonal, with their scales
//! in them. In, every layer takes the whole of A and its own rows of B, which computes the same.

use std::collections::BTreeMap;

use autodidact_domain::{Checkpoint, NamedTensor};
use serde_json::{Value as Json, json};

use super::Contents;
use crate::methods::{KEY_PREFIX, LinearPlan, Plan, Recipe, Target, number};
use crate::models::config::ModelConfig;
use crate::models::weights::LayerWeights;
use crate::{EngineError, LoadedModel};

/// A low-rank update of one matrix: W + scale·B·A.
pub(super) struct MatrixUpdate {
    /// The matrix, as transformers' models name it.
    pub(super) path: String,
    /// The linear layers whose rows it holds.
    pub(super) targets: &'static [Target],
    pub(super) rank: usize,
    pub(super) scale: f32,
    /// `[rank, inputs]`.
    pub(super) a: Vec<f32>,
    /// `[outputs, rank]`, of all layers of the matrix.
    pub(super) b: Vec<f32>,
}

impl MatrixUpdate {
    /// Joins the updates of a matrix's layers; none where there are none.
    fn of(
        config: &ModelConfig,
        targets: &'static [Target],
        layer: usize,
        plan: &Plan,
        values: &[f32],
    ) -> Option<Self> {
        let plan = |target: Target| plan.layer(layer).linear(target).low_rank.as_ref();
        let path = targets[0].matrix_path(layer, config);
        if let [target] = targets {
            let update = plan(*target)?;
            return Some(Self {
                path,
                targets,
                rank: update.rank,
                scale: update.scale,
                a: values[update.a.clone()].to_vec(),
                b: values[update.b.clone()].to_vec(),
            });
        }
        let updates = || targets.iter().filter_map(|target| plan(*target));
        let rank: usize = updates().map(|update| update.rank).sum();
        let a: Vec<f32> = updates()
            .flat_map(|u| &values[u.a.clone()])
            .copied()
            .collect();
        let (mut b, mut column) = (Vec::new(), 0);
        for target in targets {
            let start = b.len();
            b.resize(start + target.widths(config).1 * rank, 0.0);
            let Some(update) = plan(*target) else {
                continue;
            };
            let rows = values[update.b.clone()].chunks_exact(update.rank);
            for (wide, row) in b[start..].chunks_exact_mut(rank.max(1)).zip(rows) {
                let place = &mut wide[column..column + update.rank];
                place
                    .iter_mut()
                    .zip(row)
                    .for_each(|(x, b)| *x = update.scale * b);
            }
            column += update.rank;
        }
        (rank > 0).then_some(Self {
            path,
            targets,
            rank,
            scale: 1.0,
            a,
            b,
        })
    }
}

/// Lists the low-rank updates of all matrices, from the input up.
pub(super) fn matrix_updates(
    config: &ModelConfig,
    plan: &Plan,
    values: &[Vec<f32>],
) -> Vec<MatrixUpdate> {
    let layers = values[..config.layers].iter().enumerate();
    layers
        .flat_map(|(layer, values)| {
            let matrices = Target::matrices(config).iter();
            matrices
                .filter_map(move |targets| MatrixUpdate::of(config, targets, layer, plan, values))
        })
        .collect()
}

/// Writes an adapter's settings and tensors with a module a matrix.
///
/// # Errors
/// What reading the base gives.
pub(super) fn join(
    model: &LoadedModel,
    checkpoint: &Checkpoint,
    recipe: &dyn Recipe,
) -> Result<Contents, EngineError> {
    let (config, plan) = (&model.config, recipe.plan());
    let values = plan.read_tensors("", &checkpoint.adapter)?;
    let mut tensors = whole_modules(config, plan, checkpoint)?;
    let mut put = |path: &str, what: &str, shape: Vec<usize>, data: Vec<f32>| {
        tensors.push(NamedTensor {
            name: format!("{KEY_PREFIX}{path}.{what}"),
            shape,
            data,
        });
    };
    let updates = matrix_updates(config, plan, &values);
    for update in &updates {
        let (inputs, outputs) = (update.a.len() / update.rank, update.b.len() / update.rank);
        let MatrixUpdate { path, rank, .. } = update;
        put(path, "lora_A.weight", vec![*rank, inputs], update.a.clone());
        put(
            path,
            "lora_B.weight",
            vec![outputs, *rank],
            update.b.clone(),
        );
    }
    let mut modules = Vec::new();
    for (layer, values) in values[..config.layers].iter().enumerate() {
        let base = LazyLayer(model, layer);
        for targets in Target::matrices(config) {
            let plans: Vec<(Target, &LinearPlan)> = targets
                .iter()
                .map(|target| (*target, plan.layer(layer).linear(*target)))
                .collect();
            if !plans.iter().any(|(_, plan)| plan.is_updated()) {
                continue;
            }
            let path = targets[0].matrix_path(layer, config);
            if let Some(range) = plans.iter().find_map(|(_, plan)| plan.input_scale.clone()) {
                put(&path, "ia3_l", vec![1, range.len()], values[range].to_vec());
            }
            if plans.iter().any(|(_, plan)| plan.output_scale.is_some()) {
                let mut factors = Vec::new();
                for (target, plan) in &plans {
                    match &plan.output_scale {
                        Some(range) => factors.extend(&values[range.clone()]),
                        None => factors.resize(factors.len() + target.widths(config).1, 1.0),
                    }
                }
                put(&path, "ia3_l", vec![factors.len(), 1], factors);
            }
            if plans.iter().any(|(_, plan)| plan.magnitude.is_some()) {
                let mut magnitudes = Vec::new();
                for (target, plan) in &plans {
                    match &plan.magnitude {
                        Some(range) => magnitudes.extend(&values[range.clone()]),
                        // Rows that nothing was trained about keep their norms.
                        None => magnitudes.extend(base.row_norms(*target)?),
                    }
                }
                let count = vec![magnitudes.len()];
                put(&path, "lora_magnitude_vector", count, magnitudes);
            }
            modules.push(path);
        }
    }
    let settings = settings(&checkpoint.meta.adapter_config, config, &updates, &modules);
    Ok((settings, tensors))
}

/// Lists the tensors of modules that are trained whole.
///
/// # Errors
/// [`EngineError::Invalid`] for a part of a matrix that other tools have as one module.
fn whole_modules(
    config: &ModelConfig,
    plan: &Plan,
    checkpoint: &Checkpoint,
) -> Result<Vec<NamedTensor>, EngineError> {
    for (index, layer) in plan.layers().iter().enumerate() {
        for targets in Target::matrices(config).iter().filter(|t| t.len() > 1) {
            let whole = targets.iter().find(|t| layer.linear(**t).weight.is_some());
            if let Some(target) = whole {
                return Err(EngineError::Invalid(format!(
                    "format: peft knows {} as one module; expected it to be trained whole, or not, found {} trained whole",
                    target.matrix_path(index, config),
                    target.path(index)
                )));
            }
        }
    }
    let is_update = |name: &str| [".lora_", ".ia3_"].iter().any(|part| name.contains(part));
    let tensors = checkpoint.adapter.iter();
    Ok(tensors
        .filter(|tensor| !is_update(&tensor.name))
        .cloned()
        .collect())
}

/// A layer of the base that is read where it is needed.
struct LazyLayer<'a>(&'a LoadedModel, usize);

impl LazyLayer<'_> {
    fn row_norms(&self, target: Target) -> Result<Vec<f32>, EngineError> {
        let Self(model, layer) = self;
        let weights = LayerWeights::load(&model.files, &model.config, *layer)?;
        Ok(weights.linear(target).sqr()?.sum(1)?.sqrt()?.to_vec1()?)
    }
}

/// Says of the matrices what the settings said of the layers.
fn settings(
    own: &Json,
    config: &ModelConfig,
    updates: &[MatrixUpdate],
    modules: &[String],
) -> Json {
    let mut settings = own.clone();
    settings["target_modules"] = json!(module_names(config, modules));
    if let Some(most) = updates.iter().map(|update| update.rank).max() {
        let alpha = |update: &MatrixUpdate| update.scale * update.rank as f32;
        let others = updates.iter().filter(|update| update.rank != most);
        let ranks: BTreeMap<&str, usize> = others.map(|u| (u.path.as_str(), u.rank)).collect();
        let others = updates.iter().filter(|update| alpha(update) != most as f32);
        let alphas: BTreeMap<&str, Json> = others
            .map(|update| (update.path.as_str(), number(alpha(update))))
            .collect();
        settings["r"] = json!(most);
        settings["lora_alpha"] = json!(most);
        settings["use_rslora"] = json!(false);
        settings["rank_pattern"] = json!(ranks);
        settings["alpha_pattern"] = json!(alphas);
    }
    settings
}

/// Names modules by their last names where every decoder layer has the same ones, else by whole paths.
fn module_names(config: &ModelConfig, modules: &[String]) -> Vec<String> {
    let of_layer = |layer: usize| -> Vec<&str> {
        let prefix = format!("model.layers.{layer}.");
        let here = modules.iter().filter(|path| path.starts_with(&prefix));
        here.filter_map(|path| path.rsplit('.').next()).collect()
    };
    let first = of_layer(0);
    match (1..config.layers).all(|layer| of_layer(layer) == first) {
        true => first.into_iter().map(String::from).collect(),
        false => modules.to_vec(),
    }
}

/// Gives every layer of a matrix its own tensors.
///
/// # Errors
/// [`EngineError::Adapter`] where a tensor has not as many rows as its matrix.
pub(super) fn split(
    config: &ModelConfig,
    tensors: Vec<NamedTensor>,
) -> Result<Vec<NamedTensor>, EngineError> {
    let mut places = BTreeMap::new();
    for layer in 0..config.layers {
        for targets in Target::matrices(config).iter().filter(|t| t.len() > 1) {
            let prefix = format!("{KEY_PREFIX}{}.", targets[0].matrix_path(layer, config));
            places.insert(prefix, (layer, *targets));
        }
    }
    let mut own = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        let place = places.iter().find_map(|(prefix, place)| {
            let what = tensor.name.strip_prefix(prefix.as_str())?;
            Some((what.to_string(), *place))
        });
        let Some((what, (layer, targets))) = place else {
            own.push(tensor);
            continue;
        };
        if what == "lora_A.weight" {
            own.extend(targets.iter().map(|target| NamedTensor {
                name: target.key(layer, &what),
                ..tensor.clone()
            }));
            continue;
        }
        let rows: usize = targets.iter().map(|target| target.widths(config).1).sum();
        if tensor.shape.first() != Some(&rows) || !tensor.data.len().is_multiple_of(rows) {
            let (expected, found) = (format!("{rows} rows"), format!("{:?}", tensor.shape));
            return Err(EngineError::adapter(tensor.name, expected, found));
        }
        let (width, mut rest) = (tensor.data.len() / rows, tensor.data.as_slice());
        for target in targets {
            let outputs = target.widths(config).1;
            let (part, after) = rest.split_at(outputs * width);
            rest = after;
            let mut shape = tensor.shape.clone();
            shape[0] = outputs;
            own.push(NamedTensor {
                name: target.key(layer, &what),
                shape,
                data: part.to_vec(),
            });
        }
    }
    Ok(own)
}
