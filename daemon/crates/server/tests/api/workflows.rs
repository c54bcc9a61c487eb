//! Workflow calls: checks, submissions, state, verdicts.

use autodidact_client::{ClientError, v1};
use autodidact_domain::journal::{RecordedVerdict, StageName};
use autodidact_domain::{Digest, Evidence, Verdict, WorkflowState};
use tonic_types::StatusExt;

use crate::harness::{Daemon, eventually, waiting};

#[tokio::test]
async fn a_faulty_workflow_is_refused_with_every_fault() {
    let daemon = Daemon::start().await;
    let yaml = "name: bad\nmodel: tiny\nrounds: -1\nstages:\n  generate:\n    tagret: 5\n";
    let request = v1::SubmitWorkflowRequest {
        request_id: String::new(),
        workflow: Some(v1::submit_workflow_request::Workflow::Yaml(yaml.into())),
    };
    let status = daemon.client.workflows().submit(request).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    let violations = status.get_details_bad_request().unwrap().field_violations;
    assert!(
        violations
            .iter()
            .any(|violation| violation.field == "rounds"),
        "{violations:?}"
    );
    let error = ClientError::from(status);
    assert_eq!(error.reason(), "INVALID_WORKFLOW");
    let faults = &error.failure().faults;
    let fault = |line| {
        faults
            .iter()
            .find(|fault| fault.line == line)
            .unwrap_or_else(|| panic!("{faults:?}"))
    };
    assert_eq!(fault(3).path, "rounds");
    assert_eq!(fault(6).nearest.as_deref(), Some("target"));

    // A check finds the same, and that is no error.
    let request = v1::CheckWorkflowRequest {
        workflow: Some(v1::check_workflow_request::Workflow::Yaml(yaml.into())),
    };
    let checked = daemon
        .client
        .workflows()
        .check(request)
        .await
        .unwrap()
        .into_inner();
    assert!(checked.spec.is_none());
    assert_eq!(checked.faults.len(), faults.len());
}

#[tokio::test]
async fn a_message_is_checked_like_its_text() {
    let daemon = Daemon::start().await;
    let check = async |workflow| {
        let request = v1::CheckWorkflowRequest {
            workflow: Some(workflow),
        };
        daemon
            .client
            .workflows()
            .check(request)
            .await
            .unwrap()
            .into_inner()
    };
    let from_text = check(v1::check_workflow_request::Workflow::Yaml(waiting("same"))).await;
    let few = v1::WorkflowSpec {
        name: Some("same".into()),
        model: Some("tiny".into()),
        seeds: Some("drops".into()),
        on_drop: Some("drops".into()),
        stages: Some(v1::Stages {
            train: Some(v1::TrainSpec::default()),
            ..Default::default()
        }),
        ..Default::default()
    };
    let from_message = check(v1::check_workflow_request::Workflow::Spec(few.clone())).await;
    assert_eq!(from_message, from_text);
    assert_eq!(from_message.spec.clone().unwrap().seed, Some(42));
    // What a check gives back can be submitted, and is the same workflow.
    let whole = check(v1::check_workflow_request::Workflow::Spec(
        from_message.spec.unwrap(),
    ))
    .await;
    assert_eq!(whole, from_text);

    let none = v1::WorkflowSpec {
        model: Some("huge".into()),
        ..few
    };
    let faults = check(v1::check_workflow_request::Workflow::Spec(none))
        .await
        .faults;
    assert_eq!(
        faults
            .iter()
            .map(|fault| (fault.path.as_str(), fault.line))
            .collect::<Vec<_>>(),
        [("model", 0)]
    );
}

#[tokio::test]
async fn a_repeated_request_changes_nothing() {
    let daemon = Daemon::start().await;
    let first = daemon.submit(&waiting("once"), "id-1").await.unwrap();
    daemon.set_state(&"once".parse().unwrap(), WorkflowState::Cancelled);
    // The answer is the first one's, though the workflow has moved on.
    assert_eq!(
        daemon.submit(&waiting("once"), "id-1").await.unwrap(),
        first
    );
    let other = daemon.submit(&waiting("twice"), "id-1").await.unwrap_err();
    assert_eq!(other.reason(), "REQUEST_ID_REUSED");
    // Without an id the same submission is found as it stands.
    let found = daemon.submit(&waiting("once"), "").await.unwrap();
    assert_eq!(found.state(), v1::WorkflowState::Cancelled);
    let another_spec = daemon
        .submit(&format!("{}seed: 9\n", waiting("once")), "")
        .await
        .unwrap_err();
    assert_eq!(another_spec.reason(), "ALREADY_EXISTS");
    let long = daemon
        .submit(&waiting("once"), &"x".repeat(200))
        .await
        .unwrap_err();
    assert_eq!(long.reason(), "INVALID_ARGUMENT");
}

#[tokio::test]
async fn a_missing_workflow_is_told_with_the_nearest_name() {
    let daemon = Daemon::start().await;
    let request = v1::GetWorkflowRequest {
        name: "nobody".into(),
    };
    let error = ClientError::from(daemon.client.workflows().get(request).await.unwrap_err());
    assert_eq!(error.reason(), "NOT_FOUND");
    assert_eq!(error.failure().nearest.as_deref(), Some("nearest-name"));
    let request = v1::GetWorkflowRequest {
        name: "../nobody".into(),
    };
    let error = ClientError::from(daemon.client.workflows().get(request).await.unwrap_err());
    assert_eq!(error.reason(), "INVALID_ARGUMENT");
}

#[tokio::test]
async fn pages_show_every_workflow_once() {
    let daemon = Daemon::start().await;
    for index in 0..7 {
        daemon.submit_waiting(&format!("run-{index}")).await;
    }
    let mut names = Vec::new();
    let mut page_token = String::new();
    let mut pages = 0;
    loop {
        let request = v1::ListWorkflowsRequest {
            page_size: 3,
            page_token,
        };
        let page = daemon
            .client
            .workflows()
            .list(request)
            .await
            .unwrap()
            .into_inner();
        names.extend(page.workflows.into_iter().map(|workflow| workflow.name));
        pages += 1;
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(pages, 3);
    assert_eq!(
        names,
        (0..7)
            .map(|index| format!("run-{index}"))
            .collect::<Vec<_>>()
    );
    let request = v1::ListWorkflowsRequest {
        page_size: 3,
        page_token: "made-up".into(),
    };
    let refused = daemon.client.workflows().list(request).await.unwrap_err();
    assert_eq!(ClientError::from(refused).reason(), "BAD_PAGE_TOKEN");
}

#[tokio::test]
async fn verdicts_are_listed_and_filtered_in_pages() {
    let daemon = Daemon::start().await;
    let name = daemon.submit_waiting("judged").await;
    // Every hundredth is a drop: with small pages the filter crosses many reads of the journal.
    let verdicts = (0..3000u32).map(|index| RecordedVerdict {
        round: 1 + index / 1500,
        stage: StageName::Filter,
        record: Digest::of(&index.to_le_bytes()),
        text: format!("record {index}"),
        verdict: match index % 100 {
            0 => Verdict::drop("exact", "duplicate", Evidence::default()),
            _ => Verdict::keep("chain"),
        },
    });
    daemon.world.verdicts.lock().unwrap().extend(verdicts);
    let all = async |request: v1::ListVerdictsRequest| {
        let mut found = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = v1::ListVerdictsRequest {
                workflow: name.to_string(),
                page_token,
                ..request.clone()
            };
            let page = daemon
                .client
                .workflows()
                .list_verdicts(request)
                .await
                .unwrap()
                .into_inner();
            found.extend(page.verdicts.into_iter().map(|verdict| verdict.text));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return found;
            }
        }
    };
    let everything = all(v1::ListVerdictsRequest {
        page_size: 700,
        ..Default::default()
    })
    .await;
    assert_eq!(
        everything,
        (0..3000)
            .map(|index| format!("record {index}"))
            .collect::<Vec<_>>()
    );
    let drops = v1::ListVerdictsRequest {
        page_size: 4,
        decision: v1::Decision::Drop.into(),
        ..Default::default()
    };
    let expected: Vec<String> = (0..30)
        .map(|index| format!("record {}", index * 100))
        .collect();
    assert_eq!(all(drops.clone()).await, expected);
    assert_eq!(
        all(v1::ListVerdictsRequest {
            round: Some(2),
            ..drops.clone()
        })
        .await,
        expected[15..]
    );
    assert!(
        all(v1::ListVerdictsRequest {
            stage: v1::Stage::Train.into(),
            ..drops
        })
        .await
        .is_empty()
    );
}

#[tokio::test]
async fn a_record_is_followed_through_the_journal_by_the_beginning_of_its_id() {
    let daemon = Daemon::start().await;
    let name = daemon.submit_waiting("traced").await;
    let record = Digest::of(b"an instruction");
    let verdict = |stage, verdict| RecordedVerdict {
        round: 1,
        stage,
        record,
        text: "an instruction".into(),
        verdict,
    };
    let evidence = Evidence {
        score: Some(0.75),
        ..Evidence::default()
    };
    daemon.world.verdicts.lock().unwrap().extend([
        verdict(StageName::Filter, Verdict::keep("chain")),
        verdict(
            StageName::Validate,
            Verdict::drop("rules", "too_short", evidence),
        ),
    ]);
    let mut workflows = daemon.client.workflows();
    let mut ask = async |record: &str| {
        let request = v1::RecordLineageRequest {
            workflow: name.to_string(),
            record: record.to_string(),
        };
        workflows.lineage(request).await
    };
    let found = ask(&record.short().to_uppercase())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(found.record, record.to_string());
    assert_eq!(found.standing(), v1::RecordStanding::Dropped);
    assert_eq!(found.text, "an instruction");
    let reasons: Vec<&str> = found.verdicts.iter().map(|v| v.reason.as_str()).collect();
    assert_eq!(reasons, ["kept", "too_short"]);
    let score = found.verdicts[1].evidence.as_ref().and_then(|e| e.score);
    assert_eq!(score, Some(0.75));
    for (record, reason) in [
        ("f00d".repeat(16), "NOT_FOUND"),
        ("no id".into(), "INVALID_ARGUMENT"),
    ] {
        let refused = ClientError::from(ask(&record).await.unwrap_err());
        assert_eq!(refused.reason(), reason, "{record}");
    }
}

#[tokio::test]
async fn a_report_and_a_comparison_say_what_is_wrong_with_a_request() {
    let daemon = Daemon::start().await;
    let name = daemon.submit_waiting("unready").await;
    let request = v1::ReportWorkflowRequest {
        name: name.to_string(),
        format: v1::ReportFormat::Html.into(),
        language: "fr".into(),
    };
    let status = daemon.client.workflows().report(request).await.unwrap_err();
    let violations = status.get_details_bad_request().unwrap().field_violations;
    assert_eq!(violations[0].field, "language");
    let request = v1::CompareWorkflowsRequest {
        a: name.to_string(),
        b: name.to_string(),
        language: "zh".into(),
    };
    let refused = daemon
        .client
        .workflows()
        .compare(request)
        .await
        .unwrap_err();
    let refused = ClientError::from(refused);
    assert_eq!(refused.reason(), "INVALID_ARGUMENT");
    assert!(refused.to_string().contains("is not done"), "{refused}");
}

#[tokio::test]
async fn a_running_workflow_is_paused_resumed_and_cancelled() {
    let daemon = Daemon::start().await;
    daemon
        .client
        .import_dataset("seeds", "seeds.txt", b"one\ntwo\n".to_vec(), "")
        .await
        .unwrap();
    let yaml = "name: runs\nmodel: tiny\nseeds: seeds\nstages:\n  generate: {target: 4}\n";
    assert_eq!(
        daemon.submit(yaml, "").await.unwrap().state(),
        v1::WorkflowState::Running
    );
    let name = || "runs".to_string();
    let mut workflows = daemon.client.workflows();
    let pause = v1::PauseWorkflowRequest {
        request_id: "p".into(),
        name: name(),
    };
    let paused = workflows
        .pause(pause.clone())
        .await
        .unwrap()
        .into_inner()
        .workflow
        .unwrap();
    assert_eq!(paused.state(), v1::WorkflowState::Paused);
    let resume = v1::ResumeWorkflowRequest {
        request_id: "r".into(),
        name: name(),
        new_plugins: false,
    };
    let resumed = workflows
        .resume(resume)
        .await
        .unwrap()
        .into_inner()
        .workflow
        .unwrap();
    assert_eq!(resumed.state(), v1::WorkflowState::Running);
    // The repeated pause answers as it did, and does not pause again.
    assert_eq!(
        workflows
            .pause(pause)
            .await
            .unwrap()
            .into_inner()
            .workflow
            .unwrap(),
        paused
    );
    let get = v1::GetWorkflowRequest { name: name() };
    let now = workflows
        .get(get)
        .await
        .unwrap()
        .into_inner()
        .workflow
        .unwrap();
    assert_eq!(now.state(), v1::WorkflowState::Running);

    let in_use = v1::DeleteDatasetRequest {
        request_id: String::new(),
        name: "seeds".into(),
    };
    let refused = daemon
        .client
        .datasets()
        .delete(in_use.clone())
        .await
        .unwrap_err();
    assert_eq!(ClientError::from(refused).reason(), "IN_USE");
    let in_use_model = v1::RemoveModelRequest {
        request_id: String::new(),
        name: "tiny".into(),
    };
    let refused = daemon
        .client
        .models()
        .remove(in_use_model)
        .await
        .unwrap_err();
    assert_eq!(ClientError::from(refused).reason(), "IN_USE");

    let cancel = v1::CancelWorkflowRequest {
        request_id: String::new(),
        name: name(),
    };
    let cancelled = workflows
        .cancel(cancel)
        .await
        .unwrap()
        .into_inner()
        .workflow
        .unwrap();
    assert_eq!(cancelled.state(), v1::WorkflowState::Cancelled);
    let resume = v1::ResumeWorkflowRequest {
        request_id: String::new(),
        name: name(),
        new_plugins: false,
    };
    let refused = ClientError::from(workflows.resume(resume).await.unwrap_err());
    assert_eq!(refused.reason(), "INVALID_ARGUMENT");
    daemon.client.datasets().delete(in_use).await.unwrap();
    let world = daemon.world.clone();
    eventually("the run has ended", || {
        world
            .workflows
            .lock()
            .unwrap()
            .values()
            .all(|w| w.state.is_final())
    })
    .await;
    daemon.stop().await.0.unwrap();
}
