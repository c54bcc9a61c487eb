//! `/v1/models`: the registered models, and each adapter checkpoint as `base:adapter`.

use std::sync::Arc;

use serde_json::{Value, json};

use super::ApiError;
use crate::blocking::blocking;
use crate::context::Context;
use crate::status::OrStatus;

/// Lists them, each base before its adapters.
pub(super) async fn list(context: &Arc<Context>) -> Result<Value, ApiError> {
    let models = blocking(context, all).await?;
    Ok(json!({"object": "list", "data": models}))
}

/// Shows one.
pub(super) async fn get(context: &Arc<Context>, name: String) -> Result<Value, ApiError> {
    let models = blocking(context, all).await?;
    let found = models
        .into_iter()
        .find(|model| model["id"] == name.as_str());
    found.ok_or_else(|| ApiError::no_model(&name))
}

fn all(context: &Context) -> Result<Vec<Value>, tonic::Status> {
    let checkpoints = context.ports.checkpoints.list().or_status()?;
    let mut models = Vec::new();
    for base in context.ports.models.list().or_status()? {
        models.push(object(base.name.as_str().to_string(), 0));
        for checkpoint in &checkpoints {
            if checkpoint.meta.model == base.name {
                let id = format!("{}:{}", base.name, checkpoint.id);
                models.push(object(id, checkpoint.created_ms / 1000));
            }
        }
    }
    Ok(models)
}

/// When a base was registered is not kept, so its `created` is 0.
fn object(id: String, created: u64) -> Value {
    json!({"id": id, "object": "model", "created": created, "owned_by": "autodidact"})
}
