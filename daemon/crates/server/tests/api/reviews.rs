//! Review calls: what lies there, decisions and where they lead.

use autodidact_client::{ClientError, v1};
use autodidact_domain::journal::StageName;
use autodidact_domain::ports::Reviews;
use autodidact_domain::review::{PassedVerdict, SampledFor};
use autodidact_domain::verdict::Evidence;
use autodidact_domain::{
    Body, Example, Language, Message, ReviewItem, TaskType, Verdict, WorkflowName, WorkflowState,
};
use v1::decide_review_request::Ruling;

use crate::harness::{Daemon, eventually};

fn item(body: Body) -> ReviewItem {
    let mut example = Example::human(body);
    example.language = Some(Language::En);
    example.task_type = Some(TaskType::Reasoning);
    let evidence = Evidence {
        score: Some(4.0),
        ..Evidence::default()
    };
    ReviewItem {
        example,
        why: SampledFor::Doubtful { margin: 1.0 },
        passed: vec![PassedVerdict {
            stage: StageName::Validate,
            verdict: Verdict {
                evidence,
                ..Verdict::keep("validate")
            },
        }],
    }
}

fn items(count: usize) -> Vec<ReviewItem> {
    (0..count)
        .map(|i| item(Body::instruction(&format!("Add {i} and 1."), "", "2")))
        .collect()
}

impl Daemon {
    /// Submits a workflow that nothing but the test moves, and lays examples of its first round out.
    async fn waits_for_review(&self, name: &str, items: &[ReviewItem]) -> WorkflowName {
        let yaml = format!(
            "name: {name}\nmodel: tiny\nseeds: drops\non_drop: drops\nstages:\n  filter: {{chain: [exact]}}\n  review: {{sample: 20, gate: {{share: 0.5}}}}\n"
        );
        self.submit(&yaml, "").await.unwrap();
        let name = WorkflowName::new(name).unwrap();
        self.world.lay(&name, 1, items).unwrap();
        self.world.complete(&name, 1, items.len() as u64).unwrap();
        self.set_state(&name, WorkflowState::Waiting);
        name
    }

    async fn decide(
        &self,
        record: &str,
        ruling: Ruling,
    ) -> Result<v1::DecideReviewResponse, ClientError> {
        let request = v1::DecideReviewRequest {
            record: record.into(),
            ruling: Some(ruling),
            reviewer: "anna".into(),
            ..Default::default()
        };
        Ok(self.client.reviews().decide(request).await?.into_inner())
    }

    async fn next(&self, request: v1::NextReviewRequest) -> v1::NextReviewResponse {
        self.client
            .reviews()
            .next(request)
            .await
            .unwrap()
            .into_inner()
    }

    async fn workflow(&self, name: &str) -> v1::Workflow {
        let request = v1::GetWorkflowRequest { name: name.into() };
        let answer = self.client.workflows().get(request).await.unwrap();
        answer.into_inner().workflow.unwrap()
    }
}

const ACCEPT: Ruling = Ruling::Accept(v1::AcceptExample {});
const REJECT: Ruling = Ruling::Reject(v1::RejectExample {});

fn edit(output: &str) -> Ruling {
    Ruling::Edit(v1::EditExample {
        output: Some(output.into()),
        ..Default::default()
    })
}

#[tokio::test]
async fn what_nobody_decided_on_is_shown_in_pages_with_all_that_is_known_of_it() {
    let daemon = Daemon::start().await;
    let laid = items(5);
    daemon.waits_for_review("looked-at", &laid).await;
    let mut request = v1::NextReviewRequest {
        page_size: 2,
        ..Default::default()
    };
    let mut seen = Vec::new();
    loop {
        let page = daemon.next(request.clone()).await;
        // What is decided between two pages hides nothing from the later one.
        let first = page.items[0].example.clone().unwrap().id;
        // Not so well that the workflow goes on.
        let ruling = if seen.len() == 2 { REJECT } else { ACCEPT };
        daemon.decide(&first, ruling).await.unwrap();
        seen.extend(page.items);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    let ids: Vec<String> = seen.iter().map(|i| i.example.clone().unwrap().id).collect();
    let expect: Vec<String> = laid.iter().map(|i| i.example.id.to_string()).collect();
    assert_eq!(ids, expect);
    let first = &seen[0];
    let example = first.example.clone().unwrap();
    assert_eq!((first.workflow.as_str(), first.round), ("looked-at", 1));
    assert_eq!(example.language.as_deref(), Some("en"));
    assert_eq!(example.task_type.as_deref(), Some("reasoning"));
    assert_eq!(
        (first.sampled_for(), first.margin),
        (v1::SampledFor::Doubtful, Some(1.0))
    );
    let verdict = &first.verdicts[0];
    assert_eq!(verdict.stage(), v1::Stage::Validate);
    assert_eq!(verdict.evidence.clone().unwrap().score, Some(4.0));

    let left = daemon.next(v1::NextReviewRequest::default()).await.items;
    assert_eq!(left.len(), 2);
    // One that is decided is shown where it is asked for.
    let asked = v1::NextReviewRequest {
        record: ids[0][..12].to_uppercase(),
        ..Default::default()
    };
    let shown = daemon.next(asked).await.items;
    let decision = shown[0].decision.clone().unwrap();
    assert_eq!(
        (decision.ruling(), decision.in_force),
        (v1::ReviewRuling::Accept, true)
    );
    assert_eq!(decision.reviewer, "anna");
}

#[tokio::test]
async fn decisions_are_told_to_the_workflow_and_let_it_go_on() {
    let daemon = Daemon::start().await;
    let laid = items(9);
    let id = |i: usize| laid[i].example.id.to_string();
    let name = daemon.waits_for_review("looked-at", &laid).await;
    let answer = daemon.decide(&id(0)[..8], REJECT).await.unwrap();
    let decision = answer.decision.unwrap();
    assert_eq!((decision.record, decision.round), (id(0), 1));
    assert_eq!(decision.workflow, "looked-at");
    let stats = answer.stats.unwrap();
    assert_eq!(stats.outlook(), v1::ReviewOutlook::Waits);
    assert_eq!(
        (stats.reviewed, stats.rejected, stats.examples),
        (1, 1, Some(9))
    );
    assert!(stats.missing.is_some_and(|missing| missing > 0));
    let workflow = daemon.workflow("looked-at").await;
    assert_eq!(workflow.state(), v1::WorkflowState::Waiting);
    assert_eq!(workflow.message, stats.message);
    assert!(
        workflow.message.contains("1 of 9 reviewed, 0 valid"),
        "{}",
        workflow.message
    );

    let edited = daemon
        .decide(&id(1), edit("Two."))
        .await
        .unwrap()
        .decision
        .unwrap();
    let example = edited.edited.unwrap();
    assert_eq!(example.lineage.unwrap().edited_from, Some(id(1)));
    assert_ne!(example.id, id(1));
    let Some(v1::example::Body::Instruction(body)) = example.body else {
        panic!("an instruction");
    };
    assert_eq!(body.output.as_deref(), Some("Two."));
    assert_eq!(body.instruction, "Add 1 and 1.");

    for i in 2..9 {
        if daemon.world.workflows.lock().unwrap()[&name].state != WorkflowState::Waiting {
            break;
        }
        daemon.decide(&id(i), ACCEPT).await.unwrap();
    }
    eventually("the workflow goes on", || {
        daemon.world.workflows.lock().unwrap()[&name].state == WorkflowState::Done
    })
    .await;

    // What comes too late is kept, and does not count.
    let late = daemon.decide(&id(0), ACCEPT).await.unwrap();
    assert!(!late.decision.unwrap().in_force);
    assert_eq!(late.stats.unwrap().outlook(), v1::ReviewOutlook::Settled);
    let request = v1::ListReviewDecisionsRequest {
        workflow: "looked-at".into(),
        ..Default::default()
    };
    let listed = daemon
        .client
        .reviews()
        .list_decisions(request)
        .await
        .unwrap();
    let listed = listed.into_inner().decisions;
    let of_first: Vec<(v1::ReviewRuling, bool)> = listed
        .iter()
        .filter(|decision| decision.record == id(0))
        .map(|decision| (decision.ruling(), decision.in_force))
        .collect();
    let expect = [
        (v1::ReviewRuling::Reject, true),
        (v1::ReviewRuling::Accept, false),
    ];
    assert_eq!(of_first, expect);
    // And what is over is not laid before anybody, unless it is asked for.
    assert!(
        daemon
            .next(v1::NextReviewRequest::default())
            .await
            .items
            .is_empty()
    );
}

#[tokio::test]
async fn stats_tell_every_round_with_its_interval_and_gate() {
    let daemon = Daemon::start().await;
    daemon.waits_for_review("first", &items(30)).await;
    let second = items(40);
    daemon.waits_for_review("second", &second[30..]).await;
    let stats = async |workflow: &str| {
        let request = v1::ReviewStatsRequest {
            workflow: workflow.into(),
            round: None,
        };
        let answer = daemon.client.reviews().stats(request).await;
        answer.map(|answer| answer.into_inner().rounds)
    };
    let all = stats("").await.unwrap();
    let names: Vec<&str> = all.iter().map(|s| s.workflow.as_str()).collect();
    assert_eq!(names, ["first", "second"]);
    daemon
        .decide(&second[30].example.id.to_string(), ACCEPT)
        .await
        .unwrap();
    let [one] = stats("second").await.unwrap().try_into().unwrap();
    assert_eq!((one.reviewed, one.accepted, one.sampled), (1, 1, 10));
    assert_eq!((one.gate_share, one.confidence), (Some(0.5), 0.95));
    assert!(
        one.valid_low > 0.2 && one.valid_low < 0.3 && one.valid_high > 0.999,
        "{one:?}"
    );
    let missing = stats("third").await.unwrap_err();
    assert_eq!(ClientError::from(missing).reason(), "NOT_FOUND");
}

#[tokio::test]
async fn a_repeated_request_decides_once_and_bad_ones_are_refused_by_name() {
    let daemon = Daemon::start().await;
    let laid = items(3);
    let id = laid[0].example.id.to_string();
    daemon.waits_for_review("looked-at", &laid).await;
    let request = v1::DecideReviewRequest {
        request_id: "id-1".into(),
        record: id.clone(),
        ruling: Some(REJECT),
        reviewer: " anna ".into(),
        note: "wrong sum".into(),
        ..Default::default()
    };
    let decide = async |request: v1::DecideReviewRequest| {
        let answer = daemon.client.reviews().decide(request).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(ClientError::from)
    };
    let first = decide(request.clone()).await.unwrap();
    daemon.decide(&id, ACCEPT).await.unwrap();
    assert_eq!(decide(request.clone()).await.unwrap(), first);
    let name = WorkflowName::new("looked-at").unwrap();
    let review = Reviews::get(&*daemon.world, &name, 1).unwrap();
    assert_eq!(review.decisions.len(), 2);
    assert_eq!(
        (
            review.decisions[0].reviewer.as_str(),
            review.decisions[0].note.as_str()
        ),
        ("anna", "wrong sum")
    );

    let with = |change: fn(&mut v1::DecideReviewRequest)| {
        let mut request = v1::DecideReviewRequest {
            request_id: String::new(),
            ..request.clone()
        };
        change(&mut request);
        request
    };
    let bad = [
        (
            with(|r| r.reviewer = "  ".into()),
            "INVALID_ARGUMENT",
            "reviewer: ",
        ),
        (
            with(|r| r.note = "x".repeat(3000)),
            "INVALID_ARGUMENT",
            "note: ",
        ),
        (with(|r| r.ruling = None), "INVALID_ARGUMENT", "ruling: "),
        (
            with(|r| r.record = "abc".into()),
            "INVALID_ARGUMENT",
            "record: ",
        ),
        (
            with(|r| r.record = "wxyz".into()),
            "INVALID_ARGUMENT",
            "record: ",
        ),
        (
            with(|r| r.record = String::new()),
            "INVALID_ARGUMENT",
            "record: ",
        ),
        (
            with(|r| r.record = "0".repeat(64)),
            "NOT_FOUND",
            "example under review",
        ),
        (
            with(|r| r.workflow = "nobody".into()),
            "NOT_FOUND",
            "workflow",
        ),
        (
            with(|r| r.ruling = Some(edit(" "))),
            "INVALID_ARGUMENT",
            "edit: output",
        ),
        (
            with(|r| r.ruling = Some(Ruling::Edit(v1::EditExample::default()))),
            "INVALID_ARGUMENT",
            "edit: ",
        ),
    ];
    for (request, reason, message) in bad {
        let error = decide(request).await.unwrap_err();
        assert_eq!(error.reason(), reason, "{error:?}");
        let told = &error.failure().message;
        assert!(told.starts_with(message), "{told}");
    }
}

#[tokio::test]
async fn the_beginning_of_an_id_stands_for_one_example() {
    let daemon = Daemon::start().await;
    let laid = items(2);
    let chat = item(Body::Chat {
        messages: vec![Message::user("Hi."), Message::assistant("Bye.")],
    });
    let id = laid[0].example.id.to_string();
    daemon.waits_for_review("one", &laid).await;
    let two = daemon
        .waits_for_review("two", &[laid[0].clone(), chat.clone()])
        .await;
    let error = daemon.decide(&id[..16], ACCEPT).await.unwrap_err();
    assert_eq!(error.reason(), "INVALID_ARGUMENT");
    let told = &error.failure().message;
    assert!(
        told.contains("of one round 1") && told.contains("of two round 1"),
        "{told}"
    );
    let request = v1::DecideReviewRequest {
        workflow: "two".into(),
        record: id[..16].into(),
        ruling: Some(ACCEPT),
        reviewer: "anna".into(),
        ..Default::default()
    };
    let answer = daemon
        .client
        .reviews()
        .decide(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.decision.unwrap().workflow, "two");
    // Once the other workflow is over, the id means the one that still waits.
    daemon.set_state(&two, WorkflowState::Cancelled);
    let answer = daemon.decide(&id[..16], ACCEPT).await.unwrap();
    assert_eq!(answer.decision.unwrap().workflow, "one");
    // A conversation has no input.
    let input = Ruling::Edit(v1::EditExample {
        input: Some("x".into()),
        ..Default::default()
    });
    let error = daemon
        .decide(&chat.example.id.to_string(), input)
        .await
        .unwrap_err();
    assert!(
        error
            .failure()
            .message
            .contains("only instructions have one"),
        "{error:?}"
    );
}
