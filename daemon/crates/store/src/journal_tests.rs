use autodidact_domain::verdict::Evidence;
use autodidact_domain::{Digest, Verdict};

use super::*;

fn fixture() -> (tempfile::TempDir, JournalStore) {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let db = sled::Config::new()
        .path(directory.path())
        .open()
        .expect("a database");
    let database = Arc::new(Database::new(db, directory.path(), 0).expect("a database"));
    (directory, JournalStore::open(database).expect("open"))
}

fn step(index: u32) -> StepKey {
    StepKey {
        workflow: workflow(),
        round: 1,
        stage: StageName::Filter,
        index,
    }
}

fn workflow() -> WorkflowName {
    WorkflowName::new("w").expect("a name")
}

fn verdicts(count: usize, text_bytes: usize) -> Vec<RecordedVerdict> {
    let verdict = |i: usize| RecordedVerdict {
        round: 1,
        stage: StageName::Filter,
        record: Digest::of(&i.to_le_bytes()),
        text: "t".repeat(text_bytes),
        verdict: if i.is_multiple_of(3) {
            Verdict::drop("rules", "too_short", Evidence::default())
        } else {
            Verdict::keep("chain")
        },
    };
    (0..count).map(verdict).collect()
}

#[test]
fn a_commit_beyond_one_batch_counts_only_when_it_is_whole() {
    let (_directory, journal) = fixture();
    let result = serde_json::json!({ "text": "r".repeat(100_000) });
    journal
        .commit(&step(0), &result, &verdicts(5, 10))
        .expect("commit");
    journal.begin(&step(1)).expect("begin");
    // A commit cut off: a result and many verdicts, some of them long, but no markers.
    let mut writer = BatchWriter::new(&journal.table);
    parts::put(&mut writer, &result_key(&step(1)), &encode(&result)).expect("put");
    for (position, verdict) in (5..).zip(verdicts(1000, 6000)) {
        parts::put_new(
            &mut writer,
            &verdict_key(&workflow(), position),
            &encode(&verdict),
        )
        .expect("put");
    }
    writer.finish().expect("finish");
    assert_eq!(
        journal.read_steps(&workflow()).expect("steps")[1].result,
        None
    );
    assert_eq!(
        journal
            .read_verdicts(&workflow(), 0, 9999)
            .expect("verdicts")
            .len(),
        5
    );

    // The step runs again and gives less; nothing of the leftovers shows or stays.
    let again = verdicts(400, 4500);
    journal
        .commit(&step(1), &serde_json::json!(7), &again)
        .expect("commit");
    assert_eq!(
        journal
            .read_verdicts(&workflow(), 5, 9999)
            .expect("verdicts"),
        again
    );
    assert_eq!(
        journal.verdict_counts(&workflow(), 1, StageName::Filter),
        Ok((3 + 266, 2 + 134))
    );
    assert_eq!(
        journal.read_steps(&workflow()).expect("steps")[1].result,
        Some(serde_json::json!(7))
    );
    let records = journal.table.scan(&[0]).count();
    assert_eq!(records, 2 + 405, "two results and the verdicts");
    assert!(
        journal.table.scan(&[1]).count() < 25 + 1 + 400 * 2 + 1,
        "no parts beyond those"
    );
}

#[test]
fn a_committed_step_keeps_its_verdicts() {
    let (_directory, journal) = fixture();
    let (key, given) = (step(0), verdicts(10, 10));
    journal
        .commit(&key, &serde_json::json!(1), &given)
        .expect("commit");
    journal.begin(&key).expect("begin");
    assert_eq!(
        journal.read_steps(&workflow()).expect("steps")[0].result,
        Some(serde_json::json!(1))
    );
    journal
        .commit(&key, &serde_json::json!(2), &given)
        .expect("the same verdicts");
    assert_eq!(
        journal.read_steps(&workflow()).expect("steps")[0].result,
        Some(serde_json::json!(2))
    );
    for other in [&given[..9], &verdicts(10, 11)] {
        let error = journal
            .commit(&key, &serde_json::json!(3), other)
            .expect_err("other verdicts");
        assert!(matches!(error, PortError::Exists { .. }), "{error}");
    }
    assert_eq!(
        journal.verdict_counts(&workflow(), 1, StageName::Filter),
        Ok((6, 4))
    );
    assert_eq!(
        journal.read_verdicts(&workflow(), 0, 99).expect("verdicts"),
        given
    );
}

#[test]
fn a_usual_commit_takes_milliseconds() {
    let (_directory, journal) = fixture();
    let result = serde_json::json!({ "text": "r".repeat(20_000) });
    let mut times: Vec<_> = (0..50)
        .map(|index| {
            let start = std::time::Instant::now();
            journal
                .commit(&step(index), &result, &verdicts(64, 300))
                .expect("commit");
            start.elapsed()
        })
        .collect();
    times.sort();
    println!(
        "commit of 20 KB and 64 verdicts: median {:?}, longest {:?}",
        times[25], times[49]
    );
    // A hundred times the median on a quiet disk: a machine under load, not a change of the layout, stays below.
    assert!(times[25].as_millis() < 500, "{:?}", times[25]);
}
