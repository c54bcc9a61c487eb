//! Which quota a prompt is for.

use std::collections::BTreeSet;

use autodidact_domain::plan::{Quota, RoundPlan};
use autodidact_domain::{Example, Language, TaskType, WorkflowSpec};

use crate::stages::language_of;

/// The plan that a workflow begins with: its quotas, or where failures are to change them later, one for each type of the seeds.
pub(crate) fn first_plan(spec: &WorkflowSpec, human: &[Example]) -> RoundPlan {
    let Some(generate) = &spec.stages.generate else {
        return RoundPlan::default();
    };
    let mut quotas = generate.quotas.clone();
    if quotas.is_empty() && spec.stages.adapt.is_some() {
        let default = spec.languages[0];
        // Seeds that say no type stand last, for tasks of any kind.
        let kind = |example: &Example| {
            let name = example.task_type.map(TaskType::name);
            (language_of(example, default), name.is_none(), name)
        };
        let kinds: BTreeSet<(Language, bool, Option<&str>)> = human.iter().map(kind).collect();
        let kinds = kinds
            .into_iter()
            .filter(|(language, ..)| spec.languages.contains(language));
        let quota = |(language, _, name): (Language, bool, Option<&str>)| Quota {
            language: Some(language),
            task_type: name.and_then(TaskType::from_name),
            topic: None,
            share: 1.0,
            temperature: None,
        };
        quotas = kinds.map(quota).collect();
    }
    RoundPlan {
        quotas,
        temperature: generate.temperature,
    }
}

/// Tells the languages of which a round has kept too little, with how much is missing: of the target each has an equal share.
pub(crate) fn missing(
    target: u32,
    languages: &[Language],
    kept: &[Example],
) -> Vec<(Language, u32)> {
    let share = target.div_ceil(languages.len() as u32);
    let missing = |language: &Language| {
        let own = |example: &&Example| language_of(example, languages[0]) == *language;
        let kept = kept.iter().filter(own).count() as u32;
        (*language, share.saturating_sub(kept))
    };
    let missing = languages.iter().map(missing);
    missing.filter(|(_, missing)| *missing > 0).collect()
}

/// Gives prompts out to quotas, so that what is asked and what is kept approach the shares.
pub(crate) struct Allotment<'a> {
    plan: &'a RoundPlan,
    /// Prompts given to each quota, and examples of it that were kept.
    made: Vec<f64>,
}

impl<'a> Allotment<'a> {
    /// Begins where a round stands: `asked` are the quotas of the prompts so far, by their places in the plan.
    ///
    /// Kept examples count like prompts: a kind of which few are kept is asked for more often, but one of which none are kept
    /// cannot take all prompts.
    pub(crate) fn new(
        plan: &'a RoundPlan,
        asked: &[Option<usize>],
        kept: &[Example],
        default: Language,
    ) -> Self {
        let mut made = vec![0.0; plan.quotas.len()];
        for quota in asked.iter().flatten() {
            made[*quota] += 1.0;
        }
        for example in kept {
            let language = language_of(example, default);
            let counts =
                |quota: &Quota| quota.counts(language, example.task_type, example.topic.as_deref());
            // An example is of the first quota that it fits, as the narrow ones are to stand first.
            if let Some(quota) = plan.quotas.iter().position(counts) {
                made[quota] += 1.0;
            }
        }
        Self { plan, made }
    }

    /// Picks the quota of the next prompt in a language: the one that is furthest behind its share; none without quotas.
    pub(crate) fn next(&mut self, language: Language) -> Option<usize> {
        let quotas = self.plan.quotas.iter().enumerate();
        let open: Vec<(usize, f64)> = quotas
            .filter(|(_, quota)| quota.language.is_none_or(|own| own == language))
            .filter(|(_, quota)| quota.share > 0.0)
            .map(|(place, quota)| (place, quota.share))
            .collect();
        let shares: f64 = open.iter().map(|(_, share)| share).sum();
        let made: f64 = open.iter().map(|(place, _)| self.made[*place]).sum();
        let lack =
            |(place, share): &(usize, f64)| share / shares * (made + 1.0) - self.made[*place];
        // The first of equals, so that nothing but the plan decides.
        let chosen = open
            .iter()
            .rev()
            .max_by(|a, b| lack(a).total_cmp(&lack(b)))
            .map(|(place, _)| *place)?;
        self.made[chosen] += 1.0;
        Some(chosen)
    }
}

#[cfg(test)]
mod tests {
    use autodidact_domain::Body;

    use super::*;

    fn plan(shares: &[(TaskType, f64)]) -> RoundPlan {
        let quota = |(task_type, share): &(TaskType, f64)| Quota {
            language: None,
            task_type: Some(*task_type),
            topic: None,
            share: *share,
            temperature: None,
        };
        RoundPlan {
            quotas: shares.iter().map(quota).collect(),
            temperature: 0.7,
        }
    }

    fn drawn(plan: &RoundPlan, kept: &[Example], count: usize) -> Vec<usize> {
        let mut allotment = Allotment::new(plan, &[], kept, Language::En);
        let mut counts = vec![0; plan.quotas.len()];
        for _ in 0..count {
            counts[allotment.next(Language::En).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn prompts_follow_the_shares() {
        let plan = plan(&[
            (TaskType::Writing, 1.0),
            (TaskType::Code, 3.0),
            (TaskType::Reasoning, 0.0),
        ]);
        assert_eq!(drawn(&plan, &[], 40), [10, 30, 0]);
    }

    #[test]
    fn a_kind_of_which_less_is_kept_is_asked_for_more() {
        let plan = plan(&[(TaskType::Writing, 1.0), (TaskType::Code, 1.0)]);
        let writing = Example {
            task_type: Some(TaskType::Writing),
            ..Example::human(Body::instruction("Write.", "", "x"))
        };
        assert_eq!(drawn(&plan, &vec![writing; 8], 20), [6, 14]);
    }

    #[test]
    fn every_language_has_an_equal_share_of_the_target() {
        let kept = |language, count| {
            let example = Example {
                language: Some(language),
                ..Example::human(Body::instruction("Write.", "", "x"))
            };
            vec![example; count]
        };
        let both = [Language::En, Language::Zh];
        let check = |kept: &[Example], expect: &[(Language, u32)]| {
            assert_eq!(missing(21, &both, kept), expect);
        };
        check(&[], &[(Language::En, 11), (Language::Zh, 11)]);
        let english = kept(Language::En, 15);
        check(&english, &[(Language::Zh, 11)]);
        check(&[english, kept(Language::Zh, 11)].concat(), &[]);
        let chinese = kept(Language::Zh, 3);
        assert_eq!(missing(3, &[Language::Zh], &chinese), []);
    }

    #[test]
    fn nothing_is_drawn_without_quotas_of_the_language() {
        let mut plan = plan(&[(TaskType::Code, 1.0)]);
        plan.quotas[0].language = Some(Language::Zh);
        let mut allotment = Allotment::new(&plan, &[], &[], Language::En);
        assert_eq!(allotment.next(Language::En), None);
        assert_eq!(allotment.next(Language::Zh), Some(0));
    }
}
