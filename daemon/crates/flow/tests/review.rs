//! A round's examples are laid before people: the gate waits, says so and goes on; what was decided is done, and stays so.

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use autodidact_domain::journal::{RecordedVerdict, StageName};
use autodidact_domain::ports::{Datasets, Journal, Reviews, Workflows};
use autodidact_domain::review::{Ruling, SampledFor};
use autodidact_domain::{
    Body, DatasetName, Decision, EventBody, Example, Language, Report, ReviewDecision, ReviewItem,
    ReviewRound, WorkflowName, WorkflowState, WorkflowSummary,
};
use autodidact_flow::Supervisor;
use common::{Fake, World, ports};

const WORKFLOW: &str = "
name: looked-at
model: tiny
seeds: seeds
stages:
  generate: {target: 40, batch: 8, human_examples: 3}
  filter: {chain: [exact, rules]}
  respond: {batch: 8}
  validate: {chain: [rules, {score: {least: 2}}]}
  review: {sample: 12, gate: {share: 0.8}}
  train: {batch_size: 8, checkpoint_steps: 9}
";

fn world() -> Arc<World> {
    let world = Arc::new(World::default());
    world.revive(u64::MAX);
    let example = |i: u32| {
        let instruction = format!("Tell the number {i} of all the things that are known.");
        let body = Body::instruction(&instruction, "", &format!("Answer {i}."));
        let mut example = Example::human(body);
        example.language = Some(Language::En);
        example
    };
    let seeds: Vec<Example> = (0..8).map(example).collect();
    let name = DatasetName::new("seeds").expect("a plain name");
    Fake(Arc::clone(&world))
        .put(&name, &seeds, "test", None)
        .expect("in memory");
    world
}

fn name() -> WorkflowName {
    WorkflowName::new("looked-at").expect("a plain name")
}

fn summary(world: &Arc<World>) -> WorkflowSummary {
    Workflows::get(&Fake(Arc::clone(world)), &name()).expect("submitted")
}

fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "waits for {what}"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn wait_for_state(world: &Arc<World>, state: WorkflowState) -> WorkflowSummary {
    wait_for(&format!("{state:?}"), || {
        let found = summary(world);
        let ended = found.state.is_final() && found.state != state;
        assert!(!ended, "{:?}: {}", found.state, found.message);
        found.state == state
    });
    summary(world)
}

fn review(world: &Arc<World>) -> ReviewRound {
    Reviews::get(&Fake(Arc::clone(world)), &name(), 1).expect("in memory")
}

/// Decides as the service does: the decision is stored, and the supervisor is told.
fn decide(world: &Arc<World>, supervisor: &Arc<Supervisor>, item: &ReviewItem, ruling: Ruling) {
    let decision = ReviewDecision {
        record: item.example.id,
        ruling,
        reviewer: "anna".into(),
        note: "because".into(),
        time_ms: world.clock_ms.load(Ordering::SeqCst),
    };
    let fake = Fake(Arc::clone(world));
    fake.decide(&name(), 1, &decision).expect("in memory");
    supervisor.reviewed(&name()).expect("in memory");
}

fn verdicts(world: &Arc<World>, stage: StageName) -> Vec<RecordedVerdict> {
    let fake = Fake(Arc::clone(world));
    let all = fake.verdicts(&name(), 0, usize::MAX).expect("in memory");
    all.into_iter().filter(|v| v.stage == stage).collect()
}

fn dataset(world: &Arc<World>) -> Vec<Example> {
    let state = world.state.lock().expect("no panic");
    let name = DatasetName::new("looked-at").expect("a plain name");
    state.datasets[&name].last().expect("a version").1.clone()
}

fn report(world: &Arc<World>) -> Report {
    let state = world.state.lock().expect("no panic");
    state.reports[&name()].clone()
}

fn start(world: &Arc<World>, yaml: &str) -> Arc<Supervisor> {
    let supervisor = Supervisor::new(ports(world));
    supervisor.submit(yaml).expect("a right workflow");
    supervisor
}

fn restart(world: &Arc<World>, supervisor: &Arc<Supervisor>) -> Arc<Supervisor> {
    supervisor.shutdown();
    let supervisor = Supervisor::new(ports(world));
    supervisor.resume_all().expect("in memory");
    supervisor
}

/// One rejected, one edited, and as many accepted as the gate asks for with those.
fn review_well(world: &Arc<World>, supervisor: &Arc<Supervisor>) -> (ReviewItem, ReviewItem, Body) {
    let items = review(world).items;
    decide(world, supervisor, &items[0], Ruling::Reject);
    let old = &items[1].example.body;
    let body = Body::instruction(&old.instruction_text(), "", "What a person would say.");
    decide(
        world,
        supervisor,
        &items[1],
        Ruling::Edit { body: body.clone() },
    );
    let mut at = 2;
    // Two that are not valid are too many for the first sample, so it grows on the way.
    while review(world).settled.is_none() {
        let item = review(world).items.get(at).cloned();
        match item.filter(|_| summary(world).state == WorkflowState::Waiting) {
            Some(item) => {
                decide(world, supervisor, &item, Ruling::Accept);
                at += 1;
            }
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    (items[0].clone(), items[1].clone(), body)
}

#[test]
fn the_gate_waits_says_so_and_goes_on_when_the_decisions_suffice() {
    let world = world();
    let supervisor = start(&world, WORKFLOW);
    let waiting = wait_for_state(&world, WorkflowState::Waiting);
    assert!(
        waiting.message.contains("0 of 12 reviewed")
            && waiting
                .message
                .contains("autodidact review next --workflow looked-at"),
        "{}",
        waiting.message
    );
    assert!(verdicts(&world, StageName::Train).is_empty());
    let items = review(&world).items;
    assert_eq!(items.len(), 12);
    // What validate said of it lies beside it, with the mark.
    for item in &items {
        let stages: Vec<StageName> = item.passed.iter().map(|p| p.stage).collect();
        assert_eq!(stages, [StageName::Filter, StageName::Validate]);
        assert!(item.passed[1].verdict.evidence.score >= Some(2.0));
        assert_eq!(item.why, SampledFor::Random);
    }
    for item in &items[..5] {
        decide(&world, &supervisor, item, Ruling::Accept);
    }
    let told = summary(&world);
    assert_eq!(told.state, WorkflowState::Waiting);
    assert!(
        told.message.contains("5 of 12 reviewed, 5 valid"),
        "{}",
        told.message
    );
    let figures = supervisor.snapshot(&name()).expect("in memory");
    let figures = figures
        .iter()
        .find(|f| f.stage == StageName::Review)
        .expect("told of");
    assert_eq!(
        (figures.done, figures.total, figures.finished),
        (5, 12, false)
    );
    for item in &items[5..11] {
        assert_eq!(summary(&world).state, WorkflowState::Waiting);
        decide(&world, &supervisor, item, Ruling::Accept);
    }
    wait_for_state(&world, WorkflowState::Done);
    supervisor.shutdown();
    let round = &report(&world).rounds[0];
    let counted = round
        .stages
        .iter()
        .find(|s| s.name == "review")
        .expect("it ran");
    assert_eq!(counted.taken, counted.kept + counted.dropped);
    assert_eq!((counted.dropped, counted.out), (0, counted.taken));
}

#[test]
fn what_is_rejected_goes_no_further_and_what_is_edited_is_replaced() {
    let world = world();
    let supervisor = start(&world, WORKFLOW);
    wait_for_state(&world, WorkflowState::Waiting);
    let (rejected, edited, body) = review_well(&world, &supervisor);
    wait_for_state(&world, WorkflowState::Done);
    supervisor.shutdown();
    let kept = dataset(&world);
    let ids: Vec<_> = kept.iter().map(|example| example.id).collect();
    assert!(!ids.contains(&rejected.example.id) && !ids.contains(&edited.example.id));
    let new = kept
        .iter()
        .find(|e| e.id == body.id())
        .expect("its edited form");
    assert_eq!(
        (&new.body, new.lineage.edited_from),
        (&body, Some(edited.example.id))
    );
    assert_eq!(new.lineage.model, edited.example.lineage.model);

    let said = verdicts(&world, StageName::Review);
    let taken = verdicts(&world, StageName::Validate);
    let taken = taken
        .iter()
        .filter(|v| v.verdict.decision == Decision::Keep);
    assert_eq!(said.len(), taken.count());
    let of = |item: &ReviewItem| {
        let found = said.iter().find(|v| v.record == item.example.id);
        found.expect("a verdict on every example")
    };
    let verdict = &of(&rejected).verdict;
    assert_eq!(
        (
            verdict.decision,
            verdict.reason.as_str(),
            verdict.rule.name.as_str()
        ),
        (Decision::Drop, "rejected_by_reviewer", "review")
    );
    assert_eq!(verdict.evidence.reviewer.as_deref(), Some("anna"));
    assert_eq!(verdict.evidence.note.as_deref(), Some("because"));
    assert!(verdict.evidence.reviewed_ms.is_some());
    // The original stays on file, with what became of it.
    let original = of(&edited);
    assert_eq!(original.text, edited.example.body.canonical_json());
    assert_eq!(original.verdict.reason, "edited_by_reviewer");
    assert_eq!(original.verdict.evidence.nearest, Some(body.id()));
    let trained: Vec<_> = verdicts(&world, StageName::Train);
    assert!(trained.iter().all(|v| v.record != rejected.example.id));
    assert!(trained.iter().any(|v| v.record == body.id()));
}

#[test]
fn waiting_outlives_restarts_and_pauses_and_the_end_is_the_same() {
    let straight = world();
    let supervisor = start(&straight, WORKFLOW);
    wait_for_state(&straight, WorkflowState::Waiting);
    review_well(&straight, &supervisor);
    wait_for_state(&straight, WorkflowState::Done);
    supervisor.shutdown();

    let world = world();
    let supervisor = start(&world, WORKFLOW);
    wait_for_state(&world, WorkflowState::Waiting);
    let supervisor = restart(&world, &supervisor);
    wait_for_state(&world, WorkflowState::Waiting);
    // A decision that a kill kept the supervisor from hearing of is found by the next one, and a paused workflow stays paused.
    supervisor.pause(&name()).expect("what waits can be paused");
    let items = review(&world).items;
    decide(&world, &supervisor, &items[0], Ruling::Reject);
    let supervisor = restart(&world, &supervisor);
    assert_eq!(summary(&world).state, WorkflowState::Paused);
    supervisor.resume(&name()).expect("it goes on to wait");
    let told = wait_for_state(&world, WorkflowState::Waiting);
    assert!(
        told.message.contains("1 of 24 reviewed, 0 valid"),
        "{}",
        told.message
    );
    review_well(&world, &supervisor);
    wait_for_state(&world, WorkflowState::Done);
    supervisor.shutdown();
    assert_eq!(dataset(&world), dataset(&straight));
    assert_eq!(
        report(&world).adapter_digest,
        report(&straight).adapter_digest
    );
}

#[test]
fn decisions_that_were_written_before_a_kill_let_the_next_daemon_go_on() {
    let world = world();
    let supervisor = start(&world, WORKFLOW);
    wait_for_state(&world, WorkflowState::Waiting);
    let fake = Fake(Arc::clone(&world));
    for item in &review(&world).items {
        let decision = ReviewDecision {
            record: item.example.id,
            ruling: Ruling::Accept,
            reviewer: "anna".into(),
            note: String::new(),
            time_ms: 1,
        };
        fake.decide(&name(), 1, &decision).expect("in memory");
    }
    assert_eq!(summary(&world).state, WorkflowState::Waiting);
    let supervisor = restart(&world, &supervisor);
    wait_for_state(&world, WorkflowState::Done);
    supervisor.shutdown();
}

#[test]
fn a_review_cut_off_after_any_write_ends_as_a_straight_one() {
    // Decided by the instruction alone, so that every run gets the same decisions.
    let yaml = WORKFLOW
        .replace("target: 40", "target: 12")
        .replace("sample: 12, ", "sample: 1000, ");
    let ruling = |item: &ReviewItem| match item.example.body.instruction_text().len() % 7 {
        0 => Ruling::Reject,
        _ => Ruling::Accept,
    };
    let drive = |world: &Arc<World>, mut supervisor: Arc<Supervisor>| {
        let mut at = 0;
        let started = Instant::now();
        while summary(world).state != WorkflowState::Done {
            assert!(started.elapsed() < Duration::from_secs(30), "the run hangs");
            if world.cut.load(Ordering::SeqCst) {
                supervisor.shutdown();
                world.revive(u64::MAX);
                supervisor = Supervisor::new(ports(world));
                supervisor.resume_all().expect("in memory");
            }
            match review(world).items.get(at).cloned() {
                Some(item) if summary(world).state == WorkflowState::Waiting => {
                    decide(world, &supervisor, &item, ruling(&item));
                    at += 1;
                }
                _ => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        supervisor.shutdown();
    };
    let straight = world();
    let supervisor = Supervisor::new(ports(&straight));
    supervisor.submit(&yaml).expect("a right workflow");
    drive(&straight, supervisor);
    let writes = u64::MAX - straight.steps_left.load(Ordering::SeqCst);
    assert!(writes > 10, "too short to prove anything: {writes} writes");
    for cut_at in 0..writes {
        let world = self::world();
        world.revive(cut_at);
        let supervisor = Supervisor::new(ports(&world));
        supervisor.submit(&yaml).expect("a right workflow");
        drive(&world, supervisor);
        assert_eq!(dataset(&world), dataset(&straight), "cut at {cut_at}");
        let (found, expect) = (report(&world), report(&straight));
        assert_eq!(
            found.adapter_digest, expect.adapter_digest,
            "cut at {cut_at}"
        );
        assert_eq!(found.rounds, expect.rounds, "cut at {cut_at}");
    }
}

#[test]
fn a_replay_does_what_was_decided_then() {
    let world = world();
    let supervisor = start(&world, WORKFLOW);
    wait_for_state(&world, WorkflowState::Waiting);
    let (rejected, ..) = review_well(&world, &supervisor);
    wait_for_state(&world, WorkflowState::Done);
    let (before, kept) = (report(&world), dataset(&world));
    // Somebody thinks again, too late: that is on file, and changes nothing.
    decide(&world, &supervisor, &rejected, Ruling::Accept);
    supervisor.shutdown();
    let mut state = world.state.lock().expect("no panic");
    state.workflows.get_mut(&name()).expect("there").state = WorkflowState::Running;
    drop(state);
    let supervisor = Supervisor::new(ports(&world));
    supervisor.resume_all().expect("in memory");
    wait_for_state(&world, WorkflowState::Done);
    supervisor.shutdown();
    assert_eq!((report(&world), dataset(&world)), (before, kept));
    let review = review(&world);
    assert_eq!(
        review.decisions.last().map(|d| &d.ruling),
        Some(&Ruling::Accept)
    );
    assert_eq!(
        review.in_force()[&rejected.example.id].ruling,
        Ruling::Reject
    );
}

#[test]
fn a_sample_that_cannot_pass_grows_and_a_round_that_cannot_pass_stops_with_why() {
    let world = world();
    let supervisor = start(&world, WORKFLOW);
    wait_for_state(&world, WorkflowState::Waiting);
    let items = review(&world).items;
    decide(&world, &supervisor, &items[0], Ruling::Reject);
    decide(&world, &supervisor, &items[1], Ruling::Reject);
    wait_for("a larger sample", || review(&world).items.len() > 12);
    let told = wait_for_state(&world, WorkflowState::Waiting);
    assert!(
        told.message.contains("2 of 28 reviewed"),
        "{}",
        told.message
    );
    let events = world.state.lock().expect("no panic").events.clone();
    let warned = events.iter().any(|event| {
        matches!(&event.body, EventBody::Warning { message } if message.contains("16 more are laid out"))
    });
    assert!(warned, "{events:?}");
    // The sample is the round in a few more steps; more than a fifth rejected cannot be made good.
    let mut at = 2;
    while summary(&world).state == WorkflowState::Waiting {
        let item = review(&world).items[at].clone();
        decide(&world, &supervisor, &item, Ruling::Reject);
        at += 1;
        wait_for("the run to look", || {
            summary(&world).state != WorkflowState::Running
        });
    }
    let failed = wait_for_state(&world, WorkflowState::Failed);
    assert!(
        failed.message.contains("does not pass its review")
            && failed.message.contains("workflow resume looked-at"),
        "{}",
        failed.message
    );
    assert!(verdicts(&world, StageName::Train).is_empty());
    // Whoever reconsiders can let it go on.
    for item in &review(&world).items {
        decide(&world, &supervisor, item, Ruling::Accept);
    }
    supervisor.resume(&name()).expect("a failed run resumes");
    wait_for_state(&world, WorkflowState::Done);
    supervisor.shutdown();
}

#[test]
fn a_cancelled_workflow_waits_no_more() {
    let world = world();
    let supervisor = start(&world, WORKFLOW);
    wait_for_state(&world, WorkflowState::Waiting);
    supervisor
        .cancel(&name())
        .expect("what waits can be cancelled");
    for item in &review(&world).items {
        decide(&world, &supervisor, item, Ruling::Accept);
    }
    assert_eq!(summary(&world).state, WorkflowState::Cancelled);
    supervisor.shutdown();
}

#[test]
fn without_a_gate_nothing_waits_and_what_is_decided_in_time_counts() {
    let yaml = WORKFLOW.replace(", gate: {share: 0.8}", "");
    let world = world();
    let supervisor = start(&world, &yaml);
    wait_for_state(&world, WorkflowState::Done);
    supervisor.shutdown();
    let round = review(&world);
    assert_eq!((round.items.len(), round.settled), (12, Some(0)));
    assert!(
        verdicts(&world, StageName::Review)
            .iter()
            .all(|v| v.verdict.decision == Decision::Keep)
    );

    // Some of the sample lies there while the round goes on: what is said of it before the end counts.
    let world = self::world();
    let early = Supervisor::new(ports(&world));
    world.revive(18);
    early.submit(&yaml).expect("a right workflow");
    wait_for("the cut", || world.cut.load(Ordering::SeqCst));
    early.shutdown();
    let laid = review(&world);
    assert!(
        !laid.items.is_empty() && laid.examples.is_none(),
        "cut while examples are made"
    );
    world.revive(u64::MAX);
    decide(&world, &early, &laid.items[0], Ruling::Reject);
    let supervisor = Supervisor::new(ports(&world));
    supervisor.resume_all().expect("in memory");
    wait_for_state(&world, WorkflowState::Done);
    supervisor.shutdown();
    let rejected = laid.items[0].example.id;
    assert!(dataset(&world).iter().all(|example| example.id != rejected));
    let whole = review(&world);
    assert_eq!((whole.items.len(), whole.settled), (12, Some(1)));
    // The part that was laid out early is a part of the sample that is drawn at the end.
    let ids = |round: &ReviewRound| {
        let mut ids: Vec<_> = round.items.iter().map(|item| item.example.id).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(&whole), ids(&round));
}

#[test]
fn the_doubtful_ones_are_those_with_the_least_margin() {
    let yaml = WORKFLOW.replace(
        "{sample: 12, gate: {share: 0.8}}",
        "{sample: 0.2, by: doubtful}",
    );
    let world = world();
    let supervisor = start(&world, &yaml);
    wait_for_state(&world, WorkflowState::Done);
    supervisor.shutdown();
    let items = review(&world).items;
    let kept = verdicts(&world, StageName::Validate);
    let kept = kept.iter().filter(|v| v.verdict.decision == Decision::Keep);
    let mut marks: Vec<f64> = kept.filter_map(|v| v.verdict.evidence.score).collect();
    marks.sort_by(f64::total_cmp);
    assert_eq!(items.len(), marks.len().div_ceil(5));
    let sampled: Vec<f64> = items
        .iter()
        .map(|item| match item.why {
            SampledFor::Doubtful { margin } => margin + 2.0,
            SampledFor::Random => panic!("every example has a mark"),
        })
        .collect();
    assert_eq!(sampled, marks[..items.len()]);
    assert!(marks.last() > sampled.last(), "{marks:?}");
}

#[test]
fn a_review_of_nothing_is_refused() {
    let supervisor = Supervisor::new(ports(&world()));
    let yaml = "name: a\nmodel: tiny\nseeds: seeds\nstages:\n  review: {sample: 1.5, by: doubt, gate: {share: 2}}\n  train:\n";
    let faults = supervisor.check(yaml).expect_err("four faults");
    let paths: Vec<&str> = faults.iter().map(|fault| fault.path.as_str()).collect();
    let expect = [
        "stages",
        "stages.review.by",
        "stages.review.gate.share",
        "stages.review.sample",
    ];
    assert_eq!(paths, expect);
}
