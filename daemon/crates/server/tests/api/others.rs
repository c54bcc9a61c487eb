//! Models, checkpoints, plugins, and what the daemon tells of itself.

use std::sync::atomic::Ordering;
use std::time::Duration;

use autodidact_client::{ClientError, DownloadPart, v1};
use autodidact_domain::ports::Events;
use autodidact_domain::{Digest, EventBody};
use autodidact_proto::CHUNK_BYTES;

use crate::harness::{Daemon, eventually};

fn generate(text: &str) -> v1::GenerateRequest {
    v1::GenerateRequest {
        model: "tiny".into(),
        prompt: Some(v1::generate_request::Prompt::Text(text.into())),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_completion_streams_and_ends_whole() {
    use v1::generate_response::Message;
    let daemon = Daemon::start().await;
    // Far more pieces than the stream has room for, so that some are joined.
    let text = "word ".repeat(5000);
    let mut stream = daemon
        .client
        .models()
        .generate(generate(&text))
        .await
        .unwrap()
        .into_inner();
    let (mut pieces, mut whole) = (String::new(), None);
    while let Some(message) = stream.message().await.unwrap() {
        match message.message.unwrap() {
            Message::Piece(piece) => pieces.push_str(&piece),
            Message::Completion(completion) => whole = Some(completion),
        }
    }
    assert_eq!(pieces, text);
    let whole = whole.unwrap();
    assert_eq!(
        (whole.text.as_str(), whole.finish()),
        (text.as_str(), v1::FinishReason::Eos)
    );
}

#[tokio::test]
async fn several_completions_come_mixed_each_with_its_index() {
    use v1::generate_response::Message;
    let daemon = Daemon::start().await;
    let request = v1::GenerateRequest {
        completions: 3,
        logprobs: Some(1),
        sampling: Some(v1::Sampling {
            seed: Some(7),
            ..Default::default()
        }),
        ..generate("one two three")
    };
    let stream = daemon.client.models().generate(request).await;
    let mut stream = stream.unwrap().into_inner();
    let (mut pieces, mut whole) = (vec![String::new(); 3], Vec::new());
    while let Some(message) = stream.message().await.unwrap() {
        match message.message.unwrap() {
            Message::Piece(piece) => pieces[message.index as usize].push_str(&piece),
            Message::Completion(completion) => whole.push((message.index, completion)),
        }
    }
    assert_eq!(pieces, ["one two three"; 3]);
    // The fake tells the seed as the number of tokens.
    let told: Vec<(u32, u32)> = whole
        .iter()
        .map(|(index, completion)| (*index, completion.completion_tokens))
        .collect();
    assert_eq!(told, [(0, 7), (1, 8), (2, 9)]);
    let logprob = v1::TokenLogprob {
        bytes: vec![0xE4],
        logprob: -0.5,
        top: vec![v1::TopLogprob {
            bytes: vec![b'a'],
            logprob: -0.25,
        }],
    };
    assert_eq!(whole[2].1.logprobs, [logprob]);
    let refused = v1::GenerateRequest {
        completions: 17,
        ..generate("x")
    };
    let refused = daemon.client.models().generate(refused).await.unwrap_err();
    assert_eq!(ClientError::from(refused).reason(), "INVALID_ARGUMENT");
}

#[tokio::test]
async fn texts_are_scored_until_the_caller_leaves() {
    let daemon = Daemon::start().await;
    let request = |continuation: &str| v1::ScoreRequest {
        model: "tiny".into(),
        adapter: None,
        items: vec![v1::ScoreItem {
            prompt: Some(v1::score_item::Prompt::Text("a".into())),
            continuation: continuation.into(),
        }],
    };
    let scored = daemon.client.models().score(request("abc")).await.unwrap();
    let scores = scored.into_inner().scores;
    assert_eq!((scores.len(), scores[0].tokens), (1, 3));
    assert!((scores[0].perplexity - 2.0).abs() < 1e-9, "{scores:?}");
    let mut models = daemon.client.models();
    let endless = models.score(request("forever"));
    let ended = tokio::time::timeout(std::time::Duration::from_millis(200), endless).await;
    assert!(ended.is_err(), "it does not end by itself");
    let world = daemon.world.clone();
    eventually("the work has stopped", || {
        world.interrupted.load(Ordering::SeqCst) == 1
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_leaves_stops_the_work() {
    let daemon = Daemon::start().await;
    let mut stream = daemon
        .client
        .models()
        .generate(generate("forever"))
        .await
        .unwrap()
        .into_inner();
    assert!(stream.message().await.unwrap().is_some());
    assert_eq!(daemon.world.interrupted.load(Ordering::SeqCst), 0);
    drop(stream);
    let world = daemon.world.clone();
    eventually("the work has stopped", || {
        world.interrupted.load(Ordering::SeqCst) == 1
    })
    .await;
}

#[tokio::test]
async fn texts_become_vectors_and_unknown_ones_are_refused() {
    let daemon = Daemon::start().await;
    let embed = async |texts: &[&str], language: Option<&str>, allow_unknown: bool| {
        let request = v1::EmbedRequest {
            model: "tiny".into(),
            texts: texts.iter().map(ToString::to_string).collect(),
            language: language.map(Into::into),
            allow_unknown,
            ..Default::default()
        };
        let answer = daemon.client.models().embed(request).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(ClientError::from)
    };
    let answer = embed(&["one", "three"], None, false).await.unwrap();
    let vectors: Vec<Vec<f32>> = answer.embeddings.into_iter().map(|e| e.values).collect();
    assert_eq!(vectors, [[3.0, 0.5], [5.0, 0.5]]);
    assert_eq!(
        (answer.model.as_str(), answer.tokens, answer.unknown_tokens),
        ("tiny", 8, 0)
    );
    let refused = embed(&["鲸鱼 a"], None, false).await.unwrap_err();
    assert_eq!(refused.reason(), "INVALID_ARGUMENT");
    assert!(refused.to_string().contains("50.0%"), "{refused}");
    assert_eq!(
        embed(&["鲸鱼 a"], None, true).await.unwrap().unknown_tokens,
        2
    );
    // No encoder is registered, so the language's embedder is the generator.
    assert_eq!(
        embed(&["鲸鱼"], Some("zh"), false).await.unwrap().model,
        "tiny"
    );
    assert!(embed(&[], None, false).await.is_err());
    assert!(embed(&["a"], Some("fr"), false).await.is_err());
}

#[tokio::test]
async fn a_caller_that_leaves_stops_the_embedding() {
    let daemon = Daemon::start().await;
    let request = v1::EmbedRequest {
        model: "tiny".into(),
        texts: vec!["forever".into()],
        ..Default::default()
    };
    let mut models = daemon.client.models();
    let call = models.embed(request);
    let waited = tokio::time::timeout(std::time::Duration::from_millis(200), call).await;
    assert!(waited.is_err(), "it is still at work");
    let world = daemon.world.clone();
    eventually("the work has stopped", || {
        world.interrupted.load(Ordering::SeqCst) == 1
    })
    .await;
}

fn classify(inputs: Vec<v1::classify_item::Input>) -> v1::ClassifyRequest {
    let items = inputs
        .into_iter()
        .map(|input| v1::ClassifyItem { input: Some(input) });
    v1::ClassifyRequest {
        model: "tiny".into(),
        adapter: Some("run.1.8".into()),
        items: items.collect(),
    }
}

#[tokio::test]
async fn texts_and_words_are_labelled() {
    use v1::classify_item::Input;
    let daemon = Daemon::start().await;
    let ask = async |inputs: Vec<Input>| {
        let answer = daemon.client.models().classify(classify(inputs)).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(ClientError::from)
    };
    let text = |text: &str| Input::Text(text.into());
    let words = |words: &[&str]| {
        let tokens = words.iter().map(ToString::to_string).collect();
        Input::Words(v1::Words { tokens })
    };
    let answer = ask(vec![text("It broke."), words(&["in", "Bern", "beyond"])]);
    let answer = answer.await.unwrap();
    assert_eq!(answer.task_type, "TOKEN_CLS");
    assert_eq!(answer.labels, ["small", "capital"]);
    let score = |label: &str, log_probabilities: &[f32]| v1::LabelScore {
        label: label.into(),
        log_probabilities: log_probabilities.to_vec(),
    };
    let units: Vec<Vec<v1::LabelScore>> = answer.results.into_iter().map(|r| r.units).collect();
    let (small, capital) = (
        score("small", &[-0.5, -0.75]),
        score("capital", &[-0.5, -0.25]),
    );
    assert_eq!(
        units,
        [vec![capital.clone()], vec![small, capital, score("", &[])],]
    );
    let refused = ask(vec![text("a"), words(&["in", " "])]).await.unwrap_err();
    assert_eq!(refused.reason(), "INVALID_ARGUMENT");
    let field = "items[1].words.tokens[1]";
    assert!(refused.to_string().contains(field), "{refused}");
}

#[tokio::test]
async fn a_caller_that_leaves_stops_the_labelling() {
    let daemon = Daemon::start().await;
    let forever = v1::classify_item::Input::Text("forever".into());
    let mut models = daemon.client.models();
    let call = models.classify(classify(vec![forever]));
    let waited = tokio::time::timeout(std::time::Duration::from_millis(200), call).await;
    assert!(waited.is_err(), "it is still at work");
    let world = daemon.world.clone();
    eventually("the work has stopped", || {
        world.interrupted.load(Ordering::SeqCst) == 1
    })
    .await;
}

#[tokio::test]
async fn models_are_added_listed_and_removed() {
    use v1::add_model_response::Message;
    let daemon = Daemon::start().await;
    let add = async |name: &str, source: &str| {
        let request = v1::AddModelRequest {
            request_id: "same-id".into(),
            name: name.into(),
            source: source.into(),
            sha256: None,
        };
        let mut stream = daemon.client.models().add(request).await?.into_inner();
        let mut told = Vec::new();
        while let Some(message) = stream.message().await? {
            told.push(match message.message.unwrap() {
                Message::Progress(line) => line,
                Message::Model(model) => model.name,
            });
        }
        Ok::<_, tonic::Status>(told)
    };
    assert_eq!(
        add("small", "/small.gguf").await.unwrap(),
        ["reading", "small"]
    );
    assert_eq!(
        add("small", "/small.gguf").await.unwrap(),
        ["small"],
        "the repeated request is answered at once"
    );
    let reused = ClientError::from(add("large", "/large.gguf").await.unwrap_err());
    assert_eq!(reused.reason(), "REQUEST_ID_REUSED");
    let list = daemon
        .client
        .models()
        .list(v1::ListModelsRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        list.models
            .iter()
            .map(|model| model.name.as_str())
            .collect::<Vec<_>>(),
        ["small", "tiny"]
    );
    let request = v1::AddModelRequest {
        name: "gone".into(),
        source: "missing".into(),
        ..Default::default()
    };
    let mut stream = daemon
        .client
        .models()
        .add(request)
        .await
        .unwrap()
        .into_inner();
    assert!(stream.message().await.unwrap().is_some());
    let refused = ClientError::from(stream.message().await.unwrap_err());
    assert_eq!(refused.reason(), "UNAVAILABLE");
    let remove = v1::RemoveModelRequest {
        request_id: String::new(),
        name: "small".into(),
    };
    daemon.client.models().remove(remove.clone()).await.unwrap();
    let gone = ClientError::from(daemon.client.models().remove(remove).await.unwrap_err());
    assert_eq!(gone.reason(), "NOT_FOUND");
}

#[tokio::test]
async fn a_whole_model_comes_in_chunks_after_its_progress() {
    let daemon = Daemon::start().await;
    daemon.world.checkpoint("run.1.8", 4);
    let (mut progress, mut announced, mut bytes) = (Vec::new(), false, Vec::new());
    let mut take = |part: DownloadPart<'_>| {
        match part {
            DownloadPart::Progress(told) => {
                assert!(!announced && told.total == 100);
                progress.push(told.done);
            }
            DownloadPart::Header(_) => announced = true,
            DownloadPart::Bytes(data) => {
                assert!(announced && data.len() <= CHUNK_BYTES);
                bytes.extend_from_slice(data);
            }
        }
        Ok::<_, ClientError>(())
    };
    let header = daemon
        .client
        .download_parts("run.1.8", "gguf-q8_0", &mut take)
        .await
        .unwrap();
    assert!(!progress.is_empty() && progress.is_sorted(), "{progress:?}");
    let sizes: Vec<u64> = header.files.iter().map(|file| file.size).collect();
    assert_eq!(sizes, [(3 << 20) + 1, 3]);
    assert_eq!(header.size, bytes.len() as u64);
    assert!(bytes.ends_with(&[7, 1, 2, 3]));
    assert_eq!(
        (header.logits_apart, header.base_apart),
        (Some(0.25), Some(0.5))
    );

    let refused = daemon.client.download_checkpoint("run.1.8", "gguf-q5_0");
    let refused = refused.await.unwrap_err();
    assert!(refused.to_string().contains("safetensors"), "{refused}");
    // Who goes away stops the work.
    daemon.world.checkpoint("endless", 4);
    let request = v1::DownloadCheckpointRequest {
        id: "endless".into(),
        format: "safetensors".into(),
    };
    let mut stream = daemon
        .client
        .checkpoints()
        .download(request)
        .await
        .unwrap()
        .into_inner();
    assert!(stream.message().await.unwrap().is_some());
    drop(stream);
    let stopped = || daemon.world.interrupted.load(Ordering::SeqCst) == 1;
    eventually("the export stops", stopped).await;
}

#[tokio::test]
async fn an_adapter_downloads_in_chunks() {
    let daemon = Daemon::start().await;
    let elements = (5 << 20) / 4;
    let saved = daemon.world.checkpoint("run.1.8", elements);
    let download = daemon
        .client
        .download_checkpoint("run.1.8", "")
        .await
        .unwrap();
    let checkpoint = download.header.checkpoint.unwrap();
    assert_eq!(
        checkpoint.adapter_digest,
        saved.adapter_digest().to_string()
    );
    assert_eq!(checkpoint.adapter_config_json, r#"{"r":8}"#);
    assert_eq!(download.header.size, download.bytes.len() as u64);
    assert!(download.bytes.ends_with(&0.5f32.to_le_bytes()));
    assert!(download.bytes.len() > elements * 4);
    let missing = daemon
        .client
        .download_checkpoint("run.1.9", "")
        .await
        .unwrap_err();
    assert_eq!(missing.reason(), "NOT_FOUND");
    let list = daemon
        .client
        .checkpoints()
        .list(v1::ListCheckpointsRequest::default())
        .await
        .unwrap();
    assert_eq!(list.into_inner().checkpoints, [checkpoint]);
}

#[tokio::test]
async fn plugins_are_installed_switched_and_told_of() {
    let daemon = Daemon::start().await;
    let component = vec![7u8; 3 << 20];
    let installed = daemon
        .client
        .install_plugin(component.clone(), &[], "i")
        .await
        .unwrap();
    let plugin = installed.plugin.clone().unwrap();
    assert_eq!(plugin.size, component.len() as u64);
    let again = daemon.client.install_plugin(component, &[], "i");
    assert_eq!(again.await.unwrap(), installed);
    let name = || "form".to_string();
    let mut plugins = daemon.client.plugins();
    let disable = v1::DisablePluginRequest {
        request_id: String::new(),
        name: name(),
    };
    assert!(
        !plugins
            .disable(disable)
            .await
            .unwrap()
            .into_inner()
            .plugin
            .unwrap()
            .enabled
    );
    let enable = v1::EnablePluginRequest {
        request_id: String::new(),
        name: name(),
    };
    assert!(
        plugins
            .enable(enable)
            .await
            .unwrap()
            .into_inner()
            .plugin
            .unwrap()
            .enabled
    );
    let remove = v1::RemovePluginRequest {
        request_id: String::new(),
        name: name(),
    };
    plugins.remove(remove).await.unwrap();
    let told: Vec<String> = daemon
        .world
        .after(0, None, 99)
        .unwrap()
        .iter()
        .map(|event| match &event.body {
            autodidact_domain::EventBody::PluginChanged { change, .. } => change.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, ["installed", "disabled", "enabled", "removed"]);
}

/// The runtime has one thread: what compiled on it would keep everybody else waiting.
#[tokio::test]
async fn others_are_served_while_a_component_is_compiled() {
    let daemon = Daemon::start().await;
    let install = daemon.client.install_plugin(b"slow".to_vec(), &[], "");
    let list = async {
        while daemon.world.compiling.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut plugins = daemon.client.plugins();
        plugins.list(v1::ListPluginsRequest::default()).await
    };
    let (installed, listed) = tokio::join!(install, list);
    assert_eq!(listed.unwrap().into_inner().plugins, []);
    installed.unwrap();
}

#[tokio::test]
async fn watchers_are_told_of_a_component_that_is_refused() {
    let daemon = Daemon::start().await;
    let refused = daemon
        .client
        .install_plugin(b"broken".to_vec(), &[], "")
        .await;
    assert!(refused.unwrap_err().to_string().contains("it traps"));
    let told = daemon.world.after(0, None, 99).unwrap();
    let [event] = &told[..] else {
        panic!("{told:?}");
    };
    let digest = Digest::of(b"broken").short();
    assert_eq!(
        event.body,
        EventBody::FileRefused {
            file: format!("component {digest}"),
            message: "it traps".to_string()
        }
    );
}

#[tokio::test]
async fn the_daemon_describes_itself() {
    let daemon = Daemon::start().await;
    let info = daemon
        .client
        .system()
        .get_info(v1::GetInfoRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (info.version.as_str(), info.threads, info.peak_rss_mb),
        ("1.2.3", 2, 42)
    );
    assert_eq!(
        info.listening,
        [
            format!("unix:{}", daemon.socket.display()),
            format!("http://{}", daemon.address)
        ]
    );
}
