//! promote: the round's adapter becomes the generator when it is better on the held-out tasks, or is rolled back.

use std::borrow::Cow;

use autodidact_domain::journal::StageName;
use autodidact_domain::random::derive_seed;
use autodidact_domain::verdict::Evidence;
use autodidact_domain::workflow::PromoteSpec;
use autodidact_domain::{EventBody, Example, Verdict};
use serde::{Deserialize, Serialize};

use crate::error::FlowError;
use crate::journaled::{Judged, Outcome, Run};
use crate::stages::evaluate::Evaluation;
use crate::stages::train::Trained;
use crate::statistics::paired_difference;

/// The decision on a round's adapter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Promotion {
    pub(crate) promoted: bool,
    pub(crate) reason: String,
}

/// Compares the round's evaluation with that of the model in force.
///
/// The adapter is promoted when the 95% interval of the paired loss difference lies below 0 and the round's kept
/// instructions are diverse enough (distinct-2 at least `min_diversity`).
pub(crate) fn promote(
    run: &mut Run,
    round: u32,
    spec: &PromoteSpec,
    incumbent: &Evaluation,
    candidate: &Evaluation,
    trained: &Trained,
    kept: &[Example],
) -> Result<Promotion, FlowError> {
    let promotion: Promotion = run.step(round, StageName::Promote, |run, _| {
        let seed = derive_seed(run.spec().seed, &["promote", &round.to_string()]);
        let pairs = incumbent.paired(candidate);
        let (before, after): (Vec<f64>, Vec<f64>) = pairs
            .iter()
            .map(|(before, after)| (before.loss(), after.loss()))
            .unzip();
        let (difference, interval) = paired_difference(&before, &after, seed);
        let texts = kept.iter().map(|example| example.body.instruction_text());
        let texts: Vec<Cow<'_, str>> = texts.collect();
        let texts: Vec<&str> = texts.iter().map(|text| &**text).collect();
        let diversity = if kept.is_empty() {
            None
        } else {
            Some(autodidact_text::distinct_n(&texts, 2))
        };
        let better = interval.high < 0.0;
        let diverse = diversity.is_none_or(|diversity| diversity >= spec.min_diversity);
        let language = run.spec().languages[0];
        let figures = format!(
            "{difference:+.4} [{:+.4}, {:+.4}]",
            interval.low, interval.high
        );
        let against = &incumbent.model;
        let loss = language.pick(
            format!("held-out loss a task against {against}: {figures}"),
            format!("每个留出任务的损失与 {against} 相比：{figures}"),
        );
        let spread = diversity
            .map(|d| {
                language.pick(
                    format!("; distinct-2 of kept instructions {d:.3}"),
                    format!("；保留指令的 distinct-2 为 {d:.3}"),
                )
            })
            .unwrap_or_default();
        let decision = match (better, diverse) {
            (true, true) => language.pick("promoted: ", "已采用：").to_string(),
            (false, _) => language
                .pick("rolled back, not surely better: ", "已回滚，不能确定更好：")
                .to_string(),
            (true, false) => {
                let least = spec.min_diversity;
                language.pick(
                    format!("rolled back, too uniform (below {least}): "),
                    format!("已回滚，过于单一（低于 {least}）："),
                )
            }
        };
        let reason = format!("{decision}{loss}{spread}");
        let promoted = better && diverse;
        let verdict = if promoted {
            Verdict::keep("promote")
        } else {
            Verdict::drop(
                "promote",
                "rolled_back",
                Evidence {
                    note: Some(reason.clone()),
                    ..Evidence::default()
                },
            )
        };
        let mut outcome = Outcome::new(Promotion { promoted, reason });
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
