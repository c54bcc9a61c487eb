//! `ModelService`: registers base models and asks them for text, scores, vectors and labels.

use std::sync::Arc;

use autodidact_domain::{ModelName, WorkflowSummary};
use autodidact_proto::v1;
use autodidact_proto::v1::model_service_server::ModelService;
use tonic::{Request, Response, Status};
use tracing::Instrument;

use super::api;
use super::generation::{self, Job};
use crate::blocking::{blocking, mutate, read};
use crate::context::Context;
use crate::convert;
use crate::in_use::refuse_if_used;
use crate::pages::page_by_name;
use crate::requests::{Mutation, once};
use crate::status::{OrStatus, bad_field, bad_name};
use crate::stream::{End, Outgoing, Sink, outgoing};

/// The longest source, in bytes.
const MAX_SOURCE_BYTES: usize = 4096;

api!(
    /// Answers the calls of `ModelService`.
    ModelApi
);

#[tonic::async_trait]
impl ModelService for ModelApi {
    type AddStream = Outgoing<v1::AddModelResponse>;
    type GenerateStream = Outgoing<v1::GenerateResponse>;

    async fn add(
        &self,
        request: Request<v1::AddModelRequest>,
    ) -> Result<Response<Self::AddStream>, Status> {
        let request = request.into_inner();
        let addition = Addition::read(request)?;
        let permit = self.context.job_permit()?;
        let (sink, outgoing) = outgoing(&self.context);
        let context = Arc::clone(&self.context);
        let add = async move {
            let result = add(&context, &sink, addition).await;
            sink.end(result);
            drop(permit);
        };
        tokio::spawn(add.in_current_span());
        Ok(Response::new(outgoing))
    }

    async fn get(
        &self,
        request: Request<v1::GetModelRequest>,
    ) -> Result<Response<v1::GetModelResponse>, Status> {
        let name = ModelName::new(request.into_inner().name).map_err(bad_name("name"))?;
        read(&self.context, move |context| {
            let summary = context.ports.models.get(&name).or_status()?;
            let checkpoints = context.ports.checkpoints.list().or_status()?;
            Ok(v1::GetModelResponse {
                model: Some(convert::model(&summary, &checkpoints)),
            })
        })
        .await
    }

    async fn list(
        &self,
        request: Request<v1::ListModelsRequest>,
    ) -> Result<Response<v1::ListModelsResponse>, Status> {
        let v1::ListModelsRequest {
            page_size,
            page_token,
        } = request.into_inner();
        read(&self.context, move |context| {
            let all = context.ports.models.list().or_status()?;
            let checkpoints = context.ports.checkpoints.list().or_status()?;
            let (models, next_page_token) = page_by_name(
                all,
                |summary| summary.name.as_str(),
                |summary| convert::model(summary, &checkpoints),
                page_size,
                &page_token,
            )?;
            Ok(v1::ListModelsResponse {
                models,
                next_page_token,
            })
        })
        .await
    }

    async fn remove(
        &self,
        request: Request<v1::RemoveModelRequest>,
    ) -> Result<Response<v1::RemoveModelResponse>, Status> {
        let request = request.into_inner();
        let mutation = Mutation::of("ModelService/Remove", &request.request_id, &request);
        let name = ModelName::new(request.name).map_err(bad_name("name"))?;
        mutate(&self.context, mutation, move |context| {
            refuse_if_used(context, "model", |workflow: &WorkflowSummary| {
                workflow.spec.uses_model(&name)
            })?;
            context.ports.models.delete(&name).or_status()?;
            Ok(v1::RemoveModelResponse {})
        })
        .await
    }

    async fn generate(
        &self,
        request: Request<v1::GenerateRequest>,
    ) -> Result<Response<Self::GenerateStream>, Status> {
        let (model, requests) = convert::generate_requests(request.into_inner())?;
        generation::start(&self.context, model, requests).map(Response::new)
    }

    async fn score(
        &self,
        request: Request<v1::ScoreRequest>,
    ) -> Result<Response<v1::ScoreResponse>, Status> {
        let (model, requests) = convert::score_requests(request.into_inner())?;
        let response = generation::score(&self.context, model, requests).await;
        response.map(Response::new)
    }

    async fn embed(
        &self,
        request: Request<v1::EmbedRequest>,
    ) -> Result<Response<v1::EmbedResponse>, Status> {
        super::embed::embed(&self.context, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn classify(
        &self,
        request: Request<v1::ClassifyRequest>,
    ) -> Result<Response<v1::ClassifyResponse>, Status> {
        super::classify::classify(&self.context, request.into_inner())
            .await
            .map(Response::new)
    }
}

/// A checked addition.
struct Addition {
    mutation: Mutation,
    name: ModelName,
    source: String,
    sha256: Option<String>,
}

impl Addition {
    fn read(request: v1::AddModelRequest) -> Result<Self, Status> {
        let mutation = Mutation::of("ModelService/Add", &request.request_id, &request);
        let v1::AddModelRequest {
            name,
            source,
            sha256,
            ..
        } = request;
        let name = ModelName::new(name).map_err(bad_name("name"))?;
        if !(1..=MAX_SOURCE_BYTES).contains(&source.len()) {
            return Err(bad_field(
                "source",
                "expected a path or `pypi:package==version/path-in-wheel`",
            ));
        }
        let hexadecimal =
            |text: &String| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if sha256.as_ref().is_some_and(|text| !hexadecimal(text)) {
            return Err(bad_field("sha256", "expected 64 hexadecimal digits"));
        }
        Ok(Self {
            mutation,
            name,
            source,
            sha256: sha256.map(|text| text.to_ascii_lowercase()),
        })
    }
}

async fn add(
    context: &Arc<Context>,
    sink: &Sink<v1::AddModelResponse>,
    addition: Addition,
) -> Result<(), End> {
    use v1::add_model_response::Message;
    let message = |message| v1::AddModelResponse {
        message: Some(message),
    };
    let job = Job::start(context, sink);
    let interrupt = job.interrupt.clone();
    let lines = sink.clone();
    let added = blocking(context, move |context| {
        let Addition {
            mutation,
            name,
            source,
            sha256,
        } = addition;
        once(context, &mutation, || {
            let mut progress = |line: &str| {
                // A line that finds no room is skipped: the next one says more.
                let _ = lines.offer(message(Message::Progress(line.to_string())));
            };
            let from = &context.ports.model_source;
            let summary = from
                .fetch(&name, &source, sha256.as_deref(), &interrupt, &mut progress)
                .or_status()?;
            context.ports.models.put(&summary).or_status()?;
            let checkpoints = context.ports.checkpoints.list().or_status()?;
            Ok(v1::GetModelResponse {
                model: Some(convert::model(&summary, &checkpoints)),
            })
        })
    })
    .await?;
    drop(job);
    match added.model {
        Some(model) => sink.send(message(Message::Model(model)), context).await,
        None => Ok(()),
    }
}
