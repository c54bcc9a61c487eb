//! What plugins may use, and what is counted of it.

use autodidact_domain::journal::StageName;
use autodidact_domain::{EventBody, WorkflowState};
use autodidact_flow::Supervisor;

use crate::common::{World, ports};
use crate::{name, run, verdicts, world};

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
    assert!(note.starts_with("the budget of 100 tokens has "), "{note}");
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
    let uses = uses(&world);
    // Twelve tokens each, and none is begun whose bytes could be more tokens than are left.
    assert_eq!(uses.tokens, 12 * uses.completions);
    assert!((4..=8).contains(&uses.completions), "{uses:?}");
    let left = format!("has {} left", 100 - uses.tokens);
    assert!(failed.iter().any(|v| {
        let note = v.verdict.evidence.note.as_ref();
        note.is_some_and(|note| note.contains(&left))
    }));
    assert!(uses.refused > 0);
}

#[test]
fn embedding_and_scoring_are_counted_within_the_same_budget() {
    for (config, capability) in [("{}", "embed"), ("{score: true}", "score")] {
        let terms = format!("config: {config}, grant: [{capability}], allow_missing: true");
        let terms = format!("name: gauge, {terms}, max_tokens: 200, max_failures: 1000");
        let stages = JUDGED.replace("name: judge, TERMS", &terms);
        let (world, state) = run("en", &stages);
        assert_eq!(state, WorkflowState::Done);
        let filtered = verdicts(&world, StageName::Filter);
        let failed = filtered.iter().filter(|v| {
            let note = v.verdict.evidence.note.as_deref().unwrap_or_default();
            v.verdict.reason == "plugin_error" && note.starts_with("the budget of 200 tokens has ")
        });
        let failed = failed.count() as u64;
        let state = world.state.lock().unwrap();
        let plugins = state.reports[&name()].plugins.iter();
        let uses = &plugins
            .clone()
            .find(|p| p.rule.name == "gauge")
            .unwrap()
            .uses;
        let served = match capability {
            "embed" => uses.embeddings,
            _ => uses.scores,
        };
        assert!(served > 2 && failed > 2, "{uses:?}");
        assert_eq!(
            (uses.embeddings + uses.scores, uses.completions),
            (served, 0)
        );
        assert_eq!(uses.refused, failed);
        assert!((1..=200).contains(&uses.tokens), "{uses:?}");
    }
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
