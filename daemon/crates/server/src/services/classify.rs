//! The call `Classify` of `ModelService`.

use std::sync::Arc;

use autodidact_proto::v1;
use tonic::Status;

use crate::blocking::interruptible;
use crate::context::Context;
use crate::convert::{classify_request, classify_response};
use crate::status::OrStatus;

/// Labels texts and words.
pub(super) async fn classify(
    context: &Arc<Context>,
    request: v1::ClassifyRequest,
) -> Result<v1::ClassifyResponse, Status> {
    let (model, inputs) = classify_request(request)?;
    interruptible(context, move |context, interrupt| {
        let engine = &context.ports.engine;
        let classified = engine.classify(&model, inputs, interrupt).or_status()?;
        classify_response(classified)
    })
    .await
}
