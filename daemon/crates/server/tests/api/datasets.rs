//! Dataset calls: imports in chunks, records in pages, exports.

use std::sync::atomic::Ordering;

use autodidact_client::{ClientError, v1};
use autodidact_domain::ports::Datasets;
use autodidact_domain::{Body, DatasetName, Example};
use autodidact_server::Limits;
use tonic::Code;

use crate::harness::{Daemon, quick, waiting};

fn header(dataset: &str) -> v1::ImportHeader {
    v1::ImportHeader {
        dataset: dataset.into(),
        file_name: "file.txt".into(),
        ..Default::default()
    }
}

async fn upload(
    daemon: &Daemon,
    header: Option<v1::ImportHeader>,
    chunks: &[(u64, &[u8])],
) -> Result<(), String> {
    use v1::import_dataset_request::Message;
    let chunks = chunks.iter().map(|(offset, data)| {
        Message::Chunk(v1::Chunk {
            offset: *offset,
            data: data.to_vec(),
        })
    });
    let messages: Vec<v1::ImportDatasetRequest> = header
        .map(Message::Header)
        .into_iter()
        .chain(chunks)
        .map(|message| v1::ImportDatasetRequest {
            message: Some(message),
        })
        .collect();
    let answer = daemon
        .client
        .datasets()
        .import(tokio_stream::iter(messages))
        .await;
    answer
        .map(|_| ())
        .map_err(|status| ClientError::from(status).reason())
}

#[tokio::test]
async fn a_file_becomes_a_version_once() {
    let daemon = Daemon::start().await;
    let file = b"one\nbad\ntwo\n".to_vec();
    let first = daemon
        .client
        .import_dataset("seeds", "seeds.txt", file.clone(), "")
        .await
        .unwrap();
    let report = first.report.unwrap();
    assert_eq!(
        (report.accepted, report.refused, report.errors[0].line),
        (2, 1, 2)
    );
    assert_eq!(report.dataset.as_deref(), Some("seeds@1"));
    assert!(!first.already_present);
    let again = daemon
        .client
        .import_dataset("seeds", "other-name.txt", file.clone(), "")
        .await
        .unwrap();
    assert!(again.already_present);
    assert_eq!(again.dataset.unwrap().version, 1);
    assert_eq!(daemon.world.imports.load(Ordering::SeqCst), 1);

    let empty = daemon
        .client
        .import_dataset("seeds", "bad.txt", b"bad\n".to_vec(), "")
        .await
        .unwrap();
    assert!(empty.dataset.is_none());
    assert_eq!(empty.report.unwrap().refused, 1);
}

#[tokio::test]
async fn a_new_version_starts_the_workflow_bound_to_it() {
    let daemon = Daemon::start().await;
    daemon.submit(&waiting("bound"), "").await.unwrap();
    let imported = daemon
        .client
        .import_dataset("drops", "a.txt", b"one\n".to_vec(), "id")
        .await
        .unwrap();
    assert_eq!(imported.started_workflows, ["bound-v1"]);
    let repeated = daemon
        .client
        .import_dataset("drops", "a.txt", b"one\n".to_vec(), "id")
        .await
        .unwrap();
    assert_eq!(repeated, imported);
    daemon.stop().await.0.unwrap();
}

#[tokio::test]
async fn damaged_uploads_are_refused() {
    let daemon = Daemon::with_limits(Limits {
        import_bytes: 10,
        ..quick()
    })
    .await;
    let good = || Some(header("seeds"));
    let refused = |reason: &str| Err(reason.to_string());
    assert_eq!(
        upload(&daemon, good(), &[(0, b"abc\n"), (4, b"d\n")]).await,
        Ok(())
    );
    assert_eq!(
        upload(&daemon, good(), &[(0, b"abc\n"), (5, b"d\n")]).await,
        refused("WRONG_OFFSET")
    );
    assert_eq!(
        upload(&daemon, good(), &[(0, b"abc\n"), (0, b"abc\n")]).await,
        refused("WRONG_OFFSET")
    );
    assert_eq!(
        upload(&daemon, good(), &[(0, b"0123456789\n")]).await,
        refused("TOO_LARGE")
    );
    assert_eq!(
        upload(&daemon, None, &[(0, b"abc\n")]).await,
        refused("INVALID_ARGUMENT")
    );
    assert_eq!(
        upload(&daemon, None, &[]).await,
        refused("INVALID_ARGUMENT")
    );
    let path = v1::ImportHeader {
        file_name: "../../etc/passwd".into(),
        ..header("seeds")
    };
    assert_eq!(
        upload(&daemon, Some(path), &[(0, b"abc\n")]).await,
        refused("INVALID_ARGUMENT")
    );
    let sized = v1::ImportHeader {
        size: Some(5),
        ..header("seeds")
    };
    assert_eq!(
        upload(&daemon, Some(sized), &[(0, b"abc\n")]).await,
        refused("DIGEST_MISMATCH")
    );
    for digest in [
        v1::ContentDigest {
            blake3: Some("0".repeat(64)),
            sha256: None,
        },
        v1::ContentDigest {
            blake3: None,
            sha256: Some("0".repeat(64)),
        },
    ] {
        let digested = v1::ImportHeader {
            digest: Some(digest),
            ..header("seeds")
        };
        assert_eq!(
            upload(&daemon, Some(digested), &[(0, b"abc\n")]).await,
            refused("DIGEST_MISMATCH")
        );
    }
    assert_eq!(daemon.world.imports.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_message_over_the_cap_is_refused() {
    let daemon = Daemon::start().await;
    use v1::import_dataset_request::Message;
    let send = async |bytes: usize| {
        let chunk = v1::Chunk {
            offset: 0,
            data: vec![b'a'; bytes],
        };
        let messages = [Message::Header(header("seeds")), Message::Chunk(chunk)];
        let messages = messages.map(|message| v1::ImportDatasetRequest {
            message: Some(message),
        });
        // A client without a cap of its own.
        let raw = v1::dataset_service_client::DatasetServiceClient::new(daemon.client.connection());
        raw.clone()
            .import(tokio_stream::iter(messages))
            .await
            .map(|_| ())
            .map_err(|status| status.code())
    };
    assert_eq!(send((4 << 20) - 100).await, Ok(()));
    assert_eq!(send(4 << 20).await, Err(Code::OutOfRange));
}

#[tokio::test]
async fn a_sender_that_stalls_is_let_go() {
    let daemon = Daemon::with_limits(quick()).await;
    let first = v1::ImportDatasetRequest {
        message: Some(v1::import_dataset_request::Message::Header(header("seeds"))),
    };
    use tokio_stream::StreamExt;
    let stalled = tokio_stream::iter([first]).chain(tokio_stream::pending());
    let refused = daemon.client.datasets().import(stalled).await.unwrap_err();
    assert_eq!(ClientError::from(refused).reason(), "SLOW_PEER");
}

#[tokio::test]
async fn records_come_in_pages_of_one_version() {
    let daemon = Daemon::start().await;
    let lines = |count: usize| {
        (0..count)
            .map(|i| format!("task {i}\n"))
            .collect::<String>()
            .into_bytes()
    };
    daemon
        .client
        .import_dataset("tasks", "a.txt", lines(600), "")
        .await
        .unwrap();
    let mut datasets = daemon.client.datasets();
    let mut read = Vec::new();
    let mut request = v1::ListRecordsRequest {
        dataset: "tasks".into(),
        page_size: 250,
        ..Default::default()
    };
    loop {
        let page = datasets
            .list_records(request.clone())
            .await
            .unwrap()
            .into_inner();
        assert_eq!(page.version, 1);
        read.extend(page.records);
        // A version made between pages changes nothing.
        daemon
            .client
            .import_dataset("tasks", "b.txt", lines(3 + read.len()), "")
            .await
            .unwrap();
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    let text = |record: &v1::Example| match record.body.clone() {
        Some(v1::example::Body::Instruction(instruction)) => instruction.instruction,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        read.iter().map(text).collect::<Vec<_>>(),
        (0..600).map(|i| format!("task {i}")).collect::<Vec<_>>()
    );

    let get = |record| v1::GetRecordRequest {
        dataset: "tasks".into(),
        version: Some(1),
        record: Some(record),
    };
    let by_id = get(v1::get_record_request::Record::Id(read[599].id.clone()));
    assert_eq!(
        datasets
            .get_record(by_id)
            .await
            .unwrap()
            .into_inner()
            .record
            .unwrap(),
        read[599]
    );
    let by_index = get(v1::get_record_request::Record::Index(7));
    assert_eq!(
        datasets
            .get_record(by_index)
            .await
            .unwrap()
            .into_inner()
            .record
            .unwrap(),
        read[7]
    );
    let beyond = get(v1::get_record_request::Record::Index(600));
    assert_eq!(
        datasets.get_record(beyond).await.unwrap_err().code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn an_export_is_the_whole_version() {
    let daemon = Daemon::start().await;
    let long: Vec<u8> = (0..40_000)
        .flat_map(|i| format!("a task of some length, number {i:010}, {i:040}\n").into_bytes())
        .collect();
    assert!(long.len() > 3 << 20);
    daemon
        .client
        .import_dataset("tasks", "a.txt", long.clone(), "")
        .await
        .unwrap();
    let exported = daemon
        .client
        .export_dataset("tasks", None, "lines")
        .await
        .unwrap();
    assert_eq!(exported.bytes, long);
    assert_eq!(exported.header.dataset.unwrap().version, 1);
    let unknown = daemon
        .client
        .export_dataset("tasks", None, "csv")
        .await
        .unwrap_err();
    assert_eq!(unknown.reason(), "INVALID_ARGUMENT");
    let missing = daemon
        .client
        .export_dataset("nothing", None, "lines")
        .await
        .unwrap_err();
    assert_eq!(missing.reason(), "NOT_FOUND");
}

#[tokio::test]
async fn records_that_do_not_fit_are_named_and_a_mapping_makes_another_file() {
    let daemon = Daemon::start().await;
    let import = async |mapping: Option<&[u8]>| {
        let mapping = mapping.map(<[u8]>::to_vec);
        let file = b"one\nunfit\ntwo\nbad\n".to_vec();
        let imported = daemon
            .client
            .import_mapped_dataset("tasks", "a.txt", file, mapping, "");
        imported.await.unwrap()
    };
    let plain = import(None).await;
    assert_eq!(plain.report.as_ref().unwrap().refused, 1);
    let exported = daemon.client.export_dataset("tasks", None, "lines").await;
    let exported = exported.unwrap();
    assert_eq!(exported.bytes, b"one\ntwo\n");
    assert_eq!((exported.header.records, exported.header.refused), (2, 1));
    let errors = &exported.header.errors;
    assert_eq!((errors[0].line, errors[0].reason.as_str()), (2, "unfit"));

    // The same bytes under a mapping, and under another: each a version of its own, known again.
    let mapped = import(Some(b"zero")).await;
    assert!(!mapped.already_present);
    assert_eq!(mapped.dataset.as_ref().unwrap().records, 4);
    assert!(import(Some(b"zero")).await.already_present);
    let other = import(Some(b"null")).await;
    assert_eq!(other.dataset.unwrap().version, 3);
    assert!(import(None).await.already_present);
}

#[tokio::test]
async fn a_preview_shows_a_stretch_and_sums_over_all() {
    let daemon = Daemon::start().await;
    let body = |question: &str, answer: &str| Body::instruction(question, "", answer);
    let bodies = [
        body("a b", "c d"),
        body("a b c d e f", "g h"),
        body("unanswered", ""),
        body("a", "b c d e f g h"),
        Body::Text { text: "x y".into() },
    ];
    let examples = bodies.map(Example::human);
    let name = DatasetName::new("data").unwrap();
    Datasets::put(&*daemon.world, &name, &examples, "a test", None).unwrap();
    let ask = async |offset, limit, model: &str| {
        let request = v1::PreviewDatasetRequest {
            dataset: "data".into(),
            model: model.into(),
            max_length: 6,
            offset,
            limit,
            ..Default::default()
        };
        let answer = daemon.client.datasets().preview(request).await;
        answer.map(tonic::Response::into_inner)
    };
    let all = ask(0, 0, "tiny").await.unwrap();
    let refused: Vec<Option<&str>> = all
        .records
        .iter()
        .map(|record| {
            record
                .refused
                .as_ref()
                .map(|refusal| refusal.reason.as_str())
        })
        .collect();
    assert_eq!(
        refused,
        [None, Some("no_label_token"), Some("unanswered"), None, None]
    );
    let totals = all.totals.clone().unwrap();
    assert_eq!(
        (totals.records, totals.trained, totals.truncated),
        (5, 3, 1)
    );
    assert_eq!(
        (
            totals.tokens,
            totals.label_tokens,
            totals.cut_tokens,
            totals.longest
        ),
        (4 + 6 + 2, 2 + 5 + 2, 2, 6)
    );
    assert_eq!(totals.refused.values().sum::<u64>(), 2);

    let some = ask(1, 2, "tiny").await.unwrap();
    assert_eq!(some.records, all.records[1..3]);
    assert_eq!(some.totals, all.totals);
    assert_eq!(ask(9, 2, "tiny").await.unwrap().records, []);
    assert_eq!(ask(0, 0, "tinny").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_preview_shows_the_labels_of_a_task_with_a_head() {
    let daemon = Daemon::start().await;
    let bodies = [
        Body::Labelled {
            text: "a b".into(),
            label: "good".into(),
        },
        Body::Tagged {
            tokens: vec!["Ada".into(), "sings".into()],
            tags: vec!["B-PER".into(), "O".into()],
        },
    ];
    let examples = bodies.map(Example::human);
    let name = DatasetName::new("data").unwrap();
    Datasets::put(&*daemon.world, &name, &examples, "a test", None).unwrap();
    let ask = async |task_type: &str| {
        let request = v1::PreviewDatasetRequest {
            dataset: "data".into(),
            model: "tiny".into(),
            task_type: task_type.into(),
            ..Default::default()
        };
        let answer = daemon.client.datasets().preview(request).await;
        answer.map(tonic::Response::into_inner)
    };
    let labels = async |task_type: &str| -> Vec<Option<String>> {
        let answer = ask(task_type).await.unwrap();
        let spans = answer.records.into_iter().flat_map(|record| record.spans);
        spans.map(|span| span.label).collect()
    };
    let told = [Some("good".to_string()), Some("B-PER O".to_string())];
    assert_eq!(labels("SEQ_CLS").await, told);
    assert_eq!(labels("TOKEN_CLS").await, told);
    assert_eq!(labels("").await, [None, None]);
    assert_eq!(labels("CAUSAL_LM").await, [None, None]);
    let refused = ClientError::from(ask("seq_cls").await.unwrap_err());
    assert_eq!(refused.reason(), "INVALID_ARGUMENT");
    for name in ["CAUSAL_LM", "SEQ_CLS", "TOKEN_CLS"] {
        assert!(refused.to_string().contains(name), "{refused}");
    }

    let request = v1::ListRecordsRequest {
        dataset: "data".into(),
        ..Default::default()
    };
    let records = daemon.client.datasets().list_records(request).await;
    let records = records.unwrap().into_inner().records;
    let bodies: Vec<_> = records
        .into_iter()
        .filter_map(|record| record.body)
        .collect();
    let labelled = v1::LabelledText {
        text: "a b".into(),
        label: "good".into(),
    };
    let tagged = v1::TaggedWords {
        tokens: vec!["Ada".into(), "sings".into()],
        tags: vec!["B-PER".into(), "O".into()],
    };
    assert_eq!(
        bodies,
        [
            v1::example::Body::Labelled(labelled),
            v1::example::Body::Tagged(tagged)
        ]
    );
}
