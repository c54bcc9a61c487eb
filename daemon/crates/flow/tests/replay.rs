//! The loop is cut off after every possible write and must end as an undisturbed run does.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use autodidact_domain::journal::StageName;
use autodidact_domain::ports::{Datasets, Journal};
use autodidact_domain::{
    Body, DatasetName, EventBody, Example, Language, Report, TaskType, WorkflowName, WorkflowState,
};
use autodidact_flow::Supervisor;
use common::{Fake, World, ports};

const WORKFLOW: &str = "
name: loop
model: tiny
seeds: seeds
held_out: held
rounds: 2
stages:
  generate: {target: 9, batch: 4, human_examples: 3, generated_examples: 2, max_requests: 200, evolve: {share: 0.3}}
  filter: {chain: [exact, {rouge_l: {threshold: 0.7}}, rules, {plugin: {name: form}}, {plugin: {name: judge, grant: [generate, log], max_tokens: 300, max_failures: 1000, on_error: keep}}, {embedding: {threshold: 0.75}}, perplexity, {score: {least: 2}}, {diversity: {share: 0.6}}]}
  respond: {batch: 3, examples: 2, classify: true}
  validate: {chain: [rules, {difficulty: {least: 0.01}}]}
  review: {sample: 4}
  train: {batch_size: 4, checkpoint_steps: 2, seeds_first: true}
  evaluate: {batch: 4}
  promote: {min_diversity: 0.1}
  adapt: {temperature_step: 0.2}
";

fn world() -> Arc<World> {
    let world = Arc::new(World::default());
    world.revive(u64::MAX);
    let fake = Fake(Arc::clone(&world));
    for (name, count) in [("seeds", 12), ("held", 6)] {
        let examples: Vec<Example> = (0..count)
            .map(|i| {
                let instruction = match name {
                    "held" => format!("Explain why {i} lamps burn in an empty house at night."),
                    _ => format!("Tell the {name} number {i} of all the things that are known."),
                };
                let mut example =
                    Example::human(Body::instruction(&instruction, "", &format!("Answer {i}.")));
                example.language = Some(Language::En);
                if i % 4 == 0 {
                    let body =
                        Body::instruction(&instruction, &format!("Thing {i} of {name}."), "right");
                    (example.id, example.body) = (body.id(), body);
                    example.task_type = Some(TaskType::Classification);
                }
                example
            })
            .collect();
        fake.put(
            &DatasetName::new(name).expect("a plain name"),
            &examples,
            "test",
            None,
        )
        .expect("in memory");
    }
    world
}

fn name() -> WorkflowName {
    WorkflowName::new("loop").expect("a plain name")
}

/// Waits until the workflow's thread has ended, well or cut off.
fn settle(supervisor: &Supervisor, world: &World) -> WorkflowState {
    let started = Instant::now();
    loop {
        let state = world.state.lock().expect("no panic").workflows[&name()].state;
        let cut = world.cut.load(Ordering::SeqCst);
        if state.is_final() || cut {
            supervisor.shutdown();
            return world.state.lock().expect("no panic").workflows[&name()].state;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "the run hangs");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The report without what depends on the number of restarts.
fn figures(world: &World) -> Report {
    world.state.lock().expect("no panic").reports[&name()].clone()
}

fn straight_run() -> (Arc<World>, Report) {
    let world = world();
    let supervisor = Supervisor::new(ports(&world));
    supervisor.submit(WORKFLOW).expect("a right workflow");
    assert_eq!(settle(&supervisor, &world), WorkflowState::Done);
    let report = figures(&world);
    (world, report)
}

#[test]
fn a_straight_run_adds_up() {
    let (world, report) = straight_run();
    let numbers: Vec<u32> = report.rounds.iter().map(|round| round.round).collect();
    assert_eq!(numbers, [0, 1, 2]);
    assert_eq!(report.evaluations.len(), 4);
    let judge = report.plugins.iter().find(|p| p.rule.name == "judge");
    let uses = &judge.expect("it is pinned").uses;
    assert!(
        uses.refused > 0 && uses.tokens > 200 && uses.tokens <= 300,
        "{uses:?}"
    );
    assert!(report.adapter_digest.is_some() && report.dataset_digest.is_some());
    let calibrated: Vec<&str> = report
        .calibrations
        .iter()
        .map(|bound| bound.rule.as_str())
        .collect();
    assert_eq!(calibrated, ["embedding", "perplexity", "difficulty"]);
    let fake = Fake(Arc::clone(&world));
    for round in &report.rounds[1..] {
        let by_name = |name: &str| {
            round
                .stages
                .iter()
                .find(|s| s.name == name)
                .expect("every stage ran")
        };
        for (stage, stage_name) in StageName::ALL {
            let counted = by_name(stage_name);
            assert_eq!(
                counted.taken,
                counted.kept + counted.dropped,
                "{stage_name}"
            );
            assert_eq!(
                counted.dropped,
                counted.reasons.values().sum::<u64>(),
                "{stage_name}"
            );
            let stored = fake
                .verdict_counts(&name(), round.round, stage)
                .expect("in memory");
            assert_eq!(stored, (counted.kept, counted.dropped), "{stage_name}");
        }
        assert_eq!(by_name("generate").out, by_name("filter").taken);
        assert_eq!(by_name("filter").kept, by_name("respond").taken);
        assert_eq!(by_name("respond").out, by_name("validate").taken);
        assert!(by_name("validate").kept >= 9);
        assert_eq!(by_name("validate").kept, by_name("review").taken);
        assert_eq!(by_name("review").out, by_name("review").taken);
        assert_eq!(
            by_name("train").taken,
            round.human + round.generated + round.replayed
        );
    }
    let reasons: Vec<&String> = report
        .rounds
        .iter()
        .flat_map(|r| r.stages.iter().flat_map(|s| s.reasons.keys()))
        .collect();
    for reason in [
        "unparsable",
        "low_score",
        "violin",
        "plugin_error",
        "ends_with_colon",
        "embedding_duplicate",
        "less_diverse",
        "ungrammatical",
        "misaligned",
    ] {
        assert!(
            reasons.iter().any(|r| *r == reason),
            "{reason} is missing of {reasons:?}"
        );
    }
}

#[test]
fn with_the_seeds_first_what_they_gave_writes_the_first_round_and_has_to_be_beaten() {
    let (world, report) = straight_run();
    let models: Vec<&str> = report
        .evaluations
        .iter()
        .map(|e| e.model.as_str())
        .collect();
    assert_eq!(models, ["base", "round-0", "round-1", "round-2"]);
    let seeds = &report.rounds[0];
    assert_eq!((seeds.human, seeds.generated, seeds.replayed), (12, 0, 0));
    assert_eq!(seeds.promoted, Some(true), "{}", seeds.promotion_reason);
    assert!(seeds.promotion_reason.contains("against base"));
    let stages: Vec<&str> = seeds
        .stages
        .iter()
        .map(|stage| stage.name.as_str())
        .collect();
    assert_eq!(stages, ["train", "evaluate", "promote", "adapt"]);
    let first = &report.rounds[1];
    assert!(
        first.promotion_reason.contains("against round-0"),
        "{}",
        first.promotion_reason
    );
    let state = world.state.lock().expect("no panic");
    let (_, kept) = state.datasets[&DatasetName::new("loop").expect("a plain name")]
        .last()
        .expect("a version");
    for example in kept
        .iter()
        .filter(|example| example.lineage.round == Some(1))
    {
        let adapter = example.lineage.adapter.as_ref();
        assert_eq!(
            adapter.map(ToString::to_string).as_deref(),
            Some("loop.round-0")
        );
    }
}

#[test]
fn classifications_have_their_label_before_an_input_that_fits_it() {
    let (world, _) = straight_run();
    let state = world.state.lock().expect("no panic");
    let (_, kept) = state.datasets[&DatasetName::new("loop").expect("a plain name")]
        .last()
        .expect("a version");
    let (labelled, open): (Vec<&Example>, Vec<&Example>) = kept
        .iter()
        .partition(|example| example.task_type == Some(TaskType::Classification));
    assert!(!labelled.is_empty() && !open.is_empty());
    for example in labelled {
        assert_eq!(example.body.output_text(), "right");
        assert_eq!(example.body.input_text(), "A thing that is right.");
    }
}

#[test]
fn a_form_of_answers_that_cannot_be_compiled_is_refused_with_its_line() {
    let supervisor = Supervisor::new(ports(&world()));
    let yaml = WORKFLOW.replace(
        "respond: {batch: 3, ",
        "respond: {batch: 3, constraint: {regex: '('}, ",
    );
    let faults = supervisor.check(&yaml).expect_err("an open group");
    let [fault] = faults.as_slice() else {
        panic!("one fault: {faults:?}");
    };
    assert_eq!(
        (fault.line, fault.path.as_str()),
        (10, "stages.respond.constraint.regex")
    );
    assert_eq!(fault.message, "unclosed group");
}

#[test]
fn a_run_cut_off_after_any_write_ends_as_a_straight_one() {
    let (straight_world, straight) = straight_run();
    let writes = u64::MAX - straight_world.steps_left.load(Ordering::SeqCst);
    assert!(writes > 60, "too short to prove anything: {writes} writes");
    let straight_state = straight_world.state.lock().expect("no panic").clone();
    let check = |cut_at: u64| {
        let world = world();
        // The datasets are there before; the cut counts the run's own writes.
        world.revive(cut_at);
        let supervisor = Supervisor::new(ports(&world));
        supervisor.submit(WORKFLOW).expect("a right workflow");
        let state = settle(&supervisor, &world);
        if state != WorkflowState::Done {
            world.revive(u64::MAX);
            let supervisor = Supervisor::new(ports(&world));
            assert_eq!(
                supervisor.resume_all().expect("in memory"),
                1,
                "cut at {cut_at}, state {state:?}"
            );
            assert_eq!(
                settle(&supervisor, &world),
                WorkflowState::Done,
                "cut at {cut_at}"
            );
        }
        let report = figures(&world);
        assert_eq!(
            report.dataset_digest, straight.dataset_digest,
            "cut at {cut_at}"
        );
        assert_eq!(
            report.adapter_digest, straight.adapter_digest,
            "cut at {cut_at}"
        );
        assert_eq!(report.rounds, straight.rounds, "cut at {cut_at}");
        assert_eq!(report.evaluations, straight.evaluations, "cut at {cut_at}");
        // What plugins used as well, so that a budget ends at the same record.
        assert_eq!(report.plugins, straight.plugins, "cut at {cut_at}");
        let state = world.state.lock().expect("no panic");
        assert_eq!(
            state.verdicts.len(),
            straight_state.verdicts.len(),
            "cut at {cut_at}"
        );
        assert_eq!(
            state.checkpoints.len(),
            straight_state.checkpoints.len(),
            "cut at {cut_at}"
        );
        assert_eq!(
            state.datasets.len(),
            straight_state.datasets.len(),
            "cut at {cut_at}"
        );
    };
    let (next, check) = (AtomicU64::new(0), &check);
    let on_each_core = || {
        loop {
            match next.fetch_add(1, Ordering::Relaxed) {
                cut_at if cut_at < writes => check(cut_at),
                _ => break,
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(on_each_core);
        }
    });
}

#[test]
fn a_finished_run_replays_without_any_effect() {
    let (world, report) = straight_run();
    let effects = world.effects.load(Ordering::SeqCst);
    world
        .state
        .lock()
        .expect("no panic")
        .workflows
        .get_mut(&name())
        .expect("there")
        .state = WorkflowState::Running;
    let supervisor = Supervisor::new(ports(&world));
    supervisor.resume_all().expect("in memory");
    assert_eq!(settle(&supervisor, &world), WorkflowState::Done);
    assert_eq!(world.effects.load(Ordering::SeqCst), effects);
    assert_eq!(figures(&world), report);
}

#[test]
fn a_paused_run_goes_on_when_resumed_and_a_cancelled_one_does_not() {
    let (_, straight) = straight_run();
    let world = world();
    let supervisor = Supervisor::new(ports(&world));
    supervisor.submit(WORKFLOW).expect("a right workflow");
    // Whether the pause comes in time or not, resuming ends the run the same.
    let paused = supervisor.pause(&name());
    let resumed = supervisor.resume(&name());
    assert!(paused.is_err() || resumed.is_ok());
    settle(&supervisor, &world);
    assert_eq!(figures(&world).adapter_digest, straight.adapter_digest);

    let world = self::world();
    let supervisor = Supervisor::new(ports(&world));
    supervisor.submit(WORKFLOW).expect("a right workflow");
    if supervisor.cancel(&name()).is_ok() {
        supervisor.shutdown();
        assert!(supervisor.resume(&name()).is_err());
        assert_eq!(
            world.state.lock().expect("no panic").workflows[&name()].state,
            WorkflowState::Cancelled
        );
    }
}

#[test]
fn missing_things_are_all_named_before_anything_starts() {
    let world = world();
    let supervisor = Supervisor::new(ports(&world));
    let yaml = "name: a\nmodel: tinny\nseeds: sedes\nheld_out: held\nstages:\n  filter: {chain: [{plugin: {name: from}}]}\n  evaluate:\n";
    let faults = supervisor
        .check(yaml)
        .expect_err("three things are missing");
    let found: Vec<_> = faults
        .iter()
        .map(|f| (f.line, f.path.as_str(), f.nearest.as_deref()))
        .collect();
    assert_eq!(
        found,
        [
            (2, "model", Some("tiny")),
            (3, "seeds", Some("seeds")),
            (6, "stages.filter.chain[0].plugin.name", Some("form")),
        ]
    );
    assert!(world.state.lock().expect("no panic").workflows.is_empty());
}

#[test]
fn a_bound_workflow_runs_on_every_new_version() {
    let world = world();
    let supervisor = Supervisor::new(ports(&world));
    let yaml = format!("{WORKFLOW}on_drop: seeds\n").replace("name: loop", "name: bound");
    let bound = supervisor.submit(&yaml).expect("a right workflow");
    assert_eq!(bound.state, WorkflowState::Pending);
    let fake = Fake(Arc::clone(&world));
    let seeds = Datasets::get(
        &fake,
        &DatasetName::new("seeds").expect("a plain name"),
        None,
    )
    .expect("there");
    let started = supervisor.dataset_changed(&seeds).expect("in memory");
    assert_eq!(started.len(), 1);
    assert_eq!(started[0].spec.name.as_str(), "bound-v1");
    supervisor.shutdown();
}

#[test]
fn a_full_disk_fails_the_run_in_words_and_it_goes_on_once_there_is_room() {
    let (_, expect) = straight_run();
    let world = world();
    let supervisor = Supervisor::new(ports(&world));
    *world.full_after.lock().expect("no panic") = Some(20);
    supervisor.submit(WORKFLOW).expect("there is room yet");
    let wait = |what: &str, done: &dyn Fn() -> bool| {
        let started = Instant::now();
        while !done() {
            assert!(
                started.elapsed() < Duration::from_secs(30),
                "waits for {what}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    // Watchers hear of the end, though it cannot be written.
    wait("the failure to be told", &|| {
        world.told.lock().expect("no panic").iter().any(|event| {
            matches!(event, EventBody::State { state: WorkflowState::Failed, message }
                     if message.contains("the disk is full"))
        })
    });
    let state = || world.state.lock().expect("no panic").workflows[&name()].state;
    assert_eq!(state(), WorkflowState::Running);
    *world.full_after.lock().expect("no panic") = None;
    wait("the failure to be written", &|| {
        state() == WorkflowState::Failed
    });
    supervisor.resume(&name()).expect("a failed run resumes");
    assert_eq!(settle(&supervisor, &world), WorkflowState::Done);
    assert_eq!(figures(&world).dataset_digest, expect.dataset_digest);
    assert_eq!(figures(&world).adapter_digest, expect.adapter_digest);
}

fn with_a_remote_answerer(cap: &str) -> String {
    let answerer = WORKFLOW.replace("respond: {batch: 3, ", "respond: {batch: 3, model: far, ");
    format!("{answerer}spending_cap: {cap}\n")
}

#[test]
fn a_remote_answerer_is_paid_for_and_named_in_the_report() {
    let world = world();
    let supervisor = Supervisor::new(ports(&world));
    supervisor
        .submit(&with_a_remote_answerer("1000"))
        .expect("a right workflow");
    assert_eq!(settle(&supervisor, &world), WorkflowState::Done);
    let report = figures(&world);
    let [used] = report.remote_models.as_slice() else {
        panic!("one remote model: {:?}", report.remote_models);
    };
    assert_eq!(
        (used.stage.as_str(), used.used.model.as_str()),
        ("respond", "far")
    );
    assert_eq!(used.used.prompt_tokens, 9 * used.used.requests);
    assert_eq!(used.used.cost, used.used.requests as f64);
    let state = world.state.lock().expect("no panic");
    assert_eq!(state.spent, used.used.cost);
    let (_, kept) = &state.datasets[&DatasetName::new("loop").expect("a plain name")][0];
    assert!(kept.iter().all(|example| {
        let model = example.lineage.model.as_ref();
        model.is_some_and(|model| model.as_str() == "far") && example.lineage.adapter.is_none()
    }));
}

#[test]
fn a_spending_cap_ends_the_run_before_it_is_passed_and_holds_over_restarts() {
    let world = world();
    let supervisor = Supervisor::new(ports(&world));
    supervisor
        .submit(&with_a_remote_answerer("7.5"))
        .expect("a right workflow");
    let message = || {
        let state = world.state.lock().expect("no panic");
        state.workflows[&name()].message.clone()
    };
    let spent = || world.state.lock().expect("no panic").spent;
    assert_eq!(settle(&supervisor, &world), WorkflowState::Failed);
    // The seventh request might have cost 2 on top of 6.
    assert_eq!(spent(), 6.0);
    assert!(
        message().contains("6 of spending_cap 7.5 is spent"),
        "{}",
        message()
    );
    let supervisor = Supervisor::new(ports(&world));
    supervisor.resume(&name()).expect("a failed run resumes");
    assert_eq!(settle(&supervisor, &world), WorkflowState::Failed);
    assert_eq!(spent(), 6.0);
}

#[test]
fn unknown_and_misplaced_models_are_refused_with_their_line() {
    let supervisor = Supervisor::new(ports(&world()));
    let yaml = with_a_remote_answerer("1").replace("model: far", "model: farr");
    let faults = supervisor.check(&yaml).expect_err("no such model");
    let [fault] = faults.as_slice() else {
        panic!("one fault: {faults:?}");
    };
    assert_eq!(fault.path, "stages.respond.model");
    assert_eq!((fault.line, fault.nearest.as_deref()), (10, Some("far")));

    let faults = supervisor
        .check(&WORKFLOW.replace("model: tiny", "model: far"))
        .expect_err("a remote model cannot be trained");
    let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].contains("can only generate"), "{told:?}");
    assert!(
        told[1].contains("perplexity.model: far runs on a server"),
        "{told:?}"
    );
    assert!(
        told[2].contains("difficulty.model: far runs on a server"),
        "{told:?}"
    );
}
