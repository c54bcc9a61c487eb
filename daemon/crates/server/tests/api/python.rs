//! The example client in Python, made from the `.proto` files alone.

use std::path::{Path, PathBuf};
use std::process::Output;

use autodidact_domain::WorkflowState;

use crate::harness::{Daemon, TOKEN, eventually, waiting};

async fn run(arguments: &[&str], workflow: PathBuf) -> Output {
    let python = std::env::var("AUTODIDACT_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../examples/clients/python/submit_and_watch.py");
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    let run = move || {
        std::process::Command::new(python)
            .arg(script)
            .args(arguments)
            .arg(workflow)
            .env("AUTODIDACT_TOKEN", TOKEN)
            .output()
    };
    tokio::task::spawn_blocking(run).await.unwrap().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
#[ignore = "needs a Python with grpcio-tools and grpcio-status; AUTODIDACT_TEST_PYTHON names it"]
async fn the_python_client_submits_and_watches_to_the_end() {
    let daemon = Daemon::start().await;
    let folder = tempfile::tempdir().unwrap();
    let socket = daemon.socket.display().to_string();
    let targets = [["--socket", &socket], ["--address", &daemon.address]];
    for (target, name) in targets.iter().zip(["over-unix", "over-tcp"]) {
        let file = folder.path().join(name);
        std::fs::write(&file, waiting(name)).unwrap();
        let before = daemon.world.listeners();
        let (ended, ()) = tokio::join!(run(target, file), async {
            // Once someone listens, the watch has begun.
            let world = daemon.world.clone();
            eventually("the client watches", || world.listeners() > before).await;
            daemon.set_state(&name.parse().unwrap(), WorkflowState::Done);
        });
        assert!(ended.status.success(), "{}", text(&ended.stderr));
        assert!(text(&ended.stderr).contains(&format!("submitted {name}")));
        let lines = text(&ended.stdout);
        // The end is either told as an event or found in the snapshot.
        assert!(
            lines.contains("state done") || lines.contains("0 stages so far"),
            "{lines}"
        );
    }

    let file = folder.path().join("faulty");
    std::fs::write(
        &file,
        "name: faulty\nmodel: tiny\nrounds: -1\nstages:\n  train: {}\n",
    )
    .unwrap();
    let ended = run(&targets[0], file).await;
    assert_eq!(ended.status.code(), Some(1));
    assert!(
        text(&ended.stderr).contains("line 3: rounds"),
        "{}",
        text(&ended.stderr)
    );
}
