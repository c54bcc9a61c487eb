//! Plugins as rules of a chain: filters, validators and scorers.

use autodidact_domain::plugin::{FilterDecision, PluginScore, Validation};
use autodidact_domain::verdict::Evidence;
use autodidact_domain::workflow::{OnPluginError, PluginSpec};
use autodidact_domain::{Decision, PluginKind, PluginRecord, PluginSummary, Verdict};

use super::correction::Corrections;
use super::{ChainRecord, NOTED, UNCHECKED, note};
use crate::error::FlowError;
use crate::journaled::Run;
use crate::plugins::{self, Bound};

/// A plugin at its place in a chain.
#[derive(Clone)]
pub(super) struct PluginLink {
    bound: Bound,
    kind: PluginKind,
    spec: PluginSpec,
}

/// A plugin's answers in the order of what it was asked; a text says why it failed on one.
type Answers<T> = Vec<Result<T, String>>;

/// What a plugin says of a record, whatever its kind.
enum Said {
    Fine,
    /// It may go on, and on what that rests.
    Noted(Evidence),
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
            bound: Bound::new(plugin, kind, &spec.config, spec.on_error, &spec.terms),
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
        let bound = &*self.bound.now(run)?;
        let answers = self.answers(run, bound, &shown)?;
        let verdict = |decision, reason: &str, evidence| Verdict {
            decision,
            reason: reason.to_string(),
            rule: bound.rule(),
            evidence,
        };
        let mut verdicts = vec![None; records.len()];
        for (i, answer) in asked.into_iter().zip(answers) {
            verdicts[i] = match answer {
                Ok(Said::Fine) => None,
                Ok(Said::Noted(evidence)) => Some(verdict(Decision::Keep, NOTED, evidence)),
                Ok(Said::Keep(evidence)) => Some(verdict(Decision::Keep, "kept", evidence)),
                Ok(Said::Drop(reason, evidence)) => {
                    Some(verdict(Decision::Drop, &reason, evidence))
                }
                Ok(Said::Correct(output, done)) => {
                    let done = done.unwrap_or_else(|| "corrected".to_string());
                    corrections.note(i, bound.rule(), done);
                    records[i].output = output;
                    None
                }
                Err(error) => Some(match bound.on_error(&error)? {
                    OnPluginError::Keep => verdict(Decision::Keep, UNCHECKED, note(error)),
                    _ => verdict(Decision::Drop, plugins::PLUGIN_ERROR, note(error)),
                }),
            };
        }
        Ok(verdicts)
    }

    fn answers(
        &self,
        run: &Run,
        bound: &Bound,
        records: &[PluginRecord<'_>],
    ) -> Result<Answers<Said>, FlowError> {
        let (plugins, call, asked) = (&run.ports.plugins, bound.call(run)?, records.len());
        Ok(match self.kind {
            PluginKind::Validator => {
                let found = plugins.validate(&call, records)?;
                let mut records = records.iter();
                // What cannot be counts as a failure like any other.
                let found = found.map(|found| {
                    let record = records.next();
                    found.and_then(|found| validated(found, record))
                });
                bound.settle(run, asked, found)?
            }
            PluginKind::Scorer => {
                let scores = plugins.score(&call, records)?;
                self.ranked(bound.settle(run, asked, scores)?)
            }
            PluginKind::Filter | PluginKind::Template => {
                let found = plugins.filter(&call, records)?;
                let found = bound.settle(run, asked, found)?.into_iter();
                found.map(|found| found.map(decided)).collect()
            }
        })
    }

    /// Holds scores to the workflow's bounds, and keeps the best share of those that are left.
    fn ranked(&self, scores: Answers<PluginScore>) -> Answers<Said> {
        let mut said: Answers<Said> = scores
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
}

fn decided(decision: FilterDecision) -> Said {
    let has_evidence = decision.note.is_some() || decision.score.is_some();
    let evidence = evidence(decision.note, decision.score);
    match decision.drop_reason {
        None if has_evidence => Said::Noted(evidence),
        None => Said::Fine,
        Some(reason) => Said::Drop(reason, evidence),
    }
}

fn validated(found: Validation, record: Option<&PluginRecord<'_>>) -> Result<Said, String> {
    let Some(record) = record else {
        return Err("gave an answer to no question".to_string());
    };
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
        let plugin = PluginSummary {
            name: PluginName::new("worth").unwrap(),
            version: "1".to_string(),
            kinds: vec![PluginKind::Scorer],
            capabilities: Vec::new(),
            granted: Default::default(),
            digest: Digest::of(b"worth"),
            sha256: String::new(),
            config_schema: String::new(),
            size: 1,
            builtin: false,
            enabled: true,
            quarantine: None,
        };
        PluginLink {
            bound: Bound::new(
                plugin,
                PluginKind::Scorer,
                &serde_json::json!({}),
                OnPluginError::Drop,
                &Default::default(),
            ),
            kind: PluginKind::Scorer,
            spec: PluginSpec {
                name: "worth".to_string(),
                config: serde_json::json!({}),
                on_error: OnPluginError::Drop,
                terms: Default::default(),
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
