//! Texts as vectors: what makes them, what comes out, and which embedder is right for a language.

use serde::{Deserialize, Serialize};

use crate::{Language, ModelName, ModelRef, ModelSummary, PortError, PortResult};

/// The architectures that embed texts and cannot generate, as [`ModelSummary::architecture`] names them.
pub const ENCODER_ARCHITECTURES: [&str; 3] = ["bert", "roberta", "xlm-roberta"];

/// The greatest share of unknown tokens with which an embedder's vectors still tell texts apart.
pub const MAX_UNKNOWN_SHARE: f64 = 0.05;

/// What makes vectors of texts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmbedderRef {
    /// A registered encoder, with the pooling it was trained for.
    Encoder(ModelName),
    /// The mean of a generator's final hidden states.
    Generator(ModelRef),
    /// A generator's final hidden state of a text's last token, of which it makes the next word: for texts that end by asking
    /// for one word that says it all (Jiang et al. 2023, "Scaling Sentence Embeddings with Large Language Models", PromptEOL).
    LastState(ModelRef),
}

impl EmbedderRef {
    /// Tells how a registered model embeds: an encoder by itself, any other by its hidden states.
    pub fn of(summary: &ModelSummary) -> Self {
        if is_encoder(&summary.architecture) {
            Self::Encoder(summary.name.clone())
        } else {
            Self::Generator(ModelRef {
                model: summary.name.clone(),
                adapter: None,
            })
        }
    }

    /// Shows the registered model.
    pub fn model(&self) -> &ModelName {
        match self {
            Self::Encoder(name) => name,
            Self::Generator(reference) | Self::LastState(reference) => &reference.model,
        }
    }
}

/// Tells whether models of this architecture embed texts and cannot generate.
pub fn is_encoder(architecture: &str) -> bool {
    ENCODER_ARCHITECTURES.contains(&architecture)
}

/// How well an embedder knows some texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmbedReport {
    /// The texts' tokens, without the marks of beginning and end.
    pub tokens: u64,
    /// Those of them that stand for what the vocabulary lacks.
    pub unknown_tokens: u64,
}

impl EmbedReport {
    /// Tells the share of unknown tokens, from 0 to 1.
    pub fn unknown_share(&self) -> f64 {
        match self.tokens {
            0 => 0.0,
            tokens => self.unknown_tokens as f64 / tokens as f64,
        }
    }

    /// Refuses an embedder that does not know the texts.
    ///
    /// # Errors
    /// [`PortError::Invalid`] with the share and what to do, when it is over [`MAX_UNKNOWN_SHARE`].
    pub fn check(&self, embedder: &EmbedderRef) -> PortResult<()> {
        let share = self.unknown_share();
        if share <= MAX_UNKNOWN_SHARE {
            return Ok(());
        }
        Err(PortError::Invalid(format!(
            "{} does not know {:.1}% of these texts' tokens ({} of {}), and at most {:.0}% is let pass, since texts it does not know look all alike to it: use an embedder made for their language, or the generator itself (`generator` under [embedders] in the configuration)",
            embedder.model(),
            share * 100.0,
            self.unknown_tokens,
            self.tokens,
            MAX_UNKNOWN_SHARE * 100.0,
        )))
    }
}

/// Brings a vector to length 1; a vector of zeros stays one, as in PyTorch's `normalize`.
pub fn normalized(mut vector: Vec<f32>) -> Vec<f32> {
    let squares: f64 = vector.iter().map(|x| f64::from(*x).powi(2)).sum();
    let length = squares.sqrt().max(1e-12) as f32;
    vector.iter_mut().for_each(|x| *x /= length);
    vector
}

/// The vectors of some texts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Embeddings {
    /// One for each text, in their order, of length 1 in the Euclidean norm.
    pub vectors: Vec<Vec<f32>>,
    /// The texts' tokens, without the marks of beginning and end.
    pub tokens: u64,
    /// Those of them that stand for what the vocabulary lacks.
    pub unknown_tokens: u64,
}

impl Embeddings {
    /// Tells how well the embedder knows the texts.
    pub fn report(&self) -> EmbedReport {
        EmbedReport {
            tokens: self.tokens,
            unknown_tokens: self.unknown_tokens,
        }
    }
}

/// Which embedder the configuration sets for a language.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmbedderSetting {
    /// The generator's hidden states (`generator`).
    Generator,
    /// A registered encoder, or another registered generator.
    Model(ModelName),
}

impl EmbedderSetting {
    /// Reads `generator` or a model's name; none where it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "generator" => Some(Self::Generator),
            name => ModelName::new(name).ok().map(Self::Model),
        }
    }
}

/// The embedders that the configuration sets; a language that is not set takes the first registered encoder that knows
/// its texts, and the generator where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EmbedderTable {
    /// The languages with their settings, each once.
    pub settings: Vec<(Language, EmbedderSetting)>,
}

impl EmbedderTable {
    /// Finds a language's setting.
    pub fn get(&self, language: Language) -> Option<&EmbedderSetting> {
        self.settings
            .iter()
            .find(|(set, _)| *set == language)
            .map(|(_, setting)| setting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_embedder_is_refused_from_five_percent_on_with_the_share() {
        let embedder = EmbedderRef::Encoder(ModelName::new("minilm").unwrap());
        let check = |tokens, unknown_tokens| {
            EmbedReport {
                tokens,
                unknown_tokens,
            }
            .check(&embedder)
        };
        for (tokens, unknown) in [(0, 0), (10, 0), (100, 5), (1000, 50)] {
            assert_eq!(check(tokens, unknown), Ok(()), "{unknown} of {tokens}");
        }
        for (tokens, unknown, share) in [(100, 6, "6.0%"), (3, 2, "66.7%")] {
            let message = check(tokens, unknown).unwrap_err().to_string();
            assert!(message.contains(share), "{message}");
            assert!(message.contains("minilm"), "{message}");
        }
    }

    #[test]
    fn a_setting_is_the_generator_or_a_model() {
        let model = |name: &str| EmbedderSetting::Model(ModelName::new(name).unwrap());
        assert_eq!(
            EmbedderSetting::parse("generator"),
            Some(EmbedderSetting::Generator)
        );
        assert_eq!(EmbedderSetting::parse("minilm"), Some(model("minilm")));
        assert_eq!(EmbedderSetting::parse("../x"), None);
        assert_eq!(EmbedderSetting::parse(""), None);
    }
}
