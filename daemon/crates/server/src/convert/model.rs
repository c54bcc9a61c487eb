//! Registered models.

use autodidact_domain::ModelSummary;
use autodidact_proto::v1;

pub(crate) fn model(summary: &ModelSummary) -> v1::Model {
    let ModelSummary {
        name,
        source,
        path,
        sha256,
        architecture,
        parameters,
        quantization,
        context_length,
        digest,
    } = summary;
    v1::Model {
        name: name.to_string(),
        source: source.clone(),
        path: path.clone(),
        sha256: sha256.clone(),
        architecture: architecture.clone(),
        parameters: *parameters,
        quantization: quantization.clone(),
        context_length: *context_length,
        digest: digest.to_string(),
    }
}
