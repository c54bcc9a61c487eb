//! A disk that is full: a clear error, and nothing acknowledged is lost.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use autodidact_domain::random::Random;
use autodidact_domain::{CheckpointId, DatasetName, EventBody, PortError};
use autodidact_store::{Options, Store};

use crate::{kill, make};

const FOLDER: &str = "AUTODIDACT_STORE_FULL_FOLDER";

#[test]
fn writes_are_refused_while_room_is_left() {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let mut random = Random::from_seed(1);
    let (name, id) = (
        DatasetName::new("d").expect("a name"),
        CheckpointId::new("c").expect("a name"),
    );
    let (examples, checkpoint) = (
        vec![make::example(&mut random)],
        make::checkpoint(&mut random, 100),
    );
    make::open(directory.path())
        .datasets()
        .put(&name, &examples, "test", None)
        .expect("put");

    let options = Options {
        reserve_bytes: u64::MAX / 2,
        ..Options::default()
    };
    let clock = Arc::new(make::Counting::default());
    let store =
        Store::open_with(directory.path(), clock, options).expect("a full disk can be read");
    let workflow = make::workflow(&mut random, "w");
    let key = make::step(&mut random, &workflow.spec.name);
    let refusals = [
        store.datasets().put(&name, &[], "test", None).err(),
        store.datasets().delete(&name).err(),
        store.checkpoints().save(&id, &checkpoint).err(),
        store.journal().begin(&key).err(),
        store
            .journal()
            .commit(&key, serde_json::json!(1), &[])
            .err(),
        store.workflows().create(workflow.clone()).err(),
        store.models().put(&workflow.pinned.model).err(),
        store
            .events()
            .publish(
                None,
                EventBody::Warning {
                    message: String::new(),
                },
            )
            .err(),
        store
            .requests()
            .remember("m", "1", name_digest(), b"x")
            .err(),
    ];
    for refusal in refusals {
        assert!(
            matches!(&refusal, Some(PortError::Unavailable(text)) if text.contains("free some space")),
            "{refusal:?}"
        );
    }
    assert_eq!(
        store.datasets().records(&name, 1, 0, 9),
        Ok(examples.clone())
    );
    drop(store);
    // With room again, everything goes on.
    let store = make::open(directory.path());
    assert_eq!(store.datasets().records(&name, 1, 0, 9), Ok(examples));
    store.checkpoints().save(&id, &checkpoint).expect("save");
}

fn name_digest() -> autodidact_domain::Digest {
    autodidact_domain::Digest::of(b"request")
}

#[test]
#[ignore = "the child of the test below"]
fn write_until_full() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        return;
    };
    let store = make::open(&folder);
    let mut random = Random::from_seed(3);
    for index in 0..100 {
        let checkpoint = make::checkpoint(&mut random, 300_000);
        match store.checkpoints().save(
            &CheckpointId::new(format!("c{index}")).expect("a name"),
            &checkpoint,
        ) {
            Ok(_) => println!("acknowledged {index}"),
            Err(error) => {
                println!("refused {error:?}");
                break;
            }
        }
    }
    let later = store.checkpoints().save(
        &CheckpointId::new("later").expect("a name"),
        &make::checkpoint(&mut random, 10),
    );
    println!("later {later:?}");
}

/// The shell's file size limit makes writes fail where the free space shows nothing, as a quota or a race would.
#[test]
fn a_write_that_fails_loses_nothing_acknowledged() {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let command = kill::child("full::write_until_full");
    let output = Command::new("sh")
        .args(["-c", r#"trap "" XFSZ; ulimit -f 32768; exec "$0" "$@""#])
        .args(&command)
        .env(FOLDER, directory.path())
        .output()
        .expect("run the child");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let acknowledged = text
        .lines()
        .filter(|line| line.starts_with("acknowledged"))
        .count();
    let refusal = text
        .lines()
        .find(|line| line.starts_with("refused"))
        .unwrap_or_else(|| panic!("{text}\n{errors}"));
    assert!(
        refusal.contains("Unavailable") && refusal.contains("free some space"),
        "{refusal}"
    );
    assert!(acknowledged > 0, "{text}");
    let store = make::open(directory.path());
    let mut random = Random::from_seed(3);
    for index in 0..acknowledged {
        let id = CheckpointId::new(format!("c{index}")).expect("a name");
        assert_eq!(
            store.checkpoints().load(&id),
            Ok(make::checkpoint(&mut random, 300_000))
        );
    }
    let listed = store.checkpoints().list().expect("list").len();
    assert!(listed <= acknowledged + 1, "{listed}");
}
