//! Held-out tasks stay apart from all that is trained on, judges are measured, seeds are looked at, and a worse adapter is rolled back.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use autodidact_domain::ports::Datasets;
use autodidact_domain::{
    Body, DatasetName, EventBody, Example, Language, Message, Report, TaskType, WorkflowName,
    WorkflowState,
};
use autodidact_flow::Supervisor;
use common::{Fake, World, ports};

const LOOP: &str = "
name: run
model: tiny
seeds: seeds
held_out: held
stages:
  generate: {target: 6, batch: 4, human_examples: 3, generated_examples: 0}
  filter: {chain: [exact]}
  respond: {batch: 3, examples: 0, classify: true}
  train: {batch_size: 4, checkpoint_steps: 9}
  evaluate: {batch: 4}
  promote:
";

fn world(seeds: &[Example], held_out: &[Example]) -> Arc<World> {
    let world = Arc::new(World::default());
    world.revive(u64::MAX);
    put(&world, "seeds", seeds);
    put(&world, "held", held_out);
    world
}

fn put(world: &Arc<World>, name: &str, examples: &[Example]) {
    let name = DatasetName::new(name).expect("a plain name");
    let fake = Fake(Arc::clone(world));
    fake.put(&name, examples, "test", None).expect("in memory");
}

fn task(instruction: &str, input: &str) -> Example {
    Example::human(Body::instruction(instruction, input, "An answer."))
}

fn seeds() -> Vec<Example> {
    (0..12)
        .map(|i| {
            task(
                &format!("Tell number {i} of all the things that are known."),
                "",
            )
        })
        .collect()
}

fn held_out() -> Vec<Example> {
    (0..6)
        .map(|i| {
            task(
                &format!("Explain why {i} lamps burn in an empty house at night."),
                "",
            )
        })
        .collect()
}

fn named(name: &str) -> WorkflowName {
    WorkflowName::new(name).expect("a plain name")
}

/// Waits until a workflow has ended, well or cut off.
fn settle(supervisor: &Supervisor, world: &World, name: &str) -> (WorkflowState, String) {
    let started = Instant::now();
    let summary = || world.state.lock().expect("no panic").workflows[&named(name)].clone();
    while !summary().state.is_final() && !world.cut.load(Ordering::SeqCst) {
        assert!(started.elapsed() < Duration::from_secs(30), "{name} hangs");
        std::thread::sleep(Duration::from_millis(1));
    }
    supervisor.shutdown();
    (summary().state, summary().message)
}

fn report(world: &World, name: &str) -> Report {
    world.state.lock().expect("no panic").reports[&named(name)].clone()
}

fn run(world: &Arc<World>, yaml: &str, name: &str) -> Report {
    let supervisor = Supervisor::new(ports(world));
    supervisor.submit(yaml).expect("a right workflow");
    let (state, message) = settle(&supervisor, world, name);
    assert_eq!(state, WorkflowState::Done, "{message}");
    report(world, name)
}

fn warnings(world: &World) -> Vec<String> {
    let events = world.state.lock().expect("no panic").events.clone();
    let warning = |body| match body {
        EventBody::Warning { message } => Some(message),
        _ => None,
    };
    events.into_iter().filter_map(|e| warning(e.body)).collect()
}

/// The instructions that a stage dropped as held-out tasks, with the tasks' texts.
fn contaminated(world: &World, stage: &str) -> Vec<(String, String)> {
    let state = world.state.lock().expect("no panic");
    let found = state.verdicts.iter().filter(|(_, recorded)| {
        recorded.stage.name() == stage && recorded.verdict.reason == "contaminated"
    });
    found
        .map(|(_, recorded)| {
            let nearest = recorded.verdict.evidence.nearest_text.clone();
            (recorded.text.clone(), nearest.unwrap_or_default())
        })
        .collect()
}

fn kept(world: &World) -> Vec<Example> {
    let state = world.state.lock().expect("no panic");
    let versions = &state.datasets[&DatasetName::new("run").expect("a plain name")];
    versions.last().expect("a version").1.clone()
}

#[test]
fn held_out_tasks_among_the_seeds_are_refused_with_the_pairs() {
    let all = [seeds(), held_out()].concat();
    let supervisor = Supervisor::new(ports(&world(&all, &held_out())));
    let faults = supervisor.check(LOOP).expect_err("six tasks are seeds");
    assert_eq!(faults.len(), 7, "{faults:?}");
    assert!(
        faults
            .iter()
            .all(|f| (f.line, f.path.as_str()) == (5, "held_out"))
    );
    assert_eq!(faults[0].found, "6 pairs");
    assert!(
        faults[0].expected.contains("contamination"),
        "{}",
        faults[0]
    );
    assert!(
        faults[3].message.contains("Explain why 2 lamps"),
        "{}",
        faults[3]
    );
    assert!(supervisor.submit(LOOP).is_err());

    // Of many the first ten are named, and the rest is counted.
    let numbers = "零一二三四五六七八九十百千万亿";
    let many: Vec<Example> = numbers
        .chars()
        .map(|c| task(&format!("请写出{c}种水果的名称。"), ""))
        .collect();
    let nearly: Vec<Example> = numbers
        .chars()
        .map(|c| task(&format!("请写出{c}种水果的名称吧"), ""))
        .collect();
    let supervisor = Supervisor::new(ports(&world(&many, &nearly)));
    let faults = supervisor.check(LOOP).expect_err("fifteen are near");
    assert_eq!(faults.len(), 11);
    let first = faults[0].to_string();
    assert!(
        first.contains("5 more") && first.contains("15 pairs"),
        "{first}"
    );

    // Other limits let them stand: the same is no more than near.
    let lenient = LOOP.replace(
        "evaluate: {batch: 4}",
        "evaluate: {contamination: {rouge_l: 0.99}}",
    );
    assert!(supervisor.check(&lenient).is_ok());
}

/// Reads a record of the examples in whichever form it stands.
fn read_record(line: &str) -> Example {
    let record: serde_json::Value = serde_json::from_str(line).expect("JSON");
    let text = |field: &str| record[field].as_str().unwrap_or_default();
    let body = match (record["messages"].as_array(), record["tokens"].as_array()) {
        (Some(messages), _) => Body::Chat {
            messages: messages
                .iter()
                .map(|m| serde_json::from_value(m.clone()).expect("a turn"))
                .collect(),
        },
        (_, Some(tokens)) => Body::Text {
            text: tokens
                .iter()
                .filter_map(|token| token.as_str())
                .collect::<Vec<_>>()
                .join(" "),
        },
        _ if record["text"].is_string() => Body::Text {
            text: text("text").to_string(),
        },
        _ => Body::instruction(
            text("instruction"),
            record["instances"][0]["input"].as_str().unwrap_or_default(),
            "An answer.",
        ),
    };
    Example {
        task_type: TaskType::from_name(text("task_type")),
        topic: record["topic"].as_str().map(str::to_string),
        ..Example::human(body)
    }
}

#[test]
fn the_projects_own_data_holds_its_tasks_apart() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../examples/data");
    let read = |name: &str| -> Option<Vec<Example>> {
        let text = std::fs::read_to_string(format!("{folder}/{name}.jsonl")).ok()?;
        Some(text.lines().map(read_record).collect())
    };
    let mut compared = 0;
    for entry in std::fs::read_dir(folder).expect("the examples are there") {
        let file = entry.expect("readable").file_name();
        let file = file.to_string_lossy().into_owned();
        let Some((before, after)) = file.trim_end_matches(".jsonl").split_once("heldout") else {
            continue;
        };
        let seeds = read(&format!("{before}train{after}"));
        let seeds = seeds.or_else(|| read(&format!("{before}seeds{after}")));
        let held_out = read(file.trim_end_matches(".jsonl")).expect("there");
        let world = world(&seeds.expect("its counterpart"), &held_out);
        let yaml = match after {
            "-zh" => LOOP.replace("model: tiny", "languages: [zh]\nmodel: tiny"),
            _ => LOOP.to_string(),
        };
        let checked = Supervisor::new(ports(&world)).check(&yaml);
        let checked = checked.unwrap_or_else(|faults| panic!("{file}: {faults:?}"));
        if before.is_empty() {
            assert_eq!(checked.warnings, [], "{file}");
        }
        compared += 1;
    }
    assert_eq!(compared, 11);
}

#[test]
fn a_generated_held_out_task_is_dropped_before_the_chain_and_after_the_answer() {
    let yaml = LOOP.replace("target: 6", "target: 24");
    let classification = |i: u32| Example {
        task_type: Some(TaskType::Classification),
        ..Example::human(Body::instruction(
            "Is that so?",
            &format!("Thing {i}."),
            "right",
        ))
    };
    let seeds = [seeds(), (0..4).map(classification).collect()].concat();
    let first = world(&seeds, &held_out());
    run(&first, &yaml, "run");
    assert_eq!(contaminated(&first, "filter"), []);
    let kept = kept(&first);

    // One is a held-out task itself.
    let text = kept[0].body.instruction_text().to_string();
    let with_it = world(&seeds, &[held_out(), vec![task(&text, "")]].concat());
    let report = run(&with_it, &yaml, "run");
    let found = contaminated(&with_it, "filter");
    assert!(found.contains(&(text.clone(), text)), "{found:?}");
    assert!(!self::kept(&with_it).iter().any(|e| e.id == kept[0].id));
    for stage in &report.rounds[0].stages {
        assert_eq!(stage.taken, stage.kept + stage.dropped, "{}", stage.name);
    }

    // Another becomes one by its input, which the instruction alone does not show.
    let is_short = |example: &&Example| {
        let words = autodidact_text::count_tokens(&example.body.instruction_text());
        !example.body.input_text().is_empty() && words == 4
    };
    let short = kept.iter().find(is_short).expect("a classification");
    let instruction = short.body.instruction_text();
    let other = instruction.replace("Describe", "Explain");
    let other = other.replace("please", "now");
    let similar = task(&other, short.body.input_text());
    let with_it = world(&seeds, &[held_out(), vec![similar]].concat());
    let report = run(&with_it, &yaml, "run");
    assert_eq!(contaminated(&with_it, "filter"), []);
    let found = contaminated(&with_it, "respond");
    let (text, near) = &found[0];
    assert_eq!(*text, instruction);
    assert!(near.starts_with(&other), "{near}");
    assert!(!self::kept(&with_it).iter().any(|e| e.id == short.id));
    for stage in &report.rounds[0].stages {
        assert_eq!(stage.taken, stage.kept + stage.dropped, "{}", stage.name);
    }
}

#[test]
fn a_workflow_without_a_filter_still_holds_candidates_to_the_held_out_tasks() {
    let yaml = LOOP.replace("  filter: {chain: [exact]}\n", "");
    let first = world(&seeds(), &held_out());
    run(&first, &yaml, "run");
    let instruction = kept(&first)[0].body.instruction_text().to_string();
    let more = task(&instruction, "");
    let world = world(&seeds(), &[held_out(), vec![more]].concat());
    let report = run(&world, &yaml, "run");
    let filter = report.rounds[0].stages.iter().find(|s| s.name == "filter");
    assert!(filter.expect("it stands there").reasons["contaminated"] >= 1);
    let is_kept = |e: &Example| e.body.instruction_text() == instruction;
    assert!(!kept(&world).iter().any(is_kept));
}

#[test]
fn dropped_in_records_that_are_held_out_tasks_are_neither_shown_nor_trained_on() {
    let world = world(&seeds(), &held_out());
    let bound = format!("{LOOP}on_drop: seeds\n");
    let supervisor = Supervisor::new(ports(&world));
    supervisor.submit(&bound).expect("nothing overlaps yet");
    let dropped = [seeds(), held_out()[..2].to_vec()].concat();
    put(&world, "seeds", &dropped);
    let fake = Fake(Arc::clone(&world));
    let name = DatasetName::new("seeds").expect("a plain name");
    let version = Datasets::get(&fake, &name, None).expect("there");
    assert_eq!(
        supervisor
            .dataset_changed(&version)
            .expect("in memory")
            .len(),
        1
    );
    let (state, message) = settle(&supervisor, &world, "run-v2");
    assert_eq!(state, WorkflowState::Done, "{message}");
    let round = &report(&world, "run-v2").rounds[0];
    let train = round.stages.iter().find(|s| s.name == "train");
    let train = train.expect("it trained");
    assert_eq!(train.reasons["contaminated"], 2);
    assert_eq!(train.kept, train.taken - 2);
    let found = contaminated(&world, "train");
    assert!(found[0].0.starts_with("Explain why 0 lamps"), "{found:?}");
    let told = warnings(&world);
    let told = told
        .iter()
        .find(|message| message.starts_with("2 of 14 records"));
    assert!(told.expect("it is told").contains("Explain why 1 lamps"));
    let hidden: BTreeSet<_> = held_out().iter().map(|task| task.id).collect();
    let state = world.state.lock().expect("no panic");
    let (_, kept) = &state.datasets[&DatasetName::new("run-v2").expect("a plain name")][0];
    let mut shown = kept.iter().flat_map(|example| &example.lineage.seeds);
    assert!(shown.all(|seed| !hidden.contains(seed)));
}

#[test]
fn nothing_is_trained_on_where_all_is_held_out() {
    let world = world(&seeds(), &held_out());
    let yaml = "
name: run
model: tiny
seeds: seeds
held_out: held
stages:
  train: {batch_size: 4}
on_drop: seeds
";
    let supervisor = Supervisor::new(ports(&world));
    supervisor.submit(yaml).expect("nothing overlaps yet");
    put(&world, "seeds", &held_out());
    let fake = Fake(Arc::clone(&world));
    let name = DatasetName::new("seeds").expect("a plain name");
    let version = Datasets::get(&fake, &name, None).expect("there");
    supervisor.dataset_changed(&version).expect("in memory");
    let (state, message) = settle(&supervisor, &world, "run-v2");
    assert_eq!(state, WorkflowState::Failed);
    assert!(
        message.contains("all 6 examples overlap the held-out tasks"),
        "{message}"
    );
}

const JUDGED: &str = "
name: run
model: tiny
held_out: held
stages:
  evaluate: {batch: 4, judge: {model: far}}
";

/// Held-out tasks in both languages.
fn both_languages() -> Vec<Example> {
    let chinese = (0..3).map(|i| Example {
        language: Some(Language::Zh),
        ..Example::human(Body::Chat {
            messages: vec![
                Message::user(format!("请说明{i}盏灯为什么在夜里亮着。")),
                Message::assistant("因为有人。"),
            ],
        })
    });
    held_out().into_iter().chain(chinese).collect()
}

#[test]
fn a_judge_marks_every_answer_and_is_measured_against_people() {
    let world = world(&seeds(), &both_languages());
    let report = run(&world, JUDGED, "run");
    let judge = report.judge.as_ref().expect("there is one");
    assert_eq!(judge.model, "far");
    let counts: Vec<(&str, u64)> = judge
        .agreement
        .iter()
        .map(|of| (of.language.as_str(), of.n))
        .collect();
    assert_eq!(counts, [("all", 50), ("en", 25), ("zh", 25)]);
    let all = &judge.agreement[0];
    // The fake draws its marks, so it is right by chance alone.
    assert!((10..=40).contains(&all.agreed), "{all:?}");
    assert_eq!(all.unscored, 0);
    assert!(all.intervals["kappa"].low < 0.3 && all.intervals["share"].high < 0.95);
    for (evaluation, n) in report.evaluations.iter().zip([6, 3]) {
        let marks = evaluation.judge.as_ref().expect("judged");
        assert_eq!((marks.n, marks.unscored, marks.nonsense), (n, 0, 0));
        let interval = marks.intervals["mean_mark"];
        assert!(
            1.0 <= interval.low && interval.low <= marks.mean_mark,
            "{marks:?}"
        );
        assert!(
            marks.mean_mark <= interval.high && interval.high <= 5.0,
            "{marks:?}"
        );
        for figure in [
            "distinct_1",
            "distinct_2",
            "token_entropy",
            "nearest_similarity",
        ] {
            let (value, interval) = (evaluation.diversity[figure], evaluation.intervals[figure]);
            assert!(interval.low <= value && value <= interval.high, "{figure}");
        }
    }
    let markdown = autodidact_flow::report::to_markdown(&report);
    for part in [
        "## Marks of the judge far",
        "agreement with hand labels",
        "| all | 50 |",
    ] {
        assert!(markdown.contains(part), "{part:?} is not in\n{markdown}");
    }
}

#[test]
fn a_judge_that_mumbles_is_asked_twice_and_its_silence_is_counted() {
    let world = world(&seeds(), &both_languages());
    world.mumbles.store(true, Ordering::SeqCst);
    let report = run(&world, JUDGED, "run");
    for (evaluation, n) in report.evaluations.iter().zip([6, 3]) {
        let marks = evaluation.judge.as_ref().expect("judged");
        assert_eq!((marks.n, marks.unscored, marks.nonsense), (0, n, 2 * n));
        // The tasks are measured by all else.
        assert_eq!(evaluation.n, n);
    }
    let all = &report.judge.expect("there is one").agreement[0];
    assert_eq!((all.agreed, all.unscored, all.kappa), (0, 50, 0.0));
}

#[test]
fn a_judged_run_cut_off_after_any_write_ends_as_a_straight_one() {
    let straight = world(&seeds(), &both_languages());
    straight.revive(u64::MAX);
    let expect = run(&straight, JUDGED, "run");
    let writes = u64::MAX - straight.steps_left.load(Ordering::SeqCst);
    assert!(writes > 12, "too short to prove anything: {writes}");
    for cut_at in 0..writes {
        let world = world(&seeds(), &both_languages());
        world.revive(cut_at);
        let supervisor = Supervisor::new(ports(&world));
        supervisor.submit(JUDGED).expect("a right workflow");
        settle(&supervisor, &world, "run");
        world.revive(u64::MAX);
        let supervisor = Supervisor::new(ports(&world));
        supervisor.resume_all().expect("in memory");
        let (state, message) = settle(&supervisor, &world, "run");
        assert_eq!(state, WorkflowState::Done, "cut at {cut_at}: {message}");
        let report = report(&world, "run");
        assert_eq!(report.evaluations, expect.evaluations, "cut at {cut_at}");
        assert_eq!(report.judge, expect.judge, "cut at {cut_at}");
    }
}

#[test]
fn a_judge_beside_a_head_and_an_unknown_one_are_refused() {
    let supervisor = Supervisor::new(ports(&world(&seeds(), &held_out())));
    let faults = supervisor.check(&JUDGED.replace("far", "minilm"));
    let faults = faults.expect_err("an encoder cannot judge");
    assert_eq!(faults[0].path, "stages.evaluate.judge.model");
    assert_eq!(faults[0].line, 6);
    let head = JUDGED.replace(
        "stages:",
        "seeds: seeds\nstages:\n  train: {task_type: SEQ_CLS, labels: [a, b]}",
    );
    let faults = supervisor.check(&head).expect_err("a head needs no judge");
    assert!(
        faults
            .iter()
            .any(|fault| fault.path == "stages.evaluate.judge"),
        "{faults:?}"
    );
}

#[test]
fn what_seeds_lack_is_told_at_the_check_at_the_start_and_in_the_report() {
    let mut seeds = seeds();
    for (i, seed) in seeds.iter_mut().enumerate() {
        seed.task_type = (i > 0).then_some(TaskType::Writing);
    }
    let world = world(&seeds, &held_out());
    let supervisor = Supervisor::new(ports(&world));
    let checked = supervisor.check(LOOP).expect("warnings are no faults");
    let codes: Vec<&str> = checked.warnings.iter().map(|w| w.code.as_str()).collect();
    let expect = [
        "seeds_few",
        "seeds_near_duplicate",
        "seeds_without_task_type",
        "seeds_missing_task_types",
        "seeds_one_task_type",
        "seeds_without_topic",
    ];
    assert_eq!(codes, expect);
    let report = run(&world, LOOP, "run");
    let found = report.seeds.as_ref().expect("prompts are made from seeds");
    assert_eq!(found.warnings, checked.warnings);
    let messages: Vec<&String> = found.warnings.iter().map(|w| &w.message).collect();
    assert_eq!(warnings(&world).iter().collect::<Vec<_>>(), messages);
    let markdown = autodidact_flow::report::to_markdown(&report);
    assert!(markdown.contains("## Seeds: 12"), "{markdown}");
    assert!(
        markdown.contains("| en | writing | 11 | unknown 11 |"),
        "{markdown}"
    );
    assert!(
        markdown.contains("## Kept instructions by round"),
        "{markdown}"
    );
    let diversity = &report.rounds[0].diversity[0];
    assert!(diversity.figures["distinct_2"] > 0.0);
    assert_eq!(
        diversity.figures.keys().collect::<Vec<_>>(),
        diversity.intervals.keys().collect::<Vec<_>>()
    );
    // One that only trains makes no prompts, so balance is no matter.
    let trains = "name: a\nmodel: tiny\nseeds: seeds\nstages:\n  train:\n";
    assert_eq!(supervisor.check(trains).expect("right").warnings, []);
}

#[test]
fn warnings_are_told_in_the_first_language_and_not_again_after_a_restart() {
    let world = world(&seeds(), &held_out());
    let chinese = LOOP.replace("model: tiny", "languages: [zh, en]\nmodel: tiny");
    let supervisor = Supervisor::new(ports(&world));
    world.revive(10);
    supervisor.submit(&chinese).expect("a right workflow");
    settle(&supervisor, &world, "run");
    let told = warnings(&world);
    assert!(
        told.iter()
            .any(|message| message.starts_with("种子：没有中文种子")),
        "{told:?}"
    );
    world.revive(u64::MAX);
    let supervisor = Supervisor::new(ports(&world));
    supervisor.resume_all().expect("in memory");
    settle(&supervisor, &world, "run");
    let again = warnings(&world);
    let of_seeds = again.iter().filter(|message| message.starts_with("种子"));
    assert_eq!(of_seeds.count(), told.len());
}

#[test]
fn seeds_in_a_third_language_are_never_shown() {
    let foreign: Vec<Example> = ["図書館は何時に閉まりますか。", "Где находится библиотека?"]
        .iter()
        .map(|text| task(text, ""))
        .collect();
    let all = [foreign.clone(), seeds()[..3].to_vec()].concat();
    let world = world(&all, &held_out());
    run(&world, LOOP, "run");
    let told = warnings(&world);
    assert!(
        told.iter().any(|message| message.contains("2 are neither")),
        "{told:?}"
    );
    let foreign: BTreeSet<_> = foreign.iter().map(|seed| seed.id).collect();
    let kept = kept(&world);
    assert!(kept.len() >= 6);
    for example in kept {
        assert!(!example.lineage.seeds.is_empty());
        let shown = &example.lineage.seeds;
        assert!(shown.iter().all(|seed| !foreign.contains(seed)));
    }
    let alone = self::world(&all[..2], &held_out());
    let supervisor = Supervisor::new(ports(&alone));
    supervisor.submit(LOOP).expect("it is no fault");
    let (state, message) = settle(&supervisor, &alone, "run");
    assert_eq!(state, WorkflowState::Failed);
    assert!(message.contains("no seed is left"), "{message}");
}

#[test]
fn an_adapter_that_makes_the_model_worse_is_rolled_back_and_the_report_says_so() {
    for (language, word) in [("en", "rolled back, not surely better"), ("zh", "已回滚")] {
        let world = world(&seeds(), &held_out());
        world.harms.store(true, Ordering::SeqCst);
        let yaml = LOOP.replace(
            "model: tiny",
            &format!("languages: [{language}, en]\nmodel: tiny"),
        );
        let yaml = yaml.replace("[en, en]", "[en]");
        let report = run(&world, &yaml, "run");
        let round = &report.rounds[0];
        assert_eq!((round.promoted, &report.adapter), (Some(false), &None));
        assert!(
            round.promotion_reason.starts_with(word),
            "{}",
            round.promotion_reason
        );
        let stage = round.stages.iter().find(|s| s.name == "promote");
        assert_eq!(stage.expect("it decided").reasons["rolled_back"], 1);
        assert!(autodidact_flow::report::to_markdown(&report).contains(word));
    }
}
