//! Plugins as rules of a chain.

use autodidact_domain::plugin::FilterRecord;
use autodidact_domain::ports::Plugins;
use autodidact_domain::verdict::Evidence;
use autodidact_domain::workflow::OnPluginError;
use autodidact_domain::{Decision, PluginSummary, RuleRef, Verdict};

use super::{ChainRecord, note};
use crate::error::FlowError;

/// Records sent to a plugin at once; larger batches gain little.
const PLUGIN_BATCH: usize = 64;

/// What a plugin says of a record.
#[derive(Clone)]
pub(super) enum PluginVerdict {
    Keep,
    Drop(Box<Verdict>),
    Stop(String),
}

impl PluginVerdict {
    /// Takes the drop, where it is one.
    pub(super) fn into_drop(self) -> Result<Option<Verdict>, FlowError> {
        match self {
            Self::Keep => Ok(None),
            Self::Drop(verdict) => Ok(Some(*verdict)),
            Self::Stop(message) => Err(FlowError::Stopped(message)),
        }
    }
}

/// Shows records to a plugin, in batches.
pub(super) fn ask_plugin(
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
        PluginVerdict::Drop(Box::new(Verdict {
            decision: Decision::Drop,
            reason,
            rule: rule.clone(),
            evidence,
        }))
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

/// Finds the pinned plugin of a name.
pub(super) fn find_plugin(
    plugins: &[PluginSummary],
    name: &str,
) -> Result<PluginSummary, FlowError> {
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
