use autodidact_domain::Body;

use super::*;

struct Epoch;

impl Clock for Epoch {
    fn now_ms(&self) -> u64 {
        7
    }

    fn peak_rss_mb(&self) -> u64 {
        0
    }
    fn rss_mb(&self) -> u64 {
        0
    }
}

fn open(path: &std::path::Path) -> DatasetStore {
    // After a drop, sled's threads let go of the file a moment later.
    let db = (0..100)
        .find_map(|_| {
            let db = sled::Config::new().path(path).open();
            db.inspect_err(|_| std::thread::sleep(std::time::Duration::from_millis(20)))
                .ok()
        })
        .expect("a database");
    let database = Arc::new(Database::new(db, path, 0).expect("a database"));
    DatasetStore::open(database, Arc::new(Epoch)).expect("open")
}

fn reopen(store: DatasetStore, path: &std::path::Path) -> DatasetStore {
    drop(store);
    open(path)
}

fn examples(range: std::ops::Range<usize>) -> Vec<Example> {
    range
        .map(|i| {
            Example::human(Body::instruction(
                &format!("Task {i}"),
                "",
                &"x".repeat(i * 40),
            ))
        })
        .collect()
}

fn name(text: &str) -> DatasetName {
    DatasetName::new(text).expect("a name")
}

#[test]
fn a_write_cut_off_leaves_nothing_after_the_next_opening() {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let store = open(directory.path());
    let first = store
        .put(&name("a"), &examples(0..200), "test", None)
        .expect("put");
    let keys = store.examples.table().scan(&[]).count();
    // The list and most of the examples of a second version, which shares half of them; no summary.
    let second = examples(100..400);
    let listed = list(&second);
    store
        .write_list(&name("a"), 2, &listed.examples)
        .expect("list");
    store
        .write_examples(&second[..250], &listed.examples[..250])
        .expect("examples");
    assert!(store.examples.table().scan(&[]).count() > keys);
    assert_eq!(store.get(&name("a"), None).expect("get"), first);

    let store = reopen(store, directory.path());
    assert_eq!(
        store.examples.table().scan(&[]).count(),
        keys,
        "what only the second version names is gone"
    );
    assert!(store.list_parts(&name("a"), 2).next().is_none());
    assert_eq!(
        store
            .records(&name("a"), 1, 0, usize::MAX)
            .expect("records"),
        examples(0..200)
    );
    // Run again, the same write goes through.
    let summary = store.put(&name("a"), &second, "test", None).expect("put");
    assert_eq!((summary.version, summary.records), (2, 300));
    assert_eq!(
        store.records(&name("a"), 2, 290, 100).expect("records"),
        second[290..]
    );
}

#[test]
fn deletion_frees_what_nothing_else_names() {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let store = open(directory.path());
    store
        .put(&name("a"), &examples(0..300), "test", None)
        .expect("put");
    store
        .put(&name("b"), &examples(200..500), "test", None)
        .expect("put");
    store.delete(&name("a")).expect("delete");
    assert_eq!(
        store
            .records(&name("b"), 1, 0, usize::MAX)
            .expect("records"),
        examples(200..500)
    );
    assert!(matches!(
        store.records(&name("a"), 1, 0, 1),
        Err(PortError::NotFound { .. })
    ));
    store.delete(&name("b")).expect("delete");
    assert!(store.examples.table().is_empty());
    let again = store
        .put(&name("a"), &examples(0..1), "test", None)
        .expect("put");
    assert_eq!(again.version, 2, "a version's number never comes twice");
}

#[test]
fn a_damaged_example_is_found() {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let store = open(directory.path());
    store
        .put(&name("a"), &examples(0..3), "test", None)
        .expect("put");
    let (key, mut value) = store
        .examples
        .table()
        .scan(&[])
        .next()
        .expect("a pair")
        .map(|(k, v)| (k, v.to_vec()))
        .expect("read");
    *value.last_mut().expect("not empty") ^= 1;
    store.examples.table().insert(&key, &value).expect("insert");
    assert!(matches!(
        store.records(&name("a"), 1, 0, 3),
        Err(PortError::Corrupt(_))
    ));
    // Writing the same content again mends it.
    store
        .put(&name("b"), &examples(0..3), "test", None)
        .expect("put");
    assert_eq!(
        store.records(&name("a"), 1, 0, 3).expect("records"),
        examples(0..3)
    );
}

#[test]
fn a_file_is_known_again_by_its_digest() {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let store = open(directory.path());
    let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
    let first = store
        .put(&name("a"), &examples(0..3), "one.json", Some(one))
        .expect("put");
    assert_eq!(
        store
            .put(&name("a"), &examples(0..3), "two.json", Some(two))
            .expect("put"),
        first
    );
    assert_eq!(
        store.by_source_digest(&name("a"), one).expect("find"),
        Some(first.clone())
    );
    assert_eq!(
        store.by_source_digest(&name("a"), two).expect("find"),
        Some(first)
    );
    assert_eq!(store.by_source_digest(&name("b"), one).expect("find"), None);
    let near = store.get(&name("aa"), None).expect_err("missing");
    assert!(matches!(near, PortError::NotFound { nearest: Some(nearest), .. } if nearest == "a"));
}
