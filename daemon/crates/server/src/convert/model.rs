//! Registered models.

use autodidact_domain::{CheckpointSummary, ModelSummary};
use autodidact_proto::v1;

/// Shows a model with the promoted ones among the checkpoints that there are.
pub(crate) fn model(summary: &ModelSummary, checkpoints: &[CheckpointSummary]) -> v1::Model {
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
        details,
    } = summary;
    let promoted = checkpoints.iter().filter(|checkpoint| {
        checkpoint.meta.base_digest == *digest && checkpoint.meta.promoted_from.is_some()
    });
    let promoted_adapters = promoted.map(|adapter| adapter.id.to_string()).collect();
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
        licence: details.licence.clone(),
        chat_layout: details.chat_layout.as_str().to_string(),
        is_batched: details.is_batched,
        memory_bytes: details.memory_bytes,
        cache_bytes_per_token: details.cache_bytes_per_token,
        promoted_adapters,
    }
}
