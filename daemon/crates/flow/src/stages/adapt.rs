//! adapt: what failed on the held-out tasks decides what the next round asks for.

use std::collections::{BTreeMap, HashMap};

use autodidact_domain::journal::StageName;
use autodidact_domain::plan::{AdaptSpec, PlanChange, Quota, RoundPlan};
use autodidact_domain::report::StageReport;
use autodidact_domain::{EventBody, Example, ExampleId, Language, TaskType};
use serde::{Deserialize, Serialize};

use crate::error::FlowError;
use crate::journaled::{Outcome, Run};
use crate::report::task_type_name;
use crate::stages::evaluate::{Evaluation, TaskResult};
use crate::stages::language_of;

/// Tasks of the overall rate that a type's own are mixed with, so that two failures of two do not weigh like twenty of twenty.
const PRIOR_TASKS: f64 = 2.0;
/// The failed tasks of one type and topic from which the topic gets a quota of its own, and their least share.
const TOPIC_FAILURES: usize = 2;
const TOPIC_FAILURE_RATE: f64 = 0.5;
/// What a topic's quota takes of its type's.
const TOPIC_SHARE: f64 = 1.0 / 3.0;
/// The share of candidates dropped as duplicates above which the temperature rises.
const MANY_DUPLICATES: f64 = 0.4;
/// The share of completions without a list, or of candidates that are malformed, above which it falls.
const MANY_MALFORMED: f64 = 0.3;
/// Where a temperature stays.
const TEMPERATURES: std::ops::RangeInclusive<f32> = 0.3..=1.3;
/// The seeds of a type and language under which more are suggested when it fails.
const FEW_SEEDS: usize = 8;

const DUPLICATES: [&str; 3] = ["exact_duplicate", "near_duplicate", "embedding_duplicate"];
const MALFORMED: [&str; 5] = [
    "unparsable",
    "bad_format",
    "ungrammatical",
    "repetition",
    "wrong_language",
];

/// What a round's failures lead to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Adapted {
    /// The next round's plan.
    pub(crate) plan: RoundPlan,
    pub(crate) changes: Vec<PlanChange>,
    /// Seeds that would help, in words.
    pub(crate) suggestions: Vec<String>,
}

/// What is known when a round ends.
pub(crate) struct Known<'a> {
    /// The plan that the workflow began with, and the round's own.
    pub(crate) first: &'a RoundPlan,
    pub(crate) current: &'a RoundPlan,
    /// The model in force on the held-out tasks.
    pub(crate) evaluation: &'a Evaluation,
    pub(crate) held_out: &'a [Example],
    pub(crate) human: &'a [Example],
}

/// Makes the next round's plan; every change is in the journal with its reason, and is told.
pub(crate) fn adapt(
    run: &mut Run,
    round: u32,
    spec: &AdaptSpec,
    known: &Known<'_>,
) -> Result<Adapted, FlowError> {
    let stage = |name| run.totals.stages.get(&(round, name)).cloned();
    let made = [stage(StageName::Generate), stage(StageName::Filter)];
    let language = run.spec().languages[0];
    let adapted: Adapted = run.step(round, StageName::Adapt, |_, _| {
        let adapted = next_plan(spec, known, &made, language);
        let mut outcome = Outcome::new(adapted);
        outcome.out = outcome.value.changes.len() as u64;
        Ok(outcome)
    })?;
    run.progress(round, StageName::Adapt, 1, 1);
    run.finish_stage(round, StageName::Adapt)?;
    for change in &adapted.changes {
        let change = change.clone();
        let event = EventBody::PlanChanged { round, change };
        run.ports.events.publish(Some(&run.spec().name), event)?;
    }
    Ok(adapted)
}

/// Successes and failures on the held-out tasks of a kind.
#[derive(Clone, Copy, Default)]
struct Tally {
    failed: usize,
    tasks: usize,
}

impl Tally {
    fn add(&mut self, result: &TaskResult) {
        self.tasks += 1;
        self.failed += usize::from(!result.success);
    }

    /// The failure rate, mixed with an overall one.
    fn rate(&self, overall: f64) -> f64 {
        (self.failed as f64 + PRIOR_TASKS * overall) / (self.tasks as f64 + PRIOR_TASKS)
    }
}

/// Decides the next round's plan, in words of `told`.
fn next_plan(
    spec: &AdaptSpec,
    known: &Known<'_>,
    made: &[Option<StageReport>; 2],
    told: Language,
) -> Adapted {
    let failures = Failures::of(known);
    let mut changes = Vec::new();
    let mut quotas = weigh(spec, known.first, &failures);
    quotas = with_topics(quotas, &failures);
    changes.extend(quota_changes(
        &known.current.quotas,
        &quotas,
        &failures,
        told,
    ));
    let (temperature, reason) = next_temperature(spec, known.current.temperature, made, told);
    changes.extend(reason.map(|reason| PlanChange {
        what: "temperature".to_string(),
        before: format!("{:.2}", known.current.temperature),
        after: format!("{temperature:.2}"),
        reason,
    }));
    Adapted {
        plan: RoundPlan {
            quotas,
            temperature,
        },
        changes,
        suggestions: suggest(known, &failures, told),
    }
}

/// The failures by language and task type, and by topic in each.
struct Failures {
    overall: Tally,
    types: BTreeMap<(Language, &'static str), Tally>,
    topics: BTreeMap<(Language, &'static str, String), Tally>,
}

impl Failures {
    fn of(known: &Known<'_>) -> Self {
        let tasks: HashMap<ExampleId, &Example> =
            known.held_out.iter().map(|task| (task.id, task)).collect();
        let mut failures = Self {
            overall: Tally::default(),
            types: BTreeMap::new(),
            topics: BTreeMap::new(),
        };
        for result in &known.evaluation.results {
            failures.overall.add(result);
            let Some(task_type) = result.task_type else {
                continue;
            };
            let kind = (result.language, task_type.name());
            failures.types.entry(kind).or_default().add(result);
            let topic = tasks.get(&result.id).and_then(|task| task.topic.clone());
            if let Some(topic) = topic {
                let topic = (kind.0, kind.1, topic);
                failures.topics.entry(topic).or_default().add(result);
            }
        }
        failures
    }

    fn overall(&self) -> f64 {
        self.overall.failed as f64 / self.overall.tasks.max(1) as f64
    }

    /// The tally of what a quota asks for; of all languages where it names none.
    fn of_quota(&self, quota: &Quota) -> Tally {
        let mut sum = Tally::default();
        for ((language, name), tally) in &self.types {
            let is_own = quota.task_type.is_none_or(|own| own.name() == *name);
            if is_own && quota.language.is_none_or(|own| own == *language) {
                sum.failed += tally.failed;
                sum.tasks += tally.tasks;
            }
        }
        sum
    }

    /// The topic of a quota's type that fails most, where one fails often enough.
    fn worst_topic(&self, quota: &Quota) -> Option<(&str, Tally)> {
        let task_type = quota.task_type?;
        let of_type = self.topics.iter().filter(|((language, name, _), tally)| {
            *name == task_type.name()
                && quota.language.is_none_or(|own| own == *language)
                && tally.failed >= TOPIC_FAILURES
                && tally.failed as f64 > TOPIC_FAILURE_RATE * tally.tasks as f64
        });
        // The first in order among equals.
        let worst = of_type.rev().max_by_key(|(_, tally)| tally.failed)?;
        Some((worst.0.2.as_str(), *worst.1))
    }
}

/// Weighs the first plan's quotas by how their kinds fail, and holds each to the most that one may have. Shares of a language
/// sum to what they did.
fn weigh(spec: &AdaptSpec, first: &RoundPlan, failures: &Failures) -> Vec<Quota> {
    let overall = failures.overall();
    let mut quotas = first.quotas.clone();
    for quota in &mut quotas {
        let rate = failures.of_quota(quota).rate(overall);
        quota.share *= 1.0 + spec.strength * rate;
    }
    for language in [None, Some(Language::En), Some(Language::Zh)] {
        let own: Vec<usize> = (0..quotas.len())
            .filter(|place| quotas[*place].language == language)
            .collect();
        let total: f64 = own.iter().map(|place| first.quotas[*place].share).sum();
        let shares: Vec<f64> = own.iter().map(|place| quotas[*place].share).collect();
        for (place, share) in own.iter().zip(capped(&shares, spec.max_share)) {
            quotas[*place].share = share * total;
        }
    }
    quotas
}

/// Brings weights to the sum 1, none above `most`; where so few are there that all would be, they stay as they are.
fn capped(weights: &[f64], most: f64) -> Vec<f64> {
    let total: f64 = weights.iter().sum();
    let mut shares: Vec<f64> = weights
        .iter()
        .map(|weight| weight / total.max(f64::MIN_POSITIVE))
        .collect();
    let positive = shares.iter().filter(|share| **share > 0.0).count();
    if positive as f64 * most <= 1.0 {
        return shares;
    }
    // What is taken off the largest goes to the others, which may then be too large themselves.
    let mut held = vec![false; shares.len()];
    while let Some(place) = (0..shares.len()).find(|place| !held[*place] && shares[*place] > most) {
        let excess = shares[place] - most;
        shares[place] = most;
        held[place] = true;
        let open: f64 = (0..shares.len())
            .filter(|i| !held[*i])
            .map(|i| shares[i])
            .sum();
        if open <= 0.0 {
            break;
        }
        for i in (0..shares.len()).filter(|i| !held[*i]) {
            shares[i] += excess * shares[i] / open;
        }
    }
    shares
}

/// Gives the topic that fails most of each type a quota of its own, before its type's.
fn with_topics(quotas: Vec<Quota>, failures: &Failures) -> Vec<Quota> {
    let mut with = Vec::new();
    for mut quota in quotas {
        if quota.topic.is_none()
            && let Some((topic, _)) = failures.worst_topic(&quota)
        {
            let share = quota.share * TOPIC_SHARE;
            quota.share -= share;
            with.push(Quota {
                topic: Some(topic.to_string()),
                share,
                ..quota.clone()
            });
        }
        with.push(quota);
    }
    with
}

/// Tells what differs between two lists of quotas by more than a hundredth of the whole.
fn quota_changes(
    before: &[Quota],
    after: &[Quota],
    failures: &Failures,
    told: Language,
) -> Vec<PlanChange> {
    let total = |quotas: &[Quota], language: Option<Language>| {
        let own = quotas.iter().filter(|quota| quota.language == language);
        own.map(|quota| quota.share)
            .sum::<f64>()
            .max(f64::MIN_POSITIVE)
    };
    let is_same = |a: &Quota, b: &Quota| {
        (a.language, a.task_type, &a.topic) == (b.language, b.task_type, &b.topic)
    };
    let share = |quotas: &[Quota], of: &Quota| {
        let own = quotas.iter().find(|quota| is_same(quota, of));
        own.map_or(0.0, |quota| quota.share / total(quotas, quota.language))
    };
    let gone = before
        .iter()
        .filter(|old| !after.iter().any(|new| is_same(new, old)));
    let all = after.iter().chain(gone);
    let changes = all.filter_map(|quota| {
        let (was, is) = (share(before, quota), share(after, quota));
        ((was - is).abs() >= 0.01).then(|| PlanChange {
            what: format!("quota {}", name_of(quota)),
            before: format!("{:.1}%", 100.0 * was),
            after: format!("{:.1}%", 100.0 * is),
            reason: why(quota, failures, told),
        })
    });
    changes.collect()
}

/// Names a quota: `en/classification`, `zh/translation/music`.
fn name_of(quota: &Quota) -> String {
    let parts = [
        quota.language.map(|language| language.code().to_string()),
        quota
            .task_type
            .map(|task_type| task_type.name().to_string()),
        quota.topic.clone(),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    match parts.is_empty() {
        true => "any".to_string(),
        false => parts.join("/"),
    }
}

fn why(quota: &Quota, failures: &Failures, told: Language) -> String {
    let (tally, about) = match &quota.topic {
        Some(topic) => {
            let worst = failures.worst_topic(quota).map(|(_, tally)| tally);
            let about = told.pick(format!(" on {topic}"), format!("（主题：{topic}）"));
            (worst.unwrap_or_default(), about)
        }
        None => (failures.of_quota(quota), String::new()),
    };
    let overall = 100.0 * failures.overall();
    match tally.tasks {
        0 => told.pick(
            format!("no held-out task{about} of this kind fails; the others' shares decide"),
            format!("没有这一类的留出任务{about}失败，由其他份额决定"),
        ),
        tasks => told.pick(
            format!(
                "{} of {tasks} held-out tasks of this kind{about} fail; of all tasks {overall:.0}% do",
                tally.failed
            ),
            format!(
                "这一类{about}的 {tasks} 个留出任务有 {} 个失败；全部任务失败 {overall:.0}%",
                tally.failed
            ),
        ),
    }
}

/// Raises the temperature where candidates repeat what is there, and lowers it where they fall apart.
fn next_temperature(
    spec: &AdaptSpec,
    current: f32,
    made: &[Option<StageReport>; 2],
    told: Language,
) -> (f32, Option<String>) {
    let share = |codes: &[&str]| {
        let stages = made.iter().flatten();
        let shares = stages.map(|stage| {
            let dropped: u64 = codes
                .iter()
                .filter_map(|code| stage.reasons.get(*code))
                .sum();
            dropped as f64 / stage.taken.max(1) as f64
        });
        shares.fold(0.0, f64::max)
    };
    let (duplicates, malformed) = (share(&DUPLICATES), share(&MALFORMED));
    // In hundredths, as it is told.
    let held = |temperature: f32| {
        let temperature = temperature.clamp(*TEMPERATURES.start(), *TEMPERATURES.end());
        (temperature * 100.0).round() / 100.0
    };
    let (next, reason) = if malformed > MANY_MALFORMED {
        let percent = 100.0 * malformed;
        (
            held(current - spec.temperature_step),
            told.pick(
                format!("{percent:.0}% of what was made was malformed"),
                format!("生成内容中有 {percent:.0}% 不成形"),
            ),
        )
    } else if duplicates > MANY_DUPLICATES {
        let percent = 100.0 * duplicates;
        (
            held(current + spec.temperature_step),
            told.pick(
                format!("{percent:.0}% of the candidates repeated what is there"),
                format!("候选指令中有 {percent:.0}% 与已有的重复"),
            ),
        )
    } else {
        return (current, None);
    };
    // One that stood outside of the bounds from the start is left alone.
    let is_change = next != current && TEMPERATURES.contains(&current);
    match is_change {
        true => (next, Some(reason)),
        false => (current, None),
    }
}

/// Says which seeds to add: of kinds that fail more than others and of which there are few, or none.
fn suggest(known: &Known<'_>, failures: &Failures, told: Language) -> Vec<String> {
    let overall = failures.overall();
    let mut suggestions = Vec::new();
    for ((language, name), tally) in &failures.types {
        let is_kind = |example: &&Example| {
            example.task_type.is_some_and(|own| own.name() == *name)
                && language_of(example, *language) == *language
        };
        let seeds = known.human.iter().filter(is_kind).count();
        let rate = tally.failed as f64 / tally.tasks as f64;
        if rate < overall || tally.failed == 0 || seeds >= FEW_SEEDS {
            continue;
        }
        let quota = Quota {
            language: Some(*language),
            task_type: TaskType::from_name(name),
            topic: None,
            share: 0.0,
            temperature: None,
        };
        let topic = failures
            .worst_topic(&quota)
            .map(|(topic, _)| topic.to_string());
        let missing = FEW_SEEDS - seeds;
        let kind = task_type_name(told, name);
        let Tally { failed, tasks } = *tally;
        suggestions.push(match told {
            Language::En => format!(
                "add {missing} seeds in {language} of the type {kind}{}: {failed} of {tasks} held-out tasks of it fail, and {seeds} seeds show it",
                topic.map(|topic| format!(", some on {topic}")).unwrap_or_default()
            ),
            Language::Zh => format!(
                "请补充 {missing} 条{}的“{kind}”类种子{}：这一类 {tasks} 个留出任务有 {failed} 个失败，而种子只有 {seeds} 条",
                match language {
                    Language::En => "英文",
                    Language::Zh => "中文",
                },
                topic.map(|topic| format!("（可包括主题 {topic}）")).unwrap_or_default()
            ),
        });
    }
    suggestions
}

#[cfg(test)]
mod tests {
    use autodidact_domain::Body;

    use super::*;

    fn task(number: usize, task_type: TaskType, topic: &str) -> Example {
        Example {
            task_type: Some(task_type),
            topic: Some(topic.to_string()),
            language: Some(Language::En),
            ..Example::human(Body::instruction(&format!("Task {number}."), "", "x"))
        }
    }

    fn result(task: &Example, success: bool) -> TaskResult {
        TaskResult {
            id: task.id,
            language: Language::En,
            task_type: task.task_type,
            answer: String::new(),
            negative_log_likelihood: 1.0,
            tokens: 1,
            rouge_l: 0.0,
            success,
        }
    }

    fn plan(types: &[TaskType]) -> RoundPlan {
        let quota = |task_type: &TaskType| Quota {
            language: Some(Language::En),
            task_type: Some(*task_type),
            topic: None,
            share: 1.0,
            temperature: None,
        };
        RoundPlan {
            quotas: types.iter().map(quota).collect(),
            temperature: 0.7,
        }
    }

    /// Ten translations of which all fail, on two topics, and ten writings of which none does.
    fn adapted(spec: AdaptSpec, made: [Option<StageReport>; 2], told: Language) -> Adapted {
        let held_out: Vec<Example> = (0..20)
            .map(|i| match i {
                0..8 => task(i, TaskType::Translation, "music"),
                8..10 => task(i, TaskType::Translation, "sport"),
                _ => task(i, TaskType::Writing, "music"),
            })
            .collect();
        let results = held_out.iter().enumerate();
        let evaluation = Evaluation {
            model: "round-1".into(),
            results: results.map(|(i, task)| result(task, i >= 10)).collect(),
            judgement: None,
        };
        let first = plan(&[TaskType::Translation, TaskType::Writing, TaskType::Code]);
        let human: Vec<Example> = (100..103)
            .map(|i| task(i, TaskType::Translation, "food"))
            .collect();
        let known = Known {
            first: &first,
            current: &first,
            evaluation: &evaluation,
            held_out: &held_out,
            human: &human,
        };
        next_plan(&spec, &known, &made, told)
    }

    #[test]
    fn what_fails_is_asked_for_more_with_its_worst_topic() {
        let adapted = adapted(AdaptSpec::default(), [None, None], Language::En);
        let shares: Vec<(String, f64)> = adapted
            .plan
            .quotas
            .iter()
            .map(|quota| (name_of(quota), quota.share))
            .collect();
        let names: Vec<&str> = shares.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "en/translation/music",
                "en/translation",
                "en/writing",
                "en/code"
            ]
        );
        let translation = shares[0].1 + shares[1].1;
        assert!(translation > 1.2 && shares[2].1 < 0.8, "{shares:?}");
        // No code was measured: it fails as the whole does, and keeps about its share.
        assert!((shares[3].1 - 1.0).abs() < 0.1, "{shares:?}");
        let total: f64 = shares.iter().map(|(_, share)| share).sum();
        assert!((total - 3.0).abs() < 1e-9);
        let change = &adapted.changes[0];
        assert_eq!(change.what, "quota en/translation/music");
        assert_eq!(change.before, "0.0%");
        assert_eq!(
            change.reason,
            "8 of 8 held-out tasks of this kind on music fail; of all tasks 50% do"
        );
        assert_eq!(
            adapted.suggestions,
            [
                "add 5 seeds in en of the type translation, some on music: 10 of 10 held-out tasks of it fail, and 3 seeds show it"
            ]
        );
    }

    #[test]
    fn it_is_told_in_chinese_too() {
        let adapted = adapted(AdaptSpec::default(), [None, None], Language::Zh);
        assert!(
            adapted.changes[0].reason.contains("留出任务有 8 个失败"),
            "{:?}",
            adapted.changes[0]
        );
        assert!(
            adapted.suggestions[0].starts_with("请补充 5 条英文的“翻译”类种子"),
            "{:?}",
            adapted.suggestions
        );
    }

    #[test]
    fn nothing_takes_more_than_the_most() {
        let spec = AdaptSpec {
            strength: 10.0,
            max_share: 0.4,
            ..AdaptSpec::default()
        };
        let quotas = adapted(spec, [None, None], Language::En).plan.quotas;
        let translation = quotas[0].share + quotas[1].share;
        assert!((translation - 1.2).abs() < 1e-9, "{quotas:?}");
        assert_eq!(capped(&[9.0, 1.0], 0.4), [0.9, 0.1]);
        let held = capped(&[8.0, 1.0, 1.0, 0.0], 0.4);
        assert!((held[0] - 0.4).abs() < 1e-12 && (held[1] - 0.3).abs() < 1e-12 && held[3] == 0.0);
    }

    #[test]
    fn temperatures_follow_what_is_dropped() {
        let stage = |code: &str, dropped| StageReport {
            taken: 10,
            reasons: BTreeMap::from([(code.to_string(), dropped)]),
            ..StageReport::default()
        };
        let next = |made| {
            let adapted = adapted(AdaptSpec::default(), made, Language::En);
            let told = adapted
                .changes
                .iter()
                .any(|change| change.what == "temperature");
            (adapted.plan.temperature, told)
        };
        assert_eq!(next([None, Some(stage("near_duplicate", 5))]), (0.8, true));
        assert_eq!(next([None, Some(stage("near_duplicate", 4))]), (0.7, false));
        assert_eq!(next([Some(stage("unparsable", 5)), None]), (0.6, true));
    }
}
