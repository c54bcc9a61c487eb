//! Training with evaluations, longer runs, and training that goes wrong: what is kept, and that it goes on exactly.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use autodidact_domain::ports::Datasets;
use autodidact_domain::training::EvalLoss;
use autodidact_domain::{
    Body, CheckpointId, DatasetName, EventBody, Example, Report, WorkflowName, WorkflowState,
};
use autodidact_flow::Supervisor;
use common::{Fake, World, ports};

/// The fake's evaluation loss falls until the fourth step and rises from there, so this one stops after the eighth.
const EVALUATED: &str = "
name: run
model: tiny
seeds: seeds
stages:
  train: {batch_size: 2, max_steps: 20, checkpoint_steps: 3, save_total_limit: 2, validation_split: 0.25, eval_steps: 2, early_stopping_patience: 2, load_best_model_at_end: true}
";
const PLAIN: &str = "
name: run
model: tiny
seeds: seeds
stages:
  train: {batch_size: 2, max_steps: 4, checkpoint_steps: 3}
";

fn world() -> Arc<World> {
    let world = Arc::new(World::default());
    world.revive(u64::MAX);
    put_examples(&world, "seeds", 12);
    put_examples(&world, "other", 5);
    world
}

fn put_examples(world: &Arc<World>, name: &str, count: usize) {
    let example = |i| {
        let instruction = format!("Tell the {name} number {i} of all things.");
        Example::human(Body::instruction(&instruction, "", &format!("Answer {i}.")))
    };
    let examples: Vec<Example> = (0..count).map(example).collect();
    let name = DatasetName::new(name).expect("a plain name");
    let fake = Fake(Arc::clone(world));
    fake.put(&name, &examples, "test", None).expect("in memory");
}

fn named(name: &str) -> WorkflowName {
    WorkflowName::new(name).expect("a plain name")
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "waits for {what}"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until a workflow's thread has ended, well or cut off; gives its state and message.
fn settle(supervisor: &Supervisor, world: &World, name: &str) -> (WorkflowState, String) {
    let summary = || world.state.lock().expect("no panic").workflows[&named(name)].clone();
    wait("an end", || {
        summary().state.is_final() || world.cut.load(Ordering::SeqCst)
    });
    supervisor.shutdown();
    let summary = summary();
    (summary.state, summary.message)
}

fn run(world: &Arc<World>, yaml: &str, name: &str) -> Report {
    let supervisor = Supervisor::new(ports(world));
    supervisor.submit(yaml).expect("a right workflow");
    let (state, message) = settle(&supervisor, world, name);
    assert_eq!(state, WorkflowState::Done, "{message}");
    report(world, name)
}

fn report(world: &World, name: &str) -> Report {
    world.state.lock().expect("no panic").reports[&named(name)].clone()
}

fn checkpoints(world: &World) -> BTreeSet<String> {
    let state = world.state.lock().expect("no panic");
    state.checkpoints.keys().map(ToString::to_string).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn the_best_is_taken_and_the_newest_are_kept_beside_it() {
    let world = world();
    let report = run(&world, EVALUATED, "run");
    let round = &report.rounds[0];
    let evaluation = |step, loss| EvalLoss { step, loss };
    assert_eq!(
        round.eval_losses,
        [(2, 3.0), (4, 1.0), (6, 3.0), (8, 5.0)].map(|(step, loss)| evaluation(step, loss))
    );
    assert_eq!((round.adapter_step, round.stopped_early), (Some(4), true));
    assert_eq!(round.losses.len(), 8);
    let stage = &round.stages[0];
    assert_eq!((stage.taken, stage.kept, stage.dropped), (12, 9, 3));
    assert_eq!(stage.reasons["held_out"], 3);
    let kept = [
        "run.round-1",
        "run.round-1.step-4",
        "run.round-1.step-6",
        "run.round-1.step-8",
    ];
    assert_eq!(checkpoints(&world), set(&kept));
    {
        let state = world.state.lock().expect("no panic");
        let checkpoint = |id: &str| &state.checkpoints[&CheckpointId::new(id).expect("a name")];
        let (result, best) = (checkpoint("run.round-1"), checkpoint("run.round-1.step-4"));
        assert_eq!(result.adapter, best.adapter);
        assert!(result.optimizer.is_empty() && !best.optimizer.is_empty());
        let evaluated: Vec<(u32, u32, bool)> = state
            .events
            .iter()
            .filter_map(|event| match &event.body {
                EventBody::TrainingEvaluated {
                    evaluation,
                    best_step,
                    stopped_early,
                    ..
                } => Some((evaluation.step, *best_step, *stopped_early)),
                _ => None,
            })
            .collect();
        assert_eq!(
            evaluated,
            [(2, 2, false), (4, 4, false), (6, 4, false), (8, 4, true)]
        );
    }
    // The curves are told as they come, each step once.
    let logs = world.logs.lock().expect("no panic").clone();
    let steps: Vec<u32> = logs
        .iter()
        .flat_map(|(from, steps)| steps[*from..].to_vec())
        .collect();
    assert_eq!(steps, (1..=8).collect::<Vec<_>>());

    let markdown = autodidact_flow::report::to_markdown(&report);
    let told = "lowest 1.0000 after step 4; the adapter is that of step 4; stopped early.";
    assert!(markdown.contains(told), "{markdown}");
}

#[test]
fn a_run_cut_off_after_any_write_decides_the_same() {
    let straight_world = world();
    let straight = run(&straight_world, EVALUATED, "run");
    let writes = u64::MAX - straight_world.steps_left.load(Ordering::SeqCst);
    assert!(writes > 20, "too short to prove anything: {writes} writes");
    for cut_at in 0..writes {
        let world = world();
        world.revive(cut_at);
        let supervisor = Supervisor::new(ports(&world));
        supervisor.submit(EVALUATED).expect("a right workflow");
        let (state, _) = settle(&supervisor, &world, "run");
        if state != WorkflowState::Done {
            world.revive(u64::MAX);
            world.logs.lock().expect("no panic").clear();
            let supervisor = Supervisor::new(ports(&world));
            supervisor.resume_all().expect("in memory");
            let (state, message) = settle(&supervisor, &world, "run");
            assert_eq!(state, WorkflowState::Done, "cut at {cut_at}: {message}");
            let logs = world.logs.lock().expect("no panic").clone();
            assert_eq!(logs[0].0, 0, "a restart looks at the whole log");
            assert_eq!(logs.last().expect("one").1, (1..=8).collect::<Vec<_>>());
        }
        let report = report(&world, "run");
        assert_eq!(
            report.adapter_digest, straight.adapter_digest,
            "cut at {cut_at}"
        );
        assert_eq!(report.rounds, straight.rounds, "cut at {cut_at}");
        assert_eq!(
            checkpoints(&world),
            checkpoints(&straight_world),
            "cut at {cut_at}"
        );
    }
}

#[test]
fn as_many_checkpoints_are_kept_as_are_asked_for() {
    let check = |options: &str, expect: &[&str]| {
        let world = world();
        run(&world, &PLAIN.replace("max_steps: 4", options), "run");
        assert_eq!(checkpoints(&world), set(expect), "{options}");
    };
    check("max_steps: 7", &["run.round-1", "run.round-1.step-7"]);
    check("max_steps: 7, save_total_limit: 0", &["run.round-1"]);
    check(
        "max_steps: 7, save_total_limit: 9",
        &[
            "run.round-1",
            "run.round-1.step-3",
            "run.round-1.step-6",
            "run.round-1.step-7",
        ],
    );
}

#[test]
fn what_a_kill_left_of_a_stretch_that_ended_by_the_clock_goes_in_the_end() {
    let world = world();
    {
        // The stretch had saved its checkpoint, and was not yet committed when the kill came.
        let straight = self::world();
        run(&straight, PLAIN, "run");
        let state = straight.state.lock().expect("no panic");
        let id = |id: &str| CheckpointId::new(id).expect("a name");
        let left = state.checkpoints[&id("run.round-1.step-4")].clone();
        let mut state = world.state.lock().expect("no panic");
        for name in ["run.round-1.step-2", "runner.round-1.step-2"] {
            state.checkpoints.insert(id(name), left.clone());
        }
    }
    run(&world, PLAIN, "run");
    let kept = ["run.round-1", "run.round-1.step-4", "runner.round-1.step-2"];
    assert_eq!(checkpoints(&world), set(&kept));
}

#[test]
fn a_run_that_diverges_names_its_examples_and_the_last_good_checkpoint() {
    let straight = run(&world(), PLAIN, "run");
    let world = world();
    *world.diverges_at.lock().expect("no panic") = Some(4);
    let supervisor = Supervisor::new(ports(&world));
    supervisor.submit(PLAIN).expect("a right workflow");
    let (state, message) = settle(&supervisor, &world, "run");
    assert_eq!(state, WorkflowState::Failed);
    for part in [
        "diverged at step 4",
        "\"Tell the seeds number 0 of all things.\"",
        "\"Tell the seeds number 1 of all things.\"",
        "the last good checkpoint run.round-1.step-3 stands",
        "init_adapter: run.round-1.step-3",
        "learning_rate",
    ] {
        assert!(message.contains(part), "{part} in {message}");
    }
    assert_eq!(checkpoints(&world), set(&["run.round-1.step-3"]));
    *world.diverges_at.lock().expect("no panic") = None;
    let supervisor = Supervisor::new(ports(&world));
    supervisor
        .resume(&named("run"))
        .expect("a failed run resumes");
    assert_eq!(settle(&supervisor, &world, "run").0, WorkflowState::Done);
    assert_eq!(
        report(&world, "run").adapter_digest,
        straight.adapter_digest
    );
}

#[test]
fn a_disk_that_fills_during_a_checkpoint_leaves_the_last_good_one() {
    let straight = run(&world(), EVALUATED, "run");
    // Every write of the run from the first segment's end to the third's, checkpoints among them.
    for writes in 7..=15 {
        let world = world();
        *world.full_after.lock().expect("no panic") = Some(writes);
        let supervisor = Supervisor::new(ports(&world));
        supervisor.submit(EVALUATED).expect("there is room yet");
        wait("the failure to be told", || {
            let told = world.told.lock().expect("no panic");
            told.iter().any(|event| {
                matches!(event, EventBody::State { state: WorkflowState::Failed, message }
                         if message.contains("the disk is full"))
            })
        });
        {
            let state = world.state.lock().expect("no panic");
            let last = state.steps.values().flatten().last();
            let last = last.map(|step| step["value"]["checkpoint"].as_str().unwrap_or_default());
            let last = last.map(|id| CheckpointId::new(id).expect("a name"));
            assert!(
                last.is_none_or(|id| state.checkpoints.contains_key(&id)),
                "full after {writes} writes"
            );
        }
        *world.full_after.lock().expect("no panic") = None;
        let supervisor_state =
            || world.state.lock().expect("no panic").workflows[&named("run")].state;
        wait("the failure to be written", || {
            supervisor_state() == WorkflowState::Failed
        });
        supervisor
            .resume(&named("run"))
            .expect("a failed run resumes");
        assert_eq!(settle(&supervisor, &world, "run").0, WorkflowState::Done);
        let report = report(&world, "run");
        assert_eq!(report.adapter_digest, straight.adapter_digest, "{writes}");
        assert_eq!(report.rounds[0].eval_losses, straight.rounds[0].eval_losses);
    }
}

#[test]
fn a_run_goes_on_from_the_end_of_another_with_its_data() {
    let eight = PLAIN.replace("max_steps: 4", "max_steps: 8");
    let straight = run(&world(), &eight, "run");
    let world = world();
    run(&world, PLAIN, "run");
    // What came to the dataset since is not what the run began with.
    put_examples(&world, "seeds", 14);
    let from = "max_steps: 8, resume_from_checkpoint: run.round-1.step-4";
    let longer = PLAIN
        .replace("name: run", "name: longer")
        .replace("max_steps: 4", from);
    let report = run(&world, &longer, "longer");
    assert_eq!(report.rounds[0].human, 12);
    assert_eq!(report.rounds[0].losses.len(), 4);
    assert_eq!(report.adapter_digest, straight.adapter_digest);
    assert!(
        checkpoints(&world).contains("run.round-1.step-4"),
        "it stays the other's"
    );

    let nothing = longer
        .replace("name: longer", "name: nothing")
        .replace("max_steps: 8", "max_steps: 4");
    let supervisor = Supervisor::new(ports(&world));
    supervisor
        .submit(&nothing)
        .expect("the steps are not known yet");
    let (state, message) = settle(&supervisor, &world, "nothing");
    assert_eq!(state, WorkflowState::Failed);
    assert!(message.contains("stands at step 4"), "{message}");
}

#[test]
fn another_dataset_is_evaluated_on_and_trained_on_is_everything() {
    let world = world();
    let yaml = EVALUATED.replace("validation_split: 0.25", "eval_dataset: other");
    let report = run(&world, &yaml, "run");
    assert_eq!(report.rounds[0].stages[0].kept, 12);
    assert_eq!(report.rounds[0].eval_losses.len(), 4);
}

#[test]
fn what_cannot_be_is_refused_before_it_begins() {
    let world = world();
    run(&world, PLAIN, "run");
    let supervisor = Supervisor::new(ports(&world));
    let check = |options: &str, path: &str, message: &str| {
        let yaml = PLAIN.replace("name: run", "name: next");
        let yaml = yaml.replace("checkpoint_steps: 3", options);
        let faults = supervisor.check(&yaml).expect_err("refused");
        let found = faults.iter().any(|fault| {
            fault.path == format!("stages.train.{path}") && fault.to_string().contains(message)
        });
        assert!(found, "{options}: {faults:?}");
    };
    check("eval_steps: 2", "eval_steps", "nothing to evaluate on");
    check(
        "validation_split: 0.1",
        "validation_split",
        "never evaluated",
    );
    check("eval_dataset: other", "eval_dataset", "never evaluated");
    check(
        "eval_steps: 2, eval_dataset: other, validation_split: 0.1",
        "validation_split",
        "one of the two",
    );
    check("eval_steps: 2, eval_dataset: othr", "eval_dataset", "other");
    check(
        "eval_steps: 2, eval_dataset: seeds",
        "eval_dataset",
        "measure nothing",
    );
    check("validation_split: 1", "validation_split", "0.9");
    check(
        "seeds_first: true, task_type: SEQ_CLS",
        "seeds_first",
        "CAUSAL_LM",
    );
    check(
        "seeds_first: true, resume_from_checkpoint: run.round-1.step-4",
        "seeds_first",
        "one of the two",
    );
    check(
        "resume_from_checkpoint: run.round-1.step-9",
        "resume_from_checkpoint",
        "run.round-1.step-4",
    );
    check(
        "init_adapter: run.round-1, resume_from_checkpoint: run.round-1.step-4",
        "resume_from_checkpoint",
        "one of the two",
    );
    let rounds = PLAIN.replace("name: run", "rounds: 2\nname: next").replace(
        "batch_size",
        "resume_from_checkpoint: run.round-1.step-4, batch_size",
    );
    let faults = supervisor.check(&rounds).expect_err("refused");
    assert!(faults[0].to_string().contains("one round"), "{faults:?}");
}
