//! A child process that writes, killed at random moments: what it acknowledged is there, and nothing is half there.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use autodidact_domain::journal::StageName;
use autodidact_domain::random::Random;
use autodidact_domain::{CheckpointId, DatasetName, Decision, EventBody, StepKey, WorkflowName};

use crate::make;

const FOLDER: &str = "AUTODIDACT_STORE_KILL_FOLDER";

/// Makes the command that runs one test of this file in a process of its own.
pub(crate) fn child(test: &str) -> Vec<String> {
    let program = std::env::current_exe()
        .expect("the test's own program")
        .display()
        .to_string();
    [
        &program,
        "--exact",
        test,
        "--ignored",
        "--nocapture",
        "--test-threads=1",
    ]
    .map(String::from)
    .to_vec()
}

fn workflow() -> WorkflowName {
    WorkflowName::new("w").expect("a name")
}

fn step(index: u32) -> StepKey {
    StepKey {
        workflow: workflow(),
        round: 1,
        stage: StageName::Filter,
        index,
    }
}

fn acknowledge(what: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "acknowledged {what}")
        .and_then(|()| out.flush())
        .expect("the parent listens until it kills");
}

#[test]
#[ignore = "the child of the test below"]
fn write_until_killed() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        return;
    };
    let store = make::open(&folder);
    let begun = store.journal().steps(&workflow()).expect("steps");
    let first = begun.iter().filter(|step| step.result.is_some()).count() as u32;
    for index in first.. {
        let mut random = Random::at(1, &["kill", &index.to_string()]);
        let key = step(index);
        store.journal().begin(&key).expect("begin");
        let checkpoint = make::checkpoint(&mut random, 300_000);
        store
            .checkpoints()
            .save(
                &CheckpointId::new(format!("c{}", index % 3)).expect("a name"),
                &checkpoint,
            )
            .expect("save");
        let examples: Vec<_> = (0..200).map(|_| make::example(&mut random)).collect();
        store
            .datasets()
            .put(
                &DatasetName::new("d").expect("a name"),
                &examples,
                "kill",
                None,
            )
            .expect("put");
        let event = store
            .events()
            .publish(
                None,
                EventBody::Warning {
                    message: index.to_string(),
                },
            )
            .expect("publish");
        acknowledge(&format!("event {}", event.sequence));
        let verdicts = make::verdicts(&mut random, &key, 64);
        store
            .journal()
            .commit(&key, serde_json::json!({ "index": index }), &verdicts)
            .expect("commit");
        acknowledge(&format!("step {index}"));
    }
}

/// Runs the child until it acknowledged something and a random time went by; gives the last step and event.
fn run_and_kill(folder: &Path, random: &mut Random) -> (Option<u32>, u64) {
    let command = child("kill::write_until_killed");
    let mut process = Command::new(&command[0])
        .args(&command[1..])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("start the child");
    let lines = BufReader::new(process.stdout.take().expect("piped")).lines();
    let reader = std::thread::spawn(move || {
        let (mut step, mut event) = (None, 0);
        for line in lines.map_while(Result::ok) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["acknowledged", "step", index] => step = index.parse().ok(),
                ["acknowledged", "event", sequence] => event = sequence.parse().expect("a number"),
                _ => {}
            }
        }
        (step, event)
    });
    std::thread::sleep(Duration::from_millis(300 + random.below(900) as u64));
    process.kill().expect("kill");
    process.wait().expect("wait");
    reader.join().expect("read what was acknowledged")
}

#[test]
fn what_was_acknowledged_survives_kills() {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let mut random = Random::at(2, &["kill", "moments"]);
    let (mut steps, mut events) = (0, 0);
    for kill in 0..8 {
        let (step, event) = run_and_kill(directory.path(), &mut random);
        steps = step.map_or(steps, |index| index as usize + 1);
        events = event.max(events);
        println!("kill {kill} after step {step:?}, event {event}");
        let store = make::open(directory.path());
        let committed = store.journal().steps(&workflow()).expect("steps");
        let done = committed
            .iter()
            .filter(|record| record.result.is_some())
            .count();
        assert!(done >= steps, "{done} steps, {steps} acknowledged");
        assert!(committed.len() <= done + 1, "one step at a time");
        assert!(store.events().last_sequence() >= events);
        let verdicts = store
            .journal()
            .verdicts(&workflow(), 0, usize::MAX)
            .expect("verdicts");
        assert_eq!(verdicts.len(), done * 64);
        let kept = |stage| {
            verdicts
                .iter()
                .filter(|v| v.stage == stage && v.verdict.decision == Decision::Keep)
                .count() as u64
        };
        for (stage, _) in StageName::ALL {
            assert_eq!(
                store
                    .journal()
                    .verdict_counts(&workflow(), 1, stage)
                    .expect("counts")
                    .0,
                kept(stage)
            );
        }
        for summary in store.checkpoints().list().expect("list") {
            store
                .checkpoints()
                .load(&summary.id)
                .expect("whole, whichever one it is");
        }
        for summary in store.datasets().list().expect("list") {
            for version in 1..=summary.version {
                let records = store
                    .datasets()
                    .records(&summary.name, version, 0, usize::MAX)
                    .expect("records");
                assert_eq!(records.len(), 200);
            }
        }
    }
    assert!(steps >= 3, "the child got somewhere: {steps}");
}
