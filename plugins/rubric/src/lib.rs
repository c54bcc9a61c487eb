//! Scores records by a rubric: the workflow's model is asked about each criterion, and the score is the weighted mean of its marks.

pub mod rubric;

use autodidact_plugin::model::{self, Generation};
use autodidact_plugin::{Capability, Plugin, Record, Score, Scorer, export_plugin};
use rubric::{Criterion, MARKS, Rubric};
use serde::Deserialize;

/// The most tokens of a mark.
const MAX_TOKENS: u32 = 4;
/// The most questions that the host takes at once.
const AT_ONCE: usize = 256;

/// The configuration; `config.schema.json` describes the same.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What is asked about a record without an answer.
    pub instruction: Vec<Criterion>,
    /// What is asked about a record with one.
    pub answer: Vec<Criterion>,
}

impl Plugin for Rubric {
    type Config = Config;
    const NAME: &'static str = "rubric";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const CONFIG_SCHEMA: &'static str = include_str!("../config.schema.json");
    const CAPABILITIES: &'static [Capability] = &[Capability::Generate];

    fn new(config: Config) -> Result<Self, String> {
        Rubric::of(config.instruction, config.answer)
    }
}

impl Scorer for Rubric {
    fn score(&self, record: &Record<'_>) -> Score {
        let scores = self.score_all(std::slice::from_ref(record));
        scores.map_or_else(Score::none, |mut scores| scores.pop().unwrap_or_default())
    }

    fn score_all(&self, records: &[Record<'_>]) -> Result<Vec<Score>, String> {
        let asked: Vec<Generation> = records
            .iter()
            .flat_map(|record| self.questions(record))
            .map(|question| Generation::likeliest(question, MAX_TOKENS).choosing(MARKS))
            .collect();
        let mut said = Vec::with_capacity(asked.len());
        for some in asked.chunks(AT_ONCE) {
            said.extend(model::generate(some)?);
        }
        let mut said = said.into_iter().map(|completion| completion.text);
        let scores = records.iter().map(|record| {
            let marks: Vec<String> = said.by_ref().take(self.count(record)).collect();
            self.settle(record, &marks)
        });
        Ok(scores.collect())
    }
}

export_plugin!(Rubric: Scorer);
