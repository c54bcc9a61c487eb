//! Packs what an adapter changes for what runs the model.

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::{Device, Tensor};

use super::replaced::replaced_weights;
use crate::EngineError;
use crate::engine::LoadedModel;
use crate::kernels::ExactMatrix;
use crate::memory::Need;
use crate::methods::{LayerPlan, LinearPlan, Part, Plan, Target, VirtualTokens};
use crate::models::files::ModelFiles;
use crate::models::replaced::Replaced;
use crate::models::weights::LayerWeights;
use crate::ops::linear::row_norms;
use crate::runtime::Decoder;
use crate::runtime::device::{DeviceBottleneck, DeviceDecoder, DevicePrefix, DeviceUpdate};
use crate::runtime::updates::{
    BottleneckParts, BottleneckUpdate, LayerUpdates, LinearUpdate, LowRankPair, LowRankParts,
    ModelUpdates, PrefixRows, UpdateParts,
};

/// What runs the model, as far as it packs.
pub(super) trait Packer: Sized {
    type Linear;
    type Bottleneck;
    type Prefix;

    fn linear(&self, parts: &UpdateParts<'_>) -> Result<Self::Linear, EngineError>;
    fn bottleneck(&self, parts: &BottleneckParts<'_>) -> Result<Self::Bottleneck, EngineError>;
    fn prefix(&self, rows: PrefixRows) -> Result<Self::Prefix, EngineError>;
    fn with(&self, replaced: &ModelFiles) -> Result<Self, EngineError>;
}

impl Packer for Decoder {
    type Linear = LinearUpdate;
    type Bottleneck = BottleneckUpdate;
    type Prefix = PrefixRows;

    fn linear(&self, parts: &UpdateParts<'_>) -> Result<LinearUpdate, EngineError> {
        let low_rank = |parts: &LowRankParts<'_>| LowRankPair {
            a: ExactMatrix::pack(parts.rank, parts.inputs, parts.a, 1.0),
            b: ExactMatrix::pack(parts.outputs, parts.rank, parts.b, parts.scale),
        };
        Ok(LinearUpdate {
            low_rank: parts.low_rank.as_ref().map(low_rank),
            factors: parts.factors.clone(),
            shift: parts.shift.clone(),
            input_factors: parts.input_factors.map(<[f32]>::to_vec),
        })
    }

    fn bottleneck(&self, parts: &BottleneckParts<'_>) -> Result<BottleneckUpdate, EngineError> {
        Ok(BottleneckUpdate::pack(parts))
    }

    fn prefix(&self, rows: PrefixRows) -> Result<PrefixRows, EngineError> {
        Ok(rows)
    }

    fn with(&self, replaced: &ModelFiles) -> Result<Self, EngineError> {
        Decoder::with(self, replaced)
    }
}

impl Packer for DeviceDecoder {
    type Linear = DeviceUpdate;
    type Bottleneck = DeviceBottleneck;
    type Prefix = DevicePrefix;

    fn linear(&self, parts: &UpdateParts<'_>) -> Result<DeviceUpdate, EngineError> {
        self.update(parts)
    }

    fn bottleneck(&self, parts: &BottleneckParts<'_>) -> Result<DeviceBottleneck, EngineError> {
        Ok(DeviceBottleneck::new(parts, self.device())?)
    }

    fn prefix(&self, rows: PrefixRows) -> Result<DevicePrefix, EngineError> {
        Ok(DevicePrefix::new(&rows, self.device())?)
    }

    fn with(&self, replaced: &ModelFiles) -> Result<Self, EngineError> {
        DeviceDecoder::with(self, replaced)
    }
}

pub(super) type LayerOf<P> =
    LayerUpdates<<P as Packer>::Linear, <P as Packer>::Bottleneck, <P as Packer>::Prefix>;
pub(super) type UpdatesOf<P> = ModelUpdates<P, LayerOf<P>>;

/// An adapter's numbers, to be packed.
pub(super) struct Packing<'a> {
    pub(super) model: &'a LoadedModel,
    pub(super) plan: &'a Plan,
    /// Of every slice.
    pub(super) values: &'a [Vec<f32>],
}

impl Packing<'_> {
    pub(super) fn pack<P: Packer>(&self, packer: &P) -> Result<UpdatesOf<P>, EngineError> {
        let (model, plan) = (self.model, self.plan);
        let mut layers = Vec::with_capacity(plan.layers().len());
        for (index, plan) in plan.layers().iter().enumerate() {
            layers.push(self.layer(packer, index, plan)?);
        }
        let outside = self.outside();
        let virtual_rows = match plan.outside().virtual_tokens() {
            None => Vec::new(),
            Some(VirtualTokens::Prompt { rows, .. }) => outside[rows.clone()].to_vec(),
            Some(VirtualTokens::Prefix { count, encoder }) => {
                let slice = Tensor::from_slice(outside, outside.len(), &Device::Cpu)?;
                let table = encoder.table(&slice, *count)?;
                let table = table.reshape((*count, 2 * layers.len(), ()))?;
                for (index, layer) in layers.iter_mut().enumerate() {
                    let part = |part| table.narrow(1, part, 1)?.flatten_all()?.to_vec1::<f32>();
                    layer.prefix = Some(packer.prefix(PrefixRows {
                        keys: part(2 * index)?,
                        values: part(2 * index + 1)?,
                    })?);
                }
                vec![0.0; count * model.config.hidden_size]
            }
        };
        let replaced = replaced_weights(model, plan, self.values)?;
        let decoder = match replaced.is_empty() {
            true => None,
            false => {
                self.check_memory(&replaced)?;
                Some(Box::new(packer.with(&model.files.with(replaced))?))
            }
        };
        Ok(ModelUpdates {
            layers,
            virtual_rows,
            decoder,
        })
    }

    /// Refuses weights of the adapter's own that there is no room to pack beside the base's.
    fn check_memory(&self, replaced: &BTreeMap<String, Replaced>) -> Result<(), EngineError> {
        let numbers: usize = replaced.values().map(|one| one.data.len()).sum();
        let need = Need {
            what: "an adapter with weights in the place of the base's".into(),
            parts: &[("the weights packed", (numbers * size_of::<f32>()) as u64)],
            advice: "train fewer modules, export the whole model and use that, or make more memory available",
        };
        need.check(self.model.room.bytes())
    }

    fn outside(&self) -> &[f32] {
        self.values.last().map(Vec::as_slice).unwrap_or_default()
    }

    fn layer<P: Packer>(
        &self,
        packer: &P,
        index: usize,
        plan: &LayerPlan,
    ) -> Result<LayerOf<P>, EngineError> {
        let (model, values) = (self.model, self.values[index].as_slice());
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
        let acts = |plan: &LinearPlan| plan.is_updated() || plan.bias.is_some();
        for (target, plan) in targets.into_iter().filter(|(_, plan)| acts(plan)) {
            let widths = target.widths(&model.config);
            let parts = parts(target, widths, plan, values, base.as_ref())?;
            layer.linear[target as usize] = Some(packer.linear(&parts)?);
        }
        for part in Part::ALL {
            let Some(plan) = plan.bottleneck(part) else {
                continue;
            };
            let of = |range: &Range<usize>| &values[range.clone()];
            let parts = BottleneckParts {
                down: [of(&plan.down), of(&plan.down_bias)],
                up: [of(&plan.up), of(&plan.up_bias)],
                plan,
            };
            layer.bottlenecks[part as usize] = Some(packer.bottleneck(&parts)?);
        }
        Ok(layer)
    }
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
