//! Asking an adapter with a head for labels.

use serde::{Deserialize, Serialize};

use crate::training::TrainTask;

/// What is classified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClassifyInput {
    /// A text, which has one label.
    Text(String),
    /// A sentence in words, each of which has one.
    Words(Vec<String>),
}

impl ClassifyInput {
    /// Counts the labels that it should get.
    pub fn units(&self) -> usize {
        match self {
            Self::Text(_) => 1,
            Self::Words(words) => words.len(),
        }
    }
}

/// How likely every label is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Classifications {
    /// What the head was trained for.
    pub task: TrainTask,
    /// The labels, by their numbers.
    pub labels: Vec<String>,
    /// For each input: its text's figures, or those of every word.
    pub results: Vec<Vec<LabelScores>>,
}

/// The logarithms of the labels' probabilities, by the labels' numbers; empty for a word that lies beyond the model's context.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LabelScores(pub Vec<f32>);

impl LabelScores {
    /// Makes probabilities' logarithms of a head's logits.
    pub fn of_logits(logits: &[f32]) -> Self {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|x| f64::from(x - largest).exp()).sum();
        let log_sum = sum.ln();
        let scores = logits
            .iter()
            .map(|x| (f64::from(x - largest) - log_sum) as f32);
        Self(scores.collect())
    }

    /// Finds the likeliest label's number, the first of several; none where nothing was scored.
    pub fn best(&self) -> Option<usize> {
        let better = |best: usize, other: usize| match self.0[other] > self.0[best] {
            true => other,
            false => best,
        };
        (0..self.0.len()).reduce(better)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one_and_the_first_of_equals_is_best() {
        let scores = LabelScores::of_logits(&[1000.0, 1002.0, 1002.0]);
        let sum: f32 = scores.0.iter().map(|x| x.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{sum}");
        assert_eq!(scores.best(), Some(1));
        assert_eq!(LabelScores::default().best(), None);
    }
}
