//! Chains of rules over records: the first drop decides, and every decision says why. A link of the validate chain may correct a
//! record; the links after it see it corrected.

mod checks;
mod consistency;
mod correction;
mod difficulty;
mod diversity;
#[cfg(test)]
mod labelled;
mod meaning;
mod perplexity;
mod plugin;
mod rules;
mod score;

use std::collections::HashMap;

use autodidact_domain::verdict::Evidence;
use autodidact_domain::workflow::{
    Calibration, ChainRule, ChecksSpec, ConsistencySpec, DifficultySpec, DiversitySpec,
    EmbeddingSpec, PerplexitySpec, ScoreSpec,
};
use autodidact_domain::{
    Decision, Example, ExampleId, Language, Lineage, PluginSummary, TaskType, Verdict,
};
use autodidact_text::NearDuplicateIndex;

use crate::error::FlowError;
use crate::journaled::{Outcome, Run};
use crate::stages::language_of;
use correction::Corrections;
use meaning::{Meaning, Meanings};
use plugin::PluginLink;
use rules::Rules;
pub(crate) use score::{mark_request, read_mark};

/// What a chain sees of a record.
#[derive(Clone, Debug)]
pub(crate) struct ChainRecord {
    pub(crate) id: ExampleId,
    pub(crate) instruction: String,
    pub(crate) input: String,
    pub(crate) output: String,
    pub(crate) language: Language,
    pub(crate) task_type: Option<TaskType>,
    pub(crate) topic: Option<String>,
    /// The declared labels of a classification.
    pub(crate) labels: Vec<String>,
    /// Where an answered record comes from.
    pub(crate) lineage: Option<Lineage>,
}

impl ChainRecord {
    /// Shows an instruction that is not answered.
    pub(crate) fn instruction(id: ExampleId, instruction: &str, language: Language) -> Self {
        Self {
            id,
            instruction: instruction.to_string(),
            input: String::new(),
            output: String::new(),
            language,
            task_type: None,
            topic: None,
            labels: Vec::new(),
            lineage: None,
        }
    }

    /// Shows an answered example.
    pub(crate) fn of_example(example: &Example, default: Language) -> Self {
        let instruction = example.body.instruction_text();
        Self {
            input: example.body.input_text().to_string(),
            output: example.body.output_text().to_string(),
            task_type: example.task_type,
            topic: example.topic.clone(),
            labels: example.labels.clone(),
            lineage: Some(example.lineage.clone()),
            ..Self::instruction(example.id, &instruction, language_of(example, default))
        }
    }
}

/// The reason of a record that was kept although a plugin failed on it.
pub(crate) const UNCHECKED: &str = "unchecked";

/// The reason of a link that lets a record pass and says why, without giving a mark; the chain's own keep takes what it says over.
const NOTED: &str = "noted";

/// What a chain decided on a record.
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    /// The answer that a kept record goes on with, where a link corrected it.
    pub(crate) corrected: Option<String>,
}

/// A chain with the memory of what it kept, for the rules that compare.
pub(crate) struct Chain {
    stage: &'static str,
    memory: Memory,
    /// What people wrote, for a link that has questions answered again.
    human: Vec<Example>,
}

/// The links with what they remember.
#[derive(Clone)]
struct Memory {
    links: Vec<Link>,
    /// What is kept as vectors, where a link wants them.
    meanings: Option<Meanings>,
    /// How many of each kind are kept, where a link wants to know.
    kinds: diversity::Kinds,
}

#[derive(Clone)]
enum Link {
    Exact(HashMap<String, (ExampleId, String)>),
    RougeL {
        index: NearDuplicateIndex,
        kept: Vec<(ExampleId, String)>,
    },
    InstructionRules(Rules),
    InstanceRules(Rules),
    Embedding,
    Perplexity(PerplexitySpec, Vec<Calibration>),
    Difficulty(DifficultySpec, Vec<Calibration>),
    Diversity(DiversitySpec),
    Score(ScoreSpec),
    Checks(ChecksSpec),
    Consistency(ConsistencySpec),
    Plugin(Box<PluginLink>),
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
                    ChainRule::Embedding(_) => Link::Embedding,
                    ChainRule::Perplexity(spec) => Link::Perplexity(spec.clone(), Vec::new()),
                    ChainRule::Difficulty(spec) => Link::Difficulty(spec.clone(), Vec::new()),
                    ChainRule::Diversity(spec) => Link::Diversity(spec.clone()),
                    ChainRule::Rules(spec) if stage == "validate" => {
                        Link::InstanceRules(Rules::new(spec, languages))
                    }
                    ChainRule::Rules(spec) => Link::InstructionRules(Rules::new(spec, languages)),
                    ChainRule::Score(spec) => Link::Score(spec.clone()),
                    ChainRule::Checks(spec) => Link::Checks(spec.clone()),
                    ChainRule::Consistency(spec) => Link::Consistency(spec.clone()),
                    ChainRule::Plugin(spec) => {
                        Link::Plugin(Box::new(PluginLink::new(stage, plugins, spec)?))
                    }
                })
            })
            .collect::<Result<_, FlowError>>()?;
        let embedding = rules.iter().find_map(|rule| match rule {
            ChainRule::Embedding(spec) => Some(spec.clone()),
            _ => None,
        });
        let is_choice = |rule: &ChainRule| matches!(rule, ChainRule::Diversity(_));
        let wanted = embedding.or_else(|| rules.iter().any(is_choice).then(EmbeddingSpec::default));
        let memory = Memory {
            links,
            meanings: wanted.map(Meanings::new),
            kinds: diversity::Kinds::default(),
        };
        Ok(Self {
            stage,
            memory,
            human: Vec::new(),
        })
    }

    /// Takes the examples that a model sees answered before it answers a question again.
    pub(crate) fn showing(mut self, human: &[Example]) -> Self {
        let asks = |link: &Link| matches!(link, Link::Consistency(_));
        if self.memory.links.iter().any(asks) {
            self.human = human.to_vec();
        }
        self
    }

    /// Tells whether a link has to be measured on the seeds before it can judge.
    pub(crate) fn wants_calibration(&self) -> bool {
        let is_measured = |link: &Link| match link {
            Link::Perplexity(..) => true,
            Link::Difficulty(spec, _) => spec.most.is_none(),
            _ => false,
        };
        self.memory.meanings.is_some() || self.memory.links.iter().any(is_measured)
    }

    /// Measures the links' bounds on the seeds, inside a step.
    pub(crate) fn measure(
        &self,
        run: &Run,
        seeds: &[ChainRecord],
    ) -> Result<Vec<Calibration>, FlowError> {
        let mut bounds = Vec::new();
        if let Some(meanings) = &self.memory.meanings {
            bounds.extend(meanings.measure(run, seeds)?);
        }
        for link in &self.memory.links {
            match link {
                Link::Perplexity(spec, _) => {
                    bounds.extend(perplexity::measure(run, spec, seeds)?);
                }
                Link::Difficulty(spec, _) => {
                    bounds.extend(difficulty::measure(run, spec, seeds)?);
                }
                _ => {}
            }
        }
        Ok(bounds)
    }

    /// Takes bounds that were measured on the seeds.
    pub(crate) fn calibrate(
        &mut self,
        run: &Run,
        bounds: &[Calibration],
        seeds: &[ChainRecord],
    ) -> Result<(), FlowError> {
        if let Some(meanings) = &mut self.memory.meanings {
            meanings.calibrate(run, bounds, seeds)?;
        }
        for link in &mut self.memory.links {
            if let Link::Perplexity(_, own) | Link::Difficulty(_, own) = link {
                *own = bounds.to_vec();
            }
        }
        Ok(())
    }

    /// Remembers a record that was kept before, or that people wrote, so that later ones are compared with it.
    pub(crate) fn remember(&mut self, record: &ChainRecord) {
        self.memory.remember(record, None);
    }

    /// Judges records in order, inside a step; what models generate for it is added to the step's figures.
    ///
    /// The chain remembers what is kept: within the batch, a record is compared with those before it that passed. Where the most
    /// diverse are chosen among those, only they are remembered.
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
        let mut corrections = Corrections::none(records.len());
        let verdicts = self.decide(run, &mut records, &mut corrections, outcome)?;
        let judged = records.into_iter().zip(verdicts).enumerate();
        let settle = |(i, (record, verdict)): (usize, (ChainRecord, Verdict))| match verdict
            .decision
            == Decision::Keep
            && corrections.has(i)
        {
            true => Judgement {
                verdict: corrections.verdict(i, verdict),
                corrected: Some(record.output),
            },
            false => Judgement {
                verdict,
                corrected: None,
            },
        };
        Ok(judged.map(settle).collect())
    }

    fn decide<T>(
        &mut self,
        run: &Run,
        records: &mut [ChainRecord],
        corrections: &mut Corrections,
        outcome: &mut Outcome<T>,
    ) -> Result<Vec<Verdict>, FlowError> {
        if let Some(meanings) = &mut self.memory.meanings {
            meanings.catch_up(run)?;
        }
        let asked = self.ask(run, records, corrections, outcome)?;
        let records = &*records;
        let choice = self.memory.links.iter().find_map(|link| match link {
            Link::Diversity(spec) => Some(spec.clone()),
            _ => None,
        });
        // A choice is made when all have been judged, and what it leaves out is to be forgotten.
        let mut tried = choice.as_ref().map(|_| self.memory.clone());
        let mut verdicts = Vec::with_capacity(records.len());
        for (i, record) in records.iter().enumerate() {
            let memory = tried.as_mut().unwrap_or(&mut self.memory);
            let dropped = memory.first_drop(&asked, i, record);
            if dropped.is_none() {
                memory.remember(record, vector_of(&asked, i));
            }
            verdicts.push(dropped.unwrap_or_else(|| keep(self.stage, &asked, i)));
        }
        let Some(choice) = choice else {
            return Ok(verdicts);
        };
        let passed: Vec<usize> = (0..records.len())
            .filter(|i| verdicts[*i].decision == Decision::Keep)
            .collect();
        let meanings = self.memory.meanings.as_ref();
        let kinds = &self.memory.kinds;
        let vectors = |i: usize| vector_of(&asked, i);
        for (i, verdict) in diversity::choose(&choice, records, &passed, vectors, meanings, kinds) {
            verdicts[i] = verdict;
        }
        for i in passed {
            if verdicts[i].decision == Decision::Keep {
                self.memory.remember(&records[i], vector_of(&asked, i));
            }
        }
        Ok(verdicts)
    }

    /// Asks whoever has to be asked, link by link, so that a model is not asked of what a link before it drops.
    fn ask<T>(
        &self,
        run: &Run,
        records: &mut [ChainRecord],
        corrections: &mut Corrections,
        outcome: &mut Outcome<T>,
    ) -> Result<Vec<Asked>, FlowError> {
        let memory = &self.memory;
        let mut asked: Vec<Asked> = Vec::with_capacity(memory.links.len());
        for link in &memory.links {
            // The memory only grows while a batch is judged, so what the links so far drop now they drop then.
            let open = |records: &[ChainRecord]| -> Vec<bool> {
                let passes = |(i, record)| memory.first_drop(&asked, i, record).is_none();
                records.iter().enumerate().map(passes).collect()
            };
            let answers = match link {
                Link::Plugin(link) => {
                    let open = open(records);
                    Asked::Model(link.ask(run, records, &open, corrections)?)
                }
                Link::Score(spec) => Asked::Model(score::ask(
                    run,
                    self.stage,
                    spec,
                    records,
                    &open(records),
                    outcome,
                )?),
                Link::Checks(spec) => {
                    let open = open(records);
                    Asked::Model(checks::judge(spec, records, &open, corrections))
                }
                Link::Consistency(spec) => {
                    let asking = consistency::Asking {
                        run,
                        spec,
                        human: &self.human,
                        open: open(records),
                    };
                    Asked::Model(asking.ask(records, corrections, &mut outcome.tokens)?)
                }
                // What it says holds of a record as it is now, before a later link corrects it.
                Link::InstanceRules(_) => {
                    Asked::Model(records.iter().map(|record| link.judge(record)).collect())
                }
                Link::Perplexity(spec, bounds) => {
                    Asked::Model(perplexity::ask(run, spec, bounds, records, &open(records))?)
                }
                Link::Difficulty(spec, bounds) => {
                    Asked::Model(difficulty::ask(run, spec, bounds, records, &open(records))?)
                }
                // One of the two asks for the vectors, and both use them.
                Link::Embedding | Link::Diversity(_)
                    if !asked.iter().any(|a| matches!(a, Asked::Vectors(_))) =>
                {
                    match &memory.meanings {
                        Some(meanings) => {
                            Asked::Vectors(meanings.ask(run, records, &open(records))?)
                        }
                        None => Asked::Nobody,
                    }
                }
                _ => Asked::Nobody,
            };
            asked.push(answers);
        }
        Ok(asked)
    }
}

/// Keeps a record. Its evidence is the lowest mark that it was given, else what the first filter noted, and its rule whoever says so.
/// That a link failed on it, and let it pass, is said before that.
fn keep(stage: &str, asked: &[Asked], index: usize) -> Verdict {
    let mut said = asked.iter().filter_map(|answers| match answers {
        Asked::Model(verdicts) => verdicts[index].as_ref(),
        _ => None,
    });
    if let Some(unchecked) = said.clone().find(|verdict| verdict.reason == UNCHECKED) {
        return unchecked.clone();
    }
    let mark = |verdict: &&Verdict| verdict.evidence.score.unwrap_or(f64::INFINITY);
    let marks = said.clone().filter(|verdict| verdict.reason != NOTED);
    let lowest = marks.min_by(|a, b| mark(a).total_cmp(&mark(b)));
    let kept = Verdict::keep(stage);
    match lowest.or_else(|| said.next()) {
        Some(said) => Verdict {
            rule: said.rule.clone(),
            evidence: said.evidence.clone(),
            ..kept
        },
        None => kept,
    }
}

/// Finds a record's vector, where one was made.
fn vector_of(asked: &[Asked], index: usize) -> Option<&Meaning> {
    asked.iter().find_map(|answers| match answers {
        Asked::Vectors(vectors) => vectors[index].as_ref(),
        _ => None,
    })
}

impl Memory {
    fn remember(&mut self, record: &ChainRecord, meaning: Option<&Meaning>) {
        for link in &mut self.links {
            match link {
                Link::Exact(seen) => {
                    seen.entry(autodidact_text::normalize(&record.instruction))
                        .or_insert_with(|| (record.id, record.instruction.clone()));
                }
                Link::RougeL { index, kept } => {
                    index.add(&record.instruction);
                    kept.push((record.id, record.instruction.clone()));
                }
                Link::Diversity(_) => self.kinds.add(record),
                _ => {}
            }
        }
        if let Some(meanings) = &mut self.meanings {
            meanings.remember(record, meaning);
        }
    }

    /// Finds the first drop among the links that have answered.
    fn first_drop(&self, asked: &[Asked], index: usize, record: &ChainRecord) -> Option<Verdict> {
        for (link, answers) in self.links.iter().zip(asked) {
            let dropped = match (link, answers) {
                (_, Asked::Model(verdicts)) => {
                    let verdict = verdicts[index].clone();
                    verdict.filter(|verdict| verdict.decision == Decision::Drop)
                }
                (Link::Embedding, _) => {
                    let meaning = vector_of(asked, index);
                    let meanings = self.meanings.as_ref().zip(meaning);
                    meanings.and_then(|(meanings, meaning)| meanings.judge(record, meaning))
                }
                (link, _) => link.judge(record),
            };
            if dropped.is_some() {
                return dropped;
            }
        }
        None
    }
}

/// What a link said of every record of a batch, where somebody had to be asked.
enum Asked {
    Nobody,
    /// Its verdicts, keeps with their marks; none for those that it was not asked about or has nothing to say of.
    Model(Vec<Option<Verdict>>),
    /// The vectors of those that were open.
    Vectors(Vec<Option<Meaning>>),
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
            Self::Embedding
            | Self::Perplexity(..)
            | Self::Difficulty(..)
            | Self::Diversity(_)
            | Self::Score(_)
            | Self::Checks(_)
            | Self::Consistency(_)
            | Self::Plugin(_) => None,
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
