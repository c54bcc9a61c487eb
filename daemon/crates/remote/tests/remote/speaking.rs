//! A server that works: what it is sent, and what is made of its answers.

use std::sync::Mutex;
use std::time::Duration;

use autodidact_domain::ports::Engine;
use autodidact_domain::{
    Account, CheckpointId, Constraint, FinishReason, Interrupt, Leave, ModelRef, PortResult,
    RemoteUsage,
};
use autodidact_remote::{Api, Constraints, RemoteModel, RemoteSettings};
use serde_json::{Value, json};

use crate::server::{Ending, Reply, Server, delta, end};
use crate::{ask, far, name, open, settings};

#[test]
fn answers_come_in_order_and_no_more_requests_run_than_are_allowed() {
    let server = Server::start(|_, request| {
        // The earlier ones take the longest.
        let number: u64 = request.prompt().parse().unwrap();
        let time = Duration::from_millis(100 - 8 * number.min(12));
        Reply::After(time, Box::new(Reply::said(&format!("answer {number}"))))
    });
    let mut settings = settings(&server.url);
    settings.concurrency = 3;
    let models = open(settings);
    let requests = (0..12).map(|i| ask(&i.to_string())).collect();
    let mut tokens = 0;
    let completions = models
        .get(&name())
        .unwrap()
        .generate(&far(), requests, &Interrupt::new(), &mut |count| {
            tokens += count
        })
        .unwrap();
    let texts: Vec<String> = completions.into_iter().map(|c| c.text).collect();
    let expect: Vec<String> = (0..12).map(|i| format!("answer {i}")).collect();
    assert_eq!(texts, expect);
    assert_eq!(tokens, 36);
    assert_eq!(server.received().len(), 12);
    assert!(server.peak() <= 3 && server.peak() > 1, "{}", server.peak());
    assert!(
        server
            .received()
            .iter()
            .all(|r| r.path == "/v1/chat/completions")
    );
}

/// Remembers what was paid.
#[derive(Default)]
struct Purse(Mutex<Vec<RemoteUsage>>);

impl Account for Purse {
    fn reserve(&self, _: f64) -> PortResult<Leave> {
        Ok(Leave::Granted)
    }

    fn release(&self, _: f64) {}

    fn settle(&self, _: f64, usage: &RemoteUsage) -> PortResult<()> {
        self.0.lock().unwrap().push(usage.clone());
        Ok(())
    }
}

#[test]
fn tokens_are_paid_for_and_uncounted_ones_cost_the_most_they_can() {
    let uncounted = json!({"choices": [{"message": {"content": "Hello."}}], "usage": null});
    let server = Server::start(move |number, _| match number {
        0 => Reply::said("Hello."),
        _ => Reply::json(&uncounted),
    });
    let settings = RemoteSettings {
        prompt_price: 1e6,
        completion_price: 2e6,
        concurrency: 1,
        ..settings(&server.url)
    };
    let models = open(settings);
    let purse = Purse::default();
    let completions = models
        .get(&name())
        .unwrap()
        .generate_paid(
            &far(),
            vec![ask("Hi."); 2],
            &purse,
            &Interrupt::new(),
            &mut |_| {},
        )
        .unwrap();
    assert_eq!(completions[1].completion_tokens, 0);
    let paid = purse.0.lock().unwrap();
    assert_eq!((paid[0].counted, paid[0].cost), (true, 7.0 + 2.0 * 3.0));
    // Three bytes of prompt, a template, and the 128 tokens that were asked for.
    let most = 3.0 + 64.0 + 2.0 * 128.0;
    assert_eq!((paid[1].counted, paid[1].cost), (false, most));
    assert_eq!(paid[1].source, format!("remote:{}/v1", server.url));
}

fn one(
    model: &RemoteModel,
    request: autodidact_domain::GenerateRequest,
) -> autodidact_domain::Completion {
    model
        .generate(&far(), vec![request], &Interrupt::new(), &mut |_| {})
        .unwrap()
        .remove(0)
}

#[test]
fn stop_texts_that_a_server_leaves_in_are_trimmed() {
    let server = Server::start(|_, request| {
        if request.body["stream"] == true {
            let mut events: Vec<Value> = ["One.\n", "\n", "Us", "er: more"].map(delta).into();
            events.extend(end());
            return Reply::Events(events, Ending::Done);
        }
        Reply::said("One.\n\nUser: more")
    });
    let models = open(settings(&server.url));
    let model = models.get(&name()).unwrap();
    let mut request = ask("Hi.");
    request.sampling.stop = vec!["\n\nUser".into()];
    let completion = one(model, request.clone());
    assert_eq!(
        (completion.text.as_str(), completion.finish),
        ("One.", FinishReason::Stop)
    );
    let mut heard = String::new();
    let streamed = model
        .generate_stream(&far(), vec![request], &Interrupt::new(), &mut |_, piece| {
            heard.push_str(piece)
        })
        .unwrap();
    assert_eq!(
        (streamed[0].text.as_str(), streamed[0].finish),
        ("One.", FinishReason::Stop)
    );
    assert_eq!(heard, "One.");
    assert_eq!(streamed[0].completion_tokens, 3);
}

#[test]
fn several_prompts_stream_at_once() {
    let server = Server::start(|_, request| {
        let text = request.prompt();
        let mut events = vec![delta(&text), delta("!")];
        events.extend(end());
        Reply::Events(events, Ending::Done)
    });
    let models = open(settings(&server.url));
    let mut heard = vec![String::new(); 5];
    let requests = (0..5).map(|i| ask(&format!("喂{i}"))).collect();
    let completions = models
        .get(&name())
        .unwrap()
        .generate_stream(&far(), requests, &Interrupt::new(), &mut |i, piece| {
            heard[i].push_str(piece)
        })
        .unwrap();
    for (i, completion) in completions.iter().enumerate() {
        assert_eq!(completion.text, format!("喂{i}!"));
        assert_eq!(heard[i], completion.text);
    }
}

#[test]
fn a_server_that_does_not_know_stream_options_is_asked_without_them() {
    let server = Server::start(|_, request| {
        if request.body.get("stream_options").is_some() {
            return Reply::status(400, "unknown field: stream_options");
        }
        Reply::Events(vec![delta("Hello."), end()[0].clone()], Ending::Done)
    });
    let models = open(settings(&server.url));
    let completions = models
        .get(&name())
        .unwrap()
        .generate_stream(&far(), vec![ask("Hi.")], &Interrupt::new(), &mut |_, _| {})
        .unwrap();
    assert_eq!(
        (
            completions[0].text.as_str(),
            completions[0].completion_tokens
        ),
        ("Hello.", 0)
    );
    assert_eq!(server.received().len(), 2);
}

#[test]
fn why_an_answer_ended_is_told() {
    let server = Server::start(|number, _| {
        let (reason, stop_reason) = match number {
            0 => (json!("length"), json!(null)),
            1 => (json!("stop"), json!("###")),
            2 => (json!("content_filter"), json!(null)),
            3 => (json!("stop"), json!(128_009)),
            _ => (json!(null), json!(null)),
        };
        Reply::json(
            &json!({"choices": [{"message": {"content": "x"}, "finish_reason": reason, "stop_reason": stop_reason}]}),
        )
    });
    let models = open(settings(&server.url));
    let model = models.get(&name()).unwrap();
    let found: Vec<FinishReason> = (0..5).map(|_| one(model, ask("Hi.")).finish).collect();
    use FinishReason::{Eos, Length, Stop};
    assert_eq!(found, [Length, Stop, Length, Eos, Eos]);
}

#[test]
fn plain_completions_and_logprobs_are_read() {
    let server = Server::start(|_, _| {
        Reply::json(
            &json!({"choices": [{"text": " Paris.###", "finish_reason": "stop", "logprobs": {
            "tokens": [" Paris", ".", "###"], "token_logprobs": [-0.5, -0.25, -1.0],
            "top_logprobs": [{" Paris": -0.5, " Rome": -2.0}, null, null]}}]}),
        )
    });
    let models = open(RemoteSettings {
        api: Api::Completions,
        ..settings(&server.url)
    });
    let mut request = ask("The capital of France?");
    request.sampling.stop = vec!["###".into()];
    request.logprobs = Some(2);
    let completion = one(models.get(&name()).unwrap(), request);
    assert_eq!(completion.text, " Paris.");
    let kept: Vec<f32> = completion
        .logprobs
        .iter()
        .map(|token| token.logprob)
        .collect();
    assert_eq!(kept, [-0.5, -0.25], "the stop text's own are not told");
    assert_eq!(completion.logprobs[0].top[1], (b" Rome".to_vec(), -2.0));
    assert_eq!(server.received()[0].path, "/v1/completions");
}

#[test]
fn a_constraint_that_a_server_passes_over_is_noticed() {
    let server = Server::start(|number, _| Reply::said(["yes", "Well, yes."][number.min(1)]));
    let models = open(RemoteSettings {
        constraints: Constraints::Guided,
        ..settings(&server.url)
    });
    let model = models.get(&name()).unwrap();
    let mut request = ask("Is it?");
    request.constraint = Some(Constraint::Choices(vec!["yes".into(), "no".into()]));
    assert_eq!(one(model, request.clone()).text, "yes");
    let outcome = model.generate(&far(), vec![request], &Interrupt::new(), &mut |_| {});
    let text = outcome.unwrap_err().to_string();
    assert!(text.contains("passed the constraint over"), "{text}");
}

#[test]
fn embeddings_come_in_the_order_of_the_texts() {
    let server = Server::start(|_, request| {
        let texts = request.body["input"].as_array().unwrap();
        let mut data: Vec<Value> = texts
            .iter()
            .enumerate()
            .map(|(i, text)| {
                let number: f64 = text.as_str().unwrap().parse().unwrap();
                json!({"index": i, "embedding": [number, 0.5]})
            })
            .collect();
        data.reverse();
        Reply::json(&json!({"data": data, "usage": {"prompt_tokens": 5, "total_tokens": 5}}))
    });
    let models = open(settings(&server.url));
    let texts: Vec<String> = (0..150).map(|i| i.to_string()).collect();
    let purse = Purse::default();
    let made = models
        .get(&name())
        .unwrap()
        .embed_paid(&texts, &purse, &Interrupt::new())
        .unwrap();
    assert_eq!((made.vectors.len(), made.tokens), (150, 15));
    for (i, vector) in made.vectors.iter().enumerate() {
        let (x, y) = (i as f32, 0.5);
        let length = x.hypot(y);
        let distance = (vector[0] - x / length).abs() + (vector[1] - y / length).abs();
        assert!(vector.len() == 2 && distance < 1e-6, "{vector:?}");
    }
    assert_eq!(server.received().len(), 3);
    let paid = purse.0.lock().unwrap();
    assert!(paid.len() == 3 && paid.iter().all(|usage| usage.prompt_tokens == 5));
}

#[test]
fn wrong_embeddings_are_refused() {
    let cases = [
        json!({"data": [{"embedding": [1.0]}]}),
        json!({"data": [{"embedding": [1.0]}, {"embedding": []}]}),
        json!({"data": [{"embedding": [1.0]}, {"embedding": [1.0, 2.0]}]}),
        json!({"data": [{"index": 1, "embedding": [1.0]}, {"index": 1, "embedding": [1.0]}]}),
        json!({"data": [{"index": 0, "embedding": [1.0]}, {"index": 9, "embedding": [1.0]}]}),
        json!({"data": [{"embedding": [1.0]}, {"embedding": ["x"]}]}),
        json!({"data": [{"embedding": [0.0, 0.0]}, {"embedding": [1.0, 2.0]}]}),
        json!({"object": "list"}),
    ];
    for case in cases {
        let reply = case.clone();
        let server = Server::start(move |_, _| Reply::json(&reply));
        let models = open(settings(&server.url));
        let texts = ["a".to_string(), "b".to_string()];
        let outcome = models.get(&name()).unwrap().embed_paid(
            &texts,
            &autodidact_domain::NoAccount,
            &Interrupt::new(),
        );
        let text = outcome.unwrap_err().to_string();
        assert!(text.contains("embedding"), "{case}: {text}");
        assert_eq!(server.received().len(), 1, "{case}");
    }
}

#[test]
fn what_a_remote_model_cannot_do_is_said() {
    let models = open(settings("http://127.0.0.1:1"));
    let model = models.get(&name()).unwrap();
    let loss = model.response_loss(&far(), Vec::new(), &Interrupt::new());
    let text = loss.unwrap_err().to_string();
    assert!(
        text.contains("a remote model can only generate and embed"),
        "{text}"
    );
    let tuned = ModelRef {
        adapter: Some(CheckpointId::new("a.round-1").unwrap()),
        ..far()
    };
    let text = model
        .generate(&tuned, vec![ask("Hi.")], &Interrupt::new(), &mut |_| {})
        .unwrap_err()
        .to_string();
    assert!(text.contains("takes no adapter"), "{text}");
    let summary = model.summary();
    assert!(summary.is_remote() && summary.source == "remote:http://127.0.0.1:1/v1");
}
