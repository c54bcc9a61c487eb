//! Trained adapters, ready to generate with.

use autodidact_domain::{Checkpoint, Digest};

use crate::EngineError;
use crate::engine::LoadedModel;
use crate::kernels::ExactMatrix;
use crate::methods::{self, LinearPlan, Plan, Target};
use crate::models::weights::LayerWeights;
use crate::ops::linear::row_norms;
use crate::runtime::Runner;
use crate::runtime::device::DeviceUpdate;
use crate::runtime::updates::{
    LayerUpdates, LinearUpdate, LowRankPair, LowRankParts, UpdateParts, Updates,
};

/// An adapter of one base, packed for generation. The base's weights stay as they are.
pub struct Adapter {
    base_digest: Digest,
    updates: Updates,
}

impl Adapter {
    /// Packs a checkpoint's adapter for a base.
    ///
    /// # Errors
    /// [`EngineError::Adapter`] when it belongs to another base, is of an unknown method, or has a setting or tensor too few, too
    /// many or of the wrong kind; what reading the base gives, where the adapter depends on its numbers.
    pub fn from_checkpoint(
        model: &LoadedModel,
        checkpoint: &Checkpoint,
    ) -> Result<Self, EngineError> {
        let meta = &checkpoint.meta;
        let recipe = methods::from_settings(&meta.method, &meta.adapter_config, &model.config)?;
        if meta.base_digest != model.info.digest {
            return Err(EngineError::adapter(
                "base digest",
                format!("that of {}, {}", model.path.display(), model.info.digest),
                format!("{} ({})", meta.base_digest, meta.model),
            ));
        }
        let plan = recipe.plan();
        let values = plan.read_tensors("", &checkpoint.adapter)?;
        let updates = match &model.decoder {
            Runner::Device(decoder) => {
                Updates::Device(pack(model, plan, &values, &|parts| decoder.update(parts))?)
            }
            Runner::Own(_) | Runner::Foreign(_) => {
                Updates::Own(pack(model, plan, &values, &|parts| Ok(own_update(parts)))?)
            }
        };
        Ok(Self {
            base_digest: meta.base_digest,
            updates,
        })
    }

    /// Tells the bytes it takes in memory.
    pub fn bytes(&self) -> usize {
        match &self.updates {
            Updates::Own(layers) => {
                let updates = layers.iter().flat_map(LayerUpdates::all);
                updates.map(LinearUpdate::bytes).sum()
            }
            Updates::Device(layers) => {
                let updates = layers.iter().flat_map(LayerUpdates::all);
                updates.map(DeviceUpdate::bytes).sum()
            }
        }
    }
}

impl LoadedModel {
    /// Shows an adapter's updates after checking that it is this base's.
    pub(crate) fn updates_of<'a>(
        &self,
        adapter: Option<&'a Adapter>,
    ) -> Result<Option<&'a Updates>, EngineError> {
        let is_packed_for_this = |adapter: &Adapter| {
            let on_device = matches!(self.decoder, Runner::Device(_));
            on_device == matches!(adapter.updates, Updates::Device(_))
        };
        match adapter {
            Some(_) if self.decoder.is_foreign() => Err(EngineError::adapter(
                "architecture",
                "one that adapters fit",
                &self.info.architecture,
            )),
            Some(adapter) if adapter.base_digest != self.info.digest => Err(EngineError::adapter(
                "base digest",
                self.info.digest,
                adapter.base_digest,
            )),
            Some(adapter) if !is_packed_for_this(adapter) => Err(EngineError::adapter(
                "device",
                "one that was packed for this model's device",
                "one that was packed for another",
            )),
            adapter => Ok(adapter.map(|adapter| &adapter.updates)),
        }
    }
}

fn own_update(parts: &UpdateParts<'_>) -> LinearUpdate {
    let low_rank = |parts: &LowRankParts<'_>| LowRankPair {
        a: ExactMatrix::pack(parts.rank, parts.inputs, parts.a, 1.0),
        b: ExactMatrix::pack(parts.outputs, parts.rank, parts.b, parts.scale),
    };
    LinearUpdate {
        low_rank: parts.low_rank.as_ref().map(low_rank),
        factors: parts.factors.clone(),
        shift: parts.shift.clone(),
        input_factors: parts.input_factors.map(<[f32]>::to_vec),
    }
}

/// Makes the update of one linear layer.
type MakeUpdate<'a, U> = dyn Fn(&UpdateParts<'_>) -> Result<U, EngineError> + 'a;

fn pack<U>(
    model: &LoadedModel,
    plan: &Plan,
    values: &[Vec<f32>],
    make_update: &MakeUpdate<'_, U>,
) -> Result<Vec<LayerUpdates<U>>, EngineError> {
    let mut layers = Vec::with_capacity(values.len());
    for (index, values) in values.iter().enumerate() {
        let plan = plan.layer(index);
        let targets = Target::ALL.map(|target| (target, plan.linear(target)));
        let depends = targets.iter().any(|(target, plan)| {
            let has_bias = target.has_bias(&model.config);
            plan.magnitude.is_some() || plan.bias.is_some() || (plan.scales_output() && has_bias)
        });
        let base = match depends {
            true => Some(LayerWeights::load(&model.files, &model.config, index)?),
            false => None,
        };
        let mut layer = LayerUpdates::default();
        for (target, plan) in targets.into_iter().filter(|(_, plan)| plan.is_trained()) {
            let widths = target.widths(&model.config);
            let parts = parts(target, widths, plan, values, base.as_ref())?;
            layer.linear[target as usize] = Some(make_update(&parts)?);
        }
        layers.push(layer);
    }
    Ok(layers)
}

/// Works out what an adapter's numbers change about one linear layer; `base` where that depends on the base's numbers.
fn parts<'a>(
    target: Target,
    (inputs, outputs): (usize, usize),
    plan: &LinearPlan,
    values: &'a [f32],
    base: Option<&LayerWeights>,
) -> Result<UpdateParts<'a>, EngineError> {
    let low_rank = plan.low_rank.as_ref().map(|plan| LowRankParts {
        a: &values[plan.a.clone()],
        b: &values[plan.b.clone()],
        rank: plan.rank,
        inputs,
        outputs,
        scale: plan.scale,
    });
    let factors = match (&plan.output_scale, &plan.magnitude, base) {
        (Some(scale), ..) => Some(values[scale.clone()].to_vec()),
        (None, Some(magnitude), Some(base)) => {
            let weight = base.linear(target).flatten_all()?.to_vec1::<f32>()?;
            let norms = row_norms(&weight, (inputs, outputs), plan, values);
            let magnitudes = values[magnitude.clone()].iter();
            Some(magnitudes.zip(&norms).map(|(m, norm)| m / norm).collect())
        }
        _ => None,
    };
    let bias = base.and_then(|base| base.bias(target));
    let shift = match bias {
        Some(bias) if plan.bias.is_some() || plan.output_scale.is_some() => {
            let bias = bias.to_vec1::<f32>()?;
            let mut shift = match &plan.bias {
                Some(range) => values[range.clone()].to_vec(),
                None => bias.clone(),
            };
            if let (Some(_), Some(factors)) = (&plan.output_scale, &factors) {
                shift.iter_mut().zip(factors).for_each(|(b, f)| *b *= f);
            }
            shift.iter_mut().zip(&bias).for_each(|(b, base)| *b -= base);
            Some(shift)
        }
        _ => None,
    };
    Ok(UpdateParts {
        low_rank,
        factors,
        shift,
        input_factors: plan.input_scale.clone().map(|range| &values[range]),
    })
}
