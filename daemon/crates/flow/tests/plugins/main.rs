//! Plugins of every kind at their places: templates that write prompts, validators that correct, scorers that rank.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod check;
#[path = "../common/mod.rs"]
mod common;
mod grants;
mod kinds;
mod quarantine;
mod versions;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use autodidact_domain::journal::{RecordedVerdict, StageName};
use autodidact_domain::ports::{Datasets, Journal};
use autodidact_domain::{
    Body, DatasetName, Example, GenerateRequest, Language, ModelRef, Prompt, TaskType,
    WorkflowName, WorkflowState,
};
use autodidact_flow::Supervisor;
use common::{Fake, World, ports};

/// What the model of this world says to the prompts of the template `words`, and to the tasks that come of it.
fn say(_: &ModelRef, request: &GenerateRequest) -> Option<String> {
    let seed = request.sampling.seed % 100_000;
    let said = match &request.prompt {
        Prompt::Text(text) if text.starts_with("Please.") || text.starts_with("Kindly.") => {
            assert_eq!(request.sampling.stop, ["END"]);
            // It was shown what people wrote, and what is wanted.
            assert!(text.contains("Do thing number "), "{text}");
            let is_of_quota = !text.starts_with("Kindly.") || text.ends_with("tasks of kind code");
            assert!(is_of_quota, "{text}");
            match seed % 4 {
                0 => format!("Dig the quarry {seed}."),
                1 => format!("Sing song {seed}. | Paint wall {seed}."),
                _ => format!("Paint all the {seed} walls of the house. | Name color {seed}. |"),
            }
        }
        Prompt::Text(text) if text.ends_with("Harder task:") => {
            format!(" Paint {seed} walls twice.")
        }
        Prompt::Text(_) => " <noinput>".to_string(),
        Prompt::Chat(turns) => match turns.last()?.content.as_str() {
            asked if asked.starts_with("Name color") => format!("The color of {seed}."),
            asked if asked.starts_with("Sing") => "La la la!".to_string(),
            _ => format!("It is done, number {seed}."),
        },
    };
    Some(said)
}

/// Says what the plugin `both` fails on, which the template passes on.
fn quarries(_: &ModelRef, request: &GenerateRequest) -> Option<String> {
    let seed = request.sampling.seed % 100_000;
    Some(match &request.prompt {
        Prompt::Text(text) if text.starts_with("Please.") => {
            format!("Paint wall {seed}. | Dig QUARRY {seed}. | Name color {seed}.")
        }
        _ => format!("It is done, number {seed}."),
    })
}

fn world() -> Arc<World> {
    let world = Arc::new(World::default());
    world.revive(u64::MAX);
    *world.script.lock().unwrap() = Some(say);
    let seed = |i: usize| {
        let language = if i < 8 { Language::En } else { Language::Zh };
        Example {
            language: Some(language),
            task_type: Some(TaskType::Code),
            ..Example::human(Body::instruction(
                &format!("Do thing number {i}."),
                "",
                "Done.",
            ))
        }
    };
    let seeds: Vec<Example> = (0..10).map(seed).collect();
    let name = DatasetName::new("seeds").unwrap();
    let fake = Fake(Arc::clone(&world));
    fake.put(&name, &seeds, "test", None).unwrap();
    world
}

fn name() -> WorkflowName {
    WorkflowName::new("plugged").unwrap()
}

/// Submits a workflow of these stages, and waits for its end.
fn run(languages: &str, stages: &str) -> (Arc<World>, WorkflowState) {
    run_in(world(), languages, stages)
}

fn run_in(world: Arc<World>, languages: &str, stages: &str) -> (Arc<World>, WorkflowState) {
    let workflow = format!(
        "name: plugged\nmodel: tiny\nseeds: seeds\nlanguages: [{languages}]\nstages:\n{stages}"
    );
    let supervisor = Supervisor::new(ports(&world));
    supervisor.submit(&workflow).unwrap();
    let started = Instant::now();
    let state = || world.state.lock().unwrap().workflows[&name()].state;
    while !state().is_final() && !world.cut.load(Ordering::SeqCst) {
        assert!(started.elapsed() < Duration::from_secs(30), "the run hangs");
        std::thread::sleep(Duration::from_millis(1));
    }
    supervisor.shutdown();
    let state = state();
    (world, state)
}

fn verdicts(world: &Arc<World>, stage: StageName) -> Vec<RecordedVerdict> {
    let fake = Fake(Arc::clone(world));
    let all = fake.verdicts(&name(), 0, usize::MAX).unwrap();
    all.into_iter().filter(|v| v.stage == stage).collect()
}

fn kept(world: &World) -> Vec<Example> {
    let state = world.state.lock().unwrap();
    let name = DatasetName::new("plugged").unwrap();
    state.datasets[&name].last().unwrap().1.clone()
}

/// Waits for a state of a workflow.
fn wait_for(world: &World, wanted: WorkflowState) -> String {
    let started = Instant::now();
    loop {
        let workflow = world.state.lock().unwrap().workflows[&name()].clone();
        if workflow.state == wanted {
            return workflow.message;
        }
        let (state, message) = (workflow.state, workflow.message);
        assert!(!state.is_final(), "{state:?}: {message}");
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "{state:?}: {message}"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}
