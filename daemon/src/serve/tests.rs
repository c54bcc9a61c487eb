use std::time::{Duration, Instant};

use autodidact_client::{Client, Target, v1};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_takes_dropped_files_answers_calls_and_starts_again_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let config = || Config {
        threads: 1,
        ..Config::defaults(folder.path().join("data"))
    };
    let daemon = Daemon::start(config()).await.unwrap();
    assert!(
        Daemon::start(config()).await.is_err(),
        "a second one on the same directory"
    );

    let inbox = folder.path().join("data/inbox/seeds");
    std::fs::create_dir_all(&inbox).unwrap();
    std::fs::write(
        inbox.join("good.jsonl"),
        "{\"instruction\": \"Say hi.\", \"output\": \"Hi.\"}\n",
    )
    .unwrap();
    std::fs::write(inbox.join("bad.jsonl"), "{\"instruction\": \n").unwrap();
    let report = |name: &str| {
        let text = std::fs::read_to_string(inbox.join(format!("{name}.report.json"))).ok()?;
        serde_json::from_str::<serde_json::Value>(&text).ok()
    };
    let started = Instant::now();
    while report("good.jsonl").is_none() || report("bad.jsonl").is_none() {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "no report came"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(report("good.jsonl").unwrap()["dataset"], "seeds@1");
    assert_eq!(report("bad.jsonl").unwrap()["accepted"], 0);

    let socket = Target::Unix(folder.path().join("data/run/autodidact.sock"));
    let client = Client::connect(&socket).await.unwrap();
    let plugins = client
        .plugins()
        .list(v1::ListPluginsRequest::default())
        .await
        .unwrap()
        .into_inner()
        .plugins;
    assert_eq!(
        plugins.iter().filter(|plugin| plugin.builtin).count(),
        builtin_components().len()
    );
    assert_eq!(daemon.stop().await, None);

    let daemon = Daemon::start(config()).await.unwrap();
    let client = Client::connect(&socket).await.unwrap();
    let get = v1::GetDatasetRequest {
        name: "seeds".into(),
        version: None,
    };
    let dataset = client
        .datasets()
        .get(get)
        .await
        .unwrap()
        .into_inner()
        .dataset
        .unwrap();
    assert_eq!((dataset.version, dataset.records), (1, 1));
    assert_eq!(daemon.stop().await, None);
}
