//! Chains of rules over records: the first drop decides, and every decision says why.

use std::collections::HashMap;

use autodidact_domain::plugin::FilterRecord;
use autodidact_domain::ports::Plugins;
use autodidact_domain::verdict::Evidence;
use autodidact_domain::workflow::{ChainRule, OnPluginError, RulesSpec};
use autodidact_domain::{Decision, ExampleId, Language, PluginSummary, RuleRef, Verdict};
use autodidact_text::NearDuplicateIndex;

use crate::error::FlowError;

/// Records sent to a plugin at once; larger batches gain little.
const PLUGIN_BATCH: usize = 64;

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

    /// Judges records in order. The chain's memory does not change: see [`Chain::remember`].
    ///
    /// Within the batch, a record is compared with those before it that are kept.
    pub(crate) fn judge(
        &mut self,
        plugins: &dyn Plugins,
        records: &[ChainRecord],
    ) -> Result<Vec<Verdict>, FlowError> {
        let judged: Vec<Vec<PluginVerdict>> = self
            .links
            .iter()
            .map(|link| match link {
                Link::Plugin {
                    plugin,
                    config,
                    on_error,
                } => ask_plugin(plugins, plugin, config, *on_error, records),
                _ => Ok(Vec::new()),
            })
            .collect::<Result<_, _>>()?;
        let mut verdicts = Vec::with_capacity(records.len());
        for (i, record) in records.iter().enumerate() {
            let mut dropped = None;
            for (link, plugin_verdicts) in self.links.iter().zip(&judged) {
                dropped = match link {
                    Link::Plugin { .. } => plugin_verdicts[i].clone().into_drop()?,
                    other => other.judge(record),
                };
                if dropped.is_some() {
                    break;
                }
            }
            let verdict = dropped.unwrap_or_else(|| Verdict::keep(self.stage));
            if verdict.decision == Decision::Keep {
                self.remember(record.id, &record.instruction);
            }
            verdicts.push(verdict);
        }
        Ok(verdicts)
    }
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
            Self::Plugin { .. } => None,
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

/// Words for things that a text model can neither see nor do (the reference's list, with its Chinese counterpart).
const UNANSWERABLE_EN: [&str; 15] = [
    "image", "images", "graph", "graphs", "picture", "pictures", "photo", "photos", "file",
    "files", "map", "maps", "draw", "plot", "video",
];
const UNANSWERABLE_ZH: [&str; 12] = [
    "图片", "图像", "照片", "图表", "文件", "附件", "地图", "画一", "绘制", "视频", "音频", "链接",
];

fn judge_instruction(spec: &RulesSpec, record: &ChainRecord) -> Option<Verdict> {
    let tokens = autodidact_text::tokenize(&record.instruction);
    let (min, max) = match record.language {
        Language::En => (spec.min_tokens_en, spec.max_tokens_en),
        Language::Zh => (spec.min_tokens_zh, spec.max_tokens_zh),
    };
    let length = || Evidence {
        score: Some(tokens.len() as f64),
        note: Some(format!("{min} to {max} tokens")),
        ..Evidence::default()
    };
    if (tokens.len() as u64) < u64::from(min) {
        return Some(Verdict::drop("rules", "too_short", length()));
    }
    if tokens.len() as u64 > u64::from(max) {
        return Some(Verdict::drop("rules", "too_long", length()));
    }
    let lower = record.instruction.to_lowercase();
    let blocked = spec
        .blocked_words
        .iter()
        .find(|word| contains_word(&tokens, &lower, &word.to_lowercase()));
    if let Some(word) = blocked {
        return Some(Verdict::drop("rules", "blocked_word", note(word.clone())));
    }
    let unanswerable = UNANSWERABLE_EN
        .iter()
        .chain(&UNANSWERABLE_ZH)
        .find(|word| contains_word(&tokens, &lower, word));
    unanswerable.map(|word| Verdict::drop("rules", "unanswerable", note(*word)))
}

/// Finds a word: a Latin one as a whole token, a phrase or a Chinese one anywhere.
fn contains_word(tokens: &[String], lower: &str, word: &str) -> bool {
    if word.chars().all(|c| c.is_ascii_alphanumeric()) {
        tokens.iter().any(|t| t == word)
    } else {
        lower.contains(word)
    }
}

/// The reference's instance filters.
fn judge_instance(record: &ChainRecord) -> Option<Verdict> {
    let output = record.output.trim();
    let input = record.input.trim();
    let drop = |reason: &str, detail: &str| Some(Verdict::drop("rules", reason, note(detail)));
    if output.is_empty() {
        return drop("empty_output", "there is no answer");
    }
    if autodidact_text::normalize(output) == autodidact_text::normalize(input) {
        return drop("output_equals_input", "the answer repeats the input");
    }
    if autodidact_text::normalize(output) == autodidact_text::normalize(&record.instruction) {
        return drop(
            "output_equals_instruction",
            "the answer repeats the instruction",
        );
    }
    if output.ends_with([':', '：']) || input.ends_with([':', '：']) {
        return drop("ends_with_colon", "something should follow the colon");
    }
    None
}

#[derive(Clone)]
enum PluginVerdict {
    Keep,
    Drop(Verdict),
    Stop(String),
}

impl PluginVerdict {
    fn into_drop(self) -> Result<Option<Verdict>, FlowError> {
        match self {
            Self::Keep => Ok(None),
            Self::Drop(verdict) => Ok(Some(verdict)),
            Self::Stop(message) => Err(FlowError::Stopped(message)),
        }
    }
}

fn ask_plugin(
    plugins: &dyn Plugins,
    plugin: &PluginSummary,
    config: &serde_json::Value,
    on_error: OnPluginError,
    records: &[ChainRecord],
) -> Result<Vec<PluginVerdict>, FlowError> {
    let rule = RuleRef {
        name: plugin.name.to_string(),
        version: plugin.version.clone(),
        digest: Some(plugin.digest),
    };
    let dropped = |reason: String, evidence: Evidence| {
        PluginVerdict::Drop(Verdict {
            decision: Decision::Drop,
            reason,
            rule: rule.clone(),
            evidence,
        })
    };
    let mut verdicts = Vec::with_capacity(records.len());
    for batch in records.chunks(PLUGIN_BATCH) {
        let sent: Vec<FilterRecord> = batch.iter().map(to_filter_record).collect();
        for answer in plugins.filter(plugin.digest, config, &sent)? {
            verdicts.push(match answer {
                Ok(decision) => match decision.drop_reason {
                    None => PluginVerdict::Keep,
                    Some(reason) => dropped(
                        reason,
                        Evidence {
                            note: decision.note,
                            score: decision.score,
                            ..Evidence::default()
                        },
                    ),
                },
                Err(error) => match on_error {
                    OnPluginError::Keep => PluginVerdict::Keep,
                    OnPluginError::Drop => dropped("plugin_error".to_string(), note(error)),
                    OnPluginError::Stop => PluginVerdict::Stop(format!(
                        "plugin {} {} failed: {error}",
                        plugin.name, plugin.version
                    )),
                },
            });
        }
    }
    if verdicts.len() != records.len() {
        return Err(FlowError::Stopped(format!(
            "plugin {} gave {} decisions for {} records",
            plugin.name,
            verdicts.len(),
            records.len()
        )));
    }
    Ok(verdicts)
}

fn to_filter_record(record: &ChainRecord) -> FilterRecord {
    FilterRecord {
        instruction: record.instruction.clone(),
        input: record.input.clone(),
        output: record.output.clone(),
        language: record.language.code().to_string(),
    }
}

fn find_plugin(plugins: &[PluginSummary], name: &str) -> Result<PluginSummary, FlowError> {
    plugins
        .iter()
        .find(|plugin| plugin.name.as_str() == name)
        .cloned()
        .ok_or_else(|| {
            FlowError::Stopped(format!(
                "plugin {name:?} was not there when the workflow was submitted"
            ))
        })
}
