//! Decisions, and what came of them.

use autodidact_client::{Client, v1};
use autodidact_proto::json as messages;
use serde_json::json;

use super::{DecideArgs, Place};
use crate::cli::{Failure, Global, output, request_id};

/// The digits of an id that are shown to people.
pub(super) const SHOWN_DIGITS: usize = 12;

/// What is decided on an example.
pub(super) enum Verdict {
    Accept,
    Reject,
    Edit(v1::EditExample),
}

impl Verdict {
    fn ruling(&self) -> v1::decide_review_request::Ruling {
        use v1::decide_review_request::Ruling;
        match self {
            Self::Accept => Ruling::Accept(v1::AcceptExample {}),
            Self::Reject => Ruling::Reject(v1::RejectExample {}),
            Self::Edit(edit) => Ruling::Edit(edit.clone()),
        }
    }
}

/// Decides on every example named, in order; a refusal ends it, and what was decided before stands.
pub(super) async fn decide_all(
    client: &Client,
    args: DecideArgs,
    verdict: &Verdict,
    global: &Global,
) -> Result<(), Failure> {
    let reviewer = args.said.reviewer()?;
    let mut answers = Vec::new();
    for id in &args.ids {
        let answer = decide(client, id, &args.place, verdict, &reviewer, &args.said.note).await?;
        if !global.json {
            tell(&answer)?;
        }
        answers.push(answer);
    }
    if global.json {
        let answers = messages::list("DecideReviewResponse", &answers);
        return output::json(&json!({ "decisions": answers }));
    }
    match answers.pop().and_then(|answer| answer.stats) {
        Some(stats) => output::line(stats.message),
        None => Ok(()),
    }
}

/// Decides on one example.
pub(super) async fn decide(
    client: &Client,
    id: &str,
    place: &Place,
    verdict: &Verdict,
    reviewer: &str,
    note: &str,
) -> Result<v1::DecideReviewResponse, Failure> {
    let request = v1::DecideReviewRequest {
        request_id: request_id(),
        workflow: place.workflow.clone().unwrap_or_default(),
        round: place.round,
        record: id.to_string(),
        ruling: Some(verdict.ruling()),
        reviewer: reviewer.to_string(),
        note: note.to_string(),
    };
    Ok(client.reviews().decide(request).await?.into_inner())
}

/// Says what was decided on one example.
pub(super) fn tell(answer: &v1::DecideReviewResponse) -> Result<(), Failure> {
    let decision = answer.decision.clone().unwrap_or_default();
    let id = short(&decision.record);
    let done = match decision.ruling() {
        v1::ReviewRuling::Accept => format!("accepted {id}"),
        v1::ReviewRuling::Reject => format!("rejected {id}"),
        v1::ReviewRuling::Edit => {
            let new = decision.edited.clone().unwrap_or_default();
            format!("edited {id}, which is {} now", short(&new.id))
        }
        v1::ReviewRuling::Unspecified => format!("decided on {id}"),
    };
    let late = match decision.in_force {
        true => "",
        false => "; too late to count: the round has used its review",
    };
    output::line(format!("{done}, as {}{late}", decision.reviewer))
}

/// Cuts an id to what people need of it.
pub(super) fn short(id: &str) -> String {
    id.chars().take(SHOWN_DIGITS).collect()
}
