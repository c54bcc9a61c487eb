//! Workflows as they stand, and their faults.

use autodidact_domain::WorkflowSummary;
use autodidact_domain::figures::WorkflowWarning;
use autodidact_domain::workflow::Pinned;
use autodidact_flow::Fault;
use autodidact_proto::v1;

pub(crate) fn workflow(summary: &WorkflowSummary) -> v1::Workflow {
    let WorkflowSummary {
        spec,
        pinned,
        spec_digest,
        state,
        message,
        created_ms,
        updated_ms,
    } = summary;
    v1::Workflow {
        name: spec.name.to_string(),
        spec: Some(super::workflow_spec(spec)),
        pinned: Some(self::pinned(pinned)),
        spec_digest: spec_digest.to_string(),
        state: super::event::state(*state).into(),
        message: message.clone(),
        created_ms: *created_ms,
        updated_ms: *updated_ms,
    }
}

fn pinned(pinned: &Pinned) -> v1::Pinned {
    let Pinned {
        seeds,
        held_out,
        eval_dataset,
        model,
        plugins,
        labels,
    } = pinned;
    v1::Pinned {
        seeds: seeds.as_ref().map(super::dataset),
        held_out: held_out.as_ref().map(super::dataset),
        eval_dataset: eval_dataset.as_ref().map(super::dataset),
        model: Some(super::model(model, &[])),
        plugins: (0..plugins.len())
            .filter(|i| plugins[..*i].iter().all(|p| p.digest != plugins[*i].digest))
            .map(|i| super::plugin(&plugins[i]))
            .collect(),
        labels: labels.clone(),
    }
}

pub(crate) fn warning(warning: WorkflowWarning) -> v1::WorkflowWarning {
    let WorkflowWarning { code, message } = warning;
    v1::WorkflowWarning { code, message }
}

pub(crate) fn fault(fault: Fault) -> v1::Fault {
    let Fault {
        line,
        path,
        message,
        expected,
        found,
        nearest,
    } = fault;
    v1::Fault {
        line,
        path,
        message,
        expected,
        found,
        nearest,
    }
}
