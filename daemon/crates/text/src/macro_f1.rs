//! Macro-F1: how well each label of a classification is found, the rare ones counting as much as the frequent.

use std::collections::BTreeMap;

/// Computes the mean of the labels' F1, 0 to 1, from (predicted, reference) pairs.
///
/// The mean goes over every label that was predicted or stands as a reference, as scikit-learn's
/// `f1_score(average="macro")` has it. `None` is an answer that is no label: it misses its reference and is no label itself.
/// Of no pairs it is 0.
pub fn macro_f1<L: Copy + Ord>(pairs: impl IntoIterator<Item = (Option<L>, L)>) -> f64 {
    let mut counts: BTreeMap<L, Counts> = BTreeMap::new();
    for (predicted, reference) in pairs {
        counts.entry(reference).or_default().mentions += 1;
        if let Some(predicted) = predicted {
            let count = counts.entry(predicted).or_default();
            count.mentions += 1;
            count.matches += u32::from(predicted == reference);
        }
    }
    let sum: f64 = counts.values().map(Counts::f1).sum();
    sum / counts.len().max(1) as f64
}

/// What was seen of one label.
#[derive(Default)]
struct Counts {
    /// How often it was predicted rightly.
    matches: u32,
    /// How often it was predicted or was the reference, each counted.
    mentions: u32,
}

impl Counts {
    /// Twice the matches over predictions and references: the harmonic mean of precision and recall.
    fn f1(&self) -> f64 {
        2.0 * f64::from(self.matches) / f64::from(self.mentions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_by_hand() {
        let check = |pairs: &[(Option<u8>, u8)], expect: f64| {
            let found = macro_f1(pairs.iter().copied());
            assert!((found - expect).abs() < 1e-12, "{pairs:?}: {found}");
        };
        check(&[], 0.0);
        check(&[(Some(0), 0), (Some(1), 1)], 1.0);
        // The example in scikit-learn's documentation: references 0 1 2 0 1 2, predictions 0 2 1 0 0 1. Label 0 has 2
        // matches of 3 predictions and 2 references, F1 4/5; the others have none.
        let documented = [(0, 0), (2, 1), (1, 2), (0, 0), (0, 1), (1, 2)];
        check(&documented.map(|(p, r)| (Some(p), r)), 0.8 / 3.0);
        // All of one label: 3 matches of 4 and 3 make 6/7, the rare label is never found.
        check(
            &[(Some(0), 0), (Some(0), 0), (Some(0), 0), (Some(0), 1)],
            3.0 / 7.0,
        );
        // A label that is predicted and never right counts with 0: (2/3 + 0) / 2.
        check(&[(Some(0), 0), (Some(1), 0)], 1.0 / 3.0);
        // An answer that is no label misses, and counts as no label of its own: 2/3.
        check(&[(Some(0), 0), (None, 0)], 2.0 / 3.0);
        check(&[(None, 0)], 0.0);
    }
}
