//! Verdicts.

use autodidact_domain::journal::RecordedVerdict;
use autodidact_domain::{Decision, Evidence, RuleRef, Verdict};
use autodidact_proto::v1;

pub(crate) fn decision(decision: Decision) -> v1::Decision {
    match decision {
        Decision::Keep => v1::Decision::Keep,
        Decision::Drop => v1::Decision::Drop,
    }
}

pub(crate) fn recorded_verdict(recorded: RecordedVerdict) -> v1::Verdict {
    let RecordedVerdict {
        round,
        stage,
        record,
        text,
        verdict,
    } = recorded;
    let Verdict {
        decision,
        reason,
        rule,
        evidence,
    } = verdict;
    v1::Verdict {
        round,
        stage: super::stage(stage).into(),
        record: record.to_string(),
        text,
        decision: self::decision(decision).into(),
        reason,
        rule: Some(rule_ref(rule)),
        evidence: Some(self::evidence(evidence)),
    }
}

fn rule_ref(rule: RuleRef) -> v1::RuleRef {
    let RuleRef {
        name,
        version,
        digest,
        config_digest,
    } = rule;
    v1::RuleRef {
        name,
        version,
        digest: digest.map(|digest| digest.to_string()),
        config_digest: config_digest.map(|digest| digest.to_string()),
    }
}

fn evidence(evidence: Evidence) -> v1::Evidence {
    let Evidence {
        nearest,
        nearest_text,
        score,
        note,
        reviewer,
        reviewed_ms,
    } = evidence;
    v1::Evidence {
        nearest: nearest.map(|id| id.to_string()),
        nearest_text,
        score,
        note,
        reviewer,
        reviewed_ms,
    }
}
