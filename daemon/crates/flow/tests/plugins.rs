//! Plugins of every kind at their places: templates that write prompts, validators that correct, scorers that rank.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use autodidact_domain::journal::{RecordedVerdict, StageName};
use autodidact_domain::ports::{Datasets, Journal};
use autodidact_domain::{
    Body, DatasetName, Decision, Digest, Example, GenerateRequest, Language, ModelRef, Prompt,
    TaskType, WorkflowName, WorkflowState,
};
use autodidact_flow::Supervisor;
use common::{Fake, World, ports};

/// What the model of this world says to the prompts of the template `words`, and to the tasks that come of it.
fn say(_: &ModelRef, request: &GenerateRequest) -> Option<String> {
    let seed = request.sampling.seed % 100_000;
    let said = match &request.prompt {
        Prompt::Text(text) if text.starts_with("Please.") || text.starts_with("Kindly.") => {
            assert_eq!(request.sampling.stop, ["END"]);
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
    let world = world();
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

#[test]
fn a_template_writes_the_prompts_and_reads_the_items() {
    let (world, state) = run(
        "en, zh",
        "  generate: {target: 40, batch: 6, max_requests: 80, template: plugin, template_plugin: {name: words, config: {word: Kindly.}}, quotas: [{task_type: code, topic: houses}], evolve: {share: 0.3}}
  filter: {chain: [exact]}
  respond: {batch: 12}",
    );
    assert_eq!(state, WorkflowState::Done);
    let generated = verdicts(&world, StageName::Generate);
    let failed: Vec<_> = generated
        .iter()
        .filter(|v| v.verdict.reason == "plugin_error")
        .collect();
    let notes = |note: &str| {
        let is_one = |v: &&&RecordedVerdict| v.verdict.evidence.note.as_deref() == Some(note);
        failed.iter().filter(is_one).count()
    };
    // What it cannot write is not asked of the model, and what it cannot read is not lost without a word.
    assert!(
        notes("no words for zh") > 0 && notes("trapped") > 0,
        "{failed:?}"
    );
    for verdict in &failed {
        assert_eq!(verdict.verdict.rule.name, "words");
        assert_eq!(verdict.verdict.rule.digest, Some(Digest::of(b"words")));
    }
    let kept = kept(&world);
    let find = |begin: &str| {
        let found = kept
            .iter()
            .find(|example| example.body.instruction_text().starts_with(begin));
        found
            .unwrap_or_else(|| panic!("{begin} in {kept:?}"))
            .clone()
    };
    // Items are of the kind that was asked for, but where the plugin says another.
    let painted = find("Paint");
    assert_eq!(painted.task_type, Some(TaskType::Code));
    assert_eq!(painted.topic.as_deref(), Some("houses"));
    assert_eq!(find("Sing").topic.as_deref(), Some("music"));
    assert!(
        kept.iter()
            .any(|e| e.body.instruction_text().ends_with("walls twice."))
    );
    assert!(
        kept.iter()
            .all(|e| !e.body.instruction_text().contains("quarry"))
    );
}

#[test]
fn a_template_that_fails_stops_the_workflow_where_it_is_told_to() {
    let (world, state) = run(
        "zh",
        "  generate: {target: 4, template: plugin, template_plugin: {name: words, on_error: stop}}",
    );
    assert_eq!(state, WorkflowState::Failed);
    let state = world.state.lock().unwrap();
    let message = &state.workflows[&name()].message;
    assert!(
        message
            .starts_with("plugin words 0.1.0 failed: no words for zh; `workflow resume plugged`"),
        "{message}"
    );
}

const RECORDS: &str = "  generate: {target: 12, batch: 6, max_requests: 12, template: plugin, template_plugin: {name: words}}\n";

#[test]
fn a_validator_corrects_drops_and_fails_with_reasons() {
    let (world, state) = run(
        "en",
        &format!(
            "{RECORDS}  respond: {{batch: 12}}
  validate: {{chain: [plugin: {{name: mender}}, plugin: {{name: form}}, plugin: {{name: worth, least: 3}}]}}"
        ),
    );
    assert_eq!(state, WorkflowState::Done);
    let kept = kept(&world);
    let named: Vec<_> = kept
        .iter()
        .filter(|e| e.body.instruction_text().starts_with("Name color"))
        .collect();
    assert!(!named.is_empty());
    for example in named {
        let output = example.body.output_text().into_owned();
        assert!(output.starts_with("The colour of"), "{output}");
        // The original stands beside it.
        assert!(example.lineage.corrected_from.is_some(), "{example:?}");
    }
    let validated = verdicts(&world, StageName::Validate);
    let corrected: Vec<_> = validated
        .iter()
        .filter(|v| v.verdict.reason == "corrected")
        .collect();
    assert!(!corrected.is_empty());
    for verdict in corrected {
        assert_eq!(verdict.verdict.decision, Decision::Keep);
        assert_eq!(verdict.verdict.rule.digest, Some(Digest::of(b"mender")));
        let note = verdict.verdict.evidence.note.as_deref();
        assert_eq!(note, Some("color is written colour"));
    }
    let shouts = validated.iter().find(|v| v.verdict.reason == "shouts");
    let note = shouts.unwrap().verdict.evidence.note.clone().unwrap();
    assert!(note.ends_with("of music"), "{note}");
}

#[test]
fn a_scorer_holds_records_to_bounds_and_keeps_the_best() {
    let (world, _) = run(
        "en",
        &format!(
            "{RECORDS}  filter: {{chain: [exact, plugin: {{name: both, kind: scorer, least: 3, most: 7, best: 0.5}}]}}
  respond: {{batch: 12}}"
        ),
    );
    let filtered = verdicts(&world, StageName::Filter);
    let reasons = |reason: &str| {
        let those = filtered.iter().filter(|v| v.verdict.reason == reason);
        those.cloned().collect::<Vec<_>>()
    };
    let high = reasons("high_score");
    assert!(high.iter().all(|v| v.verdict.evidence.score > Some(7.0)) && !high.is_empty());
    let (outranked, kept) = (reasons("outranked"), reasons("kept"));
    assert!(!outranked.is_empty() && !kept.is_empty(), "{filtered:?}");
    assert!(kept.iter().all(|v| v.verdict.evidence.score >= Some(3.0)));
}

#[test]
fn a_plugin_at_the_wrong_place_is_refused_with_what_it_is() {
    let faults = |stages: &str| {
        let world = world();
        let workflow = format!("name: plugged\nmodel: tiny\nseeds: seeds\nstages:\n{stages}");
        let supervisor = Supervisor::new(ports(&world));
        let refused = supervisor.submit(&workflow).unwrap_err();
        supervisor.shutdown();
        refused.to_string()
    };
    let found = faults("  filter: {chain: [plugin: {name: words}]}");
    assert!(
        found.contains(
            "plugin words is a template, and here a filter, validator or scorer is wanted"
        ),
        "{found}"
    );
    let found = faults("  filter: {chain: [plugin: {name: form, kind: scorer}]}");
    assert!(
        found.contains("plugin form is a filter, and here a scorer is wanted"),
        "{found}"
    );
    let found = faults("  filter: {chain: [plugin: {name: form, least: 3}]}");
    assert!(
        found
            .contains("least, most and best are for scorers, and plugin form is asked as a filter"),
        "{found}"
    );
    let found = faults("  generate: {template: plugin, template_plugin: {name: form}}");
    assert!(found.contains("plugin form is no template"), "{found}");
    let found = faults("  generate: {template: plugin}");
    assert!(
        found.contains("template: plugin with a template_plugin"),
        "{found}"
    );
    let found = faults("  generate: {template: plugin, template_plugin: {name: word}}");
    assert!(
        found.contains("\"words\"") || found.contains("words"),
        "{found}"
    );
}
