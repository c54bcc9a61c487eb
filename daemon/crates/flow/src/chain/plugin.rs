//! Plugins as rules of a chain: filters, validators and scorers.

use autodidact_domain::plugin::{FilterDecision, PluginScore, Validation};
use autodidact_domain::ports::PluginAnswers;
use autodidact_domain::verdict::Evidence;
use autodidact_domain::workflow::{OnPluginError, PluginSpec};
use autodidact_domain::{Decision, PluginKind, PluginRecord, PluginSummary, RuleRef, Verdict};

use super::correction::Corrections;
use super::{ChainRecord, note};
use crate::error::FlowError;
use crate::journaled::Run;
use crate::plugins;

/// A plugin at its place in a chain.
#[derive(Clone)]
pub(super) struct PluginLink {
    plugin: PluginSummary,
    kind: PluginKind,
    spec: PluginSpec,
}

/// What a plugin says of a record, whatever its kind.
enum Said {
    Fine,
    /// It may go on, with a mark.
    Keep(Evidence),
    Drop(String, Evidence),
    Correct(String, Option<String>),
}

impl PluginLink {
    pub(super) fn new(
        stage: &str,
        pinned: &[PluginSummary],
        spec: &PluginSpec,
    ) -> Result<Self, FlowError> {
        let plugin = plugins::find(pinned, &spec.name)?;
        let kind = plugins::kind_in_chain(&plugin, stage, spec.kind).map_err(FlowError::Stopped)?;
        Ok(Self {
            plugin,
            kind,
            spec: spec.clone(),
        })
    }

    /// Asks about the records that are open, and corrects them in place; gives the verdicts on those.
    pub(super) fn ask(
        &self,
        run: &Run,
        records: &mut [ChainRecord],
        open: &[bool],
        corrections: &mut Corrections,
    ) -> Result<Vec<Option<Verdict>>, FlowError> {
        let asked: Vec<usize> = (0..records.len()).filter(|i| open[*i]).collect();
        let shown: Vec<PluginRecord<'_>> = asked.iter().map(|i| show(&records[*i])).collect();
        let answers = self.answers(run, &shown)?;
        plugins::same_count(&self.plugin, answers.len(), asked.len())?;
        let mut verdicts = vec![None; records.len()];
        for (i, answer) in asked.into_iter().zip(answers) {
            verdicts[i] = match answer {
                Ok(Said::Fine) => None,
                Ok(Said::Keep(evidence)) => Some(self.verdict(Decision::Keep, "kept", evidence)),
                Ok(Said::Drop(reason, evidence)) => {
                    Some(self.verdict(Decision::Drop, &reason, evidence))
                }
                Ok(Said::Correct(output, done)) => {
                    let done = done.unwrap_or_else(|| "corrected".to_string());
                    corrections.note(i, self.rule(), done);
                    records[i].output = output;
                    None
                }
                Err(error) => Some(self.failed(error)?),
            };
        }
        Ok(verdicts)
    }

    fn answers(
        &self,
        run: &Run,
        records: &[PluginRecord<'_>],
    ) -> Result<PluginAnswers<Said>, FlowError> {
        let (plugins, digest, config) = (&run.ports.plugins, self.plugin.digest, &self.spec.config);
        Ok(match self.kind {
            PluginKind::Validator => {
                let found = plugins.validate(digest, config, records)?;
                let said = found.into_iter().zip(records);
                said.map(|(found, record)| validated(found?, record))
                    .collect()
            }
            PluginKind::Scorer => self.ranked(plugins.score(digest, config, records)?),
            PluginKind::Filter | PluginKind::Template => {
                let found = plugins.filter(digest, config, records)?;
                found.into_iter().map(|found| found.map(decided)).collect()
            }
        })
    }

    /// Holds scores to the workflow's bounds, and keeps the best share of those that are left.
    fn ranked(&self, scores: PluginAnswers<PluginScore>) -> PluginAnswers<Said> {
        let mut said: PluginAnswers<Said> = scores
            .into_iter()
            .map(|score| score.map(|score| self.bounded(score)))
            .collect();
        let Some(share) = self.spec.best else {
            return said;
        };
        let value = |said: &Result<Said, String>| match said {
            Ok(Said::Keep(evidence)) => evidence.score,
            _ => None,
        };
        let mut left: Vec<(usize, f64)> = said
            .iter()
            .enumerate()
            .filter_map(|(i, said)| Some((i, value(said)?)))
            .collect();
        // Of equal ones the first stay.
        left.sort_by(|(i, a), (j, b)| b.total_cmp(a).then(i.cmp(j)));
        let places = (share * left.len() as f64).ceil() as usize;
        let count = left.len();
        for (i, score) in left.drain(..).skip(places) {
            let note = format!("the best {places} of {count} were chosen");
            let evidence = evidence(Some(note), Some(score));
            said[i] = Ok(Said::Drop("outranked".to_string(), evidence));
        }
        said
    }

    fn bounded(&self, score: PluginScore) -> Said {
        let told = |bound: String| match &score.note {
            Some(note) => format!("{bound}; {note}"),
            None => bound,
        };
        let drop = |reason: &str, bound: String| {
            Said::Drop(reason.to_string(), evidence(Some(told(bound)), score.value))
        };
        match (score.value, self.spec.least, self.spec.most) {
            (None, ..) => drop("no_score", "it gave no score".to_string()),
            (Some(value), Some(least), _) if value < least => {
                drop("low_score", format!("at least {least}"))
            }
            (Some(value), _, Some(most)) if value > most => {
                drop("high_score", format!("at most {most}"))
            }
            _ => Said::Keep(evidence(score.note.clone(), score.value)),
        }
    }

    fn failed(&self, error: String) -> Result<Verdict, FlowError> {
        plugins::stop_if_told(&self.plugin, self.spec.on_error, &error)?;
        Ok(match self.spec.on_error {
            OnPluginError::Keep => self.verdict(Decision::Keep, "kept", note(error)),
            _ => self.verdict(Decision::Drop, plugins::PLUGIN_ERROR, note(error)),
        })
    }

    fn verdict(&self, decision: Decision, reason: &str, evidence: Evidence) -> Verdict {
        Verdict {
            decision,
            reason: reason.to_string(),
            rule: self.rule(),
            evidence,
        }
    }

    fn rule(&self) -> RuleRef {
        plugins::rule(&self.plugin)
    }
}

fn decided(decision: FilterDecision) -> Said {
    match decision.drop_reason {
        None => Said::Fine,
        Some(reason) => Said::Drop(reason, evidence(decision.note, decision.score)),
    }
}

fn validated(found: Validation, record: &PluginRecord<'_>) -> Result<Said, String> {
    Ok(match found {
        Validation::Accept => Said::Fine,
        Validation::Correct { .. } if record.output.is_empty() => {
            return Err("corrected an answer that is not there yet".to_string());
        }
        Validation::Correct { output, .. } if output == record.output => Said::Fine,
        Validation::Correct { output, note } => Said::Correct(output, note),
        Validation::Drop {
            reason,
            note,
            score,
        } => Said::Drop(reason, evidence(note, score)),
    })
}

fn evidence(note: Option<String>, score: Option<f64>) -> Evidence {
    Evidence {
        note,
        score,
        ..Evidence::default()
    }
}

/// Shows a record to plugins.
fn show(record: &ChainRecord) -> PluginRecord<'_> {
    PluginRecord {
        instruction: &record.instruction,
        input: &record.input,
        output: &record.output,
        language: record.language.code(),
        task_type: record.task_type.map_or("", |task_type| task_type.name()),
        topic: record.topic.as_deref().unwrap_or_default(),
        labels: &record.labels,
    }
}

#[cfg(test)]
mod tests {
    use autodidact_domain::{Digest, PluginName};

    use super::*;

    fn scorer(least: Option<f64>, most: Option<f64>, best: Option<f64>) -> PluginLink {
        PluginLink {
            plugin: PluginSummary {
                name: PluginName::new("worth").unwrap(),
                version: "1".to_string(),
                kinds: vec![PluginKind::Scorer],
                capabilities: Vec::new(),
                digest: Digest::of(b"worth"),
                config_schema: String::new(),
                size: 1,
                builtin: false,
                enabled: true,
            },
            kind: PluginKind::Scorer,
            spec: PluginSpec {
                name: "worth".to_string(),
                config: serde_json::json!({}),
                on_error: OnPluginError::Drop,
                kind: None,
                least,
                most,
                best,
            },
        }
    }

    fn reasons(link: &PluginLink, values: &[Option<f64>]) -> Vec<String> {
        let score = |value: &Option<f64>| {
            Ok(PluginScore {
                value: *value,
                note: None,
            })
        };
        let said = link.ranked(values.iter().map(score).collect());
        let reason = |said: Result<Said, String>| match said {
            Ok(Said::Drop(reason, _)) => reason,
            Ok(_) => "kept".to_string(),
            Err(error) => error,
        };
        said.into_iter().map(reason).collect()
    }

    #[test]
    fn scores_are_held_to_bounds_and_none_is_never_kept() {
        let values = [Some(0.1), Some(0.5), Some(0.9), None];
        assert_eq!(
            reasons(&scorer(Some(0.5), Some(0.8), None), &values),
            ["low_score", "kept", "high_score", "no_score"]
        );
        assert_eq!(
            reasons(&scorer(None, None, None), &values),
            ["kept", "kept", "kept", "no_score"]
        );
    }

    #[test]
    fn the_best_share_of_what_is_left_stays_and_of_equals_the_first() {
        let values = [Some(2.0), Some(1.0), Some(2.0), Some(3.0), Some(9.0), None];
        assert_eq!(
            reasons(&scorer(None, Some(5.0), Some(0.5)), &values),
            [
                "kept",
                "outranked",
                "outranked",
                "kept",
                "high_score",
                "no_score"
            ]
        );
        assert_eq!(
            reasons(&scorer(None, None, Some(0.01)), &values[..1]),
            ["kept"]
        );
        assert_eq!(reasons(&scorer(None, None, Some(0.5)), &[]), [""; 0]);
    }
}
