//! Where a round's review stands: what was decided, how surely its examples are valid, and what is missing.
//!
//! The share of valid examples is that of the accepted ones among the reviewed ones. An edited one was not valid as the model
//! wrote it, and the examples that nobody looks at stay as it wrote them. The gate looks at the lower end of the Wilson interval,
//! one-sided: "at least so many are valid" is wrong with a probability of at most 1 - confidence. It is looked at after every
//! decision, and that is the confidence of one look. Once all of a round's examples are reviewed nothing is left to estimate, and
//! the share itself is compared. A sample of doubtful examples is worse than the round, so its bound is on the safe side.

use autodidact_domain::ports::Ports;
use autodidact_domain::report::Interval;
use autodidact_domain::review::{ReviewGate, ReviewRound, ReviewSpec, Ruling};
use autodidact_domain::{Language, PortResult, WorkflowName, WorkflowSummary};

use crate::statistics::{normal_quantile, score_interval};

/// The review of a round, in figures.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// The round.
    pub round: u32,
    /// How many different examples the round kept; none while it still makes them.
    pub examples: Option<u64>,
    /// Those that lie before people.
    pub sampled: u64,
    /// Those of them that were decided on.
    pub reviewed: u64,
    /// Those of them that are valid.
    pub accepted: u64,
    /// Those of them that go no further.
    pub rejected: u64,
    /// Those of them that something else goes on in the place of.
    pub edited: u64,
    /// Where the share of valid examples lies: each end holds with the gate's confidence, without a gate with the default's.
    pub valid: Interval,
    /// What training waits for.
    pub gate: Option<ReviewGate>,
    /// What comes of it.
    pub outlook: Outlook,
}

/// What comes of a review as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// The round still makes examples, and lays more before people.
    Gathers,
    /// There is no gate: what is decided in time counts.
    Open,
    /// Training waits: so many more of those that lie there, all valid, would do.
    Waits {
        /// How many.
        missing: u64,
    },
    /// Those that lie there cannot make it pass: so many more are laid before people.
    TooFew {
        /// How many.
        more: u64,
    },
    /// The gate lets training begin.
    Passes,
    /// The gate cannot be passed any more, whatever is said of the others.
    Fails,
    /// The stage has used the decisions; later ones change nothing.
    Settled,
}

/// Tells where a round's review stands.
pub fn standing(spec: &ReviewSpec, round: u32, review: &ReviewRound) -> Standing {
    let in_force = review.in_force();
    let count = |wanted: fn(&Ruling) -> bool| {
        let found = in_force
            .values()
            .filter(|decision| wanted(&decision.ruling));
        found.count() as u64
    };
    let accepted = count(|ruling| matches!(ruling, Ruling::Accept));
    let rejected = count(|ruling| matches!(ruling, Ruling::Reject));
    let edited = count(|ruling| matches!(ruling, Ruling::Edit { .. }));
    let reviewed = accepted + rejected + edited;
    let sampled = review.items.len() as u64;
    let gate = spec.gate;
    let found = Found {
        examples: review.examples,
        reviewed,
        accepted,
        quantile: normal_quantile(gate.unwrap_or_default().confidence),
    };
    let outlook = match (review.settled, review.examples, gate) {
        (Some(_), _, _) => Outlook::Settled,
        (None, None, _) => Outlook::Gathers,
        (None, Some(_), None) => Outlook::Open,
        (None, Some(examples), Some(gate)) => {
            let first = spec.sample.of(examples);
            found.outlook(examples, sampled, first, gate)
        }
    };
    Standing {
        round,
        examples: review.examples,
        sampled,
        reviewed,
        accepted,
        rejected,
        edited,
        valid: found.interval(0),
        gate,
        outlook,
    }
}

struct Found {
    examples: Option<u64>,
    reviewed: u64,
    accepted: u64,
    /// Of the normal distribution, at the confidence.
    quantile: f64,
}

impl Found {
    /// Where the share of valid examples would lie if so many more were reviewed and valid.
    fn interval(&self, more: u64) -> Interval {
        let (accepted, reviewed) = (self.accepted + more, self.reviewed + more);
        if reviewed > 0 && self.examples == Some(reviewed) {
            let share = accepted as f64 / reviewed as f64;
            return Interval {
                low: share,
                high: share,
            };
        }
        score_interval(accepted, reviewed, self.quantile)
    }

    fn outlook(&self, examples: u64, sampled: u64, first: u64, gate: ReviewGate) -> Outlook {
        let left = examples.saturating_sub(self.reviewed);
        // More valid ones never lower the bound.
        let passes = |more: &u64| self.interval(*more).low >= gate.share;
        let open = sampled.saturating_sub(self.reviewed);
        match (0..=left).find(passes) {
            _ if examples == 0 => Outlook::Passes,
            None => Outlook::Fails,
            Some(0) => Outlook::Passes,
            Some(missing) if missing <= open => Outlook::Waits { missing },
            Some(missing) => Outlook::TooFew {
                more: (missing - open)
                    .max(first)
                    .min(examples.saturating_sub(sampled)),
            },
        }
    }
}

impl Outlook {
    /// Tells whether the run has something to do.
    fn calls_for_work(self) -> bool {
        matches!(
            self,
            Self::Passes | Self::Fails | Self::TooFew { .. } | Self::Settled
        )
    }
}

impl Standing {
    /// Tells whether the run that waits for this review has something to do.
    pub(crate) fn calls_for_work(&self) -> bool {
        self.outlook.calls_for_work()
    }

    /// Says it in a sentence, with what to do next.
    pub fn told(&self, workflow: &WorkflowName, language: Language) -> String {
        let Self {
            round,
            sampled,
            reviewed,
            accepted,
            ..
        } = self;
        let gate = self.gate.unwrap_or_default();
        let (share, confidence) = (gate.share, gate.confidence);
        let low = self.valid.low;
        let figures = language.pick(
            format!("{reviewed} of {sampled} reviewed, {accepted} valid"),
            format!("已审核 {reviewed}/{sampled}，其中 {accepted} 条有效"),
        );
        let bound = language.pick(
            format!("the share of valid examples is at least {low:.3} (confidence {confidence}), the gate asks for {share}"),
            format!("有效比例至少为 {low:.3}（置信度 {confidence}），门槛为 {share}"),
        );
        let next = format!("`autodidact review next --workflow {workflow}`");
        match self.outlook {
            Outlook::Gathers => language.pick(
                format!("round {round} still makes examples: {figures}; {next} shows one"),
                format!("第 {round} 轮仍在生成样本：{figures}；用 {next} 查看"),
            ),
            Outlook::Open => language.pick(
                format!("round {round} waits for nobody: {figures}; {next} shows one"),
                format!("第 {round} 轮不等待审核：{figures}；用 {next} 查看"),
            ),
            Outlook::Waits { missing } => language.pick(
                format!("round {round} waits for its review: {figures}; {bound}; {missing} more valid ones would do; {next} shows the next"),
                format!("第 {round} 轮等待审核：{figures}；{bound}；再有 {missing} 条有效即可；用 {next} 查看下一条"),
            ),
            Outlook::TooFew { more } => language.pick(
                format!("round {round}: {figures}; {bound}, which the examples laid out cannot reach; {more} more are laid out"),
                format!("第 {round} 轮：{figures}；{bound}，已抽样本无法达到；再抽取 {more} 条"),
            ),
            Outlook::Passes => language.pick(
                format!("round {round} passes its review: {figures}; {bound}"),
                format!("第 {round} 轮通过审核：{figures}；{bound}"),
            ),
            Outlook::Fails => {
                let examples = self.examples.unwrap_or_default();
                language.pick(
                    format!("round {round} does not pass its review: {figures}, {examples} examples in all; {bound}, which is out of reach even if all others are valid; reconsider with `autodidact review accept ID` and then `autodidact workflow resume {workflow}`, or submit another workflow with a lower stages.review.gate.share"),
                    format!("第 {round} 轮未通过审核：{figures}，共 {examples} 条样本；{bound}，即使其余全部有效也无法达到；可用 `autodidact review accept ID` 更改决定后运行 `autodidact workflow resume {workflow}`，或降低 stages.review.gate.share 另行提交"),
                )
            }
            Outlook::Settled => language.pick(
                format!("round {round} has used its review: {figures}; later decisions are kept and change nothing"),
                format!("第 {round} 轮的审核已使用：{figures}；之后的决定会保存，但不再生效"),
            ),
        }
    }
}

/// Finds the review that a workflow's latest round has, where it has one.
pub(crate) fn latest(ports: &Ports, workflow: &WorkflowSummary) -> PortResult<Option<Standing>> {
    let name = &workflow.spec.name;
    let Some(spec) = &workflow.spec.stages.review else {
        return Ok(None);
    };
    let Some((_, round)) = ports.reviews.rounds(Some(name))?.pop() else {
        return Ok(None);
    };
    let review = ports.reviews.get(name, round)?;
    Ok(Some(standing(spec, round, &review)))
}

#[cfg(test)]
mod tests {
    use autodidact_domain::review::{ReviewItem, SampleOrder, SampleSize, SampledFor};
    use autodidact_domain::{Body, Example, ReviewDecision};

    use super::*;

    const GATE: ReviewGate = ReviewGate {
        share: 0.8,
        confidence: 0.95,
    };

    /// A round of so many examples of which some were sampled, accepted and rejected.
    fn round(examples: u64, sampled: u64, accepted: u64, rejected: u64) -> ReviewRound {
        let item = |i: u64| ReviewItem {
            example: Example::human(Body::instruction(&format!("Task {i}."), "", "Done.")),
            why: SampledFor::Random,
            passed: Vec::new(),
        };
        let items: Vec<ReviewItem> = (0..sampled).map(item).collect();
        let decide = |(i, item): (usize, &ReviewItem)| ReviewDecision {
            record: item.example.id,
            ruling: match (i as u64) < accepted {
                true => Ruling::Accept,
                false => Ruling::Reject,
            },
            reviewer: "anna".into(),
            note: String::new(),
            time_ms: i as u64,
        };
        let decided = items
            .iter()
            .enumerate()
            .take((accepted + rejected) as usize);
        ReviewRound {
            examples: Some(examples),
            decisions: decided.map(decide).collect(),
            items,
            settled: None,
        }
    }

    fn outlook(gate: Option<ReviewGate>, review: &ReviewRound) -> Outlook {
        let spec = ReviewSpec {
            sample: SampleSize::Count(20),
            by: SampleOrder::Random,
            gate,
        };
        standing(&spec, 1, review).outlook
    }

    #[test]
    fn the_gate_opens_once_the_lower_end_reaches_the_share() {
        let check = |review: ReviewRound, expect: Outlook| {
            assert_eq!(outlook(Some(GATE), &review), expect, "{review:?}");
        };
        // z = 1.645: n of n valid ones have the bound n / (n + 2.706), which passes 0.8 at 11 (10.82).
        check(round(100, 20, 0, 0), Outlook::Waits { missing: 11 });
        check(round(100, 20, 10, 0), Outlook::Waits { missing: 1 });
        check(round(100, 20, 11, 0), Outlook::Passes);
        // One rejected takes eight more accepted: 18 of 19 have 0.795, 19 of 20 have 0.804.
        check(round(100, 20, 17, 1), Outlook::Waits { missing: 2 });
        check(round(100, 20, 18, 1), Outlook::Waits { missing: 1 });
        check(round(100, 20, 19, 1), Outlook::Passes);
        // 15 of 20 cannot do with what lies there.
        check(round(100, 20, 15, 5), Outlook::TooFew { more: 28 });
        check(round(45, 20, 15, 5), Outlook::TooFew { more: 25 });
        // More than a fifth of all is rejected: whatever is said of the others.
        check(round(24, 20, 15, 5), Outlook::Fails);
        check(round(100, 30, 0, 21), Outlook::Fails);
        // Where all are reviewed the share is known: 17 of 20 pass, though 17 of 20 of many have 0.68.
        check(round(20, 20, 17, 3), Outlook::Passes);
        check(round(20, 20, 15, 5), Outlook::Fails);
        check(round(5, 5, 3, 0), Outlook::Waits { missing: 2 });
        check(round(0, 0, 0, 0), Outlook::Passes);
    }

    #[test]
    fn without_a_gate_nothing_waits_and_what_is_used_is_over() {
        let mut review = round(100, 20, 3, 3);
        assert_eq!(outlook(None, &review), Outlook::Open);
        review.examples = None;
        assert_eq!(outlook(None, &review), Outlook::Gathers);
        assert_eq!(outlook(Some(GATE), &review), Outlook::Gathers);
        review.settled = Some(6);
        assert_eq!(outlook(Some(GATE), &review), Outlook::Settled);
    }

    #[test]
    fn what_is_said_names_the_figures_and_the_next_command() {
        let spec = ReviewSpec {
            sample: SampleSize::Count(20),
            by: SampleOrder::Random,
            gate: Some(GATE),
        };
        let name = WorkflowName::new("loop").expect("a name");
        let standing = standing(&spec, 2, &round(100, 20, 6, 1));
        let told = standing.told(&name, Language::En);
        assert_eq!(
            told,
            "round 2 waits for its review: 7 of 20 reviewed, 6 valid; the share of valid examples is at least 0.548 (confidence 0.95), the gate asks for 0.8; 13 more valid ones would do; `autodidact review next --workflow loop` shows the next"
        );
        let told = standing.told(&name, Language::Zh);
        assert!(
            told.starts_with("第 2 轮等待审核：已审核 7/20，其中 6 条有效"),
            "{told}"
        );
    }
}
