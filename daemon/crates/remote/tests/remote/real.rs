//! Opt-in: a real server.
//!
//! `AUTODIDACT_TEST_REMOTE_URL=http://127.0.0.1:8000/v1 AUTODIDACT_TEST_REMOTE_MODEL=NAME` runs these against it;
//! `AUTODIDACT_TEST_REMOTE_EMBED=1` asks for embeddings too.

use autodidact_domain::ports::Engine;
use autodidact_domain::{GenerateRequest, Interrupt, NoAccount, Prompt};
use autodidact_remote::{Api, RemoteModel, RemoteModels, RemoteSettings};

use crate::{ask, far, name};

fn models(api: Api) -> Option<RemoteModels> {
    let Ok(base_url) = std::env::var("AUTODIDACT_TEST_REMOTE_URL") else {
        println!(
            "skipped: the tests against a real server, since AUTODIDACT_TEST_REMOTE_URL names none"
        );
        return None;
    };
    let settings = RemoteSettings {
        base_url,
        model: std::env::var("AUTODIDACT_TEST_REMOTE_MODEL").expect("the model's name there"),
        api,
        ..RemoteSettings::default()
    };
    Some(RemoteModels::open([(name(), settings, None)]).unwrap())
}

fn requests() -> Vec<GenerateRequest> {
    let mut chat = ask("Name three rivers.");
    chat.sampling.max_tokens = 24;
    let mut other = ask("Say hello.");
    other.sampling.max_tokens = 16;
    let mut text = GenerateRequest::new(
        Prompt::Text("1. Name a fruit.\n2.".into()),
        chat.sampling.clone(),
    );
    text.sampling.stop = vec!["\n".into(), "e".into()];
    vec![chat, other, text]
}

fn whole(model: &RemoteModel) {
    let mut tokens = 0;
    let completions = model
        .generate(&far(), requests(), &Interrupt::new(), &mut |count| {
            tokens += count
        })
        .unwrap();
    for completion in &completions {
        println!("{completion:?}");
        assert!(completion.completion_tokens <= 24);
    }
    assert!(tokens > 0, "the server counts tokens");
    assert!(!completions[2].text.contains(['\n', 'e']));
}

fn streamed(model: &RemoteModel) {
    let mut heard = vec![String::new(); 3];
    let completions = model
        .generate_stream(&far(), requests(), &Interrupt::new(), &mut |i, piece| {
            heard[i].push_str(piece)
        })
        .unwrap();
    for (completion, heard) in completions.iter().zip(&heard) {
        println!("{completion:?}");
        assert_eq!(completion.text, *heard);
    }
}

#[test]
fn a_real_server_chats() {
    let Some(models) = models(Api::Chat) else {
        return;
    };
    whole(models.get(&name()).unwrap());
    streamed(models.get(&name()).unwrap());
}

#[test]
fn a_real_server_continues() {
    let Some(models) = models(Api::Both) else {
        return;
    };
    whole(models.get(&name()).unwrap());
    streamed(models.get(&name()).unwrap());
}

#[test]
fn a_real_server_embeds() {
    let Some(models) = models(Api::Chat) else {
        return;
    };
    if std::env::var_os("AUTODIDACT_TEST_REMOTE_EMBED").is_none() {
        println!(
            "skipped: embeddings of a real server, since AUTODIDACT_TEST_REMOTE_EMBED is not set"
        );
        return;
    }
    let texts = ["whale".to_string(), "鲸鱼".to_string()];
    let made = models
        .get(&name())
        .unwrap()
        .embed_paid(&texts, &NoAccount, &Interrupt::new())
        .unwrap();
    assert_eq!(made.vectors.len(), 2);
}
