//! Events, stages and states.

use autodidact_domain::journal::StageName;
use autodidact_domain::plan::PlanChange;
use autodidact_domain::preflight::{NeedPart, Preflight};
use autodidact_domain::training::{StepMetrics, TrainProgress};
use autodidact_domain::{EvalLoss, Event, EventBody, StageProgress, WorkflowState};
use autodidact_proto::v1;
use autodidact_proto::v1::event::Body;

pub(crate) fn event(event: Event) -> v1::Event {
    let Event {
        sequence,
        time_ms,
        workflow,
        body,
    } = event;
    v1::Event {
        sequence,
        time_ms,
        workflow: workflow.map(|name| name.to_string()),
        body: Some(self::body(body)),
    }
}

fn body(body: EventBody) -> Body {
    match body {
        EventBody::State { state, message } => Body::State(v1::StateChanged {
            state: self::state(state).into(),
            message,
        }),
        EventBody::Stage(progress) => Body::Stage(stage_progress(progress)),
        EventBody::Training { round, metrics } => Body::Training(training_progress(round, metrics)),
        EventBody::TrainingEvaluated {
            round,
            evaluation: EvalLoss { step, loss },
            best_step,
            stopped_early,
        } => Body::TrainingEvaluated(v1::TrainingEvaluated {
            round,
            step,
            loss,
            best_step,
            stopped_early,
        }),
        EventBody::Evaluated {
            model,
            heldout_loss,
            success_rate,
        } => Body::Evaluated(v1::Evaluated {
            model,
            heldout_loss,
            success_rate,
        }),
        EventBody::Promotion {
            round,
            promoted,
            message,
        } => Body::Promotion(v1::Promotion {
            round,
            promoted,
            message,
        }),
        EventBody::CheckpointSaved { id, step } => {
            Body::CheckpointSaved(v1::CheckpointSaved { id, step })
        }
        EventBody::DatasetVersion { dataset, records } => {
            Body::DatasetVersion(v1::DatasetVersionMade { dataset, records })
        }
        EventBody::FileRefused { file, message } => {
            Body::FileRefused(v1::FileRefused { file, message })
        }
        EventBody::PluginChanged { plugin, change } => {
            Body::PluginChanged(v1::PluginChanged { plugin, change })
        }
        EventBody::PluginLog {
            plugin,
            level,
            message,
        } => Body::PluginLog(v1::PluginLog {
            plugin,
            level,
            message,
        }),
        EventBody::Preflight { round, preflight } => {
            Body::TrainingNeed(training_need(round, &preflight))
        }
        EventBody::PlanChanged { round, change } => {
            let PlanChange {
                what,
                before,
                after,
                reason,
            } = change;
            Body::PlanChanged(v1::PlanChanged {
                round,
                what,
                before,
                after,
                reason,
            })
        }
        EventBody::Warning { message } => Body::Warning(v1::Warning { message }),
    }
}

pub(super) fn state(state: WorkflowState) -> v1::WorkflowState {
    match state {
        WorkflowState::Pending => v1::WorkflowState::Pending,
        WorkflowState::Running => v1::WorkflowState::Running,
        WorkflowState::Paused => v1::WorkflowState::Paused,
        WorkflowState::Waiting => v1::WorkflowState::Waiting,
        WorkflowState::Done => v1::WorkflowState::Done,
        WorkflowState::Failed => v1::WorkflowState::Failed,
        WorkflowState::Cancelled => v1::WorkflowState::Cancelled,
    }
}

pub(crate) fn stage(stage: StageName) -> v1::Stage {
    match stage {
        StageName::Generate => v1::Stage::Generate,
        StageName::Filter => v1::Stage::Filter,
        StageName::Respond => v1::Stage::Respond,
        StageName::Validate => v1::Stage::Validate,
        StageName::Review => v1::Stage::Review,
        StageName::Train => v1::Stage::Train,
        StageName::Evaluate => v1::Stage::Evaluate,
        StageName::Promote => v1::Stage::Promote,
        StageName::Adapt => v1::Stage::Adapt,
    }
}

pub(crate) fn stage_progress(progress: StageProgress) -> v1::StageProgress {
    let StageProgress {
        round,
        stage,
        done,
        total,
        kept,
        dropped,
        reasons,
        tokens,
        finished,
    } = progress;
    let stage = self::stage(stage).into();
    v1::StageProgress {
        round,
        stage,
        done,
        total,
        kept,
        dropped,
        reasons,
        tokens,
        finished,
    }
}

pub(crate) fn training_need(round: u32, preflight: &Preflight) -> v1::TrainingNeed {
    let Preflight { need, disk } = preflight;
    let part = |part: &NeedPart| v1::NeedPart {
        name: part.name.clone(),
        bytes: part.bytes,
    };
    v1::TrainingNeed {
        round,
        tokens_at_once: need.tokens_at_once,
        steps: need.steps,
        memory_bytes: need.memory_bytes(),
        memory: need.memory.iter().map(part).collect(),
        memory_available: need.memory_available,
        checkpoint_bytes: need.checkpoint_bytes(),
        disk_bytes: disk.bytes,
        disk_available: disk.available,
        refusal: preflight.refusal(),
    }
}

fn training_progress(round: u32, metrics: StepMetrics) -> v1::TrainingProgress {
    let StepMetrics {
        time_ms: _,
        progress,
        rss_mb,
        peak_rss_mb,
    } = metrics;
    let TrainProgress {
        step,
        total_steps,
        loss,
        learning_rate,
        grad_norm,
        tokens_per_second,
    } = progress;
    v1::TrainingProgress {
        round,
        step,
        total_steps,
        loss,
        learning_rate,
        grad_norm,
        tokens_per_second,
        rss_mb,
        peak_rss_mb,
    }
}
