//! The lineage of records and the comparison of runs, read off the journal of real runs of the loop.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use autodidact_domain::journal::{RecordedVerdict, StageName};
use autodidact_domain::lineage::{RecordLineage, RecordStanding};
use autodidact_domain::ports::{Datasets, Journal};
use autodidact_domain::{
    Body, DatasetName, Decision, Example, Language, Origin, PortError, PortResult, WorkflowName,
    WorkflowState,
};
use autodidact_flow::compare::compare_workflows;
use autodidact_flow::{Supervisor, lineage};
use common::{Fake, World, ports};

const WORKFLOW: &str = "
name: loop
model: tiny
seeds: seeds
held_out: held
rounds: 2
stages:
  generate: {target: 20, batch: 4, human_examples: 3, generated_examples: 2}
  filter: {chain: [exact, {rouge_l: {threshold: 0.7}}, rules]}
  respond: {batch: 3}
  validate: {chain: [rules]}
  train: {batch_size: 4, checkpoint_steps: 2, validation_split: 0.2, eval_steps: 4}
  evaluate: {batch: 4}
  promote: {min_diversity: 0.1}
";

fn world() -> Arc<World> {
    let world = Arc::new(World::default());
    world.revive(u64::MAX);
    let fake = Fake(Arc::clone(&world));
    for (name, count) in [("seeds", 12), ("held", 6)] {
        let example = |i: u32| {
            let instruction = match name {
                "held" => format!("Explain why {i} lamps burn in an empty house at night."),
                _ => format!("Tell the {name} number {i} of all the things that are known."),
            };
            let body = Body::instruction(&instruction, "", &format!("Answer {i}."));
            let mut example = Example::human(body);
            example.language = Some(Language::En);
            example
        };
        let examples: Vec<Example> = (0..count).map(example).collect();
        let name = DatasetName::new(name).expect("a plain name");
        fake.put(&name, &examples, "test", None).expect("in memory");
    }
    world
}

fn name(text: &str) -> WorkflowName {
    WorkflowName::new(text).expect("a plain name")
}

fn run(world: &Arc<World>, yaml: &str) {
    let supervisor = Supervisor::new(ports(world));
    let name = supervisor.submit(yaml).expect("a right workflow").spec.name;
    let started = Instant::now();
    loop {
        let state = world.state.lock().expect("no panic").workflows[&name].clone();
        if state.state.is_final() {
            assert_eq!(state.state, WorkflowState::Done, "{}", state.message);
            supervisor.shutdown();
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "the run hangs");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn of(world: &Arc<World>, record: &str) -> PortResult<RecordLineage> {
    lineage::of_record(&ports(world), &name("loop"), record)
}

fn verdicts(world: &Arc<World>, workflow: &str) -> Vec<RecordedVerdict> {
    let fake = Fake(Arc::clone(world));
    fake.verdicts(&name(workflow), 0, usize::MAX)
        .expect("in memory")
}

fn kept(world: &Arc<World>, workflow: &str) -> Vec<Example> {
    let state = world.state.lock().expect("no panic");
    let versions = &state.datasets[&DatasetName::new(workflow).expect("a plain name")];
    versions.last().expect("a version").1.clone()
}

#[test]
fn a_kept_example_names_its_seeds_its_verdicts_and_its_training_runs() {
    let world = world();
    run(&world, WORKFLOW);
    let kept = kept(&world, "loop");
    assert!(kept.len() >= 40);
    let mut left_out = 0;
    for example in &kept {
        let found = of(&world, &example.id.short()).expect("it is unique");
        assert_eq!(
            (found.record, found.standing),
            (example.id, RecordStanding::Kept)
        );
        assert_eq!(found.example.as_ref(), Some(example));
        let prompt: Vec<_> = found.prompt.iter().map(|seed| seed.id).collect();
        assert_eq!(prompt, example.lineage.seeds);
        assert!(!prompt.is_empty());
        for seed in &found.prompt {
            assert!(
                seed.text.as_deref().is_some_and(|text| !text.is_empty()),
                "{seed:?}"
            );
            assert!(seed.origin.is_some());
        }
        // Every stage that judges records has said something of it, in their order.
        let stages: Vec<StageName> = found.verdicts.iter().map(|v| v.stage).collect();
        assert!(
            stages.starts_with(&[StageName::Generate, StageName::Filter]),
            "{stages:?}"
        );
        for stage in [StageName::Respond, StageName::Validate, StageName::Train] {
            assert!(stages.contains(&stage), "{stage:?} in {stages:?}");
        }
        let first = found.training.first().expect("its own round's mix had it");
        let round = example.lineage.round.expect("it was generated");
        assert_eq!(first.round, round);
        assert_eq!(first.adapter.as_str(), format!("loop.round-{round}"));
        assert!(first.promoted.is_some());
        for training in &found.training {
            left_out += u32::from(training.left_out.as_deref() == Some("held_out"));
        }
    }
    assert!(
        left_out > 0,
        "what is held out for validation is not trained on, and that is said"
    );
}

#[test]
fn training_runs_are_those_that_the_train_stage_journaled() {
    let world = world();
    run(&world, WORKFLOW);
    // Another workflow trains on the same seeds.
    run(
        &world,
        "name: other\nmodel: tiny\nseeds: seeds\nstages: {train: {batch_size: 4, max_steps: 2}}\n",
    );
    let mut uses: BTreeMap<_, Vec<(String, u32, bool)>> = BTreeMap::new();
    for workflow in ["loop", "other"] {
        for recorded in verdicts(&world, workflow) {
            if recorded.stage == StageName::Train {
                let trained = recorded.verdict.decision == Decision::Keep;
                let of_record = uses.entry(recorded.record).or_default();
                of_record.push((workflow.to_string(), recorded.round, trained));
            }
        }
    }
    let mut in_both = 0;
    for (record, expect) in &uses {
        let found = of(&world, &record.to_string()).expect("it is in the mix, so it is known");
        let found = found.training.iter();
        let found: Vec<(String, u32, bool)> = found
            .map(|t| (t.workflow.to_string(), t.round, t.left_out.is_none()))
            .collect();
        assert_eq!(&found, expect);
        in_both += u32::from(found.len() == 3);
    }
    assert_eq!(
        in_both, 12,
        "the seeds are in two rounds of one workflow and one of the other"
    );
}

#[test]
fn seeds_have_descendants_and_tasks_have_none() {
    let world = world();
    run(&world, WORKFLOW);
    let kept = kept(&world, "loop");
    let people = |name: &str| {
        let state = world.state.lock().expect("no panic");
        let versions = &state.datasets[&DatasetName::new(name).expect("a plain name")];
        versions[0].1.clone()
    };
    let mut descendants = 0;
    for seed in people("seeds") {
        let found = of(&world, &seed.id.to_string()).expect("a seed");
        assert_eq!(found.standing, RecordStanding::Seed);
        assert_eq!(
            found.example.as_ref().map(|e| e.lineage.origin),
            Some(Origin::Human)
        );
        assert!(found.prompt.is_empty());
        let expect = kept.iter().filter(|e| e.lineage.seeds.contains(&seed.id));
        assert_eq!(found.descendants.kept, expect.count() as u64);
        assert!(found.descendants.candidates >= found.descendants.kept);
        descendants += found.descendants.kept;
    }
    assert!(descendants > 0);
    let task = &people("held")[0];
    let found = of(&world, &task.id.to_string()).expect("a task");
    assert_eq!(found.standing, RecordStanding::HeldOut);
    assert_eq!((found.descendants.candidates, found.training.len()), (0, 0));
    assert!(
        found
            .verdicts
            .iter()
            .all(|v| v.stage == StageName::Evaluate)
    );
    assert_eq!(found.verdicts.len(), 3, "the base and two rounds");
}

#[test]
fn a_dropped_instruction_is_followed_to_its_prompt_and_its_writer() {
    let world = world();
    run(&world, WORKFLOW);
    let all = verdicts(&world, "loop");
    let kept = kept(&world, "loop");
    let dropped = |stage: StageName| {
        let mut dropped = all.iter().rev().filter(|v| {
            let is_dropped = v.verdict.decision == Decision::Drop && v.stage == stage;
            is_dropped && kept.iter().all(|e| e.body.instruction_text() != v.text)
        });
        let found = dropped.next();
        found
            .unwrap_or_else(|| panic!("{stage:?} drops nothing"))
            .clone()
    };
    // An instruction that the filter dropped was never answered.
    let filtered = dropped(StageName::Filter);
    let found = of(&world, &filtered.record.to_string()).expect("a candidate");
    assert_eq!(found.standing, RecordStanding::Dropped);
    let example = found.example.expect("an instruction");
    assert_eq!(example.body, Body::instruction(&filtered.text, "", ""));
    assert!(!example.lineage.seeds.is_empty() && found.training.is_empty());
    assert_eq!(example.lineage.round, Some(filtered.round));
    let promoted = world.state.lock().expect("no panic").reports[&name("loop")].rounds[0].promoted;
    let adapter = example.lineage.adapter.map(|adapter| adapter.to_string());
    let is_tuned = filtered.round == 2 && promoted == Some(true);
    assert_eq!(adapter, is_tuned.then(|| "loop.round-1".to_string()));
    // One that validate dropped is found by its instruction's id as well as by its own.
    let validated = dropped(StageName::Validate);
    let body: Body = serde_json::from_str(&validated.text).expect("a body");
    let instruction = Body::instruction(&body.instruction_text(), "", "").id();
    for id in [validated.record, instruction] {
        let found = of(&world, &id.to_string()).expect("either id");
        assert_eq!(found.record, validated.record);
        assert_eq!(found.ids, [validated.record, instruction]);
        let last = found.verdicts.last().expect("it was judged");
        let decided = (last.stage, last.verdict.decision);
        assert_eq!(decided, (StageName::Validate, Decision::Drop));
    }
    // Of a completion that holds no instruction there is its verdict.
    let unread = dropped(StageName::Generate);
    let found = of(&world, &unread.record.to_string()).expect("a completion");
    assert!(found.example.is_none() && found.prompt.is_empty());
    assert_eq!(found.text, unread.text);
    assert_eq!(found.standing, RecordStanding::Dropped);
}

#[test]
fn a_report_shows_some_of_each_reason_and_what_its_stages_took() {
    let world = world();
    run(&world, WORKFLOW);
    let report = world.state.lock().expect("no panic").reports[&name("loop")].clone();
    let all = verdicts(&world, "loop");
    assert!(report.dropped.len() >= 4, "{:?}", report.dropped);
    for group in &report.dropped {
        let stages = report.rounds.iter().flat_map(|round| &round.stages);
        let of_it = stages.filter(|stage| stage.name == group.stage);
        let counts = of_it.filter_map(|stage| stage.reasons.get(&group.reason));
        assert_eq!(counts.sum::<u64>(), group.count, "{group:?}");
        assert_eq!(group.examples.len() as u64, group.count.min(3), "{group:?}");
        for shown in &group.examples {
            let is_it = |v: &RecordedVerdict| {
                let same = v.stage.name() == group.stage && v.verdict.reason == group.reason;
                same && v.record == shown.record && v.round == shown.round
            };
            assert!(all.iter().any(is_it), "{shown:?}");
        }
    }
    let tokens = |name: &str| {
        let stages = report.rounds.iter().flat_map(|round| &round.stages);
        let of_it = stages.filter(|stage| stage.name == name);
        of_it.map(|stage| stage.tokens).sum::<u64>()
    };
    for stage in ["generate", "respond", "train", "evaluate"] {
        assert!(tokens(stage) > 0, "{stage}");
    }
    assert_eq!((tokens("filter"), tokens("promote")), (0, 0));
}

#[test]
fn ids_that_are_none_or_several_are_refused_with_what_to_do() {
    let world = world();
    run(&world, WORKFLOW);
    let message = |record: &str| of(&world, record).expect_err("refused").to_string();
    assert!(message("").contains("expected an id"));
    assert!(message("xyz").contains("workflow verdicts loop"));
    assert!(matches!(
        of(&world, &"0".repeat(64)),
        Err(PortError::NotFound { what: "record", .. })
    ));
    // Of sixteen digits some begin several ids of so many records.
    let digits = "0123456789abcdef".chars().map(|digit| digit.to_string());
    let ambiguous = digits.filter(|digit| message_of(&world, digit).contains("give more digits"));
    assert!(ambiguous.count() > 0);
    let unknown = lineage::of_record(&ports(&world), &name("nobody"), "00");
    assert!(matches!(
        unknown,
        Err(PortError::NotFound {
            what: "workflow",
            ..
        })
    ));
}

fn message_of(world: &Arc<World>, record: &str) -> String {
    of(world, record).map_or_else(|error| error.to_string(), |_| String::new())
}

#[test]
fn two_runs_on_the_same_tasks_are_compared_pair_by_pair() {
    let world = world();
    run(&world, WORKFLOW);
    run(
        &world,
        &WORKFLOW
            .replace("name: loop", "name: again")
            .replace("batch_size: 4", "batch_size: 2"),
    );
    let compare = |a: &str, b: &str| compare_workflows(&ports(&world), &name(a), &name(b), None);
    let compared = compare("loop", "again").expect("both are done");
    let fields: Vec<&str> = compared.settings.iter().map(|s| s.field.as_str()).collect();
    assert_eq!(fields, ["stages.train.batch_size"]);
    assert_eq!(compared.funnel.len(), 2 * 7);
    assert!(
        compared
            .funnel
            .iter()
            .all(|row| row.a.is_some() && row.b.is_some())
    );
    let models: Vec<&str> = compared
        .evaluations
        .iter()
        .map(|e| e.model_a.as_str())
        .collect();
    assert!(
        models.starts_with(&["base", "round-1", "round-2"]),
        "{models:?}"
    );
    for measure in compared.evaluations.iter().flat_map(|e| &e.measures) {
        assert_eq!(
            (measure.pairs, measure.note.as_str()),
            (6, ""),
            "{measure:?}"
        );
        assert!(measure.interval.is_some());
    }
    assert!(
        compared.evaluations[0]
            .measures
            .iter()
            .all(|m| m.difference == 0.0),
        "the bases are one"
    );

    let supervisor = Supervisor::new(ports(&world));
    let waiting = "name: waits\nmodel: tiny\nseeds: drops\non_drop: drops\nstages: {train: {batch_size: 4}}\n";
    supervisor.submit(waiting).expect("it waits");
    let refused = compare("loop", "waits")
        .expect_err("it is not done")
        .to_string();
    assert!(refused.contains("workflow watch waits"), "{refused}");
}
