//! Plugins of every kind at their places: templates that write prompts, validators that correct, scorers that rank.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use autodidact_domain::journal::{RecordedVerdict, StageName};
use autodidact_domain::ports::{Datasets, Journal, Plugins};
use autodidact_domain::{
    Body, DatasetName, Decision, Digest, EventBody, Example, GenerateRequest, Language, ModelRef,
    Prompt, TaskType, WorkflowName, WorkflowState,
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

#[test]
fn a_template_writes_the_prompts_and_reads_the_items() {
    let (world, state) = run(
        "en, zh",
        "  generate: {target: 40, batch: 6, max_requests: 80, template: plugin, template_plugin: {name: words, config: {word: Kindly.}, max_failures: 1000}, quotas: [{task_type: code, topic: houses}], evolve: {share: 0.3}}
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
fn what_is_kept_although_a_plugin_failed_on_it_says_so() {
    let world = world();
    *world.script.lock().unwrap() = Some(quarries);
    let (world, state) = run_in(
        world,
        "en",
        &format!(
            "{RECORDS}  filter: {{chain: [exact, plugin: {{name: both, kind: filter, on_error: keep, max_failures: 1000}}, plugin: {{name: worth}}]}}
  respond: {{batch: 12}}"
        ),
    );
    assert_eq!(state, WorkflowState::Done);
    let filtered = verdicts(&world, StageName::Filter);
    let found = filtered.iter().filter(|v| v.text.contains("QUARRY"));
    let found: Vec<_> = found
        .filter(|v| v.verdict.decision == Decision::Keep)
        .collect();
    assert!(!found.is_empty());
    for found in &found {
        // Before the mark that another plugin gave it.
        assert_eq!(found.verdict.reason, "unchecked");
        assert_eq!(found.verdict.rule.digest, Some(Digest::of(b"both")));
        assert_eq!(found.verdict.evidence.note.as_deref(), Some("trapped"));
    }
    let events = &world.state.lock().unwrap().events;
    let warned = events.iter().any(|event| match &event.body {
        EventBody::Warning { message } => {
            message.starts_with("plugin both 0.1.0 failed on ") && message.ends_with(": trapped")
        }
        _ => false,
    });
    assert!(warned);
}

#[test]
fn a_prompt_that_the_model_refuses_is_the_template_s_failure() {
    let (world, state) = run(
        "en",
        "  generate: {target: 12, batch: 6, max_requests: 40, template: plugin, template_plugin: {name: words, config: {word: Sometimes.}, max_failures: 1000}}
  filter: {chain: [exact]}
  respond: {batch: 12}",
    );
    assert_eq!(state, WorkflowState::Done);
    let generated = verdicts(&world, StageName::Generate);
    let failed = |v: &&RecordedVerdict| v.verdict.reason == "plugin_error";
    let refused: Vec<_> = generated.iter().filter(failed).collect();
    assert!(!refused.is_empty() && refused.len() < generated.len());
    for found in refused {
        assert_eq!(found.verdict.rule.digest, Some(Digest::of(b"words")));
        let note = found.verdict.evidence.note.as_deref().unwrap_or_default();
        assert!(
            note.starts_with("wrote a prompt that is refused: "),
            "{note}"
        );
    }
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

const JUDGED: &str = "  generate: {target: 24, batch: 6, max_requests: 24, template: plugin, template_plugin: {name: words}}
  filter: {chain: [exact, plugin: {name: judge, TERMS}]}
  respond: {batch: 12}";

#[test]
fn what_a_plugin_uses_of_what_it_was_granted_is_counted() {
    let (world, state) = run("en", &JUDGED.replace("TERMS", "grant: [generate, log]"));
    assert_eq!(state, WorkflowState::Done);
    let state = world.state.lock().unwrap();
    let report = &state.reports[&name()];
    let judge = report
        .plugins
        .iter()
        .find(|p| p.rule.name == "judge")
        .unwrap();
    let uses = &judge.uses;
    assert!(uses.completions > 10, "{uses:?}");
    assert_eq!(uses.log_lines, uses.completions);
    // This engine says 9 tokens of each prompt, and 3 of each completion.
    assert_eq!((uses.tokens, uses.refused), (12 * uses.completions, 0));
    let told = world.told.lock().unwrap();
    let lines = told
        .iter()
        .filter(|body| matches!(body, EventBody::PluginLog { plugin, .. } if plugin == "judge"));
    assert_eq!(lines.count() as u64, uses.log_lines);
}

#[test]
fn a_budget_is_not_passed_and_what_it_has_no_tokens_for_fails() {
    let stages = JUDGED.replace(
        "TERMS",
        "grant: [generate], max_tokens: 100, max_failures: 1000",
    );
    let (world, state) = run("en", &stages);
    assert_eq!(state, WorkflowState::Done);
    let filtered = verdicts(&world, StageName::Filter);
    let failed: Vec<_> = filtered
        .iter()
        .filter(|v| v.verdict.reason == "plugin_error")
        .collect();
    let note = failed[0].verdict.evidence.note.clone().unwrap();
    // Eight completions of twelve tokens leave four.
    let expected = "the budget of 100 tokens has 4 left, and some ";
    assert!(note.starts_with(expected), "{note}");
    let uses = |world: &World| {
        let state = world.state.lock().unwrap();
        let plugins = &state.reports[&name()].plugins;
        plugins
            .iter()
            .find(|p| p.rule.name == "judge")
            .unwrap()
            .uses
            .clone()
    };
    assert_eq!((uses(&world).completions, uses(&world).tokens), (8, 96));
    assert!(uses(&world).refused > 0);
}

#[test]
fn what_nobody_granted_is_refused_when_a_workflow_is_submitted() {
    let refused = |terms: &str| {
        let world = world();
        let workflow = format!(
            "name: plugged\nmodel: tiny\nseeds: seeds\nstages:\n{}",
            JUDGED.replace("TERMS", terms)
        );
        let supervisor = Supervisor::new(ports(&world));
        let submitted = supervisor.submit(&workflow);
        supervisor.shutdown();
        submitted.map(|_| ()).unwrap_err().to_string()
    };
    let found = refused("least: 1");
    assert!(
        found.contains("plugin judge asks for generate, which nobody granted"),
        "{found}"
    );
    assert!(
        found.contains("grant: [generate] here, or `autodidact plugin grant judge generate`"),
        "{found}"
    );
    let found = refused("grant: [generate, embed]");
    assert!(
        found.contains("plugin judge does not ask for embed"),
        "{found}"
    );
    let found = refused("grant: [think]");
    assert!(
        found.contains("log, generate, embed, score, data"),
        "{found}"
    );
    let found = refused("grant: [generate], model: other");
    assert!(found.contains("plugin.model"), "{found}");
    // It may do without, where somebody says so; then each record fails.
    let (world, _) = run(
        "en",
        &JUDGED.replace(
            "TERMS",
            "allow_missing: true, on_error: keep, max_failures: 1000",
        ),
    );
    let filtered = verdicts(&world, StageName::Filter);
    let without = filtered
        .iter()
        .filter(|v| v.verdict.evidence.note.as_deref() == Some("generate is not granted"));
    assert!(without.count() > 0);
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

#[test]
fn a_plugin_that_fails_too_often_holds_the_workflow_until_somebody_decides() {
    let stages = "  generate: {target: 24, batch: 6, max_requests: 40, template: plugin, template_plugin: {name: words}}
  filter: {chain: [exact, plugin: {name: both, kind: filter, max_failures: 2}]}
  respond: {batch: 12}";
    let submit = |world: &Arc<World>| {
        let workflow =
            format!("name: plugged\nmodel: tiny\nseeds: seeds\nlanguages: [en]\nstages:\n{stages}");
        let supervisor = Supervisor::new(ports(world));
        supervisor.submit(&workflow).unwrap();
        supervisor
    };
    let world = world();
    *world.script.lock().unwrap() = Some(quarries);
    let supervisor = submit(&world);
    let message = wait_for(&world, WorkflowState::Paused);
    assert!(
        message.contains("plugin both 0.1.0 is in quarantine: it failed on 2 records: trapped"),
        "{message}"
    );
    assert!(
        message.ends_with("then: `autodidact workflow resume plugged`"),
        "{message}"
    );
    // Nothing that it failed on was decided, and to resume alone changes nothing.
    let count = verdicts(&world, StageName::Filter).len();
    supervisor.resume(&name()).unwrap();
    wait_for(&world, WorkflowState::Paused);
    assert_eq!(verdicts(&world, StageName::Filter).len(), count);
    // Nor does another workflow begin with it.
    let other =
        format!("name: other\nmodel: tiny\nseeds: seeds\nlanguages: [en]\nstages:\n{stages}");
    let refused = supervisor.submit(&other).map(|_| ()).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("plugin \"both\" is in quarantine"),
        "{refused}"
    );
    // Enabled again it goes on, and what it fails on is dropped.
    Fake(Arc::clone(&world)).set_enabled("both", true).unwrap();
    supervisor.resume(&name()).unwrap();
    wait_for(&world, WorkflowState::Done);
    let failed = verdicts(&world, StageName::Filter);
    assert!(
        failed
            .iter()
            .filter(|v| v.verdict.reason == "plugin_error")
            .count()
            > 2
    );
    // It was asked about every one of them.
    let unasked = failed
        .iter()
        .filter(|v| v.verdict.evidence.note.as_deref() == Some("it was not asked any more"));
    assert_eq!(unasked.count(), 0);
    supervisor.shutdown();
}

#[test]
fn a_run_cut_off_after_any_write_holds_a_failing_plugin_at_the_same_record() {
    let workflow = "name: plugged\nmodel: tiny\nseeds: seeds\nlanguages: [en]\nstages:
  generate: {target: 40, batch: 3, max_requests: 60, template: plugin, template_plugin: {name: words}}
  filter: {chain: [exact, plugin: {name: both, kind: filter, max_failures: 11}]}";
    let begun = |steps: u64| {
        let world = world();
        *world.script.lock().unwrap() = Some(quarries);
        world.revive(steps);
        let supervisor = Supervisor::new(ports(&world));
        supervisor.submit(workflow).unwrap();
        wait_until_held_or_cut(&world);
        supervisor.shutdown();
        world
    };
    let straight = begun(u64::MAX);
    let writes = u64::MAX - straight.steps_left.load(Ordering::SeqCst);
    let filtered = verdicts(&straight, StageName::Filter);
    // Three waves of three failures each stand, and the fourth would be one too many.
    let failed = filtered
        .iter()
        .filter(|v| v.verdict.reason == "plugin_error");
    assert_eq!(failed.count(), 9);
    for cut_at in 0..writes {
        let world = begun(cut_at);
        world.revive(u64::MAX);
        let supervisor = Supervisor::new(ports(&world));
        supervisor.resume_all().unwrap();
        wait_until_held_or_cut(&world);
        supervisor.shutdown();
        assert_eq!(
            verdicts(&world, StageName::Filter),
            filtered,
            "cut at {cut_at}"
        );
    }
}

fn wait_until_held_or_cut(world: &World) {
    let started = Instant::now();
    while !world.cut.load(Ordering::SeqCst) {
        let workflow = world.state.lock().unwrap().workflows[&name()].clone();
        if workflow.state == WorkflowState::Paused {
            assert!(
                workflow.message.contains("in quarantine: it failed on 11"),
                "{}",
                workflow.message
            );
            return;
        }
        assert!(!workflow.state.is_final(), "{}", workflow.message);
        assert!(started.elapsed() < Duration::from_secs(30), "the run hangs");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_workflow_stays_on_its_versions_unless_it_is_told_otherwise() {
    let stages = |terms: &str| {
        format!(
            "  generate: {{target: 60, batch: 3, max_requests: 120, template: plugin, template_plugin: {{name: words}}}}
  filter: {{chain: [exact, plugin: {{name: form{terms}}}, plugin: {{name: worth}}]}}
  respond: {{batch: 12}}"
        )
    };
    let versions = |terms: &str| {
        let world = world();
        // Drops say who decided.
        fn violins(_: &ModelRef, request: &GenerateRequest) -> Option<String> {
            let seed = request.sampling.seed % 100_000;
            Some(match &request.prompt {
                Prompt::Text(text) if text.starts_with("Please.") => {
                    format!("Paint wall {seed}. | Play the violin {seed} times.")
                }
                _ => format!("It is done, number {seed}."),
            })
        }
        *world.script.lock().unwrap() = Some(violins);
        let workflow = format!(
            "name: plugged\nmodel: tiny\nseeds: seeds\nlanguages: [en]\nstages:\n{}",
            stages(terms)
        );
        world.state.lock().unwrap().plugins.newer_after = Some(("form".to_string(), 3));
        let supervisor = Supervisor::new(ports(&world));
        supervisor.submit(&workflow).unwrap();
        wait_for(&world, WorkflowState::Done);
        supervisor.shutdown();
        let filtered = verdicts(&world, StageName::Filter);
        let of_form = filtered
            .into_iter()
            .filter(|v| v.verdict.rule.name == "form");
        let mut versions: Vec<String> = of_form.map(|v| v.verdict.rule.version).collect();
        versions.dedup();
        versions
    };
    assert_eq!(versions(""), ["0.1.0"]);
    assert_eq!(versions(", follow: true"), ["0.1.0", "0.2.0"]);
}

#[test]
fn a_paused_workflow_is_resumed_with_the_plugins_of_now() {
    let world = world();
    // Slow enough to be at work still when it is looked at.
    fn slow(model: &ModelRef, request: &GenerateRequest) -> Option<String> {
        std::thread::sleep(Duration::from_millis(5));
        say(model, request)
    }
    *world.script.lock().unwrap() = Some(slow);
    let workflow = "name: plugged\nmodel: tiny\nseeds: seeds\nlanguages: [en]\nstages:\n  generate: {target: 400, batch: 3, max_requests: 400, template: plugin, template_plugin: {name: words}}\n  filter: {chain: [exact, plugin: {name: form}]}\n  respond: {batch: 12}\n";
    let supervisor = Supervisor::new(ports(&world));
    supervisor.submit(workflow).unwrap();
    let refused = supervisor
        .resume_with_new_plugins(&name())
        .unwrap_err()
        .to_string();
    assert!(refused.contains("pause it first"), "{refused}");
    supervisor.pause(&name()).unwrap();
    world
        .state
        .lock()
        .unwrap()
        .plugins
        .newer
        .insert("form".to_string());
    supervisor.resume_with_new_plugins(&name()).unwrap();
    let pinned = world.state.lock().unwrap().workflows[&name()]
        .pinned
        .plugins
        .clone();
    let form = pinned.iter().find(|p| p.name.as_str() == "form").unwrap();
    assert_eq!(form.version, "0.2.0");
    supervisor.shutdown();
}
