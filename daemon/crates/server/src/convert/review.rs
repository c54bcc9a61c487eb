//! Reviews: what lies before people, what they said, and where it stands.

use autodidact_domain::journal::RecordedVerdict;
use autodidact_domain::review::{Ruling, SampledFor};
use autodidact_domain::{Example, Language, ReviewDecision, ReviewItem, ReviewRound, WorkflowName};
use autodidact_flow::review::{Outlook, Standing};
use autodidact_proto::v1;

pub(crate) fn review_item(
    workflow: &WorkflowName,
    round: u32,
    review: &ReviewRound,
    item: &ReviewItem,
) -> v1::ReviewItem {
    let (sampled_for, margin) = match item.why {
        SampledFor::Random => (v1::SampledFor::Random, None),
        SampledFor::Doubtful { margin } => (v1::SampledFor::Doubtful, Some(margin)),
    };
    let id = item.example.id;
    let verdicts = item.passed.iter().map(|passed| RecordedVerdict {
        round,
        stage: passed.stage,
        record: id,
        text: String::new(),
        verdict: passed.verdict.clone(),
    });
    let in_force = review.in_force();
    let decision = in_force.get(&id);
    v1::ReviewItem {
        workflow: workflow.to_string(),
        round,
        example: Some(super::example(item.example.clone())),
        verdicts: verdicts.map(super::recorded_verdict).collect(),
        sampled_for: sampled_for.into(),
        margin,
        decision: decision.map(|decision| review_decision(workflow, round, review, decision)),
    }
}

pub(crate) fn review_decision(
    workflow: &WorkflowName,
    round: u32,
    review: &ReviewRound,
    decision: &ReviewDecision,
) -> v1::ReviewDecision {
    let ReviewDecision {
        record,
        ruling,
        reviewer,
        note,
        time_ms,
    } = decision;
    let (ruling, body) = match ruling {
        Ruling::Accept => (v1::ReviewRuling::Accept, None),
        Ruling::Reject => (v1::ReviewRuling::Reject, None),
        Ruling::Edit { body } => (v1::ReviewRuling::Edit, Some(body)),
    };
    let original = review.items.iter().find(|item| item.example.id == *record);
    let edited = body.zip(original).map(|(body, original)| {
        let mut edited = Example {
            id: body.id(),
            body: body.clone(),
            ..original.example.clone()
        };
        edited.lineage.edited_from = Some(*record);
        super::example(edited)
    });
    v1::ReviewDecision {
        workflow: workflow.to_string(),
        round,
        record: record.to_string(),
        ruling: ruling.into(),
        edited,
        reviewer: reviewer.clone(),
        note: note.clone(),
        time_ms: *time_ms,
        in_force: review.in_force().get(record) == Some(&decision),
    }
}

pub(crate) fn review_stats(
    workflow: &WorkflowName,
    language: Language,
    standing: &Standing,
) -> v1::ReviewStats {
    let message = standing.told(workflow, language);
    let Standing {
        round,
        examples,
        sampled,
        reviewed,
        accepted,
        rejected,
        edited,
        valid,
        gate,
        outlook,
    } = *standing;
    let missing = match outlook {
        Outlook::Waits { missing } => Some(missing),
        _ => None,
    };
    let outlook = match outlook {
        Outlook::Gathers => v1::ReviewOutlook::Gathers,
        Outlook::Open => v1::ReviewOutlook::Open,
        Outlook::Waits { .. } => v1::ReviewOutlook::Waits,
        Outlook::TooFew { .. } => v1::ReviewOutlook::TooFew,
        Outlook::Passes => v1::ReviewOutlook::Passes,
        Outlook::Fails => v1::ReviewOutlook::Fails,
        Outlook::Settled => v1::ReviewOutlook::Settled,
    };
    v1::ReviewStats {
        workflow: workflow.to_string(),
        round,
        examples,
        sampled,
        reviewed,
        accepted,
        rejected,
        edited,
        valid_low: valid.low,
        valid_high: valid.high,
        gate_share: gate.map(|gate| gate.share),
        confidence: gate.unwrap_or_default().confidence,
        outlook: outlook.into(),
        missing,
        message,
    }
}
