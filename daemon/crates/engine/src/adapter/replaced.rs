//! Weights of an adapter in the place of the base's.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::EngineError;
use crate::engine::LoadedModel;
use crate::methods::{Module, Norm, Plan, Target};
use crate::models::config::ModelConfig;
use crate::models::files::ModelFiles;
use crate::models::replaced::Replaced;
use crate::models::tensor_names::{EMBEDDING, HEAD};

/// Lists the weights that stand in the base's places, as its files would have them.
pub(crate) fn replaced_weights(
    model: &LoadedModel,
    plan: &Plan,
    values: &[Vec<f32>],
) -> Result<BTreeMap<String, Replaced>, EngineError> {
    let config = &model.config;
    let outside_values = values.last().map(Vec::as_slice).unwrap_or_default();
    // What is trained is as Hugging Face has it; these files may have it otherwise.
    let norm_offset = match config.variant.norms_less_one {
        true => 0.0,
        false => plan.norm_offset(),
    };
    let mut replaced = BTreeMap::new();
    let mut put = |module: Module, values: &[f32], range: &Range<usize>| {
        let offset = if module.is_norm() { norm_offset } else { 0.0 };
        let data = values[range.clone()].iter().map(|x| x + offset);
        let tensor = Replaced {
            shape: module.shape(config),
            data: Arc::new(data.collect()),
        };
        replaced.insert(format!("{}.weight", module.path(config)), tensor);
    };
    for (index, layer) in plan.layers().iter().enumerate() {
        let values = values[index].as_slice();
        for target in Target::ALL {
            if let Some(range) = &layer.linear(target).weight {
                put(Module::Linear(index, target), values, range);
            }
        }
        for norm in Norm::ALL {
            if let Some(range) = layer.norm(norm) {
                put(Module::Norm(index, norm), values, range);
            }
        }
    }
    let outside = plan.outside();
    let is_one = outside.head() == outside.embedding();
    for (module, range) in [
        (Module::Embedding, outside.embedding()),
        (Module::LastNorm, outside.last_norm()),
        (Module::Head, outside.head().filter(|_| !is_one)),
    ] {
        if let Some(range) = range {
            put(module, outside_values, range);
        }
    }
    if let Some(both) = replaced.get(EMBEDDING).filter(|_| is_one).cloned() {
        replaced.insert(HEAD.into(), both);
    }
    fuse(&model.files, config, replaced)
}

/// Makes one matrix of those that a family's files have as one, where any of them is replaced.
fn fuse(
    files: &ModelFiles,
    config: &ModelConfig,
    mut replaced: BTreeMap<String, Replaced>,
) -> Result<BTreeMap<String, Replaced>, EngineError> {
    let several = || Target::matrices(config).iter().filter(|t| t.len() > 1);
    for index in 0..config.layers {
        for targets in several() {
            let name_of = |target: &Target| format!("{}.weight", target.path(index));
            let parts: Vec<Option<Replaced>> = targets
                .iter()
                .map(|target| replaced.remove(&name_of(target)))
                .collect();
            if parts.iter().all(Option::is_none) {
                continue;
            }
            let fused = format!("{}.weight", targets[0].matrix_path(index, config));
            let (shape, mut data) = files.read_f32(&fused)?;
            let mut first = 0;
            for (target, part) in targets.iter().zip(parts) {
                let (inputs, outputs) = target.widths(config);
                if let Some(part) = part {
                    data[first..first + inputs * outputs].copy_from_slice(&part.data);
                }
                first += inputs * outputs;
            }
            let data = Arc::new(data);
            replaced.insert(fused, Replaced { shape, data });
        }
    }
    Ok(replaced)
}
