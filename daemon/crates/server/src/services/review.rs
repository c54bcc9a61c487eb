//! `ReviewService`: lays examples before people, and takes what they say of them.

use autodidact_domain::review::{Edit, Ruling};
use autodidact_domain::{
    Body, ExampleId, ReviewDecision, ReviewItem, ReviewRound, WorkflowName, WorkflowState,
    WorkflowSummary,
};
use autodidact_flow::review::standing;
use autodidact_proto::v1;
use autodidact_proto::v1::review_service_server::ReviewService;
use tonic::{Request, Response, Status};

use super::api;
use crate::blocking::{mutate, read};
use crate::context::Context;
use crate::convert;
use crate::pages::page_by_name;
use crate::requests::Mutation;
use crate::status::{OrStatus, bad_field, bad_name, from_port};

/// The fewest digits by which an example is known.
const MIN_ID_DIGITS: usize = 4;
/// The longest name of a reviewer, in characters.
const MAX_REVIEWER: usize = 100;
/// The longest note, in characters.
const MAX_NOTE: usize = 2000;
/// The longest text of an edit, in bytes; no model answers at such length.
const MAX_EDIT_BYTES: usize = 1 << 20;
/// Candidates that a message names.
const NAMED: usize = 4;

api!(
    /// Answers the calls of `ReviewService`.
    ReviewApi
);

/// A round with its review.
struct Reviewed {
    workflow: WorkflowSummary,
    round: u32,
    review: ReviewRound,
}

impl Reviewed {
    fn name(&self) -> &WorkflowName {
        &self.workflow.spec.name
    }

    fn stats(&self) -> Option<v1::ReviewStats> {
        let spec = self.workflow.spec.stages.review.as_ref()?;
        let standing = standing(spec, self.round, &self.review);
        let language = self.workflow.spec.languages[0];
        Some(convert::review_stats(self.name(), language, &standing))
    }

    /// Tells whether what is decided now can still count.
    fn is_open(&self) -> bool {
        let is_over = matches!(
            self.workflow.state,
            WorkflowState::Done | WorkflowState::Cancelled
        );
        self.review.settled.is_none() && !is_over
    }
}

#[tonic::async_trait]
impl ReviewService for ReviewApi {
    async fn next(
        &self,
        request: Request<v1::NextReviewRequest>,
    ) -> Result<Response<v1::NextReviewResponse>, Status> {
        let request = request.into_inner();
        let workflow = workflow_name(&request.workflow)?;
        let record = record_prefix(&request.record)?;
        read(&self.context, move |context| {
            let rounds = rounds(context, workflow.as_ref(), request.round)?;
            if let Some(record) = record {
                let (found, item) = find(&rounds, &record)?;
                let item = convert::review_item(found.name(), found.round, &found.review, item);
                return Ok(v1::NextReviewResponse {
                    items: vec![item],
                    next_page_token: String::new(),
                });
            }
            let is_named = workflow.is_some() && request.round.is_some();
            let rounds = rounds.iter().filter(|round| is_named || round.is_open());
            let mut undecided: Vec<(String, &Reviewed, &ReviewItem)> = Vec::new();
            for round in rounds {
                let decided = round.review.in_force();
                let items = round.review.items.iter().enumerate();
                let open = items.filter(|(_, item)| !decided.contains_key(&item.example.id));
                undecided.extend(open.map(|(position, item)| {
                    let key = format!("{}/{:010}/{position:010}", round.name(), round.round);
                    (key, round, item)
                }));
            }
            undecided.sort_by(|a, b| a.0.cmp(&b.0));
            let (items, next_page_token) = page_by_name(
                undecided,
                |(key, ..)| key,
                |(_, of, item)| convert::review_item(of.name(), of.round, &of.review, item),
                request.page_size,
                &request.page_token,
            )?;
            Ok(v1::NextReviewResponse {
                items,
                next_page_token,
            })
        })
        .await
    }

    async fn decide(
        &self,
        request: Request<v1::DecideReviewRequest>,
    ) -> Result<Response<v1::DecideReviewResponse>, Status> {
        let request = request.into_inner();
        let mutation = Mutation::of("ReviewService/Decide", &request.request_id, &request);
        let workflow = workflow_name(&request.workflow)?;
        let Some(record) = record_prefix(&request.record)? else {
            return Err(bad_field("record", "expected an example's id, found none"));
        };
        check_words(&request)?;
        mutate(&self.context, mutation, move |context| {
            let rounds = rounds(context, workflow.as_ref(), request.round)?;
            let (found, item) = find(&rounds, &record)?;
            let (name, round) = (found.name(), found.round);
            let decision = ReviewDecision {
                record: item.example.id,
                ruling: ruling(request.ruling, &item.example.body)?,
                reviewer: request.reviewer.trim().to_string(),
                note: request.note.trim().to_string(),
                time_ms: context.ports.clock.now_ms(),
            };
            let reviews = &context.ports.reviews;
            let decision = reviews.decide(name, round, &decision).or_status()?;
            // The decision is kept whatever becomes of the workflow; a run that could not be started looks again by itself.
            context.supervisor.reviewed(name).or_status()?;
            let now = Reviewed {
                workflow: context.ports.workflows.get(name).or_status()?,
                round,
                review: reviews.get(name, round).or_status()?,
            };
            Ok(v1::DecideReviewResponse {
                decision: Some(convert::review_decision(
                    name,
                    round,
                    &now.review,
                    &decision,
                )),
                stats: now.stats(),
            })
        })
        .await
    }

    async fn stats(
        &self,
        request: Request<v1::ReviewStatsRequest>,
    ) -> Result<Response<v1::ReviewStatsResponse>, Status> {
        let v1::ReviewStatsRequest { workflow, round } = request.into_inner();
        let workflow = workflow_name(&workflow)?;
        read(&self.context, move |context| {
            let rounds = rounds(context, workflow.as_ref(), round)?;
            Ok(v1::ReviewStatsResponse {
                rounds: rounds.iter().filter_map(Reviewed::stats).collect(),
            })
        })
        .await
    }

    async fn list_decisions(
        &self,
        request: Request<v1::ListReviewDecisionsRequest>,
    ) -> Result<Response<v1::ListReviewDecisionsResponse>, Status> {
        let request = request.into_inner();
        let workflow = WorkflowName::new(request.workflow).map_err(bad_name("workflow"))?;
        read(&self.context, move |context| {
            let rounds = rounds(context, Some(&workflow), request.round)?;
            let all = rounds.iter().flat_map(|round| {
                let decisions = round.review.decisions.iter().enumerate();
                decisions.map(move |(position, decision)| {
                    let key = format!("{:010}/{position:010}", round.round);
                    (key, round, decision)
                })
            });
            let (decisions, next_page_token) = page_by_name(
                all.collect::<Vec<_>>(),
                |(key, ..)| key,
                |(_, of, decision)| {
                    convert::review_decision(of.name(), of.round, &of.review, decision)
                },
                request.page_size,
                &request.page_token,
            )?;
            Ok(v1::ListReviewDecisionsResponse {
                decisions,
                next_page_token,
            })
        })
        .await
    }
}

/// Reads the reviews there are, by workflow and round.
fn rounds(
    context: &Context,
    workflow: Option<&WorkflowName>,
    round: Option<u32>,
) -> Result<Vec<Reviewed>, Status> {
    let ports = &context.ports;
    if let Some(name) = workflow {
        // A name that does not exist is told as a missing workflow, not as one without reviews.
        ports.workflows.get(name).or_status()?;
    }
    let mut rounds = ports.reviews.rounds(workflow).or_status()?;
    rounds.retain(|(_, of)| round.is_none_or(|round| round == *of));
    let read = |(name, round): (WorkflowName, u32)| {
        Ok(Reviewed {
            workflow: ports.workflows.get(&name).or_status()?,
            review: ports.reviews.get(&name, round).or_status()?,
            round,
        })
    };
    rounds.into_iter().map(read).collect()
}

/// Finds the one example that an id or its beginning stands for. Where several do, those that can still be decided on come first.
fn find<'a>(
    rounds: &'a [Reviewed],
    prefix: &str,
) -> Result<(&'a Reviewed, &'a ReviewItem), Status> {
    let all = rounds.iter().flat_map(|round| {
        let items = round.review.items.iter();
        items.map(move |item| (round, item, item.example.id.to_string()))
    });
    let mut found: Vec<(&Reviewed, &ReviewItem, String)> =
        all.filter(|(.., id)| id.starts_with(prefix)).collect();
    if found.len() > 1 && found.iter().any(|(round, ..)| round.is_open()) {
        found.retain(|(round, ..)| round.is_open());
    }
    match found.as_slice() {
        [(round, item, _)] => Ok((round, item)),
        [] => Err(from_port(autodidact_domain::PortError::NotFound {
            what: "example under review",
            name: prefix.to_string(),
            nearest: None,
        })),
        several => {
            let named = several.iter().take(NAMED).map(|(round, _, id)| {
                let id: String = id.chars().take(12).collect();
                format!("{id} of {} round {}", round.name(), round.round)
            });
            let named: Vec<String> = named.collect();
            Err(bad_field(
                "record",
                format!(
                    "expected one example, found {} that begin with {prefix}: {}; give more digits, or the workflow and round",
                    several.len(),
                    named.join(", ")
                ),
            ))
        }
    }
}

fn workflow_name(name: &str) -> Result<Option<WorkflowName>, Status> {
    match name {
        "" => Ok(None),
        name => WorkflowName::new(name)
            .map(Some)
            .map_err(bad_name("workflow")),
    }
}

/// Reads an id or the beginning of one; none for an empty one.
fn record_prefix(text: &str) -> Result<Option<String>, Status> {
    let text = text.trim().to_ascii_lowercase();
    let longest = ExampleId::of(b"").to_string().len();
    let is_right = (MIN_ID_DIGITS..=longest).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_hexdigit());
    match (text.is_empty(), is_right) {
        (true, _) => Ok(None),
        (false, true) => Ok(Some(text)),
        (false, false) => {
            let found: String = text.chars().take(80).collect();
            Err(bad_field(
                "record",
                format!(
                    "expected an example's id or its first digits, {MIN_ID_DIGITS} to {longest} hexadecimal ones, found {found:?}"
                ),
            ))
        }
    }
}

fn check_words(request: &v1::DecideReviewRequest) -> Result<(), Status> {
    if request.reviewer.trim().is_empty() {
        return Err(bad_field("reviewer", "expected who decides, found nobody"));
    }
    for (field, text, most) in [
        ("reviewer", &request.reviewer, MAX_REVIEWER),
        ("note", &request.note, MAX_NOTE),
    ] {
        let found = text.chars().count();
        if found > most {
            return Err(bad_field(
                field,
                format!("at most {most} characters, found {found}"),
            ));
        }
    }
    Ok(())
}

fn ruling(
    ruling: Option<v1::decide_review_request::Ruling>,
    body: &Body,
) -> Result<Ruling, Status> {
    use v1::decide_review_request::Ruling as Asked;
    match ruling {
        None => Err(bad_field(
            "ruling",
            "expected accept, reject or edit, found none",
        )),
        Some(Asked::Accept(_)) => Ok(Ruling::Accept),
        Some(Asked::Reject(_)) => Ok(Ruling::Reject),
        Some(Asked::Edit(edit)) => {
            let v1::EditExample {
                instruction,
                input,
                output,
            } = edit;
            let edit = Edit {
                instruction,
                input,
                output,
            };
            if edit == Edit::default() {
                return Err(bad_field(
                    "edit",
                    "expected an instruction, an input or an output, found none",
                ));
            }
            let texts = [&edit.instruction, &edit.input, &edit.output];
            if texts
                .iter()
                .any(|t| t.as_ref().is_some_and(|t| t.len() > MAX_EDIT_BYTES))
            {
                return Err(bad_field(
                    "edit",
                    format!("at most {MAX_EDIT_BYTES} bytes a part"),
                ));
            }
            let body = edit.apply(body).map_err(|why| bad_field("edit", why))?;
            Ok(Ruling::Edit { body })
        }
    }
}
