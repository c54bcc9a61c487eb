//! `autodidact workflow list` and `show`

use autodidact_client::{Client, v1};
use autodidact_proto::json as messages;
use serde_json::json;

use super::{stage_name, state_name};
use crate::cli::{Failure, Global, output};

pub(super) async fn list(connection: &Client, global: &Global) -> Result<(), Failure> {
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListWorkflowsRequest {
            page_size: 0,
            page_token,
        };
        let page = connection.workflows().list(request).await?.into_inner();
        all.extend(page.workflows);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if global.json {
        return output::json(&messages::list("Workflow", &all));
    }
    let row = |w: &v1::Workflow| {
        vec![
            w.name.clone(),
            state_name(w),
            output::time(w.updated_ms),
            w.message.clone(),
        ]
    };
    output::table(
        &["NAME", "STATE", "SINCE (UTC)", "MESSAGE"],
        &all.iter().map(row).collect::<Vec<_>>(),
    )
}

pub(super) async fn show(
    connection: &Client,
    name: String,
    global: &Global,
) -> Result<(), Failure> {
    let answer = connection
        .workflows()
        .get(v1::GetWorkflowRequest { name })
        .await?
        .into_inner();
    let workflow = answer.workflow.unwrap_or_default();
    if global.json {
        let stages = messages::list("StageProgress", &answer.stages);
        return output::json(
            &json!({"workflow": messages::of("Workflow", &workflow), "stages": stages}),
        );
    }
    let pinned = workflow.pinned.clone().unwrap_or_default();
    let version = |d: &Option<v1::Dataset>| {
        d.as_ref().map_or_else(
            || "none".to_string(),
            |d| format!("{}@{} ({} records)", d.name, d.version, d.records),
        )
    };
    let train = workflow.spec.clone().unwrap_or_default().stages;
    let train = train.unwrap_or_default().train.unwrap_or_default();
    let goes_on_from = train.resume_from_checkpoint;
    output::facts(&[
        ("name", workflow.name.clone()),
        ("state", state_name(&workflow)),
        ("message", workflow.message.clone()),
        (
            "model",
            pinned
                .model
                .as_ref()
                .map(|model| model.name.clone())
                .unwrap_or_default(),
        ),
        ("seeds", version(&pinned.seeds)),
        ("held out", version(&pinned.held_out)),
        ("evaluated on", version(&pinned.eval_dataset)),
        ("goes on from", goes_on_from.unwrap_or("none".to_string())),
        ("submitted", output::time(workflow.created_ms)),
        ("changed", output::time(workflow.updated_ms)),
    ])?;
    output::line("")?;
    let row = |s: &v1::StageProgress| {
        vec![
            s.round.to_string(),
            stage_name(s.stage()),
            format!("{}/{}", s.done, s.total),
            s.kept.to_string(),
            s.dropped.to_string(),
            if s.finished { "yes" } else { "no" }.to_string(),
        ]
    };
    let rows: Vec<_> = answer.stages.iter().map(row).collect();
    output::table(
        &["ROUND", "STAGE", "DONE", "KEPT", "DROPPED", "FINISHED"],
        &rows,
    )
}
