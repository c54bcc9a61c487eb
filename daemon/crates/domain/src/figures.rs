//! Figures of a report that several parts have: diversity, a judge's marks, and the balance of seeds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::report::Interval;

/// How varied the texts of one language are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DiversityReport {
    /// The language's code.
    pub language: String,
    /// The texts.
    pub n: u64,
    /// `distinct_1` and `distinct_2` (shares of different n-grams of tokens), `nearest_similarity` (the mean ROUGE-L F of a text with the
    /// one most like it), `task_type_entropy` and `topic_entropy` (bits, of the texts that have one). A figure that the texts
    /// are too few for is left out.
    pub figures: BTreeMap<String, f64>,
    /// 95% intervals of the figures.
    pub intervals: BTreeMap<String, Interval>,
}

/// A judge's marks of one model's answers to the held-out tasks of one language.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JudgeMarks {
    /// The answers that have a mark.
    pub n: u64,
    /// The answers that have none: the judge said something else, twice.
    pub unscored: u64,
    /// How often the judge said something else than a mark, repeated questions included.
    pub nonsense: u64,
    /// The mean mark, 1 to 5.
    pub mean_mark: f64,
    /// The share of answers with a mark of at least [`crate::evaluation::GOOD_MARK`].
    pub good_share: f64,
    /// 95% intervals of `mean_mark` and `good_share`.
    pub intervals: BTreeMap<String, Interval>,
}

/// How far a judge can be trusted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JudgeReport {
    /// The judge.
    pub model: String,
    /// Its agreement with the labels that people gave, over all and by language.
    pub agreement: Vec<AgreementReport>,
}

/// A judge's agreement with hand labels, good or bad.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AgreementReport {
    /// The language's code; `all` for all labels.
    pub language: String,
    /// The labels.
    pub n: u64,
    /// The labels that the judge agrees with: a mark of at least [`crate::evaluation::GOOD_MARK`] says good.
    pub agreed: u64,
    /// Those that it gave no mark to; they count as not agreed.
    pub unscored: u64,
    /// The share that it agrees with.
    pub share: f64,
    /// Cohen's kappa (1960): agreement beyond chance, 1 at most; no mark is a third answer of the judge.
    pub kappa: f64,
    /// 95% intervals of `share` (Wilson) and `kappa` (bootstrap).
    pub intervals: BTreeMap<String, Interval>,
}

/// What the seeds are made of, and what they lack.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SeedsReport {
    /// The seeds.
    pub n: u64,
    /// How many there are of each language, task type and topic.
    pub cells: Vec<SeedCell>,
    /// What is lacking, and what to do about it.
    pub warnings: Vec<WorkflowWarning>,
}

/// The seeds of one language, task type and topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedCell {
    /// The language's code; `other` where it is neither English nor Chinese.
    pub language: String,
    /// The task type; `unknown` where none is told.
    pub task_type: String,
    /// The topic; `unknown` where none is told.
    pub topic: String,
    /// The seeds.
    pub n: u64,
}

/// Something about a workflow that a person should know and that stops nothing, such as what its seeds lack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowWarning {
    /// A stable code in snake case, such as `seeds_few`.
    pub code: String,
    /// What, and what to do about it, for people.
    pub message: String,
}
