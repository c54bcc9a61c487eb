//! The weights of a layer while they are read, with the numbers that stand in their places.

use std::borrow::Cow;

use candle_core::{Result, Tensor};

use crate::methods::{Norm, Target};
use crate::models::weights::LayerWeights;
use crate::ops::decoder_layer::DecoderLayer;
use crate::ops::linear::{Frozen, Linear};
use crate::ops::storage::Reading;

/// The weights of a layer.
pub(super) struct ReadWeights<'a> {
    norms: [Option<Reading<'a>>; Norm::ALL.len()],
    /// Of q, k and v.
    biases: Option<[Reading<'a>; 3]>,
    linear: [(Reading<'a>, &'a Tensor); Target::ALL.len()],
}

/// What the norms multiply by; none where the family has no such norm.
pub(super) struct Norms<'a>([Option<Cow<'a, [f32]>>; Norm::ALL.len()]);

impl<'a> ReadWeights<'a> {
    pub(super) fn of(weights: &'a LayerWeights) -> Self {
        Self {
            norms: Norm::ALL.map(|norm| weights.norm(norm).map(Reading::of)),
            biases: weights
                .qkv_bias
                .as_ref()
                .map(|biases| biases.each_ref().map(Reading::of)),
            linear: Target::ALL.map(|target| {
                let tensor = weights.linear(target);
                (Reading::of(tensor), tensor)
            }),
        }
    }

    /// Shows a linear layer as it is in this step.
    pub(super) fn linear<'b>(
        &'b self,
        target: Target,
        layer: &'b DecoderLayer,
        parameters: &'b [f32],
    ) -> Result<Linear<'b>> {
        let (reading, tensor) = &self.linear[target as usize];
        let (outputs, inputs) = tensor.dims2()?;
        let plan = layer.plan().linear(target);
        let frozen = Frozen {
            weight: match plan.weight.clone() {
                Some(range) => &parameters[range],
                None => reading.slice()?,
            },
            inputs,
            outputs,
        };
        let biases = self.biases.as_ref();
        let bias = biases.and_then(|biases| biases.get(target as usize));
        let bias = bias.map(Reading::slice).transpose()?;
        let dropout = layer.dropout(target);
        Ok(Linear::new(frozen, bias, plan, parameters, dropout))
    }

    /// Shows the norms as they are in this step.
    pub(super) fn norms(&self, layer: &DecoderLayer, parameters: &[f32]) -> Result<Norms<'_>> {
        let offset = layer.batch.plan.norm_offset();
        let mut norms = Norm::ALL.map(|_| None);
        for (norm, place) in Norm::ALL.into_iter().zip(&mut norms) {
            *place = match (layer.plan().norm(norm), &self.norms[norm as usize]) {
                (Some(range), _) => {
                    let trained = parameters[range.clone()].iter();
                    Some(Cow::Owned(trained.map(|x| x + offset).collect()))
                }
                (None, Some(reading)) => Some(Cow::Borrowed(reading.slice()?)),
                (None, None) => None,
            };
        }
        Ok(Norms(norms))
    }

    /// Tells the width of what a linear layer gives.
    pub(super) fn outputs(&self, target: Target) -> Result<usize> {
        Ok(self.linear[target as usize].1.dims2()?.0)
    }
}

impl Norms<'_> {
    /// Shows a norm that some families have.
    pub(super) fn find(&self, norm: Norm) -> Option<&[f32]> {
        self.0[norm as usize].as_deref()
    }

    /// Shows a norm that every family has.
    pub(super) fn of(&self, norm: Norm) -> &[f32] {
        self.find(norm).expect("a norm of every family")
    }
}
