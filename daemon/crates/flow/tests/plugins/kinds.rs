//! Templates, filters, validators and scorers at their places.

use autodidact_domain::journal::{RecordedVerdict, StageName};
use autodidact_domain::{Decision, Digest, EventBody, TaskType, WorkflowState};
use autodidact_flow::Supervisor;

use crate::common::ports;
use crate::{kept, name, quarries, run, run_in, verdicts, world};

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
            message.starts_with("plugin both 0.1.0 failed on ") && message.contains(": trapped")
        }
        _ => false,
    });
    assert!(warned);
}

#[test]
fn a_record_that_a_filter_fails_on_stops_the_workflow_where_it_is_told_to() {
    let world = world();
    *world.script.lock().unwrap() = Some(quarries);
    let (world, state) = run_in(
        world,
        "en",
        &format!(
            "{RECORDS}  filter: {{chain: [exact, plugin: {{name: both, kind: filter, on_error: stop}}]}}
  respond: {{batch: 12}}"
        ),
    );
    assert_eq!(state, WorkflowState::Failed);
    let message = world.state.lock().unwrap().workflows[&name()]
        .message
        .clone();
    assert!(
        message.starts_with("plugin both 0.1.0 failed: trapped; `workflow resume plugged`"),
        "{message}"
    );
    // Nothing of its batch is decided.
    assert_eq!(verdicts(&world, StageName::Filter), []);
}

#[test]
fn what_a_filter_notes_of_what_it_keeps_stays_with_its_name_and_configuration() {
    let judged = |link: &str| {
        let (world, state) = run(
            "en",
            &format!("{RECORDS}  filter: {{chain: [exact, {link}]}}\n  respond: {{batch: 12}}"),
        );
        assert_eq!(state, WorkflowState::Done);
        let filtered = verdicts(&world, StageName::Filter);
        let is_kept = |v: &&RecordedVerdict| v.verdict.decision == Decision::Keep;
        let kept: Vec<_> = filtered.iter().filter(is_kept).cloned().collect();
        let (walls, others): (Vec<_>, Vec<_>) =
            kept.into_iter().partition(|v| v.text.contains("wall"));
        assert!(!walls.is_empty() && !others.is_empty());
        (walls, others)
    };
    let (noted, others) = judged("plugin: {name: form, config: {a: 1}}");
    for found in noted {
        assert_eq!(found.verdict.reason, "kept");
        let note = found.verdict.evidence.note.as_deref();
        assert_eq!(note, Some("walls are welcome"));
        assert_eq!(found.verdict.evidence.score, Some(0.25));
        let rule = found.verdict.rule;
        assert_eq!(
            (rule.name.as_str(), rule.version.as_str()),
            ("form", "0.1.0")
        );
        assert_eq!(rule.digest, Some(Digest::of(b"form")));
        assert_eq!(rule.config_digest, Some(Digest::of(br#"{"a":1}"#)));
    }
    assert!(others.iter().all(|v| v.verdict.rule.name == "filter"));
    // A mark says more than a note, whatever the numbers.
    let (marked, _) = judged("plugin: {name: form}, plugin: {name: worth, config: {b: 2}}");
    for found in marked {
        assert!(found.verdict.evidence.score >= Some(3.0));
        assert_eq!(found.verdict.rule.digest, Some(Digest::of(b"worth")));
        let config = found.verdict.rule.config_digest;
        assert_eq!(config, Some(Digest::of(br#"{"b":2}"#)));
    }
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
