//! Promotion by hand: a name that serves one checkpoint after the other, for `CheckpointService`.

use autodidact_domain::{CheckpointId, CheckpointSummary, EventBody, PortError, WorkflowSummary};
use autodidact_proto::v1;
use tonic::Status;

use crate::context::Context;
use crate::convert;
use crate::in_use::refuse_if_used;
use crate::status::{OrStatus, bad_field, bad_name};

/// Stands in the names of what workflows train.
pub(super) const OF_WORKFLOWS: &str = ".round-";

/// A checked request.
pub(super) struct Promotion {
    id: CheckpointId,
    name: CheckpointId,
}

impl Promotion {
    pub(super) fn read(request: &v1::PromoteCheckpointRequest) -> Result<Self, Status> {
        let id = CheckpointId::new(request.id.as_str()).map_err(bad_name("id"))?;
        let run = id.as_str().split_once(OF_WORKFLOWS).map(|(run, _)| run);
        let name = match (request.name.as_str(), run) {
            ("", Some(run)) => run,
            ("", None) => {
                return Err(bad_field(
                    "name",
                    format!("expected one, since {id} is of no run that it could be named after"),
                ));
            }
            (name, _) if name.contains(OF_WORKFLOWS) => {
                return Err(bad_field(
                    "name",
                    format!(
                        "expected one without {OF_WORKFLOWS:?}, which workflows give to theirs, found {name:?}"
                    ),
                ));
            }
            (name, _) => name,
        };
        let name = CheckpointId::new(name).map_err(bad_name("name"))?;
        Ok(Self { id, name })
    }

    /// Copies the adapter to its name. Chunks are stored once whoever names them, so that this writes little.
    pub(super) fn make(&self, context: &Context) -> Result<v1::PromoteCheckpointResponse, Status> {
        let ports = &context.ports;
        let checkpoint = ports.checkpoints.get(&self.id).or_status()?;
        self.check_base(context, &checkpoint)?;
        let before = ports.checkpoints.get(&self.name).ok();
        if let Some(before) = &before {
            self.check_name(before, &checkpoint).or_status()?;
        }
        let is_another = before
            .as_ref()
            .is_some_and(|before| before.adapter_digest != checkpoint.adapter_digest);
        if is_another {
            refuse_if_used(context, "adapter", |workflow: &WorkflowSummary| {
                let train = workflow.spec.stages.train.as_ref();
                train.is_some_and(|train| train.init_adapter.as_ref() == Some(&self.name))
            })?;
        }
        let mut promoted = ports.checkpoints.load(&self.id).or_status()?;
        promoted.optimizer.clear();
        let origin = promoted.meta.promoted_from.take();
        promoted.meta.promoted_from = Some(origin.unwrap_or_else(|| self.id.clone()));
        let summary = ports.checkpoints.save(&self.name, &promoted).or_status()?;
        let event = EventBody::CheckpointSaved {
            id: self.name.to_string(),
            step: summary.meta.step,
        };
        ports.events.publish(None, event).or_status()?;
        let replaced = before.and_then(|before| before.meta.promoted_from);
        Ok(v1::PromoteCheckpointResponse {
            checkpoint: Some(convert::checkpoint(&summary)),
            replaced: replaced.map(|id| id.to_string()),
        })
    }

    /// Refuses an adapter whose base is not there any more.
    fn check_base(&self, context: &Context, checkpoint: &CheckpointSummary) -> Result<(), Status> {
        let meta = &checkpoint.meta;
        let model = context.ports.models.get(&meta.model).or_status()?;
        if model.digest == meta.base_digest {
            return Ok(());
        }
        Err(bad_field(
            "id",
            format!(
                "expected an adapter of {} as it is (digest {}), found {} of other weights under that name (digest {}); add these again, under a name of their own",
                model.name,
                model.digest.short(),
                self.id,
                meta.base_digest.short()
            ),
        ))
    }

    /// Refuses a name that stands for something else.
    fn check_name(
        &self,
        before: &CheckpointSummary,
        checkpoint: &CheckpointSummary,
    ) -> Result<(), PortError> {
        let taken = |detail: String| PortError::Exists {
            what: "checkpoint",
            name: self.name.to_string(),
            detail,
        };
        match &before.meta.promoted_from {
            None => Err(taken(
                "it was imported, and is no promoted one; promote under another name".into(),
            )),
            Some(_) if before.meta.base_digest != checkpoint.meta.base_digest => {
                Err(taken(format!(
                    "it serves an adapter of {}, and {} is one of {}; promote under another name",
                    before.meta.model, self.id, checkpoint.meta.model
                )))
            }
            Some(_) => Ok(()),
        }
    }
}
