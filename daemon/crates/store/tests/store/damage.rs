//! Files that were damaged from outside: errors that say what to do, no panic, nothing deleted.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use autodidact_domain::random::Random;
use autodidact_domain::{CheckpointId, DatasetName, PortError, WorkflowName};
use autodidact_store::{Store, StoreError};

use crate::make;

fn fill(path: &Path) {
    let mut random = Random::from_seed(5);
    for _ in 0..2 {
        let store = make::open(path);
        for i in 0..6 {
            let name = format!("n{i}");
            store
                .checkpoints()
                .save(
                    &CheckpointId::new(&*name).expect("a name"),
                    &make::checkpoint(&mut random, 90_000),
                )
                .expect("save");
            let examples: Vec<_> = (0..200).map(|_| make::example(&mut random)).collect();
            store
                .datasets()
                .put(
                    &DatasetName::new(&*name).expect("a name"),
                    &examples,
                    "test",
                    None,
                )
                .expect("put");
            let workflow = make::workflow(&mut random, &name);
            for _ in 0..10 {
                let key = make::step(&mut random, &workflow.spec.name);
                let verdicts = make::verdicts(&mut random, &key, 20);
                // A step drawn twice is refused, which is no matter here.
                let _ = store
                    .journal()
                    .commit(&key, serde_json::json!(1), &verdicts);
            }
            let _ = store.workflows().create(workflow);
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("make a folder");
    for entry in fs::read_dir(from).expect("list") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copy");
        }
    }
}

fn files(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).expect("list") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path))
        } else {
            found.push(path)
        }
    }
    found.sort();
    found
}

fn damage(file: &Path, random: &mut Random) -> &'static str {
    let mut bytes = fs::read(file).expect("read");
    let (at, kind) = (random.below(bytes.len()), random.below(6));
    let end = bytes.len().min(at + 1 + random.below(8192));
    let what = match kind {
        0 => {
            bytes[at] ^= 1 << random.below(8);
            "one bit"
        }
        1 => {
            bytes[at..end]
                .iter_mut()
                .for_each(|byte| *byte = random.next_u64() as u8);
            "a stretch of noise"
        }
        2 => {
            bytes[at..end].fill(0);
            "a stretch of zeros"
        }
        3 => {
            bytes.truncate(at);
            "cut short"
        }
        4 => {
            bytes
                .iter_mut()
                .for_each(|byte| *byte = random.next_u64() as u8);
            "all noise"
        }
        _ => {
            let at = at / 4096 * 4096;
            let block = bytes[..4096.min(bytes.len())].to_vec();
            let end = bytes.len().min(at + block.len());
            bytes[at..end].copy_from_slice(&block[..end - at]);
            "the first block over another"
        }
    };
    fs::write(file, bytes).expect("write");
    what
}

/// Reads everything; only errors that a damaged store may give are let through.
fn read_all(store: &Store) -> usize {
    let mut errors = 0;
    let mut note = |error: Option<PortError>| {
        if let Some(error) = error {
            assert!(
                matches!(
                    error,
                    PortError::Corrupt(_)
                        | PortError::NotFound { .. }
                        | PortError::Internal(_)
                        | PortError::Unavailable(_)
                ),
                "{error:?}"
            );
            errors += 1;
        }
    };
    for i in 0..6 {
        let name = format!("n{i}");
        note(
            store
                .checkpoints()
                .load(&CheckpointId::new(&*name).expect("a name"))
                .err(),
        );
        let dataset = DatasetName::new(&*name).expect("a name");
        for version in 1..3 {
            note(
                store
                    .datasets()
                    .records(&dataset, version, 0, usize::MAX)
                    .err(),
            );
        }
        let workflow = WorkflowName::new(&*name).expect("a name");
        note(store.journal().steps(&workflow).err());
        note(store.journal().verdicts(&workflow, 0, usize::MAX).err());
    }
    note(store.checkpoints().list().err());
    note(store.datasets().list().err());
    note(store.workflows().list().err());
    note(store.events().after(0, None, 10).err());
    errors
}

#[test]
fn damage_anywhere_gives_errors_and_no_panic() {
    let template = tempfile::tempdir().expect("a temporary folder");
    fill(template.path());
    assert_eq!(read_all(&make::open(template.path())), 0);
    let (mut refused, mut partly) = (0, 0);
    for seed in 0..60 {
        let directory = tempfile::tempdir().expect("a temporary folder");
        copy(template.path(), directory.path());
        let mut random = Random::at(seed, &["damage"]);
        let targets = files(directory.path());
        let target = &targets[random.below(targets.len())];
        let what = damage(target, &mut random);
        println!(
            "seed {seed}: {what} in {}",
            target
                .strip_prefix(directory.path())
                .expect("inside")
                .display()
        );
        match Store::open(directory.path(), Arc::new(make::Counting::default())) {
            Ok(store) => partly += usize::from(read_all(&store) > 0),
            Err(StoreError::Damaged { moved_to, .. }) => {
                refused += 1;
                let moved = files(&moved_to).len();
                assert!(
                    moved >= targets.len(),
                    "nothing was deleted: {moved} of {}",
                    targets.len()
                );
                // A new store begins in its place.
                let store = make::open(directory.path());
                assert_eq!(store.datasets().list(), Ok(vec![]));
            }
            // Left in place: a configuration that names another version of sled, or a log cut to nothing.
            Err(StoreError::Database(text)) if text.contains("pagecache version") => refused += 1,
            Err(StoreError::Incomplete { .. }) => refused += 1,
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
    println!("{refused} refused at opening, {partly} with errors on reading");
    assert!(refused > 0 && partly > 0, "{refused} {partly}");
}

#[test]
fn a_store_in_use_is_not_opened_again() {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let store = make::open(directory.path());
    let error = Store::open(directory.path(), Arc::new(make::Counting::default()))
        .err()
        .expect("in use");
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    assert!(error.to_string().contains("stop the other daemon"));
    drop(store);
    make::open(directory.path());
}

#[test]
fn half_a_store_is_refused() {
    for lost in ["content", "journal"] {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let mut random = Random::from_seed(1);
        let name = DatasetName::new("d").expect("a name");
        make::open(directory.path())
            .datasets()
            .put(&name, &[make::example(&mut random)], "test", None)
            .expect("put");
        let elsewhere = tempfile::tempdir().expect("a temporary folder");
        fs::rename(directory.path().join(lost), elsewhere.path().join(lost)).expect("move");
        let error = Store::open(directory.path(), Arc::new(make::Counting::default()))
            .err()
            .expect("half");
        assert!(
            matches!(error, StoreError::Incomplete { .. }),
            "{lost}: {error}"
        );
        fs::remove_dir_all(directory.path().join(lost)).expect("remove the empty one");
        fs::rename(elsewhere.path().join(lost), directory.path().join(lost)).expect("move back");
        assert_eq!(
            make::open(directory.path())
                .datasets()
                .list()
                .expect("list")
                .len(),
            1
        );
    }
}

#[test]
fn a_closed_store_takes_no_writes() {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let store = make::open(directory.path());
    let name = DatasetName::new("d").expect("a name");
    store.datasets().put(&name, &[], "test", None).expect("put");
    store.close().expect("close");
    assert!(
        matches!(store.datasets().delete(&name), Err(PortError::Unavailable(text)) if text.contains("shutting down"))
    );
    assert_eq!(store.datasets().list().expect("list").len(), 1);
}
