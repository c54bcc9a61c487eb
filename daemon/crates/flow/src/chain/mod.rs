//! Chains of rules over records: the first drop decides, and every decision says why.

mod plugin;
mod rules;
mod score;

use std::collections::HashMap;

use autodidact_domain::verdict::Evidence;
use autodidact_domain::workflow::{ChainRule, OnPluginError, RulesSpec, ScoreSpec};
use autodidact_domain::{Decision, ExampleId, Language, PluginSummary, Verdict};
use autodidact_text::NearDuplicateIndex;

use crate::error::FlowError;
use crate::journaled::{Outcome, Run};
use plugin::{PluginVerdict, ask_plugin, find_plugin};
use rules::{judge_instance, judge_instruction};

/// What a chain sees of a record.
#[derive(Clone, Debug)]
pub(crate) struct ChainRecord {
    pub(crate) id: ExampleId,
    pub(crate) instruction: String,
    pub(crate) input: String,
    pub(crate) output: String,
    pub(crate) language: Language,
}

/// A chain with the memory of what it kept, for the rules that compare.
pub(crate) struct Chain {
    stage: &'static str,
    links: Vec<Link>,
}

enum Link {
    Exact(HashMap<String, (ExampleId, String)>),
    RougeL {
        index: NearDuplicateIndex,
        kept: Vec<(ExampleId, String)>,
    },
    InstructionRules(RulesSpec),
    InstanceRules,
    Score(ScoreSpec),
    Plugin {
        plugin: PluginSummary,
        config: serde_json::Value,
        on_error: OnPluginError,
    },
}

impl Chain {
    /// Builds the chain of the filter stage, which judges instructions.
    pub(crate) fn for_filter(
        rules: &[ChainRule],
        plugins: &[PluginSummary],
    ) -> Result<Self, FlowError> {
        Self::build("filter", rules, plugins)
    }

    /// Builds the chain of the validate stage, which judges answered examples.
    pub(crate) fn for_validate(
        rules: &[ChainRule],
        plugins: &[PluginSummary],
    ) -> Result<Self, FlowError> {
        Self::build("validate", rules, plugins)
    }

    fn build(
        stage: &'static str,
        rules: &[ChainRule],
        plugins: &[PluginSummary],
    ) -> Result<Self, FlowError> {
        let links = rules
            .iter()
            .map(|rule| {
                Ok(match rule {
                    ChainRule::Exact => Link::Exact(HashMap::new()),
                    ChainRule::RougeL { threshold } => Link::RougeL {
                        index: NearDuplicateIndex::new(*threshold),
                        kept: Vec::new(),
                    },
                    ChainRule::Rules(_) if stage == "validate" => Link::InstanceRules,
                    ChainRule::Rules(spec) => Link::InstructionRules(spec.clone()),
                    ChainRule::Score(spec) => Link::Score(spec.clone()),
                    ChainRule::Plugin {
                        name,
                        config,
                        on_error,
                    } => Link::Plugin {
                        plugin: find_plugin(plugins, name)?,
                        config: config.clone(),
                        on_error: *on_error,
                    },
                })
            })
            .collect::<Result<_, FlowError>>()?;
        Ok(Self { stage, links })
    }

    /// Remembers a record that was kept before, or that people wrote, so that later ones are compared with it.
    pub(crate) fn remember(&mut self, id: ExampleId, instruction: &str) {
        for link in &mut self.links {
            match link {
                Link::Exact(seen) => {
                    seen.entry(autodidact_text::normalize(instruction))
                        .or_insert_with(|| (id, instruction.to_string()));
                }
                Link::RougeL { index, kept } => {
                    index.add(instruction);
                    kept.push((id, instruction.to_string()));
                }
                _ => {}
            }
        }
    }

    /// Judges records in order, inside a step; what models generate for it is added to the step's figures.
    ///
    /// The chain remembers what is kept: within the batch, a record is compared with those before it that are kept.
    pub(crate) fn judge<T>(
        &mut self,
        run: &Run,
        records: &[ChainRecord],
        outcome: &mut Outcome<T>,
    ) -> Result<Vec<Verdict>, FlowError> {
        let mut asked: Vec<Asked> = Vec::with_capacity(self.links.len());
        for link in &self.links {
            let answers = match link {
                Link::Plugin {
                    plugin,
                    config,
                    on_error,
                } => Asked::Plugin(ask_plugin(
                    &*run.ports.plugins,
                    plugin,
                    config,
                    *on_error,
                    records,
                )?),
                Link::Score(spec) => {
                    let open = self.passing(&asked, records)?;
                    Asked::Model(score::ask(run, self.stage, spec, records, &open, outcome)?)
                }
                _ => Asked::Nobody,
            };
            asked.push(answers);
        }
        let mut verdicts = Vec::with_capacity(records.len());
        for (i, record) in records.iter().enumerate() {
            let verdict = self
                .first_drop(&asked, i, record)?
                .unwrap_or_else(|| self.keep(&asked, i));
            if verdict.decision == Decision::Keep {
                self.remember(record.id, &record.instruction);
            }
            verdicts.push(verdict);
        }
        Ok(verdicts)
    }

    /// Keeps a record, with the lowest mark that it was given as evidence.
    fn keep(&self, asked: &[Asked], index: usize) -> Verdict {
        let marked = asked.iter().filter_map(|answers| match answers {
            Asked::Model(verdicts) => verdicts[index].as_ref(),
            _ => None,
        });
        let mark = |verdict: &&Verdict| verdict.evidence.score.unwrap_or(f64::INFINITY);
        let lowest = marked.min_by(|a, b| mark(a).total_cmp(&mark(b)));
        Verdict {
            evidence: lowest
                .map(|verdict| verdict.evidence.clone())
                .unwrap_or_default(),
            ..Verdict::keep(self.stage)
        }
    }

    /// Tells which records the links so far let pass, so that a model is not asked about the others.
    ///
    /// The chain's memory only grows while a batch is judged, so what they drop now they drop then.
    fn passing(&self, asked: &[Asked], records: &[ChainRecord]) -> Result<Vec<bool>, FlowError> {
        let passes = |(i, record)| Ok(self.first_drop(asked, i, record)?.is_none());
        records.iter().enumerate().map(passes).collect()
    }

    /// Finds the first drop among the links that have answered.
    fn first_drop(
        &self,
        asked: &[Asked],
        index: usize,
        record: &ChainRecord,
    ) -> Result<Option<Verdict>, FlowError> {
        for (link, answers) in self.links.iter().zip(asked) {
            let dropped = match answers {
                Asked::Plugin(verdicts) => verdicts[index].clone().into_drop()?,
                Asked::Model(verdicts) => {
                    let verdict = verdicts[index].clone();
                    verdict.filter(|verdict| verdict.decision == Decision::Drop)
                }
                Asked::Nobody => link.judge(record),
            };
            if dropped.is_some() {
                return Ok(dropped);
            }
        }
        Ok(None)
    }
}

/// What a link said of every record of a batch, where somebody had to be asked.
enum Asked {
    Nobody,
    Plugin(Vec<PluginVerdict>),
    /// Its verdicts, keeps with their marks; none for those that it was not asked about.
    Model(Vec<Option<Verdict>>),
}

impl Link {
    fn judge(&self, record: &ChainRecord) -> Option<Verdict> {
        match self {
            Self::Exact(seen) => {
                let (id, text) = seen.get(&autodidact_text::normalize(&record.instruction))?;
                Some(Verdict::drop(
                    "exact",
                    "exact_duplicate",
                    near(*id, text, 1.0),
                ))
            }
            Self::RougeL { index, kept } => {
                let found = index.nearest(&record.instruction)?;
                let (id, text) = &kept[found.id];
                Some(Verdict::drop(
                    "rouge_l",
                    "near_duplicate",
                    near(*id, text, found.score),
                ))
            }
            Self::InstructionRules(spec) => judge_instruction(spec, record),
            Self::InstanceRules => judge_instance(record),
            Self::Score(_) | Self::Plugin { .. } => None,
        }
    }
}

fn near(id: ExampleId, text: &str, score: f64) -> Evidence {
    Evidence {
        nearest: Some(id),
        nearest_text: Some(text.to_string()),
        score: Some(score),
        ..Evidence::default()
    }
}

fn note(text: impl Into<String>) -> Evidence {
    Evidence {
        note: Some(text.into()),
        ..Evidence::default()
    }
}
