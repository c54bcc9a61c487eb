//! What fails on the held-out tasks is asked for more in the next round.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use autodidact_domain::journal::StageName;
use autodidact_domain::ports::Datasets;
use autodidact_domain::{
    Body, DatasetName, EventBody, Example, Language, TaskType, WorkflowName, WorkflowState,
};
use autodidact_flow::Supervisor;
use common::{Fake, World, ports};

const WORKFLOW: &str = "
name: failing
model: tiny
seeds: seeds
held_out: held
rounds: 2
stages:
  generate: {target: 12, batch: 6, max_requests: 60}
  respond: {batch: 12}
  train: {batch_size: 8}
  evaluate: {batch: 8}
  promote:
  adapt:
";

/// The number of the first held-out task.
const FIRST_HELD_OUT: usize = 100;

fn task(number: usize, task_type: TaskType, output: &str) -> Example {
    let name = task_type.name();
    let instruction = match number < FIRST_HELD_OUT {
        true => format!("Do task number {number} of type {name} well."),
        false => format!("What comes out of question {number}, type {name}?"),
    };
    Example {
        language: Some(Language::En),
        task_type: Some(task_type),
        ..Example::human(Body::instruction(&instruction, "", output))
    }
}

/// A model that can reason and cannot translate.
fn world() -> Arc<World> {
    let world = Arc::new(World::default());
    world.revive(u64::MAX);
    world
        .knows
        .lock()
        .expect("no panic")
        .push(("type reasoning".into(), "It is forty two.".into()));
    let fake = Fake(Arc::clone(&world));
    for (name, first) in [("seeds", 0), ("held", FIRST_HELD_OUT)] {
        let tasks: Vec<Example> = (first..first + 16)
            .map(|i| match i % 2 {
                0 => task(i, TaskType::Reasoning, "It is forty two."),
                _ => task(
                    i,
                    TaskType::Translation,
                    "Das ist ein kleiner Hund im Garten.",
                ),
            })
            .collect();
        let name = DatasetName::new(name).expect("a plain name");
        fake.put(&name, &tasks, "test", None).expect("in memory");
    }
    world
}

/// The prompts of a round for each quota of its plan, as the journal has them.
fn prompts(world: &World, round: u32, quotas: usize) -> Vec<usize> {
    let state = world.state.lock().expect("no panic");
    let mut counts = vec![0; quotas];
    for ((_, of, stage, _), result) in &state.steps {
        if (*of, *stage) != (round, StageName::Generate) {
            continue;
        }
        let value = &result.as_ref().expect("the run is done")["value"]["quotas"];
        for quota in value.as_array().expect("a list") {
            counts[quota.as_u64().expect("a place") as usize] += 1;
        }
    }
    counts
}

#[test]
fn a_model_that_is_bad_at_a_task_type_gets_more_of_it_next_round() {
    let world = world();
    let supervisor = Supervisor::new(ports(&world));
    supervisor.submit(WORKFLOW).unwrap();
    let name = WorkflowName::new("failing").unwrap();
    let started = Instant::now();
    let state = || world.state.lock().unwrap().workflows[&name].state;
    while !state().is_final() {
        assert!(started.elapsed() < Duration::from_secs(30), "the run hangs");
        std::thread::sleep(Duration::from_millis(1));
    }
    supervisor.shutdown();
    assert_eq!(state(), WorkflowState::Done);

    // Reasoning comes first in the plan.
    let (before, after) = (prompts(&world, 1, 2), prompts(&world, 2, 2));
    let share = |counts: &[usize]| counts[1] as f64 / counts.iter().sum::<usize>() as f64;
    assert!(share(&before) < 0.6, "{before:?}");
    assert!(share(&after) > share(&before) + 0.1, "{before:?} {after:?}");

    let state = world.state.lock().unwrap();
    let report = &state.reports[&name];
    let change = |what: &str| {
        let changes = &report.rounds[0].plan_changes;
        let found = changes.iter().find(|change| change.what == what);
        found
            .unwrap_or_else(|| panic!("{what} in {changes:?}"))
            .clone()
    };
    let change = change("quota en/translation");
    assert_eq!(
        change.reason,
        "8 of 8 held-out tasks of this kind fail; of all tasks 50% do"
    );
    // The journal has it, and whoever watches is told.
    let step = (name.clone(), 1, StageName::Adapt, 0);
    let journaled = state.steps[&step].as_ref().unwrap()["value"]["changes"].to_string();
    assert!(journaled.contains(&change.reason), "{journaled}");
    let told = state.events.iter().any(|event| {
        matches!(&event.body, EventBody::PlanChanged { round: 1, change: told } if *told == change)
    });
    assert!(told);
    assert!(!report.rounds[0].complexity.is_empty());
}
