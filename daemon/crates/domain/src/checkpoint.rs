//! Trained tensors with what is needed to go on.

use serde::{Deserialize, Serialize};

use crate::{CheckpointId, Digest, ModelName};

/// A named f32 tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// The name; for adapters, PEFT's key.
    pub name: String,
    /// The shape; the product of its dimensions is the number of elements.
    pub shape: Vec<usize>,
    /// The elements.
    pub data: Vec<f32>,
}

/// The small facts of a checkpoint. The tensors stand beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckpointMeta {
    /// The fine-tuning method, `lora`.
    pub method: String,
    /// The registered base model.
    pub model: ModelName,
    /// The digest of the base.
    pub base_digest: Digest,
    /// The method's configuration as PEFT's `adapter_config.json` has it.
    pub adapter_config: serde_json::Value,
    /// Optimizer steps done.
    pub step: u32,
    /// Optimizer steps of the whole run.
    pub total_steps: u32,
    /// The trainer's own position (data cursor, random state), which it alone reads.
    pub trainer_state: serde_json::Value,
    /// The checkpoint of a run that this name serves, where it was promoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted_from: Option<CheckpointId>,
}

/// Everything needed to generate with an adapter, and to go on training it exactly.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The small facts.
    pub meta: CheckpointMeta,
    /// The adapter's tensors, sorted by name.
    pub adapter: Vec<NamedTensor>,
    /// The optimizer's tensors, sorted by name; empty once a run is finished and promoted.
    pub optimizer: Vec<NamedTensor>,
}

impl Checkpoint {
    /// Digests the adapter alone: configuration, names, shapes and elements.
    pub fn adapter_digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        let mut part = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        part(self.meta.method.as_bytes());
        part(self.meta.base_digest.as_bytes());
        // The order in which someone wrote the fields says nothing.
        let mut config = self.meta.adapter_config.clone();
        config.sort_all_objects();
        part(config.to_string().as_bytes());
        for tensor in &self.adapter {
            part(tensor.name.as_bytes());
            part(
                &tensor
                    .shape
                    .iter()
                    .flat_map(|d| (*d as u64).to_le_bytes())
                    .collect::<Vec<_>>(),
            );
            part(
                &tensor
                    .data
                    .iter()
                    .flat_map(|x| x.to_le_bytes())
                    .collect::<Vec<_>>(),
            );
        }
        Digest::from_bytes(*hasher.finalize().as_bytes())
    }
}

/// A stored checkpoint, without its tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckpointSummary {
    /// Its name.
    pub id: CheckpointId,
    /// The small facts.
    pub meta: CheckpointMeta,
    /// The digest of the adapter.
    pub adapter_digest: Digest,
    /// The bytes of all its tensors.
    pub size: u64,
    /// When it was written, in milliseconds since 1970 (UTC).
    pub created_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_settings_says_nothing_in_a_digest() {
        let digest = |config: &str| {
            let meta = CheckpointMeta {
                method: "lora".into(),
                model: ModelName::new("m").unwrap(),
                base_digest: Digest::of(b"base"),
                adapter_config: serde_json::from_str(config).unwrap(),
                step: 1,
                total_steps: 1,
                trainer_state: serde_json::Value::Null,
                promoted_from: None,
            };
            let (adapter, optimizer) = (Vec::new(), Vec::new());
            let checkpoint = Checkpoint {
                meta,
                adapter,
                optimizer,
            };
            checkpoint.adapter_digest()
        };
        assert_eq!(
            digest(r#"{"r": 8, "a": {"y": 1, "x": 2}}"#),
            digest(r#"{"a": {"x": 2, "y": 1}, "r": 8}"#)
        );
        assert_ne!(digest(r#"{"r": 8}"#), digest(r#"{"r": 9}"#));
    }
}
