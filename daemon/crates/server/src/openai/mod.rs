//! OpenAI's HTTP interface beside gRPC, on the same listeners and behind the same token: chat and plain completions,
//! embeddings, and the list of models.
//!
//! Every call is translated: JSON becomes the gRPC interface's own messages (`request.rs`, `chat.rs`, `completions.rs`), so both
//! have the same checks, limits and behaviour, and what comes back becomes JSON again. A model is named `base`, or
//! `base:adapter` for a base with an adapter checkpoint on it.
//!
//! Where OpenAI's reference (platform.openai.com/docs/api-reference, 2025) leaves the choice to the server: `max_tokens` of a
//! chat is 2048 where it is not given, streamed log-probabilities come with a completion's last chunk, and what this server
//! cannot do is refused by name instead of being ignored.

mod answer;
mod chat;
mod completions;
mod embeddings;
mod error;
mod fields;
mod models;
mod request;
mod stream;

use std::sync::Arc;

use autodidact_proto::{MAX_MESSAGE_BYTES, v1};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::Value;
use tokio_stream::StreamExt;

use crate::context::Context;
use crate::services::start_generation;
pub(crate) use error::ApiError;
use fields::Fields;
use request::Wish;
use stream::Events;

/// Where all paths of the interface begin.
const ROOT: &str = "/v1/";

/// Tells whether a path belongs to this interface; gRPC's begin with a package's name.
pub(crate) fn is_ours(path: &str) -> bool {
    path.starts_with(ROOT)
}

/// Lists the paths there are.
pub(crate) fn router(context: &Arc<Context>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat_completions))
        .route("/v1/completions", post(plain_completions))
        .route("/v1/embeddings", post(embed))
        .route("/v1/models", get(list_models))
        .route("/v1/models/{*name}", get(get_model))
        .route("/v1/{*path}", axum::routing::any(unknown_path))
        .method_not_allowed_fallback(wrong_method)
        .with_state(Arc::clone(context))
}

async fn chat_completions(
    State(context): State<Arc<Context>>,
    request: Request,
) -> Result<Response, ApiError> {
    complete(&context, chat::read(read_fields(request).await?)?).await
}

async fn plain_completions(
    State(context): State<Arc<Context>>,
    request: Request,
) -> Result<Response, ApiError> {
    complete(&context, completions::read(read_fields(request).await?)?).await
}

async fn embed(
    State(context): State<Arc<Context>>,
    request: Request,
) -> Result<Response, ApiError> {
    let wish = embeddings::read(read_fields(request).await?)?;
    Ok(json(
        StatusCode::OK,
        &embeddings::answer(&context, wish).await?,
    ))
}

async fn list_models(State(context): State<Arc<Context>>) -> Result<Response, ApiError> {
    Ok(json(StatusCode::OK, &models::list(&context).await?))
}

async fn get_model(
    State(context): State<Arc<Context>>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    Ok(json(StatusCode::OK, &models::get(&context, name).await?))
}

async fn unknown_path(request: Request) -> ApiError {
    ApiError::not_found(format!(
        "there is no {} here; there are /v1/chat/completions, /v1/completions, /v1/embeddings and /v1/models",
        request.uri().path()
    ))
}

async fn wrong_method(request: Request) -> ApiError {
    ApiError::wrong_method(format!(
        "{} does not answer to {}",
        request.uri().path(),
        request.method()
    ))
}

/// Generates, and answers with everything at the end or with events as they come.
async fn complete(context: &Arc<Context>, wish: Wish) -> Result<Response, ApiError> {
    let Wish {
        shape,
        model,
        requests,
        prompts,
        is_streamed,
        includes_usage,
    } = wish;
    let completions = requests.len();
    let mut messages = start_generation(context, model, requests)?;
    if !is_streamed {
        let mut found: Vec<Option<v1::Completion>> = vec![None; completions];
        while let Some(message) = messages.next().await {
            let v1::GenerateResponse { message, index } = message?;
            if let Some(v1::generate_response::Message::Completion(completion)) = message
                && let Some(place) = found.get_mut(index as usize)
            {
                *place = Some(completion);
            }
        }
        let found: Option<Vec<v1::Completion>> = found.into_iter().collect();
        let found = found.ok_or_else(|| ApiError::internal("the completions ended early"))?;
        return Ok(json(StatusCode::OK, &shape.whole(&found, prompts)));
    }
    // What is refused before the first word still gets a status of its own.
    let first = match messages.next().await {
        Some(first) => first?,
        None => return Err(ApiError::internal("the completions ended early")),
    };
    let events = Events::new(shape, first, messages, prompts, includes_usage);
    Ok(Response::builder()
        .header(header::CONTENT_TYPE, "text/event-stream")
        .header(header::CACHE_CONTROL, "no-cache")
        .body(Body::from_stream(events))
        .expect("the parts are good"))
}

async fn read_fields(request: Request) -> Result<Fields, ApiError> {
    let version = request.version();
    let body = axum::body::to_bytes(request.into_body(), MAX_MESSAGE_BYTES).await;
    // Of a connection that broke nobody reads the answer, so this is about the length.
    let body = body.map_err(|_| {
        ApiError::too_large(format!(
            "a request holds at most {} MiB",
            MAX_MESSAGE_BYTES >> 20
        ))
        .closing(version)
    })?;
    Fields::parse(&body)
}

fn json(status: StatusCode, value: &Value) -> Response {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(value.to_string()))
        .expect("the parts are good")
}
