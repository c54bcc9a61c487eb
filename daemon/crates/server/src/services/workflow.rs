//! `WorkflowService`: submits workflows and follows them.

use std::sync::Arc;

use autodidact_domain::journal::RecordedVerdict;
use autodidact_domain::{Language, PortResult, WorkflowName, WorkflowSummary};
use autodidact_flow::compare::compare_workflows;
use autodidact_flow::report::{to_html, to_json, to_markdown};
use autodidact_flow::{SubmitError, Supervisor, lineage};
use autodidact_proto::v1;
use autodidact_proto::v1::workflow_service_server::WorkflowService;
use tonic::{Request, Response, Status};
use tracing::Instrument;

use super::api;
use crate::blocking::{mutate, read};
use crate::context::Context;
use crate::convert;
use crate::pages::{Page, bad_token, page_by_name, page_size, position_token, read_position_token};
use crate::requests::Mutation;
use crate::status::{OrStatus, bad_field, bad_name, from_faults, from_port};
use crate::stream::{Outgoing, outgoing};
use crate::watch::follow_workflow;

/// Verdicts read from the journal at once.
const VERDICT_STRIDE: usize = 256;
/// Verdicts looked at for one page; a filter that matches few gets short pages instead of long calls.
const VERDICTS_LOOKED_AT: usize = 8192;

api!(
    /// Answers the calls of `WorkflowService`.
    WorkflowApi
);

#[tonic::async_trait]
impl WorkflowService for WorkflowApi {
    type WatchStream = Outgoing<v1::WatchWorkflowResponse>;

    async fn check(
        &self,
        request: Request<v1::CheckWorkflowRequest>,
    ) -> Result<Response<v1::CheckWorkflowResponse>, Status> {
        use v1::check_workflow_request::Workflow;
        let (text, has_lines) = match request.into_inner().workflow {
            None => return Err(bad_field("workflow", "neither a text nor a message is set")),
            Some(Workflow::Yaml(text)) => (text, true),
            Some(Workflow::Spec(spec)) => (convert::spec_text(&spec), false),
        };
        read(&self.context, move |context| {
            Ok(match context.supervisor.check(&text) {
                Ok(checked) => v1::CheckWorkflowResponse {
                    spec: Some(convert::workflow_spec(&checked.spec)),
                    faults: Vec::new(),
                    warnings: checked.warnings.into_iter().map(convert::warning).collect(),
                },
                Err(faults) => {
                    let mut faults: Vec<v1::Fault> =
                        faults.into_iter().map(convert::fault).collect();
                    if !has_lines {
                        faults.iter_mut().for_each(|fault| fault.line = 0);
                    }
                    v1::CheckWorkflowResponse {
                        spec: None,
                        faults,
                        warnings: Vec::new(),
                    }
                }
            })
        })
        .await
    }

    async fn preflight(
        &self,
        request: Request<v1::PreflightWorkflowRequest>,
    ) -> Result<Response<v1::PreflightWorkflowResponse>, Status> {
        use v1::preflight_workflow_request::Workflow;
        let (text, has_lines) = match request.into_inner().workflow {
            None => return Err(bad_field("workflow", "neither a text nor a message is set")),
            Some(Workflow::Yaml(text)) => (text, true),
            Some(Workflow::Spec(spec)) => (convert::spec_text(&spec), false),
        };
        read(&self.context, move |context| {
            let preflight = context.supervisor.preflight(&text);
            let preflight = preflight.map_err(|error| from_submit(error, has_lines))?;
            Ok(v1::PreflightWorkflowResponse {
                training: preflight.map(|preflight| convert::training_need(1, &preflight)),
            })
        })
        .await
    }

    async fn submit(
        &self,
        request: Request<v1::SubmitWorkflowRequest>,
    ) -> Result<Response<v1::SubmitWorkflowResponse>, Status> {
        use v1::submit_workflow_request::Workflow;
        let request = request.into_inner();
        let mutation = Mutation::of("WorkflowService/Submit", &request.request_id, &request);
        let (text, has_lines) = match request.workflow {
            None => return Err(bad_field("workflow", "neither a text nor a message is set")),
            Some(Workflow::Yaml(text)) => (text, true),
            Some(Workflow::Spec(spec)) => (convert::spec_text(&spec), false),
        };
        mutate(&self.context, mutation, move |context| {
            let submitted = context.supervisor.submit(&text);
            let summary = submitted.map_err(|error| from_submit(error, has_lines))?;
            Ok(v1::SubmitWorkflowResponse {
                workflow: Some(convert::workflow(&summary)),
            })
        })
        .await
    }

    async fn get(
        &self,
        request: Request<v1::GetWorkflowRequest>,
    ) -> Result<Response<v1::GetWorkflowResponse>, Status> {
        let name = workflow_name(request.into_inner().name)?;
        read(&self.context, move |context| {
            let summary = context.ports.workflows.get(&name).or_status()?;
            let stages = context.supervisor.snapshot(&name).or_status()?;
            Ok(v1::GetWorkflowResponse {
                workflow: Some(convert::workflow(&summary)),
                stages: stages.into_iter().map(convert::stage_progress).collect(),
            })
        })
        .await
    }

    async fn list(
        &self,
        request: Request<v1::ListWorkflowsRequest>,
    ) -> Result<Response<v1::ListWorkflowsResponse>, Status> {
        let v1::ListWorkflowsRequest {
            page_size,
            page_token,
        } = request.into_inner();
        read(&self.context, move |context| {
            let all = context.ports.workflows.list().or_status()?;
            let (workflows, next_page_token) = page_by_name(
                all,
                |summary| summary.spec.name.as_str(),
                convert::workflow,
                page_size,
                &page_token,
            )?;
            Ok(v1::ListWorkflowsResponse {
                workflows,
                next_page_token,
            })
        })
        .await
    }

    async fn watch(
        &self,
        request: Request<v1::WatchWorkflowRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let v1::WatchWorkflowRequest { name, resume_after } = request.into_inner();
        let name = workflow_name(name)?;
        let permit = self.context.watch_permit()?;
        let (sink, outgoing) = outgoing(&self.context);
        let context = Arc::clone(&self.context);
        let follow = async move {
            follow_workflow(context, sink, name, resume_after).await;
            drop(permit);
        };
        tokio::spawn(follow.in_current_span());
        Ok(Response::new(outgoing))
    }

    async fn pause(
        &self,
        request: Request<v1::PauseWorkflowRequest>,
    ) -> Result<Response<v1::PauseWorkflowResponse>, Status> {
        let request = request.into_inner();
        let mutation = Mutation::of("WorkflowService/Pause", &request.request_id, &request);
        let workflow = self.steer(
            mutation,
            request.name,
            |supervisor, name| supervisor.pause(name),
            |workflow| v1::PauseWorkflowResponse {
                workflow: Some(workflow),
            },
        );
        workflow.await
    }

    async fn resume(
        &self,
        request: Request<v1::ResumeWorkflowRequest>,
    ) -> Result<Response<v1::ResumeWorkflowResponse>, Status> {
        let request = request.into_inner();
        let mutation = Mutation::of("WorkflowService/Resume", &request.request_id, &request);
        let workflow = self.steer(
            mutation,
            request.name,
            move |supervisor, name| match request.new_plugins {
                true => supervisor.resume_with_new_plugins(name),
                false => supervisor.resume(name),
            },
            |workflow| v1::ResumeWorkflowResponse {
                workflow: Some(workflow),
            },
        );
        workflow.await
    }

    async fn cancel(
        &self,
        request: Request<v1::CancelWorkflowRequest>,
    ) -> Result<Response<v1::CancelWorkflowResponse>, Status> {
        let request = request.into_inner();
        let mutation = Mutation::of("WorkflowService/Cancel", &request.request_id, &request);
        let workflow = self.steer(
            mutation,
            request.name,
            |supervisor, name| supervisor.cancel(name),
            |workflow| v1::CancelWorkflowResponse {
                workflow: Some(workflow),
            },
        );
        workflow.await
    }

    async fn report(
        &self,
        request: Request<v1::ReportWorkflowRequest>,
    ) -> Result<Response<v1::ReportWorkflowResponse>, Status> {
        use v1::ReportFormat as Format;
        let request = request.into_inner();
        let format = request.format();
        let name = workflow_name(request.name)?;
        let language = language(&request.language)?;
        read(&self.context, move |context| {
            // A name that does not exist is told as a missing workflow, not as a missing report.
            context.ports.workflows.get(&name).or_status()?;
            let mut report = context.ports.workflows.report(&name).or_status()?;
            let mut answer = v1::ReportWorkflowResponse {
                folder: context.ports.reports.folder(&name).display().to_string(),
                ..v1::ReportWorkflowResponse::default()
            };
            if matches!(format, Format::Json | Format::Unspecified) {
                answer.json = to_json(&report).or_status()?;
            }
            report.language = language.unwrap_or(report.language);
            if matches!(format, Format::Markdown | Format::Unspecified) {
                answer.markdown = to_markdown(&report);
            }
            if format == Format::Html {
                answer.html = to_html(&report);
            }
            Ok(answer)
        })
        .await
    }

    async fn list_verdicts(
        &self,
        request: Request<v1::ListVerdictsRequest>,
    ) -> Result<Response<v1::ListVerdictsResponse>, Status> {
        let request = request.into_inner();
        let name = WorkflowName::new(request.workflow.as_str()).map_err(bad_name("workflow"))?;
        read(&self.context, move |context| {
            list_verdicts(context, &name, &request)
        })
        .await
    }

    async fn lineage(
        &self,
        request: Request<v1::RecordLineageRequest>,
    ) -> Result<Response<v1::RecordLineageResponse>, Status> {
        let v1::RecordLineageRequest { workflow, record } = request.into_inner();
        let name = WorkflowName::new(workflow).map_err(bad_name("workflow"))?;
        read(&self.context, move |context| {
            let found = lineage::of_record(&context.ports, &name, &record).or_status()?;
            Ok(convert::record_lineage(found))
        })
        .await
    }

    async fn compare(
        &self,
        request: Request<v1::CompareWorkflowsRequest>,
    ) -> Result<Response<v1::CompareWorkflowsResponse>, Status> {
        let request = request.into_inner();
        let a = WorkflowName::new(request.a).map_err(bad_name("a"))?;
        let b = WorkflowName::new(request.b).map_err(bad_name("b"))?;
        let language = language(&request.language)?;
        read(&self.context, move |context| {
            let compared = compare_workflows(&context.ports, &a, &b, language).or_status()?;
            Ok(v1::CompareWorkflowsResponse {
                comparison: Some(convert::comparison(&compared)),
            })
        })
        .await
    }
}

impl WorkflowApi {
    /// Answers the calls that change a workflow's state.
    async fn steer<T: prost::Message + Default + 'static>(
        &self,
        mutation: Mutation,
        name: String,
        act: impl FnOnce(&Arc<Supervisor>, &WorkflowName) -> PortResult<WorkflowSummary>
        + Send
        + 'static,
        answer: fn(v1::Workflow) -> T,
    ) -> Result<Response<T>, Status> {
        let name = workflow_name(name)?;
        mutate(&self.context, mutation, move |context| {
            let summary = act(&context.supervisor, &name).or_status()?;
            Ok(answer(convert::workflow(&summary)))
        })
        .await
    }
}

/// Makes a status of a refused workflow; a message has no lines.
fn from_submit(error: SubmitError, has_lines: bool) -> Status {
    match error {
        SubmitError::Port(error) => from_port(error),
        SubmitError::Faults(mut faults) => {
            if !has_lines {
                faults.iter_mut().for_each(|fault| fault.line = 0);
            }
            from_faults(&faults)
        }
    }
}

/// Reads the language that people are told something in; empty for none in particular.
fn language(code: &str) -> Result<Option<Language>, Status> {
    match (code, Language::from_code(code)) {
        ("", _) => Ok(None),
        (_, Some(language)) => Ok(Some(language)),
        (_, None) => Err(bad_field(
            "language",
            format!("expected en or zh, found {code:?}"),
        )),
    }
}

fn workflow_name(name: String) -> Result<WorkflowName, Status> {
    WorkflowName::new(name).map_err(bad_name("name"))
}

fn list_verdicts(
    context: &Context,
    name: &WorkflowName,
    request: &v1::ListVerdictsRequest,
) -> Result<v1::ListVerdictsResponse, Status> {
    context.ports.workflows.get(name).or_status()?;
    let mut position = match read_position_token(&request.page_token)? {
        None => 0,
        Some((0, position)) => position,
        Some(_) => return Err(bad_token(&request.page_token)),
    };
    let mut page = Page::new(page_size(request.page_size));
    let mut looked_at = 0;
    loop {
        let verdicts = context
            .ports
            .journal
            .verdicts(name, position, VERDICT_STRIDE)
            .or_status()?;
        let last = verdicts.len() < VERDICT_STRIDE;
        for verdict in verdicts {
            let wanted = matches(&verdict, request);
            if wanted && page.push(convert::recorded_verdict(verdict)).is_err() {
                return Ok(verdict_page(page, position_token(0, position)));
            }
            position += 1;
            looked_at += 1;
        }
        if last {
            return Ok(verdict_page(page, String::new()));
        }
        if page.is_full() || looked_at >= VERDICTS_LOOKED_AT {
            return Ok(verdict_page(page, position_token(0, position)));
        }
    }
}

fn verdict_page(page: Page<v1::Verdict>, next_page_token: String) -> v1::ListVerdictsResponse {
    v1::ListVerdictsResponse {
        verdicts: page.into_items(),
        next_page_token,
    }
}

fn matches(verdict: &RecordedVerdict, request: &v1::ListVerdictsRequest) -> bool {
    let stage = request.stage() == v1::Stage::Unspecified
        || request.stage() == convert::stage(verdict.stage);
    let wanted = request.decision();
    let decision = wanted == v1::Decision::Unspecified
        || wanted == convert::decision(verdict.verdict.decision);
    let round = request.round.is_none_or(|round| round == verdict.round);
    let reason = request.reason.is_empty() || request.reason == verdict.verdict.reason;
    stage && decision && round && reason
}
