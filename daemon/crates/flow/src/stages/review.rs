//! review: a sample of what a round keeps is laid before people; what they reject goes no further, what they edit is replaced.
//!
//! The whole stage is one step. Without a gate it takes what was decided until then, so random samples are laid out while the
//! round still makes examples. With one it is begun again and again until the decisions suffice, and waits in between without
//! a thread: [`FlowError::Waiting`] parks the run, and the supervisor starts it when there is something to do.

use std::collections::{BTreeMap, BTreeSet};

use autodidact_domain::journal::StageName;
use autodidact_domain::random::Random;
use autodidact_domain::review::{PassedVerdict, ReviewSpec, Ruling, SampleOrder, SampledFor};
use autodidact_domain::verdict::Evidence;
use autodidact_domain::workflow::ChainRule;
use autodidact_domain::{
    Body, Decision, EventBody, Example, ExampleId, ReviewDecision, ReviewItem, ReviewRound, Verdict,
};
use serde::{Deserialize, Serialize};

use crate::error::FlowError;
use crate::journaled::{Judged, Outcome, Run};
use crate::review::{Outlook, standing};
use crate::stages::generate::instruction_id;

/// The rule's name in verdicts.
const RULE: &str = "review";
/// Verdicts read from the journal at once.
const STRIDE: usize = 512;

/// The step's result: what was decided, by which the same examples are kept in every replay.
#[derive(Serialize, Deserialize)]
struct Reviewed {
    decisions: Vec<ReviewDecision>,
}

/// Lays examples out, and remembers what the stages before said of them.
#[derive(Default)]
pub(crate) struct Desk {
    /// The verdicts that were read so far.
    position: u64,
    round: u32,
    passed: BTreeMap<ExampleId, Vec<PassedVerdict>>,
}

impl Desk {
    /// Lays some of what a wave kept before people while the round goes on, where the sample is random.
    ///
    /// An example is drawn by a number of its own. Those whose number is below a bound are laid out at once, about half of the
    /// sample; the end of the round adds those with the next numbers. So the sample is as random as one that is drawn then.
    pub(crate) fn lay_early(
        &mut self,
        run: &Run,
        round: u32,
        wave: &[Example],
        expected: u64,
    ) -> Result<(), FlowError> {
        let Some(spec) = &run.spec().stages.review else {
            return Ok(());
        };
        if spec.by != SampleOrder::Random || run.has_step(round, StageName::Review, 0) {
            return Ok(());
        }
        let bound = spec.sample.of(expected) as f64 / (2 * expected.max(1)) as f64;
        let drawn = wave.iter().filter(|e| number_of(run, round, e.id) < bound);
        let drawn: Vec<(&Example, SampledFor)> =
            drawn.map(|example| (example, SampledFor::Random)).collect();
        if !drawn.is_empty() {
            self.lay(run, round, &drawn)?;
        }
        Ok(())
    }

    fn lay(
        &mut self,
        run: &Run,
        round: u32,
        drawn: &[(&Example, SampledFor)],
    ) -> Result<(), FlowError> {
        self.read(run, round)?;
        let item = |(example, why): &(&Example, SampledFor)| ReviewItem {
            example: (*example).clone(),
            why: *why,
            passed: self.passed(example).cloned().collect(),
        };
        let items: Vec<ReviewItem> = drawn.iter().map(item).collect();
        run.ports.reviews.lay(&run.spec().name, round, &items)?;
        Ok(())
    }

    /// Reads what the journal has of the round's kept records by now.
    fn read(&mut self, run: &Run, round: u32) -> Result<(), FlowError> {
        if self.round != round {
            (self.round, self.passed) = (round, BTreeMap::new());
        }
        loop {
            let journal = &run.ports.journal;
            let found = journal.verdicts(&run.spec().name, self.position, STRIDE)?;
            self.position += found.len() as u64;
            let is_last = found.len() < STRIDE;
            for recorded in found {
                let judges = matches!(recorded.stage, StageName::Filter | StageName::Validate);
                let is_kept = recorded.verdict.decision == Decision::Keep;
                if recorded.round == round && judges && is_kept {
                    let passed = self.passed.entry(recorded.record).or_default();
                    passed.push(PassedVerdict {
                        stage: recorded.stage,
                        verdict: recorded.verdict,
                    });
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// What filter said of its instruction, and validate of the whole.
    fn passed(&self, example: &Example) -> impl Iterator<Item = &PassedVerdict> {
        let instruction = instruction_id(&example.body.instruction_text());
        let of = |record| self.passed.get(&record).into_iter().flatten();
        let filter = of(instruction).filter(|passed| passed.stage == StageName::Filter);
        filter.chain(of(example.id).filter(|passed| passed.stage == StageName::Validate))
    }

    /// By how little an example passed its marks; none where nothing gave it any.
    fn margin(&self, run: &Run, example: &Example) -> Option<f64> {
        let margins = self.passed(example).filter_map(|passed| {
            let mark = passed.verdict.evidence.score?;
            Some(mark - least_mark(run, passed.stage)?)
        });
        margins.min_by(f64::total_cmp)
    }

    /// Puts a round's different examples in the order in which they are sampled.
    fn order<'a>(
        &mut self,
        run: &Run,
        round: u32,
        spec: &ReviewSpec,
        kept: &'a [Example],
    ) -> Result<Vec<(&'a Example, SampledFor)>, FlowError> {
        self.read(run, round)?;
        let mut seen = BTreeSet::new();
        let different = kept.iter().filter(|example| seen.insert(example.id));
        let doubt = |example: &Example| match spec.by {
            SampleOrder::Random => None,
            SampleOrder::Doubtful => self.margin(run, example),
        };
        let mut order: Vec<(f64, f64, &Example)> = different
            .map(|example| {
                let margin = doubt(example).unwrap_or(f64::INFINITY);
                (margin, number_of(run, round, example.id), example)
            })
            .collect();
        order.sort_by(|a, b| {
            let margins = a.0.total_cmp(&b.0);
            margins.then(a.1.total_cmp(&b.1)).then(a.2.id.cmp(&b.2.id))
        });
        let why = |margin: f64| match margin.is_finite() {
            true => SampledFor::Doubtful { margin },
            false => SampledFor::Random,
        };
        let order = order.into_iter();
        Ok(order
            .map(|(margin, _, example)| (example, why(margin)))
            .collect())
    }
}

/// The number by which an example is drawn, from 0 to 1.
fn number_of(run: &Run, round: u32, id: ExampleId) -> f64 {
    let coordinates = [RULE, &round.to_string(), &id.to_string()];
    Random::at(run.spec().seed, &coordinates).next_f64()
}

/// The least mark that a stage's judges let pass.
fn least_mark(run: &Run, stage: StageName) -> Option<f64> {
    let stages = &run.spec().stages;
    let chain = match stage {
        StageName::Filter => &stages.filter.as_ref()?.chain,
        _ => &stages.validate.as_ref()?.chain,
    };
    let least = chain.iter().filter_map(|rule| match rule {
        ChainRule::Score(score) => Some(f64::from(score.least)),
        _ => None,
    });
    least.min_by(f64::total_cmp)
}

/// Lays the sample out, waits for the gate where there is one, and does what was decided.
pub(crate) fn review(
    run: &mut Run,
    round: u32,
    desk: &mut Desk,
    kept: Vec<Example>,
) -> Result<Vec<Example>, FlowError> {
    let Some(spec) = run.spec().stages.review.clone() else {
        return Ok(kept);
    };
    let reviewed: Reviewed = run.step(round, StageName::Review, |run, _| {
        let review = settle(run, round, &spec, desk, &kept)?;
        let in_force = review.in_force();
        let decisions: Vec<ReviewDecision> = in_force.into_values().cloned().collect();
        let (verdicts, left) = judge(&kept, &decisions);
        let mut outcome = Outcome::new(Reviewed { decisions });
        outcome.out = left.len() as u64;
        outcome.verdicts = verdicts;
        Ok(outcome)
    })?;
    let (_, left) = judge(&kept, &reviewed.decisions);
    run.finish_stage(round, StageName::Review)?;
    if left.is_empty() && !kept.is_empty() {
        return Err(FlowError::Stopped(run.spec().languages[0].pick(
            format!("round {round}: reviewers rejected every example, so nothing is left of it; mend the seeds or the prompts, or make the chains stricter"),
            format!("第 {round} 轮：审核人拒绝了全部样本，没有剩余；请改进种子或提示，或收紧规则链"),
        )));
    }
    Ok(left)
}

/// Lays examples out until the decisions suffice, and closes the review.
fn settle(
    run: &Run,
    round: u32,
    spec: &ReviewSpec,
    desk: &mut Desk,
    kept: &[Example],
) -> Result<ReviewRound, FlowError> {
    let (reviews, name) = (&run.ports.reviews, &run.spec().name);
    let language = run.spec().languages[0];
    let order = desk.order(run, round, spec, kept)?;
    let first = spec.sample.of(order.len() as u64) as usize;
    desk.lay(run, round, &order[..first])?;
    reviews.complete(name, round, order.len() as u64)?;
    loop {
        let review = reviews.get(name, round)?;
        let standing = standing(spec, round, &review);
        run.progress(
            round,
            StageName::Review,
            standing.reviewed,
            standing.sampled,
        );
        let message = standing.told(name, language);
        match standing.outlook {
            Outlook::Waits { .. } => return Err(FlowError::Waiting(message)),
            Outlook::Fails => return Err(FlowError::Stopped(message)),
            Outlook::TooFew { more } => {
                let lying: BTreeSet<ExampleId> =
                    review.items.iter().map(|item| item.example.id).collect();
                let others = order
                    .iter()
                    .filter(|(example, _)| !lying.contains(&example.id));
                let more: Vec<_> = others.take(more as usize).copied().collect();
                desk.lay(run, round, &more)?;
                let warning = EventBody::Warning { message };
                run.ports.events.publish(Some(name), warning)?;
            }
            Outlook::Gathers | Outlook::Open | Outlook::Passes | Outlook::Settled => {
                let counted = review.decisions.len() as u64;
                return Ok(reviews.settle(name, round, counted)?);
            }
        }
    }
}

/// Says what becomes of every example, and gives those that go on.
fn judge(kept: &[Example], decisions: &[ReviewDecision]) -> (Vec<Judged>, Vec<Example>) {
    let decided: BTreeMap<ExampleId, &ReviewDecision> = decisions
        .iter()
        .map(|decision| (decision.record, decision))
        .collect();
    let mut there: BTreeSet<ExampleId> = kept.iter().map(|example| example.id).collect();
    let (mut verdicts, mut left) = (Vec::with_capacity(kept.len()), Vec::new());
    for example in kept {
        let decision = decided.get(&example.id);
        let evidence = decision.map(|decision| said(decision)).unwrap_or_default();
        let verdict = match decision.map(|decision| &decision.ruling) {
            Some(Ruling::Reject) => Verdict::drop(RULE, "rejected_by_reviewer", evidence),
            Some(Ruling::Edit { body }) if body.id() != example.id => {
                replace(example, body, evidence, &mut there, &mut left)
            }
            Some(Ruling::Accept | Ruling::Edit { .. }) | None => {
                left.push(example.clone());
                Verdict {
                    evidence,
                    ..Verdict::keep(RULE)
                }
            }
        };
        verdicts.push(Judged {
            record: example.id,
            text: example.body.canonical_json(),
            verdict,
        });
    }
    (verdicts, left)
}

/// Lets the edited form go on in an example's place, unless it is there already.
fn replace(
    example: &Example,
    body: &Body,
    evidence: Evidence,
    there: &mut BTreeSet<ExampleId>,
    left: &mut Vec<Example>,
) -> Verdict {
    let id = body.id();
    let evidence = Evidence {
        nearest: Some(id),
        nearest_text: Some(body.canonical_json()),
        ..evidence
    };
    if !there.insert(id) {
        return Verdict::drop(RULE, "exact_duplicate", evidence);
    }
    let mut edited = Example {
        id,
        body: body.clone(),
        ..example.clone()
    };
    edited.lineage.edited_from = Some(example.id);
    left.push(edited);
    Verdict {
        reason: "edited_by_reviewer".to_string(),
        evidence,
        ..Verdict::keep(RULE)
    }
}

/// Who decided, when, and what they said.
fn said(decision: &ReviewDecision) -> Evidence {
    Evidence {
        note: (!decision.note.is_empty()).then(|| decision.note.clone()),
        reviewer: Some(decision.reviewer.clone()),
        reviewed_ms: Some(decision.time_ms),
        ..Evidence::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_gets_a_verdict_and_an_edit_into_another_one_is_a_duplicate() {
        let example = |output: &str| Example::human(Body::instruction("Add.", "1 1", output));
        let kept = [example("1"), example("2"), example("3"), example("4")];
        let edit = |output: &str| Ruling::Edit {
            body: example(output).body,
        };
        let rulings = [Ruling::Reject, Ruling::Accept, edit("2"), edit("5")];
        let decide = |(example, ruling): (&Example, Ruling)| ReviewDecision {
            record: example.id,
            ruling,
            reviewer: "anna".into(),
            note: "so".into(),
            time_ms: 9,
        };
        let decisions: Vec<_> = kept.iter().zip(rulings).map(decide).collect();
        let (verdicts, left) = judge(&kept, &decisions);
        let reasons: Vec<&str> = verdicts.iter().map(|v| v.verdict.reason.as_str()).collect();
        let expect = [
            "rejected_by_reviewer",
            "kept",
            "exact_duplicate",
            "edited_by_reviewer",
        ];
        assert_eq!(reasons, expect);
        for judged in &verdicts {
            let evidence = &judged.verdict.evidence;
            let told = (
                evidence.reviewer.as_deref(),
                evidence.reviewed_ms,
                evidence.note.as_deref(),
            );
            assert_eq!(told, (Some("anna"), Some(9), Some("so")));
        }
        assert_eq!(left.len(), 2);
        assert_eq!(left[0], kept[1]);
        assert_eq!(
            (left[1].id, left[1].lineage.edited_from),
            (example("5").id, Some(kept[3].id))
        );
        // What is edited into itself is what it was.
        let same = ReviewDecision {
            ruling: edit("1"),
            ..decisions[0].clone()
        };
        let (verdicts, left) = judge(&kept[..1], &[same]);
        assert_eq!(
            (verdicts[0].verdict.reason.as_str(), left.as_slice()),
            ("kept", &kept[..1])
        );
    }
}
