//! promote: the round's adapter becomes the generator when it is better on the held-out tasks, or is rolled back.

use std::borrow::Cow;
use std::collections::BTreeMap;

use autodidact_domain::journal::StageName;
use autodidact_domain::random::derive_seed;
use autodidact_domain::verdict::Evidence;
use autodidact_domain::workflow::PromoteSpec;
use autodidact_domain::{EventBody, Example, Language, Verdict};
use serde::{Deserialize, Serialize};

use crate::diversity::distinct_ratio;
use crate::error::FlowError;
use crate::journaled::{Judged, Outcome, Run};
use crate::stages::evaluate::Evaluation;
use crate::stages::language_of;
use crate::stages::train::Trained;
use crate::statistics::paired_difference;

/// The decision on a round's adapter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Promotion {
    pub(crate) promoted: bool,
    pub(crate) reason: String,
}

/// What a decision rests on.
pub(crate) struct Compared<'a> {
    /// Of the model in force.
    pub(crate) incumbent: &'a Evaluation,
    /// Of the round's adapter.
    pub(crate) candidate: &'a Evaluation,
    /// What the round kept.
    pub(crate) kept: &'a [Example],
    /// The human examples that it was shown.
    pub(crate) seeds: &'a [Example],
}

/// Compares the round's evaluation with that of the model in force.
///
/// The adapter is promoted when the 95% interval of the paired loss difference lies below 0 and the round's kept instructions are
/// diverse enough: distinct-2 at least `min_diversity` over all, and in every language at least `min_diversity_ratio` of the
/// seeds' own at equal numbers of texts.
pub(crate) fn promote(
    run: &mut Run,
    round: u32,
    spec: &PromoteSpec,
    compared: &Compared<'_>,
    trained: &Trained,
) -> Result<Promotion, FlowError> {
    let promotion: Promotion = run.step(round, StageName::Promote, |run, _| {
        let seed = derive_seed(run.spec().seed, &["promote", &round.to_string()]);
        let promotion = decide(spec, compared, run.spec().languages[0], seed);
        let Promotion { promoted, reason } = promotion.clone();
        let verdict = if promoted {
            Verdict::keep("promote")
        } else {
            Verdict::drop(
                "promote",
                "rolled_back",
                Evidence {
                    note: Some(reason),
                    ..Evidence::default()
                },
            )
        };
        let mut outcome = Outcome::new(promotion);
        outcome.out = u64::from(promoted);
        outcome.verdicts.push(Judged {
            record: trained.adapter_digest,
            text: trained.adapter.to_string(),
            verdict,
        });
        Ok(outcome)
    })?;
    run.progress(round, StageName::Promote, 1, 1);
    run.finish_stage(round, StageName::Promote)?;
    run.ports.events.publish(
        Some(&run.spec().name),
        EventBody::Promotion {
            round,
            promoted: promotion.promoted,
            message: promotion.reason.clone(),
        },
    )?;
    Ok(promotion)
}

/// Decides, and says why in a person's language.
fn decide(spec: &PromoteSpec, compared: &Compared<'_>, language: Language, seed: u64) -> Promotion {
    let against = &compared.incumbent.model;
    let pairs = compared.incumbent.paired(compared.candidate);
    if pairs.is_empty() {
        let reason = language.pick(
            format!("rolled back: no held-out task is measured by both this adapter and {against}, so nothing shows that it is better"),
            format!("已回滚：没有任何留出任务能同时衡量该适配器与 {against}，无法证明更好"),
        );
        return Promotion {
            promoted: false,
            reason,
        };
    }
    let (before, after): (Vec<f64>, Vec<f64>) = pairs
        .iter()
        .map(|(before, after)| (before.loss(), after.loss()))
        .unzip();
    let (difference, interval) = paired_difference(&before, &after, seed);
    let figures = format!(
        "{difference:+.4} [{:+.4}, {:+.4}]",
        interval.low, interval.high
    );
    let loss = language.pick(
        format!("held-out loss a task against {against}: {figures}"),
        format!("每个留出任务的损失与 {against} 相比：{figures}"),
    );
    let diversity = Diversity::of(compared, language, seed);
    let decision = match interval.high < 0.0 {
        false => Err(language.pick(
            "rolled back, not surely better: ".to_string(),
            "已回滚，不能确定更好：".to_string(),
        )),
        true => diversity.check(spec, language),
    };
    let promoted = decision.is_ok();
    let decision = decision
        .err()
        .unwrap_or_else(|| language.pick("promoted: ", "已采用：").to_string());
    Promotion {
        promoted,
        reason: format!("{decision}{loss}{}", diversity.told(language)),
    }
}

/// How diverse a round's kept instructions are.
struct Diversity {
    /// Distinct-2 over all; none where the round kept nothing.
    distinct: Option<f64>,
    /// The language that has the least share of its seeds' own, and that share; none where seeds or instructions have no pair of
    /// tokens.
    least_ratio: Option<(Language, f64)>,
}

impl Diversity {
    fn of(compared: &Compared<'_>, default: Language, seed: u64) -> Self {
        let kept = instructions(compared.kept, default);
        let seeds = instructions(compared.seeds, default);
        let all: Vec<&str> = kept.values().flatten().map(|text| &**text).collect();
        let ratios = kept.iter().filter_map(|(language, own)| {
            let own: Vec<&str> = own.iter().map(|text| &**text).collect();
            let seeds = seeds.get(language)?.iter();
            let seeds: Vec<&str> = seeds.map(|text| &**text).collect();
            Some((*language, distinct_ratio(&own, &seeds, seed)?))
        });
        Self {
            distinct: (!all.is_empty()).then(|| autodidact_text::distinct_n(&all, 2)),
            least_ratio: ratios.min_by(|one, other| one.1.total_cmp(&other.1)),
        }
    }

    /// Holds it to its floors.
    fn check(&self, spec: &PromoteSpec, language: Language) -> Result<(), String> {
        let least = spec.min_diversity;
        if self.distinct.is_some_and(|distinct| distinct < least) {
            return Err(language.pick(
                format!("rolled back, too uniform (below {least}): "),
                format!("已回滚，过于单一（低于 {least}）："),
            ));
        }
        let least = spec.min_diversity_ratio;
        match self.least_ratio {
            Some((of, ratio)) if ratio < least => Err(language.pick(
                format!("rolled back, too uniform beside the {of} seeds ({ratio:.2} of their diversity, below {least}): "),
                format!("已回滚，与 {of} 种子相比过于单一（仅为其多样性的 {ratio:.2}，低于 {least}）："),
            )),
            _ => Ok(()),
        }
    }

    fn told(&self, language: Language) -> String {
        let Some(distinct) = self.distinct else {
            return String::new();
        };
        let beside = self.least_ratio.map(|(_, ratio)| {
            language.pick(
                format!(", {ratio:.2} of the seeds' own"),
                format!("，为种子的 {ratio:.2}"),
            )
        });
        let beside = beside.unwrap_or_default();
        language.pick(
            format!("; distinct-2 of kept instructions {distinct:.3}{beside}"),
            format!("；保留指令的 distinct-2 为 {distinct:.3}{beside}"),
        )
    }
}

fn instructions(examples: &[Example], default: Language) -> BTreeMap<Language, Vec<Cow<'_, str>>> {
    let mut groups: BTreeMap<Language, Vec<Cow<'_, str>>> = BTreeMap::new();
    for example in examples {
        let group = groups.entry(language_of(example, default)).or_default();
        group.push(example.body.instruction_text());
    }
    groups
}

#[cfg(test)]
mod tests {
    use autodidact_domain::{Body, Digest};

    use super::*;
    use crate::stages::evaluate::TaskResult;

    /// An evaluation of twenty tasks with losses around a mean.
    fn evaluation(model: &str, mean: f64, tokens: u32) -> Evaluation {
        let result = |i: u32| TaskResult {
            id: Digest::of(&i.to_le_bytes()),
            language: Language::En,
            task_type: None,
            answer: String::new(),
            negative_log_likelihood: (mean + f64::from(i % 5) / 10.0) * 4.0,
            tokens,
            rouge_l: 0.0,
            success: false,
        };
        Evaluation {
            model: model.to_string(),
            results: (0..20).map(result).collect(),
            judgement: None,
        }
    }

    fn examples(language: Language, texts: impl IntoIterator<Item = String>) -> Vec<Example> {
        let example = |text: String| Example {
            language: Some(language),
            ..Example::human(Body::instruction(&text, "", "a"))
        };
        texts.into_iter().map(example).collect()
    }

    /// Instructions that share nothing.
    fn different(language: Language) -> Vec<Example> {
        let text = |i: u32| {
            language.pick(
                format!("one{i} two{i} three{i}"),
                (0..3)
                    .filter_map(|k| char::from_u32(0x4E00 + i * 3 + k))
                    .collect(),
            )
        };
        examples(language, (0..30).map(text))
    }

    /// Instructions that say the same but for a word.
    fn uniform(language: Language) -> Vec<Example> {
        let text = |i: u32| {
            language.pick(
                format!("write a short poem about the colour number {}", i % 3),
                format!("请写一首关于颜色的短诗{}", i % 3),
            )
        };
        examples(language, (0..30).map(text))
    }

    #[test]
    fn every_branch_decides_and_says_why_in_both_languages() {
        let spec = PromoteSpec {
            min_diversity: 0.01,
            min_diversity_ratio: 0.5,
        };
        let strict = PromoteSpec {
            min_diversity: 0.9,
            ..spec.clone()
        };
        let unbound = PromoteSpec {
            min_diversity: 0.0,
            min_diversity_ratio: 0.0,
        };
        let (base, better) = (evaluation("base", 2.0, 4), evaluation("round-1", 1.5, 4));
        let (same, worse) = (evaluation("round-1", 2.0, 4), evaluation("round-1", 2.5, 4));
        // Measured over other tokens, it cannot be compared.
        let apart = evaluation("round-1", 1.5, 5);
        let (en, zh) = (Language::En, Language::Zh);
        let seeds = [different(en), different(zh)].concat();
        let good = [different(en), different(zh)].concat();
        let one_sided = [different(en), uniform(zh)].concat();
        let check = |spec: &PromoteSpec,
                     candidate: &Evaluation,
                     kept: &[Example],
                     expect: bool,
                     words: [&str; 2]| {
            for (language, word) in [(en, words[0]), (zh, words[1])] {
                let compared = Compared {
                    incumbent: &base,
                    candidate,
                    kept,
                    seeds: &seeds,
                };
                let found = decide(spec, &compared, language, 7);
                assert_eq!(found.promoted, expect, "{}", found.reason);
                assert!(found.reason.starts_with(word), "{word:?}: {}", found.reason);
            }
        };
        check(
            &spec,
            &better,
            &good,
            true,
            ["promoted: held-out loss", "已采用：每个留出任务"],
        );
        check(&spec, &better, &[], true, ["promoted: ", "已采用："]);
        let unsure = ["rolled back, not surely better: ", "已回滚，不能确定更好："];
        check(&spec, &same, &good, false, unsure);
        check(&spec, &worse, &good, false, unsure);
        check(
            &spec,
            &apart,
            &good,
            false,
            ["rolled back: no held-out task", "已回滚：没有任何留出任务"],
        );
        check(
            &strict,
            &better,
            &uniform(en),
            false,
            [
                "rolled back, too uniform (below 0.9): ",
                "已回滚，过于单一（低于 0.9）：",
            ],
        );
        check(
            &spec,
            &better,
            &one_sided,
            false,
            [
                "rolled back, too uniform beside the zh seeds",
                "已回滚，与 zh 种子相比过于单一",
            ],
        );
        check(
            &spec,
            &better,
            &uniform(en),
            false,
            [
                "rolled back, too uniform beside the en seeds",
                "已回滚，与 en 种子相比过于单一",
            ],
        );
        check(
            &unbound,
            &better,
            &one_sided,
            true,
            ["promoted: ", "已采用："],
        );
    }

    #[test]
    fn a_reason_names_loss_and_diversity_with_their_figures() {
        let (base, better) = (evaluation("base", 2.0, 4), evaluation("round-1", 1.5, 4));
        let (seeds, kept) = (different(Language::En), different(Language::En));
        let compared = Compared {
            incumbent: &base,
            candidate: &better,
            kept: &kept,
            seeds: &seeds,
        };
        let spec = PromoteSpec {
            min_diversity: 0.3,
            min_diversity_ratio: 0.5,
        };
        let found = decide(&spec, &compared, Language::En, 7);
        assert_eq!(
            found.reason,
            "promoted: held-out loss a task against base: -0.5000 [-0.5000, -0.5000]; distinct-2 of kept instructions 1.000, 1.00 of the seeds' own"
        );
    }
}
