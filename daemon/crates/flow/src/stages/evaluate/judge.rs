//! The judge of the held-out answers: its marks, and how far it agrees with people.

use std::collections::BTreeMap;

use autodidact_domain::figures::{AgreementReport, JudgeMarks, JudgeReport};
use autodidact_domain::journal::StageName;
use autodidact_domain::random::derive_seed;
use autodidact_domain::workflow::{EvaluateSpec, GOOD_MARK, JudgeSpec};
use autodidact_domain::{Example, ExampleId, Language, ModelRef};
use serde::{Deserialize, Serialize};

use super::TaskResult;
use crate::error::FlowError;
use crate::journaled::{Outcome, Run};
use crate::judge;
use crate::prompts::{example_mark_request, show_prompt};
use crate::statistics::{mean, mean_interval, percentile_interval, wilson_interval};

/// Fifty answers that people called good or bad, half of them in each language: written for this project.
const HAND_LABELS: &str = include_str!("hand_labels.jsonl");

/// What the judge said of one answer to a held-out task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Marked {
    pub(crate) id: ExampleId,
    /// None where it said something else, twice.
    pub(crate) mark: Option<u32>,
}

/// What the judge said of all answers of a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Judgement {
    pub(crate) marks: Vec<Marked>,
    /// How often it said no mark, by the language of the task.
    pub(crate) nonsense: BTreeMap<Language, u64>,
}

/// A batch as the journal has it.
#[derive(Serialize, Deserialize)]
struct Batch {
    marks: Vec<Marked>,
    nonsense: BTreeMap<Language, u64>,
}

/// Lets the judge mark the answers, a step a batch. Its steps judge no records: an answer without a mark stays measured by all else.
pub(super) fn mark(
    run: &mut Run,
    round: u32,
    spec: &EvaluateSpec,
    judge: &JudgeSpec,
    results: &[TaskResult],
    tasks: &[Example],
) -> Result<Judgement, FlowError> {
    let by_id: BTreeMap<ExampleId, &Example> = tasks.iter().map(|task| (task.id, task)).collect();
    let model = model_of(run, judge);
    let mut judgement = Judgement::default();
    for batch in results.chunks(spec.batch as usize) {
        let found: Batch = run.step(round, StageName::Evaluate, |run, _| {
            let mut found = Batch {
                marks: Vec::with_capacity(batch.len()),
                nonsense: BTreeMap::new(),
            };
            let mut tokens = 0;
            // By language, so that nonsense is counted where it was said.
            for language in [Language::En, Language::Zh] {
                let of_language = batch.iter().filter(|result| result.language == language);
                let of_language = of_language.filter_map(|r| Some((r, *by_id.get(&r.id)?)));
                let of_language: Vec<(&TaskResult, &Example)> = of_language.collect();
                let prompts = of_language.iter().map(|(result, task)| {
                    let asked = show_prompt(&task.body.question().0);
                    example_mark_request(language, &asked, "", &result.answer)
                });
                let said = judge::ask(run, &model, prompts.collect())?;
                tokens += said.tokens;
                if said.nonsense > 0 {
                    found.nonsense.insert(language, said.nonsense);
                }
                let marked = of_language.iter().zip(said.marks);
                found.marks.extend(marked.map(|((result, _), mark)| Marked {
                    id: result.id,
                    mark,
                }));
            }
            let mut outcome = Outcome::new(found);
            outcome.tokens = tokens;
            Ok(outcome)
        })?;
        judgement.marks.extend(found.marks);
        for (language, count) in found.nonsense {
            *judgement.nonsense.entry(language).or_default() += count;
        }
    }
    Ok(judgement)
}

fn model_of(run: &Run, judge: &JudgeSpec) -> ModelRef {
    ModelRef {
        model: judge.model.as_ref().unwrap_or(&run.spec().model).clone(),
        adapter: None,
    }
}

/// Sums up the marks of the answers in one language.
pub(super) fn summarize(
    judgement: &Judgement,
    language: Language,
    results: &[TaskResult],
    seed: u64,
) -> JudgeMarks {
    let by_id = judgement
        .marks
        .iter()
        .map(|marked| (marked.id, marked.mark));
    let by_id: BTreeMap<ExampleId, Option<u32>> = by_id.collect();
    let found = results.iter().filter_map(|result| by_id.get(&result.id));
    let found: Vec<Option<u32>> = found.copied().collect();
    let marks: Vec<f64> = found
        .iter()
        .flatten()
        .map(|mark| f64::from(*mark))
        .collect();
    let good = found.iter().flatten().filter(|mark| **mark >= GOOD_MARK);
    let (good, n) = (good.count() as u64, marks.len() as u64);
    JudgeMarks {
        n,
        unscored: found.len() as u64 - n,
        nonsense: judgement.nonsense.get(&language).copied().unwrap_or(0),
        mean_mark: mean(&marks),
        good_share: good as f64 / n.max(1) as f64,
        intervals: BTreeMap::from([
            ("mean_mark".to_string(), mean_interval(&marks, seed)),
            ("good_share".to_string(), wilson_interval(good, n)),
        ]),
    }
}

/// A line of the hand labels.
#[derive(Clone, Debug, Deserialize)]
struct HandLabel {
    language: Language,
    #[cfg(test)]
    task_type: autodidact_domain::TaskType,
    instruction: String,
    #[serde(default)]
    input: String,
    answer: String,
    label: Label,
}

/// What people said of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Label {
    Good,
    Bad,
}

fn hand_labels() -> Vec<HandLabel> {
    HAND_LABELS
        .lines()
        .map(|line| serde_json::from_str(line).expect("a test reads every line"))
        .collect()
}

/// Asks the judge about the answers that people labelled, as it is asked about held-out ones: one step, once a workflow.
pub(crate) fn agreement(run: &mut Run, judge: &JudgeSpec) -> Result<JudgeReport, FlowError> {
    let labels = hand_labels();
    let model = model_of(run, judge);
    let marks: Vec<Option<u32>> = run.step(0, StageName::Evaluate, |run, _| {
        let prompt = |label: &HandLabel| {
            example_mark_request(
                label.language,
                &label.instruction,
                &label.input,
                &label.answer,
            )
        };
        let said = judge::ask(run, &model, labels.iter().map(prompt).collect())?;
        let mut outcome = Outcome::new(said.marks);
        outcome.tokens = said.tokens;
        Ok(outcome)
    })?;
    let seed = derive_seed(run.spec().seed, &["agreement"]);
    let pairs = |wanted: Option<Language>| -> Vec<(Label, Option<Label>)> {
        let of = labels.iter().zip(&marks);
        let of = of.filter(|(label, _)| wanted.is_none_or(|language| label.language == language));
        of.map(|(label, mark)| (label.label, mark.map(said)))
            .collect()
    };
    let mut agreement = vec![compare("all", &pairs(None), seed)];
    for language in [Language::En, Language::Zh] {
        agreement.push(compare(language.code(), &pairs(Some(language)), seed));
    }
    Ok(JudgeReport {
        model: model.model.to_string(),
        agreement,
    })
}

fn said(mark: u32) -> Label {
    match mark >= GOOD_MARK {
        true => Label::Good,
        false => Label::Bad,
    }
}

fn compare(language: &str, pairs: &[(Label, Option<Label>)], seed: u64) -> AgreementReport {
    let agreed = pairs
        .iter()
        .filter(|(people, judge)| *judge == Some(*people));
    let (agreed, n) = (agreed.count() as u64, pairs.len() as u64);
    let resampled = |places: &mut dyn Iterator<Item = usize>| kappa(places.map(|at| pairs[at]));
    AgreementReport {
        language: language.to_string(),
        n,
        agreed,
        unscored: pairs.iter().filter(|(_, judge)| judge.is_none()).count() as u64,
        share: agreed as f64 / n.max(1) as f64,
        kappa: kappa(pairs.iter().copied()),
        intervals: BTreeMap::from([
            ("share".to_string(), wilson_interval(agreed, n)),
            (
                "kappa".to_string(),
                percentile_interval(pairs.len(), seed, resampled),
            ),
        ]),
    }
}

/// Computes Cohen's kappa (1960), (observed - expected) / (1 - expected); 0 where both always say the same word, which is no
/// evidence. No mark is a word of the judge's that people never say.
fn kappa(pairs: impl Iterator<Item = (Label, Option<Label>)>) -> f64 {
    let (mut n, mut agreed) = (0.0, 0.0);
    // Good and bad, by people and by the judge.
    let (mut people, mut judge) = ([0.0; 2], [0.0; 2]);
    let at = |label: Label| usize::from(label == Label::Bad);
    for (by_people, by_judge) in pairs {
        n += 1.0;
        people[at(by_people)] += 1.0;
        if let Some(by_judge) = by_judge {
            judge[at(by_judge)] += 1.0;
            agreed += f64::from(u8::from(by_judge == by_people));
        }
    }
    if n == 0.0 {
        return 0.0;
    }
    let expected = (people[0] * judge[0] + people[1] * judge[1]) / (n * n);
    match expected < 1.0 {
        true => (agreed / n - expected) / (1.0 - expected),
        false => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn hand_labels_are_fifty_different_ones_in_both_languages_of_every_type() {
        let labels = hand_labels();
        assert_eq!(labels.len(), 50);
        let different = labels
            .iter()
            .map(|label| (&label.instruction, &label.input));
        assert_eq!(different.collect::<BTreeSet<_>>().len(), 50);
        for language in [Language::En, Language::Zh] {
            let of = labels.iter().filter(|label| label.language == language);
            let of: Vec<&HandLabel> = of.collect();
            assert_eq!(of.len(), 25, "{language}");
            let good = of.iter().filter(|label| label.label == Label::Good).count();
            assert!((12..=13).contains(&good), "{language}: {good}");
            let types: BTreeSet<&str> = of.iter().map(|label| label.task_type.name()).collect();
            assert_eq!(types.len(), 9, "{language}: {types:?}");
            for label in of {
                let found = autodidact_text::detect_language(&label.instruction);
                assert_eq!(found, Some(language), "{}", label.instruction);
            }
        }
    }

    #[test]
    fn kappa_is_agreement_beyond_chance() {
        use Label::{Bad, Good};
        let check = |counts: [(Label, Option<Label>, usize); 4], agreed: u64, expect: f64| {
            let pairs = counts
                .iter()
                .flat_map(|(people, judge, count)| std::iter::repeat_n((*people, *judge), *count));
            let pairs: Vec<_> = pairs.collect();
            let found = compare("all", &pairs, 1);
            assert_eq!((found.agreed, found.n), (agreed, pairs.len() as u64));
            assert!((found.kappa - expect).abs() < 1e-12, "{found:?}");
            for (name, value) in [("share", found.share), ("kappa", found.kappa)] {
                let interval = found.intervals[name];
                assert!(
                    interval.low <= value && value <= interval.high,
                    "{name} {found:?}"
                );
            }
        };
        let both = |counts: [usize; 4]| {
            [
                (Good, Some(Good), counts[0]),
                (Bad, Some(Bad), counts[1]),
                (Good, Some(Bad), counts[2]),
                (Bad, Some(Good), counts[3]),
            ]
        };
        check(both([10, 10, 0, 0]), 20, 1.0);
        check(both([5, 5, 5, 5]), 10, 0.0);
        check(both([10, 0, 0, 10]), 10, 0.0);
        // 20 and 15 of 50 agree; by chance half do: (0.7 - 0.5) / 0.5.
        check(both([20, 15, 5, 10]), 35, 0.4);
        // A judge that gives no marks agrees with nobody, and never by chance.
        let mut silent = both([10, 0, 0, 0]);
        silent[1] = (Bad, None, 10);
        check(silent, 10, (0.5 - 0.25) / 0.75);
    }
}
