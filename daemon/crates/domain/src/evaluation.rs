//! What a workflow says of its held-out tasks: how they are kept apart from what is trained on, and who judges their answers.

use serde::{Deserialize, Serialize};

use crate::ModelName;

/// When a record counts as one of the held-out tasks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContaminationSpec {
    /// Above this ROUGE-L F it is near to one.
    pub rouge_l: f64,
    /// With so many tokens in a row in common it has a part of one, where that is written in words.
    pub ngram_en: u32,
    /// The same where the task is written in Chinese characters, each a token.
    pub ngram_zh: u32,
}

impl Default for ContaminationSpec {
    fn default() -> Self {
        // 0.7 is the reference's threshold for duplicates. 13 tokens are GPT-3's (Brown et al. 2020, appendix C). A Chinese word of
        // running text has about one and a half characters, so 20 of them say as much as 13 words.
        Self {
            rouge_l: 0.7,
            ngram_en: 13,
            ngram_zh: 20,
        }
    }
}

impl ContaminationSpec {
    /// Tells whether nothing else than the default was asked for.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A model that gives every answer to a held-out task a mark from 1 to 5.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JudgeSpec {
    /// The judge, where it is another than the workflow's base model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelName>,
}

/// The least mark of an answer that a judge takes for good.
pub const GOOD_MARK: u32 = 4;

/// The least diversity of a round's kept instructions, as a share of the seeds' own, unless a workflow says otherwise.
///
/// A round of half the seeds' different pairs of tokens says everything twice.
pub const MIN_DIVERSITY_RATIO: f64 = 0.5;
