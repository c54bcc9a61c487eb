//! New versions of plugins: who stays on which.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use autodidact_domain::journal::StageName;
use autodidact_domain::{Digest, EventBody, GenerateRequest, ModelRef, Prompt, WorkflowState};
use autodidact_flow::Supervisor;

use crate::common::{World, ports};
use crate::{name, say, verdicts, wait_for, world};

/// Says what the plugin `form` drops a part of: drops say who decided.
fn violins(_: &ModelRef, request: &GenerateRequest) -> Option<String> {
    let seed = request.sampling.seed % 100_000;
    Some(match &request.prompt {
        Prompt::Text(text) if text.starts_with("Please.") => {
            format!("Paint wall {seed}. | Play the violin {seed} times.")
        }
        _ => format!("It is done, number {seed}."),
    })
}

/// Waits for a workflow's end, or until its store takes no more writes.
fn wait_until_done_or_cut(world: &World) {
    let started = Instant::now();
    while !world.cut.load(Ordering::SeqCst) {
        let state = world.state.lock().unwrap().workflows[&name()].state;
        if state == WorkflowState::Done {
            return;
        }
        assert!(!state.is_final(), "{state:?}");
        assert!(started.elapsed() < Duration::from_secs(30), "{state:?}");
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
        *world.script.lock().unwrap() = Some(violins);
        let workflow = format!(
            "name: plugged\nmodel: tiny\nseeds: seeds\nlanguages: [en]\nstages:\n{}",
            stages(terms)
        );
        world.state.lock().unwrap().plugins.newer_after = vec![("form", 3, "0.2.0")];
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
fn a_template_that_follows_reads_what_it_wrote_itself_and_each_version_answers_for_its_own() {
    let world = world();
    *world.script.lock().unwrap() = Some(say);
    // The newer one is there right after the third prompts were written, when their answers are still to be read.
    world.state.lock().unwrap().plugins.newer_after = vec![("words", 3, "0.2.0")];
    let supervisor = Supervisor::new(ports(&world));
    supervisor
        .submit("name: plugged\nmodel: tiny\nseeds: seeds\nlanguages: [en]\nstages:\n  generate: {target: 60, batch: 3, max_requests: 60, template: plugin, template_plugin: {name: words, follow: true, max_failures: 1000}}\n  filter: {chain: [exact]}\n  respond: {batch: 12}\n")
        .unwrap();
    wait_for(&world, WorkflowState::Done);
    supervisor.shutdown();
    let (old, new) = (Digest::of(b"words"), Digest::of(b"words 0.2.0"));
    let asked = world.state.lock().unwrap().plugins.templates.clone();
    assert_eq!(asked[..6], [old; 6], "written and read by one");
    assert!(asked.len() > 8 && asked.len().is_multiple_of(2));
    assert!(asked[6..].iter().all(|asked| *asked == new), "{asked:?}");
    // What each of them failed on is in the report.
    let verdicts = verdicts(&world, StageName::Generate);
    let failed = |digest| {
        let of = verdicts.iter().map(|v| &v.verdict.rule);
        of.filter(|rule| rule.digest == Some(digest)).count() as u64
    };
    assert!(failed(old) > 0 && failed(new) > 0);
    let state = world.state.lock().unwrap();
    let of_words = state.reports[&name()].plugins.iter();
    let of_words = of_words.filter(|plugin| plugin.rule.name == "words");
    let told: Vec<_> = of_words
        .map(|p| (p.rule.version.as_str(), p.failures, p.dropped))
        .collect();
    let expected = [("0.1.0", old), ("0.2.0", new)];
    let expected = expected.map(|(version, digest)| (version, failed(digest), failed(digest)));
    assert_eq!(told, expected);
}

/// Who followed a version stays on it where the next one cannot stand in, also after any cut.
#[test]
fn a_version_that_cannot_stand_in_leaves_the_latest_that_could() {
    let workflow = "name: plugged\nmodel: tiny\nseeds: seeds\nlanguages: [en]\nstages:\n  generate: {target: 60, batch: 3, max_requests: 60, template: plugin, template_plugin: {name: words}}\n  filter: {chain: [exact, plugin: {name: form, follow: true}]}\n  respond: {batch: 12}\n";
    let run = |writes: &[u64]| {
        let world = world();
        *world.script.lock().unwrap() = Some(violins);
        world.state.lock().unwrap().plugins.newer_after =
            vec![("form", 3, "0.2.0"), ("form", 7, "0.3.0")];
        for (i, writes) in writes.iter().enumerate() {
            world.revive(*writes);
            let supervisor = Supervisor::new(ports(&world));
            match i {
                0 => drop(supervisor.submit(workflow)),
                _ => drop(supervisor.resume_all()),
            }
            wait_until_done_or_cut(&world);
            supervisor.shutdown();
        }
        world
    };
    let straight = run(&[u64::MAX]);
    let writes = u64::MAX - straight.steps_left.load(Ordering::SeqCst);
    let versions = |world: &Arc<World>| {
        let of_form = verdicts(world, StageName::Filter).into_iter();
        let of_form = of_form.filter(|v| v.verdict.rule.name == "form");
        let mut versions: Vec<String> = of_form.map(|v| v.verdict.rule.version).collect();
        versions.dedup();
        versions
    };
    assert_eq!(versions(&straight), ["0.1.0", "0.2.0"]);
    let stays = "plugin form stays version 0.2.0: version 0.3.0";
    let told = straight.state.lock().unwrap().events.iter().any(
        |event| matches!(&event.body, EventBody::Warning { message } if message.contains(stays)),
    );
    assert!(told);
    let bound = |world: &Arc<World>| {
        let state = world.state.lock().unwrap();
        let bound = state.workflows[&name()].pinned.plugins.clone().into_iter();
        let of_form = bound.filter(|plugin| plugin.name.as_str() == "form");
        of_form.map(|plugin| plugin.version).collect::<Vec<_>>()
    };
    assert_eq!(bound(&straight), ["0.1.0", "0.2.0"]);
    for cut in [writes / 2, writes * 2 / 3, writes - 4] {
        let world = run(&[cut, u64::MAX]);
        let last = versions(&world).pop();
        assert_eq!(last.as_deref(), Some("0.2.0"), "cut after {cut}");
        assert_eq!(bound(&world), ["0.1.0", "0.2.0"], "cut after {cut}");
    }
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
