//! The configuration; `config.schema.json` describes the same.

use serde::Deserialize;

/// What a workflow may set. A token is a word, a number, or one Chinese character.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The tokens of a sequence that counts as repeated when it comes again.
    pub ngram: usize,
    /// The largest share of tokens inside repeated sequences, 0 to 1.
    pub max_repeated_share: f64,
    /// Texts of fewer tokens are not measured by share.
    pub min_tokens: usize,
    /// How often the same sentence or line may stand in a text.
    pub max_same_sentence: usize,
    /// Sentences of fewer tokens are not counted ("Yes.").
    pub min_sentence_tokens: usize,
    /// How often the same word or phrase may stand in a row.
    pub max_run: usize,
}

impl Default for Config {
    fn default() -> Self {
        // No human answer in examples/data repeats a sequence of 5 tokens at all, and loops reach a half and more; what lies
        // between is left to lists and refrains.
        Self {
            ngram: 5,
            max_repeated_share: 0.35,
            min_tokens: 20,
            max_same_sentence: 2,
            min_sentence_tokens: 3,
            max_run: 4,
        }
    }
}

impl Config {
    /// Says what to mend, where something is out of range.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !(2..=64).contains(&self.ngram) {
            return Err(format!("ngram: expected 2 to 64, found {}", self.ngram));
        }
        if !(0.0..=1.0).contains(&self.max_repeated_share) {
            return Err(format!(
                "max_repeated_share: expected 0 to 1, found {}",
                self.max_repeated_share
            ));
        }
        let counts = [
            ("max_same_sentence", self.max_same_sentence),
            ("max_run", self.max_run),
        ];
        match counts.iter().find(|(_, count)| *count == 0) {
            Some((name, _)) => Err(format!("{name}: must be at least 1")),
            None => Ok(()),
        }
    }
}
