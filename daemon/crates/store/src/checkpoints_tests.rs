use autodidact_domain::checkpoint::CheckpointMeta;
use autodidact_domain::{Digest, ModelName};

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

struct Fixture {
    directory: tempfile::TempDir,
    database: Arc<Database>,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let path = directory.path().join("content");
        let db = sled::Config::new().path(&path).open().expect("a database");
        let database = Arc::new(Database::new(db, &path, 0).expect("a database"));
        Self {
            directory,
            database,
        }
    }

    /// Opens the store on the same database, as after a kill.
    fn open(&self, tensor_file_bytes: u64) -> CheckpointStore {
        let files = TensorFiles::open(&self.directory.path().join("tensors")).expect("files");
        let options = Options {
            reserve_bytes: 0,
            tensor_file_bytes,
        };
        CheckpointStore::open(self.database.clone(), files, Arc::new(Epoch), options).expect("open")
    }

    fn tensor_files(&self) -> usize {
        std::fs::read_dir(self.directory.path().join("tensors"))
            .map_or(0, |entries| entries.count())
    }
}

fn id(text: &str) -> CheckpointId {
    CheckpointId::new(text).expect("a name")
}

fn checkpoint(seed: u32, elements: usize) -> Checkpoint {
    let tensor = |name: &str, seed: u32| NamedTensor {
        name: name.to_string(),
        shape: vec![2, elements / 2],
        data: (0..elements as u32 / 2 * 2)
            .map(|i| i.wrapping_mul(2_654_435_761).wrapping_add(seed) as f32)
            .collect(),
    };
    Checkpoint {
        meta: CheckpointMeta {
            method: "lora".into(),
            model: ModelName::new("m").expect("a name"),
            base_digest: Digest::of(b"base"),
            adapter_config: serde_json::json!({ "r": 8 }),
            step: seed,
            total_steps: 9,
            trainer_state: serde_json::json!({ "cursor": seed }),
            promoted_from: None,
        },
        adapter: vec![tensor("a", seed), tensor("b", seed + 1)],
        optimizer: vec![tensor("m", seed + 2)],
    }
}

#[test]
fn a_checkpoint_goes_round_is_written_once_and_may_be_replaced() {
    let fixture = Fixture::new();
    let store = fixture.open(u64::MAX);
    let (first, second) = (checkpoint(1, 400_000), checkpoint(5, 300_000));
    let summary = store.save(&id("c"), &first).expect("save");
    assert_eq!(summary.size, 3 * 400_000 * 4);
    assert_eq!(store.load(&id("c")).expect("load"), first);
    assert_eq!(store.save(&id("c"), &first).expect("save"), summary);
    // The same adapter without its optimizer shares every chunk.
    let keys = store.chunks.table().scan(&[]).count();
    let promoted = Checkpoint {
        optimizer: vec![],
        ..first.clone()
    };
    store.save(&id("promoted"), &promoted).expect("save");
    assert_eq!(store.chunks.table().scan(&[]).count(), keys);

    store.save(&id("c"), &second).expect("save");
    assert_eq!(store.load(&id("c")).expect("load"), second);
    assert_eq!(store.load(&id("promoted")).expect("load"), promoted);
    assert_eq!(store.list().expect("list").len(), 2);
    store.delete(&id("promoted")).expect("delete");
    store.delete(&id("c")).expect("delete");
    store.delete(&id("c")).expect("a missing one is no error");
    assert!(store.chunks.table().is_empty() && store.table.is_empty());
    let mut bad = first;
    bad.adapter[0].shape = vec![3];
    assert!(matches!(
        store.save(&id("c"), &bad),
        Err(PortError::Invalid(_))
    ));
}

#[test]
fn sets_that_are_too_big_for_sled_lie_in_files() {
    let fixture = Fixture::new();
    let store = fixture.open(1 << 20);
    let (first, second) = (checkpoint(1, 300_000), checkpoint(5, 300_000));
    store.save(&id("c"), &first).expect("save");
    assert_eq!(
        fixture.tensor_files(),
        2,
        "adapter and optimizer are over 1 MiB each"
    );
    assert_eq!(store.load(&id("c")).expect("load"), first);
    store.save(&id("d"), &first).expect("save");
    store.save(&id("c"), &second).expect("save");
    assert_eq!(fixture.tensor_files(), 4);
    assert_eq!(store.load(&id("d")).expect("load"), first);
    let file = std::fs::read_dir(fixture.directory.path().join("tensors"))
        .expect("list")
        .next()
        .expect("a file");
    let path = file.expect("an entry").path();
    let mut bytes = std::fs::read(&path).expect("read");
    bytes[1000] ^= 4;
    std::fs::write(&path, bytes).expect("write");
    let damaged = [id("c"), id("d")]
        .iter()
        .filter(|id| matches!(store.load(id), Err(PortError::Corrupt(_))))
        .count();
    assert_eq!(damaged, 1);
    // An unfinished file and those that nothing names any more go.
    std::fs::write(path.with_extension("unfinished"), b"half").expect("write");
    let store = fixture.open(1 << 20);
    assert_eq!(fixture.tensor_files(), 4);
    store.delete(&id("c")).expect("delete");
    store.delete(&id("d")).expect("delete");
    assert_eq!(fixture.tensor_files(), 0);
}

#[test]
fn a_write_cut_off_leaves_nothing_after_the_next_opening() {
    let fixture = Fixture::new();
    let store = fixture.open(1 << 20);
    let kept = checkpoint(1, 100_000);
    store.save(&id("kept"), &kept).expect("save");
    let keys = store.chunks.table().scan(&[]).count();
    // All of a write but its manifest: the draft, and most of the content. It shares the kept one's optimizer.
    let cut = Checkpoint {
        optimizer: kept.optimizer.clone(),
        ..checkpoint(9, 200_000)
    };
    let manifest = Manifest::describe(store.get(&id("kept")).expect("get"), &cut, 1 << 20);
    let mut draft = Draft::default();
    draft.add(&manifest);
    assert!(!draft.chunks.is_empty() && !draft.files.is_empty());
    store
        .put(&key(DRAFT, &id("cut")), &encode(&draft))
        .expect("draft");
    store
        .write_set(&manifest.sets[0], &cut.adapter)
        .expect("adapter");
    store
        .write_set(&manifest.sets[1], &cut.optimizer)
        .expect("optimizer");
    assert_eq!(fixture.tensor_files(), 1);
    assert!(matches!(
        store.load(&id("cut")),
        Err(PortError::NotFound { .. })
    ));

    let store = fixture.open(1 << 20);
    assert_eq!(store.chunks.table().scan(&[]).count(), keys);
    assert_eq!(fixture.tensor_files(), 0);
    assert_eq!(parts::scan(&store.table, DRAFT).count(), 0);
    assert_eq!(store.load(&id("kept")).expect("load"), kept);
    store.save(&id("cut"), &cut).expect("run again");
    assert_eq!(store.load(&id("cut")).expect("load"), cut);
}

#[test]
fn a_replacement_and_a_removal_cut_off_are_finished() {
    let fixture = Fixture::new();
    let store = fixture.open(u64::MAX);
    let (old, new) = (checkpoint(1, 100_000), checkpoint(5, 100_000));
    store.save(&id("c"), &old).expect("save");
    let mut draft = Draft::default();
    draft.add(&store.manifest(&id("c")).expect("read").expect("there"));
    store.save(&id("c"), &new).expect("save");
    // As if the removal of the old content had not happened yet.
    let mut writer = store.chunks.writer(&store.database);
    in_chunks(&old.adapter, |chunk| writer.put(Digest::of(chunk), chunk)).expect("write");
    writer.finish().expect("write");
    store
        .put(&key(DRAFT, &id("c")), &encode(&draft))
        .expect("draft");
    let store = fixture.open(u64::MAX);
    assert_eq!(store.load(&id("c")).expect("load"), new);
    // A removal that got as far as its draft and the manifest.
    let mut draft = Draft::default();
    draft.add(&store.manifest(&id("c")).expect("read").expect("there"));
    store
        .put(&key(DRAFT, &id("c")), &encode(&draft))
        .expect("draft");
    store.take(&key(MANIFEST, &id("c"))).expect("take");
    let store = fixture.open(u64::MAX);
    assert!(store.chunks.table().is_empty() && store.table.is_empty());
}

#[test]
fn one_wrong_byte_is_found_and_named() {
    let fixture = Fixture::new();
    let store = fixture.open(u64::MAX);
    let good = checkpoint(1, 100_000);
    store.save(&id("c"), &good).expect("save");
    let pairs: Vec<_> = store
        .chunks
        .table()
        .scan(&[])
        .map(|pair| pair.expect("read"))
        .collect();
    for (key, value) in pairs.iter().step_by(37) {
        let mut damaged = value.to_vec();
        damaged[value.len() / 2] ^= 1;
        store.chunks.table().insert(key, &damaged).expect("insert");
        let error = store.load(&id("c")).expect_err("damaged");
        assert!(
            matches!(&error, PortError::Corrupt(text) if text.contains("checkpoint c")),
            "{error}"
        );
        store.chunks.table().insert(key, value).expect("insert");
    }
    assert_eq!(store.load(&id("c")).expect("load"), good);
    // The manifest, too; and it can be removed or written again.
    let manifest = parts::get(&store.table, &key(MANIFEST, &id("c")))
        .expect("read")
        .expect("there");
    let mut damaged = manifest;
    damaged[200] ^= 1;
    store.put(&key(MANIFEST, &id("c")), &damaged).expect("put");
    assert!(
        matches!(store.load(&id("c")), Err(PortError::Corrupt(text)) if text.contains("checkpoint c"))
    );
    store.save(&id("c"), &good).expect("save");
    assert_eq!(store.load(&id("c")).expect("load"), good);
}

#[test]
fn room_is_asked_for_files_once_for_the_log_thrice_and_not_for_what_is_there() {
    let fixture = Fixture::new();
    let checkpoint = checkpoint(1, 1000);
    let [adapter, optimizer] = [8000, 4000];
    let takes = |store: &CheckpointStore| {
        let summary = CheckpointSummary {
            id: id("c"),
            meta: checkpoint.meta.clone(),
            adapter_digest: checkpoint.adapter_digest(),
            size: adapter + optimizer,
            created_ms: 7,
        };
        let manifest = Manifest::describe(summary, &checkpoint, store.options.tensor_file_bytes);
        store.takes(&manifest, &checkpoint).expect("a figure")
    };
    let [all_files, one_file, no_file] = [0, 5000, u64::MAX].map(|bytes| fixture.open(bytes));
    assert_eq!(takes(&all_files), adapter + optimizer);
    assert_eq!(takes(&one_file), adapter + 3 * optimizer);
    assert_eq!(takes(&no_file), 3 * (adapter + optimizer));
    let alone = Checkpoint {
        optimizer: Vec::new(),
        ..checkpoint.clone()
    };
    one_file.save(&id("alone"), &alone).expect("saved");
    assert_eq!(takes(&one_file), 3 * optimizer);
    no_file.save(&id("whole"), &checkpoint).expect("saved");
    assert_eq!(takes(&no_file), 0);
}
