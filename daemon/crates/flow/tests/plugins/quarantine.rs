//! Plugins that fail too often.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use autodidact_domain::WorkflowState;
use autodidact_domain::journal::StageName;
use autodidact_domain::ports::Plugins;
use autodidact_flow::Supervisor;

use crate::common::{Fake, World, ports};
use crate::{name, quarries, verdicts, wait_for, world};

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
