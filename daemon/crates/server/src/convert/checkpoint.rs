//! Checkpoints.

use autodidact_domain::CheckpointSummary;
use autodidact_proto::v1;

pub(crate) fn checkpoint(summary: &CheckpointSummary) -> v1::Checkpoint {
    let CheckpointSummary {
        id,
        meta,
        adapter_digest,
        size,
        created_ms,
    } = summary;
    v1::Checkpoint {
        id: id.to_string(),
        method: meta.method.clone(),
        model: meta.model.to_string(),
        base_digest: meta.base_digest.to_string(),
        step: meta.step,
        total_steps: meta.total_steps,
        adapter_digest: adapter_digest.to_string(),
        size: *size,
        created_ms: *created_ms,
        adapter_config_json: meta.adapter_config.to_string(),
        promoted_from: meta.promoted_from.as_ref().map(ToString::to_string),
    }
}
