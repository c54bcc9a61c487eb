//! Watches: snapshot, events, end; slow and broken ones.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use autodidact_client::{ClientError, WatchEvent, v1};
use autodidact_domain::journal::StageName;
use autodidact_domain::ports::{Events, Workflows};
use autodidact_domain::{EventBody, StageProgress, WorkflowName, WorkflowState};
use v1::watch_workflow_response::Message;

use crate::harness::{Daemon, eventually, quick};

fn warning(text: impl Into<String>) -> EventBody {
    EventBody::Warning {
        message: text.into(),
    }
}

fn progress(done: u64) -> EventBody {
    EventBody::Stage(StageProgress {
        round: 1,
        stage: StageName::Train,
        done,
        total: 10,
        kept: 0,
        dropped: 0,
        reasons: BTreeMap::new(),
        tokens: 0,
        finished: false,
    })
}

async fn watch(
    daemon: &Daemon,
    name: &WorkflowName,
    resume_after: Option<u64>,
) -> tonic::Streaming<v1::WatchWorkflowResponse> {
    let request = v1::WatchWorkflowRequest {
        name: name.to_string(),
        resume_after,
    };
    daemon
        .client
        .workflows()
        .watch(request)
        .await
        .unwrap()
        .into_inner()
}

async fn next(stream: &mut tonic::Streaming<v1::WatchWorkflowResponse>) -> Option<Message> {
    let message = tokio::time::timeout(Duration::from_secs(10), stream.message())
        .await
        .unwrap()
        .unwrap();
    message.map(|message| message.message.unwrap())
}

/// Reads to the end; shows every event in a word.
async fn rest(stream: &mut tonic::Streaming<v1::WatchWorkflowResponse>) -> Vec<String> {
    let mut told = Vec::new();
    while let Some(message) = next(stream).await {
        told.push(match message {
            Message::Heartbeat(_) => continue,
            Message::Snapshot(snapshot) => {
                format!("snapshot {:?}", snapshot.workflow.unwrap().state())
            }
            Message::Event(event) => word(event),
        });
    }
    told
}

fn word(event: v1::Event) -> String {
    match event.body.unwrap() {
        v1::event::Body::State(changed) => format!("{:?}", changed.state()),
        v1::event::Body::Warning(warning) => warning.message,
        v1::event::Body::Stage(stage) => format!("{} of {}", stage.done, stage.total),
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn a_watch_tells_the_snapshot_then_events_then_ends() {
    let daemon = Daemon::start().await;
    let name = daemon.submit_waiting("watched").await;
    let other = daemon.submit_waiting("other").await;
    daemon
        .world
        .publish(Some(&name), warning("before"))
        .unwrap();
    let mut stream = watch(&daemon, &name, None).await;
    let Some(Message::Snapshot(snapshot)) = next(&mut stream).await else {
        panic!("no snapshot")
    };
    assert_eq!(
        (snapshot.sequence, snapshot.workflow.unwrap().name.as_str()),
        (1, "watched")
    );

    daemon.world.publish(Some(&name), warning("first")).unwrap();
    daemon
        .world
        .publish(Some(&other), warning("of another"))
        .unwrap();
    let Some(Message::Event(event)) = next(&mut stream).await else {
        panic!("no event")
    };
    assert_eq!((event.sequence, word(event).as_str()), (2, "first"));
    daemon.world.tell(Some(&name), progress(3));
    let Some(Message::Event(event)) = next(&mut stream).await else {
        panic!("no event")
    };
    assert_eq!((event.sequence, word(event).as_str()), (0, "3 of 10"));
    daemon.set_state(&name, WorkflowState::Done);
    assert_eq!(rest(&mut stream).await, ["Done"]);

    // Later ones find it ended: with its history, or without.
    assert_eq!(
        rest(&mut watch(&daemon, &name, None).await).await,
        ["snapshot Done"]
    );
    let history = rest(&mut watch(&daemon, &name, Some(0)).await).await;
    assert_eq!(history, ["snapshot Done", "before", "first", "Done"]);
    // Nothing goes on listening.
    daemon.world.publish(None, warning("last")).unwrap();
    let world = daemon.world.clone();
    eventually("no listener is left", || {
        world.tell(None, warning("?"));
        world.listeners() == 0
    })
    .await;
}

#[tokio::test]
async fn an_end_that_was_followed_by_a_resume_is_history() {
    let daemon = Daemon::start().await;
    let name = daemon.submit_waiting("tried-again").await;
    daemon.set_state(&name, WorkflowState::Failed);
    daemon.set_state(&name, WorkflowState::Running);
    let mut stream = watch(&daemon, &name, Some(0)).await;
    let Some(Message::Snapshot(_)) = next(&mut stream).await else {
        panic!("no snapshot")
    };
    let world = daemon.world.clone();
    tokio::time::sleep(Duration::from_millis(100)).await;
    Workflows::set_state(&*world, &name, WorkflowState::Done, "").unwrap();
    world
        .publish(
            Some(&name),
            EventBody::State {
                state: WorkflowState::Done,
                message: String::new(),
            },
        )
        .unwrap();
    assert_eq!(rest(&mut stream).await, ["Failed", "Running", "Done"]);
}

#[tokio::test]
async fn silence_brings_heartbeats_and_finds_a_lost_end() {
    let daemon = Daemon::with_limits(quick()).await;
    let name = daemon.submit_waiting("silent").await;
    let mut stream = watch(&daemon, &name, None).await;
    let Some(Message::Snapshot(_)) = next(&mut stream).await else {
        panic!("no snapshot")
    };
    let Some(Message::Heartbeat(heartbeat)) = next(&mut stream).await else {
        panic!("no heartbeat")
    };
    assert_eq!(heartbeat.time_ms, 1_700_000_000_000);
    // The state is written, and a kill took the event.
    Workflows::set_state(&*daemon.world, &name, WorkflowState::Cancelled, "").unwrap();
    assert_eq!(rest(&mut stream).await, ["snapshot Cancelled"]);
}

#[tokio::test]
async fn a_slow_watcher_holds_up_nobody_and_is_told() {
    const EVENTS: u64 = 20_000;
    let daemon = Daemon::with_limits(quick()).await;
    let name = daemon.submit_waiting("busy").await;
    let mut slow = watch(&daemon, &name, None).await;
    let Some(Message::Snapshot(_)) = next(&mut slow).await else {
        panic!("no snapshot")
    };

    let started = Instant::now();
    let text = "x".repeat(1000);
    for number in 1..=EVENTS {
        daemon
            .world
            .publish(Some(&name), warning(format!("{number} {text}")))
            .unwrap();
        daemon.world.tell(Some(&name), progress(number));
    }
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "publishing waited: {:?}",
        started.elapsed()
    );
    // Someone quick hears everything meanwhile.
    let mut quick = daemon.client.watch_workflow("busy", Some(0));
    let mut heard = 0;
    while heard < EVENTS {
        match quick.next().await.unwrap().unwrap() {
            WatchEvent::Event(event) if event.sequence > 0 => {
                heard += 1;
                assert_eq!(event.sequence, heard);
            }
            _ => {}
        }
    }

    tokio::time::sleep(Duration::from_millis(1500)).await;
    let mut last = 0;
    let ended = loop {
        match slow.message().await {
            Ok(Some(message)) => match message.message.unwrap() {
                Message::Event(event) if event.sequence > 0 => {
                    assert_eq!(event.sequence, last + 1, "no durable event is skipped");
                    last = event.sequence;
                }
                _ => {}
            },
            Ok(None) => panic!("a cut watch looked like an ended workflow"),
            Err(status) => break ClientError::from(status),
        }
    };
    assert_eq!(ended.reason(), "SLOW_PEER");
    assert!(ended.is_transient());
    assert!(last < EVENTS, "the test was not slow");
    // It goes on where it was cut.
    let mut again = watch(&daemon, &name, Some(last)).await;
    let Some(Message::Snapshot(_)) = next(&mut again).await else {
        panic!("no snapshot")
    };
    let Some(Message::Event(event)) = next(&mut again).await else {
        panic!("no event")
    };
    assert_eq!(event.sequence, last + 1);
}

#[tokio::test]
async fn a_watch_goes_on_over_a_restart() {
    let daemon = Daemon::start().await;
    let name = daemon.submit_waiting("long").await;
    let mut following = daemon.client.watch_workflow("long", None);
    let Some(WatchEvent::Snapshot(_)) = following.next().await.unwrap() else {
        panic!("no snapshot")
    };
    daemon.world.publish(Some(&name), warning("one")).unwrap();
    let Some(WatchEvent::Event(event)) = following.next().await.unwrap() else {
        panic!("no event")
    };
    assert_eq!(word(event), "one");

    let (world, socket) = (daemon.world.clone(), daemon.socket.clone());
    let (outcome, _folder) = daemon.stop().await;
    outcome.unwrap();
    world.publish(Some(&name), warning("two")).unwrap();
    let daemon = Daemon::serve(world, &socket, quick()).await;
    daemon.world.publish(Some(&name), warning("three")).unwrap();
    daemon.set_state(&name, WorkflowState::Done);
    let mut told = Vec::new();
    while let Some(message) = tokio::time::timeout(Duration::from_secs(10), following.next())
        .await
        .unwrap()
        .unwrap()
    {
        if let WatchEvent::Event(event) = message {
            told.push(word(event));
        }
    }
    assert_eq!(told, ["two", "three", "Done"]);
}

#[tokio::test]
async fn all_events_are_followed_until_the_caller_goes() {
    let daemon = Daemon::with_limits(quick()).await;
    let name = daemon.submit_waiting("one").await;
    let request = v1::WatchEventsRequest {
        resume_after: Some(0),
        durable_only: true,
        ..Default::default()
    };
    daemon.set_state(&name, WorkflowState::Done);
    let mut stream = daemon
        .client
        .events()
        .watch(request)
        .await
        .unwrap()
        .into_inner();
    daemon.world.tell(Some(&name), progress(1));
    daemon.world.publish(None, warning("of nobody")).unwrap();
    let mut told = Vec::new();
    while told.len() < 4 {
        match stream.message().await.unwrap().unwrap().message.unwrap() {
            v1::watch_events_response::Message::Event(event) => told.push(word(event)),
            v1::watch_events_response::Message::Heartbeat(_) => told.push("heartbeat".into()),
        }
    }
    assert_eq!(told, ["heartbeat", "Done", "of nobody", "heartbeat"]);
}

#[tokio::test]
async fn watches_are_bounded() {
    let daemon = Daemon::with_limits(autodidact_server::Limits {
        watches: 2,
        ..quick()
    })
    .await;
    let name = daemon.submit_waiting("wanted").await;
    let _one = watch(&daemon, &name, None).await;
    let two = watch(&daemon, &name, None).await;
    let request = v1::WatchWorkflowRequest {
        name: name.to_string(),
        resume_after: None,
    };
    let refused = daemon.client.workflows().watch(request).await.unwrap_err();
    assert_eq!(ClientError::from(refused).reason(), "BUSY");
    drop(two);
    let mut freed = None;
    for _ in 0..100 {
        let request = v1::WatchWorkflowRequest {
            name: name.to_string(),
            resume_after: None,
        };
        freed = daemon.client.workflows().watch(request).await.ok();
        if freed.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(
        freed.is_some(),
        "the place of a watcher that left is not given away"
    );
}

#[tokio::test]
async fn a_missing_workflow_cannot_be_watched() {
    let daemon = Daemon::start().await;
    let error = daemon
        .client
        .watch_workflow("nobody", None)
        .next()
        .await
        .unwrap_err();
    assert_eq!(error.reason(), "NOT_FOUND");
}
