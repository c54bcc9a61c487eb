//! Instances with labels by turns, checks and corrections, self-consistency and the marks of other models: what is decided, what it
//! is decided by, and that a run cut off anywhere decides the same.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use autodidact_domain::journal::{RecordedVerdict, StageName};
use autodidact_domain::lineage::RecordStanding;
use autodidact_domain::ports::{Datasets, Journal};
use autodidact_domain::{
    Body, DatasetName, Decision, Example, GenerateRequest, Language, ModelRef, Prompt, Report,
    TaskType, WorkflowName, WorkflowState,
};
use autodidact_flow::Supervisor;
use common::{Fake, World, ports};

const WORKFLOW: &str = "
name: checked
model: tiny
seeds: tasks
stages:
  respond: {batch: 3, classify: true, instances: 3, temperatures: {writing: 0.9}}
  validate:
    chain:
      - rules
      - checks
      - consistency: {samples: 3}
      - score: {least: 2, model: second}
      - score: {least: 2, model: far}
";

/// What the models of this world say.
fn say(model: &ModelRef, request: &GenerateRequest) -> Option<String> {
    let seed = request.sampling.seed;
    let text = match &request.prompt {
        Prompt::Text(text) => text.as_str(),
        Prompt::Chat(turns) => turns.last()?.content.as_str(),
    };
    let has = |part: &str| text.contains(part);
    // Of a prompt with examples the last task counts.
    let marks = ["Task:", "Instruction:"];
    let at = marks.iter().filter_map(|mark| text.rfind(mark)).max();
    let task = &text[at.unwrap_or(0)..];
    let is = |part: &str| task.contains(part);
    let is_mark = has("Answer with one digit from 1 to 5.");
    let said = match () {
        () if is_mark && model.model.as_str() == "second" && has("Name a tree.") => "1".to_string(),
        () if is_mark && model.model.as_str() == "far" && has("Name a bird.") => {
            "a 1, no more".to_string()
        }
        () if is_mark => "4".to_string(),
        () if text.ends_with("Fixed labels:") => match is("positive or negative") || is("mood") {
            true => " Yes".to_string(),
            false => " No".to_string(),
        },
        () if text.ends_with("Labels:\n1.") => " happy\n2. sad\n3. angry".to_string(),
        () if text.ends_with("Input:") && is("Label: ") => {
            let label = task.split("Label: ").nth(1)?.lines().next()?;
            format!(" A {label} text, number {}.", seed % 1000)
        }
        () if text.ends_with("Input:") && is("Double the number.") => format!(" {}", seed % 2 + 3),
        () if text.ends_with("Input:") && is("Sort the coin.") => " A coin.".to_string(),
        () if text.ends_with("Input:") => " <noinput>".to_string(),
        () if has("Double the number.") => {
            let number: u64 = text.lines().last()?.trim().parse().ok()?;
            format!("Output: {}", number * 2)
        }
        () if has("Sort the coin.") => format!(
            "{} coin",
            ["gold", "silver", "lead", "tin"][(seed % 4) as usize]
        ),
        () if has("Guess the number.") => format!("It may be {}.", seed % 100_000),
        () if has("Write a poem") => format!(
            "Rain falls at {:.1} degrees on the roof of the house.",
            request.sampling.temperature
        ),
        () if has("Name a tree.") => "Oak.".to_string(),
        () if has("Name a bird.") => "Crow.".to_string(),
        () if has("Name a river.") => "The Nile.".to_string(),
        () if has("Is the room warm or cold?") => "warm".to_string(),
        () if has("Rate the review.") => "The answer is positive.".to_string(),
        () => {
            let labels = ["positive", "negative", "happy", "sad", "angry"];
            labels
                .into_iter()
                .find(|label| has(&format!("A {label} text")))?
                .to_string()
        }
    };
    Some(said)
}

fn tasks() -> Vec<Example> {
    let answered = |instruction: &str, input: &str, output: &str, labels: &[&str]| {
        let mut example = Example::human(Body::instruction(instruction, input, output));
        example.language = Some(Language::En);
        example.labels = labels.iter().map(ToString::to_string).collect();
        example.task_type = (!labels.is_empty()).then_some(TaskType::Classification);
        example
    };
    let open = |instruction: &str| answered(instruction, "", "", &[]);
    let mut poem = open("Write a poem about rain.");
    poem.task_type = Some(TaskType::Writing);
    vec![
        answered(
            "Is the room warm or cold?",
            "It is snug.",
            "warm",
            &["warm", "cold"],
        ),
        answered("Name a river.", "", "Output: The Nile.", &[]),
        answered(
            "Rate the review.",
            "Lovely!",
            "Label: Positive.",
            &["positive", "negative"],
        ),
        answered(
            "Tell a joke about cats.",
            "",
            "I am just an AI and do not know any jokes.",
            &[],
        ),
        open("Tell whether the review is positive or negative."),
        open("What is the mood of the note?"),
        open("Double the number."),
        open("Sort the coin."),
        open("Guess the number."),
        poem,
        open("Name a tree."),
        open("Name a bird."),
    ]
}

fn world() -> Arc<World> {
    let world = Arc::new(World::default());
    world.revive(u64::MAX);
    *world.script.lock().expect("no panic") = Some(say);
    let name = DatasetName::new("tasks").expect("a plain name");
    let fake = Fake(Arc::clone(&world));
    fake.put(&name, &tasks(), "test", None).expect("in memory");
    world
}

fn name() -> WorkflowName {
    WorkflowName::new("checked").expect("a plain name")
}

/// Waits until the workflow's thread has ended, well or cut off.
fn settle(supervisor: &Supervisor, world: &World) -> WorkflowState {
    let started = Instant::now();
    let state = || world.state.lock().expect("no panic").workflows[&name()].state;
    while !state().is_final() && !world.cut.load(Ordering::SeqCst) {
        assert!(started.elapsed() < Duration::from_secs(30), "the run hangs");
        std::thread::sleep(Duration::from_millis(1));
    }
    supervisor.shutdown();
    state()
}

fn run() -> Arc<World> {
    let world = world();
    let supervisor = Supervisor::new(ports(&world));
    supervisor.submit(WORKFLOW).expect("a right workflow");
    let state = settle(&supervisor, &world);
    let message = world.state.lock().expect("no panic").workflows[&name()]
        .message
        .clone();
    assert_eq!(state, WorkflowState::Done, "{message}");
    world
}

fn report(world: &World) -> Report {
    world.state.lock().expect("no panic").reports[&name()].clone()
}

fn kept(world: &World) -> Vec<Example> {
    let state = world.state.lock().expect("no panic");
    let name = DatasetName::new("checked").expect("a plain name");
    state.datasets[&name].last().expect("a version").1.clone()
}

fn verdicts(world: &Arc<World>, stage: StageName) -> Vec<RecordedVerdict> {
    let fake = Fake(Arc::clone(world));
    let all = fake.verdicts(&name(), 0, usize::MAX).expect("in memory");
    all.into_iter().filter(|v| v.stage == stage).collect()
}

fn of<'a>(examples: &'a [Example], instruction: &str) -> Vec<&'a Example> {
    let is_one = |example: &&Example| example.body.instruction_text() == instruction;
    examples.iter().filter(is_one).collect()
}

#[test]
fn instances_have_labels_by_turns_and_every_decision_is_told() {
    let world = run();
    let kept = kept(&world);
    let labels = |instruction| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for example in of(&kept, instruction) {
            assert_eq!(example.task_type, Some(TaskType::Classification));
            let label = example.body.output_text().into_owned();
            assert!(
                example.labels.contains(&label),
                "{label} of {:?}",
                example.labels
            );
            assert!(example.body.input_text().contains(&label));
            *counts.entry(label).or_default() += 1;
        }
        counts.into_values().collect::<Vec<_>>()
    };
    // Three instances of two labels, and of three that the model listed.
    let mut two = labels("Tell whether the review is positive or negative.");
    two.sort_unstable();
    assert_eq!(two, [1, 2]);
    assert_eq!(labels("What is the mood of the note?"), [1, 1, 1]);

    let respond = verdicts(&world, StageName::Respond);
    let reason_of = |instruction: &str| {
        let verdict = respond
            .iter()
            .find(|v| v.text == instruction)
            .expect("a verdict");
        let note = verdict.verdict.evidence.note.clone().unwrap_or_default();
        (verdict.verdict.reason.as_str(), note)
    };
    // Of three draws from two numbers one is there twice.
    let (reason, note) = reason_of("Double the number.");
    assert_eq!(reason, "kept");
    assert!(note.contains("duplicate_instance"), "{note}");
    let doubled = of(&kept, "Double the number.");
    assert!(!doubled.is_empty() && doubled.len() < 3);
    let (reason, note) = reason_of("Sort the coin.");
    assert_eq!(reason, "conflicting_outputs", "{note}");
    assert_eq!(of(&kept, "Write a poem about rain.").len(), 1);
    assert!(
        of(&kept, "Write a poem about rain.")[0]
            .body
            .output_text()
            .contains("0.9")
    );

    let report = report(&world);
    let stages = &report.rounds[0].stages;
    let stage = |name: &str| {
        stages
            .iter()
            .find(|stage| stage.name == name)
            .expect("it ran")
    };
    assert_eq!(stage("respond").taken, 8);
    assert_eq!(stage("validate").taken, stage("respond").out + 4);
    assert_eq!(stage("validate").kept, kept.len() as u64);
}

#[test]
fn what_is_corrected_keeps_the_original_beside_it() {
    let world = run();
    let kept = kept(&world);
    let validate = verdicts(&world, StageName::Validate);
    let corrected = validate.iter().filter(|v| v.verdict.reason == "corrected");
    let corrected: Vec<&RecordedVerdict> = corrected.collect();
    assert!(corrected.len() >= 3, "{corrected:?}");
    for verdict in corrected {
        assert_eq!(verdict.verdict.decision, Decision::Keep);
        assert_eq!(verdict.verdict.rule.name, "checks");
        assert!(verdict.verdict.evidence.note.is_some());
        // The example that goes on is known by the verdict, and leads back to what was judged.
        let id = verdict.verdict.evidence.nearest.expect("the corrected one");
        let example = kept
            .iter()
            .find(|example| example.id == id)
            .expect("it went on");
        let original = example.uncorrected().expect("it was corrected");
        assert_eq!(original.id(), verdict.record);
        assert_eq!(original.canonical_json(), verdict.text);
    }
    let check = |instruction, output: &str, original: Option<&str>| {
        let found = of(&kept, instruction);
        assert_eq!(found.len(), 1, "{instruction}");
        assert_eq!(found[0].body.output_text(), output);
        assert_eq!(found[0].lineage.corrected_from.as_deref(), original);
    };
    check("Name a river.", "The Nile.", Some("Output: The Nile."));
    check("Rate the review.", "positive", Some("Label: Positive."));
    check("Is the room warm or cold?", "warm", None);

    // By either id the same is told: what it became, and why.
    let corrected = of(&kept, "Name a river.")[0];
    let original = corrected.uncorrected().expect("it was corrected").id();
    for id in [corrected.id, original] {
        let lineage = autodidact_flow::lineage::of_record(&ports(&world), &name(), &id.to_string())
            .expect("it is a record");
        assert_eq!(lineage.record, corrected.id);
        assert_eq!(lineage.standing, RecordStanding::Kept);
        let reasons = lineage.verdicts.iter().map(|v| v.verdict.reason.as_str());
        assert!(reasons.into_iter().any(|reason| reason == "corrected"));
    }
}

#[test]
fn every_drop_says_why_and_both_other_models_judge() {
    let world = run();
    let validate = verdicts(&world, StageName::Validate);
    let check = |instruction: &str, reason: &str, rule: &str, note: &str| {
        let found = validate
            .iter()
            .find(|v| v.text.contains(instruction))
            .expect("a verdict");
        let verdict = &found.verdict;
        assert_eq!(
            (verdict.reason.as_str(), verdict.rule.name.as_str()),
            (reason, rule)
        );
        let told = verdict.evidence.note.clone().unwrap_or_default();
        assert!(told.contains(note), "{told}");
    };
    check("Tell a joke", "refusal", "checks", "i am just an ai");
    check(
        "Guess the number.",
        "inconsistent",
        "consistency",
        "answered again: \"It may be",
    );
    check("Name a tree.", "low_score", "score", "second: at least 2");
    check("Name a bird.", "low_score", "score", "far: at least 2");
    let report = report(&world);
    let [used] = report.remote_models.as_slice() else {
        panic!("one remote model: {:?}", report.remote_models);
    };
    assert_eq!(
        (used.stage.as_str(), used.used.model.as_str()),
        ("validate", "far")
    );
    assert!(used.used.requests > 0);
}

#[test]
fn a_run_cut_off_after_any_write_decides_the_same() {
    let straight = run();
    let writes = u64::MAX - straight.steps_left.load(Ordering::SeqCst);
    assert!(writes > 8, "too short to prove anything: {writes} writes");
    let expect = (kept(&straight), report(&straight).rounds);
    let told = |world: &World| {
        let state = world.state.lock().expect("no panic");
        let verdicts: BTreeMap<_, _> = state
            .verdicts
            .iter()
            .map(|(key, verdict)| ((key.clone(), verdict.record), verdict.clone()))
            .collect();
        verdicts
    };
    for cut_at in 0..writes {
        let world = world();
        world.revive(cut_at);
        let supervisor = Supervisor::new(ports(&world));
        supervisor.submit(WORKFLOW).expect("a right workflow");
        if settle(&supervisor, &world) != WorkflowState::Done {
            world.revive(u64::MAX);
            let supervisor = Supervisor::new(ports(&world));
            assert_eq!(
                supervisor.resume_all().expect("in memory"),
                1,
                "cut at {cut_at}"
            );
            assert_eq!(
                settle(&supervisor, &world),
                WorkflowState::Done,
                "cut at {cut_at}"
            );
        }
        assert_eq!(
            (kept(&world), report(&world).rounds),
            expect,
            "cut at {cut_at}"
        );
        assert_eq!(told(&world), told(&straight), "cut at {cut_at}");
    }
}
