//! A server that fails: what is asked for again, how often, after how long, and what the caller is told.

use std::time::{Duration, Instant};

use autodidact_domain::ports::Engine;
use autodidact_domain::{
    Account, Completion, FinishReason, Interrupt, InterruptReason, Leave, PortError, PortResult,
    RemoteUsage,
};
use autodidact_remote::RemoteSettings;

use crate::server::{Ending, Received, Reply, Server, delta, end};
use crate::{SECRET, ask, far, name, open, settings};

/// Asks one thing.
fn outcome(settings: RemoteSettings) -> PortResult<Completion> {
    let models = open(settings);
    let model = models.get(&name()).unwrap();
    assert!(!format!("{model:?}").contains(SECRET));
    let done = model.generate(&far(), vec![ask("Hi.")], &Interrupt::new(), &mut |_| {});
    done.map(|mut completions| completions.remove(0))
}

/// Asks one thing of a server and gives what was said with the requests it took.
fn asked(
    answerer: impl Fn(usize, &Received) -> Reply + Send + Sync + 'static,
) -> (PortResult<Completion>, Vec<Received>) {
    let server = Server::start(answerer);
    let outcome = outcome(settings(&server.url));
    (outcome, server.received())
}

fn message(outcome: PortResult<Completion>) -> String {
    let text = outcome.unwrap_err().to_string();
    assert!(!text.contains(SECRET), "{text}");
    assert!(
        text.contains("remote model far (http://127.0.0.1:"),
        "{text}"
    );
    text
}

#[test]
fn what_may_pass_is_asked_for_again() {
    let cases: [fn() -> Reply; 7] = [
        || Reply::status(500, "oops"),
        || Reply::status(502, ""),
        || Reply::Whole(503, "", "<html>down</html>".into()),
        || Reply::status(504, "late"),
        || Reply::status(429, "slow down"),
        || Reply::Half("{\"choices\": [{\"message\": {\"content\": \"half\"}}]}".into()),
        || Reply::Closed,
    ];
    for (case, bad) in cases.into_iter().enumerate() {
        let (outcome, received) = asked(move |number, _| match number {
            0 | 1 => bad(),
            _ => Reply::said("Hello."),
        });
        assert_eq!(outcome.unwrap().text, "Hello.", "case {case}");
        assert_eq!(received.len(), 3, "case {case}");
        assert_eq!(received[0].body, received[2].body);
        let bearer = format!("Bearer {SECRET}");
        assert!(
            received
                .iter()
                .all(|r| r.authorization.as_deref() == Some(&bearer))
        );
        // Full jitter from 20 ms: at most 20 and 40 ms, and the time the test machine takes.
        let waited = received[2].at - received[0].at;
        assert!(
            waited < Duration::from_millis(900),
            "case {case}: {waited:?}"
        );
    }
}

#[test]
fn what_was_refused_is_not() {
    let cases: [(u16, &str); 5] = [
        (400, "see model, api and extras"),
        (401, "see that the key"),
        (403, "see that the key"),
        (404, "see that base_url and model (now \"m\")"),
        (302, "redirects are not followed"),
    ];
    for (status, advice) in cases {
        let (outcome, received) = asked(move |_, request| {
            let key = request.authorization.clone().unwrap_or_default();
            Reply::status(status, &format!("you sent {key}, which I do not like"))
        });
        assert!(matches!(outcome, Err(PortError::Invalid(_))), "{outcome:?}");
        let text = message(outcome);
        assert!(
            text.contains(&status.to_string()) && text.contains(advice),
            "{text}"
        );
        assert!(text.contains("you sent Bearer [key], which"), "{text}");
        assert_eq!(received.len(), 1, "{status}");
    }
}

#[test]
fn a_prompt_beyond_the_context_is_a_completion_without_room_and_an_error_for_who_waits() {
    let server = Server::start(|_, request| match request.prompt().as_str() {
        "long" => Reply::Whole(
            400,
            "",
            r#"{"error": {"message": "too many tokens", "code": "context_length_exceeded"}}"#
                .into(),
        ),
        _ => Reply::said("Hello."),
    });
    let models = open(settings(&server.url));
    let model = models.get(&name()).unwrap();
    let account = Counting(std::sync::Mutex::new((2, 0)));
    let requests = vec![ask("long"), ask("Hi.")];
    let calm = Interrupt::new();
    let done = model.generate_paid(&far(), requests, &account, &calm, &mut |_| {});
    let done = done.unwrap();
    assert_eq!(
        (done[0].finish, done[0].text.as_str()),
        (FinishReason::NoRoom, "")
    );
    assert_eq!(done[1].text, "Hello.");
    // What was set aside for the one is given back.
    assert_eq!(*account.0.lock().unwrap(), (0, 1));
    let waited = model.generate_stream(&far(), vec![ask("long")], &calm, &mut |_, _| {});
    let text = waited.unwrap_err().to_string();
    assert!(
        text.contains("too many tokens; shorten the prompt"),
        "{text}"
    );
    assert_eq!(server.received().len(), 3, "nothing is asked again");
}

#[test]
fn a_server_that_stays_away_is_given_up_with_the_number_of_attempts() {
    let (outcome, received) = asked(|_, _| Reply::status(503, "overloaded"));
    assert!(matches!(outcome, Err(PortError::Unavailable(_))));
    let text = message(outcome);
    for expected in ["503", "overloaded", "asked 4 times", "max_retries"] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    assert_eq!(received.len(), 4);

    // Nobody listens where somebody did just now.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let text = message(outcome_of(&url));
    assert!(
        text.contains("cannot be reached") && text.contains("asked 4 times"),
        "{text}"
    );
}

fn outcome_of(url: &str) -> PortResult<Completion> {
    outcome(settings(url))
}

#[test]
fn retry_after_is_waited_for() {
    let (outcome, received) = asked(|number, _| match number {
        0 => Reply::Whole(429, "Retry-After: 1\r\n", "{}".into()),
        _ => Reply::said("Hello."),
    });
    assert_eq!(outcome.unwrap().text, "Hello.");
    let waited = received[1].at - received[0].at;
    assert!(waited >= Duration::from_secs(1), "{waited:?}");
    assert!(waited < Duration::from_secs(3), "{waited:?}");
}

#[test]
fn a_stall_ends_with_the_timeout() {
    let (outcome, received) = asked(|number, _| match number {
        0 => Reply::After(Duration::from_secs(4), Box::new(Reply::said("late"))),
        _ => Reply::said("Hello."),
    });
    assert_eq!(outcome.unwrap().text, "Hello.");
    let waited = received[1].at - received[0].at;
    assert!((1000..2500).contains(&waited.as_millis()), "{waited:?}");
}

#[test]
fn what_is_no_api_is_told_and_not_asked_for_again() {
    type Case = (fn() -> Reply, &'static str);
    let cases: [Case; 6] = [
        (
            || Reply::Whole(200, "", "<!doctype html><html></html>".into()),
            "a page of HTML where JSON was expected",
        ),
        (
            || Reply::Whole(200, "", "{\"choi".into()),
            "where JSON was expected",
        ),
        (
            || Reply::Whole(200, "", String::new()),
            "nothing where JSON",
        ),
        (
            || Reply::json(&serde_json::json!({"choices": []})),
            "no choice",
        ),
        (
            || Reply::json(&serde_json::json!({"error": {"message": "model is loading"}})),
            "\"model is loading\" in place of choices",
        ),
        (
            || Reply::json(&serde_json::json!({"choices": vec![serde_json::json!({}); 17]})),
            "17 choices",
        ),
    ];
    for (reply, expected) in cases {
        let (outcome, received) = asked(move |_, _| reply());
        let text = message(outcome);
        assert!(
            text.contains(expected) && text.contains("base_url"),
            "{expected} in {text}"
        );
        assert_eq!(received.len(), 1, "{expected}");
    }
}

#[test]
fn a_body_without_end_is_not_read_to_it() {
    let started = Instant::now();
    let (outcome, received) = asked(|_, _| Reply::Endless("Content-Type: application/json\r\n"));
    let text = message(outcome);
    // A slow machine may run into the timeout first; either way it ends and says why.
    assert!(
        text.contains("bytes, which is not read") || text.contains("within 1 s"),
        "{text}"
    );
    assert!(received.len() <= 4 && started.elapsed() < Duration::from_secs(10));
}

#[test]
fn an_interrupt_ends_every_wait_at_once() {
    let slow =
        |_: usize, _: &Received| Reply::After(Duration::from_secs(3), Box::new(Reply::Closed));
    let backing_off =
        |_: usize, _: &Received| Reply::Whole(429, "Retry-After: 30\r\n", "{}".into());
    for server in [Server::start(slow), Server::start(backing_off)] {
        let mut settings = settings(&server.url);
        settings.timeout_s = 60;
        let models = open(settings);
        let interrupt = Interrupt::new();
        let flag = interrupt.clone();
        let raise = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            flag.raise(InterruptReason::Pause);
            Instant::now()
        });
        let model = models.get(&name()).unwrap();
        let outcome = model.generate(&far(), vec![ask("Hi.")], &interrupt, &mut |_| {});
        let ended = Instant::now();
        assert_eq!(outcome, Err(PortError::Interrupted));
        let took = ended - raise.join().unwrap();
        assert!(took < Duration::from_millis(500), "{took:?}");
    }
}

#[test]
fn a_stream_cut_before_its_first_piece_is_asked_for_again_and_after_it_is_an_error() {
    let run = |answerer: fn(usize, &Received) -> Reply| {
        let server = Server::start(answerer);
        let models = open(settings(&server.url));
        let mut heard = String::new();
        let outcome = models.get(&name()).unwrap().generate_stream(
            &far(),
            vec![ask("Hi.")],
            &Interrupt::new(),
            &mut |_, piece| heard.push_str(piece),
        );
        let outcome = outcome.map(|mut completions| completions.remove(0));
        (outcome, heard, server.received().len())
    };
    fn good() -> Reply {
        let mut events = vec![delta("Hel"), delta("lo.")];
        events.extend(end());
        Reply::Events(events, Ending::Done)
    }
    let (outcome, heard, requests) = run(|number, _| match number {
        0 => Reply::Events(vec![], Ending::Cut),
        1 => Reply::Events(vec![delta("")], Ending::Stall),
        2 => Reply::status(500, "oops"),
        _ => good(),
    });
    let completion = outcome.unwrap();
    assert_eq!(
        (completion.text.as_str(), heard.as_str(), requests),
        ("Hello.", "Hello.", 4)
    );
    assert_eq!(
        (completion.prompt_tokens, completion.completion_tokens),
        (7, 3)
    );

    for ending in [
        (|_: usize, _: &Received| Reply::Events(vec![delta("Hel")], Ending::Cut))
            as fn(usize, &Received) -> Reply,
        |_, _| Reply::Events(vec![delta("Hel")], Ending::Stall),
    ] {
        let (outcome, heard, requests) = run(ending);
        assert_eq!((heard.as_str(), requests), ("Hel", 1));
        let text = message(outcome);
        assert!(
            text.contains("after a part of the answer was passed on"),
            "{text}"
        );
    }
}

#[test]
fn a_stream_that_is_none_is_told() {
    let run = |answerer: fn(usize, &Received) -> Reply| {
        let server = Server::start(answerer);
        let models = open(settings(&server.url));
        let outcome = models.get(&name()).unwrap().generate_stream(
            &far(),
            vec![ask("Hi.")],
            &Interrupt::new(),
            &mut |_, _| {},
        );
        message(outcome.map(|mut completions| completions.remove(0)))
    };
    let text = run(|_, _| Reply::Whole(200, "", "<html>\n<body>\n".into()));
    assert!(text.contains("a page of HTML"), "{text}");
    let text = run(|_, _| Reply::Events(vec![serde_json::json!({"error": "gone"})], Ending::Done));
    assert!(text.contains("\"gone\" in place of choices"), "{text}");
    let text = run(|_, _| Reply::Endless("Content-Type: text/event-stream\r\n"));
    assert!(text.contains("a line of more than 1 MiB"), "{text}");
}

/// An account with room for a number of requests, each of which gives its sum back.
struct Counting(std::sync::Mutex<(u32, u32)>);

impl Account for Counting {
    fn reserve(&self, _: f64) -> PortResult<Leave> {
        let mut state = self.0.lock().unwrap();
        if state.0 == 0 {
            return Err(PortError::Unavailable("the cap is reached".into()));
        }
        state.0 -= 1;
        Ok(Leave::Granted)
    }

    fn release(&self, _: f64) {
        self.0.lock().unwrap().1 += 1;
    }

    fn settle(&self, _: f64, _: &RemoteUsage) -> PortResult<()> {
        Ok(())
    }
}

#[test]
fn without_leave_nothing_is_sent_and_a_failure_gives_the_sum_back() {
    let server = Server::start(|number, _| match number {
        2 => Reply::status(400, "no"),
        _ => Reply::said("Hello."),
    });
    let mut settings = settings(&server.url);
    settings.concurrency = 1;
    let models = open(settings);
    let model = models.get(&name()).unwrap();
    let account = Counting(std::sync::Mutex::new((2, 0)));
    let paid = |count: usize| {
        let requests = vec![ask("Hi."); count];
        model.generate_paid(&far(), requests, &account, &Interrupt::new(), &mut |_| {})
    };
    let refused = paid(3).unwrap_err();
    assert_eq!(refused, PortError::Unavailable("the cap is reached".into()));
    assert_eq!(server.received().len(), 2);
    account.0.lock().unwrap().0 = 1;
    assert!(matches!(paid(1), Err(PortError::Invalid(_))));
    assert_eq!(*account.0.lock().unwrap(), (0, 1));
}
