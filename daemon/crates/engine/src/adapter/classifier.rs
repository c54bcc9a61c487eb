//! A trained head of labels.

use crate::methods::{Labelling, Plan};

/// A head, ready to be used.
pub(crate) struct Classifier {
    /// What it gives.
    pub(crate) labelling: Labelling,
    /// `[labels, hidden]`.
    weight: Vec<f32>,
    /// `[labels]`; zeros where the task has none.
    bias: Vec<f32>,
}

impl Classifier {
    /// Takes a head's numbers from those of a plan; none where the plan has no head.
    pub(super) fn new(
        labelling: Option<&Labelling>,
        plan: &Plan,
        values: &[Vec<f32>],
    ) -> Option<Self> {
        let (labelling, places) = (labelling?, plan.outside().classifier()?);
        let outside = values.last()?;
        let bias = match &places.bias {
            Some(range) => outside[range.clone()].to_vec(),
            None => vec![0.0; places.labels],
        };
        Some(Self {
            labelling: labelling.clone(),
            weight: outside[places.weight.clone()].to_vec(),
            bias,
        })
    }

    /// Computes the labels' logits of a state `[hidden]`.
    pub(crate) fn logits(&self, state: &[f32]) -> Vec<f32> {
        let rows = self.weight.chunks_exact(state.len());
        let logit = |(row, bias): (&[f32], &f32)| {
            let products = row.iter().zip(state);
            let sum: f64 = products.map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
            (sum + f64::from(*bias)) as f32
        };
        rows.zip(&self.bias).map(logit).collect()
    }

    /// Tells the bytes it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        (self.weight.len() + self.bias.len()) * size_of::<f32>()
    }
}
