//! Chains of rules over records: the first drop decides, and every decision says why. A link of the validate chain may correct a
//! record; the links after it see it corrected.

mod checks;
mod consistency;
mod correction;
#[cfg(test)]
mod labelled;
mod plugin;
mod rules;
mod score;

use std::collections::HashMap;

use autodidact_domain::verdict::Evidence;
use autodidact_domain::workflow::{
    ChainRule, ChecksSpec, ConsistencySpec, OnPluginError, ScoreSpec,
};
use autodidact_domain::{Example, ExampleId, Language, Lineage, PluginSummary, TaskType, Verdict};
use autodidact_text::NearDuplicateIndex;

use crate::error::FlowError;
use crate::journaled::{Outcome, Run};
use crate::stages::language_of;
use correction::Corrections;
use plugin::{PluginVerdict, ask_plugin, find_plugin};
use rules::Rules;

/// What a chain sees of a record.
#[derive(Clone, Debug)]
pub(crate) struct ChainRecord {
    pub(crate) id: ExampleId,
    pub(crate) instruction: String,
    pub(crate) input: String,
    pub(crate) output: String,
    pub(crate) language: Language,
    /// The form of task, where it is known.
    pub(crate) task_type: Option<TaskType>,
    /// The declared labels of a classification.
    pub(crate) labels: Vec<String>,
    /// Where an answered record comes from.
    pub(crate) lineage: Option<Lineage>,
}

impl ChainRecord {
    /// Shows an instruction that has no answer yet.
    pub(crate) fn of_instruction(id: ExampleId, instruction: &str, language: Language) -> Self {
        Self {
            id,
            instruction: instruction.to_string(),
            input: String::new(),
            output: String::new(),
            language,
            task_type: None,
            labels: Vec::new(),
            lineage: None,
        }
    }

    /// Shows an answered example.
    pub(crate) fn of_example(example: &Example, default: Language) -> Self {
        Self {
            id: example.id,
            instruction: example.body.instruction_text().to_string(),
            input: example.body.input_text().to_string(),
            output: example.body.output_text().to_string(),
            language: language_of(example, default),
            task_type: example.task_type,
            labels: example.labels.clone(),
            lineage: Some(example.lineage.clone()),
        }
    }
}

/// What a chain decided on a record.
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    /// The answer that a kept record goes on with, where a link corrected it.
    pub(crate) corrected: Option<String>,
}

/// A chain with the memory of what it kept, for the rules that compare.
pub(crate) struct Chain {
    stage: &'static str,
    links: Vec<Link>,
    /// What people wrote, for links that have questions answered again.
    human: Vec<Example>,
}

enum Link {
    Exact(HashMap<String, (ExampleId, String)>),
    RougeL {
        index: NearDuplicateIndex,
        kept: Vec<(ExampleId, String)>,
    },
    InstructionRules(Rules),
    InstanceRules(Rules),
    Score(ScoreSpec),
    Checks(ChecksSpec),
    Consistency(ConsistencySpec),
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
        languages: &[Language],
    ) -> Result<Self, FlowError> {
        Self::build("filter", rules, plugins, languages)
    }

    /// Builds the chain of the validate stage, which judges answered examples.
    pub(crate) fn for_validate(
        rules: &[ChainRule],
        plugins: &[PluginSummary],
        languages: &[Language],
    ) -> Result<Self, FlowError> {
        Self::build("validate", rules, plugins, languages)
    }

    fn build(
        stage: &'static str,
        rules: &[ChainRule],
        plugins: &[PluginSummary],
        languages: &[Language],
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
                    ChainRule::Rules(spec) if stage == "validate" => {
                        Link::InstanceRules(Rules::new(spec, languages))
                    }
                    ChainRule::Rules(spec) => Link::InstructionRules(Rules::new(spec, languages)),
                    ChainRule::Score(spec) => Link::Score(spec.clone()),
                    ChainRule::Checks(spec) => Link::Checks(spec.clone()),
                    ChainRule::Consistency(spec) => Link::Consistency(spec.clone()),
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
        Ok(Self {
            stage,
            links,
            human: Vec::new(),
        })
    }

    /// Takes the examples that a model sees answered before it answers a question again.
    pub(crate) fn showing(mut self, human: &[Example]) -> Self {
        let asks = |link: &Link| matches!(link, Link::Consistency(_));
        if self.links.iter().any(asks) {
            self.human = human.to_vec();
        }
        self
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
        let judged = self.judge_and_correct(run, records.to_vec(), outcome)?;
        Ok(judged.into_iter().map(|judged| judged.verdict).collect())
    }

    /// Judges records as [`Self::judge`] does, and gives the answers that links corrected.
    pub(crate) fn judge_and_correct<T>(
        &mut self,
        run: &Run,
        mut records: Vec<ChainRecord>,
        outcome: &mut Outcome<T>,
    ) -> Result<Vec<Judgement>, FlowError> {
        let mut asked: Vec<Asked> = Vec::with_capacity(self.links.len());
        let mut corrections = Corrections::none(records.len());
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
                    &records,
                )?),
                Link::Score(spec) => {
                    let open = self.passing(&asked, &records)?;
                    Asked::Model(score::ask(run, self.stage, spec, &records, &open, outcome)?)
                }
                Link::Checks(spec) => {
                    let open = self.passing(&asked, &records)?;
                    let drops = checks::judge(spec, &mut records, &open, &mut corrections);
                    Asked::Model(drops)
                }
                Link::Consistency(spec) => {
                    let open = self.passing(&asked, &records)?;
                    Asked::Model(consistency::ask(
                        run,
                        spec,
                        &self.human,
                        &mut records,
                        &open,
                        &mut corrections,
                        outcome,
                    )?)
                }
                // What it says of a record holds of it as it is now, before a later link corrects it.
                Link::InstanceRules(_) => {
                    Asked::Model(records.iter().map(|record| link.judge(record)).collect())
                }
                Link::Exact(_) | Link::RougeL { .. } | Link::InstructionRules(_) => Asked::Nobody,
            };
            asked.push(answers);
        }
        let mut judged = Vec::with_capacity(records.len());
        for (i, record) in records.into_iter().enumerate() {
            let drop = self.first_drop(&asked, i, &record)?;
            let is_kept = drop.is_none();
            let corrected = corrections.verdict(i).filter(|_| is_kept);
            let is_corrected = corrected.is_some();
            let verdict = drop.or(corrected);
            let verdict = verdict.unwrap_or_else(|| Verdict::keep(self.stage));
            if is_kept {
                self.remember(record.id, &record.instruction);
            }
            judged.push(Judgement {
                verdict,
                corrected: is_corrected.then_some(record.output),
            });
        }
        Ok(judged)
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
                Asked::Model(drops) => drops[index].clone(),
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
    /// The drops of a model, or of a link that a later one might judge otherwise; none also for those that it was not asked about.
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
            Self::InstructionRules(rules) => rules.judge_instruction(record),
            Self::InstanceRules(rules) => rules.judge_instance(record),
            Self::Score(_) | Self::Checks(_) | Self::Consistency(_) | Self::Plugin { .. } => None,
        }
    }
}

fn near(id: ExampleId, text: &str, score: f64) -> Evidence {
    Evidence {
        nearest: Some(id),
        nearest_text: Some(text.to_string()),
        score: Some(score),
        note: None,
    }
}

fn note(text: impl Into<String>) -> Evidence {
    Evidence {
        note: Some(text.into()),
        ..Evidence::default()
    }
}
